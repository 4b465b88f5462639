"""The page on trunks shows the dialplan that the managed Asterisk has."""

from __future__ import annotations

import re
from pathlib import Path

from outdial.telephony.ended_context import ENDED, MODULES
from outdial.telephony.managed_config import _MODULES as MANAGED

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "use-a-trunk.md").read_text()


def test_the_dialplan_is_the_managed_one():
    (shown,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    assert shown == ENDED


def test_its_modules_are_named_and_the_managed_one_has_them():
    for module in (name.removesuffix(".so") for name in MODULES):
        assert f"`{module}`" in PAGE
        assert module in MANAGED
