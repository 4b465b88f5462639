"""Simulations of campaigns: how one would go, without calling anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.native.bodies import Body, Instant, example
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import View
from outdial.api.numbers import Whole
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.core.errors import SimulationBusyError, SimulationEndedError
from outdial.core.model import Scope
from outdial.core.simulation import MOST_DAYS
from outdial.services.campaigns import get_campaign
from outdial.services.simulations import (
    HIGHEST_SEED,
    LONGEST_RING_SECONDS,
    LONGEST_TALK_SECONDS,
    LOWEST_RATE,
    MOST_LINES,
    MOST_RATE,
    Assumed,
    Simulation,
    SimulationDraft,
    SupposedMachines,
    simulate_campaign,
)

MOST_CONTACTS: Final = 50_000
"""Of a campaign that is simulated here."""
MOST_STEPS: Final = 2_000_000
"""Of a simulation here: seven seconds of one core, or up to twenty where limits are looked at. Fifty thousand people
with twenty tries each take as many."""

_Share = Annotated[float, Field(ge=0, le=1)]


class SimulationBody(Body):
    """What is to be supposed; what is left out is taken from the account's latest calls, or from round numbers."""

    model_config = example(startAt="2027-03-01T14:00:00Z", answerRate=0.4, lines=20)

    start_at: Instant | None = None
    """null: now. In the years 2000 to 2199."""
    answer_rate: _Share | None = None
    """A share of all calls, whoever answers, as the three that follow; together at most 1."""
    busy_rate: _Share | None = None
    no_answer_rate: _Share | None = None
    invalid_rate: _Share | None = None
    ring_seconds: Annotated[float, Field(ge=0, le=LONGEST_RING_SECONDS)] | None = None
    """Until somebody answers."""
    talk_seconds: Annotated[float, Field(ge=0, le=LONGEST_TALK_SECONDS)] | None = None
    """Of people's calls."""
    machine_rate: _Share | None = None
    """A share of answered calls: those of answering machines. Counts where the campaign has them detected."""
    machine_seconds: Annotated[float, Field(ge=0, le=LONGEST_TALK_SECONDS)] | None = None
    """From the answer to the end of a machine's call. Too."""
    lines: Annotated[int, Field(ge=1, le=MOST_LINES), Whole] | None = None
    """null: what the trunk and the application allow."""
    calls_per_second: Annotated[float, Field(ge=LOWEST_RATE, le=MOST_RATE)] | None = None
    seed: Annotated[int, Field(ge=0, le=HIGHEST_SEED), Whole] = 1
    """Another one draws other luck."""
    days: Annotated[int, Field(ge=1, le=MOST_DAYS), Whole] = 60
    """How many are played at most."""


class SimulatedHourView(View, frozen=True):
    """One hour in which calls leave."""

    begins_at: datetime
    calls_count: int
    answered_count: int
    lines_count: int
    """The most at once."""


class SimulatedAttemptsView(View, frozen=True):
    """Contacts with one number of attempts."""

    attempts_count: int
    contacts_count: int


class NeverCalledView(View, frozen=True):
    """Contacts who are never called, for one reason."""

    why: str
    contacts_count: int


class AssumedView(View, frozen=True):
    """What was supposed, and where that comes from: `default`, `history`, `given`, `trunk` or `application`."""

    value: float
    source: str


class SupposedMachinesView(View, frozen=True):
    """What was supposed of answering machines."""

    mode: str
    """`detect` or `disconnect`."""
    rate: AssumedView
    """Of answered calls."""
    seconds: AssumedView
    """From the answer to the end of such a call."""
    message_left: bool
    """They hear a message, and their contacts are done; else they are hung up on and tried again by the rules."""
    verdicts_looked_at_count: int
    """Of the account, that the history consists of."""


class SimulationView(View, frozen=True):
    """What a simulation came to."""

    campaign_id: str
    start_at: datetime
    last_call_at: datetime | None
    """When the last call ends; null: there is none."""
    finished: bool
    """Nobody is left who could still be called."""
    contacts_count: int
    calls_count: int
    lines_count: int
    """The most lines in use at once."""
    hours: list[SimulatedHourView]
    """By the campaign's clock; those without a call are left out."""
    attempts: list[SimulatedAttemptsView]
    dispositions: dict[str, int]
    """How many calls ended in which way."""
    done: dict[str, int]
    """What became of how many contacts."""
    never: list[NeverCalledView]
    left_count: int
    """Contacts still to be called when the days played are over."""
    lines: AssumedView
    calls_per_second: AssumedView
    shares: dict[str, AssumedView]
    ring_seconds: AssumedView
    talk_seconds: AssumedView
    machines: SupposedMachinesView | None
    """null: the campaign has none detected; they hear what people hear."""
    calls_looked_at_count: int
    """Calls that the history consists of."""
    notes: list[str]


_GIVEN, _USUAL = AssumedView(value=0.4, source="given"), AssumedView(value=0.6, source="default")
_EXAMPLE: Final = SimulationView(
    campaign_id="cd-1111111-2222-4333-8444-555555555555",
    start_at=datetime.fromisoformat("2027-03-01T14:00:00+00:00"),
    last_call_at=datetime.fromisoformat("2027-03-01T14:00:49+00:00"),
    finished=True,
    contacts_count=2,
    calls_count=1,
    lines_count=1,
    hours=[
        SimulatedHourView(
            begins_at=datetime.fromisoformat("2027-03-01T14:00:00+00:00"),
            calls_count=1,
            answered_count=1,
            lines_count=1,
        )
    ],
    attempts=[
        SimulatedAttemptsView(attempts_count=0, contacts_count=1),
        SimulatedAttemptsView(attempts_count=1, contacts_count=1),
    ],
    dispositions={"answered_human": 1},
    done={"reached": 1},
    never=[NeverCalledView(why="On the account's do-not-call list.", contacts_count=1)],
    left_count=0,
    lines=AssumedView(value=20, source="given"),
    calls_per_second=AssumedView(value=10, source="trunk"),
    shares={"answered_human": _GIVEN, "no_answer": _USUAL},
    ring_seconds=AssumedView(value=12, source="default"),
    talk_seconds=AssumedView(value=45, source="default"),
    machines=SupposedMachinesView(
        mode="disconnect",
        rate=AssumedView(value=0.21, source="history"),
        seconds=AssumedView(value=4.1, source="history"),
        message_left=False,
        verdicts_looked_at_count=1840,
    ),
    calls_looked_at_count=0,
    notes=[],
)


class SimulationRoutes:
    """Simulations."""

    def __init__(self, parts: ApiParts) -> None:
        self._database, self._secrets = parts.database, parts.secrets
        self._one = asyncio.Lock()
        """One at a time: each keeps a core busy, and other requests wait for that core too."""

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        routes.add(
            "POST",
            "/campaigns/{campaignId}/simulations",
            self.simulate,
            Operation("Simulate a campaign", Scope.CAMPAIGN_MANAGEMENT, SimulationView, _EXAMPLE, SimulationBody),
        )

    async def simulate(self, request: Request, caller: Caller) -> Response:
        """Play a campaign through from its first contact on, as if it were started at an instant and left alone, and
        tell when it ends, calls by hour, lines in use, attempts, and who is never called and why. Nobody is called and
        nothing is stored.

        Its own lists, do-not-call lists, calling hours, retry rules, limits and lines decide. Campaigns of more than
        50,000 contacts, and those that take more than 2,000,000 steps (calls, and looks at calls before), are refused;
        `outdial simulate` plays them. A server plays one at a time, and ends it when its client hangs up.
        """
        body = parse(SimulationBody, await read_json(request))
        campaign = await get_campaign(self._database, caller.iid, request.path_params["campaignId"])
        if self._one.locked():
            raise SimulationBusyError("Another simulation is under way here; ask again in some seconds.")
        async with self._one:
            made = await _while_heard(
                request,
                simulate_campaign(
                    self._database,
                    self._secrets,
                    campaign,
                    SimulationDraft(**dict(body)),
                    most_contacts=MOST_CONTACTS,
                    most_steps=MOST_STEPS,
                ),
            )
        return JsonReply(_view(made))


async def _while_heard(request: Request, work: Coroutine[Any, Any, Simulation]) -> Simulation:
    """Return what comes of the work; cancel it when the client hangs up, and raise SimulationEndedError."""
    working, gone = asyncio.create_task(work), asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        # nobody hears this: it is for the log
        raise SimulationEndedError("The client hung up before its simulation was over.")
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _view(made: Simulation) -> SimulationView:
    outcome = made.outcome
    return SimulationView(
        campaign_id=made.campaign_id,
        start_at=outcome.begin,
        last_call_at=outcome.last_call_at,
        finished=outcome.finished,
        contacts_count=outcome.contacts,
        calls_count=outcome.calls,
        lines_count=outcome.lines,
        hours=[
            SimulatedHourView(
                begins_at=at, calls_count=hour.calls, answered_count=hour.answered, lines_count=hour.lines
            )
            for at, hour in outcome.hours.items()
        ],
        attempts=[
            SimulatedAttemptsView(attempts_count=count, contacts_count=contacts)
            for count, contacts in outcome.attempts.items()
        ],
        dispositions={str(one): count for one, count in outcome.dispositions.items()},
        done={str(one): count for one, count in outcome.done.items()},
        never=[NeverCalledView(why=one.why, contacts_count=one.count) for one in outcome.never],
        left_count=outcome.left_count,
        lines=_assumed(made.lines),
        calls_per_second=_assumed(made.calls_per_second),
        shares={str(disposition): _assumed(one) for disposition, one in made.shares.items()},
        ring_seconds=_assumed(made.ring_seconds),
        talk_seconds=_assumed(made.talk_seconds),
        machines=_machines(made.machines),
        calls_looked_at_count=made.calls_looked_at,
        notes=list(made.notes),
    )


def _assumed(one: Assumed) -> AssumedView:
    return AssumedView(value=one.value, source=str(one.source))


def _machines(found: SupposedMachines | None) -> SupposedMachinesView | None:
    if found is None:
        return None
    return SupposedMachinesView(
        mode=found.mode,
        rate=_assumed(found.rate),
        seconds=_assumed(found.seconds),
        message_left=found.message_left,
        verdicts_looked_at_count=found.verdicts_looked_at,
    )
