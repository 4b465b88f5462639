"""The one walk that must succeed: by the document's links alone from a contact list to a campaign that was started,
stopped and deleted. Random walks choose their links by true chance, so that none of them can be relied on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.generation.meta import TestPhase
from schemathesis.generation.stateful.state_machine import StepOutput
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.stateful.links import OpenApiLink

from generated.hooks import Mender
from generated.run import fetch, loaded, mended
from generated.things import Things, token


@dataclass(frozen=True)
class Step:
    """One request of the walk, and the earlier one whose answer leads to it."""

    name: str
    after: str
    operation: str
    """Its id."""
    trigger: str = ""
    """Which of the links there."""


STEPS: Final = (
    Step("create list", "", "post_contactList_createContactList_v2"),
    Step("add contacts", "create list", "post_contactList_addContacts_v1_1"),
    Step("create campaign", "add contacts", "post_v2"),
    Step("start", "create campaign", "post_trigger_campaignId__v2", trigger="play"),
    Step("status", "start", "post_campaignId_status_v2"),
    Step("stop", "status", "post_trigger_campaignId__v2", trigger="stop"),
    Step("run", "stop", "get_runs_instanceId"),
    Step("delete", "stop", "delete_campaignId__v2"),
)


def walk(things: Things, *, times: int, seed: int) -> list[dict[str, Any]]:
    """Walk so often, each time with other values where no link gives one; return the answers of each walk by step.

    Raises what Schemathesis raises for an answer that is not as described, and AssertionError for one that is not 200.
    """
    auth = token(things.server)
    schema = loaded(things, fetch(things), auth=auth, examples=times, seed=seed)
    walks: list[dict[str, Any]] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=times,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.data())
    def once(data: st.DataObject) -> None:
        outputs: dict[str, StepOutput] = {}
        for step in STEPS:
            source = outputs.get(step.after)
            case = data.draw(_cases(schema, step, source))
            answer = case.call(headers={"auth": auth})
            case.validate_response(answer, headers={"auth": auth})
            assert answer.status_code == 200, f"{step.name}: {answer.status_code} {answer.text}"
            outputs[step.name] = StepOutput(answer, case)
        walks.append({name: output.response.json() for name, output in outputs.items()})

    with mended(Mender(things)):
        once()
    return walks


def _cases(schema: BaseSchema, step: Step, source: StepOutput | None) -> st.SearchStrategy[Case]:
    if source is None:
        return _drawn(schema.find_operation_by_id(step.operation), {}, {})
    link = _link(source, step)
    transition = link.extract(source)
    given = {
        container: {name: one.value.ok() for name, one in values.items()}
        for container, values in transition.parameters.items()
    }
    body = {} if transition.request_body is None else transition.request_body.value.ok()
    return _drawn(link.target, given, body)


def _link(source: StepOutput, step: Step) -> OpenApiLink:
    """Return the link that leads there from an answer. Raises LookupError."""
    operation = source.case.operation
    for name, described in operation.responses.find_by_status_code(source.response.status_code).iter_links():
        parameters = described.get("parameters", {})
        if described["operationId"] == step.operation and parameters.get("query.trigger", "") == step.trigger:
            return OpenApiLink(name, str(source.response.status_code), described, operation)
    raise LookupError(f"no link leads from {operation.label} to {step.name}")


def _drawn(target: APIOperation, given: dict[str, Any], body: dict[str, Any]) -> st.SearchStrategy[Case]:
    def linked(case: Case) -> Case:
        if body:
            case.body = {**case.body, **body}
        return case

    drawn = target.as_strategy(generation_mode=GenerationMode.POSITIVE, phase=TestPhase.STATEFUL, **given)
    return drawn.filter(_can_start).map(linked)


def _can_start(case: Case) -> bool:
    # the other modes need people at telephones, and are not built
    return not isinstance(case.body, dict) or case.body.get("dialingMode", "Agentless") == "Agentless"
