"""Recordings of what people said on calls."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from outdial.api.auth import Caller
from outdial.api.json_reply import JsonReply
from outdial.api.native.routes import WAV, Operation, Routes
from outdial.api.native.views import All, View
from outdial.api.parts import ApiParts
from outdial.core.model import Scope
from outdial.services import recordings
from outdial.store.recordings import Recording


class RecordingView(View, frozen=True):
    """What a person said in one step of a flow, having agreed to be recorded; or the first seconds of a call whose
    verdict is kept for review."""

    id: str
    attempt_id: str
    step: str
    """Of the flow; `0-answer`: it is a call's first seconds."""
    duration_seconds: float
    size_bytes: int
    sha256: str
    """Of the file."""
    recorded_at: datetime


_ONE: Final = RecordingView(
    id="rc-11111111-2222-5333-8444-555555555555",
    attempt_id="0123456789abcdef0123456789abcdef",
    step="voice",
    duration_seconds=7.42,
    size_bytes=118_764,
    sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    recorded_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
)


class RecordingRoutes:
    """Recordings."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database
        self._folder = parts.settings.data_dir.resolve() / recordings.FOLDER

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        one, elsewhere = "/recordings/{recordingId}", frozenset({409})
        for method, path, endpoint, operation in (
            (
                "GET",
                "/attempts/{attemptId}/recordings",
                self.of_attempt,
                Operation("List the recordings of an attempt", scope, All[RecordingView], All(results=[_ONE])),
            ),
            (
                "GET",
                one,
                self.audio,
                Operation("Download a recording", scope, None, "RIFF…", refused=elsewhere, media=WAV),
            ),
            (
                "DELETE",
                one,
                self.remove,
                Operation("Remove a recording", scope, RecordingView, _ONE, refused=elsewhere),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def of_attempt(self, request: Request, caller: Caller) -> Response:
        """Return what was recorded in an attempt, oldest first; none where nothing was, or it was removed."""
        found = await recordings.list_recordings(
            self._database, iid=caller.iid, attempt_id=request.path_params["attemptId"]
        )
        return JsonReply(All(results=[_view(one) for one in found]))

    async def audio(self, request: Request, caller: Caller) -> Response:
        """Return the recording as a WAV file, 8 kHz, 16 bit, mono. Refused with `file_elsewhere` when its file is in
        the data folder of another machine."""
        found = await recordings.open_recording(
            self._database, self._folder, iid=caller.iid, recording_id=request.path_params["recordingId"]
        )
        headers = {
            "Content-Disposition": f'attachment; filename="{found.recording.id}.wav"',
            "Content-Length": str(found.recording.size_bytes),
        }
        return StreamingResponse(found.chunks(), media_type=WAV, headers=headers)

    async def remove(self, request: Request, caller: Caller) -> Response:
        """Remove a recording, its file with it, and return what it was; history keeps that there was one."""
        removed = await recordings.remove_recording(
            self._database,
            self._folder,
            iid=caller.iid,
            recording_id=request.path_params["recordingId"],
            actor=caller.client_id,
        )
        return JsonReply(_view(removed))


def _view(recording: Recording) -> RecordingView:
    return RecordingView(
        id=recording.id,
        attempt_id=recording.attempt_id,
        step=recording.step,
        duration_seconds=recording.duration_seconds,
        size_bytes=recording.size_bytes,
        sha256=recording.sha256,
        recorded_at=recording.recorded_at,
    )
