"""The courtesy message of a campaign: what whoever answers a call hears that we have cancelled."""

from __future__ import annotations

from outdial.core.errors import BadReferenceError, ConflictError, NotFoundError
from outdial.core.flow import message_of
from outdial.core.flow_document import read_flow
from outdial.core.model import LIVE_RUN_STATES, Campaign, Flow
from outdial.services.campaigns import get_campaign
from outdial.services.fields import is_storable
from outdial.store import campaigns as campaigns_store
from outdial.store import flows as flows_store
from outdial.store import runs as runs_store
from outdial.store.database import Connection, Database


async def show_courtesy(database: Database, *, iid: str, campaign_id: str) -> Flow:
    """Return the flow that is the campaign's courtesy message; raise NotFoundError when there is no such campaign or it
    has none."""
    campaign = await get_campaign(database, iid, campaign_id)
    async with database.connection() as connection:
        return await _present(connection, campaign)


async def set_courtesy(database: Database, *, iid: str, campaign_id: str, flow: str, actor: str) -> Flow:
    """Let whoever answers a call of the campaign's next runs that we have cancelled hear the flow of that name or id,
    and be hung up then; return it.

    Raises NotFoundError, BadReferenceError for a flow the application does not have or that is more than one recording,
    ConflictError while a run is live.
    """
    async with database.transaction() as connection:
        campaign = await _locked(connection, iid, campaign_id)
        flow_id = await campaigns_store.flow_named(connection, iid, flow) if is_storable(flow) else None
        found = None
        if is_storable(flow):
            found = await flows_store.of_application_by_id(connection, iid, flow_id or flow, lock=True)
        if found is None:
            raise BadReferenceError(f"There is no flow {flow[:60]!r}; add it with: outdial flow add.")
        if message_of(read_flow(found.document)) is None:
            raise BadReferenceError(f"The flow {found.name!r} has several steps; a courtesy message is one recording.")
        await campaigns_store.set_courtesy(connection, campaign.id, found.id, actor=actor)
    return found


async def remove_courtesy(database: Database, *, iid: str, campaign_id: str, actor: str) -> Flow:
    """Let whoever answers a cancelled call of the campaign's next runs be hung up on at once; return what they would
    have heard. Raises NotFoundError, ConflictError while a run is live."""
    async with database.transaction() as connection:
        campaign = await _locked(connection, iid, campaign_id)
        found = await _present(connection, campaign)
        await campaigns_store.set_courtesy(connection, campaign.id, None, actor=actor)
    return found


async def _present(connection: Connection, campaign: Campaign) -> Flow:
    flow_id = campaign.courtesy_flow_id
    found = None if flow_id is None else await flows_store.by_id(connection, flow_id)
    if found is None:
        raise NotFoundError(f"The campaign {campaign.name!r} has no courtesy message.")
    return found


async def _locked(connection: Connection, iid: str, campaign_id: str) -> Campaign:
    """Lock the campaign, as a start does, and return it."""
    campaign = await campaigns_store.by_id(connection, iid, campaign_id, lock=True)
    if campaign is None:
        raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
    run = await runs_store.latest_run(connection, campaign_id)
    if run is not None and run.state in LIVE_RUN_STATES:
        raise ConflictError(
            f"The campaign {campaign.name!r} cannot be changed while its run is {run.state}; stop it first."
        )
    return campaign
