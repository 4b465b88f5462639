"""The carrier, a process of its own, so that nothing else keeps it from answering; and the handle on it.

``python -m nemesis.carrier`` prints its ports, for UDP and for TCP, then does what it is told, a line at a time:
``mode NAME`` switches what it does with calls from now on, ``write FILE`` writes all it has seen, ``fresh FILE`` the
calls that are new since then.

Over UDP the kernel says when an INVITE was sent. Over TCP it does not, and the stamp is when this process read it,
later than it was sent and maybe by much, behind a relay that holds what it should hand on. That is sound for what a
stop is held to: one of a run on a TCP trunk is proven only once an OPTIONS was answered that went over the same
connection after the last INVITE, and one connection's requests are read, and stamped, in order. So an INVITE that left
before the proof is stamped before it, however late that is, and what is stamped after a 200 came after that OPTIONS.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import uvloop

from nemesis.evidence import Call
from support.programs import environment
from support.sip_peer import Behaviour, SipPeer

MODES = {
    "busy": Behaviour(provisional=None, final=486),
    "unavailable": Behaviour(provisional=None, final=503),
    "rings": Behaviour(final=None),
    "silent": Behaviour(provisional=None, final=None),
    "late-ringing": Behaviour(silent_seconds=1.0, final=None),
    "late-answer": Behaviour(silent_seconds=1.0, provisional=None, despite_cancel=True),
    "crossing": Behaviour(ring_seconds=0.3, despite_cancel=True),
    "challenge": Behaviour(challenge=401, ring_seconds=0.2),
}
USUAL = "usual"
"""As the number's last digits say."""


async def serve() -> None:
    """Answer until told no more."""
    peers = [await SipPeer.start(transport=transport) for transport in ("udp", "tcp")]
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    print(*(peer.port for peer in peers), flush=True)
    told = [0 for _ in peers]
    while line := (await words.readline()).decode().split(maxsplit=1):
        match line:
            case ["mode", name]:
                mode = MODES.get(name.strip())
                for peer in peers:
                    peer.choose = peer.by_suffix if mode is None else lambda _number, mode=mode: mode
            case ["write", path]:
                _write(path, [_seen(peer, call) for peer in peers for call in peer.calls.values()])
            case ["fresh", path]:
                # in the order in which they began, of each peer
                fresh = [list(islice(peer.calls.values(), old, None)) for peer, old in zip(peers, told, strict=True)]
                told = [len(peer.calls) for peer in peers]
                _write(path, [_seen(peer, call) for peer, new in zip(peers, fresh, strict=True) for call in new])
            case _:
                raise ValueError(f"the carrier does not know: {line}")
        print("done", flush=True)
    for peer in peers:
        await peer.close()


def _write(path: str, rows: list[dict]) -> None:
    Path(path.strip()).write_text(json.dumps(rows))


def _seen(peer: SipPeer, call) -> dict:
    seen = {name: getattr(call, name) for name in Call.__dataclass_fields__ if name != "tcp"}
    return seen | {"tcp": peer.transport == "tcp"}


class Carrier:
    """The process, from outside."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nemesis.carrier"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
            # Ctrl-C is not meant for it
            start_new_session=True,
        )
        self.port, self.tcp_port = map(int, self._process.stdout.readline().split())

    def tell(self, *words: object) -> None:
        """Have it do something, and wait until it is done."""
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if answer != "done":
            raise RuntimeError(f"the carrier ended: {self._process.wait()}")

    def seen(self, scratch: Path) -> list[Call]:
        """Every call so far."""
        self.tell("write", scratch)
        return [Call(**row) for row in json.loads(scratch.read_text())]

    def fresh(self, scratch: Path) -> list[Call]:
        """Every call that began since this was asked last; how it went on is not seen."""
        self.tell("fresh", scratch)
        return [Call(**row) for row in json.loads(scratch.read_text())]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


if __name__ == "__main__":
    uvloop.run(serve())
