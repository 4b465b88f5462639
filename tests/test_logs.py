"""What a line looks like, where it goes, and what never gets into it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from outdial import logs
from outdial.config import Settings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is process-wide: what a test sets up ends with it."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def configured(*, level: str = "info", as_json: bool = True) -> structlog.stdlib.BoundLogger:
    logs.configure(Settings(log_level=level, log_json=as_json))
    return structlog.get_logger()


def test_json_lines_go_to_standard_error_with_utc_times(capsys):
    configured().info("call_placed", run_id=7, nested={"list": ["x"]})
    out, err = capsys.readouterr()
    assert out == ""
    line = json.loads(err)
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    assert line == {"event": "call_placed", "level": "info", "run_id": 7, "nested": {"list": ["x"]}}


def test_lines_for_people_have_no_colour_codes_in_a_file(capsys):
    configured(as_json=False).warning("engine_lost", engine="a")
    err = capsys.readouterr().err
    assert "engine_lost" in err
    assert "engine=a" in err
    assert "\x1b" not in err


def test_other_libraries_end_in_the_same_lines(capsys):
    configured()
    logging.getLogger("uvicorn.error").info("Uvicorn running on %s", "http://127.0.0.1:8080")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"]) == ("Uvicorn running on http://127.0.0.1:8080", "info")


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_logged(capsys, level, expected):
    log = configured(level=level)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("event")
    assert len(capsys.readouterr().err.splitlines()) == expected


def test_chatty_libraries_are_heard_from_warnings_upwards(capsys):
    configured(level="debug")
    logging.getLogger("alembic.runtime.migration").info("Running upgrade")
    logging.getLogger("asyncio").debug("Using selector")
    assert capsys.readouterr().err == ""
    logging.getLogger("alembic.runtime.migration").warning("heard")
    assert "heard" in capsys.readouterr().err


def test_a_context_bound_once_is_on_every_line(capsys):
    log = configured()
    with structlog.contextvars.bound_contextvars(run_id=7):
        log.info("one")
    log.info("two")
    one, two = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert one["run_id"] == 7
    assert "run_id" not in two


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+15550100001", "+*******0001"),
        ("to +4915112345678, twice +15550100001.", "to +*********5678, twice +*******0001."),
        ("sip:15550100001@10.0.0.1", "sip:*******0001@10.0.0.1"),
        ("PJSIP/15550100001@run7e1", "PJSIP/*******0001@run7e1"),
        ("PJSIP/+15550100001@run7e1", "PJSIP/+*******0001@run7e1"),
        ("+123", "+123"),
        ("run 7, attempt 0123456789abcdef0123456789abcdef", "run 7, attempt 0123456789abcdef0123456789abcdef"),
        ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05+00:00"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: [text], lambda text: {"deep": (text,)}])
def test_phone_numbers_are_masked_wherever_they_hide(capsys, text, expected, wrap):
    configured().info("event", value=wrap(text))
    line = json.loads(capsys.readouterr().err)
    found = line["value"]
    while not isinstance(found, str):
        found = found["deep"] if isinstance(found, dict) else found[0]
    assert found == expected


@pytest.mark.parametrize("as_json", [True, False])
def test_phone_numbers_in_errors_and_foreign_messages_are_masked_too(capsys, as_json):
    log = configured(as_json=as_json)
    try:
        int("Key (phone)=(+15550100001) already exists")
    except ValueError as error:
        log.exception("import_failed", reason=error)
    logging.getLogger("library").error("calling %s", "+15550100001")
    err = capsys.readouterr().err
    assert "Traceback" in err
    # the reason, the traceback's source line and message, the library's line
    assert err.count("+*******0001") == 4
    assert "5550100001" not in err


REQUEST = {"method": "POST", "route": "/a/{id}/b", "status": 200, "seconds": 0.0034, "request_id": "a-1_b.c"}
"""As :func:`logs.log_request` takes it, and as it is logged the long way."""


@pytest.mark.parametrize("as_json", [True, False])
def test_the_line_of_a_request_is_what_structlog_would_write(capsys, as_json):
    log = configured(as_json=as_json)
    logs.log_request(*REQUEST.values())
    with structlog.contextvars.bound_contextvars(request_id=REQUEST["request_id"]):
        log.info("request", **{name: value for name, value in REQUEST.items() if name != "request_id"})
    short, long = capsys.readouterr().err.splitlines()
    if as_json:
        short, long = ({**json.loads(line), "timestamp": ""} for line in (short, long))
        assert short == long
    else:
        # but for the instant
        assert short.partition(" ")[2] == long.partition(" ")[2]
        instants = [datetime.fromisoformat(line.partition(" ")[0]) for line in (short, long)]
        assert timedelta(0) <= instants[1] - instants[0] < timedelta(minutes=1)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_line_that_is_written_often_is_what_structlog_would_write(capsys, as_json):
    log = configured(as_json=as_json)
    told = {"run_id": 7, "seconds": 0.5, "by": 'Anna "A" +15550100001', "nobody": None, "reason": ValueError("a\nb")}
    with structlog.contextvars.bound_contextvars(request_id="a-1", by="overridden"):
        logs.log_often("run_stopped", **told)
        log.info("run_stopped", **told)
    short, long = capsys.readouterr().err.splitlines()
    assert "+*******0001" in short
    if as_json:
        short, long = ({**json.loads(line), "timestamp": ""} for line in (short, long))
        assert short == long
    else:
        assert short.partition(" ")[2] == long.partition(" ")[2]


def test_the_line_of_a_request_obeys_the_level(capsys):
    configured(level="warning", as_json=False)
    logs.log_request(*REQUEST.values())
    logs.log_often("event")
    assert capsys.readouterr().err == ""


def test_the_line_of_a_request_is_heard_by_who_listens_in(capsys):
    configured(as_json=False)
    with structlog.testing.capture_logs() as heard:
        logs.log_request(*REQUEST.values())
        logs.log_often("event", number=1)
    assert heard == [
        {"event": "request", "log_level": "info", **REQUEST},
        {"event": "event", "log_level": "info", "number": 1},
    ]
    assert capsys.readouterr().err == ""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    logs.log_request(*REQUEST.values())
    assert "event='request'" in capsys.readouterr().err
