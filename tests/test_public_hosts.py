"""Looking names up: who is found, and whom a slow name keeps waiting."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from outdial.public_hosts import NAMES_AT_ONCE, PrivateAddressError, PrivateHosts, PublicResolver
from waiting import until

SETTING = "OUTDIAL_WEBHOOK_PRIVATE_HOSTS"


@pytest.fixture
async def resolver():
    made = PublicResolver(PrivateHosts(["localhost", "127.0.0.1", "::1"], setting=SETTING))
    yield made
    await made.close()


@pytest.fixture
def slow(monkeypatch):
    """Names below slow.test have name servers that do not answer; the list holds those that are being looked up."""
    asked: list[str] = []
    over = threading.Event()
    look_up = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        if not str(host).endswith(".slow.test"):
            return look_up(host, *args, **kwargs)
        asked.append(host)
        over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "no name server has answered")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked
    over.set()


async def test_what_is_found_can_be_connected_to(resolver):
    (found,) = await resolver.resolve("localhost", 8080, socket.AF_INET)
    assert (found["hostname"], found["host"], found["port"]) == ("localhost", "127.0.0.1", 8080)
    assert (found["family"], found["proto"]) == (socket.AF_INET, socket.IPPROTO_TCP)
    six = await resolver.resolve("::1", 8080, socket.AF_INET6)
    assert [one["host"] for one in six] == ["::1"]


async def test_a_private_address_is_not_found():
    resolver = PublicResolver(PrivateHosts([], setting=SETTING))
    with pytest.raises(PrivateAddressError, match=SETTING):
        await resolver.resolve("localhost", 80)
    await resolver.close()


async def test_slow_names_keep_nothing_else_of_the_process_waiting(resolver, slow):
    another = PublicResolver(PrivateHosts([], setting=SETTING))
    waiting = [asyncio.create_task(another.resolve(f"{n}.slow.test", 80)) for n in range(NAMES_AT_ONCE + 8)]
    await until(lambda: len(slow) == NAMES_AT_ONCE)
    async with asyncio.timeout(20):
        # neither the threads of the event loop, nor its own look-ups, nor other resolvers
        assert await asyncio.to_thread(lambda: 1) == 1
        assert await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        assert await resolver.resolve("localhost", 80, socket.AF_INET)
    # no more threads than these
    assert len(slow) == NAMES_AT_ONCE
    await another.close()
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
