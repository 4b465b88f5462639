-- History as evidence: rows that nobody changes, seals that chain them per account, the whole story of an attempt, and
-- stop reports that are signed.

-- The transaction that wrote a row, for the sealer (store.seals): ids come in the order of writing, not of committing.
-- No lock, no second table: whoever writes history waits for nobody. Rows from before have none and are sealed by id.
ALTER TABLE history ADD COLUMN xid xid8;
ALTER TABLE history ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
CREATE INDEX history_xid ON history (xid);
-- a row is sealed in its account's chain: its own, or its run's
ALTER TABLE history ADD CONSTRAINT history_has_a_chain CHECK (account_id IS NOT NULL OR run_id IS NOT NULL);

CREATE FUNCTION outdial_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege
      USING MESSAGE = format('rows of %s are evidence: they are never changed or deleted', TG_TABLE_NAME);
END $$;
CREATE TRIGGER history_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change();
-- in every session_replication_role
ALTER TABLE history ENABLE ALWAYS TRIGGER history_stays;

-- Links of the chains, numbered 1, 2, … per account. Which rows a link holds, and in which order, is written out; all
-- hashes are SHA-256, of what core.history says.
CREATE TABLE history_seals (
    account_id text NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    from_id bigint NOT NULL,
    to_id bigint NOT NULL,
    ids bigint[] NOT NULL CHECK (cardinality(ids) > 0),
    rows_sha256 bytea NOT NULL CHECK (length(rows_sha256) = 32),
    previous_sha256 bytea NOT NULL CHECK (length(previous_sha256) = 32),
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    sealed_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, number)
);
CREATE INDEX history_seals_place ON history_seals (account_id, to_id, from_id);
CREATE TRIGGER history_seals_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON history_seals
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change();
ALTER TABLE history_seals ENABLE ALWAYS TRIGGER history_seals_stay;

-- How far sealing has come: every row of a transaction that `done` sees is in a seal, and no other.
CREATE TABLE history_sealing (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- the cluster whose transactions `done` speaks of: one that a dump was restored to counts its own
    cluster bigint,
    done pg_snapshot,
    -- rows up to here are sealed by their ids, whatever their transactions are called
    floor_id bigint NOT NULL DEFAULT 0,
    -- and not all of them are yet
    backlog boolean NOT NULL DEFAULT false,
    CHECK ((cluster IS NULL) = (done IS NULL))
);
INSERT INTO history_sealing DEFAULT VALUES;

-- An attempt's rows tell what was dialed, by which permit, and when it did what.
ALTER TABLE attempts ADD COLUMN permit text;

CREATE OR REPLACE FUNCTION outdial_history_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (account_id, campaign_id, run_id, contact_id, attempt_id, action, from_state, to_state, actor,
                         reason, detail)
    VALUES (NEW.account_id, NEW.campaign_id, NEW.run_id, NEW.contact_id, NEW.id, 'attempt',
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state, NEW.changed_by, NEW.change_reason,
            CASE WHEN TG_OP = 'INSERT' THEN
                jsonb_build_object('phone', NEW.phone, 'caller_id', NEW.caller_id, 'number', NEW.number,
                                   'trunk_id', NEW.trunk_id, 'engine_id', NEW.engine_id, 'node_id', NEW.node_id,
                                   'epoch', NEW.epoch)
            WHEN NEW.state IN ('answered', 'ended', 'unknown') THEN
                -- every instant that is known by then, those of the states between too
                jsonb_strip_nulls(jsonb_build_object(
                    'permit', NEW.permit, 'dialed_at', NEW.dialed_at, 'ringing_at', NEW.ringing_at,
                    'answered_at', NEW.answered_at, 'ended_at', NEW.ended_at, 'disposition', NEW.disposition,
                    'cause', NEW.cause, 'sip_code', NEW.sip_code))
            END);
    RETURN NULL;
END $$;

-- Booking takes the permit along. Patched where it stands, so that whatever else booking does stays as it is.
DO $$
DECLARE
    v_old text := pg_get_functiondef('outdial_book(jsonb)'::regprocedure);
    v_new text;
BEGIN
    v_new := replace(v_old, 'id text, state text, disposition text,', 'id text, state text, permit text, disposition text,');
    v_new := replace(v_new, 'SET state = n.state, disposition = n.disposition,',
                     'SET state = n.state, permit = coalesce(a.permit, n.permit), disposition = n.disposition,');
    IF length(v_new) <> length(v_old) + length('permit text, ') + length('permit = coalesce(a.permit, n.permit), ') THEN
        RAISE 'outdial_book is not what this migration knows';
    END IF;
    EXECUTE v_new;
END $$;

CREATE OR REPLACE FUNCTION outdial_history_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (account_id, campaign_id, run_id, action, from_state, to_state, actor, reason, detail)
    VALUES (NEW.account_id, NEW.campaign_id, NEW.id, 'run', CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state,
            NEW.changed_by, NEW.change_reason,
            jsonb_build_object('epoch', NEW.epoch, 'instance_id', NEW.instance_id));
    RETURN NULL;
END $$;

-- When a node said that it has dropped a run.
ALTER TABLE run_nodes ADD COLUMN dropped_at timestamptz;

-- Keys that reports are signed with: one in use, the others kept so that what they have signed can be checked.
CREATE TABLE signing_keys (
    -- SHA-256 of the public key, hexadecimal
    id text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{64}$'),
    public_key bytea NOT NULL CHECK (length(public_key) = 32),
    -- gone with its rotation
    private_key_encrypted bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    retired_at timestamptz,
    CHECK ((private_key_encrypted IS NULL) = (retired_at IS NOT NULL))
);
CREATE UNIQUE INDEX signing_keys_in_use ON signing_keys ((true)) WHERE retired_at IS NULL;

-- Signed reports, byte for byte as they were signed; the primary key is the referee: a stop is signed once.
CREATE TABLE signed_reports (
    run_id bigint PRIMARY KEY REFERENCES runs,
    key_id text NOT NULL REFERENCES signing_keys,
    head_number bigint NOT NULL,
    head_sha256 bytea NOT NULL,
    document bytea NOT NULL,
    signed_at timestamptz NOT NULL
);
CREATE TRIGGER signed_reports_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON signed_reports
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change();
ALTER TABLE signed_reports ENABLE ALWAYS TRIGGER signed_reports_stay;
