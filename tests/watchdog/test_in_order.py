"""What is in order raises no alarm: a whole run at a real Asterisk, with everything that looks like a second call."""

from __future__ import annotations

from dialer.test_run import fetch
from outdial.services import runs
from support.asterisk import watched_asterisk as watched_asterisk_fixture
from waiting import until
from watching_scene import PEOPLE, SILENT, dialed, node, set_scene

watched_asterisk = watched_asterisk_fixture


async def test_a_run_in_order_raises_no_alarm(watched_asterisk, database, dsn, tmp_path):
    async with set_scene(watched_asterisk, database, dsn, tmp_path, (*PEOPLE, SILENT)) as scene:
        await _run(scene)


async def _run(scene):
    async with node(scene):
        run = await dialed(scene, len(PEOPLE) + 1)
        (answered,) = scene.peer.of_number(PEOPLE[0])
        await scene.peer.until(lambda: answered.acknowledged_at is not None)
        scene.peer.renew(answered.call_id)
        await scene.peer.until(lambda: answered.call_id in scene.peer.renewed)
        # the challenged call is sent a second time, the unanswered one again and again: each is one call
        (challenged,), (silent,) = scene.peer.of_number(PEOPLE[1]), scene.peer.of_number(SILENT)
        await scene.peer.until(lambda: len(challenged.invites) == 2 and len(silent.invites) > 1)
        await until(lambda: scene.metric('invites_total{outcome="repeated"}') >= 2)
        await scene.stop()
        assert (await runs.progress(scene.stage.database, run.id)).run.state == "stopped"
        # the carrier that is silent goes on seeing its INVITE after the stop
        seen = len(silent.invites)
        await scene.peer.until(lambda: len(silent.invites) > seen)
        await until(lambda: scene.metric('invites_total{outcome="repeated"}') >= 3)
    assert scene.alarms == []
    assert scene.metric('invites_total{outcome="judged"}') == len(scene.peer.calls) == len(PEOPLE) + 1
    assert scene.metric("problems_total") == scene.metric("dropped_total") == scene.metric("alarms_total") == 0
    assert await fetch(scene.stage, "SELECT * FROM watchdog_alarms") == []
