"""An archive of what a dialer decided and dialed, over a real database; and what is found when somebody changes it."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dialer.test_explanations import NODE, a_node
from dialing import ALWAYS, add_campaign, phones, set_stage, with_rules
from outdial import signing
from outdial.core import archive, history_file
from outdial.core.attempt_limits import Counted, LimitRule
from outdial.core.canonical import canonical
from outdial.core.errors import ArchiveTooLargeError
from outdial.core.evidence import Evidence, read_limit
from outdial.core.history import read_seal, row_digest, rows_hash, seal_hash
from outdial.core.history_file import Asked
from outdial.core.model import AtClosing, AttemptState, Disposition, DoneReason, OwnRules, RetryRule, RunContactState
from outdial.dialer.claim import claim
from outdial.services import archive_check, attempt_limits, evidence_archive, history_export, runs, verification
from outdial.services.archive_check import UnreadableArchiveError, verify_archive
from outdial.store import attempts
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.database import Database

RULES = with_rules(
    max_attempts=3,
    calling_hours=replace(ALWAYS, rule_pack=None, at_closing=AtClosing.EXPIRE),
    own=OwnRules(retry_rules=(RetryRule(Disposition.BUSY, most=1),)),
)


async def execute(database: Database, statement: str, *values: object) -> None:
    async with database.connection() as connection:
        await connection.execute(statement, *values)


async def dial(stage, run) -> list[str]:
    made = []
    trunk = replace(stage.trunk, calls_per_second=10_000.0)
    for _ in range(4):
        await execute(stage.database, "UPDATE rate_budgets SET next_at = clock_timestamp()")
        found = await claim(stage.database, run, trunk, NODE, many=True, asked=set())
        made += [place.attempt_id for place in found.places]
    return made


async def book(database, attempt_id, disposition, contact):
    at = datetime.now(UTC)
    news = AttemptNews(
        id=attempt_id,
        state=AttemptState.ENDED,
        by=NODE,
        disposition=disposition,
        dialed_at=at,
        ended_at=at,
        contact=contact,
    )
    async with database.connection() as connection:
        await attempts.book(connection, [news])


@pytest.fixture
async def run(database, secret_box):
    """A run in which somebody was reached, tried twice, denied for each reason and put off for each."""
    stage = await set_stage(database, secret_box, phones(8), rules=RULES, max_channels=100)
    await a_node(database, secret_box)
    begun = await runs.start(database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    some = "contact_id IN (SELECT contact_id FROM run_contacts ORDER BY sort_key OFFSET {} LIMIT 1)"
    await execute(
        database,
        "INSERT INTO dnc_entries (dnc_list_id, phone, added_by) SELECT r.dnc_list_ids[1], c.phone, 'test' "
        f"FROM runs r, run_contacts c WHERE {some.format(0)}",
    )
    await execute(
        database,
        "UPDATE contacts SET time_zone = 'Mars/Olympus' WHERE id = "
        f"(SELECT contact_id FROM run_contacts WHERE {some.format(1)})",
    )
    await execute(
        database,
        "UPDATE contacts SET time_zone = 'America/Chicago' WHERE id = "
        f"(SELECT contact_id FROM run_contacts WHERE {some.format(2)})",
    )
    first = await dial(stage, begun.run)
    assert len(first) == 6
    reached, *others = first
    await book(
        database, reached, Disposition.ANSWERED_HUMAN, ContactNews(RunContactState.DONE, done_reason=DoneReason.REACHED)
    )
    for attempt_id in others[:3]:
        await book(database, attempt_id, Disposition.BUSY, ContactNews(RunContactState.WAITING, after_seconds=0))
    for attempt_id in await dial(stage, begun.run):
        await book(database, attempt_id, Disposition.BUSY, ContactNews(RunContactState.WAITING, after_seconds=0))
    await attempt_limits.add_limit(
        database, LimitRule(1, 3600, Counted.ATTEMPTS), account_id=stage.owner.account_id, actor="test"
    )
    await book(database, others[3], Disposition.NO_ANSWER, ContactNews(RunContactState.WAITING, after_seconds=0))
    await dial(stage, begun.run)
    return begun.run


async def written(database, secret_box, asked) -> bytes:
    out = io.BytesIO()
    await evidence_archive.write(database, secret_box, asked, out)
    return out.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar.getmembers()}


def packed(found: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in found.items():
            tar.addfile(evidence_archive.entry(name, len(content)), io.BytesIO(content))
    return out.getvalue()


PRIVATE, PUBLIC = signing.new_key()


def resealed(found: dict[str, bytes]) -> bytes:
    """The archive as somebody who holds a key would make it: hashes and signature fit the members."""
    document = json.loads(found[archive.MANIFEST])
    with_hashes = {name: content for name, content in found.items() if name != archive.MANIFEST}
    made = [evidence_archive._Member(name, io.BytesIO()) for name in with_hashes]
    for member in made:
        member.write(with_hashes[member.name])
    document["members"] = [one.document() for one in made]
    return packed({**with_hashes, archive.MANIFEST: evidence_archive.sealed(document, PRIVATE, PUBLIC)})


def rechained(history: bytes, change) -> bytes:
    """The history as somebody who can write the whole chain anew would make it, each row changed as he likes."""
    made, previous, pending = [], None, None

    def close():
        nonlocal previous, pending
        if pending is None:
            return
        document, rows = pending
        seal = read_seal({**document, "rows": rows_hash([row_digest(row) for row in rows]).hex()}, "")
        if previous is not None:
            seal = replace(seal, previous=previous.sha256)
        seal = replace(seal, count=len(rows))
        previous = replace(seal, sha256=seal_hash(seal))
        made.append({"kind": "seal", "seal": previous.document(), "listed": True})
        made.extend({"kind": "row", "row": row} for row in rows)
        pending = None

    for text in history.splitlines():
        document = json.loads(text)
        if document["kind"] == "seal":
            close()
            pending = (document["seal"], [])
        elif document["kind"] == "row":
            row = change(document["row"])
            if row is not None:
                pending[1].append(row)
        elif document["kind"] == "end":
            close()
            rows = sum(one["kind"] == "row" for one in made)
            made.append({**document, "head": previous.sha256.hex(), "rows": rows})
        else:
            made.append(document)
    return b"".join(canonical(one) + b"\n" for one in made)


def rederived(found: dict[str, bytes]) -> dict[str, bytes]:
    """The members that follow from the history, made anew."""
    evidence = Evidence()
    for text in found[archive.HISTORY].splitlines():
        document = json.loads(text)
        if document["kind"] == "row":
            evidence.take(document["row"])
    limits = [read_limit(json.loads(text)) for text in found[archive.LIMITS].splitlines()]
    return {**found, **{name: b"".join(lines) for name, lines in archive.derived(evidence, limits).items()}}


def check(data: bytes, public: bytes | None = None):
    return verify_archive(io.BytesIO(data), public)


@pytest.fixture
async def whole(database, secret_box, run) -> bytes:
    return await written(database, secret_box, Asked(run.account_id))


async def test_everything_comes_out_again_from_the_file_alone(database, secret_box, run, whole):
    verdict = check(whole)
    assert verdict.difference is None
    assert verdict.valid
    assert verdict.attempts == 9
    assert verdict.decisions == {"allow": 9, "deny": 4, "put_off": 2}
    assert verdict.not_made_again == {}
    assert verdict.rates == 5, "the sixth who was called is still being called"
    stored = [json.loads(line)["decision"].get("rule") for line in members(whole)[archive.DECISIONS].splitlines()]
    assert {rule for rule in stored if rule} == {"account_dnc", "calling_hours", "retry_count", "number_limits"}
    # the same state makes the same bytes
    assert await written(database, secret_box, Asked(run.account_id)) == whole


async def test_of_a_run_and_of_a_campaign(database, secret_box, run):
    for asked in (history_export.of_run(run), await history_export.of_campaign(database, run.iid, run.campaign_id)):
        verdict = check(await written(database, secret_box, asked))
        assert (verdict.difference, verdict.attempts) == (None, 9)


async def test_who_signed_is_told_by_the_key_that_is_given(database, secret_box, whole):
    async with database.connection() as connection:
        public = await connection.fetchval("SELECT public_key FROM signing_keys")
    assert check(whole, public).key_given
    other = check(whole, PUBLIC)
    assert (other.valid, other.difference.where) == (False, "manifest.json signature.publicKey")


def edited(content: bytes, number: int, change) -> bytes:
    lines = content.splitlines(keepends=True)
    document = json.loads(lines[number])
    change(document)
    lines[number] = canonical(document) + b"\n"
    return b"".join(lines)


async def test_each_kind_of_change_is_found_where_it_was_made(whole):
    found = members(whole)

    def tampered(name, content, *, hidden=True):
        made = {**found, name: content}
        return check(resealed(made) if hidden else packed(made)).difference

    # a byte of any member, by somebody without a key
    for name in archive.MEMBERS:
        if found[name]:
            assert tampered(name, found[name][:-2] + b" \n", hidden=False).where == name
    # one input of a decision
    listed = edited(
        found[archive.DECISIONS], 3, lambda one: one["decision"]["inputs"].update(account_dnc={"listed": True})
    )
    assert tampered(archive.DECISIONS, listed).where == "decisions.jsonl line 4"
    # one row dropped, two in another order
    for name in (archive.DECISIONS, archive.ATTEMPTS, archive.RATES):
        lines = found[name].splitlines(keepends=True)
        assert tampered(name, b"".join(lines[:-1])).where == f"{name} line {len(lines)}"
        assert tampered(name, b"".join([lines[1], lines[0], *lines[2:]])).where == f"{name} line 1"
        assert tampered(name, b"".join([*lines, lines[0]])).where == f"{name} line {len(lines) + 1}"
    history = found[archive.HISTORY].splitlines(keepends=True)
    assert "history.jsonl line" in tampered(archive.HISTORY, b"".join([*history[:2], *history[3:]])).where
    # a limit that was another
    looser = edited(found[archive.LIMITS], 0, lambda one: one.update(count=9))
    assert tampered(archive.LIMITS, looser).where.startswith("rates.jsonl")
    # the rules of the run
    more = edited(found[archive.RUNS], 0, lambda one: one["rules"].update(max_attempts=9))
    difference = tampered(archive.RUNS, more)
    assert difference.where == "decisions.jsonl line 1" or "decisions.jsonl" in difference.where
    assert "most" in difference.sentence
    # members in another order, or none
    backwards = dict(reversed([(name, found[name]) for name in archive.MEMBERS]))
    assert check(packed({**backwards, archive.MANIFEST: found[archive.MANIFEST]})).difference.where == "archive"


async def test_one_who_writes_the_whole_chain_anew_is_found_by_the_rules(whole):
    found = members(whole)

    def forged(change):
        made = {**found, archive.HISTORY: rechained(found[archive.HISTORY], change)}
        return check(resealed(rederived(made))).difference

    assert forged(lambda row: row) is None, "the forger's own tools work"

    def on_allow(change):
        def changing(row):
            screening = (row["detail"] or {}).get("screening") if row["action"] == "attempt" else None
            if screening:
                change(screening)
            return row

        return changing

    swapped = forged(on_allow(lambda one: one["versions"].update(rulePack="us@2026-11")))
    assert "us@2026-11" in swapped.sentence
    called = forged(on_allow(lambda one: one["inputs"]["account_dnc"].update(listed=True)))
    assert "do-not-call list" in called.sentence
    often = forged(on_allow(lambda one: one["inputs"]["contact_attempts"].update(attempts=2)))
    assert "attempts" in often.sentence

    def allow_beyond_limit(row):
        detail = row["detail"] or {}
        if row["action"] == "run_contact" and detail.get("rule") == "number_limits":
            detail["until"] = "2027-01-01T00:00:00.000000Z"
        return row

    assert "until" in forged(allow_beyond_limit).sentence
    # the number was called: the row that says so is dropped
    ended = [json.loads(line)["row"]["id"] for line in found[archive.HISTORY].splitlines() if b'"busy"' in line]
    dropped = forged(lambda row: None if row["id"] == ended[0] else row)
    assert dropped is not None


async def test_data_of_another_version_is_told_and_not_computed_with(whole):
    found = members(whole)
    manifest = json.loads(found[archive.MANIFEST])
    manifest["data"]["tzdata"] = "1999a"
    verdict = check(resealed({**found, archive.MANIFEST: canonical(manifest)}))
    assert verdict.valid
    assert sum(verdict.not_made_again.values()) > 0
    assert all(name.startswith("tzdata ") for name in verdict.not_made_again)


@pytest.mark.parametrize("data", [b"", b"no tar", b"\0" * 10240])
def test_what_is_no_archive_is_told(data):
    with pytest.raises(UnreadableArchiveError):
        check(data)


async def test_an_account_that_has_done_nothing(database, secret_box):
    verdict = check(await written(database, secret_box, Asked("0" * 24)))
    assert (verdict.valid, verdict.attempts, verdict.seals) == (True, 0, 0)


async def test_it_is_made_beside_what_calls_wait_for(database, secret_box, run, monkeypatch):
    threads = {}

    def seen(owner, name):
        does = getattr(owner, name)

        def noted(*arguments, **more):
            threads.setdefault(name, set()).add(threading.get_ident())
            return does(*arguments, **more)

        monkeypatch.setattr(owner, name, noted)

    seen(Evidence, "take")
    seen(archive, "derived")
    seen(evidence_archive, "entry")
    await written(database, secret_box, Asked(run.account_id))
    assert threads.keys() == {"take", "derived", "entry"}
    assert threading.get_ident() not in set().union(*threads.values())


async def test_more_rows_than_are_wanted_are_not_read(database, secret_box, run):
    with pytest.raises(ArchiveTooLargeError, match="more than 10 rows"):
        await evidence_archive.made(database, secret_box, Asked(run.account_id), most_rows=10)
    pieces = await evidence_archive.made(database, secret_box, Asked(run.account_id), most_rows=10_000)
    assert check(b"".join(pieces)).valid


async def test_limits_of_others_are_in_no_archive_of_a_run(database, secret_box, run):
    async def limit(**whose):
        made = await attempt_limits.add_limit(
            database, LimitRule(50, 3600, Counted.ATTEMPTS), account_id=run.account_id, actor="test", **whose
        )
        return made.id

    sister = await set_stage(database, secret_box, phones(1), name="sister")
    second = await add_campaign(database, sister.owner, [], list_name="more", name="Autumn")
    ours = {await limit(iid=run.iid), await limit(iid=run.iid, campaign_id=run.campaign_id)}
    theirs = {await limit(iid=sister.owner.iid), await limit(iid=sister.owner.iid, campaign_id=second)}
    removed = await limit(iid=sister.owner.iid)
    await attempt_limits.remove_limit(database, removed, account_id=run.account_id, iid=None, actor="test")
    for asked, others in (
        (history_export.of_run(run), set()),
        (await history_export.of_campaign(database, run.iid, run.campaign_id), set()),
        (Asked(run.account_id), theirs | {removed}),
    ):
        data = await written(database, secret_box, asked)
        assert check(data).difference is None
        told = {json.loads(text)["id"] for text in members(data)[archive.LIMITS].splitlines()}
        assert told & (ours | theirs | {removed}) == ours | others
        assert len(told - ours - others) == 1, "the account's own"


def hostile(header: tarfile.TarInfo, content: bytes, whole: dict[str, bytes]) -> bytes:
    """The archive with another first member."""
    rest = packed({name: content for name, content in whole.items() if name != archive.HISTORY})
    padding = b"\0" * (-len(content) % tarfile.BLOCKSIZE)
    return header.tobuf(tarfile.GNU_FORMAT) + content + padding + rest


async def test_members_that_are_longer_than_the_file_are_not_read(whole):
    found = members(whole)

    def refused(data):
        difference = check(data).difference
        assert difference.sentence == "it is no member as outdial writes it: a plain one that lies in the file"
        return difference.where

    # one hole: nothing is stored, and so many zeros are read
    size = 1 << 28
    sparse = evidence_archive.entry(archive.HISTORY, 0)
    sparse.type = tarfile.GNUTYPE_SPARSE
    data = bytearray(hostile(sparse, b"", found))
    data[483:495] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * ord(" ") + sum(data[156:512]))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.next().size == size, "it is what it is meant to be"
    assert refused(bytes(data)) == archive.HISTORY
    # the same, said by a header before the member
    plain = evidence_archive.entry(archive.HISTORY, 512)
    plain.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(size)}
    data = plain.tobuf(tarfile.PAX_FORMAT) + hostile(plain, b"\n" * 512, found)[512:]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.next().size == size, "it is what it is meant to be"
    assert "PaxHeader" in refused(data)
    # and one that ends beyond the file
    assert refused(hostile(evidence_archive.entry(archive.HISTORY, 1 << 40), b"", found)) == archive.HISTORY


async def test_nothing_is_believed_before_the_signature(whole):
    found = members(whole)
    manifest = json.loads(found[archive.MANIFEST])
    manifest["data"]["tzdata"] = "1999a"
    changed = {**found, archive.HISTORY: b"no history\n", archive.MANIFEST: canonical(manifest) + b"\n"}
    assert check(packed(changed)).difference.where == "manifest.json signature.value"


async def test_lines_longer_than_any_are_not_read(whole, monkeypatch):
    found = members(whole)
    longest = max(len(text) for content in found.values() for text in content.splitlines(keepends=True))
    for module in (history_file, verification, archive_check):
        monkeypatch.setattr(module, "LONGEST_LINE", longest)
    assert check(whole).valid
    for name in (archive.HISTORY, archive.LIMITS):
        made = {**found, name: b'"' + b"a" * (2 * longest) + b'"\n' + found[name]}
        difference = check(resealed(made)).difference
        assert difference.where == f"{name} line 1"
        assert f"longer than {longest} bytes" in difference.sentence


async def test_attempts_that_nothing_let_through_are_told(whole):
    found = members(whole)

    def without_decisions(wanted):
        reserved = [
            json.loads(text)["row"]["attemptId"]
            for text in found[archive.HISTORY].splitlines()
            if b'"screening":{' in text and b'"action":"attempt"' in text
        ]
        chosen = {reserved[place] for place in wanted(range(len(reserved)))}

        def change(row):
            if row["action"] == "attempt" and row["from"] is None and row["attemptId"] in chosen:
                row["detail"]["screening"] = None
            return row

        return check(resealed(rederived({**found, archive.HISTORY: rechained(found[archive.HISTORY], change)})))

    assert check(whole).undecided == 0
    # all, or the first ones, may be from before decisions were stored
    every = without_decisions(list)
    assert (every.valid, every.undecided, every.attempts) == (True, 9, 9)
    first = without_decisions(lambda places: places[:2])
    assert (first.valid, first.undecided) == (True, 2)
    # one among others that have theirs is not
    difference = without_decisions(lambda places: places[4:5]).difference
    assert (difference.where, "no decision" in difference.sentence) == ("attempts.jsonl line 5", True)
