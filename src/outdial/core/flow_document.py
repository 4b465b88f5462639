"""Flows as their authors write them, YAML or JSON, read into values; everything that is wrong is named at once.

A document is an object of ``start``, ``steps`` and, where wanted, ``language``, ``sounds`` and ``machine_start``. A
step is an object of one *verb* with what it needs (``say: Hello``), and of where to go from there (``next: ask``). What
a verb takes stands in one table, from which the JSON Schema is made too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from outdial.core import flow_checks as checks
from outdial.core.errors import InvalidInputError
from outdial.core.flow import (
    LANGUAGE_TAG,
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_DIGITS,
    MOST_SOUNDS,
    MOST_STEPS,
    TEMPLATE,
    Agent,
    FlowPlan,
    Gather,
    HangUp,
    OptOut,
    OptOutScope,
    Prompt,
    Record,
    SetLanguage,
    SetResult,
    Sound,
    Speech,
    Step,
    Tell,
    Transfer,
    Webhook,
)

MOST_PROBLEMS: Final = 50
"""Told at once."""

KEYS: Final = "0123456789*"
"""What can be a choice; ``#`` ends what is keyed."""

RATES: Final = (8000, 16_000)
"""Samples a second that an agent may listen and talk at."""

_FILE: Final = re.compile(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*")
"""A file's own name: a flow that somebody else wrote must not read whatever it likes of this machine."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SIP: Final = re.compile(r"sips?:[A-Za-z0-9_.!~*'()&=+$,;?/%-]+@[A-Za-z0-9.\[\]:-]+")
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{6,14}")


class _WrongError(ValueError):
    """A value is not what its field takes; the sentence goes on after the field's name."""


Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a verb: how it is read, what it is when it is left out, and its JSON Schema."""

    read: Reader
    schema: Mapping[str, Any]
    default: Any = None
    required: bool = False


def _text(longest: int, pattern: re.Pattern[str] | None = None, like: str = "") -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise _WrongError("must be text")
        if not value.strip() or len(value) > longest:
            raise _WrongError(f"must have 1 to {longest} characters")
        if "\0" in value or (pattern is not None and not pattern.fullmatch(value)):
            raise _WrongError(f"must be {like}" if like else "must not hold a NUL character")
        return value

    return read


def _number(least: float, most: float, *, whole: bool = False) -> Reader:
    def read(value: Any) -> float:
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            raise _WrongError(f"must be a {'whole ' if whole else ''}number from {least:g} to {most:g}")
        return value

    return read


def _choice(*words: str) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise _WrongError(f"must be {' or '.join(words)}")
        return value

    return read


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _WrongError("must be a list of names of variables")
    return tuple(_name(item) for item in value)


def _speech(value: Any) -> str:
    text: str = _text(LONGEST_TEXT)(value)
    if re.search(r"[{}]", TEMPLATE.sub("", text)):
        raise _WrongError("has a brace that belongs to no {variable}; write {name} or {name|otherwise}")
    return text


def _rate(value: Any) -> int:
    if type(value) is not int or value not in RATES:
        raise _WrongError(f"must be {' or '.join(str(rate) for rate in RATES)}")
    return value


def _url(*schemes: str) -> Reader:
    like = f"an address like {schemes[-1]}://host/path"
    return _text(2000, re.compile(rf"({'|'.join(schemes)})://[^\s/?#@]+([/?][^\s#]*)?"), like)


_name: Final = _text(LONGEST_NAME, _NAME, "a name of letters, digits, _ and -")
_language: Final = _text(35, LANGUAGE_TAG, "a language tag like en or pt-BR (RFC 5646)")
_file: Final = _text(200, _FILE, "the plain name of a file, without folders")
_address: Final = _text(
    200,
    re.compile(f"{_SIP.pattern}|{_NUMBER.pattern}"),
    "a SIP address like sip:desk@10.0.0.7 or a number like +15550100001",
)


def _string(longest: int, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": longest, **more}


def _between(least: float, most: float, *, whole: bool = False) -> dict[str, Any]:
    return {"type": "integer" if whole else "number", "minimum": least, "maximum": most}


def _seconds(least: float, most: float, default: float) -> _Field:
    return _Field(_number(least, most), _between(least, most), default)


_NAME_SCHEMA: Final = _string(LONGEST_NAME, pattern=f"^{_NAME.pattern}$")
_PROMPT: Final = {
    "play": _Field(_name, _NAME_SCHEMA),
    "say": _Field(_speech, _string(LONGEST_TEXT)),
}

_VERBS: Final[Mapping[str, Mapping[str, _Field]]] = {
    "play": {"play": _Field(_name, _NAME_SCHEMA, required=True)},
    "say": {"say": _Field(_speech, _string(LONGEST_TEXT), required=True)},
    "gather": {
        **_PROMPT,
        "digits": _Field(_number(1, MOST_DIGITS, whole=True), _between(1, MOST_DIGITS, whole=True), 1),
        "timeout_seconds": _seconds(1, 60, 5.0),
        "between_seconds": _seconds(0.5, 30, 3.0),
        "tries": _Field(_number(1, 10, whole=True), _between(1, 10, whole=True), 1),
        "save": _Field(_name, _NAME_SCHEMA),
    },
    "result": {"result": _Field(_text(LONGEST_NAME), _string(LONGEST_NAME), required=True)},
    "language": {"language": _Field(_language, _string(35), required=True)},
    "opt_out": {
        "opt_out": _Field(_choice(*OptOutScope), {"enum": [scope.value for scope in OptOutScope]}, required=True)
    },
    "record": {
        **_PROMPT,
        "agree": _Field(_choice(*KEYS), {"enum": list(KEYS)}, "1"),
        "timeout_seconds": _seconds(1, 60, 5.0),
        "longest_seconds": _seconds(1, 600, 60.0),
        "silence_seconds": _seconds(1, 60, 5.0),
    },
    "transfer": {
        "to": _Field(_address, _string(200), required=True),
        "ring_seconds": _Field(_number(5, 120, whole=True), _between(5, 120, whole=True), 30),
    },
    "agent": {
        "url": _Field(_url("ws", "wss"), _string(2000), required=True),
        "rate": _Field(_rate, {"enum": list(RATES)}, RATES[0]),
        "longest_seconds": _seconds(1, 3600, 600.0),
    },
    "webhook": {
        "url": _Field(_url("http", "https"), _string(2000), required=True),
        "timeout_seconds": _seconds(0.5, 10, 3.0),
        "send": _Field(_names, {"type": "array", "items": _NAME_SCHEMA}, ()),
        "prefix": _Field(_text(LONGEST_NAME, _NAME, "a name of letters, digits, _ and -"), _NAME_SCHEMA, ""),
        "play": _Field(_name, _NAME_SCHEMA),
    },
    "hang_up": {},
}
"""Verb → what it takes, beside where to go."""

_SHORT: Final = {"transfer": "to", "agent": "url", "webhook": "url"}
"""Verbs whose value may be one field alone."""
_SCALAR: Final = frozenset({"play", "say", "result", "language", "opt_out"})
"""Verbs whose value is their only field."""

_BRANCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "play": ("next", "failed"),
    "say": ("next", "failed"),
    "gather": ("next", "no_input", "invalid", "failed"),
    "result": ("next",),
    "language": ("next",),
    "opt_out": ("next",),
    "record": ("next", "refused", "failed"),
    "transfer": ("next", "failed"),
    "agent": ("next", "failed"),
    "webhook": ("next", "failed"),
    "hang_up": (),
}
"""Verb → where it may go, beside a gather's ``choices``."""


def read_flow(document: Any) -> FlowPlan:
    """Return the flow of a document; raise InvalidInputError with a sentence for everything that is wrong."""
    reading = _Reading()
    plan = reading.flow(document)
    problems = reading.problems or checks.problems_of(plan)
    if problems:
        more = len(problems) - MOST_PROBLEMS
        raise InvalidInputError([*problems[:MOST_PROBLEMS], *([f"And {more} more problems."] if more > 0 else [])])
    return plan


class _Reading:
    """Reads one document and notes what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def flow(self, document: Any) -> FlowPlan:
        if not isinstance(document, dict):
            self.problems.append("A flow must be an object with `start` and `steps`.")
            return FlowPlan("", {}, "en")
        self._known(document, ("start", "steps", "language", "sounds", "machine_start"), "the flow")
        language = self._of(document, "language", _Field(_language, {}, "en"), "language")
        return FlowPlan(
            start=self._of(document, "start", _Field(_name, {}, "", required=True), "start"),
            steps=self._steps(document.get("steps")),
            language=language,
            sounds=self._sounds(document.get("sounds", {}), language),
            machine_start=self._of(document, "machine_start", _Field(_name, {}), "machine_start"),
        )

    def _known(self, given: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
        for key in given:
            if key not in known:
                self.problems.append(f"`{key}` is no field of {where}; it may have {', '.join(known)}.")

    def _of(self, given: Mapping[Any, Any], key: str, field: _Field, path: str) -> Any:
        if key not in given:
            if field.required:
                self.problems.append(f"`{path}` is missing.")
            return field.default
        try:
            return field.read(given[key])
        except _WrongError as error:
            self.problems.append(f"`{path}` {error}.")
            return field.default

    def _sounds(self, given: Any, language: str) -> dict[str, dict[str, str]]:
        if not isinstance(given, dict) or len(given) > MOST_SOUNDS:
            self.problems.append(f"`sounds` must be an object of at most {MOST_SOUNDS} names and their files.")
            return {}
        return {
            name: self._languages(name, {language: files} if isinstance(files, str) else files)
            for name, files in given.items()
            if self._is(_name, name, f"sounds.{name}")
        }

    def _languages(self, name: str, files: Any) -> dict[str, str]:
        if not isinstance(files, dict) or not files:
            self.problems.append(f"`sounds.{name}` must be a file, or an object of languages and files.")
            return {}
        return {
            language: file
            for language, file in files.items()
            if self._is(_language, language, f"sounds.{name}.{language}")
            and self._is(_file, file, f"sounds.{name}.{language}")
        }

    def _is(self, read: Reader, value: Any, path: str) -> bool:
        try:
            read(value)
        except _WrongError as error:
            self.problems.append(f"`{path}` {error}.")
            return False
        return True

    def _steps(self, given: Any) -> dict[str, Step]:
        if not isinstance(given, dict) or not 0 < len(given) <= MOST_STEPS:
            self.problems.append(f"`steps` must be an object of 1 to {MOST_STEPS} steps.")
            return {}
        steps = {}
        for name, step in given.items():
            if self._is(_name, name, f"steps.{name}"):
                read = self._step(step, f"steps.{name}")
                if read is not None:
                    steps[name] = read
        return steps

    def _step(self, given: Any, path: str) -> Step | None:
        verbs = [key for key in given if key in _VERBS] if isinstance(given, dict) else []
        if len(verbs) != 1:
            self.problems.append(f"`{path}` must have exactly one of {', '.join(_VERBS)}.")
            return None
        (verb,) = verbs
        branches = (*_BRANCHES[verb], *(("choices",) if verb == "gather" else ()))
        self._known(given, (verb, *branches), f"`{path}`")
        taken = self._taken(verb, given[verb], f"{path}.{verb}")
        going = {name: self._of(given, name, _Field(_name, {}), f"{path}.{name}") for name in _BRANCHES[verb]}
        choices = self._choices(given.get("choices", {}), f"{path}.choices")
        return None if taken is None else _MAKERS[verb](self, taken, going, choices, path)

    def _taken(self, verb: str, value: Any, path: str) -> dict[str, Any] | None:
        """Read what a verb takes; None when it is nothing of that kind."""
        fields = _VERBS[verb]
        if verb == "hang_up":
            if value is not True:
                self.problems.append(f"`{path}` must be true.")
            return {}
        if verb in _SCALAR:
            return {verb: self._of({verb: value}, verb, fields[verb], path)}
        if verb in _SHORT and isinstance(value, str):
            value = {_SHORT[verb]: value}
        if not isinstance(value, dict):
            self.problems.append(f"`{path}` must be an object with {', '.join(fields)}.")
            return None
        self._known(value, tuple(fields), f"`{path}`")
        return {name: self._of(value, name, field, f"{path}.{name}") for name, field in fields.items()}

    def _choices(self, given: Any, path: str) -> dict[str, str]:
        if not isinstance(given, dict):
            self.problems.append(f"`{path}` must be an object of keys and steps.")
            return {}
        choices = {}
        for key, step in given.items():
            # YAML reads an unquoted 1 as a number
            keyed = str(key) if type(key) is int else key
            if not isinstance(keyed, str) or not 0 < len(keyed) <= MOST_DIGITS or set(keyed) - set(KEYS):
                self.problems.append(f"`{path}.{key}` must be one or more of the keys {KEYS}.")
            elif self._is(_name, step, f"{path}.{key}"):
                choices[keyed] = step
        return choices

    def prompt(self, taken: Mapping[str, Any], path: str, *, required: bool) -> Prompt | None:
        """Return the one prompt of a step that may have ``play`` or ``say``."""
        sound, text = taken.get("play"), taken.get("say")
        if sound is not None and text is not None:
            self.problems.append(f"`{path}` has both `play` and `say`; it takes one.")
        if required and sound is None and text is None:
            self.problems.append(f"`{path}` must have `play` or `say`.")
        if sound is not None:
            return Sound(sound)
        return None if text is None else Speech(text)


_Maker = Callable[[_Reading, dict[str, Any], dict[str, Any], dict[str, str], str], Step | None]


def _gather(
    reading: _Reading, taken: dict[str, Any], going: dict[str, Any], choices: dict[str, str], path: str
) -> Step:
    prompt = reading.prompt(taken, f"{path}.gather", required=False)
    longest = max((len(key) for key in choices), default=0)
    if longest > taken["digits"]:
        reading.problems.append(
            f"`{path}.choices` has one of {longest} keys, more than `{path}.gather.digits`, {taken['digits']}."
        )
    if choices and going["next"] is not None:
        reading.problems.append(
            f"`{path}` has both `choices` and `next`; what is none of the choices goes to `invalid`."
        )
    if not choices and going["invalid"] is not None:
        reading.problems.append(f"`{path}` has `invalid` and no `choices`: then everything is valid.")
    rest = {name: value for name, value in taken.items() if name not in _PROMPT}
    return Gather(prompt, choices=choices, **rest, **going)


def _record(
    reading: _Reading, taken: dict[str, Any], going: dict[str, Any], _choices: dict[str, str], path: str
) -> Step | None:
    consent = reading.prompt(taken, f"{path}.record", required=True)
    rest = {name: value for name, value in taken.items() if name not in _PROMPT}
    return None if consent is None else Record(consent, **rest, **going)


def _webhook(
    _reading: _Reading, taken: dict[str, Any], going: dict[str, Any], _choices: dict[str, str], _path: str
) -> Step:
    rest = {name: value for name, value in taken.items() if name != "play"}
    return Webhook(**rest, **going, meanwhile=None if taken["play"] is None else Sound(taken["play"]))


def _speaks(kind: Callable[[str], Prompt], verb: str) -> _Maker:
    return lambda _reading, taken, going, _choices, _path: Tell(kind(taken[verb]), **going)


def _plain(kind: Callable[..., Step]) -> _Maker:
    return lambda _reading, taken, going, _choices, _path: kind(**taken, **going)


_MAKERS: Final[Mapping[str, _Maker]] = {
    "play": _speaks(Sound, "play"),
    "say": _speaks(Speech, "say"),
    "gather": _gather,
    "result": _plain(SetResult),
    "language": _plain(SetLanguage),
    "opt_out": lambda _reading, taken, going, _choices, _path: OptOut(
        OptOutScope(taken["opt_out"] or OptOutScope.ACCOUNT), **going
    ),
    "record": _record,
    "transfer": _plain(Transfer),
    "agent": _plain(Agent),
    "webhook": _webhook,
    "hang_up": _plain(HangUp),
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a flow's document: what an editor needs to help its author."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "outdial flow",
        "type": "object",
        "additionalProperties": False,
        "required": ["start", "steps"],
        "properties": {
            "start": _NAME_SCHEMA,
            "machine_start": _NAME_SCHEMA,
            "language": _string(35),
            "sounds": {
                "type": "object",
                "maxProperties": MOST_SOUNDS,
                "additionalProperties": {
                    "anyOf": [
                        _string(200),
                        {"type": "object", "minProperties": 1, "additionalProperties": _string(200)},
                    ]
                },
            },
            "steps": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": MOST_STEPS,
                "additionalProperties": {"oneOf": [_step_schema(verb) for verb in _VERBS]},
            },
        },
    }


def _step_schema(verb: str) -> dict[str, Any]:
    fields = _VERBS[verb]
    taken: dict[str, Any]
    if verb == "hang_up":
        taken = {"const": True}
    elif verb in _SCALAR:
        taken = dict(fields[verb].schema)
    else:
        taken = {
            "type": "object",
            "additionalProperties": False,
            "required": [name for name, field in fields.items() if field.required],
            "properties": {name: dict(field.schema) for name, field in fields.items()},
        }
        if verb in _SHORT:
            taken = {"anyOf": [dict(fields[_SHORT[verb]].schema), taken]}
    going: dict[str, Any] = dict.fromkeys(_BRANCHES[verb], _NAME_SCHEMA)
    if verb == "gather":
        going["choices"] = {"type": "object", "additionalProperties": _NAME_SCHEMA}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [verb],
        "properties": {verb: taken, **going},
    }
