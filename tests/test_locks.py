"""File locks: whether somebody else holds one."""

from __future__ import annotations

from outdial.locks import FileLock, is_held


def test_it_is_told_whether_somebody_holds_a_lock(tmp_path):
    path = tmp_path / "users.lock"
    assert not is_held(path)
    assert not path.exists()
    lock = FileLock(path)
    assert not is_held(path)
    for take in (lock.try_shared, lock.try_exclusive):
        assert take()
        assert is_held(path)
    lock.close()
    assert not is_held(path)
