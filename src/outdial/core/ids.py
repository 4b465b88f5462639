"""Shapes of identifiers on the wire, made from a UUID the caller drew (no randomness here).

The vendor's voice ids are odd: the first group has seven hex digits, not eight (kore-compatible clients check it).
"""

from __future__ import annotations

from uuid import UUID, uuid5

_CONTACT_NAMESPACE = UUID("6b8f6f0e-6d0e-5d43-9f65-0d1f0f1d5a11")


def seven_group(prefix: str, value: UUID) -> str:
    """Return ``prefix-`` + the UUID with a first group of seven digits, e.g. ``cd-1111111-2222-4333-8444-…``."""
    return f"{prefix}-{str(value)[1:]}"


def campaign_id(value: UUID) -> str:
    """Id of a campaign."""
    return seven_group("cd", value)


def instance_id(value: UUID) -> str:
    """Wire id of a run."""
    return seven_group("cid", value)


def contact_list_id(value: UUID) -> str:
    """Id of a contact list or a DNC list; they share a shape on the wire."""
    return seven_group("cl", value)


def flow_id(value: UUID) -> str:
    """Id of a flow."""
    return f"cf-{value}"


def trunk_id(value: UUID) -> str:
    """Id of a trunk."""
    return f"tr-{value}"


def application_id(value: UUID) -> str:
    """Id of an application (the wire's iid)."""
    return f"st-{value}"


def import_id(value: UUID) -> str:
    """Id of an import."""
    return f"im-{value}"


def client_id(value: UUID) -> str:
    """Id of an API client (the token's appId)."""
    return f"cs-{value}"


def account_id(value: UUID) -> str:
    """Return 24 hex digits."""
    return value.hex[:24]


def attempt_id(value: UUID) -> str:
    """Return 32 lower-case hex digits: an attempt's id, its engine channel id."""
    return value.hex


def contact_id(database_id: int) -> str:
    """Return the wire id of a contact, ``cc-`` + UUIDv5, derived from its database id."""
    return f"cc-{uuid5(_CONTACT_NAMESPACE, str(database_id))}"


def permit_name(run_id: int, epoch: int) -> str:
    """Return the engine object name of a run's permit at one epoch, ``run12e3``; an old name serves no new epoch."""
    return f"run{run_id}e{epoch}"


def parse_permit_name(name: str) -> tuple[int, int] | None:
    """Return ``(run_id, epoch)`` of a permit name, or None when the name is no permit's."""
    run, separator, epoch = name.removeprefix("run").partition("e")
    if not (name.startswith("run") and separator and run.isascii() and run.isdigit() and epoch.isascii()):
        return None
    return (int(run), int(epoch)) if epoch.isdigit() else None


def stasis_app(node_id: str) -> str:
    """Return the name of a node's own application at an Asterisk; whoever adopts its calls connects under it."""
    return f"outdial-{node_id}"
