"""Attempt limits: how often one number may be called by an account, by one of its applications, or by a campaign."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from outdial.core import ids
from outdial.core.attempt_limits import (
    LARGEST_COUNT,
    LONGEST_MATTER,
    LONGEST_WINDOW_SECONDS,
    PRESETS,
    SHORTEST_WINDOW_SECONDS,
    AttemptLimit,
    Counted,
    LimitRule,
    Preset,
)
from outdial.core.errors import (
    AttemptsKeptTooBrieflyError,
    BadReferenceError,
    InvalidInputError,
    LimitReachedError,
    NotFoundError,
)
from outdial.services.fields import is_storable, name_problems, range_problems, require
from outdial.services.retention import looks_too_far, too_short
from outdial.store import access as access_store
from outdial.store import attempt_limits as store
from outdial.store import campaigns as campaigns_store
from outdial.store import retention as retention_store
from outdial.store.database import Connection, Database, server_time

__all__ = ["AttemptLimit", "Counted", "LimitRule", "Preset"]

MOST_LIMITS: Final = 20
"""Per account: each is looked up for each call."""


def find_preset(name: str) -> Preset:
    """Return the preset of that name. Raises InvalidInputError that names those there are."""
    found = PRESETS.get(name)
    if found is None:
        raise InvalidInputError([f"There is no preset {name[:60]!r}; there are: {', '.join(PRESETS)}."])
    return found


async def list_limits(database: Database, *, account_id: str, iid: str | None) -> list[AttemptLimit]:
    """Return the limits of an account and those of one application (``iid`` None: of all) and its campaigns."""
    async with database.connection() as connection:
        return await store.of_account(connection, account_id, iid)


async def add_limit(
    database: Database,
    rule: LimitRule,
    *,
    account_id: str,
    iid: str | None = None,
    campaign_id: str | None = None,
    actor: str,
) -> AttemptLimit:
    """Let no number be called more often than that, for whatever is reserved from now on.

    ``iid`` and ``campaign_id`` say whose calls are held back; None: the account's. What counts are all calls of the
    account. Raises InvalidInputError, AttemptsKeptTooBrieflyError when the account does not keep attempts for as long,
    BadReferenceError for a campaign that is not the application's, NotFoundError for an unknown account,
    LimitReachedError.
    """
    require(_problems(rule))
    (made,) = await _add(database, (rule,), account_id, iid, campaign_id, preset=None, actor=actor)
    return made


async def add_preset(
    database: Database,
    name: str,
    *,
    matter: str | None = None,
    account_id: str,
    iid: str | None = None,
    campaign_id: str | None = None,
    actor: str,
) -> list[AttemptLimit]:
    """Add every limit of a preset; ``matter`` names the attribute that says what a call is about, where its text counts
    by that. Otherwise as :func:`add_limit`."""
    preset = find_preset(name)
    problems = [] if matter is None else _matter_problems(matter)
    if matter is not None and not preset.by_matter:
        problems.append(
            f"`matter` is given, but {preset.name} counts all calls, whatever they are about; leave it out."
        )
    require(problems)
    rules = [LimitRule(rule.count, rule.window_seconds, rule.counts, matter) for rule in preset.rules]
    return await _add(database, rules, account_id, iid, campaign_id, preset=preset.name, actor=actor)


async def remove_limit(
    database: Database, limit_id: str, *, account_id: str, iid: str | None, actor: str
) -> AttemptLimit:
    """Remove a limit and return it as it was; ``iid`` None: of any application. Raises NotFoundError, alike for other
    tenants' limits."""
    async with database.transaction() as connection:
        removed = (
            await store.remove(connection, limit_id, account_id=account_id, iid=iid, actor=actor)
            if is_storable(limit_id)
            else None
        )
    if removed is None:
        raise NotFoundError(f"There is no attempt limit {limit_id}.")
    return removed


async def _add(
    database: Database,
    rules: Sequence[LimitRule],
    account_id: str,
    iid: str | None,
    campaign_id: str | None,
    *,
    preset: str | None,
    actor: str,
) -> list[AttemptLimit]:
    async with database.transaction() as connection:
        if not (is_storable(account_id) and await access_store.account_exists(connection, account_id)):
            raise NotFoundError(f"There is no account {account_id}.")
        if campaign_id is not None:
            await _require_campaign(connection, iid, campaign_id)
        await store.lock(connection, account_id)
        kept = await retention_store.read(connection, account_id)
        if problem := too_short(kept.attempts_days, rules) or looks_too_far(kept, rules, await server_time(connection)):
            raise AttemptsKeptTooBrieflyError(problem)
        present = await store.of_account(connection, account_id, None)
        if len(present) + len(rules) > MOST_LIMITS:
            raise LimitReachedError(
                f"The account has {len(present)} attempt limits; with these there would be more than {MOST_LIMITS}. "
                "Remove some that stricter ones make useless."
            )
        return [
            await store.insert(
                connection,
                rule,
                limit_id=ids.attempt_limit_id(uuid.uuid4()),
                account_id=account_id,
                iid=iid,
                campaign_id=campaign_id,
                preset=preset,
                actor=actor,
            )
            for rule in rules
        ]


async def _require_campaign(connection: Connection, iid: str | None, campaign_id: str) -> None:
    known = iid is not None and is_storable(campaign_id)
    if not known or await campaigns_store.by_id(connection, iid or "", campaign_id) is None:
        raise BadReferenceError(f"The application has no campaign with the id {campaign_id[:60]}.")


def _problems(rule: LimitRule) -> list[str]:
    problems = range_problems("count", rule.count, least=1, most=LARGEST_COUNT)
    problems += range_problems(
        "windowSeconds", rule.window_seconds, least=SHORTEST_WINDOW_SECONDS, most=LONGEST_WINDOW_SECONDS
    )
    return problems + ([] if rule.matter is None else _matter_problems(rule.matter))


def _matter_problems(matter: str) -> list[str]:
    problems = name_problems("matter", matter)
    if len(matter) > LONGEST_MATTER:
        problems.append(f"`matter` has {len(matter)} characters; at most {LONGEST_MATTER} are allowed.")
    return problems
