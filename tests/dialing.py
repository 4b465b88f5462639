"""A whole campaign ready to be started, and dialer nodes to dial it, for tests of everything above the store."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import time
from pathlib import Path

from outdial.config import Settings
from outdial.core.model import CallingHours, CallingWindow, DialingMode, DialingOrder, DialingRules, Flow, Trunk
from outdial.dialer import Dialer
from outdial.secretbox import SecretBox
from outdial.services import access, campaigns, contact_lists, flows, trunks
from outdial.services.access import Credentials
from outdial.services.campaigns import CampaignDraft
from outdial.services.contact_lists import ContactDraft
from outdial.services.engines import Engines
from outdial.services.trunks import TrunkDraft
from outdial.store.database import Database
from outdial.telephony.engine import Engine
from outdial.telephony.managed import EngineAddress
from sounds import tone, wav

CALLER_ID = "+15550100999"

ALWAYS = CallingHours(
    windows=tuple(CallingWindow(weekday, time(0), time.max) for weekday in range(7)), zone="UTC", frequency="DAILY"
)

RULES = DialingRules(
    caller_id=CALLER_ID,
    calling_hours=ALWAYS,
    order=DialingOrder.FIFO,
    max_attempts=2,
    retry_seconds=60,
    ring_seconds=30,
)


@dataclass(frozen=True)
class Stage:
    """A tenant with a trunk, a flow, a list and a campaign."""

    database: Database
    secrets: SecretBox
    owner: Credentials
    trunk: Trunk
    flow: Flow
    campaign_id: str
    list_name: str


def phones(count: int, *, last: str = "10", area: int = 555) -> list[str]:
    """Numbers whose last digits say how the loopback carrier and the simulated phones behave."""
    return [f"+1{area}{number:05d}{last}" for number in range(count)]


async def set_stage(
    database: Database,
    secrets: SecretBox,
    numbers: Sequence[str | tuple[str, ...]],
    *,
    rules: DialingRules = RULES,
    name: str = "one",
    host: str = "127.0.0.1",
    port: int = 5060,
    max_channels: int = 50,
    calls_per_second: float = 200.0,
    seconds: float = 0.2,
    account: str = "Acme",
    username: str | None = None,
    password: str | None = None,
) -> Stage:
    """Make one."""
    owner = await access.create_application(database, secrets, account=account, name=name)
    trunk = await trunks.add_trunk(
        database,
        secrets,
        owner.iid,
        TrunkDraft(
            name="line",
            host=host,
            port=port,
            caller_ids=(rules.caller_id,),
            max_channels=max_channels,
            calls_per_second=calls_per_second,
            username=username,
            password=password,
        ),
    )
    flow = await flows.add_flow(database, owner.iid, "hello", wav(tone(440, rate=8000, seconds=seconds), rate=8000))
    return Stage(
        database=database,
        secrets=secrets,
        owner=owner,
        trunk=trunk,
        flow=flow,
        campaign_id=await add_campaign(database, owner, numbers, rules=rules),
        list_name="people",
    )


async def add_campaign(
    database: Database,
    owner: Credentials,
    numbers: Sequence[str | tuple[str, ...]],
    *,
    rules: DialingRules = RULES,
    list_name: str = "people",
    name: str = "Spring",
    dnc_list_name: str | None = None,
) -> str:
    """Make a list of the numbers, those of one contact together, and a campaign that dials it; return its id."""
    await contact_lists.create_list(
        database,
        iid=owner.iid,
        account_id=owner.account_id,
        name=list_name,
        description="",
        source="passiveApi",
        allow_duplicates=False,
        api_version=2,
        actor="test",
    )
    for first in range(0, len(numbers), 500):
        people = [(one,) if isinstance(one, str) else one for one in numbers[first : first + 500]]
        drafts = [ContactDraft(phone=phone, other_phones=others) for phone, *others in people]
        added = await contact_lists.add_contacts(database, owner.iid, list_name, drafts, default_region=None)
        assert not added.problems
    campaign = await campaigns.create_campaign(
        database,
        iid=owner.iid,
        account_id=owner.account_id,
        draft=CampaignDraft(
            name=name,
            description="",
            list_names=(list_name,),
            dnc_list_name=dnc_list_name,
            priority=1,
            mode=DialingMode.AGENTLESS,
            rules=rules,
            flow_name="hello",
            queue_name=None,
            max_skips=None,
            api_version=2,
        ),
        actor="test",
    )
    return campaign.id


def settings_for(folder: Path, *, ttl_seconds: float = 1.0, **more: object) -> Settings:
    """Settings that touch nothing outside the folder."""
    return Settings(_env_file=None, data_dir=folder, permit_ttl_seconds=ttl_seconds, **more)


@contextlib.asynccontextmanager
async def dialing(
    stage: Stage,
    engine: Engine,
    folder: Path,
    *,
    engines: Engines | None = None,
    address: EngineAddress | None = None,
    ttl_seconds: float = 1.0,
    database: Database | None = None,
    node_id: str | None = None,
    speech_command: str = "",
) -> AsyncIterator[asyncio.Task[None]]:
    """Run one dialer node beside the block."""
    settings = settings_for(folder, ttl_seconds=ttl_seconds, speech_command=speech_command)
    own = engines or Engines(stage.database, stage.secrets, ttl_seconds=ttl_seconds)
    dialer = Dialer(
        settings=settings,
        database=database or stage.database,
        secrets=stage.secrets,
        engines=own,
        engine=engine,
        address=address,
        node_id=node_id or uuid.uuid4().hex,
    )
    task = asyncio.create_task(dialer.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if engines is None:
            await own.close()


def with_rules(**changes: object) -> DialingRules:
    """The usual rules with some changed."""
    return replace(RULES, **changes)
