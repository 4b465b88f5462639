"""Do-not-call lists: the account's own, and those that campaigns name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.links import Link
from outdial.api.native.bodies import DncNumbersBody, DncRemovalBody, NewDncListBody, OptOutBody
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import (
    All,
    DncChangeView,
    DncListView,
    DncNumberView,
    Part,
    dnc_change_view,
    dnc_list_view,
    dnc_number_view,
)
from outdial.api.parameters import free_text, number
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_number, query_value
from outdial.api.stops import Stops
from outdial.core.errors import BadRequestError
from outdial.core.model import Scope
from outdial.services import dnc, opt_out
from outdial.services.fields import is_storable

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000

_PAGING: Final = {
    "after": free_text("The `next` of the page before; left out: from the beginning."),
    "limit": number(f"How many, {DEFAULT_PAGE} unless told.", least=1, most=LARGEST_PAGE),
}
_AT: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
_LIST: Final = DncListView(
    id="cl-1111111-2222-4333-8444-555555555555",
    name="Complaints",
    account_wide=False,
    numbers_count=2,
    created_at=_AT,
)
_NUMBER: Final = DncNumberView(
    phone_number="+15550100001",
    source="operator",
    reason="asked by phone",
    added_by="cs-22222222-2222-4333-8444-555555555555",
    added_at=_AT,
    expires_at=None,
)
_CHANGE: Final = DncChangeView(changed_count=2, unchanged_count=0, problems=[])
_TOLD: Final = DncChangeView(changed_count=1, unchanged_count=0, problems=[])


_NEW_LIST: Final = {"path.dncListId": "$response.body#/id"}
_AFTER_LIST: Final = (
    Link("get_dnc_lists_dncListId", "The list.", _NEW_LIST),
    Link("get_dnc_lists_dncListId_numbers", "Its numbers.", _NEW_LIST),
    Link("post_dnc_lists_dncListId_numbers", "Put numbers on it.", _NEW_LIST),
    Link("post_dnc_lists_dncListId_files", "Put the numbers of a file on it.", _NEW_LIST),
    Link("post_dnc_lists_dncListId_opt_outs", "Let a person opt out.", _NEW_LIST),
    Link("post_dnc_lists_dncListId_numbers_remove", "Take numbers off it.", _NEW_LIST),
)


class DncRoutes:
    """Do-not-call lists."""

    def __init__(self, parts: ApiParts, stops: Stops) -> None:
        self._stops = stops
        self._database = parts.database
        self._region = parts.settings.default_region
        self._engines = parts.engines
        self._secrets = parts.secrets

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.DO_NOT_CALL
        numbers = "/dnc-lists/{dncListId}/numbers"
        for method, path, endpoint, operation in (
            (
                "GET",
                "/dnc-lists",
                self.lists,
                Operation("List do-not-call lists", scope, All[DncListView], All(results=[_LIST])),
            ),
            (
                "POST",
                "/dnc-lists",
                self.create,
                Operation("Make a do-not-call list", scope, DncListView, _LIST, NewDncListBody, links=_AFTER_LIST),
            ),
            (
                "GET",
                "/dnc-lists/{dncListId}",
                self.get,
                Operation("Get a do-not-call list", scope, DncListView, _LIST),
            ),
            (
                "GET",
                numbers,
                self.numbers,
                Operation(
                    "Read a do-not-call list",
                    scope,
                    Part[DncNumberView],
                    Part(results=[_NUMBER], next=None),
                    query=_PAGING,
                ),
            ),
            (
                "POST",
                numbers,
                self.add,
                Operation("Add numbers to a do-not-call list", scope, DncChangeView, _CHANGE, DncNumbersBody),
            ),
            (
                "POST",
                "/dnc-lists/{dncListId}/opt-outs",
                self.opt_out,
                Operation("Let a person opt out", scope, DncChangeView, _TOLD, OptOutBody, stops=True),
            ),
            (
                "POST",
                f"{numbers}/remove",
                self.remove,
                Operation("Remove numbers from a do-not-call list", scope, DncChangeView, _CHANGE, DncRemovalBody),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def lists(self, _request: Request, caller: Caller) -> Response:
        """Return the account's own list, which counts for every campaign of the account, and those of the application,
        which count for the campaigns that name them."""
        found = await dnc.list_lists(self._database, account_id=caller.account_id, iid=caller.iid)
        return JsonReply(All(results=[dnc_list_view(one) for one in found]))

    async def create(self, request: Request, caller: Caller) -> Response:
        """Make an empty list that campaigns of the application can name."""
        body = parse(NewDncListBody, await read_json(request))
        made = await dnc.create_list(
            self._database, account_id=caller.account_id, iid=caller.iid, name=body.name, actor=caller.client_id
        )
        return JsonReply(dnc_list_view(made))

    async def get(self, request: Request, caller: Caller) -> Response:
        """Return a list without its numbers."""
        found = await dnc.get_list(
            self._database,
            account_id=caller.account_id,
            iid=caller.iid,
            list_id=request.path_params["dncListId"],
        )
        return JsonReply(dnc_list_view(found))

    async def numbers(self, request: Request, caller: Caller) -> Response:
        """Return the numbers of a list, sorted, page by page; expired ones too."""
        limit = query_number(request, "limit", default=DEFAULT_PAGE, least=1, most=LARGEST_PAGE)
        after = query_value(request, "after") or ""
        if not is_storable(after):
            raise BadRequestError("`after` must be the `next` of the page before.")
        found = await dnc.numbers_page(
            self._database,
            account_id=caller.account_id,
            iid=caller.iid,
            list_id=request.path_params["dncListId"],
            after=after,
            limit=limit,
        )
        following = found[-1].phone if len(found) == limit else None
        return JsonReply(Part(results=[dnc_number_view(entry) for entry in found], next=following))

    async def add(self, request: Request, caller: Caller) -> Response:
        """Put up to 5000 numbers on a list. When this answers, none of them will be called any more.

        Numbers that cannot be read are named in `problems`, the others added. So is a call to one of them that was
        placed before and waits for the broken connection of its trunk: it may leave yet. A number that is on the list
        longer stays so: adding never shortens.
        """
        body = parse(DncNumbersBody, await read_json(request))
        change = await dnc.add_to_list(
            self._database,
            account_id=caller.account_id,
            iid=caller.iid,
            list_id=request.path_params["dncListId"],
            phones=body.phone_numbers,
            reason=body.reason,
            expires_at=body.expires_at,
            actor=caller.client_id,
            default_region=self._region,
            engines=self._engines,
        )
        return JsonReply(dnc_change_view(change))

    async def opt_out(self, request: Request, caller: Caller) -> Response:
        """Take the word of an agent, a person or a program, that a person wants no further call: put their numbers on a
        list for good, with the source `agent`, as by a key of a flow.

        When this answers none of them will be called any more, nor any other number of whoever has one. On the
        account's own list a call to them that rings is cancelled; conversations go on. Numbers that cannot be read are
        named in `problems`, the others listed; so are calls that cannot be shown to be over yet. The webhook event
        `opt_out.listed` follows. Said again it changes nothing. As a stop it is never refused by the rate limit, and
        goes on when its client hangs up.
        """
        body = parse(OptOutBody, await read_json(request))
        told = opt_out.told_of_list(
            self._database,
            self._engines,
            account_id=caller.account_id,
            iid=caller.iid,
            list_id=request.path_params["dncListId"],
            phones=body.phone_numbers,
            actor=caller.client_id,
            reason=body.reason,
            default_region=self._region,
        )
        return JsonReply(dnc_change_view(await self._stops.run(told, campaign_id="opt-out")))

    async def remove(self, request: Request, caller: Caller) -> Response:
        """Take up to 5000 numbers off a list: they may be called again. History keeps what was said about each."""
        body = parse(DncRemovalBody, await read_json(request))
        change = await dnc.remove_from_list(
            self._database,
            account_id=caller.account_id,
            iid=caller.iid,
            list_id=request.path_params["dncListId"],
            phones=body.phone_numbers,
            actor=caller.client_id,
            default_region=self._region,
            secrets=self._secrets,
        )
        return JsonReply(dnc_change_view(change))
