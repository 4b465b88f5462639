"""Setting a campaign's pre-call fetch: what is refused, what is kept secret, and that live runs keep theirs."""

from __future__ import annotations

import pytest

from dialing import phones, set_stage
from outdial.core.errors import ConflictError, InvalidInputError, NotFoundError
from outdial.services import campaigns, pre_calls, runs

URL = "https://crm.example.net:8443/pre-call?x=1"


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(2))


async def put(stage, url=URL, **headers):
    return await pre_calls.set_fetch(
        stage.database,
        stage.secrets,
        iid=stage.owner.iid,
        campaign_id=stage.campaign_id,
        url=url,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        actor="test",
    )


async def show(stage, campaign_id=None):
    return await pre_calls.show_fetch(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=campaign_id or stage.campaign_id
    )


async def remove(stage):
    return await pre_calls.remove_fetch(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )


async def test_set_show_replace_remove(stage):
    with pytest.raises(NotFoundError, match="no pre-call fetch"):
        await show(stage)
    with pytest.raises(NotFoundError, match="no pre-call fetch"):
        await remove(stage)
    made = await put(stage, X_Key="s3cret", Authorization="Bearer t0ken")
    assert (made.url, made.header_names) == (URL, ("Authorization", "X-Key"))
    assert await show(stage) == made
    assert (await put(stage, "http://crm.example.net/other")).header_names == ()
    assert (await remove(stage)).url == "http://crm.example.net/other"
    with pytest.raises(NotFoundError):
        await show(stage)
    async with stage.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT to_state, detail FROM history WHERE action = 'pre_call_fetch' ORDER BY id"
        )
    assert [row["to_state"] for row in rows] == ["set", "set", "removed"]
    assert rows[0]["detail"] == {"url": URL}


async def test_headers_are_encrypted_at_rest(stage):
    await put(stage, X_Key="s3cret")
    async with stage.database.connection() as connection:
        stored = await connection.fetchval("SELECT headers_encrypted FROM pre_call_fetches")
        everything = str(await connection.fetch("SELECT * FROM history"))
    assert b"s3cret" not in stored
    assert "s3cret" not in everything


async def test_a_clone_asks_too(stage):
    await put(stage, X_Key="s3cret")
    made = await campaigns.clone_campaign(
        stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )
    assert await show(stage, made.id) == await show(stage)


async def test_not_while_a_run_is_live(stage):
    await put(stage)
    await runs.start(stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    with pytest.raises(ConflictError, match="while its run is active"):
        await put(stage)
    with pytest.raises(ConflictError, match="while its run is active"):
        await remove(stage)


async def test_another_application_s_campaign_is_unknown(stage, secret_box):
    other = await set_stage(stage.database, secret_box, phones(1, area=556), account="Other")
    for act in (
        pre_calls.show_fetch(stage.database, secret_box, iid=other.owner.iid, campaign_id=stage.campaign_id),
        pre_calls.remove_fetch(
            stage.database, secret_box, iid=other.owner.iid, campaign_id=stage.campaign_id, actor="test"
        ),
        pre_calls.set_fetch(
            stage.database,
            secret_box,
            iid=other.owner.iid,
            campaign_id=stage.campaign_id,
            url=URL,
            headers={},
            actor="test",
        ),
    ):
        with pytest.raises(NotFoundError, match="There is no campaign"):
            await act


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "must be an address"),
        ("crm.example.net/x", "must be an address"),
        ("ftp://crm.example.net/", "must be an address"),
        ("https:///x", "must be an address"),
        ("https://crm.example.net/ü", "must be an address"),
        ("https://crm.example.net/a b", "must be an address"),
        ("https://crm.example.net/\r\nX: y", "must be an address"),
        ("https://[::1/", "must be an address"),
        ("https://crm.example.net:99999/", "must be an address"),
        ("https://crm.example.net/#x", "fragment"),
        ("https://u:p@crm.example.net/", "credentials"),
        ("https://999.1.1.1/", "`url`"),
        # looks encoded (RFC 3492) and is not
        ("https://xn--a.example.net/", "must be an address"),
        ("https://crm.example.net/" + "x" * 2000, "at most 2000"),
    ],
)
async def test_addresses_that_cannot_be_asked(stage, url, word):
    with pytest.raises(InvalidInputError, match=word):
        await put(stage, url)


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"": "x"}, "a name that cannot be sent"),
        ({"a b": "x"}, "a name that cannot be sent"),
        ({"X:": "x"}, "a name that cannot be sent"),
        ({"host": "x"}, "outdial's to set"),
        ({"Content-Length": "1"}, "outdial's to set"),
        ({"X": "a\r\nY: b"}, "a value that cannot be sent"),
        ({"X": "ü"}, "a value that cannot be sent"),
        ({"X": " a"}, "a value that cannot be sent"),
        ({"X": "a" * 2001}, "a value that cannot be sent"),
        ({"X": "a", "x": "b"}, "a name twice"),
        ({f"X{number}": "a" for number in range(21)}, "at most 20"),
    ],
)
async def test_headers_that_cannot_be_sent(stage, headers, word):
    with pytest.raises(InvalidInputError, match=word) as caught:
        await pre_calls.set_fetch(
            stage.database,
            stage.secrets,
            iid=stage.owner.iid,
            campaign_id=stage.campaign_id,
            url=URL,
            headers=headers,
            actor="test",
        )
    assert "Y: b" not in str(caught.value)
