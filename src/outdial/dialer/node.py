"""What the parts of one dialer node share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from outdial.dialer.book import Book
from outdial.dialer.calls import Calls
from outdial.dialer.opt_outs import OptOuts
from outdial.dialer.recordings import Recordings
from outdial.secretbox import SecretBox
from outdial.services.emergency import EmergencySwitch
from outdial.store.database import Database
from outdial.telephony.engine import Engine
from outdial.telephony.resolver import TrunkResolver
from outdial.telephony.speech import Voice

UNANSWERED_ORIGINATES: Final = 8
"""Requests to place a call that may wait for the engine's answer at once: more would queue inside the engine, where a
fence does not reach them (397 of 500 still dialed after a stop; measured)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One life of a dialer process."""

    id: str
    database: Database
    secrets: SecretBox
    engine: Engine
    calls: Calls
    book: Book
    opt_outs: OptOuts
    recordings: Recordings
    voice: Voice
    resolver: TrunkResolver
    ttl_seconds: float
    audio_dir: Path
    """Where flows' recordings are written for the engine to read."""
    switch: EmergencySwitch
    """The file that stops everything here, whether or not the database can be reached."""
    private_hosts: frozenset[str] = frozenset()
    """Hosts of pre-call fetches, webhooks and agents that may be private addresses."""
    asked_for: dict[int, set[str]] = field(default_factory=dict)
    """Of each claim under way, the attempts it has asked for: until it has heard, nobody else may say what they are. By
    the set's identity: two claims that have not asked for anything yet are equal, and not the same."""
    unanswered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UNANSWERED_ORIGINATES))
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Another node has ended this life, or the engine's event stream has been taken over: nothing may be dialed."""
