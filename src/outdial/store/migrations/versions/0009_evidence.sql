-- History as evidence: rows that nobody changes, seals that chain them per account, the whole story of an attempt, and
-- stop reports that are signed.

-- The transaction that wrote a row, for the sealer (store.seals): ids come in the order of writing, not of committing.
-- No lock, no second table: whoever writes history waits for nobody. Rows from before have none and are sealed by id.
ALTER TABLE history ADD COLUMN xid xid8;
ALTER TABLE history ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
CREATE INDEX history_xid ON history (xid);
-- it takes the place of this one, which only rows of campaigns themselves need: those of runs are found by their run
DROP INDEX history_campaign;
CREATE INDEX history_campaign ON history (campaign_id, id) WHERE run_id IS NULL;
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
                                   'epoch', NEW.epoch, 'callback_at', NEW.callback_at)
            WHEN NEW.state IN ('answered', 'ended', 'unknown') THEN
                -- every instant that is known by then, those of the states between too
                jsonb_strip_nulls(jsonb_build_object(
                    'permit', NEW.permit, 'dialed_at', NEW.dialed_at, 'ringing_at', NEW.ringing_at,
                    'answered_at', NEW.answered_at, 'ended_at', NEW.ended_at, 'disposition', NEW.disposition,
                    'cause', NEW.cause, 'sip_code', NEW.sip_code,
                    -- whatever it said of the person is for the campaign, not for ever
                    'pre_call', NEW.pre_call - 'data'))
            END);
    RETURN NULL;
END $$;

-- Books what became of attempts, and with each what becomes of its contact. News is an array of
--   {id, state, disposition, cause, sip_code, dialed_at, ringing_at, answered_at, ended_at, reason, by,
--    permit, pre_call, contact: {state, after_seconds, done_reason, uncounted}}
-- An attempt only moves forward and ends once: news that comes late changes nothing. What a stopping or stopped run
-- would try again is done instead. The next try's instant is made of this clock, by which it comes due. A call-back that
-- was asked for during the attempt comes before what would become of the contact otherwise, and one of which nothing was
-- sent is still to be kept. Returns the ids that moved.
CREATE OR REPLACE FUNCTION outdial_book(p_news jsonb) RETURNS SETOF text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- in one order, against deadlocks; shared, so only a stop, pause or completion waits for this and the reverse
    PERFORM pg_advisory_xact_lock_shared(outdial_run_lock_key(run_id))
       FROM (SELECT DISTINCT a.run_id FROM jsonb_to_recordset(p_news) AS n (id text) JOIN attempts a ON a.id = n.id
              ORDER BY a.run_id) runs_of_news;
    RETURN QUERY
    WITH news AS (
        SELECT * FROM jsonb_to_recordset(p_news) AS n (
            id text, state text, disposition text, cause smallint, sip_code smallint, dialed_at timestamptz,
            ringing_at timestamptz, answered_at timestamptz, ended_at timestamptz, reason text, by text, permit text,
            pre_call jsonb, contact jsonb)
    ), moved AS (
        UPDATE attempts a
           SET state = n.state, disposition = n.disposition, cause = n.cause, sip_code = n.sip_code,
               dialed_at = coalesce(a.dialed_at, n.dialed_at), ringing_at = coalesce(a.ringing_at, n.ringing_at),
               answered_at = coalesce(a.answered_at, n.answered_at), ended_at = n.ended_at,
               permit = coalesce(a.permit, n.permit), pre_call = coalesce(a.pre_call, n.pre_call),
               changed_by = n.by, change_reason = coalesce(n.reason, '')
          FROM news n
         WHERE a.id = n.id
           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')
           AND array_position(ARRAY['reserved', 'dialing', 'ringing', 'answered', 'ended', 'unknown'], n.state)
             > array_position(ARRAY['reserved', 'dialing', 'ringing', 'answered', 'ended', 'unknown'], a.state)
        RETURNING a.id, a.run_id, a.contact_id, a.disposition, a.callback_at, n.by, n.contact
    ), decided AS (
        SELECT m.*, c.state AS wished, c.after_seconds, c.done_reason, coalesce(c.uncounted, false) AS uncounted,
               r.state IN ('stopping', 'stopped') AS run_over
          FROM moved m
          JOIN runs r ON r.id = m.run_id
         CROSS JOIN LATERAL jsonb_to_record(m.contact)
               AS c (state text, after_seconds double precision, done_reason text, uncounted boolean)
         WHERE m.contact IS NOT NULL
    ), settled AS (
        -- a retry that was put back is one that will not happen either: only who was never attempted stays pending
        SELECT d.*, d.run_over AND (d.wished = 'waiting'
                                OR (d.wished = 'pending' AND rc.attempts_count > d.uncounted::integer)) AS dropped,
               CASE WHEN NOT d.run_over AND d.wished <> 'dialing' THEN
                   coalesce(rc.callback_at, CASE WHEN d.wished = 'pending' THEN d.callback_at END) END AS call_back_at
          FROM decided d JOIN run_contacts rc ON rc.run_id = d.run_id AND rc.contact_id = d.contact_id
    ), contacts_moved AS (
        UPDATE run_contacts rc
           SET state = CASE WHEN d.dropped THEN 'done' WHEN d.call_back_at IS NOT NULL THEN 'waiting' ELSE d.wished END,
               not_before = CASE WHEN d.dropped THEN NULL
                                 WHEN d.call_back_at IS NOT NULL THEN d.call_back_at
                                 WHEN d.wished = 'waiting'
                                 THEN clock_timestamp() + d.after_seconds * interval '1 second' END,
               callback_at = CASE WHEN d.wished = 'dialing' THEN rc.callback_at ELSE d.call_back_at END,
               done_reason = CASE WHEN d.call_back_at IS NOT NULL THEN NULL
                                  WHEN NOT d.dropped THEN d.done_reason
                                  WHEN d.disposition = 'cancelled' AND NOT d.uncounted THEN 'stopped'
                                  ELSE 'retry_cancelled' END,
               attempts_count = rc.attempts_count - d.uncounted::integer,
               last_disposition = CASE WHEN d.uncounted THEN rc.last_disposition
                                       ELSE coalesce(d.disposition, rc.last_disposition) END,
               updated_at = clock_timestamp(), changed_by = d.by
          FROM settled d
         WHERE rc.run_id = d.run_id AND rc.contact_id = d.contact_id AND rc.state IN ('claimed', 'dialing')
        RETURNING rc.contact_id
    )
    SELECT id FROM moved;
END $$;

CREATE OR REPLACE FUNCTION outdial_history_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (account_id, campaign_id, run_id, action, from_state, to_state, actor, reason, detail)
    VALUES (NEW.account_id, NEW.campaign_id, NEW.id, 'run', CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state,
            NEW.changed_by, NEW.change_reason,
            jsonb_build_object('epoch', NEW.epoch, 'instance_id', NEW.instance_id));
    RETURN NULL;
END $$;

-- Stops of lately, for those who look whether something of them is left to be done.
CREATE INDEX runs_stopped ON runs (ended_at) WHERE state = 'stopped';

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
