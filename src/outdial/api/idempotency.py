"""``Idempotency-Key``: a request that is sent again is answered again, not carried out again.

The key is claimed, the request carried out, the answer kept. Every transaction of the request notes within itself that
the request is carried out, if the claim still holds; so a crash at any instant leaves either nothing, and the next
request with the key does it, or a note, and the next one is told. Stops take no part in this: they are always done.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from outdial.api import errors
from outdial.api.body import LARGEST_BODY, read_body
from outdial.core.errors import (
    AnswerLostError,
    BadRequestError,
    DatabaseUnavailableError,
    KeyBusyError,
    KeyReusedError,
    OutdialError,
)
from outdial.secretbox import SecretBox
from outdial.store import idempotency as store
from outdial.store.database import Connection, Database, before_commit
from outdial.store.idempotency import Kept, Key

KEY: Final = "Idempotency-Key"
REPLAY: Final = "Idempotent-Replay"

CLAIM_SECONDS: Final = 30.0
"""How long a request may take until another one with its key takes it over, as long as nothing is carried out."""

_FIRST_FAILURE_NOT_KEPT: Final = 500
_KEPT_HEADERS: Final = ("content-type", "location", "retry-after")
_ACCEPTABLE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Keeps and replays answers."""

    database: Database
    secrets: SecretBox

    async def once(
        self,
        request: Request,
        client_id: str,
        act: Callable[[Request], Awaitable[Response]],
        *,
        largest_body: int = LARGEST_BODY,
    ) -> Response:
        """Act, or answer what was answered when the client first sent this key.

        Raises BadRequestError for a key that is none, KeyReusedError, KeyBusyError, AnswerLostError, and what acting
        raises when that is no answer to keep.
        """
        text = _key_of(request)
        if text is None:
            return await act(request)
        key = Key(client_id, text, claim=uuid.uuid4().hex)
        fingerprint = _fingerprint(request, await read_body(request, largest=largest_body))
        async with self.database.connection() as connection:
            kept = await store.claim(connection, key, fingerprint, seconds=CLAIM_SECONDS)
        if kept is not None:
            return self._known(kept, fingerprint)
        answer = await self._claimed(request, key, act)
        await self._keep(key, answer)
        return answer

    def _known(self, kept: Kept, fingerprint: bytes) -> Response:
        if kept.fingerprint != fingerprint:
            raise KeyReusedError(
                f"This {KEY} has served for another request within 24 hours; a new request needs a new key."
            )
        if kept.status is not None:
            body = self.secrets.decrypt(kept.body_encrypted).encode()
            return Response(body, kept.status, headers={**kept.headers, REPLAY: "true"})
        if kept.claimed or not kept.carried_out:
            raise KeyBusyError(f"A request with this {KEY} is being carried out; ask again for its answer.")
        raise AnswerLostError(
            f"The request with this {KEY} was carried out, but outdial was interrupted before it could answer. Look at "
            "what it did; to do it once more, use a new key."
        )

    async def _claimed(self, request: Request, key: Key, act: Callable[[Request], Awaitable[Response]]) -> Response:
        """Act, with the note in every transaction; return the answer, that of a refusal too."""
        note = _Note(key)
        token = before_commit.set(note)
        try:
            return await act(request)
        except OutdialError as error:
            if error.status >= _FIRST_FAILURE_NOT_KEPT or isinstance(error, KeyBusyError):
                await self._release(key)
                raise
            return errors.reply_to(request, error)
        except Exception:
            await self._release(key)
            raise
        finally:
            before_commit.reset(token)
            # tasks that the request began may outlive it
            note.over = True

    async def _keep(self, key: Key, answer: Response) -> None:
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        encrypted = self.secrets.encrypt(bytes(answer.body).decode())
        try:
            async with self.database.connection() as connection:
                await store.keep(connection, key, answer.status_code, headers, encrypted)
        except DatabaseUnavailableError as error:
            # it is carried out all the same, and noted: nobody does it again
            _log.warning("answer_not_kept", reason=error.message)

    async def _release(self, key: Key) -> None:
        try:
            async with self.database.connection() as connection:
                await store.release(connection, key)
        except DatabaseUnavailableError as error:
            # the claim runs out by itself
            _log.warning("key_not_released", reason=error.message)


class _Note:
    """Notes within a transaction that the request is carried out; fails when another one has taken the key over."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self.over = False

    async def __call__(self, connection: Connection) -> None:
        if not self.over and not await store.mark_carried_out(connection, self._key):
            raise KeyBusyError(f"Another request with this {KEY} has taken over; ask again for its answer.")


def _key_of(request: Request) -> str | None:
    given = set(request.headers.getlist(KEY))
    if not given:
        return None
    key = given.pop()
    if given or not _ACCEPTABLE.fullmatch(key):
        raise BadRequestError(f"`{KEY}` must be one text of 1 to 255 printable ASCII characters.")
    return key


def _fingerprint(request: Request, body: bytes) -> bytes:
    parts = (request.method, request.url.path, repr(sorted(request.query_params.multi_items())))
    head = "\n".join(parts).encode(errors="surrogatepass")
    return hashlib.sha256(len(head).to_bytes(8, "big") + head + body).digest()
