"""Checks that fields of many things share; each returns the sentences that are wrong, none when all is well.

Callers collect them and raise one InvalidInputError, so that a person mends everything in one go.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from outdial.core.errors import InvalidInputError

LONGEST_NAME: Final = 48
"""Characters; the vendor's limit."""

LONGEST_DESCRIPTION: Final = 256
"""Characters; the vendor's limit."""

LONGEST_URL: Final = 2000
"""Characters of an address that outdial sends something to."""

_URL: Final = re.compile(r"[\x21-\x7e]+")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")

_LONGEST_HOST: Final = 253
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")


def require(problems: list[str]) -> None:
    """Raise InvalidInputError when there is a problem."""
    if problems:
        raise InvalidInputError(problems)


def name_problems(field: str, text: str) -> list[str]:
    """Check a name that people see and that is unique somewhere."""
    if not text.strip():
        return [f"`{field}` must not be empty."]
    return line_problems(field, text, longest=LONGEST_NAME)


def line_problems(field: str, text: str, *, longest: int) -> list[str]:
    """Check one line of text, which may be empty."""
    problems = _length_problems(field, text, longest)
    if _UNPRINTABLE.search(text):
        problems.append(f"`{field}` contains a line break or another character that cannot be shown.")
    return problems


def description_problems(field: str, text: str) -> list[str]:
    """Check a text that may have several lines and may be empty."""
    problems = _length_problems(field, text, LONGEST_DESCRIPTION)
    if not is_storable(text):
        problems.append(f"`{field}` contains a character that cannot be stored.")
    return problems


def _length_problems(field: str, text: str, longest: int) -> list[str]:
    if len(text) <= longest:
        return []
    return [f"`{field}` has {len(text)} characters; at most {longest} are allowed."]


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold the text: no U+0000, no half of a surrogate pair."""
    return "\x00" not in text and (text.isascii() or not _SURROGATE.search(text))


def is_address(host: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def host_problems(field: str, host: str) -> list[str]:
    """Check an address or a host name."""
    named = len(host) <= _LONGEST_HOST and _HOST_NAME.fullmatch(host) is not None
    # 999.1.1.1 looks like a name, but no top-level domain is a number
    if is_address(host) or (named and not host.rstrip(".").rpartition(".")[2].isdecimal()):
        return []
    return [f"`{field}` is neither an IP address nor a host name; write e.g. sip.example.com, without sip: and port."]


def range_problems(field: str, value: float, *, least: float, most: float) -> list[str]:
    """Check a number; both ends are allowed."""
    # written so that not-a-number fails
    if least <= value <= most:
        return []
    return [f"`{field}` is {value:g}; it must be from {least:g} to {most:g}."]


def url_problems(field: str, url: str, *, example: str, instead: str) -> list[str]:
    """Check an address that outdial sends something to; ``instead`` says what to do with credentials in it."""
    no_url = f"`{field}` must be an address like {example}, of http or https."
    if len(url) > LONGEST_URL:
        return [f"`{field}` has {len(url)} characters; at most {LONGEST_URL} are allowed."]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        # a name that begins like an encoded one, and is none, cannot be asked about
        (host or "").encode().decode("idna")
    except ValueError:
        return [no_url]
    if not host or parts.scheme not in {"http", "https"} or not _URL.fullmatch(url):
        return [no_url]
    problems = host_problems(field, host)
    if parts.username is not None or parts.password is not None:
        problems.append(f"`{field}` must not hold credentials, since it is shown; {instead}.")
    if parts.fragment:
        problems.append(f"`{field}` must not have a fragment (#), which is never sent.")
    return problems
