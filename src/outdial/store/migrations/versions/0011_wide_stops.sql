-- Stops of more than one campaign, and the emergency stop, during which no run can become active.

-- One press: what it was for and who asked. Its runs are stopped one by one, each with a report of its own.
CREATE TABLE wide_stops (
    id text PRIMARY KEY,
    scope text NOT NULL CHECK (scope IN ('caller_id', 'contact_list', 'number', 'account', 'everything')),
    -- the caller ID, list or number; NULL for an account and for everything
    value text,
    -- whose; NULL for everything
    account_id text REFERENCES accounts,
    -- the application whose caller ID or list it is
    iid text REFERENCES applications,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    requested_by text NOT NULL,
    -- what a number's stop did, once it is proven: {cancelled, hung_up, connected, contacts_removed}
    number_report jsonb,
    -- from here on nothing of it is claimed: every run it was to stop is noted
    committed_at timestamptz,
    proven_at timestamptz,
    CHECK ((scope = 'everything') = (account_id IS NULL))
);
CREATE INDEX wide_stops_account ON wide_stops (account_id, requested_at);
CREATE TABLE wide_stop_runs (
    wide_stop_id text NOT NULL REFERENCES wide_stops ON DELETE CASCADE,
    run_id bigint NOT NULL REFERENCES runs,
    PRIMARY KEY (wide_stop_id, run_id)
);
CREATE TABLE wide_stop_schedules (
    wide_stop_id text NOT NULL REFERENCES wide_stops ON DELETE CASCADE,
    campaign_id text NOT NULL REFERENCES campaigns,
    PRIMARY KEY (wide_stop_id, campaign_id)
);

-- Declared by somebody, in force until somebody lifts it.
CREATE TABLE emergency_stops (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wide_stop_id text NOT NULL REFERENCES wide_stops,
    declared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    declared_by text NOT NULL,
    reason text NOT NULL,
    lifted_at timestamptz,
    lifted_by text,
    lift_reason text,
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
CREATE UNIQUE INDEX emergency_stops_one ON emergency_stops ((true)) WHERE lifted_at IS NULL;

-- The referee: whatever path leads there, no run becomes active during an emergency stop. Whoever starts or resumes one
-- shares the lock that a declaration holds alone (store.emergencies), so that one of both sees the other.
CREATE FUNCTION outdial_no_run_in_emergency() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM emergency_stops WHERE lifted_at IS NULL) THEN
        RAISE EXCEPTION 'an emergency stop is in force';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER runs_emergency_insert BEFORE INSERT ON runs FOR EACH ROW
    WHEN (NEW.state = 'active') EXECUTE FUNCTION outdial_no_run_in_emergency();
CREATE TRIGGER runs_emergency_update BEFORE UPDATE OF state ON runs FOR EACH ROW
    WHEN (NEW.state = 'active' AND OLD.state <> 'active') EXECUTE FUNCTION outdial_no_run_in_emergency();
