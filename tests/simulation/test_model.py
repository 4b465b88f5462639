"""The Promela model of the stop, a second opinion in another language: it holds, and without any one guard it fails."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(600)


def runner():
    spec = importlib.util.spec_from_file_location("model", ROOT / "scripts" / "model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["model"] = module
    spec.loader.exec_module(module)
    return module


model = runner()


@pytest.fixture(autouse=True)
def tools():
    try:
        return model.tools()
    except model.ToolMissingError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.mark.parametrize("name", model.SMALL)
def test_no_order_of_steps_breaks_a_promise(name):
    found = model.explore(model.SMALL[name], shortest=False)
    print(found)
    assert found.broken == ""
    assert found.whole
    # or it has lost its legs
    assert found.states > 10_000


@pytest.mark.parametrize("name", model.VARIANTS)
def test_without_one_guard_a_promise_is_broken(name):
    found = model.explore(f"-D{name} {model.VARIANTS[name]}", shortest=True)
    assert found.broken != ""
    assert found.story


@pytest.mark.parametrize(
    ("whole", "broken", "caught", "words", "code"),
    [
        (True, "", "a", [], 0),
        (False, "", "a", [], 1),
        (False, "", "a", ["--partly"], 0),
        (True, "a", "a", ["--partly"], 1),
        (True, "", "", ["--partly"], 1),
    ],
)
def test_it_succeeds_only_with_everything_explored_whole_held_and_caught(
    monkeypatch, whole, broken, caught, words, code
):
    def explored(flags, *, shortest, **limits):
        return model.Explored(1, 1, 0.0, whole, caught if shortest else broken, ())

    monkeypatch.setattr(model, "explore", explored)
    assert model.main(words) == code


def test_an_exploration_that_its_limits_end_is_not_whole():
    found = model.explore("", shortest=False, megabytes=300)
    assert not found.whole
    assert not found.broken
