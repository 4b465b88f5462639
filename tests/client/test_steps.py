"""What is sent again and what never is: conversations played with scripted answers, no socket and no clock."""

from __future__ import annotations

import json
from datetime import datetime

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.client import errors, operations
from outdial.client.answers import CallingHours
from outdial.client.drafts import CampaignDraft, NewContact, Once
from outdial.client.steps import Reply, Request, error_of
from support.answers import DNC_FILE, RUN_CONTACT, STARTED, STATUS, STOPPED
from support.conversations import NO_ANSWER, NOT_SENT, play, refused, reply, site

NEVER = CallingHours(timezone="UTC", days=())


class TestReads:
    @pytest.mark.parametrize("failure", [NOT_SENT, NO_ANSWER, refused(503, "x"), refused(502, "x"), refused(504, "x")])
    def test_they_are_repeated_and_then_given_up(self, failure):
        good = play(operations.status(site(), "cd-1"), failure, failure, reply(body=STATUS))
        assert (good.answer.status, len(good.sent)) == ("Active", 3)
        bad = play(operations.status(site(), "cd-1"), failure)
        assert len(bad.sent) == 3
        assert bad.error.retryable
        assert bad.waits == [0.25, 0.5]

    @pytest.mark.parametrize("status", [400, 401, 404, 409, 412, 413, 500, 501, 418, 302])
    def test_a_refusal_is_final(self, status):
        played = play(operations.status(site(), "cd-1"), refused(status, "No."))
        assert len(played.sent) == 1
        assert (played.error.status, played.error.sentences, played.error.retryable) == (status, ("No.",), False)

    def test_the_server_says_how_long_to_wait(self):
        played = play(operations.status(site(), "cd-1"), refused(503, "x", retry_after="3"), reply(body=STATUS))
        assert played.waits == [3.0]

    def test_nobody_waits_for_ever(self):
        played = play(operations.status(site(), "cd-1"), refused(503, "x", retry_after="86400"))
        assert (played.waits, len(played.sent)) == ([], 1)

    def test_it_carries_no_key(self):
        (sent,) = play(operations.status(site(), "cd-1"), reply(body=STATUS)).sent
        assert sent.request.key is None


class TestRateLimit:
    @pytest.mark.parametrize("steps", [operations.status, operations.start, operations.delete_campaign])
    def test_what_was_not_admitted_is_sent_again(self, steps):
        limit = refused(429, "Slower.", retry_after="20")
        played = play(steps(site(), "cd-1"), limit, limit, limit, refused(404, "None."))
        assert played.waits == [20.0] * 3
        assert isinstance(played.error, errors.NotFoundError)
        assert len({sent.request.key for sent in played.sent}) == 1, "the same request is the same key"

    def test_until_patience_ends(self):
        played = play(operations.start(site(), "cd-1"), refused(429, "Slower.", retry_after="20"))
        assert played.waits == [20.0] * 3
        assert isinstance(played.error, errors.RateLimitedError)
        assert played.error.retry_after_seconds == 20
        assert play(operations.start(site(patience_seconds=0.0), "cd-1"), refused(429, "Slower.")).waits == []


class TestChanges:
    @pytest.mark.parametrize("failure", [NO_ANSWER, refused(503, "x"), refused(500, "x"), refused(502, "x")])
    @pytest.mark.parametrize("steps", [operations.start, operations.delete_campaign, operations.delete_contact_list])
    def test_what_may_have_been_done_is_never_done_again(self, steps, failure):
        assert len(play(steps(site(), "cd-1"), failure).sent) == 1

    def test_what_was_not_sent_is_sent_again(self):
        played = play(operations.start(site(), "cd-1"), NOT_SENT, NOT_SENT, reply(body=STARTED))
        assert played.answer.campaign_instance_id == "cid-1"
        assert len(play(operations.start(site(), "cd-1"), NOT_SENT).sent) == 3

    def test_with_the_servers_promise_it_is_repeated_with_one_key(self):
        promised = site(idempotent=True)
        played = play(operations.start(promised, "cd-1"), NO_ANSWER, refused(503, "x"), reply(body=STARTED))
        assert played.answer.status == "Active"
        assert len({sent.request.key for sent in played.sent}) == 1
        assert promised.headers(played.sent[0].request, now=0)["Idempotency-Key"] == played.sent[0].request.key

    def test_each_call_has_a_key_of_its_own(self):
        keys = {play(operations.start(site(), "cd-1"), reply(body=STARTED)).sent[0].request.key for _ in range(20)}
        assert len(keys) == 20

    @pytest.mark.parametrize("text", ["", "..", "cd-1/status", "cd-1?x", "a b", "ä", "x" * 101, "cd-1\n"])
    def test_an_id_that_would_name_something_else_is_not_sent(self, text):
        for steps in (operations.start, operations.stop, operations.delete_campaign, operations.delete_contact_list):
            with pytest.raises(ValueError, match="is no id"):
                next(steps(site(), text))


class TestStop:
    @pytest.mark.parametrize("failure", [NOT_SENT, NO_ANSWER, refused(503, "x"), refused(429, "x"), refused(502, "x")])
    def test_it_is_asked_until_it_is_proven(self, failure):
        played = play(operations.stop(site(), "cd-1"), *[failure] * 8, reply(body=STOPPED))
        assert (played.answer.status, len(played.sent)) == ("Stopped", 9)
        assert {sent.request.key for sent in played.sent} == {None}

    def test_until_its_deadline(self):
        played = play(operations.stop(site(), "cd-1", within_seconds=10), refused(503, "Not yet.", retry_after="1"))
        assert isinstance(played.error, errors.UnavailableError)
        assert played.error.sentences == ("Not yet.",)
        assert 8 <= sum(played.waits) <= 10

    def test_no_try_outlasts_the_deadline(self):
        played = play(operations.stop(site(), "cd-1", within_seconds=10), NO_ANSWER, seconds_each=3.0)
        times = [sent.timeout_seconds for sent in played.sent]
        assert times[0] == 10.0
        assert times == sorted(times, reverse=True)
        assert min(times) >= 1.0
        assert isinstance(played.error, errors.NoAnswerError)

    def test_once_when_there_is_no_time(self):
        played = play(operations.stop(site(), "cd-1", within_seconds=0), NOT_SENT)
        assert (len(played.sent), played.sent[0].timeout_seconds) == (1, 1.0)

    @pytest.mark.parametrize("status", [400, 401, 404, 409, 500])
    def test_a_refusal_is_final(self, status):
        assert len(play(operations.stop(site(), "cd-1"), refused(status, "No.")).sent) == 1

    @pytest.mark.parametrize(
        "body", [b"<html>Sign in</html>", b"", b"[]", b"null", b"\xff", {**STOPPED, "status": "Active"}, {"status": 1}]
    )
    def test_no_other_200_is_a_proof(self, body):
        played = play(operations.stop(site(), "cd-1"), reply(body=body, x_request_id="r-1"))
        assert isinstance(played.error, errors.NotUnderstoodError)
        assert (played.error.status, played.error.request_id) == (200, "r-1")

    def test_what_it_says(self):
        (sent,) = play(operations.stop(site(), "cd-1"), reply(body=STOPPED)).sent
        assert sent.request == Request(
            "POST", "/campaign/api/v1/public/st-1/campaign/cd-1", {"campaignType": "voice", "trigger": "stop"}, {}
        )
        steps = operations.stop(site(), "cd-1", ringing="let_ring", connected="hang_up", keep_schedule=True)
        (sent,) = play(steps, reply(body=STOPPED)).sent
        assert sent.request.body == {"ringing": "let_ring", "connected": "hang_up", "keepSchedule": True}


class TestAddingContacts:
    PEOPLE = tuple(NewContact(f"+1555010{number:04}") for number in range(250))
    GOOD = reply(body={"message": "Adding contacts to public list is in progress"})

    def test_a_hundred_at_a_time(self):
        played = play(operations.add_contacts(site(), "L", iter(self.PEOPLE)), self.GOOD)
        assert [len(sent.request.body["data"]) for sent in played.sent] == [100, 100, 50]
        assert len({sent.request.key for sent in played.sent}) == 3
        assert (played.answer.sent_count, played.answer.problems) == (250, ())

    def test_nobody_is_no_request(self):
        played = play(operations.add_contacts(site(), "L", []), self.GOOD)
        assert (played.sent, played.answer.sent_count) == ([], 0)

    def test_problems_are_told_by_the_callers_own_count(self):
        bad = reply(body={"message": "m", "problems": ["`data[3].phoneNumber` is wrong.", "`data[49]` is a list."]})
        all_bad = refused(412, "`data[0].phoneNumber` is wrong.", "`data[99].phoneNumber` is wrong.")
        played = play(operations.add_contacts(site(), "L", self.PEOPLE), self.GOOD, all_bad, bad)
        assert [(each.index, each.sentence) for each in played.answer.problems] == [
            (100, "`data[100].phoneNumber` is wrong."),
            (199, "`data[199].phoneNumber` is wrong."),
            (203, "`data[203].phoneNumber` is wrong."),
            (249, "`data[249]` is a list."),
        ]

    def test_the_first_failure_is_itself(self):
        played = play(operations.add_contacts(site(), "L", self.PEOPLE), refused(412, "`contact_list_name` is blank."))
        assert isinstance(played.error, errors.InvalidInputError)

    def test_a_later_one_says_how_far_it_came(self):
        failed = refused(503, "Away.", x_request_id="r-9")
        played = play(operations.add_contacts(site(), "L", self.PEOPLE), self.GOOD, failed)
        assert isinstance(played.error, errors.AddingBrokenOffError)
        assert played.error.added.sent_count == 100
        assert isinstance(played.error.__cause__, errors.UnavailableError)
        assert (played.error.status, played.error.request_id) == (503, "r-9")
        assert "100" in played.error.sentences[0]


def lines(*documents: object, **headers: str) -> Reply:
    return reply(body=b"".join(json.dumps(each).encode() + b"\n" for each in documents), **headers)


ADDING = {**DNC_FILE, "state": "adding", "problems": []}


class TestFiles:
    """A file of numbers: its answer begins before anybody knows how it ends, and it may be sent any number of times."""

    def failed(self, code: str, status: int, *, retryable: bool) -> Reply:
        failure = {
            "errors": [{"msg": "Line 5002 is too long.", "code": status}],
            "errorCode": code,
            "retryable": retryable,
            "requestId": "r-1",
        }
        document = {**DNC_FILE, "state": "failed", "changedCount": 5000, "line": 5001, "failure": failure}
        return lines(ADDING, document, x_request_id="r-1")

    def add(self, *outcomes, **more):
        return play(operations.add_dnc_file(site(), "cl-1", b"phone\n", **more), *outcomes)

    def test_the_last_line_is_the_answer(self):
        added = self.add(lines(ADDING, ADDING, DNC_FILE)).answer
        assert (added.rows, added.unreadable_count, added.changed_count, added.unchanged_count) == (3, 1, 1, 1)
        assert added.problems == tuple(DNC_FILE["problems"])

    @pytest.mark.parametrize("failure", [NOT_SENT, NO_ANSWER, refused(503, "x"), refused(429, "x"), refused(502, "x")])
    def test_it_is_sent_until_it_is_added(self, failure):
        played = self.add(*[failure] * 8, lines(DNC_FILE))
        assert (played.answer.changed_count, len(played.sent)) == (1, 9)
        assert {(sent.request.key, sent.request.file) for sent in played.sent} == {(None, b"phone\n")}

    def test_an_answer_without_its_end_is_none(self):
        played = self.add(lines(ADDING, ADDING), lines(DNC_FILE))
        assert (played.answer.changed_count, len(played.sent)) == (1, 2)
        ended = self.add(lines(ADDING), within_seconds=1)
        assert isinstance(ended.error, errors.NoAnswerError)
        assert ended.error.sentences == ("The answer broke off before it said that all was added.",)

    def test_a_failure_in_the_middle_is_a_refusal(self):
        played = self.add(self.failed("invalid_input", 412, retryable=False))
        assert isinstance(played.error, errors.InvalidInputError)
        assert (len(played.sent), played.error.request_id) == (1, "r-1")
        assert played.error.sentences == (
            "Line 5002 is too long.",
            "5000 numbers were added before, up to line 5001.",
        )

    def test_or_sent_again_where_that_may_help(self):
        lost = self.failed("database_unavailable", 503, retryable=True)
        assert self.add(lost, lost, lines(DNC_FILE)).answer.changed_count == 1
        ended = self.add(lost, within_seconds=2)
        assert isinstance(ended.error, errors.UnavailableError)
        assert "5000 numbers were added before" in ended.error.sentences[1]

    def test_a_refusal_is_final(self):
        for status in (400, 401, 404, 412, 413, 500):
            assert len(self.add(refused(status, "No.")).sent) == 1

    @pytest.mark.parametrize(
        "body",
        [
            *(b"", b"\n", b"<html>\nSign in\n</html>", b"[]", b"null", b"\xff"),
            *(b'{"state":"done"}', b'{"state":"added"}', b'{"state":1}', b'{"state":"added","rows":"3"}'),
        ],
    )
    def test_no_other_200_says_that_it_is_added(self, body):
        played = self.add(reply(body=body, x_request_id="r-1"))
        assert isinstance(played.error, errors.NotUnderstoodError)
        assert (played.error.status, played.error.request_id) == (200, "r-1")

    def test_wrong_arguments(self):
        with pytest.raises(ValueError, match="is no id"):
            operations.add_dnc_file(site(), "cl-1/numbers", b"")
        with pytest.raises(ValueError, match="aware"):
            operations.add_dnc_file(site(), "cl-1", b"", expires_at=datetime(2099, 1, 1))


class TestPages:
    def test_all_of_them_one_after_another(self):
        def page(*numbers: int) -> Reply:
            rows = [{**RUN_CONTACT, "phoneNumber": str(each)} for each in numbers]
            return reply(body={"data": {"results": rows, "totalResults": 5}})

        steps = operations.run_contacts(site(), "cd-1", page_size=2)
        played = play(steps, page(0, 1), page(2, 3), NO_ANSWER, page(4))
        assert [each.phone_number for each in played.items] == list("01234")
        assert [sent.request.body["page"] for sent in played.sent] == [1, 2, 3, 3]

    def test_a_page_that_is_shorter_than_asked_for_is_not_asked_for_again(self):
        """The server may give fewer at once than it is asked for, or a contact may be gone."""

        def page(*numbers: int) -> Reply:
            rows = [{**RUN_CONTACT, "phoneNumber": str(each)} for each in numbers]
            return reply(body={"data": {"results": rows, "totalResults": 5}})

        steps = operations.run_contacts(site(), "cd-1", page_size=2)
        played = play(steps, page(0), page(2, 3), page(4), page())
        assert [each.phone_number for each in played.items] == list("0234")
        assert [sent.request.body["page"] for sent in played.sent] == [1, 2, 3, 4]

    def test_a_list_that_shrinks_meanwhile_ends(self):
        empty = reply(body={"data": {"results": [], "totalResults": 5}})
        assert play(operations.campaigns(site()), empty).items == []


WHOLE_CONTACT = {"_id": "cc-1", "phoneNumber": "+1", "createdAt": "2026-03-01T10:15:00.000Z", "updatedAt": "x"}


class TestStrangeAnswers:
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"[" * 100_000, id="deep"),
            b'"text"',
            b"7",
            {},
            {"data": None},
            {"data": "id"},
            {"data": {"id": 5}},
            {"data": {"id": ""}},
            {"data": {"results": 5, "totalResults": 1}},
            {"data": {"results": [5], "totalResults": 1}},
            {"data": {"results": [{}], "totalResults": 1}},
            {"data": {"results": [WHOLE_CONTACT], "totalResults": 1}},
            {"message": 5},
            {"message": "m", "problems": [5]},
        ],
    )
    def test_each_is_one_kind_of_error(self, body):
        draft = CampaignDraft(name="C", contact_lists=("L",), caller_id="+1", calling_hours=NEVER)
        for steps in (
            operations.create_campaign(site(), draft),
            operations.get_campaign(site(), "cd-1"),
            operations.campaigns(site()),
            operations.contacts(site(), "cl-1"),
            operations.run_contacts(site(), "cd-1"),
            operations.contact_lists(site()),
            operations.add_contacts(site(), "L", [NewContact("+1")]),
            operations.start(site(), "cd-1"),
            operations.enable_schedule(site(), "cd-1", Once(datetime(2100, 1, 1), datetime(2100, 1, 2))),
        ):
            assert isinstance(play(steps, reply(body=body)).error, errors.NotUnderstoodError), steps

    def test_what_is_new_is_passed_over(self):
        new = {**STATUS, "more": [1], "data": {**STATUS["data"], "mood": "fine"}}
        assert play(operations.status(site(), "cd-1"), reply(body=new)).answer.status == "Active"


class TestErrors:
    @pytest.mark.parametrize("body", [b"", b"<html>", b'{"errors":[]}', b'{"errors":"x"}', b"\xff\xfe", b"[1]"])
    def test_an_answer_of_something_else_still_has_a_sentence(self, body):
        error = error_of(reply(502, body))
        assert error.sentences == ("The server answered 502 without saying why.",)
        assert error.retryable

    @given(st.text())
    def test_no_retry_after_is_too_strange(self, text):
        assert (error_of(reply(503, b"", retry_after=text)).retry_after_seconds or 0) < 10**9

    def test_each_has_a_code_of_its_own(self):
        kinds, waiting = [], [errors.ClientError]
        while waiting:
            kinds.append(waiting.pop())
            waiting += kinds[-1].__subclasses__()
        assert len({kind.code for kind in kinds}) == len(kinds)
        assert all(kind.__name__ in errors.__doc__ for kind in kinds)


class TestTokens:
    def test_it_is_signed_and_short_lived(self):
        made = site(account_id="a" * 24).headers(Request("GET", "/"), now=1_900_000_000.7)
        claims = jwt.decode(made["auth"], "s" * 40, algorithms=["HS256"])
        assert claims == {"sub": "cs-1", "appId": "cs-1", "exp": 1_900_000_300}
        assert (made["iid"], made["accountId"]) == ("st-1", "a" * 24)

    def test_the_secret_shows_nowhere(self):
        assert "s" * 40 not in repr(site())
