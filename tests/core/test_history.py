"""Chains of history and the files that prove them: whole ones hold, and no change of any byte does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.canonical import canonical
from outdial.core.history import (
    BEFORE_THE_FIRST,
    ChainCheck,
    ChainError,
    HistoryRow,
    Seal,
    make_seal,
    read_seal,
    row_digest,
    seal_hash,
)
from outdial.core.history_file import Asked, check_file, first_line, last_line, seal_lines

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
ACCOUNT, CAMPAIGN, INSTANCE = "a" * 24, "cd-1", "cid-1"


def row(row_id: int, *, run_id: int | None = 7, **more) -> HistoryRow:
    fields = {
        "id": row_id,
        "at": AT + timedelta(microseconds=row_id),
        "account_id": ACCOUNT,
        "campaign_id": CAMPAIGN,
        "run_id": run_id,
        "contact_id": row_id,
        "attempt_id": None,
        "action": "attempt",
        "before": "reserved",
        "after": "ended",
        "actor": "anna",
        "reason": "",
        "detail": {"cause": 16, "share": 0.5},
    }
    return HistoryRow(**fields | more)


def chain(*lots: list[HistoryRow]) -> list[tuple[Seal, list[HistoryRow]]]:
    made, head = [], None
    for rows in lots:
        head = make_seal(ACCOUNT, after=head, rows=rows, sealed_at=AT)
        made.append((head, rows))
    return made


BEGUN = row(1, action="run", detail={"epoch": 1, "instance_id": INSTANCE})
"""What every file of a run has: it says which instance that is, so that the first line can be held against it."""
LOTS = ([BEGUN, row(2)], [row(5, run_id=8)], [row(3), row(6, run_id=None), row(7)])


def written(asked: Asked, *, only_run: int | None = None) -> list[bytes]:
    lines = [first_line(asked)]
    count, head = 0, None
    for seal, rows in chain(*LOTS):
        entries = [one.document() if only_run in {None, one.run_id} else row_digest(one.document()) for one in rows]
        full = sum(isinstance(entry, dict) for entry in entries)
        count += full
        lines += seal_lines(seal, entries if full else None)
        head = seal
    return [*lines, last_line(seals=3, rows=count, head=head)]


WHOLE = written(Asked(ACCOUNT))
OF_RUN = written(Asked(ACCOUNT, CAMPAIGN, INSTANCE, 7), only_run=7)


def test_hashes_are_made_as_the_page_says():
    """By hand, with nothing of ours but the canonical form."""
    (first, rows), (second, _), _ = chain(*LOTS)
    digests = [hashlib.sha256(canonical(one.document())).digest() for one in rows]
    said = {
        "accountId": ACCOUNT,
        "count": 2,
        "fromId": 1,
        "number": 1,
        "previous": "0" * 64,
        "rows": hashlib.sha256(digests[0] + digests[1]).hexdigest(),
        "sealedAt": "2026-03-01T10:00:00.000000Z",
        "toId": 2,
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    assert first.sha256 == hashlib.sha256(text).digest()
    assert first.document() == {**said, "sha256": first.sha256.hex()}
    assert (first.previous, second.previous) == (BEFORE_THE_FIRST, first.sha256)
    assert read_seal(first.document(), "here") == first


def test_every_field_of_a_row_is_in_its_digest():
    one = row(1, attempt_id="a", reason="r")
    changes = {
        "id": 2,
        "at": AT,
        "account_id": "b",
        "campaign_id": "b",
        "run_id": 9,
        "contact_id": 9,
        "attempt_id": "b",
        "action": "b",
        "before": "b",
        "after": "b",
        "actor": "b",
        "reason": "b",
        "detail": {"cause": 17},
        "salt": bytes(16),
    }
    # of an erased row the digest is all there is
    assert set(changes) == set(HistoryRow.__dataclass_fields__) - {"erased"}
    digests = {row_digest(replace(one, **{name: value}).document()) for name, value in changes.items()}
    assert len(digests | {row_digest(one.document())}) == len(changes) + 1


@pytest.mark.parametrize(("lines", "rows"), [(WHOLE, 6), (OF_RUN, 4)])
def test_a_file_holds(lines, rows):
    found = check_file(lines)
    assert (found.seals, found.rows, found.head.number) == (3, rows, 3)


def test_a_file_of_a_run_has_others_rows_as_digests_only():
    text = b"".join(OF_RUN)
    assert b'"listed":false' in text
    assert b'"kind":"others"' in text
    assert b'"runId":8' not in text


def test_an_account_in_which_nothing_has_happened_has_a_file_too():
    found = check_file([first_line(Asked(ACCOUNT)), last_line(seals=0, rows=0, head=None)])
    assert (found.rows, found.head) == (0, None)


@pytest.mark.parametrize("lines", [WHOLE, OF_RUN])
@given(data=st.data())
def test_no_byte_can_be_changed(lines, data):
    text = bytearray(b"".join(lines))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ChainError):
        check_file(bytes(text).splitlines(keepends=True))


@pytest.mark.parametrize("lines", [WHOLE, OF_RUN])
def test_no_line_can_be_left_out_doubled_or_moved(lines):
    for place in range(len(lines)):
        for changed in (
            lines[:place] + lines[place + 1 :],
            lines[: place + 1] + lines[place:],
            lines[:place] + lines[place + 1 : place + 2] + lines[place : place + 1] + lines[place + 2 :],
        ):
            if changed != lines:
                with pytest.raises(ChainError):
                    check_file(changed)


def test_a_file_of_an_account_must_be_whole():
    """What a file of a run may leave out, one of an account may not."""
    first = first_line(Asked(ACCOUNT))
    with pytest.raises(ChainError, match="lists the rows of every seal"):
        check_file([first, *OF_RUN[1:]])
    seals = chain(*LOTS)
    from_the_second = [first]
    for seal, rows in seals[1:]:
        from_the_second += seal_lines(seal, [one.document() for one in rows])
    with pytest.raises(ChainError, match="begins with seal 1"):
        check_file([*from_the_second, last_line(seals=2, rows=4, head=seals[-1][0])])


def test_rows_of_another_run_do_not_belong_into_a_runs_file():
    lines = [first_line(Asked(ACCOUNT, CAMPAIGN, INSTANCE, 8)), *OF_RUN[1:]]
    with pytest.raises(ChainError, match="not of what the file says"):
        check_file(lines)
    moves = [row(1, action="run", detail={"epoch": 1, "instance_id": "cid-2"})]
    ((seal, rows),) = chain(moves)
    lines = [first_line(Asked(ACCOUNT, CAMPAIGN, INSTANCE, 7)), *seal_lines(seal, [rows[0].document()])]
    with pytest.raises(ChainError, match="not of what the file says"):
        check_file([*lines, last_line(seals=1, rows=1, head=seal)])


class TestChains:
    """Each way a chain can be wrong although every seal's own hash is right."""

    def taken(self, *seals: tuple[Seal, list[HistoryRow]]) -> None:
        check = ChainCheck()
        for seal, rows in seals:
            check.take(seal, [one.document() for one in rows], f"seal {seal.number}")

    def forged(self, seal: Seal, **changes) -> Seal:
        changed = replace(seal, **changes)
        return replace(changed, sha256=seal_hash(changed))

    def test_a_seal_is_missing(self):
        first, _, third = chain(*LOTS)
        with pytest.raises(ChainError, match="something between is missing"):
            self.taken(first, third)

    def test_a_seal_was_replaced(self):
        first, second, _ = chain(*LOTS)
        with pytest.raises(ChainError, match="does not name the hash of seal 1"):
            self.taken(first, (self.forged(second[0], previous=bytes(31) + b"1"), second[1]))

    def test_a_seal_is_of_another_account(self):
        first, second, _ = chain(*LOTS)
        with pytest.raises(ChainError, match="of another account"):
            self.taken(first, (self.forged(second[0], account_id="b"), second[1]))

    def test_the_first_seal_has_one_before_it(self):
        first, *_ = chain(*LOTS)
        with pytest.raises(ChainError, match="seal 1 has another before it"):
            self.taken((self.forged(first[0], previous=bytes(31) + b"1"), first[1]))

    def test_its_hash_is_not_its_own(self):
        first, *_ = chain(*LOTS)
        with pytest.raises(ChainError, match="is not that of what it says"):
            self.taken((replace(first[0], sealed_at=AT + timedelta(1)), first[1]))

    def test_its_rows_are_others_too_many_or_in_another_order(self):
        seal, rows = chain(*LOTS)[2]
        for changed, why in (
            ([*rows[:2], row(8)], "are not those it was made of"),
            (rows[:2], "holds 3 rows, here are 2"),
            ([rows[1], rows[0], rows[2]], "are not those it was made of"),
        ):
            with pytest.raises(ChainError, match=why):
                self.taken((seal, changed))
        backwards = make_seal(ACCOUNT, after=None, rows=[row(2), row(1)], sealed_at=AT)
        with pytest.raises(ChainError, match="not in the order of their ids"):
            self.taken((backwards, [row(2), row(1)]))
