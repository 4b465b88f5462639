"""Runs generated requests over the document and gathers what they find."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.schemas import BaseSchema

from generated.hooks import Mender, register_formats
from generated.server import OPERATOR
from generated.things import Things, token

_CONFIG: Final = tomllib.loads(Path(__file__).with_name("schemathesis.toml").read_text())
PHASES: Final = ("examples", "coverage", "fuzzing", "stateful")
WALK: Final = (
    r"^(POST|GET|DELETE) /campaign/api/v2/public/\{iid\}/campaign"
    r"(/contactList/createContactList|/trigger/\{campaignId\}|/\{campaignId\}/status)?$"
    r"|^(GET|DELETE) /campaign/api/v2/public/\{iid\}/campaign/\{campaignId\}$"
    r"|^POST /api/1\.1/|^GET /api/outdial/runs/\{instanceId\}(/attempts)?$"
)
"""Operations of random walks from a contact list to a campaign that was stopped and deleted."""
EMERGENCY: Final = " /api/outdial/emergency-stop"
"""Operations of the operator."""


@dataclass
class Found:
    """What a run found."""

    cases: int = 0
    by_operation: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By operation and status."""
    failures: list[str] = field(default_factory=list)
    """What is wrong, with a request that shows it."""
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Which operation followed on which by a link that brought its values."""

    @property
    def statuses(self) -> Counter[int]:
        """Answers of all operations."""
        found: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            found[status] += count
        return found

    @property
    def never_done(self) -> set[str]:
        """Operations that answered no request with 200."""
        return {operation for operation in self.by_operation if (operation, 200) not in self.answers}

    def add(self, other: Found) -> None:
        """Add what another run found."""
        self.cases += other.cases
        self.by_operation += other.by_operation
        self.answers += other.answers
        self.failures += other.failures
        self.transitions += other.transitions


def generate(
    things: Things,
    *,
    phases: tuple[str, ...],
    examples: int,
    seed: int,
    tell: Callable[[Found], object] = lambda found: None,
    only: str = "",
    operator: bool = False,
) -> Found:
    """Send generated requests, ``examples`` for each operation in the phase that draws them, and check each answer.

    ``tell`` hears how far it is after each operation; ``only`` is a pattern of those
    that are asked, like ``GET /health``; ``operator``: whoever runs the installation asks,
    instead of the client that may do everything else.
    """
    document = _part(fetch(things), only)
    if "stateful" in phases:
        document = _of_one_application(document, things.server.owner.iid)
    auth = OPERATOR if operator else token(things.server)
    schema = loaded(things, document, auth=auth, phases=phases, examples=examples, seed=seed)
    found = Found()
    with mended(Mender(things, operator=operator)):
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                _gather(found, event, things.server.owner.iid)
                tell(found)
            elif isinstance(event, events.NonFatalError):
                found.failures.append(f"{event.label}: {event.info.title}: {event.info.message}")
            elif isinstance(event, events.FatalError):
                raise event.exception
    if operator:
        # what comes after starts campaigns
        things.emergency(in_force=False)
    return found


def fetch(things: Things) -> dict[str, Any]:
    """Return the document that the server shows."""
    return httpx.get(f"{things.server.url}/openapi.json", timeout=30).json()


def loaded(
    things: Things, document: dict[str, Any], *, auth: str, phases: tuple[str, ...] = (), examples: int, seed: int
) -> BaseSchema:
    """Return the document, ready to generate requests of."""
    register_formats()
    settings = {
        **_CONFIG,
        "seed": seed,
        "headers": {"auth": auth},
        "base-url": things.server.url,
        "phases": {
            **_CONFIG["phases"],
            **{name: {**_CONFIG["phases"].get(name, {}), "enabled": name in phases} for name in PHASES},
        },
        "generation": {
            **_CONFIG.get("generation", {}),
            "max-examples": examples,
            "no-shrink": True,
            "database": "none",
        },
    }
    return schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(settings))


def _part(document: dict[str, Any], only: str) -> dict[str, Any]:
    """Return the document without other operations and the links that lead there."""
    kept = {
        path: {method: one for method, one in found.items() if re.search(only, f"{method.upper()} {path}")}
        for path, found in document["paths"].items()
    }
    kept = {path: found for path, found in kept.items() if found}
    operations = [operation for found in kept.values() for operation in found.values()]
    names = {operation["operationId"] for operation in operations}
    for operation in operations:
        answer = operation["responses"]["200"]
        links = answer.get("links", {})
        answer["links"] = {name: link for name, link in links.items() if link["operationId"] in names}
    return {**document, "paths": kept}


def _of_one_application(document: dict[str, Any], iid: str) -> dict[str, Any]:
    """Return the document with the application's id in place of its parameter: no operation produces it, and walks
    begin with what needs nothing that is produced."""
    for path in document["paths"].values():
        for operation in path.values():
            parameters = operation.get("parameters", [])
            operation["parameters"] = [one for one in parameters if (one["in"], one["name"]) != ("path", "iid")]
            for link in operation["responses"]["200"]["links"].values():
                link["parameters"].pop("path.iid", None)
    return {**document, "paths": {path.replace("{iid}", iid): found for path, found in document["paths"].items()}}


@contextlib.contextmanager
def mended(mender: Mender) -> Iterator[None]:
    """Have requests mended before they are sent."""

    # Schemathesis knows these hooks for the whole process only
    def before_call(context: Any, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
        mender.mend(case)

    def after_call(context: Any, case: schemathesis.Case, response: schemathesis.Response) -> None:
        mender.note(response)

    for hook in (before_call, after_call):
        schemathesis.hook(hook)
    try:
        yield
    finally:
        for hook in (before_call, after_call):
            schemathesis.hooks.unregister(hook)


def _gather(found: Found, event: events.ScenarioFinished, iid: str) -> None:
    def label(case: schemathesis.Case) -> str:
        return case.operation.label.replace(iid, "{iid}")

    recorder = event.recorder
    for case_id, node in recorder.cases.items():
        # what a check has sent to see for itself is no generated case
        if node.parent_id is not None and node.transition is None:
            continue
        interaction = recorder.interactions.get(case_id)
        found.cases += 1
        found.by_operation[label(node.value)] += 1
        if node.is_transition_applied and node.parent_id in recorder.cases:
            found.transitions[label(recorder.cases[node.parent_id].value), label(node.value)] += 1
        if interaction is not None and interaction.response is not None:
            found.answers[label(node.value), interaction.response.status_code] += 1
    seen = set()
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info.failure
                what = f"{event.label or failure.operation}: {check.name}: {failure.title}: {failure.message}"
                if what not in seen:
                    seen.add(what)
                    answer = recorder.find_response(case_id=case_id)
                    said = "nothing" if answer is None else f"{answer.status_code} {answer.text[:500]}"
                    found.failures.append(f"{what}\n    {check.failure_info.code_sample}\n    answered {said}")
