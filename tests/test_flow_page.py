"""The page about flows says what is true of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from outdial.core.flow_document import read_flow, schema
from outdial.services.flows import read_document

PAGE = (Path(__file__).parent.parent / "docs" / "how-to" / "write-a-flow.md").read_text()


EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_its_first_example_has_what_the_page_says():
    assert len(read_flow(read_document(EXAMPLES[0])).steps) == 6


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_a_flow(text):
    assert read_flow(read_document(text)).steps


VERBS = sorted({step["required"][0] for step in schema()["properties"]["steps"]["additionalProperties"]["oneOf"]})


@pytest.mark.parametrize("verb", VERBS)
def test_it_names_every_step_and_has_an_example_of_it(verb):
    assert re.search(rf"^\| `{verb}[`:]", PAGE, re.MULTILINE)
    assert any(verb in step for text in EXAMPLES for step in read_document(text)["steps"].values())
