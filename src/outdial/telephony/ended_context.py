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
"""Its field: the carrier's last answer to the INVITE, as ``SIP 180 Ringing``; empty when there was none."""

MODULES: Final = ("app_stack.so", "app_userevent.so", "func_hangupcause.so")
"""What its lines need."""

VARIABLES: Final = {"CHANNEL(hangup_handler_push)": f"{CONTEXT},{EXTENSION},1"}
"""What a call is given to be told of."""

ENDED: Final = f"""\
[{CONTEXT}]
exten = {EXTENSION},1,UserEvent({EVENT},{SAID}: ${{HANGUPCAUSE(${{CHANNEL(name)}},tech)}})
 same = n,Return()
"""


_FINAL: Final = 200
_CHALLENGES: Final = frozenset({401, 407})
"""After these the INVITE is sent once more, with credentials (RFC 3261 section 22)."""


def is_final(said: str) -> bool:
    """Whether what was said last, as ``SIP 503 Service Unavailable``, has ended the call: a final answer, 200 and above
    (RFC 3261 section 7.2), that is no challenge."""
    words = said.split(maxsplit=2)
    if len(words) < 2 or words[0] != "SIP" or not words[1].isdecimal():  # noqa: PLR2004 - the word and the status
        return False
    return int(words[1]) >= _FINAL and int(words[1]) not in _CHALLENGES
