"""Every failure outdial names: class, stable code, a sentence that says what, where and how to mend it.

The HTTP status and whether a retry can help are decided here, once; drivers only render. ``code`` is part of the
public contract and never changes its meaning. Raise the most specific class; add one rather than reuse a vague one.
"""

from __future__ import annotations

from typing import ClassVar


class OutdialError(Exception):
    """Base of every named failure."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    wire_code: ClassVar[int] = 500
    """Number in the vendor-shaped body ``{"errors":[{"msg","code"}]}``."""
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """The sentence a person reads."""

    @property
    def messages(self) -> tuple[str, ...]:
        """All sentences, several when several things are wrong at once."""
        return (self.message,)


class InvalidInputError(OutdialError):
    """A request or file has one or more wrong fields; all are named at once."""

    code = "invalid_input"
    status = 412
    wire_code = 412

    def __init__(self, problems: list[str] | tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)

    @property
    def messages(self) -> tuple[str, ...]:
        return self.problems


class TooLargeError(OutdialError):
    """A request's body or a file is larger than outdial takes."""

    code = "too_large"
    status = 413
    wire_code = 413


class BadReferenceError(OutdialError):
    """The body names a list, flow, trunk or DNC list that does not exist."""

    code = "bad_reference"
    status = 400
    wire_code = 400


class BadRequestError(OutdialError):
    """A query parameter is missing or wrong (``trigger``, ``campaignType``, ``view`` …)."""

    code = "bad_request"
    status = 400
    wire_code = 400


class NotFoundError(OutdialError):
    """No such thing in this account; another account's thing answers the same."""

    code = "not_found"
    status = 404
    wire_code = 404


class UnauthorizedError(OutdialError):
    """Credentials are missing, wrong, expired, of another algorithm, account or scope."""

    code = "unauthorized"
    status = 401
    wire_code = 4002


class ForbiddenError(OutdialError):
    """The client is known, but may not hand out what it does not have itself."""

    code = "forbidden"
    status = 403
    wire_code = 403


class ConflictError(OutdialError):
    """The thing is not in a state that allows this."""

    code = "conflict"
    status = 409
    wire_code = 409


class IllegalMoveError(ConflictError):
    """The state of a run or an import does not allow the action; the sentence names what it allows."""

    code = "illegal_move"


class NothingToDialError(ConflictError):
    """A start found no contact that may ever be dialed; the message says which rule removed them."""

    code = "nothing_to_dial"


class EmergencyStopError(ConflictError):
    """An emergency stop is in force: nothing can be started or resumed before somebody lifts it."""

    code = "emergency_stop"


class RulePackError(ConflictError):
    """A campaign's rule pack or a holiday calendar is not there or cannot be read, so nobody may be called by it."""

    code = "rule_pack"


class InUseError(ConflictError):
    """A list, flow or trunk is in use by a live run or a campaign."""

    code = "in_use"


class LimitReachedError(ConflictError):
    """The account or the contact list holds as much as it may; the sentence names the limit."""

    code = "limit_reached"


class AttemptsKeptTooBrieflyError(ConflictError):
    """An attempt limit counts over more days than the account keeps attempts, or than it has any left: it would count
    too few. Keep attempts for longer, or let the limit count over fewer days."""

    code = "attempts_kept_too_briefly"


class ArchiveTooLargeError(ConflictError):
    """An archive of evidence would have more rows of history than the API makes it of; `outdial compliance export`
    makes it, in a process of its own."""

    code = "archive_too_large"


class WrongOffsetError(ConflictError):
    """A piece of an upload does not begin where what has arrived ends; the sentence names that place."""

    code = "wrong_offset"

    def __init__(self, message: str, received_bytes: int) -> None:
        super().__init__(message)
        self.received_bytes = received_bytes
        """Where the next piece must begin."""


class ImportBusyError(ConflictError):
    """Another process runs the import, or did until a moment ago."""

    code = "import_busy"
    retryable = True


class KeyReusedError(OutdialError):
    """An ``Idempotency-Key`` has served for another request already."""

    code = "key_reused"
    status = 422
    wire_code = 422


class KeyBusyError(ConflictError):
    """A request with the same ``Idempotency-Key`` is being carried out; its answer comes to whoever asks again."""

    code = "key_busy"
    retryable = True


class AnswerLostError(ConflictError):
    """The request of an ``Idempotency-Key`` was carried out, but its answer was lost; it is not carried out again."""

    code = "answer_lost"


class SimulationBusyError(ConflictError):
    """This server plays another simulation; ask again when it is over."""

    code = "simulation_busy"
    retryable = True


class SimulationTooLongError(ConflictError):
    """A simulation takes more steps than are played in a server; the sentence names what to reduce."""

    code = "simulation_too_long"


class SimulationEndedError(OutdialError):
    """A simulation was ended before it was over: its client hung up, or the server ends."""

    code = "simulation_ended"
    status = 503
    wire_code = 503
    retryable = True


class NotBuiltError(OutdialError):
    """A documented feature that outdial does not offer yet."""

    code = "not_built"
    status = 501
    wire_code = 501


class RateLimitedError(OutdialError):
    """Too many requests for the account."""

    code = "rate_limited"
    status = 429
    wire_code = 429
    retryable = True

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StopNotProvenError(OutdialError):
    """Stop is committed but an engine could not be shown to be silent; the run stays ``stopping``. Ask again."""

    code = "stop_not_proven"
    status = 503
    wire_code = 503
    retryable = True


class PauseNotProvenError(OutdialError):
    """Pause is committed but an engine could not be shown to be silent: a call it was given before may leave yet. The
    run is paused; ask again."""

    code = "pause_not_proven"
    status = 503
    wire_code = 503
    retryable = True


class StopReportNotReadyError(ConflictError):
    """A run is stopped, and the ends of its calls are still being written; its signed report comes some seconds later.
    Ask again."""

    code = "stop_report_not_ready"
    retryable = True


class ReportErasedError(ConflictError):
    """A signed report of a stop named a number whose person was erased since; it went with the person."""

    code = "report_erased"


class PersonOnCallError(ConflictError):
    """A person cannot be erased while somebody talks with them; nobody else calls the number meanwhile. Ask again when
    the conversation is over, or have it ended."""

    code = "person_on_call"
    retryable = True


class DatabaseUnavailableError(OutdialError):
    """PostgreSQL cannot be reached."""

    code = "database_unavailable"
    status = 503
    wire_code = 503
    retryable = True


class BusyError(OutdialError):
    """The server answers as many questions of this kind as it does at a time, or the database took too long over this
    one; calls come first. Ask again."""

    code = "busy"
    status = 503
    wire_code = 503
    retryable = True


class EngineUnavailableError(OutdialError):
    """The telephony engine cannot be reached or does not answer in time."""

    code = "engine_unavailable"
    status = 503
    wire_code = 503
    retryable = True


class TrunkUnresolvedError(OutdialError):
    """A trunk's host name cannot be resolved."""

    code = "trunk_unresolved"
    status = 503
    wire_code = 503
    retryable = True


class FileError(OutdialError):
    """A file on this machine cannot be read or written; the sentence names it and says why."""

    code = "file"


class SpeechUnavailableError(OutdialError):
    """A text cannot be spoken: there is no voice, or the program that is to speak fails."""

    code = "speech_unavailable"
    status = 503
    wire_code = 503
    retryable = True


class FileElsewhereError(FileError):
    """What has arrived of an upload is at a server with another data folder; the rest belongs there too."""

    code = "file_elsewhere"
    status = 409
    wire_code = 409


class StartupError(OutdialError):
    """outdial cannot start here; the sentence says what is in the way (port taken, disk full, newer schema …)."""

    code = "startup"
