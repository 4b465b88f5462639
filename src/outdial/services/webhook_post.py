"""Sends one message of a webhook, once, and says what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from outdial import clock
from outdial.core.webhook import ANSWER_SECONDS, DELIVERED, headers, retry_after_seconds, secret_bytes
from outdial.public_hosts import PrivateHosts, PublicResolver, private_address
from outdial.secretbox import SecretBox
from outdial.store.webhooks import Target

SETTING: Final = "OUTDIAL_WEBHOOK_PRIVATE_HOSTS"

LONGEST_PROBLEM: Final = 200
"""Characters that are kept of what went wrong."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try."""

    status: int | None
    """HTTP; None: there was no answer."""
    problem: str
    """Why it was not delivered; empty: it was."""
    seconds: float
    retry_after: float | None = None
    """For so many seconds the receiver wants to be left alone."""

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return not self.problem


class WebhookPost:
    """Sends. An asynchronous context manager, which keeps connections.

    Nothing of an answer is read but its status and headers: how large a body is, and whether it ever ends, is its
    sender's affair. A connection on which there is more to be read is closed.
    """

    def __init__(self, private_hosts: Iterable[str], *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._private_hosts = PrivateHosts(private_hosts, setting=SETTING)
        self._answer_seconds = answer_seconds
        self._session: aiohttp.ClientSession | None = None
        self._resolver: PublicResolver | None = None

    async def __aenter__(self) -> Self:
        self._resolver = PublicResolver(self._private_hosts)
        self._session = aiohttp.ClientSession(
            # no limit: a receiver that hangs must not keep others waiting; its lanes bound it
            connector=aiohttp.TCPConnector(limit=0, resolver=self._resolver),
            timeout=aiohttp.ClientTimeout(total=self._answer_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None  # noqa: S101 - entered
        assert self._resolver is not None  # noqa: S101 - entered
        await self._session.close()
        await self._resolver.close()

    async def post(self, url: str, secrets: Sequence[bytes], message_id: str, body: bytes) -> Answer:
        """Send a message to an address, signed with each of the secrets; whatever happens is an answer."""
        assert self._session is not None  # noqa: S101 - entered
        began = clock.boottime()
        sent = headers(secrets, message_id, int(clock.now().timestamp()), body)
        try:
            address = URL(url, encoded=True)
            # an address is connected to without any resolver
            self._private_hosts.require_allowed(address.host or "", [address.host or ""])
            async with self._session.post(address, data=body, headers=sent, allow_redirects=False) as reply:
                status, retry_after = reply.status, reply.headers.get("Retry-After")
        except TimeoutError:
            return Answer(None, f"no answer within {self._answer_seconds:g} seconds", _since(began))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            refused = private_address(error)
            problem = str(refused or error) or type(error).__name__
            return Answer(None, problem[:LONGEST_PROBLEM], _since(began))
        if status in DELIVERED:
            return Answer(status, "", _since(began))
        problem = f"HTTP status {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")  # noqa: PLR2004 - RFC 9110 §15.4
        return Answer(status, problem, _since(began), retry_after_seconds(retry_after, now=clock.now()))


def secrets_of(box: SecretBox, target: Target) -> list[bytes]:
    """Return what messages to it are signed with. Raises WrongSecretKeyError."""
    found = (secret_bytes(box.decrypt(one)) for one in target.encrypted)
    return [secret for secret in found if secret is not None]


def _since(began: float) -> float:
    return round(clock.boottime() - began, 3)
