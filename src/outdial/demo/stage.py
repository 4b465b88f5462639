"""Everything the demo needs before it can dial: a server of its own, an application, a trunk, a flow, people."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from outdial import clock, tokens
from outdial.config import Settings
from outdial.core.errors import EngineUnavailableError, StartupError
from outdial.core.model import EngineKind
from outdial.demo.client import Client
from outdial.demo.people import CALLER_ID, write_csv
from outdial.demo.sound import chime
from outdial.demo.witness import AsteriskWitness, SimulatedWitness, Witness
from outdial.listening import PortTakenError, listen
from outdial.serve import Serving, serving
from outdial.services import access, flows, trunks
from outdial.services.access import Credentials
from outdial.services.import_file import import_file
from outdial.services.trunks import TrunkDraft
from outdial.telephony.engine import TrunkAddress
from outdial.telephony.program import find_asterisk
from outdial.telephony.simulated import SimulatedEngine

CALLS_PER_SECOND: Final = 20.0
MAX_CHANNELS: Final = 60
"""At this pace 300 contacts are dialed in half a minute: long enough to press stop in the middle."""

TOKEN_HOURS: Final = 24
LIST_NAME: Final = "Loopback phones"
FLOW_NAME: Final = "Chime"
ACTOR: Final = "demo"

_NOWHERE: Final = TrunkAddress("127.0.0.1", 5060)
"""The simulated engine calls no address."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stage:
    """A server that runs, and a client's access to it."""

    serving: Serving
    url: str
    credentials: Credentials
    client: Client
    witness: Witness
    missing: str | None
    """Why calls are simulated though that was not asked for: what is missing and how to get it."""

    @property
    def label(self) -> str:
        """The engine's name."""
        return self.serving.engine_label or ""

    @property
    def kind(self) -> EngineKind:
        """What places the calls."""
        return EngineKind.SIMULATED if self.serving.managed is None else EngineKind.ASTERISK


@asynccontextmanager
async def stage(settings: Settings, contacts: int) -> AsyncIterator[Stage]:
    """Set the stage for the block, and leave nothing of it behind. Raises StartupError."""
    with own_settings(settings) as own:
        chosen, missing = await _choose_engine(own)
        async with serving(chosen, dialer=True, api=True) as running:
            credentials = await _furnish(running, contacts)
            expires_at = clock.now() + timedelta(hours=TOKEN_HOURS)
            token = tokens.sign(credentials.client_id, credentials.client_secret, expires_at=expires_at)
            url = running.url or ""
            async with Client(url, credentials, token) as client:
                yield Stage(running, url, credentials, client, _witness(running), missing)


@contextmanager
def own_settings(settings: Settings) -> Iterator[Settings]:
    """Give the demo's settings: its own folder, database and engine, whatever production uses.

    A data folder that was named is used and kept; otherwise one is made and removed. A port that was named is used;
    otherwise the usual one, or another one where that is taken.
    """
    with ExitStack() as stack:
        changes: dict[str, Any] = {"database_url": None, "asterisk_url": None}
        if "data_dir" not in settings.model_fields_set:
            changes["data_dir"] = stack.enter_context(_folder())
        if "http_port" not in settings.model_fields_set and not _is_free(settings.http_host, settings.http_port):
            changes["http_port"] = 0
        yield settings.model_copy(update=changes)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="outdial-demo-"))
    # the database's own account has to get through to its folder
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, onerror=_tell)


def _tell(_function: object, path: str, error: Any) -> None:
    _log.warning("demo_folder_left", path=path, reason=str(error[1]))


def _is_free(host: str, port: int) -> bool:
    try:
        listen(host, port).close()
    except PortTakenError:
        return False
    return True


async def _choose_engine(settings: Settings) -> tuple[Settings, str | None]:
    """Prefer Asterisk; where there is none, simulate, and say what is missing."""
    if settings.engine != "auto":
        return settings, None
    try:
        await find_asterisk(settings)
    except StartupError as error:
        return settings.model_copy(update={"engine": "simulated"}), error.message
    return settings, None


async def _furnish(running: Serving, contacts: int) -> Credentials:
    """Make an application of this demo's own, with trunk, flow and contact list."""
    context = running.context
    credentials = await access.create_application(
        context.database, context.secrets, account="Demo", name=f"Demo {clock.now():%Y-%m-%d %H:%M:%S.%f}"
    )
    address = _NOWHERE if running.managed is None else running.managed.loopback_trunk_address
    await trunks.add_trunk(
        context.database,
        context.secrets,
        credentials.iid,
        TrunkDraft(
            name="Loopback carrier",
            host=address.host,
            port=address.port,
            caller_ids=(CALLER_ID,),
            max_channels=MAX_CHANNELS,
            calls_per_second=CALLS_PER_SECOND,
        ),
    )
    await flows.add_flow(context.database, credentials.iid, FLOW_NAME, chime())
    with tempfile.TemporaryDirectory(prefix="outdial-demo-") as folder:
        path = Path(folder) / "people.csv"
        write_csv(path, contacts)
        await import_file(
            context.database,
            iid=credentials.iid,
            account_id=credentials.account_id,
            list_name=LIST_NAME,
            path=path,
            default_region=None,
            create=True,
            on_progress=lambda _progress: None,
            error_file=None,
            actor=ACTOR,
        )
    return credentials


def _witness(running: Serving) -> Witness:
    if running.managed is not None:
        return AsteriskWitness(running.managed)
    if running.local is not None and isinstance(running.local.engine, SimulatedEngine):
        return SimulatedWitness(running.local.engine)
    raise EngineUnavailableError("The demo has an engine whose calls it cannot count.")
