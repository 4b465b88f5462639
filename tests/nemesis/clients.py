"""The clients: each lives one story after the other over HTTP, against a random API process, and logs every request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import aiohttp

from nemesis.evidence import Ask
from nemesis.injector import Moments
from nemesis.plan import APIS, Step, Story
from nemesis.world import FLOW, World
from outdial.services.access import Credentials
from support.wire import ever_open

PATIENCE_SECONDS = 12.0
"""How long an answer is waited for: a stop takes four at most."""

DIALED_SECONDS = 30.0

SHARING = 2
STORIES_PER_OWNER = 450
"""An account has a thousand contact lists at most."""

EXPECTED = frozenset({200, 404, 409, 500, 503})
"""404: what was just made is asked of a process that has not seen it. 500 is the checker's."""

TRIES = 80
"""How often a stop is asked for again until it is answered 200, or 409: nothing to stop."""


def owners_needed(clients: int, seconds: float) -> int:
    """How many accounts so many clients use in that time, a story a second."""
    return -(-clients // SHARING) * (1 + int(seconds / STORIES_PER_OWNER))


def numbers(client: int) -> Iterator[str]:
    """The client's own numbers, all different, without the last three digits."""
    for place in range(200_000):
        yield f"+1{201 + client * 20 + place // 10_000}{place % 10_000:04d}"


class Client:
    """One."""

    def __init__(
        self,
        world: World,
        number: int,
        clients: int,
        lives: Iterator[Story],
        log: list[Ask],
        moments: Moments,
    ) -> None:
        self._world = world
        self._clients = clients
        self._lives = lives
        self._number = number
        self._log = log
        self._moments = moments
        self._phones = numbers(number)
        self._over = asyncio.Event()
        # of the campaign whose story is lived
        self._name = ""
        self._campaign_id = ""
        self._story: Story
        self._owner: Credentials
        self._line_place = 0
        self._mine: list[str] = []

    def finish(self) -> None:
        """End after the story that is being lived."""
        self._over.set()

    async def run(self) -> None:
        for place, story in enumerate(self._lives):
            if self._over.is_set():
                return
            self._name, self._story, self._campaign_id, self._line_place, self._mine = (
                f"c{self._number} {place}",
                story,
                "",
                0,
                [],
            )
            # two clients share an account, until it can have no more lists
            groups = -(-self._clients // SHARING)
            shared = self._number // SHARING + groups * (place // STORIES_PER_OWNER)
            self._owner = self._world.owners[shared]
            first = len(self._log)
            await self._prepare(place)
            for ask in self._log[first:]:
                # of this client: others log between
                if ask.client == self._number:
                    ask.campaign_id = self._campaign_id
            for step in story.steps:
                await asyncio.sleep(step.after)
                await self._take(step)
            await self._until_over(story.steps[-1])

    # One step

    async def _take(self, step: Step) -> None:
        match step.word:
            case "start":
                await self._trigger("play", step.api)
            case "stop" | "native-stop":
                await self._stop(step)
                await self._until_over(step)
            case "twin-stops":
                await asyncio.gather(self._stop(step), self._stop(step, other=True))
                await self._until_over(step)
            case "hung-up-stop":
                await self._stop(step, patience=0.03)
                await self._until_over(step)
            case "start-and-stop":
                await asyncio.gather(self._trigger("play", step.api), self._soon(step))
                await self._until_over(step)
            case "pause" | "resume":
                await self._native(step.word, "POST", f"/campaigns/{self._campaign_id}/{step.word}", {}, step.api)
            case "add":
                await self._add(self._new_phones(step.count), step.api)
            case "import":
                await self._import(step)
            case "dnc":
                await self._do_not_call(step)
            case "edit":
                self._line_place += 1
                path = f"/{self._campaign_id}"
                await self._vendor(
                    "edit", "PUT", path, self._definition(), step.api, version="v1", campaignType="voice"
                )
            case "wait":
                pass
            case "until-dialed":
                await self._until_dialed(step.count)
            case _:
                raise ValueError(step.word)

    async def _until_dialed(self, count: int) -> None:
        """Wait until the campaign has so many attempts."""
        statement = "SELECT count(*) >= $2 FROM attempts WHERE campaign_id = $1"
        async with asyncio.timeout(DIALED_SECONDS):
            while not (await self._world.fetch(statement, self._campaign_id, count))[0][0]:  # noqa: ASYNC110 - a row, no event
                await asyncio.sleep(0.01)

    async def _soon(self, step: Step) -> None:
        await asyncio.sleep(0.002 * step.count)
        await self._stop(step, other=True)

    async def _until_over(self, step: Step) -> None:
        """Ask for a stop until it is said that nothing runs any more."""
        last = self._last_stop()
        for place in range(TRIES):
            if last is not None and last.status in (200, 409):
                return
            last = await self._stop(step, turn=place)
            if last.status not in (200, 409):
                await asyncio.sleep(0.15)

    def _last_stop(self) -> Ask | None:
        """The last request of this client, where it was a stop."""
        mine = (ask for ask in reversed(self._log) if ask.client == self._number)
        last = next(mine, None)
        return last if last is not None and last.word in ("stop", "native-stop") else None

    async def _stop(self, step: Step, *, other: bool = False, turn: int = 0, patience: float = PATIENCE_SECONDS) -> Ask:
        awaited = await self._moments.before_stop()
        api = step.api + other + turn
        try:
            if step.word == "native-stop":
                body = {"ringing": step.ringing, "connected": step.connected}
                path = f"/campaigns/{self._campaign_id}/stop"
                return await self._native("native-stop", "POST", path, body, api, patience=patience)
            return await self._trigger("stop", api, patience=patience)
        finally:
            if awaited:
                self._moments.answered.set()

    # Making a campaign

    async def _prepare(self, place: int) -> None:
        """Make a list, people on it, and a campaign that dials it, however often it takes."""
        turn = place
        version = "v2"
        body = {"name": self._name, "description": "d", "source": "passiveApi"}
        while (
            await self._vendor("create-list", "POST", "/contactList/createContactList", body, turn, version=version)
        ).status not in (200, 409):
            turn += 1
            await asyncio.sleep(0.1)
        phones = self._new_phones(self._story.contacts)
        while not (await self._add(phones, turn)).ok:
            turn += 1
            await asyncio.sleep(0.1)
        while not self._campaign_id:
            ask = await self._vendor(
                "create", "POST", "", self._definition(turn), turn, version="v1", campaignType="voice"
            )
            if ask.ok:
                self._campaign_id = ask.body["data"]["id"]
            turn += 1

    def _new_phones(self, count: int) -> list[str]:
        endings = self._story.endings
        made = [f"{begin}{endings[place % len(endings)]}" for place, begin in enumerate(islice(self._phones, count))]
        self._mine += made
        return made

    def _definition(self, turn: int = 0) -> dict[str, Any]:
        # its name may be taken by a creation whose answer was lost
        body = ever_open(1, name=f"{self._name} {turn}", contactLists=[self._name], experienceFlowName=FLOW)
        caller = self._world.caller(self._story.line, self._line_place)
        strategy = {
            "callerId": {"phoneNumber": caller},
            "maxAttemptsPerRecord": 2,
            "defaultRetryPeriod": 1,
            "maxRingTime": 8,
        }
        body["dialingStrategy"] |= strategy
        return body

    async def _add(self, phones: list[str], api: int) -> Ask:
        body = {"contact_list_name": self._name, "data": [{"phoneNumber": phone} for phone in phones]}
        return await self._vendor("add", "POST", "/contactList/addContacts", body, api, version="1.1", phones=phones)

    async def _import(self, step: Step) -> None:
        """Upload a file; its rows arrive some time after."""
        name = {"listName": self._name, "fileName": "people.csv", "createList": False}
        made = await self._native("import", "POST", "/imports", name, step.api)
        if not made.ok:
            return
        one = f"/imports/{made.body['id']}"
        rows = "".join(f"{phone}\n" for phone in self._new_phones(step.count))
        await self._native("import-piece", "POST", f"{one}/pieces?offset=0", f"phone\n{rows}".encode(), step.api)
        await self._native("import-finish", "POST", f"{one}/finish", {}, step.api)

    async def _do_not_call(self, step: Step) -> None:
        found = await self._native("dnc-list", "GET", "/dnc-lists", None, step.api)
        if found.ok:
            phones = self._mine[-step.count :]
            path = f"/dnc-lists/{found.body['results'][0]['id']}/numbers"
            await self._native("dnc", "POST", path, {"phoneNumbers": phones}, step.api, phones=phones)

    # Asking

    async def _trigger(self, trigger: str, api: int, patience: float = PATIENCE_SECONDS) -> Ask:
        word = "start" if trigger == "play" else "stop"
        query = {"campaignType": "voice", "trigger": trigger}
        path = f"/{self._campaign_id}"
        return await self._vendor(word, "POST", path, {}, api, version="v1", patience=patience, **query)

    async def _vendor(
        self, word: str, method: str, path: str, body: Any, api: int, *, version: str = "v2",
        phones: list[str] | None = None, patience: float = PATIENCE_SECONDS, **query: str,
    ) -> Ask:  # fmt: skip
        owner = self._owner
        query = {"accountId": owner.account_id, **query}
        words = "&".join(f"{name}={value}" for name, value in query.items())
        full = f"/campaign/api/{version}/public/{owner.iid}/campaign{path}?{words}"
        return await self._ask(word, method, full, body, api, phones or [], patience)

    async def _native(
        self, word: str, method: str, path: str, body: Any, api: int, *,
        phones: list[str] | None = None, patience: float = PATIENCE_SECONDS,
    ) -> Ask:  # fmt: skip
        return await self._ask(word, method, f"/api/outdial{path}", body, api, phones or [], patience)

    async def _ask(
        self, word: str, method: str, path: str, body: Any, api: int, phones: list[str], patience: float
    ) -> Ask:
        owner, name = self._owner, APIS[api % len(APIS)]
        headers = {"auth": self._world.tokens[owner.iid], "iid": owner.iid, "accountId": owner.account_id}
        given = {"data": body} if isinstance(body, bytes) else {"json": body}
        entry = Ask(
            self._number, word, self._campaign_id, name, time.time_ns(), phones=list(phones), line=self._story.line
        )
        self._log.append(entry)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            timeout = aiohttp.ClientTimeout(total=patience)
            async with self._world.http.request(
                method, f"{self._world.url(name)}{path}", headers=headers, timeout=timeout, **given
            ) as answer:
                text = await answer.read()
                entry.received, entry.status = time.time_ns(), answer.status
                entry.body = await answer.json(content_type=None) if text else None
        if entry.status is not None and entry.status not in EXPECTED:
            raise RuntimeError(f"the client asked for something wrong: {word}: {entry.status} {entry.body}")
        return entry
