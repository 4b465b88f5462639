"""Shapes of JSON documents that come from outside: every field there, of its kind, and none besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from outdial.core.canonical import Json, NotJsonError, read_instant
from outdial.core.history import ChainError, read_hash

Shape: TypeAlias = Callable[[Json, str], None]
"""Checks a value that stands somewhere. Raises ShapeError."""


class ShapeError(Exception):
    """A document is not of its shape; the sentence says where and why."""

    def __init__(self, where: str, sentence: str) -> None:
        super().__init__(f"{where}: {sentence}")
        self.where = where
        self.sentence = sentence


def text(value: Json, where: str) -> None:
    """Check that it is text."""
    if not isinstance(value, str):
        raise ShapeError(where, "it is no text")


def whole(value: Json, where: str) -> None:
    """Check that it is a whole number, not below zero."""
    if type(value) is not int or value < 0:
        raise ShapeError(where, "it is no whole number")


def number(value: Json, where: str) -> None:
    """Check that it is a number."""
    if type(value) not in {int, float}:
        raise ShapeError(where, "it is no number")


def flag(value: Json, where: str) -> None:
    """Check that it is true or false."""
    if not isinstance(value, bool):
        raise ShapeError(where, "it is neither true nor false")


def at(value: Json, where: str) -> None:
    """Check that it is an instant."""
    text(value, where)
    try:
        read_instant(value)
    except NotJsonError as error:
        raise ShapeError(where, str(error)) from error


def sha256(value: Json, where: str) -> None:
    """Check that it is a hash."""
    try:
        read_hash(value, where)
    except ChainError as error:
        raise ShapeError(where, error.sentence) from error


def maybe(shape: Shape) -> Shape:
    """Return the shape of what may be null."""

    def check(value: Json, where: str) -> None:
        if value is not None:
            shape(value, where)

    return check


def one_of(*words: str) -> Shape:
    """Return the shape of one of some words."""

    def check(value: Json, where: str) -> None:
        if value not in words or not isinstance(value, str):
            raise ShapeError(where, f"it is none of {', '.join(words)}")

    return check


def many(shape: Shape) -> Shape:
    """Return the shape of a list."""

    def check(value: Json, where: str) -> None:
        if not isinstance(value, list):
            raise ShapeError(where, "it is no list")
        for place, inner in enumerate(value):
            shape(inner, f"{where}[{place}]")

    return check


def counts(value: Json, where: str) -> None:
    """Check that it is an object of counts."""
    if not isinstance(value, dict):
        raise ShapeError(where, "it is no object")
    for name, inner in value.items():
        whole(inner, f"{where}.{name}")


def anything(_value: Json, _where: str) -> None:
    """Take any value: another check reads it."""


def fields(shapes: Mapping[str, Shape]) -> Shape:
    """Return the shape of an object with exactly these fields."""

    def check(value: Json, where: str) -> None:
        if not isinstance(value, dict):
            raise ShapeError(where, "it is no object")
        missing, besides = shapes.keys() - value.keys(), value.keys() - shapes.keys()
        if missing:
            raise ShapeError(where, f"it lacks {', '.join(sorted(missing))}")
        if besides:
            raise ShapeError(where, f"it has {', '.join(sorted(besides))}, which does not belong there")
        for name, shape in shapes.items():
            shape(value[name], f"{where}.{name}" if where else name)

    return check
