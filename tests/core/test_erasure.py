"""What erasing leaves: numbers as keyed hashes, texts without them, and chains with rows that are only digests."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from outdial.core.erasure import number_hash, pattern_of, without
from outdial.core.history import (
    ChainCheck,
    ChainError,
    ErasedRow,
    HistoryRow,
    check_row,
    erased_by,
    make_seal,
)
from outdial.core.history_file import Asked, check_file, first_line, last_line, line, seal_lines

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
ACCOUNT = "a" * 24
PHONE = "+15550100001"


def row(row_id: int, **more) -> HistoryRow:
    known = {"account_id": ACCOUNT, "campaign_id": None, "run_id": 7, "contact_id": 3, "attempt_id": None}
    known |= {"action": "attempt", "before": None, "after": "reserved", "actor": "n", "reason": ""}
    known |= {"detail": {"phone": PHONE}, "salt": bytes([row_id]) * 16}
    return HistoryRow(id=row_id, at=AT, **known | more)


def erasure(row_id: int, *rows: int) -> HistoryRow:
    return row(row_id, action="erasure", run_id=None, contact_id=None, detail={"rows": list(rows)})


def written(*lots, version: int = 2, asked: Asked = Asked(ACCOUNT)) -> list[bytes]:  # noqa: B008 - frozen
    """A file of seals over rows, those given with True erased."""
    lines, head, whole, gone = [first_line(asked)], None, 0, 0
    if version == 1:
        lines = [line({"kind": "history", "version": 1, **asked.document()})]
    for lot in lots:
        head = make_seal(ACCOUNT, after=head, rows=[one for one, _ in lot], sealed_at=AT)
        lines += seal_lines(head, [ErasedRow(one.id, one.digest()) if left else one.document() for one, left in lot])
        gone += sum(left for _, left in lot)
        whole += sum(not left for _, left in lot)
    last = last_line(seals=len(lots), rows=whole, erased=gone, head=head)
    if version == 1:
        last = line({"kind": "end", "seals": len(lots), "rows": whole, "head": head.sha256.hex()})
    return [*lines, last]


def test_a_hash_belongs_to_key_account_and_number():
    one = number_hash(b"k", ACCOUNT, PHONE)
    assert len(one) == 32
    others = {number_hash(b"l", ACCOUNT, PHONE), number_hash(b"k", "b", PHONE), number_hash(b"k", ACCOUNT, "+1555")}
    assert one not in others
    assert len(others) == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (PHONE, True),
        ("15550100001", True),
        ("call +15550100001, now", True),
        ("tel:15550100001;x", True),
        ("115550100001", False),
        ("155501000012", False),
        ("+15550100002", False),
    ],
)
def test_a_text_names_a_number_by_its_digits_and_no_more(text, named):
    assert (re.search(pattern_of(PHONE), text) is not None) is named


def test_values_lose_what_names_the_number_and_keep_the_rest():
    value = {
        "second": PHONE,
        "list": ["a", "see 15550100001", 15550100001, {"x": 1.5, "n": 15550100001}],
        PHONE: 1,
        "kept": {"a": None, "b": True},
    }
    assert without(value, PHONE) == {"list": ["a", None, None, {"x": 1.5}], "kept": {"a": None, "b": True}}
    assert without(PHONE, PHONE) is None


def test_the_salt_is_part_of_what_is_hashed_and_rows_without_one_hash_as_ever():
    bare, salted, other = row(1, salt=None), row(1), row(1, salt=b"x" * 16)
    assert len({bare.digest(), salted.digest(), other.digest()}) == 3
    assert "salt" not in bare.document()
    check_row(bare.document(), "here")
    check_row(salted.document(), "here")
    for wrong in ("", "00", "G" * 32, 5):
        with pytest.raises(ChainError, match="its salt is not"):
            check_row(salted.document() | {"salt": wrong}, "here")


def test_an_erased_row_stands_as_its_digest():
    whole = row(1)
    gone = row(1, detail=None, salt=None, actor="", contact_id=None, erased=whole.digest())
    assert gone.digest() == whole.digest()
    assert gone.entry() == ErasedRow(1, whole.digest())


class TestFiles:
    def test_hold_with_erased_rows_and_say_how_many(self):
        lots = ([(row(1), False), (row(2), True)], [(row(3), True), (erasure(4, 2, 3), False)])
        found = check_file(written(*lots))
        assert (found.rows, found.erased, found.seals) == (2, 2, 2)

    def test_of_a_whole_account_name_the_erasure_of_each(self):
        lots = ([(row(1), False), (row(2), True)], [(row(3), True), (erasure(4, 3), False)])
        with pytest.raises(ChainError, match="row 2 is said to be erased, and no row of the chain tells"):
            check_file(written(*lots))
        # one of a run does not have the account's rows
        of_run = Asked(ACCOUNT, "cd-1", "cid-1", 7)
        assert check_file(written(([(row(1), False), (row(2), True)]), asked=of_run)).erased == 1

    def test_find_a_changed_digest_out(self):
        lines = written([(row(1), True), (erasure(2, 1), False)])
        changed = [text.replace(row(1).digest().hex().encode(), b"0" * 64) for text in lines]
        with pytest.raises(ChainError, match="are not those it was made of"):
            check_file(changed)

    def test_of_the_version_before_hold_and_have_no_erased_rows(self):
        old = [(row(1, salt=None), False), (row(2, salt=None), False)]
        assert check_file(written(old, version=1)).rows == 2
        with pytest.raises(ChainError, match="'erased' does not belong here"):
            check_file(written([(row(1), True), (erasure(2, 1), False)], version=1))

    @pytest.mark.parametrize("rows", [5, [5], [{"id": 1}], [{"id": "1", "sha256": "0" * 64}]])
    def test_with_a_line_of_erased_rows_that_is_none_are_refused(self, rows):
        lines = written([(row(1), True), (erasure(2, 1), False)])
        (place,) = [at for at, text in enumerate(lines) if b'"kind":"erased"' in text]
        lines[place] = line({"kind": "erased", "rows": rows})
        with pytest.raises(ChainError, match="erased row"):
            check_file(lines)

    def test_lie_about_the_number_of_erased_rows_in_vain(self):
        lines = written([(row(1), True), (erasure(2, 1), False)])
        lines[-1] = lines[-1].replace(b'"erased":1', b'"erased":0')
        with pytest.raises(ChainError, match="the file ends with"):
            check_file(lines)


def test_an_erased_row_out_of_order_is_found_out():
    seal = make_seal(ACCOUNT, after=None, rows=[row(1), row(2)], sealed_at=AT)
    with pytest.raises(ChainError, match="not in the order"):
        ChainCheck().take(seal, [ErasedRow(2, row(1).digest()), ErasedRow(1, row(2).digest())], "here")


@pytest.mark.parametrize("detail", [None, {}, {"rows": 5}, {"rows": ["1", None, True]}])
def test_an_erasure_that_names_nothing_explains_nothing(detail):
    assert erased_by({"detail": detail}) == frozenset()
