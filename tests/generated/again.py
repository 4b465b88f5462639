"""Requests that are sent again with the same `Idempotency-Key`: one of each operation that takes one, generated until
one is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import hypothesis
from hypothesis import HealthCheck, Phase
from schemathesis import Case, GenerationMode
from schemathesis.core.transport import Response
from schemathesis.schemas import APIOperation

from generated.hooks import Mender
from generated.run import fetch, loaded, mended
from generated.things import Things, token

KEY: Final = "Idempotency-Key"
_EACH_TURN: Final = 4
_TURNS: Final = 15
_DONE: Final = 200


@dataclass(frozen=True)
class Twice:
    """One operation, and what became of its request."""

    operation: str
    """Verb and path."""
    first: Response | None
    """The answer; None: of so many requests none was carried out."""
    second: httpx.Response | None
    """To the same bytes again."""
    changed: list[str]
    """Tables that are not as they were after the first."""


def takes_key(operation: dict[str, Any]) -> bool:
    """Whether the document says that an operation takes the header."""
    return any((one["in"], one["name"]) == ("header", KEY) for one in operation.get("parameters", ()))


def twice(things: Things, digests: Callable[[], dict[str, str]], *, seed: int) -> Iterator[Twice]:
    """Have each operation that takes a key carried out, and send its request once more; ``digests`` are those of the
    tables."""
    document = fetch(things)
    auth = token(things.server)
    schema = loaded(things, document, auth=auth, examples=_EACH_TURN, seed=seed)
    with mended(Mender(things)):
        for path, operations in document["paths"].items():
            for method, described in operations.items():
                if not takes_key(described):
                    continue
                name = f"{method.upper()} {path}"
                first = _done(schema.find_operation_by_id(described["operationId"]), auth, seed)
                if first is None:
                    yield Twice(name, None, None, [])
                    continue
                before = digests()
                sent = first.request
                second = httpx.request(
                    sent.method or "", sent.url or "", content=sent.body, headers=dict(sent.headers), timeout=30
                )
                after = digests()
                changed = [table for table in sorted(before | after) if before.get(table) != after.get(table)]
                yield Twice(name, first, second, changed)


def _done(operation: APIOperation, auth: str, seed: int) -> Response | None:
    """Return the first answer that says that it is carried out."""
    for turn in range(_TURNS):
        # few at a time: those that are drawn after it cost most of the time
        answers = [answer for answer in _answers(operation, auth, seed + turn) if answer.status_code == _DONE]
        if answers:
            return answers[0]
    return None


def _answers(operation: APIOperation, auth: str, seed: int) -> list[Response]:
    """Return those of some generated requests, up to the first that was carried out."""
    found: list[Response] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=_EACH_TURN,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case: Case) -> None:
        if found and found[-1].status_code == _DONE:
            return
        # any; it is made one that is new before it is sent
        case.headers[KEY] = "generated"
        if "trigger" in case.query:
            # a stop is always carried out
            case.query["trigger"] = "play"
        if isinstance(case.body, dict) and "campaignType" in case.body:
            case.body = {**case.body, "campaignType": "voice"}
        found.append(case.call(headers={"auth": auth}))

    ask()
    return found
