"""Bodies of stops of more than one campaign."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from outdial.api.native.bodies import Body, Phone, Reason, example, told
from outdial.api.texts import line
from outdial.core.model import ConnectedCalls, RingingCalls
from outdial.services.fields import LONGEST_DESCRIPTION


class StopChoice(Body):
    """What becomes of calls under way."""

    ringing: Annotated[RingingCalls, Field(strict=False)] = RingingCalls.CANCEL
    connected: Annotated[ConnectedCalls, Field(strict=False)] = ConnectedCalls.KEEP


class CallerIdStopBody(StopChoice):
    """Stop what calls from a number."""

    model_config = example(callerId="+15550100999")

    caller_id: Phone


class ContactListStopBody(StopChoice):
    """Stop what dials a list."""

    model_config = example(contactListId="cl-1111111-2222-4333-8444-555555555555", ringing="cancel")

    contact_list_id: str


class AccountStopBody(StopChoice):
    """Stop everything of the account."""

    model_config = example(connected="hang_up")


class NumberStopBody(Body):
    """Stop one number."""

    model_config = example(phoneNumber="+15550100001", reason="asked by mail")

    phone_number: Phone
    reason: Reason = "stop"
    connected: Annotated[ConnectedCalls, Field(strict=False)] = ConnectedCalls.KEEP


class EmergencyBody(StopChoice):
    """Stop everything of everybody."""

    model_config = example(reason="wrong recording on the air")

    reason: Reason = ""


class LiftBody(Body):
    """Lift the emergency stop."""

    model_config = example(reason="recording replaced")

    reason: Annotated[str, told(**line(LONGEST_DESCRIPTION, blank=False))]
