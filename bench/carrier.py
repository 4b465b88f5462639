"""The carrier of the measurements, a process of its own: prints its port, then answers until it is ended."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.sip_peer import SipPeer


async def serve() -> None:
    peer = await SipPeer.start()
    print(peer.port, flush=True)
    await asyncio.Event().wait()


asyncio.run(serve())
