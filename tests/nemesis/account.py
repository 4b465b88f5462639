"""What a run of the suite came to, for people: counts, and the first violation with all that happened around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from nemesis.evidence import SECOND, Evidence
from nemesis.found import STOPS, Found, Violation

AROUND = 5 * SECOND


def table(evidence: Evidence) -> str:
    """Counts of faults, stops by outcome, calls."""
    lines = [f"{count:8}  {kind}" for kind, count in sorted(Counter(one.kind for one in evidence.faults).items())]
    outcomes = Counter(
        "no answer" if ask.status is None else str(ask.status) for ask in evidence.asks if ask.word in STOPS
    )
    lines += [f"{count:8}  stops answered {status}" for status, count in sorted(outcomes.items())]
    latencies = sorted(ask.received - ask.sent for ask in evidence.asks if ask.word in STOPS and ask.ok)
    if latencies:
        middle, high = latencies[len(latencies) // 2] / 1e6, latencies[len(latencies) * 99 // 100] / 1e6
        lines.append(f"{'':8}  a stop's 200: p50 {middle:.0f} ms, p99 {high:.0f} ms, faults and all")
    words = Counter(ask.word for ask in evidence.asks if ask.word not in STOPS and ask.ok)
    lines += [f"{count:8}  {word} answered 200" for word, count in sorted(words.items())]
    lines += [
        f"{count:8}  runs {state}" for state, count in sorted(Counter(run["state"] for run in evidence.runs).items())
    ]
    ends = Counter(attempt["disposition"] for attempt in evidence.attempts)
    lines += [f"{count:8}  attempts {end}" for end, count in sorted(ends.items(), key=str)]
    lines.append(f"{len(evidence.calls):8}  calls at the carrier")
    if evidence.fell:
        lines.append(f"{len(evidence.fell):8}  processes ended by themselves and were started again")
    if evidence.starved:
        lines.append(f"{len(evidence.starved):8}  times the machine had no time for 0.2 s")
    return "\n".join(lines)


def last_line(evidence: Evidence, violations: list[Violation]) -> str:
    """Stops are runs whose stop was answered 200."""
    stops = len(Found(evidence).stopped)
    return f"stops={stops} faults={len(evidence.faults)} violations={len(violations)}"


def of(evidence: Evidence, violation: Violation) -> str:
    """The violation and its timeline."""
    found = Found(evidence)
    run = found.runs.get(violation.run_id) if violation.run_id is not None else None
    campaign_id = violation.campaign_id or (run["campaign_id"] if run else "")
    head = [
        f"rule {violation.rule}: {violation.what}",
        f"run {violation.run_id}, campaign {campaign_id or '?'}, number {violation.number or '?'}",
    ]
    events = sorted(_events(found, violation, campaign_id), key=lambda event: event[0])
    near = [event for event in events if abs(event[0] - violation.at) <= AROUND]
    return "\n".join(head + [f"{(at - violation.at) / 1e6:+12.3f} ms  {text}" for at, text in near])


def _events(found: Found, violation: Violation, campaign_id: str) -> Iterator[tuple[int, str]]:
    yield violation.at, "<<<<  the violation"
    for one in found.evidence.faults:
        yield one.begin, f"fault     {one.kind} {one.target} begins"
        if one.end is not None:
            yield one.end, f"fault     {one.kind} {one.target} is over {one.note}"
    for ask in found.asks_of[campaign_id] if campaign_id else ():
        phones = f" {' '.join(ask.phones)}" if violation.number in ask.phones else ""
        yield ask.sent, f"client    {ask.word}{phones} sent to {ask.api}"
        if ask.received is not None:
            yield ask.received, f"client    {ask.word}: {ask.status} {str(ask.body)[:160]}"
    for row in found.run_moves[violation.run_id] if violation.run_id is not None else ():
        yield row["at"], f"database  run {row['from_state']} -> {row['to_state']} by {row['actor']} ({row['reason']})"
    for attempt in found.evidence.attempts:
        if attempt["phone"] != violation.number:
            continue
        name = f"attempt {attempt['id'][:8]} run {attempt['run_id']} node {attempt['node_id'][:8]}"
        yield attempt["reserved_at"], f"database  {name} reserved at {attempt['engine_id'][:12]}"
        for key in ("dialed_at", "ringing_at", "answered_at", "ended_at"):
            if attempt[key] is not None:
                yield attempt[key], f"attempt   {attempt['id'][:8]} {key}"
        for row in found.moves[attempt["id"]]:
            yield row["at"], f"database  {name} -> {row['to_state']} by {row['actor'][:8]} ({row['reason']})"
    for call in found.evidence.calls:
        if call.number != violation.number:
            continue
        name = f"call {call.call_id[:12]} {'over TCP ' if call.tcp else ''}from port {call.source}"
        for place, at in enumerate(call.invites):
            yield at, f"carrier   {name} INVITE {place + 1}"
        for key in ("responded_at", "answered_at", "cancelled_at", "bye_at", "ended_at"):
            if (at := getattr(call, key)) is not None:
                yield at, f"carrier   {name} {key} {call.status if key == 'ended_at' else ''}"
