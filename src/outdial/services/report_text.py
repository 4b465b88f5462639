"""A signed report of a stop, for people to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from outdial.core.canonical import Json
from outdial.core.stop_proof import KEPT, UNSETTLED
from outdial.services.acknowledging import NodeOutcome

_NODES: Final[dict[str, str]] = {
    NodeOutcome.ACKNOWLEDGED: "has dropped the run",
    NodeOutcome.LEASE_EXPIRED: "had ended, or may not dial any more",
    NodeOutcome.NOT_ANSWERING: "dead, frozen or slow; every engine is fenced, so it can place no call",
}

_OUTCOMES: Final[dict[str, str]] = {
    KEPT: "goes on at its engine: somebody had answered, or what rings was to be let ring",
    UNSETTLED: "over, and nobody had told how: its dialer was dead, or still is",
}


def report_text(document: dict[str, Json]) -> str:
    """Return the report as lines of text; the signed document is what counts."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: dict[str, Json]) -> Iterator[str]:
    run, request, barrier = document["run"], document["request"], document["barrier"]
    counts, chain, signature = document["counts"], document["chain"], document["signature"]
    contacts, phases, outcomes = counts["contacts"], counts["phases"], counts["outcomes"]
    yield f"Stop of run {run['instanceId']}"
    yield f"  campaign           {run['campaignId']}, application {run['iid']}"
    yield f"  asked for          {request['at']} by {request['by']} ({request['reason']})"
    yield f"  ringing calls      {request['ringing']}"
    yield f"  connected calls    {request['connected']}"
    yield f"  schedule           {'kept' if request['keepSchedule'] else 'switched off'}"
    yield f"  last call placed   {barrier['lastOriginateAt'] or 'none'}"
    yield f"  no call after      {barrier['noCallAfter']}"
    yield f"  stopped            {barrier['stoppedAt']}, after {barrier['latencySeconds'] * 1000:.0f} ms"
    yield "Engines"
    for engine in document["engines"]:
        quiet = engine["quiescedAt"] or "declared gone"
        yield (
            f"  {engine['engineId']}: fenced {engine['fencedAt'] or 'never'}, quiet {quiet}, "
            f"{engine['cancelled']} cancelled, {engine['hungUp']} hung up"
        )
    if not document["engines"]:
        yield "  none had a permit"
    yield "Dialer nodes"
    for node in document["nodes"]:
        at = f" {node['at']}" if node["at"] else ""
        yield f"  {node['name']} ({node['nodeId']}): {node['outcome']}{at}, {_NODES[node['outcome']]}"
    if not document["nodes"]:
        yield "  none had dialed"
    yield f"Calls that were live: {counts['calls']}"
    yield "  when it was asked for: " + ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()))
    yield "  what became of them: " + ", ".join(f"{count} {word}" for word, count in sorted(outcomes.items()))
    for outcome, words in _OUTCOMES.items():
        if outcomes[outcome]:
            yield f"  {outcome}: {words}"
    for call in document["calls"]:
        end = f"{call['disposition']} {call['endedAt']}" if call["endedAt"] else call["outcome"]
        yield f"  {call['attemptId']}  {call['phase']} → {end}"
    yield f"Contacts: {contacts['total']}"
    yield f"  never reached      {contacts['neverReached']}"
    yield f"  retries cancelled  {contacts['retriesCancelled']}"
    yield f"  in calls           {contacts['inCalls']}"
    yield f"  done               {contacts['done']}"
    if not counts["listsReadToEnd"]:
        yield "  The lists had not been read to their end: whoever was not read yet was never reached either."
    yield f"History: seal {chain['number']}, {chain['head']}"
    yield f"Signed {signature['signedAt']} by {signature['keyId']}"
