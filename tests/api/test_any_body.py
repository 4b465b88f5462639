"""Whatever JSON comes in, it is taken or refused in sentences; nothing else ever happens."""

from __future__ import annotations

import copy
import re

from hypothesis import given
from hypothesis import strategies as st

from outdial.api.kore.drafts import campaign_draft, campaign_search, contact_batch, contact_list_body
from outdial.api.kore.requests import ContactListUpdateBody, RunContactsBody, StopBody
from outdial.api.problems import parse
from outdial.core.errors import InvalidInputError, NotBuiltError
from support.wire import agentless, with_agents

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
VERSIONS = st.sampled_from([1, 2])
SENTENCE = re.compile(r"(`[^`]*`|The body) .+\.", re.DOTALL)


def taken(read, document, **options) -> bool:
    """Read the document; every refusal must be made of sentences."""
    problems: tuple[str, ...] = ()
    try:
        read(document, **options)
    except InvalidInputError as refused:
        problems = refused.problems
    except NotBuiltError:
        return False
    assert [problem for problem in problems if not SENTENCE.fullmatch(problem)] == []
    return not problems


def places(document, path=()):
    """Paths of all values in a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


@given(JSON, VERSIONS)
def test_anything(document, version):
    taken(campaign_draft, document, version=version, region=None)
    taken(contact_list_body, document, version=version)
    taken(contact_batch, document, region=None)
    taken(campaign_search, document)
    taken(lambda given: parse(ContactListUpdateBody, given), document)
    taken(lambda given: parse(StopBody, given), document)
    taken(lambda given: parse(RunContactsBody, given), document)


@given(st.data(), VERSIONS, JSON)
def test_a_good_campaign_with_anything_anywhere(data, version, value):
    mode = data.draw(st.sampled_from(["Agentless", "Progressive", "Preview"]))
    document = copy.deepcopy(agentless(version) if mode == "Agentless" else with_agents(version, mode))
    *parents, last = data.draw(st.sampled_from(list(places(document))))
    place = document
    for key in parents:
        place = place[key]
    place[last] = value
    taken(campaign_draft, document, version=version, region=None)


SEARCH = {
    "type": "voice",
    "limit": 50,
    "skip": 0,
    "page": 1,
    "startDate": "2025-12-01T00:00:00.000Z",
    "endDate": "2025-12-04T00:00:00.000Z",
    "sortBy": {"createdAt": "desc"},
    "filters": {"status": ["Ready", "Stopped"], "priority": [5], "dialingMode": ["Progressive", "Preview"]},
}


@given(st.data(), JSON)
def test_a_good_search_with_anything_anywhere(data, value):
    document = copy.deepcopy(SEARCH)
    assert taken(campaign_search, document)
    *parents, last = data.draw(st.sampled_from(list(places(document))))
    place = document
    for key in parents:
        place = place[key]
    place[last] = value
    taken(campaign_search, document)


CONTACTS = st.fixed_dictionaries({"phoneNumber": st.just("+15550100101") | JSON}) | JSON


@given(st.lists(CONTACTS, min_size=1, max_size=100))
def test_contacts_with_anything(data):
    if taken(contact_batch, {"contact_list_name": "L", "data": data}, region=None):
        batch = contact_batch({"contact_list_name": "L", "data": data}, region=None)
        assert batch.drafts
        assert all(draft.phone.startswith("+") for draft in batch.drafts)


def test_the_samples_themselves_are_taken():
    for version in (1, 2):
        assert taken(campaign_draft, agentless(version), version=version, region=None)
        for mode in ("Progressive", "Preview"):
            assert taken(campaign_draft, with_agents(version, mode), version=version, region=None)
