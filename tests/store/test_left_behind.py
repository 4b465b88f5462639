"""What dead nodes have left is looked at engine by engine."""

from __future__ import annotations

from datetime import timedelta

from outdial.store import attempts, nodes
from store.test_reserve import add_node, ask, node, people, run, stage, wish  # noqa: F401 - three are fixtures


async def test_no_engine_and_nothing_known_keeps_the_others_from_being_settled(database, secret_box, run, node):  # noqa: F811
    await ask(database, run, node, wish((await people(database, run))[:3]))
    await add_node(database, secret_box, "n2")
    async with database.connection() as connection:
        await connection.execute("UPDATE nodes SET lease_until = clock_timestamp() - interval '1 s' WHERE id = 'n1'")
        await nodes.take_over(connection, "n2", "e1", foreign_grace=timedelta(0))
        first, second, third = [one.id for one in await attempts.live_of_nodes_adopted_by(connection, "n2", 9)]
        assert [one.id for one in await attempts.live_of_nodes_adopted_by(connection, "n2", 1)] == [first]
        assert [one.id for one in await attempts.live_of_nodes_adopted_by(connection, "n2", 1, [first])] == [second]
        # the oldest is at an engine that cannot be asked
        await connection.execute("INSERT INTO engines (id, kind) VALUES ('e2', 'simulated')")
        await connection.execute("UPDATE attempts SET engine_id = 'e2' WHERE id = ANY ($1)", [first, second])
        found = await attempts.live_of_nodes_adopted_by(connection, "n2", 1)
        assert [one.id for one in found] == [first, third]
