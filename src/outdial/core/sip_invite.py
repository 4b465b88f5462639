"""Reads from a SIP message (RFC 3261) what tells which call it begins, if it begins one.

Only as much as that needs: requests that are no INVITE, responses, and INVITEs within a dialog begin none. A message
that cannot be read is a :class:`SipProblem`, never an exception: some of it comes from the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

_REQUEST: Final = b"INVITE "
_URI: Final = re.compile(r"(?:sips?|tel):([^@;>?\s]*)", re.IGNORECASE)
_TAG: Final = re.compile(r";\s*tag\s*=", re.IGNORECASE)
_SESSION: Final = re.compile(rb"(?:^|\n)s=([^\r\n]*)")
_NAMES: Final = {"i": "call-id", "f": "from", "t": "to"}
"""Compact forms (RFC 3261 §7.3.3)."""

_LONGEST: Final = 256
"""Characters kept of anything; what is longer is no number, Call-ID or permit of ours."""


class SipProblem(StrEnum):
    """Why a message cannot be judged."""

    BROKEN_INVITE = "broken_invite"
    """An INVITE without what every INVITE has."""


@dataclass(frozen=True, slots=True)
class Invite:
    """A request for a new call."""

    number: str
    """User part of the request's URI, as the trunk wants it."""
    caller: str
    """User part of From."""
    call_id: str
    session: str
    """Session name of the SDP offer (RFC 8866 §5.3): an outdial permit's endpoint puts its name there; empty = none."""


def read_invite(message: bytes) -> Invite | SipProblem | None:
    """Return the INVITE that begins a call; None for every other message, :class:`SipProblem` for a broken INVITE.

    A repetition, whether for want of an answer or with credentials after a 401 or 407, is an INVITE with the Call-ID of
    the first: it is the same call.
    """
    if not message.startswith(_REQUEST):
        return None
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.decode(errors="replace").split("\r\n")
    headers = _headers(lines)
    call_id, target = headers.get("call-id", ""), _URI.search(first)
    if target is None or not call_id or "to" not in headers or "from" not in headers:
        return SipProblem.BROKEN_INVITE
    if _TAG.search(headers["to"].rpartition(">")[2]):
        return None
    caller = _URI.search(headers["from"])
    session = _SESSION.search(body)
    return Invite(
        number=clean(unquote(target[1])),
        caller="" if caller is None else clean(unquote(caller[1])),
        call_id=clean(call_id),
        session="" if session is None else clean(session[1].decode(errors="replace")),
    )


def clean(text: str) -> str:
    """Return what may be kept and shown of a text from the network: printable characters, and not too many."""
    return "".join(each if each.isprintable() else "?" for each in text[:_LONGEST])


def _headers(lines: list[str]) -> dict[str, str]:
    """Return the headers this looks at, each once, unfolded (RFC 3261 §7.3.1)."""
    found: dict[str, str] = {}
    last = ""
    for line in lines:
        if line[:1] in {" ", "\t"}:
            if last in found:
                found[last] = f"{found[last]} {line.strip()}".strip()
            continue
        name, _, value = line.partition(":")
        last = name.strip().lower()
        last = _NAMES.get(last, last)
        if last in found:
            last = ""
            continue
        found[last] = value.strip()
    return found
