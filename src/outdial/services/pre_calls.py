"""The pre-call fetch of a campaign: set, shown without its secrets, removed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.model import LIVE_RUN_STATES
from outdial.core.pre_call import PreCallFetch
from outdial.secretbox import SecretBox
from outdial.services.campaigns import get_campaign
from outdial.services.fields import require, url_problems
from outdial.store import campaigns as campaigns_store
from outdial.store import pre_calls as store
from outdial.store import runs as runs_store
from outdial.store.database import Connection, Database

MOST_HEADERS: Final = 20
LONGEST_HEADER: Final = 2000
"""Characters of one value."""

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
"""RFC 9110 §5.6.2: a token."""

_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")

_OURS: Final = frozenset(
    {"connection", "content-length", "content-type", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that say how a request is sent."""


@dataclass(frozen=True, slots=True)
class PreCallView:
    """A campaign's fetch as people may see it."""

    url: str
    header_names: tuple[str, ...]


async def show_fetch(database: Database, secrets: SecretBox, *, iid: str, campaign_id: str) -> PreCallView:
    """Return the campaign's fetch; raise NotFoundError when there is no such campaign or it has none."""
    campaign = await get_campaign(database, iid, campaign_id)
    async with database.connection() as connection:
        found = await store.of_campaign(connection, secrets, campaign.id)
    if found is None:
        raise NotFoundError(f"The campaign {campaign.name!r} has no pre-call fetch.")
    return _view(found)


async def set_fetch(
    database: Database,
    secrets: SecretBox,
    *,
    iid: str,
    campaign_id: str,
    url: str,
    headers: Mapping[str, str],
    actor: str,
) -> PreCallView:
    """Have the campaign's contacts asked about there, from its next run on, and return it without its secrets.

    Raises InvalidInputError, NotFoundError, ConflictError while a run is live.
    """
    problems = url_problems("url", url, example="https://crm.example.net/pre-call", instead="put them into a header")
    require([*problems, *_header_problems(headers)])
    async with database.transaction() as connection:
        name = await _locked(connection, iid, campaign_id)
        fetch = PreCallFetch(url=url, headers=headers, campaign_id=campaign_id, campaign_name=name)
        await store.put(connection, secrets, fetch, actor=actor)
    return _view(fetch)


async def remove_fetch(
    database: Database, secrets: SecretBox, *, iid: str, campaign_id: str, actor: str
) -> PreCallView:
    """Have the campaign's contacts dialed without asking, and return the fetch as it was.

    Raises NotFoundError, ConflictError while a run is live.
    """
    async with database.transaction() as connection:
        name = await _locked(connection, iid, campaign_id)
        found = await store.of_campaign(connection, secrets, campaign_id)
        if found is None:
            raise NotFoundError(f"The campaign {name!r} has no pre-call fetch.")
        await store.remove(connection, campaign_id, actor=actor)
    return _view(found)


async def _locked(connection: Connection, iid: str, campaign_id: str) -> str:
    """Lock the campaign, as a start does, and return its name."""
    campaign = await campaigns_store.by_id(connection, iid, campaign_id, lock=True)
    if campaign is None:
        raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
    run = await runs_store.latest_run(connection, campaign_id)
    if run is not None and run.state in LIVE_RUN_STATES:
        raise ConflictError(
            f"The campaign {campaign.name!r} cannot be changed while its run is {run.state}; stop it first."
        )
    return campaign.name


def _view(fetch: PreCallFetch) -> PreCallView:
    return PreCallView(url=fetch.url, header_names=tuple(sorted(fetch.headers)))


def _header_problems(headers: Mapping[str, str]) -> list[str]:
    if len(headers) > MOST_HEADERS:
        return [f"`headers` has {len(headers)} entries; at most {MOST_HEADERS} are allowed."]
    problems = []
    for name, value in headers.items():
        shown = name[:60]
        if not _HEADER_NAME.fullmatch(name):
            problems.append(f"`headers` has a name that cannot be sent: {shown!r}.")
        elif name.lower() in _OURS:
            problems.append(f"`headers` must not have {shown!r}: it is outdial's to set.")
        elif len(value) > LONGEST_HEADER or not _HEADER_VALUE.fullmatch(value):
            problems.append(
                f"`headers` has a value that cannot be sent under {shown!r}: printable ASCII, at most "
                f"{LONGEST_HEADER} characters, no space at its ends."
            )
    if len({name.lower() for name in headers}) != len(headers):
        problems.append("`headers` has a name twice.")
    return problems
