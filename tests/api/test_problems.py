"""Sentences about wrong bodies: each names its field and says what it must be."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from outdial.api.problems import parse
from outdial.core.errors import InvalidInputError


class Part(BaseModel):
    model_config = ConfigDict(strict=True)

    word: str


class Whole(BaseModel):
    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(min_length=1, max_length=5)]
    count: Annotated[int, Field(ge=1, le=9)]
    flag: bool
    choice: Literal["a", "b"]
    parts: Annotated[list[Part], Field(min_length=1, max_length=2)]
    fraction: float = 0.0


GOOD = {"name": "n", "count": 1, "flag": True, "choice": "a", "parts": [{"word": "w"}]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": 5}, "`name` must be text, not the number 5."),
        ({"name": None}, "`name` must be text, not null."),
        ({"name": ""}, "`name` must not be empty."),
        ({"name": "sixsix"}, "`name` has 6 characters; at most 5 are allowed."),
        ({"count": "1"}, "`count` must be a whole number, not '1'."),
        ({"count": True}, "`count` must be a whole number, not true."),
        ({"count": 0}, "`count` must be at least 1, not the number 0."),
        ({"count": 10}, "`count` must be at most 9, not the number 10."),
        ({"flag": 1}, "`flag` must be true or false, not the number 1."),
        ({"flag": "false"}, "`flag` must be true or false, not 'false'."),
        ({"choice": "c"}, "`choice` must be 'a' or 'b', not 'c'."),
        ({"choice": []}, "`choice` must be 'a' or 'b', not a list."),
        ({"parts": {}}, "`parts` must be a list, not an object."),
        ({"parts": []}, "`parts` must not be empty."),
        ({"parts": [{"word": "w"}] * 3}, "`parts` has 3 entries; at most 2 are allowed."),
        ({"parts": ["w"]}, "`parts[0]` must be an object, not 'w'."),
        ({"parts": [{"word": "w"}, {}]}, "`parts[1].word` is missing."),
        ({"fraction": "x"}, "`fraction` must be a number, not 'x'."),
        ({"name": "x" * 500}, "`name` has 500 characters; at most 5 are allowed."),
        ({"choice": "y" * 500}, f"`choice` must be 'a' or 'b', not '{'y' * 60}…'."),
        ({"count": 10**400}, "`count` must be at most 9, not the number 1000"),
    ],
)
def test_sentences(change, sentence):
    with pytest.raises(InvalidInputError) as refused:
        parse(Whole, {**GOOD, **change})
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(sentence)
    assert len(refused.value.problems[0]) < 200


def test_everything_wrong_is_said_at_once():
    with pytest.raises(InvalidInputError) as refused:
        parse(Whole, {"name": 1, "count": 0, "parts": [{}, 3]})
    assert refused.value.problems == (
        "`name` must be text, not the number 1.",
        "`count` must be at least 1, not the number 0.",
        "`flag` is missing.",
        "`choice` is missing.",
        "`parts[0].word` is missing.",
        "`parts[1]` must be an object, not the number 3.",
    )


@pytest.mark.parametrize(("document", "shown"), [([], "a list"), ("x", "'x'"), (7, "the number 7"), (False, "false")])
def test_what_is_no_object_is_said_to_be_none(document, shown):
    with pytest.raises(InvalidInputError) as refused:
        parse(Whole, document)
    assert refused.value.problems == (f"The body must be a JSON object, not {shown}.",)
    with pytest.raises(InvalidInputError) as refused:
        parse(Whole, document, at="data[3]")
    assert refused.value.problems == (f"`data[3]` must be an object, not {shown}.",)


def test_a_path_within_the_body_comes_first():
    with pytest.raises(InvalidInputError) as refused:
        parse(Part, {}, at="data[3]")
    assert refused.value.problems == ("`data[3].word` is missing.",)
