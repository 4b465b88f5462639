"""Every documented spelling of a path ends at the same route."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.api.kore.paths import canonical_path, canonical_query, rewritten


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/campaign/api/v1/public/st-1/campaign/cd-1", "/campaign/api/v1/public/st-1/campaign/cd-1"),
        ("/agentassist/api/v1/public/st-1/campaign", "/campaign/api/v1/public/st-1/campaign"),
        ("/api/v2/public/st-1/campaign/trigger/cd-1", "/campaign/api/v2/public/st-1/campaign/trigger/cd-1"),
        ("/campaign/api/v2/public/st-1/campaign//trigger/cd-1", "/campaign/api/v2/public/st-1/campaign/trigger/cd-1"),
        ("//campaign///api//v2/public/st-1/campaign//", "/campaign/api/v2/public/st-1/campaign"),
        (
            "/api/1.1/public/st-1/campaign/contactList/addContacts",
            "/api/1.1/public/st-1/campaign/contactList/addContacts",
        ),
        (
            "/agentassist/api/1.1/public/st-1/campaign/contactList/addContacts",
            "/api/1.1/public/st-1/campaign/contactList/addContacts",
        ),
        ("/api/v3/public/st-1/campaign", "/api/v3/public/st-1/campaign"),
        ("/api/1x1/public/st-1/campaign", "/api/1x1/public/st-1/campaign"),
        ("/other/api/v1/public/st-1/campaign", "/other/api/v1/public/st-1/campaign"),
        ("/campaign/campaign/api/v1/public/st-1", "/campaign/campaign/api/v1/public/st-1"),
        ("/api/v1/public/st-1/campaign/cd-\0", "/campaign/api/v1/public/st-1/campaign/cd-\ufffd"),
        *(
            (
                f"{prefix}/api/public/analytics/account/a/v2/calldetails",
                "/agentassist/api/public/analytics/account/a/v2/calldetails",
            )
            for prefix in ("", "/agentassist", "/campaign", "//agentassist/")
        ),
        ("/health", "/health"),
        ("/docs/", "/docs"),
        ("/", "/"),
        ("//", "/"),
        ("", ""),
    ],
)
def test_paths(written, meant):
    assert canonical_path(written) == meant


WORDS = st.sampled_from(
    ("", "/", "//", "campaign", "agentassist", "api", "v1", "v2", "1.1", "public", "analytics", "st-1", "\0", "\n", "é")
)


@given(
    st.sampled_from(("", "/campaign/api/v1/public/", "/campaign/api/v2/public", "/api/public/")),
    st.lists(WORDS, max_size=8).map("/".join),
)
def test_the_short_way_leads_where_the_long_one_does(begin, end):
    path = begin + end
    assert canonical_path(path) == rewritten(path)
    # once is enough
    assert canonical_path(canonical_path(path)) == canonical_path(path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"campaignType=voice&trigger=stop", b"campaignType=voice&trigger=stop"),
        (rb"accountId=a\&campaignType=voice\&trigger=stop", b"accountId=a&campaignType=voice&trigger=stop"),
        (b"accountId=a%5C&campaignType=voice%5c&trigger=stop", b"accountId=a&campaignType=voice&trigger=stop"),
        (b"", b""),
    ],
)
def test_queries(written, meant):
    assert canonical_query(written) == meant
