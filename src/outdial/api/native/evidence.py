"""Evidence: signed reports of stops, whom they kept from being called, the history, and the keys to check it with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from outdial import signing
from outdial.api.auth import Caller
from outdial.api.json_reply import JsonReply
from outdial.api.native.evidence_views import (
    BarrierView,
    ChainView,
    ContactCountsView,
    SealedView,
    SignatureView,
    SignedReportView,
    SigningKeyView,
    StopCallView,
    StopCountsView,
    StopEngineView,
    StopNodeView,
    StoppedRunView,
    StopRequestView,
)
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import All
from outdial.api.parts import ApiParts
from outdial.api.places import Places
from outdial.core.canonical import read
from outdial.core.history_file import Asked
from outdial.core.model import Run, Scope
from outdial.services import evidence_archive, exports, history_export, run_views, signed_reports, signing_keys
from outdial.services.report_text import report_text
from outdial.services.signing_keys import SigningKey

MOST_ROWS: Final = 100_000
"""Rows of history of which an archive is made over the API: some 30,000 attempts, a few hundred megabytes of memory
while it is made. Larger ones are made by ``outdial compliance export``, in a process that keeps no calls."""

ARCHIVE_WAIT_SECONDS: Final = 10.0
"""How long one who asks for an archive waits for another's to be made."""

_JSON_LINES: Final = "application/jsonl"
_TAR: Final = "application/x-tar"
_ARCHIVE: Final = "history.jsonl\u0000…"
_CONFLICT: Final = frozenset({409})
_TEXT: Final = "Stop of run cid-1111111-2222-4333-8444-555555555555\n  campaign           cd-1111111-…\n"
_CSV: Final = (
    "contactId,phoneNumber,uniqueId,state,doneReason,lastDisposition,attemptsCount,lastAttemptId,attributes,"
    "otherPhoneNumbers\r\n"
    "cc-11111111-2222-5333-8444-555555555555,'+15550100101,a-1,pending,,,0,,\r\n"
)
_LINES: Final = '{"accountId":"0123456789abcdef01234567","campaignId":null,"instanceId":null,"kind":"history"}\n'
_AT: Final = "2026-03-01T10:00:00.000000Z"
_DONE: Final = "2026-03-01T10:00:00.180000Z"
_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_PUBLIC: Final = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
_ATTEMPT_ID: Final = "0123456789abcdef0123456789abcdef"
_REPORT: Final = SignedReportView(
    kind="outdial stop report",
    version=1,
    run=StoppedRunView(
        instance_id="cid-1111111-2222-4333-8444-555555555555",
        run_id=7,
        campaign_id="cd-1111111-2222-4333-8444-555555555555",
        iid="st-11111111-2222-4333-8444-555555555555",
        account_id="0123456789abcdef01234567",
        epoch=2,
    ),
    request=StopRequestView(
        by="cs-22222222-2222-4333-8444-555555555555",
        at=_AT,
        reason="stop",
        ringing="cancel",
        connected="keep",
        keep_schedule=False,
    ),
    engines=[StopEngineView(engine_id="asterisk", fenced_at=_AT, quiesced_at=_AT, cancelled=1, hung_up=0)],
    nodes=[StopNodeView(node_id="8f14e45f", name="dialer-1", outcome="acknowledged", at=_AT)],
    barrier=BarrierView(
        no_call_after=_AT,
        stopped_at=_DONE,
        latency_seconds=0.18,
        last_originate_at=_AT,
        last_originate_attempt_id=_ATTEMPT_ID,
    ),
    calls=[
        StopCallView(
            attempt_id=_ATTEMPT_ID,
            contact_id="cc-11111111-2222-5333-8444-555555555555",
            number=1,
            engine_id="asterisk",
            node_id="8f14e45f",
            permit="run7e1k0123456789abcdef0123456789abcdef",
            phase="ringing",
            state="ended",
            outcome="ended",
            disposition="cancelled",
            reason="",
            cause=16,
            sip_code=None,
            reserved_at=_AT,
            dialed_at=_AT,
            ringing_at=_AT,
            answered_at=None,
            ended_at=_AT,
        )
    ],
    counts=StopCountsView(
        calls=1,
        phases={"reserved": 0, "dialing": 0, "ringing": 1, "answered": 0},
        outcomes={"ended": 1, "kept": 0, "unsettled": 0},
        cancelled=1,
        contacts=ContactCountsView(total=1000, never_reached=931, retries_cancelled=40, in_calls=0, done=29),
        lists_read_to_end=True,
    ),
    chain=ChainView(
        account_id="0123456789abcdef01234567",
        number=12,
        head=_SHA256,
        seals=[
            SealedView(
                seal={
                    "accountId": "0123456789abcdef01234567",
                    "number": 12,
                    "count": 1,
                    "fromId": 4711,
                    "toId": 4711,
                    "rows": _SHA256,
                    "previous": _SHA256,
                    "sealedAt": _AT,
                    "sha256": _SHA256,
                },
                entries=[_SHA256],
            )
        ],
    ),
    signature=SignatureView(
        algorithm=signing.ALGORITHM, key_id=_SHA256, public_key=_PUBLIC, signed_at=_DONE, value=_PUBLIC
    ),
)
_KEY: Final = SigningKeyView(
    id=_SHA256,
    algorithm=signing.ALGORITHM,
    public_key=_PUBLIC,
    pem="-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n",
    created_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
    retired_at=None,
)


class EvidenceRoutes:
    """Evidence."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database
        self._secrets = parts.secrets
        self._places = Places(1, what="archive of evidence", wait_seconds=ARCHIVE_WAIT_SECONDS)

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        run = "/runs/{instanceId}"
        for path, endpoint, operation in (
            (
                f"{run}/stop-report",
                self.report,
                Operation("Get the signed report of a stop", scope, SignedReportView, _REPORT, refused=_CONFLICT),
            ),
            (
                f"{run}/stop-report.txt",
                self.text,
                Operation("Read the report of a stop", scope, None, _TEXT, refused=_CONFLICT, media="text/plain"),
            ),
            (
                f"{run}/never-reached.csv",
                self.never_reached,
                Operation("Export the contacts a run never reached", scope, None, _CSV),
            ),
            (
                f"{run}/history.jsonl",
                self.run_history,
                Operation("Export the history of a run", scope, None, _LINES, media=_JSON_LINES),
            ),
            (
                "/campaigns/{campaignId}/history.jsonl",
                self.campaign_history,
                Operation("Export the history of a campaign", scope, None, _LINES, media=_JSON_LINES),
            ),
            (
                f"{run}/evidence.tar",
                self.run_archive,
                Operation("Export the evidence of a run", scope, None, _ARCHIVE, refused=_CONFLICT, media=_TAR),
            ),
            (
                "/campaigns/{campaignId}/evidence.tar",
                self.campaign_archive,
                Operation("Export the evidence of a campaign", scope, None, _ARCHIVE, refused=_CONFLICT, media=_TAR),
            ),
            (
                "/signing-keys",
                self.keys,
                Operation("List the keys reports are signed with", scope, All[SigningKeyView], All(results=[_KEY])),
            ),
        ):
            routes.add("GET", path, endpoint, operation)

    async def report(self, request: Request, caller: Caller) -> Response:
        """Return the signed report of the run's stop: who asked and when, what was done at each engine and node, every
        call that was live and what became of it, and the part of the history that shows it. Always the same bytes;
        `outdial verify-stop` checks them without a server.

        409 `stop_report_not_ready`: the run is stopped, and how some of its calls ended is still to be booked; ask
        again. 409 `conflict`: the run was not stopped.
        """
        return Response(await self._signed(request, caller), media_type="application/json")

    async def text(self, request: Request, caller: Caller) -> Response:
        """Return the report of the run's stop for people to read; the signed one is what counts."""
        document: dict[str, Any] = read(await self._signed(request, caller))
        return Response(report_text(document), media_type="text/plain; charset=utf-8")

    async def never_reached(self, request: Request, caller: Caller) -> Response:
        """Return the contacts of a run that were never attempted, as a CSV file like that of all its contacts."""
        run = await self._run(request, caller)
        lines = exports.contacts_csv(self._database, run, never_reached=True)
        return _file(f"never-reached-{run.instance_id}.csv", lines, "text/csv; charset=utf-8")

    async def run_history(self, request: Request, caller: Caller) -> Response:
        """Return everything that happened in a run as JSON lines, with the seals that chain it; rows of others in the
        same seals are digests. `outdial history verify` checks the file alone."""
        run = await self._run(request, caller)
        return self._history(f"history-{run.instance_id}.jsonl", history_export.of_run(run))

    async def campaign_history(self, request: Request, caller: Caller) -> Response:
        """Return everything that happened to a campaign and in its runs, as that of a run."""
        campaign_id = request.path_params["campaignId"]
        asked = await history_export.of_campaign(self._database, caller.iid, campaign_id)
        return self._history(f"history-{campaign_id}.jsonl", asked)

    async def run_archive(self, request: Request, caller: Caller) -> Response:
        """Return what was decided and dialed in a run, with the rules, rule data and history it rests on, as one signed
        archive: a tar file, sent once it is whole. `outdial verify-archive` checks all of it from the file alone.

        A server makes one archive at a time. 503 `busy`: it is making another; ask again. 409 `archive_too_large`: it
        would be of more than 100,000 rows of history; `outdial compliance export` makes it.
        """
        run = await self._run(request, caller)
        return await self._archive(f"evidence-{run.instance_id}.tar", history_export.of_run(run))

    async def campaign_archive(self, request: Request, caller: Caller) -> Response:
        """Return the evidence of a campaign and all its runs, as that of a run."""
        campaign_id = request.path_params["campaignId"]
        asked = await history_export.of_campaign(self._database, caller.iid, campaign_id)
        return await self._archive(f"evidence-{campaign_id}.tar", asked)

    async def keys(self, request: Request, caller: Caller) -> Response:
        """Return the public keys of this installation: the one that signs now first, then those that did."""
        del request, caller
        found = await signing_keys.every(self._database, self._secrets)
        return JsonReply(All(results=[_key_view(key) for key in found]))

    async def _run(self, request: Request, caller: Caller) -> Run:
        return await run_views.get_run(self._database, iid=caller.iid, instance_id=request.path_params["instanceId"])

    async def _signed(self, request: Request, caller: Caller) -> bytes:
        return await signed_reports.signed_report(self._database, self._secrets, await self._run(request, caller))

    def _history(self, name: str, asked: Asked) -> Response:
        return _file(name, history_export.export(self._database, asked), _JSON_LINES)

    async def _archive(self, name: str, asked: Asked) -> Response:
        async with self._places.one():
            pieces = await evidence_archive.made(self._database, self._secrets, asked, most_rows=MOST_ROWS)
        return _file(name, pieces, _TAR)


def _key_view(key: SigningKey) -> SigningKeyView:
    return SigningKeyView(
        id=key.id,
        algorithm=signing.ALGORITHM,
        public_key=signing.to_text(key.public),
        pem=signing.public_pem(key.public),
        created_at=key.created_at,
        retired_at=key.retired_at,
    )


def _file(name: str, chunks: AsyncIterator[bytes] | Iterator[bytes], media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(chunks, media_type=media_type, headers=headers)
