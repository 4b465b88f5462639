"""The dialplan by which an Asterisk tells who ended a call over TCP or TLS. The managed Asterisk has it; an Asterisk of
the user's own needs the same lines.

When the connection of a call breaks before it was answered, Asterisk ends the call by itself, with cause 34 and SIP
status 503, and sends nothing more; the carrier may ring on (measured on 22.10.1). Its events say the same of a
carrier's own 503. Only the dialplan function HANGUPCAUSE knows the last answer that arrived.
"""

from __future__ import annotations

from typing import Final

CONTEXT: Final = "outdial-ended"
EXTENSION: Final = "s"
EVENT: Final = "outdial-ended"
"""Name of the event that is told right before the call's end."""
SAID: Final = "said"
"""Its field: the status of the carrier's last answer to the INVITE, as ``SIP 180``; empty when there was none. Its
reason phrase, in which a carrier may write anything, is left out."""

MODULES: Final = ("app_stack.so", "app_userevent.so", "func_channel.so", "func_hangupcause.so")
"""What its lines need."""

VARIABLES: Final = {"CHANNEL(hangup_handler_push)": f"{CONTEXT},{EXTENSION},1"}
"""What a call is given to be told of."""

ENDED: Final = f"""\
[{CONTEXT}]
exten = {EXTENSION},1,UserEvent({EVENT},{SAID}: ${{HANGUPCAUSE(${{CHANNEL(name)}},tech):0:7}})
 same = n,Return()
"""


_FINAL: Final = 200
"""Statuses from here on end a call (RFC 3261 section 7.2)."""
_CHALLENGES: Final = frozenset({401, 407, 422})
"""After these the INVITE is sent once more: with credentials (RFC 3261 section 22), with other session timers (RFC 4028
section 7.4)."""


def is_by_carrier(said: str, status: int | None) -> bool:
    """Whether the carrier has ended a call with what it said last, as ``SIP 503``; ``status`` is the SIP status that
    the engine gives for the end, None: none. What a challenge has ended may have been lost after it."""
    word, _, code = said.partition(" ")
    if word != "SIP" or not code.isdecimal() or int(code) < _FINAL or int(code) in _CHALLENGES:
        return False
    return status in (None, int(code))
