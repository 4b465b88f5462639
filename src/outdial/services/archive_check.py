"""Checks an archive of evidence with nothing but the file and, where it is at hand, a public key.

In this order: the file and its manifest, the signature, the hash of each member, the chain, what follows from it
(decisions, attempts, rates), and each decision made again by the functions that made it. The first place that differs
is named.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import tarfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import IO, Any, Final
from zoneinfo import ZoneInfo

import msgspec

from outdial.core import archive
from outdial.core.attempt_limits import AttemptLimit
from outdial.core.calling_hours import DataVersions, HolidayCalendar, Timetable
from outdial.core.canonical import Json, NotJsonError, canonical, read
from outdial.core.errors import OutdialError
from outdial.core.evidence import Call, Decided, Evidence, read_limit
from outdial.core.history import ChainError
from outdial.core.history_file import LONGEST_LINE, Asked, FileCheck, check_file
from outdial.core.manual_call import ManualAnswer
from outdial.core.model import DialingRules
from outdial.core.recompute import Case, NotTheSameError, check, numbers_of
from outdial.core.rule_packs import RulePack, read_pack
from outdial.core.shapes import ShapeError
from outdial.core.zones import only_zones
from outdial.services.verification import lines_of, signature_findings

LARGEST_MANIFEST: Final = 1 << 20


class UnreadableArchiveError(OutdialError):
    """A file is no archive of evidence: it cannot be read, or is no tar file with a manifest."""

    code = "archive_unreadable"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place at which an archive does not hold."""

    where: str
    """Member and line, e.g. ``decisions.jsonl line 12``."""
    sentence: str


@dataclass(frozen=True, slots=True)
class ArchiveVerdict:
    """What an archive proves."""

    valid: bool
    difference: Difference | None
    key_given: bool
    """The key came from elsewhere than the archive: it shows who signed, not only that nothing was changed since."""
    key_id: str | None = None
    of: Mapping[str, Json] = field(default_factory=dict)
    decisions: Mapping[str, int] = field(default_factory=dict)
    """Those made again, by what they said: ``allow``, ``deny``, ``put_off``."""
    attempts: int = 0
    undecided: int = 0
    """Attempts of which the history has no decision that let them through: from before decisions were stored."""
    rates: int = 0
    seals: int = 0
    erased: int = 0
    """Rows of history whose person was erased: what they decided and dialed is not in the archive."""
    not_made_again: Mapping[str, int] = field(default_factory=dict)
    """Decisions that rest on rule data of a version that is not in the archive, or are from before decisions were
    stored with their instants, by what is missing; the chain vouches for them all the same."""


class _Differs(Exception):  # noqa: N818 - it carries a difference
    def __init__(self, where: str, sentence: str) -> None:
        super().__init__(where, sentence)
        self.difference = Difference(where, sentence)


def verify_archive(file: IO[bytes], public: bytes | None = None) -> ArchiveVerdict:
    """Check an archive. Raises UnreadableArchiveError for what is none, OSError."""
    given = public is not None
    try:
        _check_headers(file)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            checking = _Checking(tar, _contents(tar))
            checking.run(public)
    except tarfile.TarError as error:
        raise UnreadableArchiveError(f"The file is no archive of evidence: {error}.") from error
    except _Differs as error:
        return ArchiveVerdict(valid=False, difference=error.difference, key_given=given)
    return checking.verdict(given=given)


def _check_headers(file: IO[bytes]) -> None:
    """Check that the file has no members but plain ones that lie in it: a sparse one of a few bytes can be of any
    length, and a header of another kind can say anything of the member after it. No member is read."""
    end = file.seek(0, io.SEEK_END)
    at = 0
    while at < end:
        file.seek(at)
        try:
            found = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            # the end of the members, or no tar file, which is told by who reads it
            break
        at += tarfile.BLOCKSIZE
        if found.type != tarfile.REGTYPE or not 0 <= found.size <= end - at:
            raise _Differs(found.name[:100], "it is no member as outdial writes it: a plain one that lies in the file")
        at += -(-found.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    file.seek(0)


def _contents(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    found = tar.getmembers()
    if not found or found[-1].name != archive.MANIFEST:
        raise UnreadableArchiveError("The file is no archive of evidence: its last member is no manifest.json.")
    names = tuple(one.name for one in found)
    if names != (*archive.MEMBERS, archive.MANIFEST):
        raise _Differs("archive", f"it holds {', '.join(names)}: not the members of an archive, each once, in order")
    for one in found:
        if not one.isreg() or (one.mtime, one.uid, one.gid) != (0, 0, 0):
            raise _Differs(one.name, "it is no member as outdial writes it")
    return dict(zip(names, found, strict=True))


class _Checking:
    """An archive that is being checked."""

    def __init__(self, tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> None:
        self._tar = tar
        self._members = members
        self._evidence = Evidence()
        self._decisions: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._rates = 0
        self._undecided = 0

    def run(self, public: bytes | None) -> None:
        self._manifest = self._read_manifest(public)
        self._history = self._check_history()
        self._limits = {one.id: one for one in self._read_limits()}
        self._check_derived()
        self._check_decided()
        self._check_decisions()

    def verdict(self, *, given: bool) -> ArchiveVerdict:
        return ArchiveVerdict(
            valid=True,
            difference=None,
            key_given=given,
            key_id=self._manifest["signature"]["keyId"],
            of=self._manifest["of"],
            decisions=dict(self._decisions),
            attempts=len(self._evidence.calls),
            undecided=self._undecided,
            rates=self._rates,
            seals=self._history.seals,
            erased=self._history.erased,
            not_made_again=dict(self._missing),
        )

    # The file

    def _read_manifest(self, public: bytes | None) -> dict[str, Json]:
        where = archive.MANIFEST
        if self._members[where].size > LARGEST_MANIFEST:
            raise _Differs(where, "it is larger than a manifest")
        text = self._open(where).read()
        try:
            document: dict[str, Json] = read(text)
            archive.SHAPE(document, "")
            if canonical(document) + b"\n" != text:
                raise _Differs(where, "it is not in canonical form")
        except (NotJsonError, ShapeError) as error:
            raise _Differs(where, str(error)) from error
        if document["version"] != archive.VERSION:
            raise _Differs(f"{where} version", f"this outdial reads version {archive.VERSION}")
        if [one["name"] for one in document["members"]] != list(archive.MEMBERS):
            raise _Differs(f"{where} members", "they are not the members of an archive, each once, in order")
        for finding in signature_findings(document, public):
            raise _Differs(f"{where} {finding.where}", finding.sentence)
        for one in document["members"]:
            self._check_hash(one)
        return document

    def _check_hash(self, told: Mapping[str, Json]) -> None:
        name, found, lines, size = told["name"], hashlib.sha256(), 0, 0
        with self._open(name) as file:
            while piece := file.read(1 << 16):
                found.update(piece)
                lines += piece.count(b"\n")
                size += len(piece)
        if (found.hexdigest(), lines, size) != (told["sha256"], told["lines"], told["bytes"]):
            raise _Differs(name, "it is not the member that the manifest names: something in it was changed")

    def _open(self, name: str) -> IO[bytes]:
        file = self._tar.extractfile(self._members[name])
        assert file is not None  # noqa: S101 - a regular file
        return file

    def _documents(self, name: str) -> Iterator[tuple[str, Any]]:
        """Yield each line of a member as its document, with its place."""
        with self._open(name) as lines:
            for number, text in enumerate(lines_of(lines), 1):
                where = f"{name} line {number}"
                if len(text) > LONGEST_LINE:
                    raise _Differs(where, f"it is longer than {LONGEST_LINE} bytes, and no line that outdial writes is")
                try:
                    yield where, read(text)
                except NotJsonError as error:
                    raise _Differs(where, str(error)) from error

    # The chain, and what follows from it

    def _check_history(self) -> FileCheck:
        with self._open(archive.HISTORY) as lines:
            try:
                found = check_file(lines_of(lines))
            except ChainError as error:
                raise _Differs(f"{archive.HISTORY} {error.where}", error.sentence) from error
        if found.asked.document() != self._manifest["of"]:
            raise _Differs(f"{archive.MANIFEST} of", "the history is of something else")
        for where, document in self._documents(archive.HISTORY):
            if document["kind"] == "row":
                try:
                    self._evidence.take(document["row"])
                except ValueError as error:
                    raise _Differs(where, str(error)) from error
        return found

    def _read_limits(self) -> Iterator[AttemptLimit]:
        for where, document in self._documents(archive.LIMITS):
            try:
                yield read_limit(document)
            except (KeyError, TypeError, ValueError, NotJsonError) as error:
                raise _Differs(where, f"it is no attempt limit: {error!r}") from error

    def _check_derived(self) -> None:
        for name, lines in archive.derived(self._evidence, self._limits.values()).items():
            count = self._check_lines(name, lines)
            if name == archive.RATES:
                self._rates = count

    def _check_lines(self, name: str, lines: Iterable[bytes]) -> int:
        number = 0
        with self._open(name) as stored:
            for number, found in enumerate(lines, 1):
                if stored.readline(len(found) + 1) != found:
                    said = found.decode().rstrip("\n")[:200]
                    raise _Differs(f"{name} line {number}", f"the history and the limits say {said}")
            if stored.read(1):
                raise _Differs(f"{name} line {number + 1}", "nothing in the history or the limits says that")
        return number

    # The decisions

    def _check_decided(self) -> None:
        """Check that a decision let each attempt through. When decisions came to be stored is known by the first
        attempt that has one: one function of the database reserves all of them, so every later one has its own."""
        decided = {one.attempt_id for one in self._evidence.decisions if one.attempt_id is not None}
        storing = False
        for number, call in enumerate(self._evidence.calls.values(), 1):
            if call.id in decided:
                storing = True
                continue
            if storing:
                sentence = "no decision let it through, and attempts before it have theirs"
                raise _Differs(f"{archive.ATTEMPTS} line {number}", sentence)
            self._undecided += 1

    def _check_decisions(self) -> None:
        data = _RuleData(self._manifest["data"], self._read_runs(), self._read_packs(), self._read_calendars())
        own: dict[tuple[int, str], list[Call]] = defaultdict(list)
        by_number: dict[str, list[Call]] = defaultdict(list)
        phones: dict[tuple[int, str], str] = {}
        for call in self._evidence.calls.values():
            own[call.run_id, call.contact_id].append(call)
            by_number[call.phone].append(call)
            phones[call.run_id, call.contact_id] = call.phone
        # calls to a person who was erased may have counted for somebody who has one of their numbers too
        whole = Asked(**_asked(self._manifest["of"])).whole and not self._history.erased
        with only_zones(self._read_zones()):
            for number, decided in enumerate(self._evidence.decisions, 1):
                where = f"{archive.DECISIONS} line {number}"
                missing = data.missing(decided.decision)
                if missing is not None:
                    self._missing[missing] += 1
                    continue
                contact = decided.run_id, decided.contact_id
                # whose number was never called in the run, is not told: nothing of it is known
                phone = phones.get(contact)
                several = numbers_of(decided.decision)
                calls = [call for one in several or (phone,) if one is not None for call in by_number[one]]
                rules = data.rules_of(decided.run_id, where)
                case = Case(
                    decided=decided,
                    rules=rules,
                    timetable=data.timetable(rules, decided.decision, where),
                    limits=self._limits,
                    own=own[contact],
                    number=calls,
                    whole=whole and (phone is not None or bool(several)),
                    calls=self._evidence.calls,
                )
                try:
                    check(case)
                except NotTheSameError as error:
                    raise _Differs(where, f"row {decided.row_id}: {error}") from error
                self._decisions[_kind(decided)] += 1

    def _read_runs(self) -> dict[int, DialingRules]:
        found = {}
        for where, document in self._documents(archive.RUNS):
            try:
                found[document["runId"]] = msgspec.convert(document["rules"], DialingRules)
            except (KeyError, TypeError, msgspec.ValidationError) as error:
                raise _Differs(where, f"it is no run with its rules: {error!r}") from error
        return found

    def _read_packs(self) -> dict[str, RulePack]:
        found: dict[str, RulePack] = {}
        for where, one in self._documents(archive.PACKS):
            try:
                document = tomllib.loads(one["document"])
                pack = read_pack(document, included=[found[name] for name in document.get("includes", ())])
            except (KeyError, TypeError, ValueError) as error:
                raise _Differs(where, f"it is no rule pack: {error}") from error
            if pack.full_name != one["pack"]:
                raise _Differs(where, f"the pack {one['pack']} holds {pack.full_name}")
            found[pack.full_name] = pack
        return found

    def _read_calendars(self) -> dict[str, HolidayCalendar]:
        found = {}
        for where, one in self._documents(archive.CALENDARS):
            try:
                dates = {date.fromisoformat(on): name for on, name in one["dates"].items()}
                calendar = HolidayCalendar(one["code"], one["firstYear"], one["lastYear"], MappingProxyType(dates))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise _Differs(where, f"it is no holiday calendar: {error!r}") from error
            found[calendar.code] = calendar
        return found

    def _read_zones(self) -> dict[str, ZoneInfo]:
        found = {}
        for where, one in self._documents(archive.ZONES):
            try:
                data = base64.b64decode(one["data"], validate=True)
                found[one["zone"]] = ZoneInfo.from_file(io.BytesIO(data), key=one["zone"])
            except (KeyError, TypeError, ValueError, binascii.Error) as error:
                raise _Differs(where, f"it is no time zone: {error!r}") from error
        return found


def _asked(of: Mapping[str, Json]) -> dict[str, Any]:
    return {
        "account_id": of["accountId"],
        "campaign_id": of["campaignId"],
        "instance_id": of["instanceId"],
        "run_id": of["runId"],
    }


def _kind(decided: Decided) -> str:
    if "rule" not in decided.decision:
        return "allow"
    if decided.by_hand is not None:
        # what puts off beside the gate does not say until when
        return "put_off" if decided.by_hand == ManualAnswer.PUT_OFF else "deny"
    return "put_off" if "until" in decided.decision else "deny"


class _RuleData:
    """What an archive has of the data that decisions were made with."""

    def __init__(
        self,
        versions: Mapping[str, str],
        runs: Mapping[int, DialingRules],
        packs: Mapping[str, RulePack],
        calendars: Mapping[str, HolidayCalendar],
    ) -> None:
        self._versions = versions
        self._runs = runs
        self._packs = packs
        self._calendars = calendars
        self._made: dict[tuple[int, DataVersions], Timetable] = {}

    def missing(self, decision: Mapping[str, Json]) -> str | None:
        """Return what is missing to make a decision again; None when nothing is."""
        if "decidedAt" not in decision:
            return "its instant"
        for name in ("tzdata", "holidays"):
            version = decision.get("versions", {}).get(name)
            if version is not None and version != self._versions[name]:
                return f"{name} {version}"
        return None

    def rules_of(self, run_id: int, where: str) -> DialingRules:
        found = self._runs.get(run_id)
        if found is None:
            raise _Differs(where, f"the archive has no rules of the run {run_id}")
        return found

    def timetable(self, rules: DialingRules, decision: Mapping[str, Json], where: str) -> Timetable:
        """Return a run's calling hours with their data, telling the versions that the decision says they have; what the
        decision says of the pack must be the run's."""
        told = decision.get("versions", {})
        versions = DataVersions(told.get("tzdata", ""), told.get("phonenumbers", ""), told.get("holidays", ""))
        key = (id(rules), versions)
        if key not in self._made:
            name = rules.calling_hours.rule_pack
            if name is not None and name not in self._packs:
                raise _Differs(where, f"the archive has no rule pack {name}")
            pack = None if name is None else self._packs[name]
            self._made[key] = Timetable(rules.calling_hours, pack, MappingProxyType(dict(self._calendars)), versions)
        return self._made[key]
