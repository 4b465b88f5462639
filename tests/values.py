"""A campaign, a run and a trunk for tests that need one to look at, not to store."""

from __future__ import annotations

from datetime import UTC, datetime

from outdial.core.model import Campaign, CampaignState, DialingMode, NumberFormat, Run, RunState, Transport, Trunk
from runs import RULES

KEY = "0123456789abcdef0123456789abcdef"
"""Of a permit."""

AT = datetime(2026, 3, 1, tzinfo=UTC)

RUN = Run(
    id=1,
    instance_id="cid-1",
    campaign_id="cd-1",
    account_id="a",
    iid="st-1",
    state=RunState.ACTIVE,
    epoch=1,
    rules=RULES,
    trunk_id="tr-1",
    flow_id=None,
    max_concurrent_calls=None,
    calls_per_second=None,
    started_at=AT,
    updated_at=AT,
    ended_at=None,
    loaded=True,
)

CAMPAIGN = Campaign(
    id="cd-1",
    iid="st-1",
    account_id="a",
    name="Spring",
    description="",
    priority=5,
    mode=DialingMode.AGENTLESS,
    rules=RULES,
    flow_id="cf-1",
    flow_name="Hello",
    list_ids=("cl-1",),
    list_names=("People",),
    dnc_list_id=None,
    dnc_list_name=None,
    state=CampaignState.READY,
    api_version=2,
    queue_name=None,
    max_skips=None,
    created_at=AT,
    updated_at=AT,
)

TRUNK = Trunk(
    id="tr-1",
    iid="st-1",
    name="line",
    host="127.0.0.1",
    port=5060,
    transport=Transport.UDP,
    username=None,
    password=None,
    from_domain=None,
    number_format=NumberFormat.E164_PLUS,
    number_prefix="",
    caller_ids=("+15550100999",),
    max_channels=10,
    calls_per_second=10.0,
)
