"""The stop protocol as a small machine: two nodes, one engine, one campaign, explored in every order of their steps.

Decisions are the core's own functions; the machine only says who may act when. Time is counted in whole ticks; a permit
lives ``TTL`` of them. A frozen process needs no rule of its own: a step that is not taken yet is one.

What is left out, because the shell shows it elsewhere: several engines (each is fenced alike), the database's own
serialisation (a step that holds the run's lock is one step here). Requests to the engine are no such step: one that was
sent arrives whenever it likes, also when its sender has died or lost its database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from outdial.core.campaign import RAISES_EPOCH, RUN_MOVES, RunAction, move
from outdial.core.model import LIVE_RUN_STATES, RunState
from outdial.core.permit import Gate, gate_until, may_dial, silent_after
from outdial.core.screening import run_may_dial

TTL = 1
SHARED = -1
"""Whose permit it is where nodes have none of their own."""
CONTACTS = 1


class Run(NamedTuple):
    id: int = 1
    state: RunState = RunState.ACTIVE
    epoch: int = 1


class Call(NamedTuple):
    """One originate on its way: for which contact, under which permit, how far."""

    node: int
    run: int
    epoch: int
    contact: int
    at: str
    """``checked`` in the node, ``written`` to the engine's socket, ``admitted`` past the permit, ``listed``."""


class Node(NamedTuple):
    alive: bool = True
    ended: bool = False
    """Its row says so: another node has adopted its calls."""
    lease_until: int = TTL
    look: tuple | None = None
    """A look under way: ``(t0, the run as it was)``."""
    gate: tuple | None = None
    """``(run, epoch, until)``"""
    call: Call | None = None
    """Its originate that is checked and not written yet."""
    renewal: tuple | None = None
    """``(run, epoch, expires)`` sent and not carried out yet."""
    making: tuple | None = None
    """``(run, epoch, expires, step)``: a permit that is being put; ``found`` (only without the lock: not noted yet),
    ``noted``, or ``lost``: put, and the node has lost its database, so its note runs out by itself."""
    permitted: tuple | None = None
    """``(run, epoch)`` of the permit it uses and renews: one that was put before its note ran out. Each has a key of
    its own, so what is put later than that serves nobody."""


class State(NamedTuple):
    now: int = 0
    run: Run = Run()
    stopped: frozenset[int] = frozenset()
    stop_step: str = ""
    committed: int = 0
    """When the stop was."""
    making_seen: bool = False
    """Before it fenced, the stop saw a permit being put."""
    nodes: tuple[Node, ...] = (Node(), Node())
    permits: frozenset[tuple[int, int, int, int]] = frozenset()
    """``(node, run, epoch, expires)`` at the engine."""
    calls: tuple[Call, ...] = ()
    """Written and beyond."""
    contacts: tuple[str, ...] = ("pending",) * CONTACTS
    """``pending``, ``claimed0``, ``claimed1``, ``done``"""
    paused_once: bool = False


@dataclass(frozen=True)
class Bounds:
    """How far the machine is followed."""

    last_tick: int = 2
    pauses: bool = False
    deaths: bool = True
    runs: int = 2
    lost: bool = False
    """Nodes may lose their database in the middle of putting a permit."""
    unreachable: bool = False
    """The stop never reaches the engine, and a person says that it is gone for good."""


@dataclass(frozen=True)
class Guards:
    """Everything the protocol relies on; a variant switches one off."""

    fence: bool = True
    quiesce: bool = True
    second_look: bool = True
    renewal_needs_permit: bool = True
    notes_under_lock: bool = True
    late_puts_serve_nobody: bool = True
    stop_waits_for_makers: bool = True
    permits_of_nodes: bool = True
    permits_expire: bool = True
    adopter_removes_permits: bool = True
    stopping_cannot_resume: bool = True


class ViolationError(Exception):
    """A promise was broken; the message says which, the trail how."""


def steps(state: State, guards: Guards, bounds: Bounds) -> Iterator[tuple[str, State]]:
    if state.now < bounds.last_tick:
        yield "tick", state._replace(now=state.now + 1)
    yield from people(state, guards, bounds)
    yield from stopping(state, guards, bounds)
    for place in range(len(state.nodes)):
        for name, after in node_steps(state, place, guards, bounds):
            yield f"node {place}: {name}", after
    yield from engine_steps(state, guards, bounds)


def moved(run: Run, action: RunAction) -> Run:
    return run._replace(state=move(run.state, action), epoch=run.epoch + (action in RAISES_EPOCH))


def people(state: State, guards: Guards, bounds: Bounds) -> Iterator[tuple[str, State]]:
    run = state.run
    if (run.state, RunAction.PAUSE) in RUN_MOVES and bounds.pauses and not state.paused_once:
        yield "pause", state._replace(run=moved(run, RunAction.PAUSE), paused_once=True)
    if (run.state, RunAction.RESUME) in RUN_MOVES:
        yield "resume", state._replace(run=moved(run, RunAction.RESUME))
    if not guards.stopping_cannot_resume and run.state is RunState.STOPPING:
        yield "resume a stopping run", state._replace(run=run._replace(state=RunState.ACTIVE, epoch=run.epoch + 1))
    if (run.state, RunAction.STOP) in RUN_MOVES:
        yield "stop commits", state._replace(run=moved(run, RunAction.STOP), stop_step="committed", committed=state.now)
    if run.state not in LIVE_RUN_STATES and run.id < bounds.runs:
        yield "second start", state._replace(run=Run(id=run.id + 1), stop_step="", contacts=("pending",) * CONTACTS)
    if run.state is RunState.ACTIVE and all(contact in {"done", "called"} for contact in state.contacts):
        yield "complete", state._replace(run=moved(run, RunAction.COMPLETE))


def stopping(state: State, guards: Guards, bounds: Bounds) -> Iterator[tuple[str, State]]:
    run, step = state.run, state.stop_step
    mine = [call for call in state.calls if call.run == run.id and call.at in {"admitted", "listed"}]
    listed = [call for call in mine if call.at == "listed"]
    if bounds.unreachable:
        if step == "committed" and state.now >= silent_after(state.committed, ttl_seconds=TTL) and not mine:
            after = run._replace(state=move(RunState.STOPPING, RunAction.CONFIRM_STOPPED))
            yield "permits have expired", state._replace(run=after, stop_step="", stopped=state.stopped | {run.id})
        return
    if step == "committed":
        left = frozenset(permit for permit in state.permits if permit[1] != run.id)
        yield (
            "stop fences",
            state._replace(
                permits=left if guards.fence else state.permits,
                stop_step="fenced",
                making_seen=guards.stop_waits_for_makers and being_made(state),
            ),
        )
    if step == "waits" and not being_made(state):
        yield "nobody makes a permit any more", state._replace(stop_step="committed")
    if step in {"fenced", "quiet once"} and guards.quiesce:
        if listed:
            left = tuple(call for call in state.calls if call not in listed)
            yield "stop cancels", state._replace(calls=left, stop_step="fenced")
        elif step == "fenced":
            yield "stop finds it quiet", state._replace(stop_step="quiet once" if guards.second_look else "quiet")
        elif not mine:
            # between the two looks the engine has listed whatever it had admitted before
            yield "stop finds it quiet again", state._replace(stop_step="quiet")
    if step == ("quiet" if guards.quiesce else "fenced") and state.making_seen:
        yield "stop waits for a permit being put", state._replace(stop_step="waits")
    elif step == ("quiet" if guards.quiesce else "fenced"):
        after = run._replace(state=move(RunState.STOPPING, RunAction.CONFIRM_STOPPED))
        yield "stopped", state._replace(run=after, stop_step="", stopped=state.stopped | {run.id})


def being_made(state: State) -> bool:
    """Whether some node's note that it puts a permit of the run stands and has not run out."""
    return any(
        node.making is not None
        and node.making[0] == state.run.id
        and node.making[3] != "found"
        and node.making[2] > state.now
        for node in state.nodes
    )


def node_steps(state: State, place: int, guards: Guards, bounds: Bounds) -> Iterator[tuple[str, State]]:
    node, run = state.nodes[place], state.run

    def having(changed: Node, **more: object) -> State:
        nodes = tuple(changed if other == place else known for other, known in enumerate(state.nodes))
        return state._replace(nodes=nodes, **more)

    others_live = all(known.alive for other, known in enumerate(state.nodes) if other != place)
    if node.alive and not node.ended and others_live and bounds.deaths:
        yield "dies", having(node._replace(alive=False, look=None, gate=None, call=None))
    unsettled = node.making is not None and node.making[3] != "found" and node.making[2] > state.now
    if node.lease_until < state.now and not node.ended and not unsettled:
        yield "is adopted", adopted(state, place, guards)
    if not node.alive:
        return
    if node.ended:
        if node.look is not None or node.gate is not None:
            yield "learns its end", having(node._replace(look=None, gate=None, renewal=None))
    elif node.look is None and run.id == 1 and node.gate != opened(run, state.now):
        # the instant before asking and the read are one here: an earlier instant only grants less
        yield "looks", having(node._replace(look=(state.now, run), lease_until=state.now + TTL))
    elif node.look is not None:
        t0, seen = node.look
        renewal = node.renewal
        if run_may_dial(seen.state, seen.epoch, seen.epoch) and has_permit(state, place, seen, guards):
            renewal = (seen.id, seen.epoch, t0 + TTL)
        yield "applies it", having(node._replace(look=None, gate=opened(seen, t0), renewal=renewal))
    if node.gate is not None:
        run_id, epoch, until = node.gate
        yield from makes_permit(state, place, run_id, epoch, having, guards)
        open_now = may_dial(Gate(run_id, epoch, until), epoch=epoch, now=state.now)
        current = run.id == run_id and run_may_dial(run.state, run.epoch, epoch) and not node.ended
        if open_now and current and node.call is None and "pending" in state.contacts:
            contact = state.contacts.index("pending")
            claimed = tuple(
                f"claimed{place}" if index == contact else known for index, known in enumerate(state.contacts)
            )
            yield (
                "claims and checks",
                having(node._replace(call=Call(place, run_id, epoch, contact, "checked")), contacts=claimed),
            )
    if node.call is not None:
        written = (*state.calls, node.call._replace(at="written"))
        yield "writes", having(node._replace(call=None), calls=written)


def opened(run: Run, t0: int) -> tuple | None:
    """The gate after a look begun at ``t0`` that saw the run so."""
    if not run_may_dial(run.state, run.epoch, run.epoch):
        return None
    return (run.id, run.epoch, gate_until(t0, ttl_seconds=TTL))


def owner(place: int, guards: Guards) -> int:
    """Whose permit a node uses: its own."""
    return place if guards.permits_of_nodes else SHARED


def has_permit(state: State, place: int, run: Run, guards: Guards) -> bool:
    """Whether the node has a permit of the run to renew: its own, or, where they share, anybody's."""
    if not guards.permits_of_nodes:
        return any(permit[:3] == (SHARED, run.id, run.epoch) for permit in state.permits)
    return state.nodes[place].permitted == (run.id, run.epoch)


def makes_permit(state, place, run_id, epoch, having, guards) -> Iterator[tuple[str, State]]:
    """Find the run active and note that a permit is put, in one step under the run's lock; without the lock in two."""
    node, run = state.nodes[place], state.run
    active = run.id == run_id and run_may_dial(run.state, run.epoch, epoch) and not node.ended
    if node.making is None and active and not has_permit(state, place, run, guards):
        step = "noted" if guards.notes_under_lock else "found"
        yield f"makes a permit: {step}", having(node._replace(making=(run_id, epoch, state.now + TTL, step)))
    elif node.making is not None and node.making[3] == "found":
        yield "makes a permit: noted late", having(node._replace(making=(*node.making[:3], "noted")))


def adopted(state: State, place: int, guards: Guards) -> State:
    """Another node ends this one's life and removes its permits; then it settles what the engine does not have.

    What was checked and not written comes back only if the node is dead for sure.
    """
    node = state.nodes[place]
    contacts = list(state.contacts)
    for contact, known in enumerate(contacts):
        # a request on its way shows nowhere yet
        shown = any(call.contact == contact and call.at != "written" for call in state.calls)
        if known == f"claimed{place}" and not shown:
            contacts[contact] = "done" if node.alive else "pending"
    nodes = tuple(known._replace(ended=True) if other == place else known for other, known in enumerate(state.nodes))
    permits = state.permits
    if guards.adopter_removes_permits:
        permits = frozenset(permit for permit in permits if permit[0] != owner(place, guards))
    return state._replace(nodes=nodes, contacts=tuple(contacts), permits=permits)


def with_node(state: State, place: int, changed: Node) -> State:
    nodes = tuple(changed if other == place else known for other, known in enumerate(state.nodes))
    return state._replace(nodes=nodes)


def arrivals(state: State, place: int, guards: Guards, bounds: Bounds) -> Iterator[tuple[str, State]]:
    """The requests that put a permit have all arrived. In time, its node clears the note and uses it."""
    node = state.nodes[place]
    run_id, epoch, expires, _ = node.making
    key = (owner(place, guards), run_id, epoch)
    rest = frozenset(permit for permit in state.permits if permit[:3] != key)
    if expires <= state.now and guards.late_puts_serve_nobody:
        yield "permit is put too late", with_node(state, place, node._replace(making=None))
        return
    there = state._replace(permits=rest | {(*key, expires)})
    if node.alive and not node.ended:
        yield "permit is put", with_node(there, place, node._replace(making=None, permitted=(run_id, epoch)))
    if bounds.lost or not node.alive:
        lost = (run_id, epoch, expires, "lost")
        yield "permit is put, its node has lost its database", with_node(there, place, node._replace(making=lost))


def engine_steps(state: State, guards: Guards, bounds: Bounds) -> Iterator[tuple[str, State]]:
    for place, node in enumerate(state.nodes):
        whose = owner(place, guards)
        if node.making is not None and node.making[3] == "noted":
            yield from arrivals(state, place, guards, bounds)
        if node.making is not None and node.making[3] == "lost" and node.making[2] <= state.now:
            yield "a note has run out", with_node(state, place, node._replace(making=None))
        if node.renewal is not None:
            run_id, epoch, expires = node.renewal
            key = (whose, run_id, epoch)
            there = any(permit[:3] == key for permit in state.permits)
            permits = state.permits
            if there or not guards.renewal_needs_permit:
                permits = frozenset(one for one in permits if one[:3] != key) | {(*key, expires)}
            nodes = tuple(
                known._replace(renewal=None) if other == place else known for other, known in enumerate(state.nodes)
            )
            yield "engine renews", state._replace(nodes=nodes, permits=permits)
    for index, call in enumerate(state.calls):
        rest = state.calls[:index] + state.calls[index + 1 :]
        if call.at == "written":
            allowed = any(
                permit[:3] == (owner(call.node, guards), call.run, call.epoch)
                and (permit[3] > state.now or not guards.permits_expire)
                for permit in state.permits
            )
            if allowed:
                yield "engine admits", state._replace(calls=(*rest, call._replace(at="admitted")))
            else:
                yield "engine refuses", refused(state._replace(calls=rest), call)
        elif call.at == "admitted":
            yield "engine lists", state._replace(calls=(*rest, call._replace(at="listed")))
        elif call.at == "listed":
            yield "INVITE leaves", sent(state._replace(calls=rest), call)


def refused(state: State, call: Call) -> State:
    node = state.nodes[call.node]
    if not node.alive or node.ended:
        # nobody hears it: what becomes of the contact, the adopter has decided
        return state
    if call.run != state.run.id or not state.contacts[call.contact].startswith("claimed"):
        return state
    contacts = tuple("pending" if index == call.contact else known for index, known in enumerate(state.contacts))
    return state._replace(contacts=contacts)


def sent(state: State, call: Call) -> State:
    if call.run in state.stopped:
        raise ViolationError(f"a call of run {call.run} left after the run was stopped")
    if call.run != state.run.id:
        return state
    # each person is called at most once here: nothing is tried again
    known = state.contacts[call.contact]
    if known == "called":
        raise ViolationError(f"contact {call.contact} was called twice")
    if known == "done":
        raise ViolationError(f"the call to contact {call.contact} left after it had been given up")
    contacts = tuple("called" if index == call.contact else other for index, other in enumerate(state.contacts))
    return state._replace(contacts=contacts)


@dataclass(frozen=True)
class Explored:
    states: int
    violation: str = ""
    trail: tuple[str, ...] = ()


def explore(guards: Guards, bounds: Bounds, *, limit: int = 2_000_000) -> Explored:
    """Visit every state that can be reached, shortest ways first; end at the first broken promise."""
    first = State()
    came: dict[State, tuple[State, str] | None] = {first: None}
    todo = deque([first])
    while todo:
        state = todo.popleft()
        iterator = steps(state, guards, bounds)
        while True:
            try:
                found = next(iterator, None)
            except ViolationError as error:
                return Explored(len(came), str(error), trail(came, state))
            if found is None:
                break
            name, after = found
            after = canonical(after)
            if after not in came:
                came[after] = (state, name)
                todo.append(after)
        if len(came) > limit:
            raise AssertionError(f"more than {limit} states")
    return Explored(len(came))


def canonical(state: State) -> State:
    """Nodes and calls have no order: states that differ in it alone are one."""
    first, second = state.nodes

    def turned(node: Node) -> Node:
        return node if node.call is None else node._replace(call=node.call._replace(node=1 - node.call.node))

    if hash(first) <= hash(turned(second)):
        return state._replace(calls=tuple(sorted(state.calls)))
    swapped = {"claimed0": "claimed1", "claimed1": "claimed0"}
    return state._replace(
        nodes=(turned(second), turned(first)),
        contacts=tuple(swapped.get(known, known) for known in state.contacts),
        calls=tuple(sorted(call._replace(node=1 - call.node) for call in state.calls)),
        permits=frozenset(permit if permit[0] == SHARED else (1 - permit[0], *permit[1:]) for permit in state.permits),
    )


def trail(came: dict, state: State) -> tuple[str, ...]:
    names = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))
