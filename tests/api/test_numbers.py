"""Whole numbers: JSON has only numbers, and some clients write every one with a point."""

from __future__ import annotations

import pytest

from outdial.api.native.bodies import ApplicationBody, TrunkBody
from outdial.api.problems import parse
from outdial.core.errors import InvalidInputError


@pytest.mark.parametrize("written", [30, 30.0])
def test_a_whole_number_may_have_a_point(written):
    ceiling = parse(ApplicationBody, {"maxConcurrentCalls": written}).max_concurrent_calls
    assert (type(ceiling), ceiling) == (int, 30)
    port = parse(TrunkBody, {"port": written}).port
    assert (type(port), port) == (int, 30)


@pytest.mark.parametrize("written", [30.5, "30", True, float("inf"), float("nan")])
def test_what_is_not_whole_is_refused(written):
    with pytest.raises(InvalidInputError, match="must be a whole number"):
        parse(ApplicationBody, {"maxConcurrentCalls": written})
