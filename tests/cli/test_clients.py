"""``outdial client``."""

from __future__ import annotations

import jwt
import pytest


def test_a_client_is_made_listed_changed_rotated_and_revoked(outdial, created):
    made = outdial("client", "create", "--name", "crm", "--scope", "do_not_call", "--require-jti", "--json").json
    assert list(made) == ["clientId", "clientSecret"]
    first, second = outdial("client", "list", "--json").json
    assert (first["id"], first["scopes"]) == (
        created["clientId"],
        ["campaign_management", "configuration", "do_not_call"],
    )
    assert (second["name"], second["scopes"], second["requireJti"]) == ("crm", ["do_not_call"], True)

    client = made["clientId"]
    changed = outdial("client", "change", client, "--scope", "configuration", "--no-require-jti")
    assert changed.stdout == "Client crm may do: configuration.\n"
    found = outdial("client", "change", client, "--name", "erp", "--json").json
    assert (found["name"], found["scopes"], found["requireJti"]) == ("erp", ["configuration"], False)

    rotated = outdial("client", "rotate", client, "--overlap-seconds", 60, "--json").json
    assert rotated["clientSecret"] != made["clientSecret"]
    token = outdial("token", "--client-id", client).stdout.strip()
    assert jwt.decode(token, rotated["clientSecret"], algorithms=["HS256"])

    assert outdial("client", "revoke", client).stdout == "Client erp is revoked.\n"
    assert outdial("client", "revoke", client, "--json").json["revokedAt"]
    assert outdial("token", "--client-id", client).code == 1
    table = outdial("client", "list").stdout
    assert "erp" in table
    assert rotated["clientSecret"] not in table


def test_without_scopes_it_may_do_everything(outdial, created):
    outdial("client", "create", "--name", "all")
    assert len(outdial("client", "list", "--json").json[1]["scopes"]) == 3


def test_people_see_the_secret_and_how_to_use_it(outdial, created):
    done = outdial("client", "rotate", created["clientId"])
    assert "clientSecret" in done.stdout
    assert "outdial token --client-id cs-" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("change", "cs-nobody", "--name", "x"),
        ("rotate", "cs-nobody"),
        ("revoke", "cs-nobody"),
        ("create", "--name", ""),
    ],
)
def test_what_cannot_be_is_said(outdial, created, words):
    done = outdial("client", *words)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.strip()
