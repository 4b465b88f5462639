"""How a server is asked, without asking it: requests are values, and a conversation is a generator that yields what to
do next and is told what came of it. It touches no socket and reads no clock, so one conversation serves both clients.

A conversation yields a :class:`Send` (answered with a :class:`Reply` or a :class:`Failure`) or a :class:`Wait`
(answered with None), and returns what was asked for or raises a ClientError.

What may be sent twice is decided here, once. Reads may. A stop may, since a second one answers the same; it is asked
until it is proven or its deadline passes. Whatever changes something otherwise may only be repeated where it is known
that nothing was done: no connection was made, or the server refused it for its rate; or where the server promises to
do a request once, by its ``Idempotency-Key``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeAlias, TypeVar

import jwt
import msgspec

from outdial.client.errors import (
    BY_STATUS,
    ClientError,
    NoAnswerError,
    NotSentError,
    NotUnderstoodError,
    RateLimitedError,
    RefusedError,
)

MOST_TRIES: Final = 3
"""Of one request that may be repeated."""

FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Pauses between tries where the server does not say how long; doubled from the first to the longest."""

LEAST_TIMEOUT_SECONDS: Final = 1.0
"""What a stop's last try gets, however near its deadline is."""

TOKEN_SECONDS: Final = 300
"""How long a token is valid; each request has its own."""

_OK: Final = 200
_FAILED: Final = 500
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_LONGEST_RETRY_AFTER: Final = 9
"""Digits."""

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises over documents that are none, or are nested for ever."""

A = TypeVar("A")
I = TypeVar("I")  # noqa: E741 - an item


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked."""

    method: str
    path: str
    query: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Several values: the parameter is given several times."""
    body: Any = None
    file: bytes | None = None
    """A body that is no document."""
    key: str | None = None
    """``Idempotency-Key``; None for what changes nothing."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request; the whole answer must be there within the time."""

    request: Request
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Items(Generic[I]):
    """Hand these on to the caller before anything else is done."""

    items: tuple[I, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    elapsed_seconds: float
    """Since the conversation began."""


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer."""

    sent: bool
    """Whether any of it may have reached the server."""
    sentence: str
    elapsed_seconds: float


Steps: TypeAlias = Generator[Send | Wait, Reply | Failure | None, A]
"""A conversation that ends with an answer."""

Listing: TypeAlias = Generator[Send | Wait | Items[I], Reply | Failure | None, None]
"""A conversation that yields items as it goes on."""


@dataclass(frozen=True, slots=True)
class Site:
    """A server, an application there, and how patiently it is asked."""

    url: str
    iid: str
    client_id: str
    client_secret: str = field(repr=False)
    account_id: str | None
    timeout_seconds: float
    patience_seconds: float
    """How long one request may wait in all before it is sent again, for a rate limit above all."""
    idempotent: bool
    """Whether the server does a request with an ``Idempotency-Key`` once, however often it is sent."""

    def path(self, rest: str, *, version: int | str) -> str:
        """Return the address of something of the application."""
        prefix = "" if isinstance(version, str) else "/campaign"
        number = version if isinstance(version, str) else f"v{version}"
        return f"{prefix}/api/{number}/public/{self.iid}/campaign{rest}"

    def headers(self, request: Request, *, now: float) -> dict[str, str]:
        """Return a request's headers, signed at ``now``, seconds since 1970."""
        claims = {"sub": self.client_id, "appId": self.client_id, "exp": int(now) + TOKEN_SECONDS}
        headers = {"auth": jwt.encode(claims, self.client_secret, algorithm="HS256"), "iid": self.iid}
        if self.account_id is not None:
            headers["accountId"] = self.account_id
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        return headers


def require_id(text: str) -> str:
    """Return an id that may stand in an address; raise ValueError, since an empty one would name something else."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no id.")
    return text


def ask(site: Site, request: Request, read: Callable[[Any], A]) -> Steps[A]:
    """Ask, again where that is safe and may help; return what ``read`` makes of the answer's document."""
    tries, waited, pause = 1, 0.0, FIRST_PAUSE_SECONDS
    while True:
        outcome = yield from send(Send(request, site.timeout_seconds))
        error = error_of(outcome)
        if error is None:
            return read_answer(outcome, read)
        seconds = _retry_after(error) or pause
        if waited + seconds > site.patience_seconds:
            raise error
        if not isinstance(error, RateLimitedError):
            if tries == MOST_TRIES or not _may_repeat(site, request, error):
                raise error
            tries, pause = tries + 1, min(2 * pause, LONGEST_PAUSE_SECONDS)
        yield Wait(seconds)
        waited += seconds


def insist(
    request: Request,
    read: Callable[[Any], A],
    *,
    within_seconds: float,
    meant: Callable[[Reply | Failure], Reply | Failure] = lambda outcome: outcome,
) -> Steps[A]:
    """Ask for something that may be asked any number of times, until it is done or the time is over; then raise the
    error that came last. ``meant`` says what an answer comes to that is no document."""
    elapsed, pause = 0.0, FIRST_PAUSE_SECONDS
    while True:
        sent = yield from send(Send(request, max(within_seconds - elapsed, LEAST_TIMEOUT_SECONDS)))
        outcome = meant(sent)
        error = error_of(outcome)
        if error is None:
            return read_answer(outcome, read)
        seconds = _retry_after(error) or pause
        if not error.retryable or outcome.elapsed_seconds + seconds >= within_seconds:
            raise error
        yield Wait(seconds)
        elapsed, pause = outcome.elapsed_seconds + seconds, min(2 * pause, LONGEST_PAUSE_SECONDS)


def send(step: Send) -> Steps[Reply | Failure]:
    """Send, and return what came of it."""
    outcome = yield step
    if outcome is None:
        raise TypeError("a Send is answered with a Reply or a Failure")
    return outcome


def _may_repeat(site: Site, request: Request, error: ClientError) -> bool:
    if isinstance(error, NotSentError):
        return True
    return error.retryable and (request.key is None or site.idempotent)


def _retry_after(error: ClientError) -> float | None:
    return error.retry_after_seconds if isinstance(error, RefusedError) else None


def error_of(outcome: Reply | Failure) -> ClientError | None:
    """Return what went wrong, None when nothing did."""
    if isinstance(outcome, Failure):
        return (NoAnswerError if outcome.sent else NotSentError)((outcome.sentence,))
    if outcome.status == _OK:
        return None
    kind = BY_STATUS.get(outcome.status, RefusedError)
    return kind(
        _sentences(outcome),
        status=outcome.status,
        request_id=outcome.headers.get("x-request-id"),
        retry_after_seconds=_seconds(outcome.headers.get("retry-after", "")),
    )


class _ErrorItem(msgspec.Struct, frozen=True):
    msg: str
    code: int = 0


class _Errors(msgspec.Struct, frozen=True):
    errors: tuple[_ErrorItem, ...]


class _LastLine(msgspec.Struct, frozen=True, rename="camel"):
    state: str
    changed_count: int = 0
    line: int = 0
    failure: _Errors | None = None


def last_line(outcome: Reply | Failure) -> Reply | Failure:
    """Return what an answer of JSON lines comes to, which begins before it is known how it ends: its last line, the
    refusal that this tells of, or no answer where it is not the last."""
    if isinstance(outcome, Failure) or outcome.status != _OK:
        return outcome
    ended = outcome.body.rstrip().rpartition(b"\n")[2]
    try:
        last = msgspec.json.decode(ended, type=_LastLine)
    except _UNREADABLE:
        # whoever reads it says so
        return replace(outcome, body=ended)
    if last.state == "adding":
        sentence = "The answer broke off before it said that all was added."
        return Failure(sent=True, sentence=sentence, elapsed_seconds=outcome.elapsed_seconds)
    if last.failure is None:
        return replace(outcome, body=ended)
    said = f"{last.changed_count} numbers were added before, up to line {last.line}."
    told = _Errors((*last.failure.errors, _ErrorItem(said, 0)))
    status = next((item.code for item in last.failure.errors), _FAILED)
    return replace(outcome, status=status, body=msgspec.json.encode(told))


def _seconds(text: str) -> float | None:
    # the other form, a date, is one nobody who speaks this API sends
    whole = text.isascii() and text.isdigit() and len(text) <= _LONGEST_RETRY_AFTER
    return float(text) if whole else None


def _sentences(reply: Reply) -> tuple[str, ...]:
    try:
        found = tuple(item.msg for item in msgspec.json.decode(reply.body, type=_Errors).errors)
    except _UNREADABLE:
        found = ()
    return found or (f"The server answered {reply.status} without saying why.",)


def read_answer(outcome: Reply | Failure, read: Callable[[Any], A]) -> A:
    """Return what is made of an answer's document; raise NotUnderstoodError when it is not what was asked for."""
    if isinstance(outcome, Failure):
        raise TypeError("there is no answer to read")
    try:
        return read(msgspec.json.decode(outcome.body))
    except (*_UNREADABLE, LookupError, TypeError, ValueError) as error:
        raise NotUnderstoodError(
            (f"What answered does not speak the campaign API ({error}): is the address right?",),
            status=outcome.status,
            request_id=outcome.headers.get("x-request-id"),
        ) from error
