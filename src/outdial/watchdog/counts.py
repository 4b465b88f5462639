"""What the watchdog counts, in Prometheus' text format."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from outdial.core.hep import HepProblem
from outdial.core.sip_invite import SipProblem
from outdial.core.watch import Breach

_RECEIVED: Final = "received"
_REPEATED: Final = "repeated"
_JUDGED: Final = "judged"
_UNCERTAIN: Final = "uncertain"
_LOST: Final = "lost"


class Counts:
    """One registry per watchdog, so that several can live in a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._packets = self._counter("packets", "HEP packets read.")
        self._problems = self._counter("problems", "Packets that could not be read, by reason.", "problem")
        self._dropped = self._counter("dropped", "HEP packets the kernel threw away because nobody read them in time.")
        self._invites = self._counter("invites", "INVITEs outside dialogs, by what became of them.", "outcome")
        self._alarms = self._counter("alarms", "Alarms raised, by their gravest breach.", "breach")
        self._fences = self._counter("fences", "Fences, by outcome.", "outcome")
        self._webhooks = self._counter("webhooks", "Alarms sent to the webhook, by outcome.", "outcome")
        self.waiting = self._gauge("waiting", "INVITEs that wait for the database.")
        self.database_up = self._gauge("database_up", "Whether the database answered.")
        self.deaf_engines = self._gauge("deaf_engines", "Engines that place calls of which nothing is heard.")
        self.clock_seconds = self._gauge("clock_seconds", "The database's clock minus this machine's.")
        for problem in (*HepProblem, *SipProblem):
            self._problems.labels(problem.value)
        for outcome in (_RECEIVED, _REPEATED, _JUDGED, _UNCERTAIN, _LOST):
            self._invites.labels(outcome)
        for breach in Breach:
            self._alarms.labels(breach.value)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"outdial_watchdog_{name}", words, labels, registry=self._registry)

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(f"outdial_watchdog_{name}", words, registry=self._registry)

    def packet(self) -> None:
        """Count a packet that was read."""
        self._packets.inc()

    def problem(self, problem: HepProblem | SipProblem) -> None:
        """Count one that was not."""
        self._problems.labels(problem.value).inc()

    def dropped(self, count: int) -> None:
        """Count packets that the kernel threw away."""
        self._dropped.inc(count)

    def received(self) -> None:
        """Count an INVITE that an engine received, not sent."""
        self._invites.labels(_RECEIVED).inc()

    def repeated(self) -> None:
        """Count a repetition of an INVITE that has been seen."""
        self._invites.labels(_REPEATED).inc()

    def judged(self, *, uncertain: bool) -> None:
        """Count an INVITE that was judged."""
        self._invites.labels(_UNCERTAIN if uncertain else _JUDGED).inc()

    def lost(self) -> None:
        """Count an INVITE that could not be kept until the database answers."""
        self._invites.labels(_LOST).inc()

    def alarm(self, breach: Breach) -> None:
        """Count an alarm."""
        self._alarms.labels(breach.value).inc()

    def fence(self, *, done: bool) -> None:
        """Count a fence."""
        self._fences.labels("done" if done else "failed").inc()

    def webhook(self, outcome: str) -> None:
        """Count what became of sending an alarm: ``delivered``, ``failed`` or ``dropped``."""
        self._webhooks.labels(outcome).inc()

    def text(self) -> bytes:
        """Return everything."""
        return generate_latest(self._registry)
