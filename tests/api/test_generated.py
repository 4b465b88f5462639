"""Generated requests over the document: what it allows is taken, what it does not is refused, and each answer is one it
describes. `make fuzz` sends many more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from generated.run import WALK, generate
from generated.server import running
from generated.things import Things

SURFACES = {
    "v1 and call details": r"/v1/|/1\.1/|/analytics/",
    "v2": "/v2/public/",
    "outdial's own": " /api/outdial/| /[a-z]+$",
}
LISTS = "/campaign/api/v2/public/{iid}/campaign/contactList/"
CAMPAIGNS = "/campaign/api/v2/public/{iid}/campaign"
ADD = "POST /api/1.1/public/{iid}/campaign/contactList/addContacts"
TRIGGER = f"POST {CAMPAIGNS}/trigger/{{campaignId}}"


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
    found = generate(things, phases=phases, examples=12, seed=1, only=SURFACES[surface])
    assert not found.failures, "\n\n".join(found.failures)
    # not all refused for one reason: a good share gets through, and all kinds of refusals are met
    assert found.statuses[200] > found.cases / 10, found.statuses
    assert {200, 400, 401, 409, 412} <= set(found.statuses), found.statuses


@pytest.mark.timeout(300)
def test_links_lead_from_a_contact_list_to_a_campaign_that_was_stopped_and_deleted(things):
    found = generate(things, phases=("stateful",), examples=60, seed=1, only=WALK)
    assert not found.failures, "\n\n".join(found.failures)
    walked = set(found.transitions)
    for step in (
        (f"POST {LISTS}createContactList", ADD),
        (ADD, f"POST {CAMPAIGNS}"),
        (f"POST {CAMPAIGNS}", TRIGGER),
        (TRIGGER, f"POST {CAMPAIGNS}/{{campaignId}}/status"),
        (TRIGGER, TRIGGER),
        (TRIGGER, f"DELETE {CAMPAIGNS}/{{campaignId}}"),
        (TRIGGER, "GET /api/outdial/runs/{instanceId}"),
    ):
        assert step in walked, (step, found.transitions)
