"""The stop protocol as a small machine: two nodes, one engine, one campaign, explored in every order of their steps.

Decisions are the core's own functions; the machine only says who may act when. Time is counted in whole ticks; a permit
lives ``TTL`` of them. A frozen process needs no rule of its own: a step that is not taken yet is one.

What is left out, because the shell shows it elsewhere: several engines (each is fenced alike), the database's own
serialisation (a step that holds the run's lock is one step here).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from outdial.core.campaign import RAISES_EPOCH, RUN_MOVES, RunAction, move
from outdial.core.ids import permit_name
from outdial.core.model import LIVE_RUN_STATES, RunState
from outdial.core.permit import Gate, gate_until, may_dial, silent_after
from outdial.core.screening import run_may_dial

TTL = 1
CONTACTS = 1


class Run(NamedTuple):
    id: int = 1
    state: RunState = RunState.ACTIVE
    epoch: int = 1


class Call(NamedTuple):
    """One originate on its way: for which contact, under which permit, how far."""

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
    """Only without the lock: a permit whose run was found active, and which is not put yet."""


class State(NamedTuple):
    now: int = 0
    run: Run = Run()
    stopped: frozenset[int] = frozenset()
    stop_step: str = ""
    committed: int = 0
    """When the stop was."""
    nodes: tuple[Node, ...] = (Node(), Node())
    permits: frozenset[tuple[str, int]] = frozenset()
    """``(name, expires)`` at the engine."""
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
    unreachable: bool = False
    """The stop never reaches the engine, and a person says that it is gone for good."""


@dataclass(frozen=True)
class Guards:
    """Everything the protocol relies on; a variant switches one off."""

    fence: bool = True
    quiesce: bool = True
    second_look: bool = True
    renewal_needs_permit: bool = True
    maker_holds_lock: bool = True
    permits_expire: bool = True
    adopter_trusts_only_the_dead: bool = True
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
    yield from engine_steps(state, guards)


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
    if run.state is RunState.ACTIVE and all(contact == "done" for contact in state.contacts):
        yield "complete", state._replace(run=moved(run, RunAction.COMPLETE))


def stopping(state: State, guards: Guards, bounds: Bounds) -> Iterator[tuple[str, State]]:
    run, step = state.run, state.stop_step
    prefix = f"run{run.id}e"
    mine = [call for call in state.calls if call.run == run.id and call.at in {"admitted", "listed"}]
    listed = [call for call in mine if call.at == "listed"]
    if bounds.unreachable:
        if step == "committed" and state.now >= silent_after(state.committed, ttl_seconds=TTL) and not mine:
            after = run._replace(state=move(RunState.STOPPING, RunAction.CONFIRM_STOPPED))
            yield "permits have expired", state._replace(run=after, stop_step="", stopped=state.stopped | {run.id})
        return
    if step == "committed":
        left = frozenset(permit for permit in state.permits if not permit[0].startswith(prefix))
        yield "stop fences", state._replace(permits=left if guards.fence else state.permits, stop_step="fenced")
    if step in {"fenced", "quiet once"} and guards.quiesce:
        if listed:
            left = tuple(call for call in state.calls if call not in listed)
            yield "stop cancels", state._replace(calls=left, stop_step="fenced")
        elif step == "fenced":
            yield "stop finds it quiet", state._replace(stop_step="quiet once" if guards.second_look else "quiet")
        elif not mine:
            # between the two looks the engine has listed whatever it had admitted before
            yield "stop finds it quiet again", state._replace(stop_step="quiet")
    if step == ("quiet" if guards.quiesce else "fenced"):
        after = run._replace(state=move(RunState.STOPPING, RunAction.CONFIRM_STOPPED))
        yield "stopped", state._replace(run=after, stop_step="", stopped=state.stopped | {run.id})


def node_steps(state: State, place: int, guards: Guards, bounds: Bounds) -> Iterator[tuple[str, State]]:
    node, run = state.nodes[place], state.run

    def having(changed: Node, **more: object) -> State:
        nodes = tuple(changed if other == place else known for other, known in enumerate(state.nodes))
        return state._replace(nodes=nodes, **more)

    others_live = all(known.alive for other, known in enumerate(state.nodes) if other != place)
    if node.alive and not node.ended and others_live and bounds.deaths:
        yield "dies", having(node._replace(alive=False, look=None, gate=None, call=None, making=None))
    if node.lease_until < state.now and not node.ended:
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
        if run_may_dial(seen.state, seen.epoch, seen.epoch) and put_already(state, seen):
            renewal = (seen.id, seen.epoch, t0 + TTL)
        yield "applies it", having(node._replace(look=None, gate=opened(seen, t0), renewal=renewal))
    if node.gate is not None:
        run_id, epoch, until = node.gate
        yield from makes_permit(state, node, run_id, epoch, having, guards)
        open_now = may_dial(Gate(run_id, epoch, until), epoch=epoch, now=state.now)
        current = run.id == run_id and run_may_dial(run.state, run.epoch, epoch) and not node.ended
        if open_now and current and node.call is None and "pending" in state.contacts:
            contact = state.contacts.index("pending")
            claimed = tuple(
                f"claimed{place}" if index == contact else known for index, known in enumerate(state.contacts)
            )
            yield (
                "claims and checks",
                having(node._replace(call=Call(run_id, epoch, contact, "checked")), contacts=claimed),
            )
    if node.call is not None:
        written = (*state.calls, node.call._replace(at="written"))
        yield "writes", having(node._replace(call=None), calls=written)


def opened(run: Run, t0: int) -> tuple | None:
    """The gate after a look begun at ``t0`` that saw the run so."""
    if not run_may_dial(run.state, run.epoch, run.epoch):
        return None
    return (run.id, run.epoch, gate_until(t0, ttl_seconds=TTL))


def put_already(state: State, run: Run) -> bool:
    return any(known == permit_name(run.id, run.epoch) for known, _ in state.permits)


def makes_permit(state, node, run_id, epoch, having, guards) -> Iterator[tuple[str, State]]:
    """Put a permit under the run's lock: found active and put in one step. Without the lock in two."""
    name = permit_name(run_id, epoch)
    run = state.run
    active = run.id == run_id and run_may_dial(run.state, run.epoch, epoch)
    if any(known == name for known, _ in state.permits):
        return
    if guards.maker_holds_lock:
        if active:
            yield "puts a permit", having(node, permits=state.permits | {(name, state.now + TTL)})
        return
    if node.making is None and active:
        yield "finds it active", having(node._replace(making=(name, state.now + TTL)))
    elif node.making is not None:
        yield "puts a permit late", having(node._replace(making=None), permits=state.permits | {node.making})


def adopted(state: State, place: int, guards: Guards) -> State:
    """Another node ends this one's life. What it had checked and not written comes back only if it is dead for sure."""
    node = state.nodes[place]
    contacts = list(state.contacts)
    for contact, known in enumerate(contacts):
        if known == f"claimed{place}" and not any(call.contact == contact for call in state.calls):
            certain = not node.alive or not guards.adopter_trusts_only_the_dead
            contacts[contact] = "pending" if certain else "done"
    nodes = tuple(known._replace(ended=True) if other == place else known for other, known in enumerate(state.nodes))
    return state._replace(nodes=nodes, contacts=tuple(contacts))


def engine_steps(state: State, guards: Guards) -> Iterator[tuple[str, State]]:
    for place, node in enumerate(state.nodes):
        if node.renewal is not None:
            run_id, epoch, expires = node.renewal
            name = permit_name(run_id, epoch)
            there = any(known == name for known, _ in state.permits)
            permits = state.permits
            if there or not guards.renewal_needs_permit:
                permits = frozenset(one for one in permits if one[0] != name) | {(name, expires)}
            nodes = tuple(
                known._replace(renewal=None) if other == place else known for other, known in enumerate(state.nodes)
            )
            yield "engine renews", state._replace(nodes=nodes, permits=permits)
    for index, call in enumerate(state.calls):
        rest = state.calls[:index] + state.calls[index + 1 :]
        if call.at == "written":
            name = permit_name(call.run, call.epoch)
            allowed = any(
                known == name and (expires > state.now or not guards.permits_expire) for known, expires in state.permits
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
    state = state._replace(calls=tuple(sorted(state.calls)))
    first, second = state.nodes
    if hash(first) <= hash(second):
        return state
    swapped = {"claimed0": "claimed1", "claimed1": "claimed0"}
    return state._replace(nodes=(second, first), contacts=tuple(swapped.get(known, known) for known in state.contacts))


def trail(came: dict, state: State) -> tuple[str, ...]:
    names = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))
