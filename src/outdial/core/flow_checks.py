"""What can be wrong with a flow whose every step by itself is right.

Steps that lead nowhere, that nobody reaches, that go round without end, and sounds that do not exist.
"""

from __future__ import annotations

from collections.abc import Iterator

from outdial.core.flow import FlowPlan, Gather, HangUp, Sound, Step, prompts, targets


def problems_of(plan: FlowPlan) -> list[str]:
    """Return a sentence for each."""
    found = [*_missing(plan)]
    # what cannot be followed cannot be looked at further
    return found or [*_unreached(plan), *_endless(plan), *_sounds(plan)]


def _missing(plan: FlowPlan) -> Iterator[str]:
    for name, at in (("start", plan.start), ("machine_start", plan.machine_start)):
        if at is not None and at not in plan.steps:
            yield f"`{name}` names the step {at}, which does not exist."
    for name, step in plan.steps.items():
        for target in targets(step):
            if target not in plan.steps:
                yield f"`steps.{name}` leads to the step {target}, which does not exist."


def _starts(plan: FlowPlan) -> list[str]:
    return [plan.start, *([] if plan.machine_start is None else [plan.machine_start])]


def _unreached(plan: FlowPlan) -> Iterator[str]:
    reached, waiting = set(_starts(plan)), _starts(plan)
    while waiting:
        for target in targets(plan.steps[waiting.pop()]):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    for name in plan.steps:
        if name not in reached:
            yield f"`steps.{name}` is never reached; lead a step to it or remove it."


def _endless(plan: FlowPlan) -> Iterator[str]:
    """Find rounds in which nobody is asked for anything: they would go on until the phone is put down."""
    done: set[str] = set()
    for start in plan.steps:
        path: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = []
        if start not in done and not _waits(plan.steps[start]):
            stack.append((start, iter(targets(plan.steps[start]))))
            path.append(start)
        while stack:
            name, following = stack[-1]
            target = next(following, None)
            if target is None:
                stack.pop()
                path.pop()
                done.add(name)
            elif target in path:
                yield f"The steps {' → '.join([*path[path.index(target) :], target])} go round without asking anything."
            elif target not in done and not _waits(plan.steps[target]):
                stack.append((target, iter(targets(plan.steps[target]))))
                path.append(target)


def _waits(step: Step) -> bool:
    """Whether a step gives the person a say, so that a round through it ends when they want."""
    return isinstance(step, Gather | HangUp)


def _sounds(plan: FlowPlan) -> Iterator[str]:
    used: set[str] = set()
    for name, step in plan.steps.items():
        for prompt in prompts(step):
            if isinstance(prompt, Sound):
                used.add(prompt.name)
                if prompt.name not in plan.sounds:
                    yield f"`steps.{name}` plays the sound {prompt.name}, which is not among `sounds`."
    for name, files in plan.sounds.items():
        if name not in used:
            yield f"`sounds.{name}` is never played; remove it."
        if plan.language not in files:
            yield f"`sounds.{name}` has no file in the flow's own language, {plan.language}."
