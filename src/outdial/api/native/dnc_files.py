"""Files of numbers that must not be called: sent whole, added lot by lot, and followed while they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from outdial.api.auth import Caller
from outdial.api.body import pass_body_on
from outdial.api.kore.wire import ErrorItem
from outdial.api.native.imports import FOLLOW_SECONDS, QUIET_SECONDS
from outdial.api.native.routes import Operation, Routes, Upload
from outdial.api.native.views import Failure, View
from outdial.api.parameters import Parameter
from outdial.api.parts import ApiParts
from outdial.api.places import Places
from outdial.api.query import query_instant, query_value, query_values, require_known
from outdial.api.request_ids import request_id
from outdial.api.stops import Stops
from outdial.api.texts import REGION, line
from outdial.core.contact_import import ImportProgress
from outdial.core.errors import OutdialError
from outdial.core.model import Scope
from outdial.services import dnc, dnc_file
from outdial.services.dnc_file import LARGEST_FILE, LONGEST_COLUMN, MOST_COLUMNS, FileDraft
from outdial.services.fields import LONGEST_DESCRIPTION
from outdial.services.imports import LONGEST_FILE_NAME, LONGEST_SHEET_NAME
from outdial.services.number_file import NumberFile, Tally

MOST_AT_ONCE: Final = 2
"""Files that this process reads at a time: each has a thread, or a database connection, most of that time."""

WAIT_SECONDS: Final = 30.0
"""For a place among them, once a file has arrived."""

_JSON_LINES: Final = "application/jsonl"
_FILE: Final = Upload(
    "application/octet-stream",
    "The file: CSV, an Excel workbook (.xlsx), or a number a line; at most 64 MB.",
    LARGEST_FILE,
    required=False,
)
_QUERY: Final = {
    "fileName": Parameter(
        "What its owner calls the file, for sentences about it.",
        {"type": "string", **line(LONGEST_FILE_NAME)},
        example="complaints.csv",
    ),
    "column": Parameter(
        "The column of the numbers, by its name in the first line, or `column 2` for the second; may be given several "
        "times. Left out: the one called phone or the like, or the only one.",
        {"type": "array", "maxItems": MOST_COLUMNS, "items": {"type": "string", **line(LONGEST_COLUMN)}},
        example=["Caller"],
    ),
    "sheet": Parameter(
        "The sheet of a workbook; left out: the first.", {"type": "string", **line(LONGEST_SHEET_NAME)}, example="March"
    ),
    "defaultRegion": Parameter(
        "Country of numbers without +, two letters; left out: that of the server's settings.",
        {"type": "string", **REGION},
        example="US",
    ),
    "reason": Parameter("Why, for the record.", {"type": "string", **line(LONGEST_DESCRIPTION)}, example="of March"),
    "expiresAt": Parameter(
        "Until when they are on the list, ISO 8601 with a zone; left out: for good.",
        {"type": "string", "format": "date-time"},
        example="2099-01-01T00:00:00Z",
    ),
}

_log = structlog.get_logger()


class DncFileView(View, frozen=True):
    """How far a file is, and in the last line what became of it."""

    state: str
    """`adding`, and in the last line `added` or `failed`."""
    rows: int
    """Read so far, without empty ones."""
    unreadable_count: int
    """Of them, those of which something could not be read."""
    changed_count: int
    unchanged_count: int
    """On the list already, or twice in the file."""
    line: int
    """What could be read up to the end of this line is on the list."""
    position: int
    """How much of the file is read, of `size`: bytes of a CSV file, rows of a sheet; now and then."""
    size: int
    problems: list[str]
    """In the last line: a sentence for each row of which something could not be read, the first thousand; and for calls
    that were placed before and may leave yet."""
    failure: Failure | None
    """Why it was not read to its end."""


_ADDED: Final = (
    '{"state":"adding","rows":5120,"changedCount":5000,"line":5001,…,"failure":null}\n'
    '{"state":"added","rows":6000,"changedCount":5998,"line":6001,…,"failure":null}\n'
)


@dataclass(slots=True)
class _Adding:
    """A file whose numbers are being added."""

    file: NumberFile
    tally: Tally
    request_id: str
    position: int = 0

    def hear(self, progress: ImportProgress) -> None:
        """Note how much of the file is read."""
        self.position = progress.position

    def view(
        self, state: str = "adding", *, problems: tuple[str, ...] = (), failure: Failure | None = None
    ) -> DncFileView:
        """Return how far it is."""
        return DncFileView(
            state=state,
            rows=self.file.rows,
            unreadable_count=self.file.unreadable,
            changed_count=self.tally.changed,
            unchanged_count=self.tally.unchanged,
            line=self.tally.line,
            position=self.file.size if state == "added" else self.position,
            size=self.file.size,
            problems=[] if state == "adding" else [*problems, *self.file.problems],
            failure=failure,
        )

    def failed(self, error: OutdialError) -> DncFileView:
        """Return how far it came."""
        failure = Failure(
            errors=[ErrorItem(msg=sentence, code=error.wire_code) for sentence in error.messages],
            error_code=error.code,
            retryable=error.retryable,
            request_id=self.request_id,
        )
        return self.view("failed", failure=failure)


class DncFileRoutes:
    """Files of numbers."""

    def __init__(self, parts: ApiParts, stops: Stops) -> None:
        self._stops = stops
        self._database = parts.database
        self._engines = parts.engines
        self._region = parts.settings.default_region
        self._folder = parts.settings.data_dir.resolve()
        self._places = Places(MOST_AT_ONCE, what="additions of files", wait_seconds=WAIT_SECONDS)

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        routes.add(
            "POST",
            "/dnc-lists/{dncListId}/files",
            self.add,
            Operation(
                "Add the numbers of a file to a do-not-call list",
                Scope.DO_NOT_CALL,
                None,
                _ADDED,
                _FILE,
                query=_QUERY,
                media=_JSON_LINES,
                line=DncFileView,
                keyed=False,
            ),
        )

    async def add(self, request: Request, caller: Caller) -> Response:
        """Put the numbers of a file on a list: a CSV file in any usual encoding and with any usual separator, an Excel
        workbook (.xlsx), or a number a line; at most 64 MB. When the last line of the answer says `added`, none of them
        will be called any more.

        Nothing is added before all of the file is here, nor where it cannot be understood: 412 says why. Then the
        answer is JSON lines, each a `DncFileView` of the schemas, whenever it is further. 5000 numbers at a time are
        added, and are on the list from then on. The last line has the `state` `added` or `failed`. Its `problems` are a
        sentence for each row that cannot be read, where the others are added, and for calls to the numbers that were
        placed before and may leave yet. `failed` says in `failure`, as a refusal does, why it was not read further;
        what was added stays.

        Who hangs up once all of the file was sent does not end it. Where an answer breaks off without such a last line,
        send the file again: what is on the list stays there, and adding never shortens. So no `Idempotency-Key` is
        looked at. A server reads two files at a time; 503 `busy`: it has others to read, ask again.
        """
        list_id = request.path_params["dncListId"]
        await dnc.get_list(self._database, account_id=caller.account_id, iid=caller.iid, list_id=list_id)
        draft = self._draft(request)
        dnc_file.require_draft(draft)
        async with AsyncExitStack() as stack:
            received = await stack.enter_async_context(dnc_file.receiving(self._folder))
            await pass_body_on(request, received.write, largest=LARGEST_FILE)
            await stack.enter_async_context(self._places.one())
            file = await stack.enter_async_context(dnc_file.opened(received, draft))
            adding = _Adding(file, Tally(file), request_id(request))
            work = self._added(caller, list_id, draft, adding, held=stack.pop_all())
        task = self._stops.begin(work, name=f"file for {list_id}")
        return StreamingResponse(_lines(adding, task), media_type=_JSON_LINES)

    def _draft(self, request: Request) -> FileDraft:
        require_known(request, _QUERY)
        return FileDraft(
            name=query_value(request, "fileName") or "",
            columns=tuple(query_values(request, "column")),
            sheet=query_value(request, "sheet") or None,
            default_region=query_value(request, "defaultRegion") or self._region,
            reason=query_value(request, "reason") or "",
            expires_at=query_instant(request, "expiresAt"),
        )

    async def _added(
        self, caller: Caller, list_id: str, draft: FileDraft, adding: _Adding, *, held: AsyncExitStack
    ) -> DncFileView:
        """Add the numbers and let go of the file; return what became of it, also when that is a failure."""
        async with held:
            try:
                change = await dnc.add_to_list(
                    self._database,
                    account_id=caller.account_id,
                    iid=caller.iid,
                    list_id=list_id,
                    phones=adding.file.numbers(adding.hear),
                    as_stored=True,
                    blocking=True,
                    reason=draft.reason,
                    expires_at=draft.expires_at,
                    actor=caller.client_id,
                    engines=self._engines,
                    on_lot=adding.tally.count,
                )
            except OutdialError as error:
                _log.warning("dnc_file_failed", dnc_list_id=list_id, line=adding.tally.line, reason=error.message)
                return adding.failed(error)
            except Exception:  # noqa: BLE001 - told with its traceback; the answer has begun, so it must say it itself
                _log.exception("dnc_file_failed", dnc_list_id=list_id, line=adding.tally.line)
                return adding.failed(OutdialError("outdial failed to add the rest of the file; its log says why."))
            except asyncio.CancelledError:
                _log.warning("dnc_file_cut_off", dnc_list_id=list_id, line=adding.tally.line)
                raise
        _log.info("dnc_file_added", dnc_list_id=list_id, changed=change.changed, unchanged=change.unchanged)
        return adding.view("added", problems=change.problems)


async def _lines(adding: _Adding, task: asyncio.Task[DncFileView]) -> AsyncIterator[bytes]:
    """Yield how far it is whenever it is further, and now and then where it is not; then what became of it, if the
    server has not ended before."""
    seen, quiet = adding.view(), 0.0
    yield _line(seen)
    while not (await asyncio.wait({task}, timeout=FOLLOW_SECONDS))[0]:
        quiet += FOLLOW_SECONDS
        found = adding.view()
        if found != seen or quiet >= QUIET_SECONDS:
            seen, quiet = found, 0.0
            yield _line(found)
    if not task.cancelled():
        yield _line(task.result())


def _line(view: DncFileView) -> bytes:
    return msgspec.json.encode(view) + b"\n"
