"""Shapes of identifiers on the wire, made from a UUID the caller drew (no randomness here).

The vendor's voice ids are odd: the first group has seven hex digits, not eight (kore-compatible clients check it).
"""

from __future__ import annotations

import hashlib
import re
from typing import Final
from uuid import UUID, uuid5

_CONTACT_NAMESPACE = UUID("6b8f6f0e-6d0e-5d43-9f65-0d1f0f1d5a11")
_PERMIT = re.compile(r"run([0-9]{1,19})e([0-9]{1,10})k([0-9a-f]{32})")
_DIALING_LIST_ID: Final = re.compile(r"cdl-([0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})")
FILE_ID_DIGITS: Final = 24
"""Hex digits of the wire's file ids; an import's id has 32."""
_CONTACT_BYTES: Final = 8
_CHECK_BITS: Final = 58
"""What a UUID leaves free beside the contact: 128 bits less four of version, two of variant and 64 of contact."""


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


def file_id(import_id: str) -> str:
    """Return the wire id of the file of an import: 24 hex digits, as the vendor's, and always the same ones."""
    return import_id.removeprefix("im-").replace("-", "")[:FILE_ID_DIGITS]


def attempt_limit_id(value: UUID) -> str:
    """Id of an attempt limit."""
    return f"al-{value}"


def webhook_id(value: UUID) -> str:
    """Id of a webhook."""
    return f"wh-{value}"


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


def dialing_list_id(instance_id: str, contact_id: int) -> str:
    """Return the wire id of a contact within a run, ``cdl-`` + the shape of a UUIDv5; :func:`read_dialing_list_id`
    finds the contact in it again. No secret is in it, and it is none. Raises OverflowError outside 64 bits."""
    contact = contact_id.to_bytes(_CONTACT_BYTES)
    hidden = int.from_bytes(contact) ^ _keystream(instance_id)
    free = hidden << _CHECK_BITS | _check(instance_id, contact)
    # RFC 9562 §5.8: 48 bits, the version, 12 bits, the variant (binary 10), 62 bits
    value = free >> 74 << 80 | 5 << 76 | (free >> 62 & 0xFFF) << 64 | 0b10 << 62 | free & (1 << 62) - 1
    return f"cdl-{UUID(int=value)}"


def read_dialing_list_id(text: str, instance_id: str) -> int | None:
    """Return the contact id in a dialing list id of that run; None for one of another run, or that somebody mistyped:
    one in 2^58 slips through."""
    found = _DIALING_LIST_ID.fullmatch(text)
    if found is None:
        return None
    value = UUID(found[1]).int
    free = value >> 80 << 74 | (value >> 64 & 0xFFF) << 62 | value & (1 << 62) - 1
    contact = (free >> _CHECK_BITS ^ _keystream(instance_id)).to_bytes(_CONTACT_BYTES)
    right = free & (1 << _CHECK_BITS) - 1 == _check(instance_id, contact)
    return int.from_bytes(contact) if right else None


def _keystream(instance_id: str) -> int:
    return int.from_bytes(hashlib.sha256(b"contact " + instance_id.encode()).digest()[:_CONTACT_BYTES])


def _check(instance_id: str, contact: bytes) -> int:
    # the contact has a fixed length, so no two pairs are the same bytes
    digest = hashlib.sha256(b"check " + contact + instance_id.encode()).digest()
    return int.from_bytes(digest) >> (len(digest) * 8 - _CHECK_BITS)


def conversation_id(attempt_id: str) -> str:
    """Return the wire id of the call that an attempt was."""
    return seven_group("c", UUID(attempt_id))


def permit_name(run_id: int, epoch: int, key: str) -> str:
    """Return the engine object name of a permit for a run at one epoch, ``run12e3k`` + its key, drawn each time one is
    put: no old name serves a new epoch, and nobody's renewal serves what another has put."""
    return f"run{run_id}e{epoch}k{key}"


def parse_permit_name(name: str) -> tuple[int, int, str] | None:
    """Return ``(run_id, epoch, key)`` of a permit name, or None when the name is no permit's."""
    found = _PERMIT.fullmatch(name)
    return None if found is None else (int(found[1]), int(found[2]), found[3])


def stasis_app(node_id: str) -> str:
    """Return the name of a node's own application at an Asterisk; whoever adopts its calls connects under it."""
    return f"outdial-{node_id}"
