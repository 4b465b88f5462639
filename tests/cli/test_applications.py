"""``outdial app`` and ``outdial token``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt
import pytest


def test_create_answers_exactly_the_four_values(created):
    assert list(created) == ["accountId", "iid", "clientId", "clientSecret"]
    assert created["iid"].startswith("st-")
    assert created["clientId"].startswith("cs-")
    assert len(created["accountId"]) == 24


def test_a_second_application_joins_the_account_and_a_taken_name_is_refused(outdial, created):
    second = outdial("app", "create", "--account", "Acme", "--name", "Surveys", "--json").json
    assert second["accountId"] == created["accountId"]
    taken = outdial("app", "create", "--account", "Acme", "--name", "Surveys")
    assert taken.code == 1
    assert "Surveys" in taken.stderr


def test_list_shows_them_without_secrets(outdial, created):
    outdial("app", "create", "--account", "Other", "--name", "Alerts", "--max-concurrent-calls", 7)
    found = {each["name"]: each for each in outdial("app", "list", "--json").json}
    assert found["Reminders"]["iid"] == created["iid"]
    assert (found["Alerts"]["maxConcurrentCalls"], found["Reminders"]["maxConcurrentCalls"]) == (7, None)
    table = outdial("app", "list").stdout
    assert "Reminders" in table
    assert created["clientSecret"] not in table


def test_nothing_yet_is_said(outdial):
    done = outdial("app", "list")
    assert (done.code, done.stdout) == (0, "")
    assert "outdial app create" in done.stderr


def test_people_see_the_secret_and_how_to_use_it(outdial):
    done = outdial("app", "create", "--account", "Acme", "--name", "People")
    assert "clientSecret" in done.stdout
    assert "outdial token --client-id cs-" in done.stderr


@pytest.mark.parametrize("hours", [1.0, 8.0])
def test_a_token_is_what_the_client_itself_would_sign(outdial, created, hours):
    done = outdial("token", "--client-id", created["clientId"], "--hours", hours)
    claims = jwt.decode(done.stdout.strip(), created["clientSecret"], algorithms=["HS256"])
    assert claims["appId"] == created["clientId"]
    left = datetime.fromtimestamp(claims["exp"], UTC) - datetime.now(UTC)
    assert abs(left - timedelta(hours=hours)) < timedelta(minutes=1)


def test_a_token_as_json_says_until_when(outdial, created):
    found = outdial("token", "--client-id", created["clientId"], "--json").json
    assert jwt.decode(found["token"], created["clientSecret"], algorithms=["HS256"])
    assert datetime.fromisoformat(found["expiresAt"]) > datetime.now(UTC)


def test_an_unknown_client_gets_none(outdial, created):
    done = outdial("token", "--client-id", "cs-nobody")
    assert (done.code, done.stdout) == (1, "")
    assert "'cs-nobody'" in done.stderr
