"""Erasing persons, and how long what is known of people is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.native.bodies import Body, Phone, example, told
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.stops import LARGEST_PAGE, LARGEST_SKIP
from outdial.api.native.views import Some, View
from outdial.api.numbers import Whole
from outdial.api.parameters import number
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_number
from outdial.api.stops import Stops
from outdial.core.model import ConnectedCalls, Scope
from outdial.services import erasures, recordings, retention
from outdial.services.erasures import Erasure
from outdial.services.retention import LEAST_ATTEMPTS_DAYS, MOST_DAYS, Retention


class ErasureBody(Body):
    """Erase one person."""

    model_config = example(phoneNumber="+15550100001", neverCall=True)

    phone_number: Phone
    never_call: bool = False
    connected: Annotated[ConnectedCalls, Field(strict=False)] = ConnectedCalls.KEEP


Days = Annotated[int, told(minimum=1, maximum=MOST_DAYS), Whole] | None
AttemptsDays = Annotated[int, told(minimum=LEAST_ATTEMPTS_DAYS, maximum=MOST_DAYS), Whole] | None


class RetentionBody(Body):
    """How long the account keeps what."""

    model_config = example(recordingsDays=30, attributesDays=365, attemptsDays=730)

    recordings_days: Days = None
    attributes_days: Days = None
    attempts_days: AttemptsDays = None


class ErasureView(View, frozen=True):
    """One person who was erased from the account, or is about to be; the number is not told."""

    id: str
    state: str
    """`erasing`, then `erased`, which leaves at most recordings on other machines, then `done`."""
    requested_at: datetime
    requested_by: str
    never_call: bool
    """The number is never called again, though it is forgotten."""
    counts: dict[str, int]
    """How many rows of each kind are gone."""
    erased_at: datetime | None
    done_at: datetime | None


class RetentionView(View, frozen=True):
    """How many days the account keeps what; null: for ever."""

    recordings_days: int | None
    attributes_days: int | None
    """Contacts' attributes, their names among them, and their unique ids."""
    attempts_days: int | None
    """Attempts of runs that are over, by whole months (UTC)."""
    updated_at: datetime | None
    updated_by: str | None


_AT: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
_ONE: Final = ErasureView(
    id="er-11111111-2222-4333-8444-555555555555",
    state="done",
    requested_at=_AT,
    requested_by="cs-22222222-2222-4333-8444-555555555555",
    never_call=True,
    counts={"contacts": 2, "run_contacts": 3, "attempts": 4, "recordings": 1, "history": 21},
    erased_at=_AT,
    done_at=_AT,
)
_PAGE: Final = Some[ErasureView](results=[_ONE], skip=0, limit=50, total=1)
_RETENTION: Final = RetentionView(
    recordings_days=30,
    attributes_days=365,
    attempts_days=730,
    updated_at=_AT,
    updated_by="cs-22222222-2222-4333-8444-555555555555",
)
_PAGING: Final = {
    "skip": number("How many to pass over, 0 unless told.", least=0, most=LARGEST_SKIP),
    "limit": number("At most so many, 50 unless told.", least=1, most=LARGEST_PAGE),
}


class PersonalDataRoutes:
    """Erasures and retention."""

    def __init__(self, parts: ApiParts, stops: Stops) -> None:
        self._parts = parts
        self._stops = stops
        self._folder = parts.settings.data_dir.resolve() / recordings.FOLDER

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.PERSONAL_DATA
        for method, path, endpoint, operation in (
            (
                "POST",
                "/erasures",
                self.erase,
                Operation(
                    "Erase a person", scope, ErasureView, _ONE, ErasureBody, refused=frozenset({409}), stops=True
                ),
            ),
            (
                "GET",
                "/erasures",
                self.get_all,
                Operation("List erasures", scope, Some[ErasureView], _PAGE, query=_PAGING),
            ),
            ("GET", "/erasures/{erasureId}", self.get, Operation("Get an erasure", scope, ErasureView, _ONE)),
            (
                "GET",
                "/retention",
                self.show,
                Operation("Get how long the account keeps what", scope, RetentionView, _RETENTION),
            ),
            (
                "PUT",
                "/retention",
                self.put,
                Operation("Set how long the account keeps what", scope, RetentionView, _RETENTION, RetentionBody),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def erase(self, request: Request, caller: Caller) -> Response:
        """Erase everything of the person with a number in the whole account: contacts in all lists, calls, recordings,
        and what history tells of them, whose rows keep their digests, so that the chain still holds.

        First the number is stopped, in all applications of the account. Who was on a do-not-call list stays on it, as a
        keyed hash in place of the number; with `neverCall` the number goes on the account's list so. It cannot be
        undone. Asking again goes on with what was broken off, and it goes on when its client hangs up. Refused with
        `person_on_call` while somebody talks with the person, unless `connected` is `hang_up`.
        """
        body = parse(ErasureBody, await read_json(request))
        work = erasures.erase(
            self._parts.database,
            self._parts.secrets,
            self._parts.engines,
            account_id=caller.account_id,
            phone=body.phone_number,
            actor=caller.client_id,
            never_call=body.never_call,
            connected=body.connected,
            default_region=self._parts.settings.default_region,
            folder=self._folder,
        )
        return JsonReply(_erasure_view(await self._stops.run(work, campaign_id="person")))

    async def get_all(self, request: Request, caller: Caller) -> Response:
        """Return who was erased from the account, the newest first, without the numbers."""
        page = await erasures.list_erasures(
            self._parts.database,
            account_id=caller.account_id,
            skip=query_number(request, "skip", default=0, least=0, most=LARGEST_SKIP),
            limit=query_number(request, "limit", default=50, least=1, most=LARGEST_PAGE),
        )
        results = [_erasure_view(one) for one in page.items]
        return JsonReply(Some[ErasureView](results=results, skip=page.skip, limit=page.limit, total=page.total))

    async def get(self, request: Request, caller: Caller) -> Response:
        """Return an erasure and how far it is."""
        found = await erasures.erasure_of(
            self._parts.database, account_id=caller.account_id, erasure_id=request.path_params["erasureId"]
        )
        return JsonReply(_erasure_view(found))

    async def show(self, _request: Request, caller: Caller) -> Response:
        """Return how long the account keeps recordings, contacts' attributes and attempts."""
        return JsonReply(_retention_view(await retention.show(self._parts.database, account_id=caller.account_id)))

    async def put(self, request: Request, caller: Caller) -> Response:
        """Set how many days the account keeps recordings, contacts' attributes and attempts; what is left out or null
        is kept for ever. What is older goes by and by. Contacts of live runs keep theirs until those are over.
        Attempts go by whole months (UTC), of runs that have been over for a month, and are still counted for their
        runs; no attempt limit may count over more days than attempts are kept: `attempts_kept_too_briefly`."""
        body = parse(RetentionBody, await read_json(request))
        found = await retention.set_days(
            self._parts.database,
            account_id=caller.account_id,
            recordings_days=body.recordings_days,
            attributes_days=body.attributes_days,
            attempts_days=body.attempts_days,
            actor=caller.client_id,
        )
        return JsonReply(_retention_view(found))


def _erasure_view(erasure: Erasure) -> ErasureView:
    return ErasureView(
        id=erasure.id,
        state="done" if erasure.done_at is not None else "erasing" if erasure.erased_at is None else "erased",
        requested_at=erasure.requested_at,
        requested_by=erasure.requested_by,
        never_call=erasure.never_call,
        counts=erasure.counts,
        erased_at=erasure.erased_at,
        done_at=erasure.done_at,
    )


def _retention_view(found: Retention) -> RetentionView:
    return RetentionView(
        recordings_days=found.recordings_days,
        attributes_days=found.attributes_days,
        attempts_days=found.attempts_days,
        updated_at=found.updated_at,
        updated_by=found.updated_by,
    )
