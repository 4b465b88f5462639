-- Schedules: when a campaign runs by itself. The row is the referee between an occurrence and a stop: an occurrence
-- compares and sets it in the transaction that begins its run, a stop switches it off before it looks for a run.

CREATE TABLE schedules (
    campaign_id text PRIMARY KEY REFERENCES campaigns,
    account_id text NOT NULL REFERENCES accounts,
    definition jsonb NOT NULL,
    enabled boolean NOT NULL,
    -- raised by every change; an occurrence is due at one version only
    version integer NOT NULL DEFAULT 1,
    -- the next occurrence; NULL: none is left before the end
    next_at timestamptz,
    ends_at timestamptz NOT NULL,
    -- a stop switched it off while something was still to come; NULL again once it is enabled or the campaign started
    stopped_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL,
    change_reason text NOT NULL,
    CHECK (NOT enabled OR stopped_at IS NULL)
);
CREATE INDEX schedules_next ON schedules (next_at) WHERE enabled;
CREATE INDEX schedules_end ON schedules (ends_at) WHERE enabled;

-- What became of each occurrence; the primary key is the referee: one instant of a campaign happens once.
CREATE TABLE schedule_occurrences (
    campaign_id text NOT NULL REFERENCES campaigns,
    due_at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('started', 'refused', 'missed')),
    run_id bigint REFERENCES runs,
    reason text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (campaign_id, due_at),
    CHECK ((outcome = 'started') = (run_id IS NOT NULL))
);

-- The latest look at how many of a campaign's contacts are on a do-not-call list; what is dialed is checked at every
-- dial, so this is for people only.
CREATE TABLE scrubs (
    campaign_id text PRIMARY KEY REFERENCES campaigns,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    contacts_count bigint NOT NULL,
    dnc_count bigint NOT NULL
);

CREATE FUNCTION outdial_history_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (account_id, campaign_id, action, from_state, to_state, actor, reason, detail)
    VALUES (NEW.account_id, NEW.campaign_id, 'schedule',
            CASE WHEN TG_OP = 'UPDATE' THEN CASE WHEN OLD.enabled THEN 'enabled' ELSE 'disabled' END END,
            CASE WHEN NEW.enabled THEN 'enabled' ELSE 'disabled' END, NEW.changed_by, NEW.change_reason,
            jsonb_build_object('version', NEW.version, 'next_at', NEW.next_at, 'definition', NEW.definition));
    RETURN NULL;
END $$;
CREATE TRIGGER schedules_history_insert AFTER INSERT ON schedules FOR EACH ROW
    EXECUTE FUNCTION outdial_history_schedule();
CREATE TRIGGER schedules_history_update AFTER UPDATE ON schedules FOR EACH ROW
    WHEN (OLD.version IS DISTINCT FROM NEW.version) EXECUTE FUNCTION outdial_history_schedule();

CREATE FUNCTION outdial_history_occurrence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (account_id, campaign_id, run_id, action, to_state, actor, reason, detail)
    SELECT c.account_id, c.id, NEW.run_id, 'occurrence', NEW.outcome, 'schedule', NEW.reason,
           jsonb_build_object('due_at', NEW.due_at)
      FROM campaigns c WHERE c.id = NEW.campaign_id;
    RETURN NULL;
END $$;
CREATE TRIGGER occurrences_history AFTER INSERT ON schedule_occurrences FOR EACH ROW
    EXECUTE FUNCTION outdial_history_occurrence();
