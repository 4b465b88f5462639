-- What the watchdog saw on the wire and should not have seen. Evidence: rows are added and never changed.

CREATE TABLE watchdog_alarms (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    raised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- when the INVITE left, by its engine's clock
    sent_at timestamptz NOT NULL,
    -- gravest first
    breaches text[] NOT NULL CHECK (cardinality(breaches) > 0),
    -- NULL: the INVITE was nobody's
    account_id text REFERENCES accounts,
    campaign_id text,
    run_id bigint REFERENCES runs,
    attempt_id text,
    -- what the engine calls itself; empty when it does not
    engine_name text NOT NULL,
    -- one call raises one alarm, also when the watchdog is started anew
    call_id text NOT NULL,
    number text NOT NULL,
    caller text NOT NULL,
    permit text,
    source text NOT NULL,
    destination text NOT NULL,
    -- what was done about it: permits removed, by engine, and engines that could not be asked
    fence jsonb NOT NULL,
    UNIQUE (engine_name, call_id)
);
CREATE INDEX watchdog_alarms_account ON watchdog_alarms (account_id, id);
CREATE TRIGGER watchdog_alarms_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON watchdog_alarms
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change();
ALTER TABLE watchdog_alarms ENABLE ALWAYS TRIGGER watchdog_alarms_stay;
