-- Access: clients whose secrets turn over, tokens that serve once, requests that are carried out once, and how many
-- requests an account has made.

ALTER TABLE clients
    ADD COLUMN name text NOT NULL DEFAULT '',
    -- the secret before the last rotation, until both ends have changed over
    ADD COLUMN previous_secret_encrypted bytea,
    ADD COLUMN previous_valid_until timestamptz,
    ADD COLUMN require_jti boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT clients_previous CHECK ((previous_secret_encrypted IS NULL) = (previous_valid_until IS NULL));
CREATE INDEX clients_application ON clients (iid, created_at);

-- Ids (jti) of tokens that have served, where the client's tokens serve once; the primary key is the referee.
CREATE TABLE used_tokens (
    client_id text NOT NULL REFERENCES clients,
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (client_id, jti)
);
CREATE INDEX used_tokens_expiry ON used_tokens (expires_at);

-- Requests with an Idempotency-Key. A row is claimed before the request is carried out, and carried_out_at is set in
-- the transaction that carries it out, if the claim is still the same: so a claim that is taken over after a crash
-- can never be carried out as well.
CREATE TABLE idempotency_keys (
    client_id text NOT NULL REFERENCES clients,
    key text NOT NULL,
    -- SHA-256 of method, path, query and body
    fingerprint bytea NOT NULL,
    claim text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_until timestamptz NOT NULL,
    carried_out_at timestamptz,
    status smallint,
    headers jsonb,
    -- answers may hold a new client's secret
    body_encrypted bytea,
    PRIMARY KEY (client_id, key),
    CHECK ((status IS NULL) = (headers IS NULL)),
    CHECK ((status IS NULL) = (body_encrypted IS NULL))
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (claimed_at);

-- How many requests an account has made, by the second, in a ring of 61. Unlogged: what a crash of the server forgets
-- is at most a minute of counting, and no request waits for a disk.
CREATE UNLOGGED TABLE request_counts (
    account_id text PRIMARY KEY,
    -- seconds since 1970 of the newest count
    second bigint NOT NULL,
    -- place second % 61, 1-based
    counts integer[] NOT NULL
) WITH (fillfactor = 50);

-- Counts a request of an account, unless p_limit of the last sixty seconds are counted already; returns the seconds to
-- wait, 0 when it is counted. Seconds are counted whole, so any sixty seconds hold at most p_limit and the wait is at
-- most one second too long. The row is locked for this one statement only, whatever becomes of the client.
CREATE FUNCTION outdial_admit(p_account_id text, p_limit integer, p_at timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_second bigint := floor(extract(epoch FROM p_at));
    v_newest bigint;
    v_counts integer[];
    v_oldest bigint;
    v_count bigint;
BEGIN
    INSERT INTO request_counts (account_id, second, counts) VALUES (p_account_id, v_second, array_fill(0, ARRAY[61]))
        ON CONFLICT DO NOTHING;
    SELECT second, counts INTO v_newest, v_counts FROM request_counts WHERE account_id = p_account_id FOR UPDATE;
    -- a clock that was stepped back must not open the window
    v_second := greatest(v_second, v_newest);
    FOR v_gone IN greatest(v_newest + 1, v_second - 60) .. v_second LOOP
        v_counts[v_gone % 61 + 1] := 0;
    END LOOP;
    SELECT sum(n), min(v_second - (v_second - place + 1 + 61 * 61) % 61) FILTER (WHERE n > 0)
      INTO v_count, v_oldest FROM unnest(v_counts) WITH ORDINALITY AS c (n, place);
    IF v_count >= p_limit THEN
        RETURN greatest(1, ceil(v_oldest + 61 - extract(epoch FROM p_at)));
    END IF;
    v_counts[v_second % 61 + 1] := v_counts[v_second % 61 + 1] + 1;
    UPDATE request_counts SET second = v_second, counts = v_counts WHERE account_id = p_account_id;
    RETURN 0;
END $$;

-- Flows that are removed keep their rows for the runs that named them; their audio goes.
ALTER TABLE flows ADD COLUMN removed_at timestamptz;
DROP INDEX flows_name;
CREATE UNIQUE INDEX flows_name ON flows (iid, lower(name)) WHERE removed_at IS NULL;

-- A run's own history, among the millions of rows its contacts have.
CREATE INDEX history_run_moves ON history (run_id, id) WHERE action = 'run';
