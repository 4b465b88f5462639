"""Flows of several steps by outdial's own surface."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from outdial.api.native import lines
from sounds import tone, wav
from support.native import Native, sentences

MENU: dict[str, Any] = {
    "start": "ask",
    "sounds": {"ask": "ask.wav"},
    "steps": {"ask": {"gather": {"play": "ask"}, "choices": {"1": "yes"}}, "yes": {"result": "confirmed"}},
}
ASK = base64.b64encode(wav(tone(440, rate=8000, seconds=0.5), rate=8000)).decode()


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


def body(**more: Any) -> dict[str, Any]:
    return {"name": "Menu", "document": MENU, "sounds": {"ask.wav": ASK}, **more}


async def test_a_flow_is_added_with_its_recordings(native):
    flow = await native.done("POST", "/flows/documents", body())
    assert (flow["name"], flow["durationSeconds"], flow["document"]) == ("Menu", 0.5, MENU)
    assert await native.done("GET", f"/flows/{flow['id']}") == flow
    assert await native.done("DELETE", f"/flows/{flow['id']}") == flow


async def test_a_flow_that_only_speaks_needs_none(native):
    document = {"start": "a", "steps": {"a": {"say": "Hello {first_name|there}."}}}
    flow = await native.done("POST", "/flows/documents", {"name": "Greeting", "document": document})
    assert flow["durationSeconds"] == 0.0


async def test_all_that_is_wrong_is_said(native):
    document = MENU | {"language": "!", "steps": MENU["steps"] | {"more": {"sing": "x"}}}
    answer = await native.refused(412, "POST", "/flows/documents", body(document=document, name=""))
    assert len(sentences(answer)) == 3
    answer = await native.refused(412, "POST", "/flows/documents", body(sounds={"ask.wav": "!"}))
    assert sentences(answer) == ["`sounds.ask.wav` must be base64 (RFC 4648)."]
    answer = await native.refused(412, "POST", "/flows/documents", body(sounds={}))
    assert sentences(answer) == ["The file ask.wav is missing: the flow names it among its sounds."]


async def test_recordings_have_a_size_of_their_own(native, monkeypatch):
    large = base64.b64encode(wav(bytes(3 * 1024 * 1024), rate=16000)).decode()
    assert (await native.done("POST", "/flows/documents", body(sounds={"ask.wav": large})))["durationSeconds"] > 90
    monkeypatch.setattr(lines, "LARGEST_RECORDING", 1000)
    await native.refused(413, "POST", "/flows/documents", body(name="Again"))


async def test_a_name_is_taken_once(native):
    await native.done("POST", "/flows/documents", body())
    await native.refused(409, "POST", "/flows/documents", body(name="MENU"))
