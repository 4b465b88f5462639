"""Conversations of the client, played with scripted answers: no socket and no clock."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from outdial.client import errors
from outdial.client.steps import Failure, Items, Reply, Send, Site, Wait

NOT_SENT = Failure(sent=False, sentence="No route.", elapsed_seconds=0.0)
NO_ANSWER = Failure(sent=True, sentence="It hung up.", elapsed_seconds=0.0)


def site(**changed: Any) -> Site:
    told: dict[str, Any] = {
        "url": "http://api",
        "iid": "st-1",
        "client_id": "cs-1",
        "client_secret": "s" * 40,
        "account_id": None,
        "timeout_seconds": 30.0,
        "patience_seconds": 75.0,
        "idempotent": False,
    }
    return Site(**{**told, **changed})


def reply(status: int = 200, body: Any = None, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, 0.0)


def refused(status: int, *sentences: str, **headers: str) -> Reply:
    return reply(status, {"errors": [{"msg": each, "code": status} for each in sentences]}, **headers)


@dataclass
class Played:
    """What a conversation did."""

    answer: Any = None
    error: BaseException | None = None
    sent: list[Send] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)


def play(steps, *outcomes: Reply | Failure, seconds_each: float = 0.1) -> Played:
    """Answer each Send with the next outcome (the last one again and again), and let no time really pass."""
    played, now, outcome, left = Played(), 0.0, None, list(outcomes)
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            played.answer = end.value
            return played
        except (errors.ClientError, ValueError) as error:
            played.error = error
            return played
        outcome = None
        if isinstance(step, Wait):
            played.waits.append(step.seconds)
            now += step.seconds
        elif isinstance(step, Items):
            played.items += step.items
        else:
            played.sent.append(step)
            now += seconds_each
            given = left.pop(0) if len(left) > 1 else left[0]
            parts = {name: getattr(given, name) for name in given.__slots__} | {"elapsed_seconds": now}
            outcome = type(given)(**parts)
