"""Checking signed reports of stops with nothing but the report and, where it is at hand, a public key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from outdial import signing
from outdial.core.canonical import Json, NotJsonError, canonical, read
from outdial.core.errors import OutdialError
from outdial.core.history_file import LONGEST_LINE
from outdial.core.stop_proof import CHECKS, Finding, findings, shape_findings, signed_bytes

LARGEST: Final = 1 << 30
"""Bytes of a report that are read."""


class UnreadableReportError(OutdialError):
    """A file is no report of a stop: it cannot be read, or is no JSON object."""

    code = "report_unreadable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a report proves."""

    valid: bool
    findings: tuple[Finding, ...]
    """What does not hold, in the order of the checks; empty when it is valid."""
    key_given: bool
    """The key came from elsewhere than the report: it shows who signed, not only that nothing was changed since."""
    key_id: str | None
    document: dict[str, Json] | None
    """The report, where it has the shape of one."""


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file; of one that is longer than any may be, no more than shows it."""
    while text := file.readline(LONGEST_LINE + 1):
        yield text


def verify(text: bytes, public: bytes | None = None) -> Verdict:
    """Check a report: its shape, its signature (by the key given, else by the one it names itself), its chain, and what
    it says. Raises UnreadableReportError."""
    try:
        document = read(text)
        # half a character can be read, and not be written again
        canonical(document)
    except NotJsonError as error:
        raise UnreadableReportError(f"The file is no report of a stop: {error}.") from error
    if not isinstance(document, dict):
        raise UnreadableReportError("The file is no report of a stop: it holds no JSON object.")
    found = shape_findings(document)
    if found:
        return Verdict(valid=False, findings=tuple(found), key_given=public is not None, key_id=None, document=None)
    found = [*signature_findings(document, public), *findings(document)]
    found.sort(key=lambda one: CHECKS.index(one.check))
    return Verdict(
        valid=not found,
        findings=tuple(found),
        key_given=public is not None,
        key_id=document["signature"]["keyId"],
        document=document,
    )


def signature_findings(document: dict[str, Json], given: bytes | None) -> list[Finding]:
    """Return what is wrong with a document's signature, by the key given, else by the one it names itself."""
    signature = document["signature"]
    try:
        named = signing.from_text(signature["publicKey"])
        value = signing.from_text(signature["value"])
    except ValueError as error:
        return [Finding("signature", "signature", str(error))]
    public = named if given is None else given
    if signing.key_id(named) != signature["keyId"]:
        return [Finding("signature", "signature.keyId", "it is not the id of the public key beside it")]
    if named != public:
        sentence = f"it was signed by the key {signature['keyId']}, not by the one given ({signing.key_id(public)})"
        return [Finding("signature", "signature.publicKey", sentence)]
    if not signing.verifies(public, value, signed_bytes(document)):
        sentence = "it is not the key's signature of this document: something in it was changed"
        return [Finding("signature", "signature.value", sentence)]
    return []
