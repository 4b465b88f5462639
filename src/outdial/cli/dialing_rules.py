"""``outdial dialing-rules``: retries by how an attempt ended, when a run pauses itself, by what answering machines are
told from people, and which share of those verdicts is kept for review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Annotated, Final, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.errors import InvalidInputError
from outdial.core.machine import USUAL_TIMINGS, DetectionTimings
from outdial.core.machine_review import NO_REVIEW, ReviewShares
from outdial.core.model import Breaker, Disposition, OwnRules, RetryOrder, RetryRule
from outdial.services import campaigns, dialing_rules

app = typer.Typer(
    help="A campaign's dialing rules beside those of the vendor's API: retries by how an attempt ended, which come "
    "first, when a run pauses itself, by what answering machines are told from people, and which share of those "
    "verdicts is kept for review.",
    no_args_is_help=True,
)

_USUAL: Final = Breaker()
_TIMINGS: Final = {
    field.name.removesuffix("_seconds").replace("_", "-"): field.name for field in fields(DetectionTimings)
}
"""What --timing calls it → the field."""
_REVIEW: Final = tuple(field.name for field in fields(ReviewShares))
"""What --review calls them."""
_OFF: Final = "off"
_NEXT: Final = "next-window"
_NUMBERS: Final = {"": False, "other": True}
"""What --retry says last → whether the next number's turn comes."""

Named: TypeAlias = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id, or its name where that is unique.")]


@app.command(epilog="Example: outdial dialing-rules show Spring")
def show(campaign: Named, *, as_json: Json = False) -> None:
    """Show a campaign's dialing rules."""

    async def work(context: Context) -> OwnRules:
        return (await campaigns.find_campaign(context.database, campaign)).rules.own

    _tell(in_context(work), as_json=as_json)


@app.command(
    "set", epilog="Example: outdial dialing-rules set Spring --retry busy:2:300 --retry no_answer::next-window"
)
def set_(
    campaign: Named,
    *,
    retry: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENDING:MOST:SECONDS[:other]",
            help="After attempts that ended so at most so many retries, so long after; an empty part is as the "
            "campaign says, and next-window for the seconds waits for the next calling hours. With :other they go to "
            "another number of the contact, where it has one. May be repeated.",
        ),
    ] = None,
    order: Annotated[
        RetryOrder, typer.Option(help="Whether retries that are due wait for first tries.")
    ] = RetryOrder.AFTER_FIRST_TRIES,
    breaker: Annotated[
        str,
        typer.Option(
            metavar="ATTEMPTS:SHARE",
            help="A run pauses itself when that share of so many last calls has failed; off = never.",
        ),
    ] = f"{_USUAL.attempts}:{_USUAL.share}",
    timing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="By what answering machines are told from people, where the campaign has them detected: "
            f"{', '.join(_TIMINGS)}. In seconds, but for words and silence-level. May be repeated.",
        ),
    ] = None,
    review: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="Which share of those verdicts is kept for review, in percent: machines, people; 0 unless told. So "
            "many seconds of those calls are recorded, without asking anybody: read docs/how-to/review-verdicts.md "
            "first. May be repeated.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Set a campaign's dialing rules, whole, from its next run on: what is left out is as if it had never been set."""
    rules = OwnRules(
        tuple(_retry(text) for text in retry or ()),
        order,
        _breaker(breaker),
        _detection(timing or ()),
        _review(review or ()),
    )

    async def work(context: Context) -> OwnRules:
        found = await campaigns.find_campaign(context.database, campaign)
        return await dialing_rules.set_rules(
            context.database, rules, iid=found.iid, campaign_id=found.id, actor=actor()
        )

    _tell(in_context(work), as_json=as_json)


def _retry(text: str) -> RetryRule:
    ending, _, rest = text.partition(":")
    most, _, rest = rest.partition(":")
    seconds, _, number = rest.partition(":")
    try:
        return RetryRule(
            Disposition(ending),
            int(most) if most else None,
            int(seconds) if seconds not in {"", _NEXT} else None,
            seconds == _NEXT,
            _NUMBERS[number],
        )
    except (KeyError, ValueError):
        forms = f"busy:2:300, busy::300, no_answer:1:{_NEXT} or busy:2:60:other"
        raise InvalidInputError([f"--retry must be like {forms}, not {text[:60]!r}."]) from None


def _detection(timings: Sequence[str]) -> DetectionTimings:
    found = USUAL_TIMINGS
    for text in timings:
        name, _, number = text.partition("=")
        try:
            field = _TIMINGS[name]
            found = replace(found, **{field: type(getattr(found, field))(number)})
        except (KeyError, ValueError):
            raise InvalidInputError(
                [f"--timing must be like decision=5 or words=12, of {', '.join(_TIMINGS)}, not {text[:60]!r}."]
            ) from None
    return found


def _review(shares: Sequence[str]) -> ReviewShares:
    found = NO_REVIEW
    for text in shares:
        name, _, number = text.partition("=")
        try:
            found = replace(found, **{name: float(number)})
        except (TypeError, ValueError):
            raise InvalidInputError(
                [f"--review must be like machines=10 or people=2, of {', '.join(_REVIEW)}, not {text[:60]!r}."]
            ) from None
    return found


def _breaker(text: str) -> Breaker | None:
    if text == _OFF:
        return None
    attempts, _, share = text.partition(":")
    try:
        return Breaker(int(attempts), float(share))
    except ValueError:
        raise InvalidInputError([f"--breaker must be like 40:0.8, or {_OFF}, not {text[:60]!r}."]) from None


def _tell(rules: OwnRules, *, as_json: bool) -> None:
    if as_json:
        output.print_json(rules)
        return
    shown = {f"after {rule.disposition}": _text(rule) for rule in rules.retry_rules}
    breaker = rules.breaker
    output.print_fields(
        {
            **shown,
            "after other endings": "as the campaign says",
            "retries": "after first tries"
            if rules.retry_order is RetryOrder.AFTER_FIRST_TRIES
            else "when they are due",
            "pauses itself": "never"
            if breaker is None
            else f"when {breaker.share:.0%} of the last {breaker.attempts} calls have failed",
            "machines are told by": ", ".join(
                f"{name}={getattr(rules.detection, field):g}" for name, field in _TIMINGS.items()
            ),
            "kept for review": _kept(rules.review),
        }
    )


def _kept(review: ReviewShares) -> str:
    if not review.machines and not review.people:
        return "no verdict"
    return (
        f"{review.machines:g} % of machines, {review.people:g} % of people, {review.seconds:g} s of each call recorded"
    )


def _text(rule: RetryRule) -> str:
    count = "retries as the campaign says" if rule.most is None else f"{rule.most} retries"
    when = "" if rule.seconds is None else f", {rule.seconds} s later"
    window = ", in the next calling hours" if rule.next_window else ""
    return count + when + window + (", at another number" if rule.other_number else "")
