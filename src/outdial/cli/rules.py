"""``outdial rules``: the rule packs of this outdial, with their sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from outdial import rule_data
from outdial.cli import output
from outdial.cli.options import Json
from outdial.core.model import CallingWindow
from outdial.core.rule_packs import Rule, RulePack
from outdial.services.calling_hours import by_days

app = typer.Typer(help="Rule packs: what the law says about calling hours, as data.", no_args_is_help=True)


@app.command("list", epilog="Example: outdial rules list")
def list_(*, as_json: Json = False) -> None:
    """List the rule packs, every version of each. They are no legal advice."""
    packs = [rule_data.load_pack(name) for name in rule_data.pack_names()]
    if as_json:
        output.print_json([_summary(pack) for pack in packs])
        return
    output.print_table(
        ("pack", "version", "rules", "confirmed", "checked", "what"),
        (
            (
                pack.name,
                pack.version,
                len(pack.rules),
                sum(rule.confirmed for rule in pack.rules),
                pack.checked,
                pack.title,
            )
            for pack in packs
        ),
        empty="There is no rule pack; install outdial again.",
    )


@app.command(epilog="Example: outdial rules show us")
def show(
    pack: Annotated[str, typer.Argument(metavar="PACK", help="Its name, or name@version; the latest without.")],
    *,
    as_json: Json = False,
) -> None:
    """Show a pack's rules, each with its hours, its source, and whether it was held against the source's own text."""
    found = rule_data.load_pack(pack)
    if as_json:
        output.print_json({**_summary(found), "rules": [_rule(rule) for rule in found.rules]})
        return
    output.print_fields(
        {
            "pack": found.full_name,
            "what": found.title,
            "includes": ", ".join(found.includes) or "no other",
            "checked": found.checked,
            "notice": found.notice,
        }
    )
    output.say()
    output.print_table(
        ("rule", "places", "open", "closed on holidays of", "confirmed", "source", "note"),
        (
            (
                rule.code,
                ", ".join(rule.places),
                "; ".join(_windows(rule.windows)),
                ", ".join((*rule.holidays, *rule.dates.values())) or "–",
                "yes" if rule.confirmed else "no",
                rule.source,
                rule.note or "–",
            )
            for rule in found.rules
        ),
        empty="It has no rule.",
    )


def _windows(windows: Sequence[CallingWindow]) -> list[str]:
    return [f"{' '.join(window.days or ())} {window.start}–{window.end}" for window in by_days(windows)]


def _summary(pack: RulePack) -> dict[str, object]:
    return {
        "name": pack.name,
        "version": pack.version,
        "title": pack.title,
        "checked": pack.checked.isoformat(),
        "notice": pack.notice,
        "includes": list(pack.includes),
    }


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "code": rule.code,
        "places": list(rule.places),
        "title": rule.title,
        "source": rule.source,
        "checked": rule.checked.isoformat(),
        "confirmed": rule.confirmed,
        "note": rule.note,
        "windows": _windows(rule.windows),
        "holidays": list(rule.holidays),
        "dates": dict(rule.dates),
    }
