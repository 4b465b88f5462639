"""The two clients: httpx does what a conversation says, in a thread's own time or in an event loop's."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

import httpx

from outdial.client import operations
from outdial.client.steps import Failure, Items, Listing, Reply, Send, Site, Steps, Wait, require_id

P = ParamSpec("P")
A = TypeVar("A")
H = TypeVar("H", bound=httpx.Client | httpx.AsyncClient)

CONNECT_SECONDS: Final = 5.0
"""How long a connection may take to be made, and to become free where all are in use."""

LARGEST_PORT: Final = 65535

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""What httpx raises before a byte of the request has left."""


class _Shell(ABC, Generic[H]):
    """What both share: how they are made, and what httpx is given and gives."""

    def __init__(
        self,
        url: str,
        *,
        iid: str,
        client_id: str,
        client_secret: str,
        account_id: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 75.0,
        idempotent: bool = False,
        trust_env: bool = False,
        verify: ssl.SSLContext | None = None,
        transport: Any = None,
    ) -> None:
        """Make a client of one application; nothing is sent before the first call.

        ``timeout_seconds`` is for one request and its whole answer, ``patience_seconds`` for all waiting before
        repetitions of one request. ``idempotent``: the server honours ``Idempotency-Key``, so that what changes
        something may be sent again when no answer came. ``trust_env``: take proxies and certificates from the
        environment. ``transport``: an httpx transport, e.g. an application under test. Raises ValueError for a wrong
        address or id.
        """
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"The server's address cannot be read: {error}.") from error
        good = address.scheme in {"http", "https"} and address.host and (address.port or 1) <= LARGEST_PORT
        if not good or address.query or address.userinfo:
            raise ValueError(f"The server's address must look like https://outdial.example.net, not {url[:100]!r}.")
        self._site = Site(
            url=str(address).rstrip("/"),
            iid=require_id(iid),
            client_id=client_id,
            client_secret=client_secret,
            account_id=None if account_id is None else require_id(account_id),
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            idempotent=idempotent,
        )
        self._http: H = self._open(
            trust_env=trust_env, verify=True if verify is None else verify, transport=transport, follow_redirects=False
        )

    @abstractmethod
    def _open(self, **options: Any) -> H: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._site.url!r}, iid={self._site.iid!r})"

    def _request(self, step: Send) -> httpx.Request:
        asked, soon = step.request, min(CONNECT_SECONDS, step.timeout_seconds)
        return self._http.build_request(
            asked.method,
            f"{self._site.url}{asked.path}",
            params=dict(asked.query),
            json=asked.body,
            content=asked.file,
            headers=self._site.headers(asked, now=time.time()),
            timeout=httpx.Timeout(step.timeout_seconds, connect=soon, pool=soon),
        )


def _reply(answer: httpx.Response, body: bytes, began: float) -> Reply:
    # httpx's headers find a name in any case
    return Reply(answer.status_code, answer.headers, body, time.monotonic() - began)


def _failure(error: Exception, began: float) -> Failure:
    sent = not isinstance(error, _NOT_SENT)
    what = "No answer came from the server" if sent else "The server could not be reached"
    why = str(error).partition("\n")[0] or type(error).__name__
    return Failure(sent=sent, sentence=f"{what}: {why}.", elapsed_seconds=time.monotonic() - began)


def _sync(make: Callable[Concatenate[Site, P], Steps[A]]) -> Callable[Concatenate[Client, P], A]:
    @functools.wraps(make)
    def method(client: Client, /, *args: P.args, **options: P.kwargs) -> A:
        return client._run(make(client._site, *args, **options))  # noqa: SLF001 - a method

    return method


def _sync_listing(
    make: Callable[Concatenate[Site, P], Listing[A]],
) -> Callable[Concatenate[Client, P], Iterator[A]]:
    @functools.wraps(make)
    def method(client: Client, /, *args: P.args, **options: P.kwargs) -> Iterator[A]:
        return client._iterate(make(client._site, *args, **options))  # noqa: SLF001 - a method

    return method


class Client(_Shell[httpx.Client]):
    """Asks a server, and waits for the answer. A context manager; one client may serve many threads."""

    create_contact_list = _sync(operations.create_contact_list)
    add_contacts = _sync(operations.add_contacts)
    update_contact_list = _sync(operations.update_contact_list)
    get_contact_list = _sync(operations.get_contact_list)
    contact_lists = _sync(operations.contact_lists)
    contacts = _sync_listing(operations.contacts)
    delete_contact_list = _sync(operations.delete_contact_list)
    create_campaign = _sync(operations.create_campaign)
    update_campaign = _sync(operations.update_campaign)
    get_campaign = _sync(operations.get_campaign)
    campaigns = _sync_listing(operations.campaigns)
    delete_campaign = _sync(operations.delete_campaign)
    start = _sync(operations.start)
    stop = _sync(operations.stop)
    status = _sync(operations.status)
    run_contacts = _sync_listing(operations.run_contacts)
    call_back = _sync(operations.call_back)
    call_now = _sync(operations.call_now)
    explain = _sync(operations.explain)
    waterfall = _sync(operations.waterfall)
    enable_schedule = _sync(operations.enable_schedule)
    disable_schedule = _sync(operations.disable_schedule)
    dnc_lists = _sync(operations.dnc_lists)
    add_dnc_file = _sync(operations.add_dnc_file)

    def _open(self, **options: Any) -> httpx.Client:
        return httpx.Client(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _run(self, steps: Steps[A]) -> A:
        began, outcome = time.monotonic(), None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                answer: A = end.value
                return answer
            outcome = self._do(step, began)

    def _iterate(self, steps: Listing[A]) -> Iterator[A]:
        began, outcome = time.monotonic(), None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration:
                return
            if isinstance(step, Items):
                yield from step.items
                outcome = None
            else:
                outcome = self._do(step, began)

    def _do(self, step: Send | Wait, began: float) -> Reply | Failure | None:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
            return None
        deadline = time.monotonic() + step.timeout_seconds
        try:
            answer = self._http.send(self._request(step), stream=True)
            try:
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    # httpx's own limit is for each read; an answer that trickles would never end
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("the answer did not end in time")
            finally:
                answer.close()
        except httpx.RequestError as error:
            return _failure(error, began)
        return _reply(answer, bytes(body), began)


def _asynchronous(
    make: Callable[Concatenate[Site, P], Steps[A]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, A]]:
    @functools.wraps(make)
    async def method(client: AsyncClient, /, *args: P.args, **options: P.kwargs) -> A:
        return await client._run(make(client._site, *args, **options))  # noqa: SLF001 - a method

    return method


def _asynchronous_listing(
    make: Callable[Concatenate[Site, P], Listing[A]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[A]]:
    @functools.wraps(make)
    def method(client: AsyncClient, /, *args: P.args, **options: P.kwargs) -> AsyncIterator[A]:
        return client._iterate(make(client._site, *args, **options))  # noqa: SLF001 - a method

    return method


class AsyncClient(_Shell[httpx.AsyncClient]):
    """The same for asyncio: methods are awaited, and what goes through many things is an asynchronous iterator."""

    create_contact_list = _asynchronous(operations.create_contact_list)
    add_contacts = _asynchronous(operations.add_contacts)
    update_contact_list = _asynchronous(operations.update_contact_list)
    get_contact_list = _asynchronous(operations.get_contact_list)
    contact_lists = _asynchronous(operations.contact_lists)
    contacts = _asynchronous_listing(operations.contacts)
    delete_contact_list = _asynchronous(operations.delete_contact_list)
    create_campaign = _asynchronous(operations.create_campaign)
    update_campaign = _asynchronous(operations.update_campaign)
    get_campaign = _asynchronous(operations.get_campaign)
    campaigns = _asynchronous_listing(operations.campaigns)
    delete_campaign = _asynchronous(operations.delete_campaign)
    start = _asynchronous(operations.start)
    stop = _asynchronous(operations.stop)
    status = _asynchronous(operations.status)
    run_contacts = _asynchronous_listing(operations.run_contacts)
    call_back = _asynchronous(operations.call_back)
    call_now = _asynchronous(operations.call_now)
    explain = _asynchronous(operations.explain)
    waterfall = _asynchronous(operations.waterfall)
    enable_schedule = _asynchronous(operations.enable_schedule)
    disable_schedule = _asynchronous(operations.disable_schedule)
    dnc_lists = _asynchronous(operations.dnc_lists)
    add_dnc_file = _asynchronous(operations.add_dnc_file)

    def _open(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(**options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def _run(self, steps: Steps[A]) -> A:
        began, outcome = time.monotonic(), None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                answer: A = end.value
                return answer
            outcome = await self._do(step, began)

    async def _iterate(self, steps: Listing[A]) -> AsyncIterator[A]:
        began, outcome = time.monotonic(), None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration:
                return
            if isinstance(step, Items):
                for item in step.items:
                    yield item
                outcome = None
            else:
                outcome = await self._do(step, began)

    async def _do(self, step: Send | Wait, began: float) -> Reply | Failure | None:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            return None
        try:
            # httpx's own limit is for each read; an answer that trickles would never end
            async with asyncio.timeout(step.timeout_seconds):
                answer = await self._http.send(self._request(step))
        except (httpx.RequestError, TimeoutError) as error:
            return _failure(error, began)
        return _reply(answer, answer.content, began)
