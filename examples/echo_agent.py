"""An agent for the flow step `agent`: beeps, and says back what it hears.

Run it by ``python examples/echo_agent.py 8090``; a flow reaches it by ``agent: {url: "ws://127.0.0.1:8090/"}``, with
127.0.0.1 named in OUTDIAL_PRE_CALL_PRIVATE_HOSTS. The first message is JSON and says whose call it is; all others, both
ways, are sound: 16-bit little-endian samples, mono, at the rate the flow asks for. Closing with code 1000 ends the talk
in good order, and the flow goes on.
"""

from __future__ import annotations

import json
import math
import struct
import sys

from aiohttp import WSMsgType, web

LONGEST_SECONDS = 60


def beep(rate: int, *, seconds: float = 0.3, frequency: float = 1000.0) -> bytes:
    """A tone to talk after."""
    turn = 2 * math.pi * frequency / rate
    return b"".join(struct.pack("<h", round(8000 * math.sin(turn * at))) for at in range(round(seconds * rate)))


async def talk(request: web.Request) -> web.WebSocketResponse:
    """One call."""
    call = web.WebSocketResponse()
    await call.prepare(request)
    start = json.loads(await call.receive_str())
    print("talks with attempt", start["attempt_id"], flush=True)
    await call.send_bytes(beep(start["rate"]))
    left = LONGEST_SECONDS * start["rate"] * 2
    async for message in call:
        if message.type is WSMsgType.BINARY:
            await call.send_bytes(message.data)
            left -= len(message.data)
            if left < 0:
                break
    # in good order, code 1000: the flow's `next` follows
    await call.close()
    return call


def main() -> None:
    """Serve on a port of this machine."""
    application = web.Application()
    application.router.add_get("/", talk)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8090)


if __name__ == "__main__":
    main()
