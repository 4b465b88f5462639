"""The ``webhook`` steps of this node's calls: asks another system while somebody is on the line."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp
import structlog
from yarl import URL

from outdial.core.flow_play import Answered, Ask, Failed
from outdial.core.flow_reply import LARGEST_REPLY, question, read_reply
from outdial.dialer.outside import Outside
from outdial.public_hosts import private_address

_log = structlog.get_logger()


class FlowWebhooks:
    """Asks for all calls of one node."""

    def __init__(self, private_hosts: Iterable[str]) -> None:
        self._private_hosts = frozenset(private_hosts)
        self._outside: Outside | None = None

    async def ask(self, action: Ask, *, attempt_id: str, flow_id: str, step: str) -> Answered | Failed:
        """Return the answer, or why there is none: the step's ``failed`` follows, whatever went wrong out there."""
        if self._outside is None:
            self._outside = Outside(self._private_hosts)
        body = question(attempt_id=attempt_id, flow_id=flow_id, step=step, variables=action.body)
        try:
            status, reply = await self._outside.post(
                URL(action.url), body, headers={}, seconds=action.timeout_seconds, largest_reply=LARGEST_REPLY
            )
            return Answered(action.turn, read_reply(status=status, body=reply))
        except TimeoutError:
            reason = f"no reply within {action.timeout_seconds:g} seconds"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: a host no resolver can be asked about, or a reply that is none
            reason = str(private_address(error) or error) or type(error).__name__
        _log.warning("flow_webhook_failed", attempt_id=attempt_id, flow_id=flow_id, step=step, reason=reason)
        return Failed(action.turn, f"the webhook failed: {reason}")

    async def close(self) -> None:
        """Release the connections."""
        if self._outside is not None:
            await self._outside.close()
