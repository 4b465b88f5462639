"""outdial's own surface: who comes in, the application, its clients."""

from __future__ import annotations

import time

import jwt
import pytest

from support.native import BASE, Native, sentences
from support.wire import Tenant


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


def signed(client_id: str, secret: str, **claims) -> str:
    return jwt.encode({"appId": client_id, "exp": int(time.time()) + 60, **claims}, secret, algorithm="HS256")


async def made(native: Native, **changed) -> tuple[str, str]:
    body = {"name": "crm", "scopes": ["do_not_call"], **changed}
    answer = await native.done("POST", "/clients", body)
    return answer["client"]["id"], answer["secret"]


class TestDoor:
    async def get(self, tenant: Tenant, headers) -> int:
        return (await tenant.http.get(f"{BASE}/application", headers=headers)).status_code

    async def test_either_header_will_do(self, tenant):
        token = tenant.token()
        for headers in (
            {"auth": token},
            {"Authorization": f"Bearer {token}"},
            {"authorization": f"bearer  {token} "},
            {"auth": token, "Authorization": f"Bearer {token}"},
        ):
            assert await self.get(tenant, headers) == 200

    async def test_what_is_no_token(self, tenant, other):
        for headers in (
            {},
            {"Authorization": tenant.token()},
            {"Authorization": f"Basic {tenant.token()}"},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer "},
            {"auth": tenant.token(), "Authorization": f"Bearer {other.token()}"},
            [("auth", tenant.token()), ("auth", other.token())],
            {"auth": tenant.token(key="k" * 40)},
            {"auth": tenant.token(exp=1)},
        ):
            assert await self.get(tenant, headers) == 401

    async def test_each_scope_opens_its_own_doors_only(self, native):
        doors = {
            "campaign_management": "/campaigns/cd-1",
            "configuration": "/application",
            "do_not_call": "/dnc-lists",
        }
        for scope in doors:
            client = Native(native.tenant, signed(*await made(native, scopes=[scope])))
            for needed, path in doors.items():
                answer = await client.ask("GET", path)
                assert answer.status_code == (401 if needed != scope else 404 if path.endswith("cd-1") else 200)
                if needed != scope:
                    assert answer.json()["errors"][0]["msg"] == "Permission denied. Scope is incorrect!"
        vendor = native.tenant.headers(auth=signed(*await made(native, scopes=["configuration", "do_not_call"])))
        assert (await native.tenant.http.get(native.tenant.url("/cd-1"), headers=vendor)).status_code == 401

    async def test_failures_say_more_than_the_vendors(self, native):
        failure = await native.refused(404, "GET", "/flows/cf-1")
        assert failure["errorCode"] == "not_found"
        assert failure["errors"] == [{"msg": "There is no flow cf-1.", "code": 404}]
        assert (await native.refused(404, "GET", "/nowhere"))["errorCode"] == "not_found"
        assert (await native.refused(405, "PUT", "/application"))["errorCode"] == "method_not_allowed"
        assert (await native.refused(412, "POST", "/clients", {}))["errorCode"] == "invalid_input"
        assert (await native.refused(400, "POST", "/clients", headers={"Idempotency-Key": ""}))["errorCode"] == (
            "bad_request"
        )

    async def test_every_wrong_field_and_every_unknown_one_is_named(self, native):
        failure = await native.refused(
            412, "POST", "/clients", {"scopes": ["root"], "requireJti": "yes", "requireJTI": True, "name": 5}
        )
        assert sorted(sentences(failure)) == [
            "`name` must be text, not the number 5.",
            "`requireJTI` is no field of this request.",
            "`requireJti` must be true or false, not 'yes'.",
            (
                "`scopes[0]` must be 'campaign_management', 'configuration', 'do_not_call', 'account_stop' or "
                "'personal_data', not 'root'."
            ),
        ]


class TestApplication:
    async def test_get_and_change(self, native):
        found = await native.done("GET", "/application")
        assert found == {
            "iid": native.tenant.iid,
            "name": "Support",
            "accountId": native.tenant.account_id,
            "accountName": "Acme",
            "maxConcurrentCalls": None,
        }
        changed = await native.done("PATCH", "/application", {"maxConcurrentCalls": 5})
        assert (changed["name"], changed["maxConcurrentCalls"]) == ("Support", 5)
        changed = await native.done("PATCH", "/application", {"name": "Reminders"})
        assert (changed["name"], changed["maxConcurrentCalls"]) == ("Reminders", 5)
        changed = await native.done("PATCH", "/application", {"maxConcurrentCalls": None})
        assert changed["maxConcurrentCalls"] is None
        assert await native.done("PATCH", "/application") == changed

    async def test_what_cannot_be(self, native, sibling):
        for body in ({"maxConcurrentCalls": 0}, {"name": ""}, {"name": None}, {"name": "x" * 49}, {"iid": "st-1"}):
            assert (await native.refused(412, "PATCH", "/application", body))["errorCode"] == "invalid_input"
        assert (await native.refused(409, "PATCH", "/application", {"name": "Sales"}))["errorCode"] == "conflict"


class TestClients:
    async def test_a_client_is_made_and_works(self, native):
        client_id, secret = await made(native)
        client = Native(native.tenant, signed(client_id, secret))
        await client.done("GET", "/dnc-lists")
        listed = (await native.done("GET", "/clients"))["results"]
        assert [one["name"] for one in listed] == ["first", "crm"]
        assert listed[1] == await native.done("GET", f"/clients/{client_id}")
        assert secret not in str(listed)

    async def test_a_change_counts_at_once(self, native):
        client_id, secret = await made(native)
        client = Native(native.tenant, signed(client_id, secret, jti="j1"))
        await client.done("GET", "/dnc-lists")
        changed = await native.done("PATCH", f"/clients/{client_id}", {"scopes": ["configuration"]})
        assert (changed["scopes"], changed["requireJti"], changed["name"]) == (["configuration"], False, "crm")
        await client.refused(401, "GET", "/dnc-lists")
        await client.done("GET", "/application")
        await native.done("PATCH", f"/clients/{client_id}", {"requireJti": True})
        await client.done("GET", "/application")
        await client.refused(401, "GET", "/application")

    async def test_a_rotation_with_and_without_overlap(self, native):
        client_id, secret = await made(native)
        rotated = await native.done("POST", f"/clients/{client_id}/rotate", {"overlapSeconds": 60})
        assert rotated["client"]["previousSecretValidUntil"].endswith("Z")
        for one in (secret, rotated["secret"]):
            await Native(native.tenant, signed(client_id, one)).done("GET", "/dnc-lists")
        last = await native.done("POST", f"/clients/{client_id}/rotate")
        assert last["client"]["previousSecretValidUntil"] is None
        for one in (secret, rotated["secret"]):
            await Native(native.tenant, signed(client_id, one)).refused(401, "GET", "/dnc-lists")
        await Native(native.tenant, signed(client_id, last["secret"])).done("GET", "/dnc-lists")

    async def test_a_revocation_counts_at_once(self, native):
        client_id, secret = await made(native)
        await native.done("POST", f"/clients/{client_id}/rotate", {"overlapSeconds": 60})
        revoked = await native.done("POST", f"/clients/{client_id}/revoke")
        assert revoked["revokedAt"]
        await Native(native.tenant, signed(client_id, secret)).refused(401, "GET", "/dnc-lists")
        assert await native.done("POST", f"/clients/{client_id}/revoke") == revoked
        failure = await native.refused(409, "POST", f"/clients/{client_id}/rotate")
        assert failure["errorCode"] == "conflict"

    async def test_nobody_rises_by_making_or_rotating_another(self, native):
        weak = Native(native.tenant, signed(*await made(native, scopes=["configuration"])))
        strong = native.tenant.credentials.client_id
        for method, path, body in (
            ("POST", "/clients", {"name": "x", "scopes": ["configuration", "do_not_call"]}),
            ("POST", f"/clients/{strong}/rotate", {}),
            ("PATCH", f"/clients/{strong}", {"scopes": ["configuration"]}),
        ):
            assert (await weak.refused(403, method, path, body))["errorCode"] == "forbidden"
        await weak.done("POST", "/clients", {"name": "x", "scopes": ["configuration"]})

    async def test_a_key_replays_the_secret_instead_of_making_another_client(self, native):
        body, headers = {"name": "crm", "scopes": ["do_not_call"]}, {"Idempotency-Key": "k1"}
        first = await native.ask("POST", "/clients", body, headers=headers)
        second = await native.ask("POST", "/clients", body, headers=headers)
        assert (second.content, second.headers["Idempotent-Replay"]) == (first.content, "true")
        assert len((await native.done("GET", "/clients"))["results"]) == 2
        failure = await native.refused(422, "POST", "/clients", {**body, "name": "erp"}, headers=headers)
        assert failure["errorCode"] == "key_reused"


class TestLimit:
    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"rate_limit_per_minute": 8})

    async def test_both_surfaces_are_counted_together(self, native):
        for _ in range(20):
            answer = await native.ask("GET", "/application")
            if answer.status_code == 429:
                break
        failure = await native.refused(429, "GET", "/application")
        assert failure["errorCode"] == "rate_limited"
        assert failure["retryable"]
        assert (await native.tenant.ask("GET", "/cd-1")).status_code == 429
        # a stop is neither counted nor refused
        assert (await native.ask("POST", "/campaigns/cd-1/stop")).status_code == 404
