"""Imports of contacts: a file is uploaded in pieces, its rows are added beside, and how far that is can be followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from outdial import clock
from outdial.api.auth import Caller
from outdial.api.body import read_body, read_json
from outdial.api.json_reply import JsonReply
from outdial.api.links import Link
from outdial.api.native.bodies import NewImportBody, NoBody
from outdial.api.native.routes import Operation, Routes, Upload
from outdial.api.native.views import Some, View
from outdial.api.parameters import number
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_number
from outdial.core.contact_import import Import, ImportState
from outdial.core.errors import OutdialError
from outdial.core.model import Scope
from outdial.services import imports
from outdial.services.contact_columns import ColumnMapping
from outdial.services.imports import FOLDER, LARGEST_FILE, LARGEST_PIECE, ImportDraft

LARGEST_PAGE: Final = 1000
DEFAULT_PAGE: Final = 50
LARGEST_SKIP: Final = 10**9

FOLLOW_SECONDS: Final = 0.5
"""Between two looks at an import that somebody follows."""

QUIET_SECONDS: Final = 15.0
"""A follower hears something at least this often, so that whatever is between does not take it for gone."""

LONGEST_FOLLOW_SECONDS: Final = 3600.0
"""Whoever follows for longer asks again."""

_ENDED: Final = frozenset({ImportState.DONE, ImportState.FAILED, ImportState.CANCELLED})
_AT: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
_PAGING: Final = {
    "skip": number("How many to leave out at the beginning, 0 unless told.", least=0, most=LARGEST_SKIP),
    "limit": number(f"How many, {DEFAULT_PAGE} unless told.", least=1, most=LARGEST_PAGE),
}
_PIECE: Final = Upload(
    "application/octet-stream", "The bytes of the file from `offset` on.", LARGEST_PIECE, required=False
)
_OFFSET: Final = {
    "offset": number(
        "How many bytes of the file have arrived, `receivedBytes`: there this piece begins.", least=0, most=LARGEST_FILE
    )
}


class ImportView(View, frozen=True):
    """An import and how far it is."""

    id: str
    state: str
    file_name: str
    list_name: str
    list_id: str | None
    received_bytes: int
    position: int
    """How much of the file is read, of `size`: bytes of a CSV file, rows of a sheet."""
    size: int
    rows: int
    added: int
    duplicates: int
    bad: int
    beyond: int
    """Left out, since the list or the account was full."""
    on_dnc: int
    numbers_left_out: int
    """Other numbers that were wrong; their contacts were imported without them."""
    failure: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class RowErrorView(View, frozen=True):
    """Why a row was left out, or another number of its contact."""

    line: int
    reason: str


_IMPORT: Final = ImportView(
    id="im-11111111-2222-4333-8444-555555555555",
    state="done",
    file_name="people.csv",
    list_name="March callers",
    list_id="cl-1111111-2222-4333-8444-555555555555",
    received_bytes=48_211,
    position=48_211,
    size=48_211,
    rows=1000,
    added=996,
    duplicates=3,
    bad=1,
    beyond=0,
    on_dnc=12,
    numbers_left_out=2,
    failure="",
    created_at=_AT,
    updated_at=_AT,
    ended_at=_AT,
)
_ERROR: Final = RowErrorView(line=17, reason="the phone number '+1555' is too short")


_UNKNOWN_LIST: Final = frozenset({404})
_NEW_IMPORT: Final = {"path.importId": "$response.body#/id"}
_AFTER: Final = (
    Link("get_imports_importId", "How far it is.", _NEW_IMPORT),
    Link("post_imports_importId_pieces", "Upload the file's first piece.", {**_NEW_IMPORT, "query.offset": "0"}),
    Link("post_imports_importId_finish", "Say that the file is complete.", _NEW_IMPORT),
    Link("post_imports_importId_cancel", "Cancel it.", _NEW_IMPORT),
    Link("get_imports_importId_errors", "The rows that were left out.", _NEW_IMPORT),
)
_EVENT: Final = 'event: progress\ndata: {"id":"im-11111111-2222-4333-8444-555555555555","state":"done",…}\n\n'


def import_view(found: Import) -> ImportView:
    """Return an import as it is answered."""
    return ImportView(**{name: getattr(found, name) for name in ImportView.__struct_fields__})


class ImportRoutes:
    """Imports."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database
        self._region = parts.settings.default_region
        self._folder = parts.settings.data_dir.resolve() / FOLDER

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        one = "/imports/{importId}"
        listed = Operation(
            "List imports",
            scope,
            Some[ImportView],
            Some(results=[_IMPORT], skip=0, limit=50, total=1),
            query=_PAGING,
        )
        errors = Operation(
            "List the rows that were left out",
            scope,
            Some[RowErrorView],
            Some(results=[_ERROR], skip=0, limit=50, total=1),
            query=_PAGING,
        )
        for method, path, endpoint, operation in (
            ("GET", "/imports", self.imports, listed),
            (
                "POST",
                "/imports",
                self.create,
                Operation(
                    "Begin an import", scope, ImportView, _IMPORT, NewImportBody, refused=_UNKNOWN_LIST, links=_AFTER
                ),
            ),
            ("GET", one, self.show, Operation("Get an import", scope, ImportView, _IMPORT)),
            (
                "POST",
                f"{one}/pieces",
                self.append,
                Operation("Upload a piece of the file", scope, ImportView, _IMPORT, _PIECE, query=_OFFSET),
            ),
            (
                "POST",
                f"{one}/finish",
                self.finish,
                Operation("Say that the file is complete", scope, ImportView, _IMPORT, NoBody),
            ),
            (
                "POST",
                f"{one}/cancel",
                self.cancel,
                Operation("Cancel an import", scope, ImportView, _IMPORT, NoBody),
            ),
            ("GET", f"{one}/errors", self.errors, errors),
            (
                "GET",
                f"{one}/events",
                self.events,
                Operation("Follow an import", scope, None, _EVENT, media="text/event-stream"),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def imports(self, request: Request, caller: Caller) -> Response:
        """Return the imports of the application, newest first, page by page."""
        page = await imports.list_imports(self._database, caller.iid, skip=_skip(request), limit=_limit(request))
        results = [import_view(found) for found in page.items]
        return JsonReply(Some(results=results, skip=page.skip, limit=page.limit, total=page.total))

    async def create(self, request: Request, caller: Caller) -> Response:
        """Begin an import: its file, CSV or .xlsx, is then uploaded in pieces of at most 16 MB, 1 GB in all. Each piece
        says where it begins, so an upload that broke goes on from `receivedBytes`."""
        body = parse(NewImportBody, await read_json(request))
        draft = ImportDraft(
            list_name=body.list_name,
            file_name=body.file_name,
            create_list=body.create_list,
            sheet=body.sheet,
            mapping=ColumnMapping.of(body.mapping),
            default_region=body.default_region or self._region,
        )
        made = await imports.create(
            self._database, iid=caller.iid, account_id=caller.account_id, draft=draft, actor=caller.client_id
        )
        return JsonReply(import_view(made))

    async def show(self, request: Request, caller: Caller) -> Response:
        """Return an import and how far it is."""
        return JsonReply(await self._view(request, caller))

    async def append(self, request: Request, caller: Caller) -> Response:
        """Add a piece to the file; it is on the disk when this answers. One that does not begin where what has arrived
        ends is refused with 409, whose sentence says where that is."""
        offset = query_number(request, "offset", default=0, least=0, most=LARGEST_FILE)
        data = await read_body(request, largest=LARGEST_PIECE)
        await imports.append(
            self._database, self._folder, caller.iid, request.path_params["importId"], offset=offset, data=data
        )
        return JsonReply(await self._view(request, caller))

    async def finish(self, request: Request, caller: Caller) -> Response:
        """Say that the file is complete: its rows are added from now on, beside, and after a crash from where it was.
        Rows that are wrong are left out and told, the others added."""
        parse(NoBody, await read_json(request))
        found = await imports.finish_upload(
            self._database, self._folder, caller.iid, request.path_params["importId"], actor=caller.client_id
        )
        return JsonReply(import_view(found))

    async def cancel(self, request: Request, caller: Caller) -> Response:
        """End an import for good; rows added before stay."""
        parse(NoBody, await read_json(request))
        found = await imports.cancel(
            self._database, self._folder, caller.iid, request.path_params["importId"], actor=caller.client_id
        )
        return JsonReply(import_view(found))

    async def errors(self, request: Request, caller: Caller) -> Response:
        """Return why rows were left out, by line: of the first ten thousand; all are counted."""
        page = await imports.errors(
            self._database,
            caller.iid,
            request.path_params["importId"],
            skip=_skip(request),
            limit=_limit(request),
        )
        results = [RowErrorView(line=found.line, reason=found.reason) for found in page.items]
        return JsonReply(Some(results=results, skip=page.skip, limit=page.limit, total=page.total))

    async def events(self, request: Request, caller: Caller) -> Response:
        """Follow an import as server-sent events: one named `progress`, with what `GET` answers, whenever it is
        further; the last one is its end. After an hour the stream ends by itself: ask again."""
        first = await self._view(request, caller)
        return StreamingResponse(self._follow(request, caller, first), media_type="text/event-stream")

    async def _view(self, request: Request, caller: Caller) -> ImportView:
        return import_view(await imports.progress(self._database, caller.iid, request.path_params["importId"]))

    async def _follow(self, request: Request, caller: Caller, first: ImportView) -> AsyncIterator[bytes]:
        seen, quiet, began = first, 0.0, clock.boottime()
        yield _event(seen)
        while ImportState(seen.state) not in _ENDED and clock.boottime() - began < LONGEST_FOLLOW_SECONDS:
            await asyncio.sleep(FOLLOW_SECONDS)
            quiet += FOLLOW_SECONDS
            try:
                found = await self._view(request, caller)
            except OutdialError:
                # the answer has begun, so no status can say it any more: who follows asks again
                return
            if found != seen:
                seen, quiet = found, 0.0
                yield _event(found)
            elif quiet >= QUIET_SECONDS:
                quiet = 0.0
                yield b": still there\n\n"


def _event(view: ImportView) -> bytes:
    return b"event: progress\ndata: " + msgspec.json.encode(view) + b"\n\n"


def _skip(request: Request) -> int:
    return query_number(request, "skip", default=0, least=0, most=LARGEST_SKIP)


def _limit(request: Request) -> int:
    return query_number(request, "limit", default=DEFAULT_PAGE, least=1, most=LARGEST_PAGE)
