"""What can go wrong when a server is asked, one class per kind; each says whether asking again may help.

    ClientError
    ├── NotSentError               no connection: nothing was sent
    ├── NoAnswerError              sent, but no answer came: whether it was done is not known
    ├── NotUnderstoodError         something answered that is not the campaign API
    ├── AddingBrokenOffError       of several batches of contacts, only the first were added
    └── RefusedError               the server said no
        ├── BadRequestError        400
        ├── UnauthorizedError      401
        ├── NotFoundError          404
        ├── ConflictError          409
        ├── InvalidInputError      412, each wrong field in a sentence of its own
        ├── TooLargeError          413
        ├── RateLimitedError       429
        ├── NotBuiltError          501
        └── UnavailableError       502, 503, 504; of a stop: not proven yet

They stand apart from ``outdial.core.errors``: the client is the outside user of the API and shares nothing with the
server but the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from outdial.client.answers import AddedContacts


class ClientError(Exception):
    """Base of all."""

    code: ClassVar[str] = "client"
    """Stable, for programs."""
    retryable: ClassVar[bool] = False
    """Whether the same request may succeed later."""

    def __init__(self, sentences: tuple[str, ...], *, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = sentences
        """What is wrong, for people; several when several things are."""
        self.status = status
        """HTTP status; None when there was no answer."""
        self.request_id = request_id
        """The server's name for the request, to be found in its log; None when it gave none."""


class NotSentError(ClientError):
    """No connection could be made, so nothing was sent and nothing happened."""

    code = "not_sent"
    retryable = True


class NoAnswerError(ClientError):
    """The request was sent, wholly or in part, but no answer came: it may have been done or not."""

    code = "no_answer"
    retryable = True


class NotUnderstoodError(ClientError):
    """What answered does not speak the campaign API: a proxy, a login page, another program."""

    code = "not_understood"


class AddingBrokenOffError(ClientError):
    """Contacts go out in batches, and one failed after others had been added; its cause says how."""

    code = "adding_broken_off"

    def __init__(self, cause: ClientError, added: AddedContacts) -> None:
        words = f"Adding broke off after {added.sent_count} contacts had been sent."
        super().__init__((words, *cause.sentences), status=cause.status, request_id=cause.request_id)
        self.added = added
        """What became of those before."""


class RefusedError(ClientError):
    """The server answered that it will not, or cannot."""

    code = "refused"

    def __init__(
        self,
        sentences: tuple[str, ...],
        *,
        status: int,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(sentences, status=status, request_id=request_id)
        self.retry_after_seconds = retry_after_seconds
        """When the server wants to be asked again; None when it does not say."""


class BadRequestError(RefusedError):
    """A parameter is wrong, or the request names something that does not exist."""

    code = "bad_request"


class UnauthorizedError(RefusedError):
    """Client id, secret, application and account do not belong together, or the client lacks the scope."""

    code = "unauthorized"


class NotFoundError(RefusedError):
    """There is no such thing in this application."""

    code = "not_found"


class ConflictError(RefusedError):
    """The thing is not in a state that allows this."""

    code = "conflict"


class InvalidInputError(RefusedError):
    """Fields are wrong; each has a sentence."""

    code = "invalid_input"


class TooLargeError(RefusedError):
    """The request is larger than the server reads."""

    code = "too_large"


class RateLimitedError(RefusedError):
    """The account asks too often; nothing was done."""

    code = "rate_limited"
    retryable = True


class NotBuiltError(RefusedError):
    """The API has this, the server does not offer it yet."""

    code = "not_built"


class UnavailableError(RefusedError):
    """The server cannot answer now. Of a stop: it is committed, no new call is begun, but the proof is still out."""

    code = "unavailable"
    retryable = True


BY_STATUS: Final[Mapping[int, type[RefusedError]]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    404: NotFoundError,
    409: ConflictError,
    412: InvalidInputError,
    413: TooLargeError,
    429: RateLimitedError,
    501: NotBuiltError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
"""HTTP status → what it means; any other is a RefusedError."""
