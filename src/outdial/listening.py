"""The API's port: taken before anything else is opened, so that one that cannot be had is said at once."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import Final

from outdial.core.errors import StartupError

BACKLOG: Final = 1024
"""Clients that may wait while the process opens everything else."""


class PortTakenError(StartupError):
    """Another program listens on the API's port."""

    code = "port_taken"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; clients that come early wait in its queue. Port 0 = a free one.

    Raises StartupError, PortTakenError among them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise _problem(error.errno or 0, host, port) from error


def _problem(number: int, host: str, port: int) -> StartupError:
    # negative: a name that cannot be resolved, by getaddrinfo's own numbers
    if number == errno.EADDRNOTAVAIL or number < 0:
        return StartupError(
            f"{host!r} is no address of this machine: set OUTDIAL_HTTP_HOST to one, or to 0.0.0.0 for all."
        )
    if number == errno.EADDRINUSE:
        return PortTakenError(
            f"Port {port} on {host} is taken by another program, perhaps another outdial: stop it, or set "
            "OUTDIAL_HTTP_PORT to a free port."
        )
    if number == errno.EACCES:
        return StartupError(f"This account may not listen on port {port}: set OUTDIAL_HTTP_PORT to one above 1023.")
    return StartupError(f"The API cannot listen on port {port} of {host}: {os.strerror(number)}.")


def url_of(listener: socket.socket) -> str:
    """Return the address for clients on this machine."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")  # noqa: PLR2004 - IPv4
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"  # noqa: PLR2004 - IPv6
