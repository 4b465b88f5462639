"""Every column that can hold a text is known to the erasure: what becomes of it, or why no number gets there.

A column that is new fails here until somebody has decided which.
"""

from __future__ import annotations

from outdial.store.erased_texts import TEXTS, VALUES

GOES = {
    # with the person's own rows (store.erasures)
    *("contacts.phone", "contacts.dedupe_phone", "contacts.time_zone", "contacts.list_id"),
    *(
        "contacts.other_phones",
        "run_contacts.phone",
        "run_contacts.phones",
        "run_contacts.dedupe_key",
        "attempts.phone",
        "transfers.phone",
        "transfers.dialed",
    ),
    *("dnc_entries.phone", "dnc_entries.dnc_list_id", "dnc_entries.added_by", "dnc_entries.source"),
    *("wide_stops.value", "watchdog_alarms.number", "signed_reports.document"),
    *("flow_outcomes.path", "flow_outcomes.flow_id", "flow_outcomes.attempt_id"),
    *("history.detail", "history.reason", "history.actor", "history.salt"),
    *("idempotency_keys.body_encrypted", "idempotency_keys.headers"),
    "erasures.number_encrypted",
} | {f"{one.table}.{one.column}" for one in (*TEXTS, *VALUES)}

IDS_AND_WORDS = {"id", "iid", "state", "kind", "scope", "source", "action", "from_state", "to_state", "disposition"}
"""Ids that outdial draws, and words of its own."""

NO_NUMBER = {
    "what the account's own people name, write and set": {
        *("accounts.name", "applications.name", "clients.name", "clients.scopes", "trunks.name", "trunks.host"),
        *("trunks.transport", "trunks.username", "trunks.from_domain", "trunks.number_format", "trunks.number_prefix"),
        *("flows.name", "flows.document", "flow_sounds.file", "campaigns.name", "campaigns.description"),
        *("campaigns.mode", "campaigns.rules", "campaigns.queue_name", "contact_lists.name", "runs.rules"),
        *("contact_lists.description", "dnc_lists.name", "schedules.definition", "pre_call_fetches.url"),
        *("webhooks.url", "webhooks.events", "webhooks.disabled_reason", "attempt_limits.matter"),
        *("attempt_limits.preset", "imports.list_name", "imports.sheet", "imports.default_region"),
        *("emergency_stops.reason", "emergency_stops.lift_reason", "idempotency_keys.key", "used_tokens.jti"),
        *("caller_ids.phone", "attempts.caller_id", "watchdog_alarms.caller", "rate_budgets.key"),
    },
    "who did something: a client, a command's user, a node": {
        *("created_by", "updated_by", "changed_by", "requested_by", "declared_by", "lifted_by", "retired_by"),
        "machine_reviews.reviewed_by",
        "run_contacts.asked_by",
    },
    "what an engine or a machine is called, and what outdial counts and hashes": {
        *("engines.url", "engines.username", "nodes.name", "nodes.host", "nodes.stasis_app", "nodes.adopted_by"),
        *("run_engines.key", "run_engines.host", "run_nodes.making_key", "attempts.permit", "run_turns.held_by"),
        *("recordings.step", "recordings.sha256", "recordings.host", "recordings.file", "flow_sounds.audio"),
        *("watchdog_alarms.breaches", "watchdog_alarms.engine_name", "watchdog_alarms.call_id"),
        *("watchdog_alarms.permit", "watchdog_alarms.source", "watchdog_alarms.destination", "watchdog_alarms.fence"),
        *("runs.stop_report", "wide_stops.number_report", "erasures.counts", "erasures.connected"),
        *("webhook_deliveries.event", "webhook_lanes.lease", "idempotency_keys.claim", "imports.runner"),
        *("attempts.detection", "machine_reviews.actual"),
        *("schedule_occurrences.outcome", "transfers.outcome", "run_contacts.done_reason"),
        *("run_contacts.last_disposition", "attempt_limits.counts", "signing_keys.public_key"),
        *("idempotency_keys.fingerprint", "alembic_version.version_num", "contact_lists.source", "empty_months.name"),
    },
}


def _is_known(table: str, column: str) -> bool:
    # a row is moved from the one to the other as it is
    name = f"{table.replace('old_attempts', 'attempts')}.{column}"
    plain = {known for reason in NO_NUMBER.values() for known in reason}
    if name in GOES or name in plain or column in plain or column in IDS_AND_WORDS:
        return True
    # references, keyed hashes, digests and secrets of machines
    endings = ("_id", "_ids", "sha256", "_hmac", "_encrypted", "instance_id")
    return column.endswith(endings)


async def test_each_column_that_can_hold_a_text_is_known_to_the_erasure(database):
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT c.table_name, c.column_name FROM information_schema.columns c
              JOIN information_schema.tables t USING (table_schema, table_name)
             WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
               AND (c.data_type IN ('text', 'character varying', 'json', 'jsonb', 'bytea') OR c.udt_name = '_text')
            """
        )
    there = {f"{row['table_name']}.{row['column_name']}" for row in rows}
    unknown = sorted(f"{table}.{column}" for table, column in rows if not _is_known(table, column))
    assert unknown == [], "decide what an erasure does with them: GOES, or NO_NUMBER with its reason"
    # and nothing is listed that has gone
    listed = GOES | {name for reason in NO_NUMBER.values() for name in reason if "." in name}
    assert sorted(listed - there) == []
