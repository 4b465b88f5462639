"""How an attempt ended, from what the engine says: Q.850 cause and final SIP status.

The SIP status decides where there is one. Asterisk's ``dialstatus`` is never used: it calls a 404 and a 603
``NOANSWER`` (measured on 22.10.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from outdial.core.model import Disposition

_D = Disposition

SIP_DISPOSITIONS: Final[Mapping[int, Disposition]] = MappingProxyType(
    {
        # RFC 3261 §21; 480 is also what the engine says when its own ring timer ends the call (measured)
        403: _D.REJECTED,
        404: _D.INVALID_NUMBER,
        408: _D.NO_ANSWER,
        410: _D.INVALID_NUMBER,
        429: _D.CONGESTION,
        480: _D.NO_ANSWER,
        484: _D.INVALID_NUMBER,
        486: _D.BUSY,
        487: _D.CANCELLED,
        500: _D.CONGESTION,
        502: _D.CONGESTION,
        503: _D.CONGESTION,
        504: _D.CONGESTION,
        600: _D.BUSY,
        603: _D.REJECTED,
        604: _D.INVALID_NUMBER,
        # RFC 8197 and RFC 8688: unwanted, and rejected by an intermediary
        607: _D.REJECTED,
        608: _D.REJECTED,
    }
)
"""Final SIP status of an unanswered call → how it ended."""

CAUSE_DISPOSITIONS: Final[Mapping[int, Disposition]] = MappingProxyType(
    {
        # ITU-T Q.850 §2.2.7
        1: _D.INVALID_NUMBER,  # unallocated number
        17: _D.BUSY,
        18: _D.NO_ANSWER,  # no user responding
        19: _D.NO_ANSWER,  # no answer, user alerted
        20: _D.NO_ANSWER,  # subscriber absent
        21: _D.REJECTED,
        22: _D.INVALID_NUMBER,  # number changed
        28: _D.INVALID_NUMBER,  # invalid format
        34: _D.CONGESTION,  # no circuit
        38: _D.CONGESTION,  # network out of order
        41: _D.CONGESTION,  # temporary failure
        42: _D.CONGESTION,  # switching equipment congestion
        44: _D.CONGESTION,  # requested circuit not available
    }
)
"""Q.850 cause of an unanswered call without a SIP status → how it ended."""


def disposition_of(
    *,
    answered: bool,
    cause: int | None,
    sip_code: int | None,
    cancelled_by_us: bool,
    heard: bool = True,
    machine: bool = False,
) -> Disposition:
    """Return how an attempt ended. ``cancelled_by_us``: our side ended the call before it was answered. ``heard``
    False: whoever answered heard nothing, and that was our fault. ``machine``: an answering machine was found to have
    answered, which nobody owes a word."""
    if answered:
        if machine:
            return Disposition.ANSWERED_MACHINE
        return Disposition.ANSWERED_HUMAN if heard else Disposition.ABANDONED
    if cancelled_by_us:
        return Disposition.CANCELLED
    if sip_code is not None and sip_code in SIP_DISPOSITIONS:
        return SIP_DISPOSITIONS[sip_code]
    if cause is not None and cause in CAUSE_DISPOSITIONS:
        return CAUSE_DISPOSITIONS[cause]
    return Disposition.FAILED
