"""Other numbers of a contact on their way in and out: files, the service, exports; what is wrong is told."""

from __future__ import annotations

import csv
import io

import pytest

from dialing import phones, set_stage
from outdial.core.errors import InvalidInputError
from outdial.services import contact_lists, erasures, exports, imports, runs
from outdial.services.contact_columns import ColumnMapping, columns_of
from outdial.services.contact_lists import ERASED, ContactDraft
from outdial.services.contact_rows import RowReader
from outdial.services.csv_source import Rows
from outdial.services.engines import Engines
from outdial.services.imports import ImportDraft, ImportState
from tenants import make_tenants
from workbooks import row, workbook

A, B, C, D, E, F = (f"+1555010{number:04}" for number in range(1, 7))
MAPPING = {"phone": "Main", "phone2": "Mobile", "phone3": "Work"}


@pytest.fixture
async def owner(database, secret_box):
    return (await make_tenants(database, secret_box)).one


async def imported(database, owner, tmp_path, content: bytes, *, name="people.csv", mapping=MAPPING, **more):
    """Import a file; return how it ended, its errors, and what is in the list."""
    folder = tmp_path / "imports"
    draft = ImportDraft(list_name="March", file_name=name, mapping=ColumnMapping.of(mapping), default_region="US")
    made = await imports.create(database, iid=owner.iid, account_id=owner.account_id, draft=draft, actor="anna")
    await imports.append(database, folder, owner.iid, made.id, offset=0, data=content)
    await imports.finish_upload(database, folder, owner.iid, made.id, actor="anna")
    ended = await imports.run(
        database, folder, owner.iid, made.id, actor="anna", error_file=tmp_path / "errors.csv", **more
    )
    told = await imports.errors(database, owner.iid, made.id, skip=0, limit=99)
    return ended, [(one.line, one.reason) for one in told.items], await in_list(database, owner)


async def in_list(database, owner, name="March"):
    found = await contact_lists.find_list(database, owner.iid, name)
    page = await contact_lists.contacts_page(database, owner.iid, found.id, skip=0, limit=99)
    return [(one.phone, one.other_phones, one.attributes) for one in page.items]


class TestFiles:
    async def test_columns_are_other_numbers_where_they_are_mapped(self, database, owner, tmp_path):
        content = f"Main,Work,Mobile,name\n{A},(555) 010-0003,{B},Ada\n{D},,,Bob\n{E},{E},{F},Eve\n".encode()
        ended, errors, found = await imported(database, owner, tmp_path, content)
        assert (ended.state, ended.rows, ended.added, ended.numbers_left_out) == (ImportState.DONE, 3, 3, 0)
        assert errors == []
        assert found == [
            # in the order of the words, not of the columns; and what is the first number is none beside it
            (A, (B, C), {"name": "Ada"}),
            (D, (), {"name": "Bob"}),
            (E, (F,), {"name": "Eve"}),
        ]

    async def test_without_a_mapping_they_are_what_they_were(self, database, owner, tmp_path):
        content = f"phone,phone2\n{A},{B}\n".encode()
        _, _, found = await imported(database, owner, tmp_path, content, mapping={})
        assert found == [(A, (), {"phone2": B})]

    async def test_a_bad_one_is_told_and_left_out_and_the_contact_stays(self, database, owner, tmp_path):
        content = f"Main,Mobile,Work\n{A},nobody,{C}\nnone,{B},{C}\n{D},+1555,x\n{E},{F}\n{E},+1\n".encode()
        ended, errors, found = await imported(database, owner, tmp_path, content)
        assert (ended.rows, ended.added, ended.duplicates, ended.bad) == (5, 3, 1, 1)
        assert ended.numbers_left_out == 4
        assert [line for line, _ in errors] == [2, 3, 4, 6]
        assert errors[0][1].startswith("phone2 is left out: ")
        assert errors[2][1].count("is left out: ") == 2
        assert "left out" not in errors[1][1]
        assert [(phone, others) for phone, others, _ in found] == [(A, (C,)), (D, ()), (E, (F,))]
        told = list(csv.DictReader(io.StringIO((tmp_path / "errors.csv").read_text("utf-8-sig"))))
        assert [(one["line"], one["Main"], one["Mobile"]) for one in told] == [
            ("2", A, "nobody"),
            ("3", "none", B),
            ("4", D, "+1555"),
            ("6", E, "+1"),
        ]

    async def test_a_workbook_too(self, database, owner, tmp_path):
        people = [row(1, "Main", "Mobile", "Work"), row(2, 15550100001, 15550100002), row(3, 15550100003, "x", B)]
        path = workbook(tmp_path / "x.xlsx", People=people)
        ended, errors, found = await imported(database, owner, tmp_path, path.read_bytes(), name="x.xlsx")
        assert (ended.added, ended.numbers_left_out, len(errors)) == (2, 1, 1)
        assert [(phone, others) for phone, others, _ in found] == [(A, (B,)), (C, (B,))]

    async def test_lots_keep_them_with_their_contacts(self, database, owner, tmp_path, monkeypatch):
        monkeypatch.setattr("outdial.services.import_rows.LOT_ROWS", 3)
        rows = [f"+1555020{n:04},{f'+1555021{n:04}' if n % 2 else ''},{'x' if n % 5 == 0 else ''}" for n in range(20)]
        content = "\n".join(["Main,Mobile,Work", *rows]).encode()
        ended, errors, found = await imported(database, owner, tmp_path, content)
        assert (ended.added, ended.numbers_left_out) == (20, 4)
        assert [line for line, _ in errors] == [2, 7, 12, 17]
        assert [others for _, others, _ in found] == [(f"+1555021{n:04}",) if n % 2 else () for n in range(20)]

    def test_a_mapping_comes_back_as_it_was(self):
        mapping = ColumnMapping.parse([f"{word}={column}" for word, column in MAPPING.items()])
        assert mapping.words() == MAPPING
        with pytest.raises(InvalidInputError, match="phone3 cannot be read from Work"):
            columns_of(["Main", "Mobile"], default_region=None, mapping=mapping)

    def test_both_ways_of_reading_rows_keep_them(self):
        columns = columns_of(["Main", "Mobile", "Work"], default_region=None, mapping=ColumnMapping.of(MAPPING))
        # the second row is not plain, the third is short
        read = RowReader(columns, default_region=None).read(Rows([2, 3, 4], [[A, B, ""], [" " + C, D, A], [E]]))
        assert read.contacts.phones == [A, C, E]
        assert (read.contacts.others, read.wrong, read.left_out) == ({0: (B,), 1: (D, A)}, {}, {})


class TestService:
    async def add(self, database, owner, *drafts, **more):
        await contact_lists.create_list(
            database,
            iid=owner.iid,
            account_id=owner.account_id,
            name="March",
            description="",
            source="passiveApi",
            allow_duplicates=True,
            api_version=2,
            actor="test",
        )
        return await contact_lists.add_contacts(database, owner.iid, "March", drafts, default_region="US", **more)

    async def test_they_are_kept_in_order_once_and_five_in_all(self, database, owner):
        done = await self.add(
            *(database, owner),
            ContactDraft(A, other_phones=("(555) 010-0002", A, B, "", C)),
            ContactDraft(A, other_phones=(B, C, D, E, F)),
            ContactDraft("x", other_phones=(B,)),
            ContactDraft(B, other_phones=("y",)),
        )
        assert done.added == 3
        first, *others = done.problems
        assert first == "[1]: phone6 is left out: a contact has at most 5 numbers."
        assert [one[:3] for one in others] == ["[2]", "[3]"]
        assert [(phone, found) for phone, found, _ in await in_list(database, owner)] == [
            (A, (B, C)),
            (A, (B, C, D, E)),
            (B, ()),
        ]

    async def test_one_whose_person_is_never_to_be_called_is_left_out(self, database, secret_box, owner, tmp_path):
        engines = Engines(database, secret_box, ttl_seconds=1.0)
        await erasures.erase(
            *(database, secret_box, engines),
            account_id=owner.account_id,
            phone=B,
            actor="dora",
            never_call=True,
            folder=tmp_path / "recordings",
        )
        await engines.close()
        drafts = ContactDraft(A, other_phones=(B, C)), ContactDraft(B, other_phones=(A,)), ContactDraft(C)
        done = await self.add(database, owner, *drafts, secrets=secret_box)
        # the list that she stood on comes again each night, her number in whichever column
        assert (done.added, done.problems) == (1, (f"[0]: {ERASED}.", f"[1]: {ERASED}."))
        content = f"Main,Mobile,Work\n{D},{B},{C}\n{B},{A},{B}\n{E},{A},{C}\n".encode()
        ended, errors, found = await imported(database, owner, tmp_path, content, secrets=secret_box)
        assert (ended.added, ended.bad, ended.numbers_left_out) == (1, 2, 0)
        assert errors == [(2, ERASED), (3, ERASED)]
        assert [(phone, others) for phone, others, _ in found] == [(C, ()), (E, (A, C))]


async def test_a_runs_contacts_are_exported_with_them(database, secret_box):
    one, two, three = phones(3)
    stage = await set_stage(database, secret_box, [(one, two), three])
    begun = await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    text = b"".join([piece async for piece in exports.contacts_csv(database, begun.run)]).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    # a plus would be taken for a formula
    assert [one["otherPhoneNumbers"].lstrip("'") for one in rows] == [two, ""]
