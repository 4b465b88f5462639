"""Who gets in and who does not; the answer to those who do not tells them nothing."""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import time
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from outdial import clock
from outdial.api import auth
from outdial.services import access, clients
from support.wire import Tenant, errors

CREDENTIALS = "Invalid SDK credentials"
TOKEN = "Invalid JWT token"
SCOPE = "Permission denied. Scope is incorrect!"


@pytest.fixture
async def campaign_id(tenant) -> str:
    return await tenant.create_campaign()


async def refused(
    tenant: Tenant, headers: dict[str, str] | list[tuple[str, str]], *, message: str, **query: str
) -> None:
    """Every kind of request is refused alike, before anything else is looked at."""
    for method, path in (
        ("GET", "/cd-unknown"),
        ("POST", "/cd-unknown"),
        ("POST", ""),
        ("DELETE", "/contactList/cl-unknown"),
        ("POST", "/getAllCampaignDetails"),
    ):
        answer = await tenant.http.request(method, tenant.url(path), headers=headers, params=query, content=b"{")
        assert answer.status_code == 401
        assert (
            answer.content == json.dumps({"errors": [{"msg": message, "code": 4002}]}, separators=(",", ":")).encode()
        )


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_good_token_gets_in(tenant, campaign_id):
    now = time.time()
    for claims in (
        {},
        {"sub": 5},
        {"aud": "https://idproxy.example/authorize", "iss": "me", "jti": 7},
        {"exp": now + 60, "nbf": now - 60, "iat": now - 60},
        {"iat": now + 5, "nbf": now + 5},
    ):
        headers = tenant.headers(auth=tenant.token(**claims))
        assert (await tenant.http.get(tenant.url(f"/{campaign_id}"), headers=headers)).status_code == 200
    bare = jwt.encode({"appId": tenant.credentials.client_id}, tenant.credentials.client_secret)
    answer = await tenant.http.get(tenant.url(f"/{campaign_id}"), headers={"auth": bare})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "names", [("AUTH", "IID", "ACCOUNTID"), ("Auth", "IId", "accountid"), ("auth", "iId", "AccountId")]
)
async def test_headers_in_any_case(tenant, campaign_id, names):
    values = (tenant.token(), tenant.iid, tenant.account_id)
    answer = await tenant.http.get(tenant.url(f"/{campaign_id}"), headers=dict(zip(names, values, strict=True)))
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["iid", "accountId"])
async def test_headers_that_older_documents_omit(tenant, campaign_id, name):
    headers = tenant.headers(**{name: None})
    assert (await tenant.http.get(tenant.url(f"/{campaign_id}"), headers=headers)).status_code == 200


async def test_the_account_may_come_in_the_query(tenant, campaign_id):
    url = tenant.url(f"/{campaign_id}")
    for headers in (tenant.headers(), tenant.headers(accountId=None)):
        answer = await tenant.http.get(url, headers=headers, params={"accountId": tenant.account_id})
        assert answer.status_code == 200


async def test_no_token(tenant):
    await refused(tenant, tenant.headers(auth=None), message=CREDENTIALS)
    await refused(tenant, tenant.headers(auth=""), message=CREDENTIALS)
    bearer = {"authorization": f"Bearer {tenant.token()}"}
    await refused(tenant, tenant.headers(auth=None) | bearer, message=CREDENTIALS)


async def test_a_token_that_cannot_be_read(tenant):
    for token in (
        "x",
        "Bearer x.y.z",
        "a.b.c",
        "..",
        "a.b",
        "ä.ö.ü".encode("latin-1").decode("latin-1"),
        segment([]) + "." + segment({}) + ".x",
        segment({"alg": "HS256"}) + "." + segment([]) + ".x",
        segment({"alg": "HS256"}) + "." + base64.urlsafe_b64encode(b"[" * 3000).decode() + ".x",
        segment({"alg": "HS256", "typ": "JWT"}) + "." + segment({"appId": "x" * 9000}) + ".x",
        segment({"alg": ["HS256"]}) + "." + segment({"appId": "x"}) + ".x",
        segment({"alg": "HS256", "crit": ["b64"], "b64": False}) + "." + segment({"appId": "x"}) + ".x",
    ):
        await refused(tenant, {**tenant.headers(), "auth": token.encode("latin-1")}, message=TOKEN)


async def test_a_token_that_only_a_kind_reader_could_read(tenant):
    """Signed with the right secret, over a text that is no token."""
    head, claims = segment({"alg": "HS256"}), segment({"appId": tenant.credentials.client_id})
    for text in (
        f"{head}.{claims[:4]}!{claims[4:]}",
        f"{head}.{claims}.x",
        f"{head}.{claims}====",
        f"{head} .{claims}",
    ):
        made = hmac.digest(tenant.credentials.client_secret.encode(), text.encode(), "sha256")
        signature = base64.urlsafe_b64encode(made).decode().rstrip("=")
        await refused(tenant, tenant.headers(auth=f"{text}.{signature}"), message=TOKEN)


async def test_a_token_signed_by_somebody_else(tenant, other):
    await refused(tenant, tenant.headers(auth=tenant.token(key="k" * 40)), message=CREDENTIALS)
    await refused(tenant, tenant.headers(auth=tenant.token(key=other.credentials.client_secret)), message=CREDENTIALS)


async def test_a_token_changed_after_signing(tenant):
    head, _, signature = tenant.token().split(".")
    changed = segment({"appId": tenant.credentials.client_id, "sub": "root"})
    await refused(tenant, tenant.headers(auth=f"{head}.{changed}.{signature}"), message=CREDENTIALS)


async def test_an_unsigned_token(tenant):
    payload = segment({"appId": tenant.credentials.client_id})
    for head, signature in itertools.product(
        ({"alg": "none"}, {"alg": "None", "typ": "JWT"}, {"alg": ""}, {}), ("", tenant.token().split(".")[2])
    ):
        await refused(tenant, tenant.headers(auth=f"{segment(head)}.{payload}.{signature}"), message=TOKEN)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_another_algorithm_with_the_right_secret(tenant, algorithm):
    await refused(tenant, tenant.headers(auth=tenant.token(algorithm=algorithm)), message=TOKEN)


async def test_another_kind_of_key(tenant):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    await refused(tenant, tenant.headers(auth=tenant.token(key=key, algorithm="RS256")), message=TOKEN)


async def test_a_token_out_of_its_time(tenant):
    for claims in (
        {"exp": 1},
        {"exp": -1},
        {"exp": "never"},
        {"exp": None},
        {"exp": []},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"nbf": 9_999_999_999},
        {"iat": 9_999_999_999},
        {"nbf": "x"},
        {"iat": {}},
    ):
        # by hand: PyJWT refuses to make some of these
        token = jwt.api_jws.encode(
            json.dumps({"appId": tenant.credentials.client_id, **claims}).encode(),
            tenant.credentials.client_secret,
            "HS256",
        )
        await refused(tenant, tenant.headers(auth=token), message=TOKEN)


async def test_a_token_that_has_just_expired(tenant):
    await refused(tenant, tenant.headers(auth=tenant.token(exp=int(time.time()))), message=TOKEN)


async def test_a_client_that_does_not_exist(tenant):
    clients = ("cs-unknown", "", None, 7, ["x"], {"a": 1}, "\0", "cs-\0", True)
    for client_id, key in itertools.product(clients, (tenant.credentials.client_secret, "k" * 40)):
        token = jwt.encode({"sub": "x", "appId": client_id}, key)
        await refused(tenant, tenant.headers(auth=token), message=CREDENTIALS)


async def test_the_claim_is_spelled_exactly(tenant):
    for name in ("appid", "AppId", "app_id", "sub"):
        token = jwt.encode({name: tenant.credentials.client_id}, tenant.credentials.client_secret)
        await refused(tenant, tenant.headers(auth=token), message=CREDENTIALS)


async def test_a_revoked_client(tenant, database):
    async with database.transaction() as connection:
        await connection.execute("UPDATE clients SET revoked_at = now() WHERE id = $1", tenant.credentials.client_id)
    await refused(tenant, tenant.headers(), message=CREDENTIALS)
    await refused(tenant, tenant.headers(auth=tenant.token(exp=1)), message=TOKEN)


async def test_a_client_without_the_scope(tenant, database):
    async with database.transaction() as connection:
        await connection.execute("UPDATE clients SET scopes = '{reports}' WHERE id = $1", tenant.credentials.client_id)
    await refused(tenant, tenant.headers(), message=SCOPE)
    await refused(tenant, tenant.headers(auth=tenant.token(key="k" * 40)), message=CREDENTIALS)


async def test_headers_that_do_not_belong_together(tenant):
    for which, value in itertools.product(
        ["iid", "accountId"], ["st-00000000-0000-4000-8000-000000000000", "0" * 24, "", "*"]
    ):
        await refused(tenant, tenant.headers(**{which: value}), message=CREDENTIALS)


async def test_another_application_of_the_same_account(tenant, sibling):
    await refused(tenant, tenant.headers(iid=sibling.iid), message=CREDENTIALS)
    await refused(tenant, sibling.headers(), message=CREDENTIALS)
    await refused(tenant, sibling.headers(iid=tenant.iid), message=CREDENTIALS)
    await refused(tenant, sibling.headers(iid=None), message=CREDENTIALS)


async def test_another_account(tenant, other):
    await refused(tenant, other.headers(), message=CREDENTIALS)
    await refused(tenant, other.headers(iid=tenant.iid, accountId=tenant.account_id), message=CREDENTIALS)
    await refused(tenant, tenant.headers(accountId=other.account_id), message=CREDENTIALS)
    await refused(tenant, tenant.headers(), message=CREDENTIALS, accountId=other.account_id)
    await refused(tenant, tenant.headers(accountId=None), message=CREDENTIALS, accountId=other.account_id)


async def test_headers_given_twice(tenant, other, campaign_id):
    url = tenant.url(f"/{campaign_id}")
    twice = [*tenant.headers().items(), ("iid", other.iid)]
    assert (await tenant.http.get(url, headers=twice)).status_code == 401
    twice = [*tenant.headers().items(), ("accountId", other.account_id)]
    assert (await tenant.http.get(url, headers=twice)).status_code == 401
    twice = [*tenant.headers().items(), ("accountId", tenant.account_id)]
    assert (await tenant.http.get(url, headers=twice)).status_code == 200
    # whose request would it be?
    for strange in (tenant.token(n=1), other.token(), "", "x"):
        for twice in ([*tenant.headers().items(), ("auth", strange)], [("auth", strange), *tenant.headers().items()]):
            await refused(tenant, twice, message=CREDENTIALS)
    headers = tenant.headers()
    twice = [*headers.items(), ("auth", headers["auth"])]
    assert (await tenant.http.get(url, headers=twice)).status_code == 200


async def test_an_application_that_does_not_exist_looks_like_somebody_elses(tenant, other):
    unknown = f"/campaign/api/v1/public/{access.Credentials.__name__}/campaign/cd-1"
    elsewhere = other.url("/cd-1")
    first = await tenant.http.get(unknown, headers=tenant.headers())
    second = await tenant.http.get(elsewhere, headers=tenant.headers())
    assert first.status_code == second.status_code == 401
    assert first.content == second.content
    assert errors(first) == [CREDENTIALS]


async def test_a_rotated_secret_counts_at_once_and_the_old_one_as_long_as_told(tenant, database, secret_box):
    asked = {"iid": tenant.iid, "client_id": tenant.credentials.client_id, "actor": "test"}
    rotated = await clients.rotate_secret(database, secret_box, **asked, overlap_seconds=60)
    for key in (tenant.credentials.client_secret, rotated.secret):
        answer = await tenant.http.get(tenant.url("/cd-1"), headers=tenant.headers(auth=tenant.token(key=key)))
        assert answer.status_code == 404
    expired = tenant.token(key=tenant.credentials.client_secret, exp=1)
    await refused(tenant, tenant.headers(auth=expired), message=TOKEN)
    last = await clients.rotate_secret(database, secret_box, **asked)
    for key in (tenant.credentials.client_secret, rotated.secret):
        await refused(tenant, tenant.headers(auth=tenant.token(key=key)), message=CREDENTIALS)
    answer = await tenant.http.get(tenant.url("/cd-1"), headers=tenant.headers(auth=tenant.token(key=last.secret)))
    assert answer.status_code == 404


class TestOneTimeTokens:
    @pytest.fixture
    async def strict(self, tenant, database):
        await clients.change_client(
            database, iid=tenant.iid, client_id=tenant.credentials.client_id, require_jti=True, actor="test"
        )
        return tenant

    async def ask(self, tenant, token: str) -> int:
        answer = await tenant.http.get(tenant.url("/cd-1"), headers=tenant.headers(auth=token))
        if answer.status_code == 401:
            assert errors(answer) == [TOKEN]
        return answer.status_code

    async def test_a_token_serves_once(self, strict):
        token = strict.token(jti="j1", exp=time.time() + 60)
        assert await self.ask(strict, token) == 404
        for _ in range(2):
            assert await self.ask(strict, token) == 401
        # another token with the same id is the same to us
        assert await self.ask(strict, strict.token(jti="j1", exp=time.time() + 90)) == 401
        assert await self.ask(strict, strict.token(jti="j2", exp=time.time() + 60)) == 404

    async def test_it_needs_an_id_and_an_end_within_a_day(self, strict):
        soon = time.time() + 60
        for claims in (
            {},
            {"jti": "j1"},
            {"exp": soon},
            {"exp": soon, "jti": ""},
            {"exp": soon, "jti": 7},
            {"exp": soon, "jti": ["x"]},
            {"exp": soon, "jti": "x" * 257},
            {"exp": soon, "jti": "\0"},
            {"exp": time.time() + 24 * 3600 + 60, "jti": "j1"},
        ):
            payload = {"appId": strict.credentials.client_id, **claims}
            token = jwt.api_jws.encode(json.dumps(payload).encode(), strict.credentials.client_secret, "HS256")
            assert await self.ask(strict, token) == 401
        assert await self.ask(strict, strict.token(jti="x" * 256, exp=time.time() + 24 * 3600 - 60)) == 404

    async def test_a_refused_token_is_not_used_up(self, strict):
        token = strict.token(jti="j1", exp=time.time() + 60)
        forged = strict.headers(auth=strict.token(key="k" * 40, jti="j1", exp=time.time() + 60))
        assert (await strict.http.get(strict.url("/cd-1"), headers=forged)).status_code == 401
        assert await self.ask(strict, token) == 404

    async def test_a_request_with_a_key_uses_its_token_once(self, strict):
        headers = strict.headers(auth=strict.token(jti="j1", exp=time.time() + 60))
        answer = await strict.http.post(
            strict.url("/contactList/createContactList"),
            json={"name": "x", "description": "", "source": "passiveApi"},
            headers={**headers, "Idempotency-Key": "k"},
        )
        assert answer.status_code == 200


async def test_what_is_known_of_a_token_lets_nobody_in_by_itself(tenant, campaign_id, database, monkeypatch):
    """A signature is checked once; all else is looked at for each request."""
    token = tenant.token(exp=time.time() + 60)
    headers, url = tenant.headers(auth=token), tenant.url(f"/{campaign_id}")

    async def status() -> int:
        return (await tenant.http.get(url, headers=headers)).status_code

    checked = []
    real = auth._verified
    monkeypatch.setattr(auth, "_verified", lambda *given: checked.append(given) or real(*given))
    assert [await status(), await status()] == [200, 200]
    assert len(checked) == 1

    later = clock.now() + timedelta(seconds=61)
    with monkeypatch.context() as then:
        then.setattr(auth.clock, "now", lambda: later)
        await refused(tenant, headers, message=TOKEN)
    assert await status() == 200

    async with database.connection() as connection:
        change = "UPDATE clients SET scopes = $2 WHERE id = $1"
        await connection.execute(change, tenant.credentials.client_id, ["do_not_call"])
        await refused(tenant, headers, message=SCOPE)
        await connection.execute(change, tenant.credentials.client_id, sorted(clients.SCOPES))
    assert await status() == 200
    assert len(checked) == 1
    # nor does a token of the same claims that somebody else has signed
    await refused(tenant, tenant.headers(auth=f"{token[:-4]}AAAA"), message=CREDENTIALS)
    async with database.connection() as connection:
        await connection.execute("UPDATE clients SET revoked_at = now()")
    await refused(tenant, headers, message=CREDENTIALS)


async def test_no_more_tokens_are_remembered_than_there_is_room_for(tenant, campaign_id, monkeypatch):
    monkeypatch.setattr(auth, "MOST_PROVEN", 3)
    monkeypatch.setattr(auth, "_proven", {})
    for number in range(6):
        headers = tenant.headers(auth=tenant.token(n=number))
        assert (await tenant.http.get(tenant.url(f"/{campaign_id}"), headers=headers)).status_code == 200
    assert len(auth._proven) == 3
    strange = tenant.headers(auth=tenant.token(key="k" * 40))
    await refused(tenant, strange, message=CREDENTIALS)
    assert len(auth._proven) == 3
