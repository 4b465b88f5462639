"""``outdial config``: the settings in force, and where each comes from."""

from __future__ import annotations

import os
from typing import Any

from dotenv import dotenv_values
from pydantic import SecretStr

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import load_settings, variable
from outdial.config import Settings

HIDDEN = "(hidden)"


def config(*, as_json: Json = False) -> None:
    """Show every setting, its value and where that comes from. Secrets are not shown."""
    found = [
        {
            "name": variable(name),
            "value": shown(getattr(settings, name)),
            "source": source(name),
            "description": field.description or "",
        }
        for settings in (load_settings(),)
        for name, field in Settings.model_fields.items()
    ]
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("setting", "value", "source"),
            ((each["name"], "–" if each["value"] is None else each["value"], each["source"]) for each in found),
            empty="",
        )


def shown(value: Any) -> Any:
    """Return a value as it may be shown: a secret that is set is hidden."""
    if isinstance(value, SecretStr):
        return HIDDEN if value.get_secret_value() else None
    return output.plain(value)


def source(name: str) -> str:
    """Return where a setting's value comes from, in the order in which one overrules the other."""
    wanted = variable(name)
    if any(key.upper() == wanted for key in os.environ):
        return "environment"
    env_file = str(Settings.model_config["env_file"])
    if any(key.upper() == wanted for key in dotenv_values(env_file)):
        return env_file
    return "default"
