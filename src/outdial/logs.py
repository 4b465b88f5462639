"""Logging: structlog everywhere, lines for people or JSON, on standard error; times are ISO 8601 UTC.

Standard output belongs to what a command answers. Phone numbers are masked where they are logged; what other people's
libraries put into their messages and errors is masked here.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import structlog

from outdial.config import Settings
from outdial.core.phone import mask

_PHONE: Final = re.compile(r"(?:\+[1-9]|(?<=sip:)\d|(?<=PJSIP/)\d)\d{6,14}\b")

_BARE: Final = re.compile(r"[^\s=\"']+")
"""Text that needs no quotes in a line for people."""

_log: Final = structlog.get_logger()

_QUIET: Final = ("alembic", "asyncio", "aiohttp.access", "uvicorn.access")
"""Loggers of libraries that are heard from warnings upwards only."""


def configure(settings: Settings) -> None:
    """Set logging up for the process; structlog and the standard library end in the same lines."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, _renderer(settings), mask_phones]
    processors = [*shared, *last]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # not through the standard library: a record of its own for each line costs more than all that is in it
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    _Plain.chain = processors if last[1] is _line and level <= logging.INFO else None
    _Plain.stream = sys.stderr
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class _Plain:
    """What :func:`configure` has set up, where lines of level ``info`` are written as :func:`_line` has them."""

    chain: list[structlog.typing.Processor] | None = None
    """structlog's own list: whoever listens in on it, as tests do, puts something else there or into it."""
    stream: TextIO


def log_request(method: str, route: str, status: int, seconds: float, request_id: str) -> None:
    """Log that a request was answered, at level ``info``; none of its texts may need quotes or hold a phone number.

    Every request has such a line, and the way through structlog takes four times as long as writing the same.
    """
    if _is_plain():
        _write(f"request method={method} request_id={request_id} route={route} seconds={seconds} status={status}")
    else:
        _log.info("request", method=method, route=route, status=status, seconds=seconds, request_id=request_id)


def log_often(event: str, **told: Any) -> None:
    """Log what happens with many requests, at level ``info``: the same line as by structlog, for the same reason."""
    if _is_plain():
        told = {**structlog.contextvars.get_contextvars(), **told}
        line = " ".join([event, *(f"{key}={_shown(told[key])}" for key in sorted(told))])
        _write(mask_phones(None, "info", line))
    else:
        _log.info(event, **told)


def _is_plain() -> bool:
    """Whether a line of level ``info`` is written as :func:`_line` has it, and nobody listens in."""
    chain = _Plain.chain
    return chain is not None and structlog.get_config()["processors"] is chain and chain[-1] is mask_phones


def _write(told: str) -> None:
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    _Plain.stream.write(f"{at} [info     ] {told}\n")
    _Plain.stream.flush()


def _renderer(settings: Settings) -> structlog.typing.Processor:
    if settings.log_json:
        return structlog.processors.JSONRenderer(default=_written)
    if not sys.stderr.isatty():
        return _line
    return structlog.dev.ConsoleRenderer(colors=True, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback)


def _line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """Render an event as structlog does for people, without colours, at a third of the cost."""
    told = f"{event.pop('timestamp')} [{event.pop('level'):<9}] {event.pop('event')}"
    stack, exception = event.pop("stack", None), event.pop("exception", None)
    line = " ".join([told, *(f"{key}={_shown(event[key])}" for key in sorted(event))])
    return "\n".join(text for text in (line, stack, exception) if text)


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, BaseException) else value
    return text if isinstance(text, str) and _BARE.fullmatch(text) else repr(text)


def _written(value: Any) -> str:
    """Return as JSON text what is none."""
    return str(value) if isinstance(value, BaseException) else repr(value)


def mask_phones(_logger: object, _method: str, line: Any) -> str:
    """Mask E.164 numbers wherever they stand in a line, tracebacks included: ``+15550100001`` → ``+*******0001``."""
    # most lines hold none of these, which is seen in a tenth of the time
    if "+" in line or "sip:" in line or "PJSIP/" in line:
        return _PHONE.sub(lambda found: mask(found.group()), line)
    return str(line)
