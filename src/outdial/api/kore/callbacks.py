"""Call-backs on the vendor's wire: contacts of a live run who are to be called at an instant of their choice."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field, RootModel, WithJsonSchema
from pydantic.types import AwareDatetime
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.kore.door import Door
from outdial.api.kore.endpoints import Endpoints, Operation
from outdial.api.kore.requests import NotBlank, Wire, instant
from outdial.api.kore.wire import Found
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.services import callbacks
from outdial.services.callbacks import LARGEST_BATCH, CallbackAnswer, CallbackWish

_ID: Final = "cdl-11111111-2222-5333-8444-555555555555"


class CallbackBody(Wire):
    """One contact, and when it is to be called."""

    campaign_dialing_list_id: NotBlank
    time_to_contact: Annotated[
        AwareDatetime,
        BeforeValidator(instant),
        WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-03-01T10:00:00.000Z"]}),
    ]


class CallbacksBody(RootModel[Annotated[list[CallbackBody], Field(min_length=1, max_length=LARGEST_BATCH)]]):
    """The contacts, one for each."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [[{"campaignDialingListId": _ID, "timeToContact": "2026-03-01T10:00:00.000Z"}]]}
    )


class CallbackShape(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What became of one of them."""

    campaign_dialing_list_id: str
    status: str
    reason: str = ""


_ANSWERS: Final = Found(
    "success", [CallbackShape(_ID, "success"), CallbackShape(f"{_ID[:-1]}6", "failed", "time_in_past")]
)


class CallbackRoutes:
    """The call-back endpoint."""

    def __init__(self, parts: ApiParts, door: Door) -> None:
        self._database = parts.database
        self._door = door

    def add_to(self, endpoints: Endpoints) -> None:
        """Add it."""
        operation = Operation(
            "Call contacts back",
            (Found[list[CallbackShape]],),
            {"answers": _ANSWERS},
            (CallbacksBody,),
            must_have_body=True,
        )
        endpoints.add("POST", "/{campaignInstanceId}/callContactAt", self.call_back, operation)

    async def call_back(self, request: Request) -> Response:
        """Promise contacts of an active or paused run a call at an instant each. Every one is answered by itself:
        `success`, or `failed` with the reason `time_in_past`, `time_too_far` (over 366 days), `contact_not_found` or
        `dnc`. A call-back is one attempt beyond those the campaign allows, waits for the contact's calling hours, comes
        before other contacts, replaces an earlier one for the same contact, and is dropped by a stop."""
        caller = await self._door.admit(request)
        body = parse(CallbacksBody, await read_json(request))
        answers = await callbacks.call_contacts_at(
            self._database,
            iid=caller.iid,
            instance_id=request.path_params["campaignInstanceId"],
            wishes=[CallbackWish(each.campaign_dialing_list_id, each.time_to_contact) for each in body.root],
            actor=caller.client_id,
        )
        return JsonReply(Found(status="success", data=[_shape(answer) for answer in answers]))


def _shape(answer: CallbackAnswer) -> CallbackShape:
    if answer.refusal is None:
        return CallbackShape(answer.wish.dialing_list_id, "success")
    return CallbackShape(answer.wish.dialing_list_id, "failed", answer.refusal)
