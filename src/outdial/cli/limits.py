"""``outdial limits``: how often one number may be called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.options import Account, Iid, Json, account_id, application
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.attempt_limits import LARGEST_COUNT, PRESETS, window_text
from outdial.services import attempt_limits, campaigns
from outdial.services.attempt_limits import AttemptLimit, Counted, LimitRule

app = typer.Typer(
    help="How often one number may be called, in rolling windows over all campaigns of an account. A limit holds back "
    "the calls of the account, with --iid those of one application, with --campaign those of one campaign.",
    no_args_is_help=True,
)

_SECONDS_PER_HOUR = 3600

OfCampaign: TypeAlias = Annotated[
    str | None, typer.Option("--campaign", metavar="CAMPAIGN", help="Id or name: hold back its calls only.")
]
Matter: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ATTRIBUTE", help="Contacts' attribute that says what a call is about; without it all calls count."
    ),
]


@app.command("list", epilog="Example: outdial limits list --account Acme")
def list_(*, account: Account = None, as_json: Json = False) -> None:
    """List the limits of an account, its applications and its campaigns; all that apply hold at once."""

    async def work(context: Context) -> list[AttemptLimit]:
        owner = await account_id(context.database, account)
        return await attempt_limits.list_limits(context.database, account_id=owner, iid=None)

    _tell(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial limits add --count 3 --hours 24")
def add(
    *,
    count: Annotated[int, typer.Option(min=1, max=LARGEST_COUNT, help="From so many on nothing is dialed.")],
    hours: Annotated[float, typer.Option(min=1 / 60, help="Length of the window.")],
    counts: Annotated[Counted, typer.Option(help="What is counted.")] = Counted.ATTEMPTS,
    matter: Matter = None,
    account: Account = None,
    iid: Iid = None,
    campaign: OfCampaign = None,
    as_json: Json = False,
) -> None:
    """Add a limit. It holds for every call that is reserved from now on, of live runs too."""
    rule = LimitRule(count, round(hours * _SECONDS_PER_HOUR), counts, matter)

    async def work(context: Context) -> list[AttemptLimit]:
        owner, of_iid, of_campaign = await _owner(context, account, iid, campaign)
        made = await attempt_limits.add_limit(
            context.database, rule, account_id=owner, iid=of_iid, campaign_id=of_campaign, actor=actor()
        )
        return [made]

    _tell(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial limits preset us-regulation-f --matter debt")
def preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(PRESETS)}.")],
    *,
    matter: Matter = None,
    account: Account = None,
    iid: Iid = None,
    campaign: OfCampaign = None,
    as_json: Json = False,
) -> None:
    """Add the limits that a rule-maker's text asks for. No legal advice: read the text, which is named."""
    found = attempt_limits.find_preset(name)

    async def work(context: Context) -> list[AttemptLimit]:
        owner, of_iid, of_campaign = await _owner(context, account, iid, campaign)
        return await attempt_limits.add_preset(
            context.database,
            name,
            matter=matter,
            account_id=owner,
            iid=of_iid,
            campaign_id=of_campaign,
            actor=actor(),
        )

    _tell(in_context(work), as_json=as_json)
    output.note(f"{found.source}: {found.summary}")


@app.command(epilog="Example: outdial limits remove al-11111111-2222-4333-8444-555555555555")
def remove(
    limit: Annotated[str, typer.Argument(metavar="ID", help="Its id, al-….")],
    *,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Remove a limit."""

    async def work(context: Context) -> AttemptLimit:
        owner = await account_id(context.database, account)
        return await attempt_limits.remove_limit(context.database, limit, account_id=owner, iid=None, actor=actor())

    removed = in_context(work)
    if as_json:
        output.print_json(removed)
    else:
        output.say(f"{_text(removed.rule)}: no longer a limit.")


async def _owner(
    context: Context, account: str | None, iid: str | None, campaign: str | None
) -> tuple[str, str | None, str | None]:
    """Return the account, and the application and campaign where the limit is one of theirs."""
    if campaign is not None:
        found = await campaigns.find_campaign(context.database, campaign)
        return found.account_id, found.iid, found.id
    if iid is not None:
        owner = await application(context.database, iid)
        return owner.account_id, owner.iid, None
    return await account_id(context.database, account), None, None


def _tell(limits: Sequence[AttemptLimit], *, as_json: bool) -> None:
    if as_json:
        output.print_json(limits)
        return
    output.print_table(
        ("limit", "id", "holds back", "by", "since"),
        (
            (
                _text(each.rule),
                each.id,
                each.campaign_id or each.iid or "the account",
                each.preset or each.created_by,
                output.time_text(each.created_at),
            )
            for each in limits
        ),
        empty="There is no limit: numbers are called as often as campaigns say.",
    )


def _text(rule: LimitRule) -> str:
    about = "" if rule.matter is None else f" about the same {rule.matter}"
    return f"{rule.count} {rule.counts}{about} in {window_text(rule.window_seconds)}"
