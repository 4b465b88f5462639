"""What a permit is made of at an Asterisk: an AOR, an endpoint, for digest trunks an auth object, and one contact
that expires. All four are named after the run, its epoch and a key of their own; the contact is what lets a call
through.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_address
from typing import Final

from outdial.core.model import Transport, Trunk
from outdial.telephony.engine import TrunkAddress

CODECS: Final = "ulaw,alaw,g722"

CONTEXT: Final = "outdial-inbound"
"""Dialplan context of trunk endpoints; no call starts there, so it need not exist at the engine."""

Fields = dict[str, list[dict[str, str]]]
"""Body of a dynamic configuration request."""


def object_path(kind: str, name: str) -> str:
    """Return the ARI path of one PJSIP object held in memory."""
    return f"asterisk/config/dynamic/res_pjsip/{kind}/{name}"


def contact_path(name: str) -> str:
    """Return the path of the one contact of the AOR ``name``; PJSIP finds contacts by the prefix ``AOR;@``."""
    return object_path("contact", f"{name};@1")


def probe_name(trunk_id: str, address: TrunkAddress) -> str:
    """Return the name of what tells whether a trunk's line to an address is up: a connection is one address's."""
    digest = hashlib.sha256(f"{address.host} {address.port}".encode()).hexdigest()
    return f"trunk-{trunk_id}-{digest[:12]}"


def transport_name(transport: Transport, host: str) -> str:
    """Return the transport an Asterisk must have for such trunks, e.g. ``outdial-udp``, ``outdial-tls6``."""
    return f"outdial-{transport}{'6' if ip_address(host).version == 6 else ''}"  # noqa: PLR2004 - IPv6


def contact_uri(trunk: Trunk, address: TrunkAddress) -> str:
    """Return where calls go, an address always: a name would make the engine wait for DNS."""
    literal = ip_address(address.host)
    host = f"[{literal}]" if literal.version == 6 else str(literal)  # noqa: PLR2004 - IPv6
    suffix = "" if trunk.transport is Transport.UDP else f";transport={trunk.transport}"
    return f"sip:{host}:{address.port}{suffix}"


def aor_fields(*, qualify_seconds: int = 0) -> Fields:
    """Return the AOR; a permit's own is never qualified, its trunk's probe is, and believed down after a second
    without an answer."""
    values = {"max_contacts": "1", "support_path": "no", "qualify_frequency": str(qualify_seconds)}
    if qualify_seconds:
        values["qualify_timeout"] = "1.0"
    return fields(values)


def auth_fields(trunk: Trunk) -> Fields:
    """Return the credentials for the carrier's challenge."""
    return fields({"auth_type": "userpass", "username": trunk.username or "", "password": trunk.password or ""})


def endpoint_fields(trunk: Trunk, address: TrunkAddress, name: str) -> Fields:
    """Return the endpoint called ``name``, made of the trunk's settings."""
    values = {
        "aors": name,
        "transport": transport_name(trunk.transport, address.host),
        "context": CONTEXT,
        # the SDP's session name, which no carrier reads: by it the watchdog tells which permit an INVITE went through
        "sdp_session": name,
        "disallow": "all",
        "allow": CODECS,
        "direct_media": "no",
        "rtp_symmetric": "yes",
        "timers": "yes",
        "100rel": "yes",
    }
    if trunk.from_domain:
        values["from_domain"] = trunk.from_domain
    if trunk.username:
        values["outbound_auth"] = name
    return fields(values)


def contact_fields(uri: str, expires: float | None) -> Fields:
    """Return the contact; ``expires`` is Unix time in the engine's clock, None = it never does (probes only)."""
    values = {"uri": uri}
    if expires is not None:
        values["expiration_time"] = f"{expires:.3f}"
    return fields(values)


def fields(values: dict[str, str]) -> Fields:
    """Return the body ARI wants."""
    return {"fields": [{"attribute": name, "value": value} for name, value in values.items()]}


def removal_paths(name: str) -> tuple[str, ...]:
    """Return what to delete for the permit of that name, the contact first: without it nothing gets through."""
    return (contact_path(name), *(object_path(kind, name) for kind in ("endpoint", "aor", "auth")))
