"""Generated requests over the document: what it allows is taken, what it does not is refused, and each answer is one it
describes. `make fuzz` sends many more."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from generated.run import EMERGENCY, WALK, Found, generate
from generated.server import running
from generated.things import Things
from generated.walk import STEPS, walk

SURFACES = {
    "v1 and call details": r"/v1/|/1\.1/|/analytics/",
    "v2": "/v2/public/",
    "outdial's own": " /api/outdial/| /[a-z]+$",
}
NEVER_DONE = ("GET /ready",)
"""Without a dialer node nothing is ready; the operator's have a test of their own."""


@pytest.fixture
def things(dsn, tmp_path) -> Iterator[Things]:
    with running(dsn, tmp_path) as server:
        made = Things(server)
        yield made
        made.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("surface", SURFACES)
def test_every_answer_is_what_the_document_says(things, surface):
    # v1 and v2 are the same code: what can be enumerated is enumerated for one of them
    phases = ("examples", "fuzzing") if surface.startswith("v1") else ("examples", "coverage", "fuzzing")
    found = generate(things, phases=phases, examples=8, seed=1, only=SURFACES[surface])
    # eight of an operation may all be wrong in one way or another: a request that asks for what is not there, say
    for seed in range(2, 6):
        if left := left_out(found):
            found.add(generate(things, phases=("fuzzing",), examples=16, seed=seed, only=f"^({'|'.join(left)})$"))
    assert not found.failures, "\n\n".join(found.failures)
    # not all refused for one reason: a good share gets through, and all kinds of refusals are met
    assert found.statuses[200] > found.cases / 10, found.statuses
    # whether a few examples meet a conflict is a matter of the seed; what is enumerated does
    met = {200, 400, 401, 404, 412, *({409} if "coverage" in phases else ())}
    assert met <= set(found.statuses), found.statuses
    assert not left_out(found)


def left_out(found: Found) -> list[str]:
    """Patterns of the operations that no request has got through to."""
    return [re.escape(one) for one in found.never_done if not one.endswith(NEVER_DONE) and EMERGENCY not in one]


@pytest.mark.timeout(300)
def test_the_operator_s_answers_are_what_the_document_says(things):
    found = generate(
        things, phases=("examples", "coverage", "fuzzing"), examples=20, seed=1, only=EMERGENCY, operator=True
    )
    assert not found.failures, "\n\n".join(found.failures)
    assert not found.never_done
    # wrong bodies, and nothing to lift; nobody was refused for the token
    assert {200, 404, 412} <= set(found.statuses), found.statuses
    assert 401 not in found.statuses


@pytest.mark.timeout(300)
def test_random_walks_along_links(things):
    found = generate(things, phases=("stateful",), examples=30, seed=1, only=WALK)
    assert not found.failures, "\n\n".join(found.failures)
    assert found.transitions.total() > found.cases / 4, found.transitions


@pytest.mark.timeout(300)
def test_links_lead_from_a_contact_list_to_a_campaign_that_was_stopped_and_deleted(things):
    walks = walk(things, times=10, seed=1)
    assert len(walks) == 10
    for answers in walks:
        assert list(answers) == [step.name for step in STEPS]
        said = answers["start"]["status"], answers["status"]["data"]["status"], answers["stop"]["status"]
        assert said == ("Active", "Active", "Stopped")
        assert answers["run"]["run"]["instanceId"] == answers["start"]["campaignInstanceId"]
        assert answers["run"]["run"]["state"] == "stopped"
        assert answers["run"]["contacts"], "the contacts that were added"
