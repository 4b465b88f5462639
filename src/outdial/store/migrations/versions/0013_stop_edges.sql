-- What whoever answers a call hears that we have cancelled; a run keeps what it was started with.
ALTER TABLE campaigns ADD COLUMN courtesy_flow_id text REFERENCES flows;
ALTER TABLE runs ADD COLUMN courtesy_flow_id text REFERENCES flows;

-- What was asked for, so that another process can go on with it: {ringing, connected}. NULL: asked for before this was
-- kept; nobody goes on with it by himself.
ALTER TABLE wide_stops ADD COLUMN options jsonb;
CREATE INDEX wide_stops_unfinished ON wide_stops (requested_at) WHERE proven_at IS NULL AND options IS NOT NULL;

-- As before, with a code of its own by which a start knows it.
CREATE OR REPLACE FUNCTION outdial_no_run_in_emergency() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM emergency_stops WHERE lifted_at IS NULL) THEN
        RAISE EXCEPTION 'an emergency stop is in force' USING ERRCODE = 'OD001';
    END IF;
    RETURN NEW;
END $$;

-- The report of a stop stays as it is from the instant on at which it was signed. Whoever writes one of both holds the
-- run's lock, so this sees the other.
CREATE FUNCTION outdial_report_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM signed_reports WHERE run_id = OLD.id) THEN
        RAISE EXCEPTION 'the report of the stop of run % is signed and stays as it is', OLD.id
              USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER runs_report_stays BEFORE UPDATE OF stop_report ON runs FOR EACH ROW
    WHEN (NEW.stop_report IS DISTINCT FROM OLD.stop_report) EXECUTE FUNCTION outdial_report_stays();
