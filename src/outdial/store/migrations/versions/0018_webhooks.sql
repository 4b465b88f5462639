-- Webhooks: who is told of what, and what became of each message. The outbox is the history itself: an event is a row
-- that was written in the transaction which changed the state, and each webhook reads the seals of its account, in which
-- every row is exactly once and none comes late (store.seals).

CREATE TABLE webhooks (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts,
    -- whose campaigns it is told of; NULL: those of every application of the account
    iid text REFERENCES applications,
    url text NOT NULL,
    events text[] NOT NULL CHECK (cardinality(events) > 0),
    secret_encrypted bytea NOT NULL,
    previous_secret_encrypted bytea,
    previous_valid_until timestamptz,
    -- while it is switched off nothing is sent and its seals are not read on: nothing is lost
    enabled boolean NOT NULL DEFAULT true,
    -- why outdial has switched it off; empty: somebody did, or it is on
    disabled_reason text NOT NULL DEFAULT '',
    -- every seal of the account up to this one has been read
    seal_number bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at timestamptz,
    CHECK ((previous_secret_encrypted IS NULL) = (previous_valid_until IS NULL))
);
CREATE INDEX webhooks_account ON webhooks (account_id) WHERE removed_at IS NULL;

-- One event for one webhook. What it says is made of the history's row each time it is sent.
CREATE TABLE webhook_deliveries (
    -- in the order in which they are sent
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id text NOT NULL REFERENCES webhooks,
    -- the run; 0: of no run
    lane bigint NOT NULL,
    history_id bigint NOT NULL,
    event text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead')),
    tries integer NOT NULL DEFAULT 0,
    -- since it came, or since it was replayed
    waiting_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    tried_at timestamptz,
    -- of the last try; NULL: there was no answer
    status smallint,
    problem text NOT NULL DEFAULT '',
    settled_at timestamptz,
    CHECK ((state = 'waiting') = (settled_at IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX webhook_deliveries_state ON webhook_deliveries (webhook_id, state, id);
-- what is kept no longer, without reading what still is
CREATE INDEX webhook_deliveries_settled ON webhook_deliveries (webhook_id, state, settled_at)
    WHERE settled_at IS NOT NULL;
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (webhook_id, lane, id) WHERE state = 'waiting';

-- What waits for one webhook of one run: sent one after the other, by one process at a time. A row is there as long as
-- something waits. Whoever sends holds a lease, not a lock: a receiver may take long, and a process may be killed.
CREATE TABLE webhook_lanes (
    webhook_id text NOT NULL REFERENCES webhooks,
    lane bigint NOT NULL,
    next_try_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease text,
    lease_until timestamptz,
    PRIMARY KEY (webhook_id, lane),
    CHECK ((lease IS NULL) = (lease_until IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
