"""What a simulation supposes of answering machines: from the account's past verdicts where there are enough of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from outdial.core.machine import AfterVerdict, MachineDetection, MachineVerdict, after_verdict
from outdial.core.model import Campaign, Disposition
from outdial.core.simulation_calls import MachineCalls
from outdial.store import flows as flows_store
from outdial.store import simulations as store
from outdial.store.database import Connection

FEWEST_VERDICTS: Final = 200
"""From so many of the account on its own history says more than a default does."""

FEWEST_MACHINES: Final = 30
"""From so many machines' calls that went alike on, their mean length does."""

DEFAULT_MACHINE_RATE: Final = 0.3
"""Of answered calls. A round number, no measurement."""
DEFAULT_HUNG_UP_SECONDS: Final = 4.0
"""From the answer until a machine is hung up on: with the usual timings (docs/explanation/performance.md)."""
DEFAULT_MESSAGE_SECONDS: Final = 30.0
"""From the answer until a machine has heard its message: greeting, beep and message. A round number."""


class Source(StrEnum):
    """Where an assumption comes from."""

    DEFAULT = "default"
    HISTORY = "history"
    GIVEN = "given"
    TRUNK = "trunk"
    APPLICATION = "application"


@dataclass(frozen=True, slots=True)
class Assumed:
    """One assumption."""

    value: float
    source: Source


@dataclass(frozen=True, slots=True)
class SupposedMachines:
    """What is supposed of answering machines in a campaign that has them detected."""

    mode: MachineDetection
    rate: Assumed
    """Of answered calls."""
    seconds: Assumed
    """From the answer to the end of such a call."""
    message_left: bool
    """They hear the message of the flow's ``machine_start``; else they are hung up on."""
    verdicts_looked_at: int
    """Of the account, that the history consists of."""

    @property
    def calls(self) -> MachineCalls:
        """As it is played."""
        return MachineCalls(self.seconds.value, self.message_left)

    def split(self, shares: Mapping[Disposition, Assumed]) -> dict[Disposition, Assumed]:
        """Return how calls end, those that machines answer apart from those of people."""
        answered = shares[Disposition.ANSWERED_HUMAN]
        split = {
            Disposition.ANSWERED_HUMAN: Assumed(answered.value * (1.0 - self.rate.value), answered.source),
            Disposition.ANSWERED_MACHINE: Assumed(answered.value * self.rate.value, self.rate.source),
        }
        # beside each other: with another rate, who is drawn for neither still is
        return {way: one for known, share in shares.items() for way, one in _replaced(known, share, split).items()}

    def notes(self) -> list[str]:
        """Return what to know about it, in sentences."""
        told = "hear the message of its flow and are done" if self.message_left else "are hung up on and tried again"
        sentence = f"Of the answered calls {self.rate.value:.0%} are supposed to be machines', which {told}"
        if self.rate.source is not Source.DEFAULT:
            return [f"{sentence}."]
        why = f"the account has fewer than {FEWEST_VERDICTS} verdicts of late"
        return [f"{sentence}: a round number, no measurement, since {why}."]


def _replaced(
    known: Disposition, share: Assumed, split: Mapping[Disposition, Assumed]
) -> Mapping[Disposition, Assumed]:
    return split if known is Disposition.ANSWERED_HUMAN else {known: share}


async def suppose(
    connection: Connection, campaign: Campaign, *, rate: float | None, seconds: float | None
) -> SupposedMachines | None:
    """Return what is supposed of machines, ``rate`` and ``seconds`` where they are given; None where the campaign has
    none detected: they hear what people hear."""
    mode = campaign.rules.machine_detection
    if mode is MachineDetection.NO:
        return None
    flow = None if campaign.flow_id is None else await flows_store.by_id(connection, campaign.flow_id)
    has_start = flow is not None and flow.document.get("machine_start") is not None
    left = after_verdict(mode, MachineVerdict.MACHINE, has_machine_start=has_start) is AfterVerdict.AWAIT_BEEP
    past = await store.verdicts(connection, campaign.account_id, message_left=left)
    known_rate = past.machines / past.verdicts if past.verdicts >= FEWEST_VERDICTS else None
    known_seconds = past.alike_seconds if past.alike >= FEWEST_MACHINES else None
    return SupposedMachines(
        mode,
        chosen(rate, known_rate, DEFAULT_MACHINE_RATE),
        chosen(seconds, known_seconds, DEFAULT_MESSAGE_SECONDS if left else DEFAULT_HUNG_UP_SECONDS),
        message_left=left,
        verdicts_looked_at=past.verdicts,
    )


def chosen(given: float | None, known: float | None, usual: float) -> Assumed:
    """Return what is given, else what is known, else what is usual."""
    if given is not None:
        return Assumed(given, Source.GIVEN)
    return Assumed(usual, Source.DEFAULT) if known is None else Assumed(known, Source.HISTORY)
