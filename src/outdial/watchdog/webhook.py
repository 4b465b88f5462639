"""Sends each alarm to an address of the operator's, signed as Standard Webhooks has it (specification 1.0.0)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
import msgspec
import structlog

from outdial import clock
from outdial.config import Settings
from outdial.core.errors import StartupError
from outdial.core.webhook import DELIVERED, headers, secret_bytes
from outdial.watchdog.counts import Counts

ANSWER_SECONDS: Final = 10.0

PAUSES: Final = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Seconds before each further try; a message that none of them brought is given up. The alarm itself is kept."""

MOST_WAITING: Final = 1000

LAST_SECONDS: Final = 5.0
"""How long the watchdog, asked to end, goes on sending."""

_log = structlog.get_logger()


def read_secret(text: str) -> bytes:
    """Return the secret's bytes. Raises StartupError."""
    secret = secret_bytes(text)
    if secret is None:
        raise StartupError(
            "OUTDIAL_WATCHDOG_WEBHOOK_SECRET must be whsec_ and 24 to 64 bytes in base64. Make one with: "
            "python3 -c \"import base64,os; print('whsec_'+base64.b64encode(os.urandom(32)).decode())\""
        )
    return secret


class Webhook:
    """Sends messages one after the other, beside everything else; ``send`` never waits."""

    def __init__(self, url: str, secret: bytes, counts: Counts, *, pauses: tuple[float, ...] = PAUSES) -> None:
        self._url = url
        self._secret = secret
        self._counts = counts
        self._pauses = pauses
        self._waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MOST_WAITING)

    @classmethod
    def of(cls, settings: Settings, counts: Counts) -> Webhook | None:
        """Return what the settings ask for, None when they ask for none. Raises StartupError."""
        if settings.watchdog_webhook is None:
            return None
        given = settings.watchdog_webhook_secret
        return cls(settings.watchdog_webhook, read_secret("" if given is None else given.get_secret_value()), counts)

    def send(self, message_id: str, content: dict[str, Any]) -> None:
        """Send a message as soon as those before it are sent or given up; it is dropped when too many wait."""
        try:
            self._waiting.put_nowait((message_id, msgspec.json.encode(content)))
        except asyncio.QueueFull:
            self._counts.webhook("dropped")
            _log.error("watchdog_webhook_dropped", message=message_id, waiting=MOST_WAITING)

    async def run(self) -> None:
        """Send until cancelled; then what still waits gets a last, short chance."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            message: tuple[str, bytes] | None = None
            try:
                while True:
                    message = await self._waiting.get()
                    await self._deliver(session, *message)
                    message = None
            except asyncio.CancelledError:
                await self._last(session, message)
                raise

    async def _last(self, session: aiohttp.ClientSession, message: tuple[str, bytes] | None) -> None:
        left = [] if message is None else [message]
        while not self._waiting.empty():
            left.append(self._waiting.get_nowait())
        try:
            async with asyncio.timeout(LAST_SECONDS):
                while left and await self._post(session, *left[0]):
                    self._counts.webhook("delivered")
                    left.pop(0)
        except TimeoutError:
            pass
        if left:
            _log.error("watchdog_webhook_undelivered", messages=[name for name, _ in left])

    async def _deliver(self, session: aiohttp.ClientSession, message_id: str, body: bytes) -> None:
        for pause in (*self._pauses, None):
            if await self._post(session, message_id, body):
                self._counts.webhook("delivered")
                return
            if pause is not None:
                await asyncio.sleep(pause)
        self._counts.webhook("failed")
        _log.error("watchdog_webhook_given_up", message=message_id, tries=len(self._pauses) + 1)

    async def _post(self, session: aiohttp.ClientSession, message_id: str, body: bytes) -> bool:
        sent = headers([self._secret], message_id, int(clock.now().timestamp()), body)
        try:
            async with session.post(self._url, data=body, headers=sent, allow_redirects=False) as response:
                # a redirection is none: what is signed is sent to nobody else
                if response.status in DELIVERED:
                    return True
                problem = f"HTTP {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            problem = type(error).__name__
        _log.warning("watchdog_webhook_failed", message=message_id, problem=problem)
        return False
