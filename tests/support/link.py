"""A network link that loses, delays, doubles and reorders packets: real TCP retransmits over it.

Two TUN devices, one here and one in a network namespace of its own, with a process between them that hands packets on.
Sockets that listen at its far end are reached from here through it alone, so what a process and its engine, or its
database, say to one another travels as packets that can be lost. Needs root and /dev/net/tun; device and namespace
vanish with the last descriptor.

``python -m support.link NEAR FAR`` is that process: it has both devices, and is told on its standard input, a line at a
time, what becomes of the packets from and to a port at the far end.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from itertools import count

from support.programs import environment

WELL = "well"
LOSSY = "lossy"
"""Packets are lost, late, doubled and out of order."""
MUTE = "mute"
"""Nothing gets to the far end."""
DEAF = "deaf"
"""Nothing comes back."""

LOST, LATE, DOUBLED = 0.25, 0.4, 0.1
"""How likely each is for a packet of a lossy link."""
LATE_SECONDS = 0.12

_BLOCK = 4
_FIRST = struct.unpack("!I", socket.inet_aton("198.18.0.0"))[0]
"""RFC 2544 section C.2.2: for tests of networks, routed nowhere."""
_BLOCKS = 1 << 15

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFDSTADDR = 0x8914, 0x8916, 0x8918
_IFF_UP, _IFF_RUNNING, _IFF_POINTOPOINT, _IFF_NOARP = 0x1, 0x40, 0x10, 0x80
_CLONE_NEWNET = 0x40000000
_TCP = 6


class NoLinkError(Exception):
    """There can be no such link here; the sentence says why."""


class Link:
    """One, from outside."""

    def __init__(self, sockets: int) -> None:
        """Make it, with so many listening sockets at its far end. Raises NoLinkError."""
        self.sockets: list[socket.socket] = []
        self._devices: list[int] = []
        problem: list[OSError] = []

        def make() -> None:
            try:
                self._make(sockets)
            except OSError as error:
                problem.append(error)

        # a namespace is a thread's own: this one ends, and nothing but what it has opened stays in there
        maker = threading.Thread(target=make)
        maker.start()
        maker.join()
        try:
            if problem:
                for listening in self.sockets:
                    listening.close()
                raise NoLinkError(f"no TUN device in a network namespace: {problem[0]}")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.link", *map(str, self._devices)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=self._devices,
                env=environment(),
                # Ctrl-C is not meant for it
                start_new_session=True,
            )
        finally:
            for device in self._devices:
                os.close(device)

    def _make(self, sockets: int) -> None:
        block = _FIRST + os.getpid() % _BLOCKS * _BLOCK
        near, far = (socket.inet_ntoa(struct.pack("!I", block + place)) for place in (1, 2))
        self._devices.append(_device(near, far))
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        self._devices.append(_device(far, near))
        for _ in range(sockets):
            listening = socket.socket()
            self.sockets.append(listening)
            listening.bind((far, 0))
            listening.listen(128)

    def let(self, how: str, port: int) -> None:
        """Have packets to and from that port at the far end fare so, from now on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{how} {port}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline().strip() != "done":
            raise RuntimeError(f"the link ended: {self._process.wait()}")

    def close(self) -> None:
        """End it; every connection over it hangs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def _device(own: str, other: str) -> int:
    """Make a TUN device with that address whose other end has the other; return its descriptor."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        answer = fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"nemesis%d", _IFF_TUN | _IFF_NO_PI))
        name = answer[:16]
        flags = _IFF_UP | _IFF_RUNNING | _IFF_POINTOPOINT | _IFF_NOARP
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for what, address in ((_SIOCSIFADDR, own), (_SIOCSIFDSTADDR, other)):
                given = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))
                fcntl.ioctl(any_socket, what, given)
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH", name, flags))
    except OSError:
        os.close(device)
        raise
    return device


class Forwarder:
    """Hands packets on between the near and the far device."""

    def __init__(self, near: int, far: int, dice: random.Random) -> None:
        self._near, self._far = near, far
        self._dice = dice
        self.fates: dict[int, str] = {}
        """Port at the far end → what becomes of its packets; none: they are handed on at once."""
        self._late: list[tuple[float, int, int, bytes]] = []
        self._number = count()

    def run(self) -> None:
        """Hand on until standard input ends."""
        selector = selectors.DefaultSelector()
        for file in (0, self._near, self._far):
            selector.register(file, selectors.EVENT_READ)
        while True:
            wait = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            for key, _ in selector.select(wait):
                if key.fd == 0:
                    line = os.read(0, 4096).decode()
                    if not line:
                        return
                    for one in line.splitlines():
                        self._obey(*one.split())
                else:
                    self._read(key.fd)
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(self._late)
                self._write(to, packet)

    def _obey(self, how: str, port: str) -> None:
        if how == WELL:
            self.fates.pop(int(port), None)
        else:
            self.fates[int(port)] = how
        print("done", flush=True)

    def _read(self, device: int) -> None:
        there = device == self._near
        to = self._far if there else self._near
        for _ in range(64):
            try:
                packet = os.read(device, 65536)
            except BlockingIOError:
                return
            fate = self.fates.get(far_port(packet, there=there)) if self.fates else None
            if fate is None:
                self._write(to, packet)
            else:
                self._fare(fate, packet, to, there=there)

    def _fare(self, fate: str, packet: bytes, to: int, *, there: bool) -> None:
        dice = self._dice
        if fate in (MUTE, DEAF):
            if there != (fate == MUTE):
                self._write(to, packet)
            return
        if dice.random() < LOST:
            return
        for _ in range(2 if dice.random() < DOUBLED else 1):
            late = dice.random() * LATE_SECONDS if dice.random() < LATE else 0.0
            heapq.heappush(self._late, (time.monotonic() + late, next(self._number), to, packet))

    def _write(self, to: int, packet: bytes) -> None:
        try:
            os.write(to, packet)
        except BlockingIOError:
            # the queue is full: a network loses packets
            return


def far_port(packet: bytes, *, there: bool) -> int:
    """The port at the far end of a TCP packet, 0 of any other."""
    if packet[0] >> 4 != 4 or packet[9] != _TCP:
        return 0
    begin = (packet[0] & 15) * 4 + (2 if there else 0)
    return int.from_bytes(packet[begin : begin + 2])


if __name__ == "__main__":
    Forwarder(int(sys.argv[1]), int(sys.argv[2]), random.Random()).run()
