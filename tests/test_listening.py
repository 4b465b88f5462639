"""The API's port: taken, or a sentence that says why not."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from outdial import listening
from outdial.core.errors import StartupError
from outdial.listening import PortTakenError, listen, url_of


def port_of(listener: socket.socket) -> int:
    return listener.getsockname()[1]


def test_a_taken_port_is_a_sentence_that_says_what_to_do():
    with closing(listen("127.0.0.1", 0)) as taken:
        port = port_of(taken)
        with pytest.raises(PortTakenError, match=rf"Port {port} on 127\.0\.0\.1 is taken .* OUTDIAL_HTTP_PORT"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_a_sentence(host):
    with pytest.raises(StartupError, match=rf"'{host}' is no address of this machine.*OUTDIAL_HTTP_HOST"):
        listen(host, 0)


def test_a_port_for_the_privileged_only_is_a_sentence():
    problem = listening._problem(13, "127.0.0.1", 80)
    assert problem.message == "This account may not listen on port 80: set OUTDIAL_HTTP_PORT to one above 1023."


def test_anything_else_keeps_its_reason():
    problem = listening._problem(24, "127.0.0.1", 8080)
    assert problem.message == "The API cannot listen on port 8080 of 127.0.0.1: Too many open files."


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")]
)
def test_the_address_told_is_one_that_clients_here_can_use(host, expected):
    with closing(listen(host, 0)) as listener:
        assert url_of(listener) == f"http://{expected}:{port_of(listener)}"
