"""Every documented spelling of a path ends at the same route."""

from __future__ import annotations

import pytest

from outdial.api.kore.paths import canonical_path, canonical_query


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
