"""Second legs: calls that connect somebody who is on the line with somebody else."""

from __future__ import annotations

import re
from typing import Final

from outdial.core.errors import InvalidInputError
from outdial.core.model import Transport, Trunk
from outdial.core.phone import parse_phone, written_for
from outdial.core.watch import phone_of

_LEG: Final = re.compile(r"([0-9a-f]{32})-t[0-9]{1,6}")
_SIP: Final = re.compile(r"(sips?):([A-Za-z0-9_.+*-]{1,64})@(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?")

_SEPARATORS: Final = re.compile(r"[-._]")
"""What may stand between the digits of a number (RFC 3966 section 5.1.1, and what carriers ignore)."""

_NAMED: Final = re.compile(r"[A-Za-z]")


class NotOnTrunkError(ValueError):
    """Nobody can be called there through the run's trunk; the text says why."""


def leg_id(attempt_id: str, turn: int) -> str:
    """Return the id of the call that a turn of an attempt's flow places; it is its engine's channel id."""
    return f"{attempt_id}-t{turn}"


def attempt_of_leg(call_id: str) -> str | None:
    """Return the attempt that a second leg was placed for, None when a call is none."""
    found = _LEG.fullmatch(call_id)
    return None if found is None else found[1]


def destination(to: str, trunk: Trunk) -> tuple[str, str | None]:
    """Return how the trunk writes whom a transfer calls, and the phone number (E.164) where it is one.

    A number is the trunk's to reach, like any. A SIP address must be one of the trunk's own host and port: a run calls
    through its trunk's permit, which sends nowhere else. One that is a number by another spelling is that number, so
    that do-not-call lists are asked. Raises NotOnTrunkError.
    """
    if not to.startswith(("sip:", "sips:")):
        return written_for(trunk, to), to
    found = _SIP.fullmatch(to)
    if found is None:
        raise NotOnTrunkError(f"{to} is more than a plain SIP address like sip:desk@{trunk.host}")
    scheme, user, host, port = found.groups()
    standard = 5061 if scheme == "sips" or trunk.transport is Transport.TLS else 5060
    # a trunk without a port is found by DNS, and so is an address without one (RFC 3263)
    right_port = port is None if trunk.port == 0 else int(port or standard) == trunk.port
    if not right_port or host.strip("[]").lower() != trunk.host.strip("[]").lower():
        raise NotOnTrunkError(f"{to} is not at the run's trunk, {trunk.host}:{trunk.port}")
    if scheme == "sips" and trunk.transport is not Transport.TLS:
        raise NotOnTrunkError(f"{to} asks for TLS, which the run's trunk does not speak")
    return _reached(user, trunk)


def _reached(user: str, trunk: Trunk) -> tuple[str, str | None]:
    """Return how the trunk writes a SIP user, and its number where it is one. Raises NotOnTrunkError."""
    written = phone_of(user, trunk.number_format, trunk.number_prefix)
    bare = _SEPARATORS.sub("", user)
    if written is None and _NAMED.search(bare):
        return user, None
    for text in (written, bare if bare.startswith("+") else f"+{bare}"):
        try:
            phone = parse_phone(text or "")
        except InvalidInputError:
            # it may be one by the other reading
            continue
        return written_for(trunk, phone), phone
    raise NotOnTrunkError(
        "the user of its address has no letter and is no number with its country: write the number, or a name"
    )
