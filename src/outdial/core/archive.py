"""What an archive of evidence holds: its members, those of them that follow from others, and what is signed.

An archive is a tar file of JSON lines, each in its canonical form, and a manifest at the end::

    history.jsonl     the chain, as ``outdial history export`` writes it
    runs.jsonl        the rules of each run
    limits.jsonl      every attempt limit of the account there was
    packs.jsonl       rule packs, as their documents
    calendars.jsonl   holidays
    zones.jsonl       compiled time zones (RFC 8536), base64
    decisions.jsonl   each allow, deny and put-off          follow from
    attempts.jsonl    each attempt                          history.jsonl
    rates.jsonl       most calls to a number in a window    and limits.jsonl
    manifest.json     hashes of all of them, and the signature
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from outdial.core.attempt_limits import AttemptLimit
from outdial.core.canonical import Json, canonical
from outdial.core.evidence import Evidence, rates
from outdial.core.shapes import fields, many, maybe, one_of, sha256, text, whole

KIND: Final = "outdial evidence archive"
VERSION: Final = 2
"""Since 2 refused calls by hand are among the decisions: whoever knows 1 alone would say that nothing in the history
tells of them."""

READ: Final = frozenset({1, VERSION})
"""Versions that are read: what 1 has, 2 has in the same form."""

HISTORY: Final = "history.jsonl"
RUNS: Final = "runs.jsonl"
LIMITS: Final = "limits.jsonl"
PACKS: Final = "packs.jsonl"
CALENDARS: Final = "calendars.jsonl"
ZONES: Final = "zones.jsonl"
DECISIONS: Final = "decisions.jsonl"
ATTEMPTS: Final = "attempts.jsonl"
RATES: Final = "rates.jsonl"
MANIFEST: Final = "manifest.json"

MEMBERS: Final = (HISTORY, RUNS, LIMITS, PACKS, CALENDARS, ZONES, DECISIONS, ATTEMPTS, RATES)
"""In the order in which they stand in the file; the manifest follows."""

SHAPE: Final = fields(
    {
        "kind": one_of(KIND),
        "version": whole,
        "of": fields({"accountId": text, "campaignId": maybe(text), "instanceId": maybe(text), "runId": maybe(whole)}),
        "data": fields({"tzdata": text, "holidays": text}),
        "members": many(fields({"name": one_of(*MEMBERS), "bytes": whole, "lines": whole, "sha256": sha256})),
        "signature": fields({"algorithm": one_of("Ed25519"), "keyId": sha256, "publicKey": text, "value": text}),
    }
)
"""Of the manifest."""


def line(document: Json) -> bytes:
    """Return one line of a member."""
    return canonical(document) + b"\n"


def derived(evidence: Evidence, limits: Iterable[AttemptLimit]) -> Mapping[str, Iterable[bytes]]:
    """Return the lines of the members that follow from the history and the limits, by their names."""
    calls = evidence.calls.values()
    return {
        DECISIONS: (line(one.document()) for one in evidence.decisions),
        ATTEMPTS: (line(one.document()) for one in calls),
        RATES: (line(one) for one in rates(calls, tuple(limits))),
    }
