-- Old attempts: out of the way of dialing once their run is long over, and gone a month at a time where an account does
-- not keep them.

-- whoever erases takes this one first, too
LOCK TABLE attempts;

-- What tells more of an attempt refers to it by its id, in whichever of the two tables it is.
ALTER TABLE flow_outcomes DROP CONSTRAINT flow_outcomes_attempt_id_fkey;
ALTER TABLE recordings DROP CONSTRAINT recordings_attempt_id_fkey;
ALTER TABLE transfers DROP CONSTRAINT transfers_attempt_id_fkey;
ALTER TABLE machine_reviews DROP CONSTRAINT machine_reviews_attempt_id_fkey;

-- Columns in the order of `attempts`: rows are moved as they are. A partition is a calendar month, UTC.
CREATE TABLE old_attempts (LIKE attempts INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (ended_at);
ALTER TABLE old_attempts ADD PRIMARY KEY (id, ended_at);
CREATE INDEX old_attempts_run ON old_attempts (run_id, reserved_at);
CREATE INDEX old_attempts_run_contact ON old_attempts (run_id, contact_id);
CREATE INDEX old_attempts_number ON old_attempts (account_id, phone, ended_at);
CREATE INDEX old_attempts_calls ON old_attempts (account_id, dialed_at, id) WHERE dialed_at IS NOT NULL;
CREATE INDEX old_attempts_ended ON old_attempts (account_id, ended_at);
CREATE INDEX old_attempts_detected ON old_attempts (answered_at) WHERE detection IS NOT NULL;
CREATE INDEX old_attempts_sampled ON old_attempts (answered_at, id) WHERE detection ->> 'sample' IS NOT NULL;

-- For everybody who looks back. Whoever dials looks at `attempts` alone, but for limits that look back further.
CREATE VIEW all_attempts AS SELECT * FROM attempts UNION ALL SELECT * FROM old_attempts;

-- Runs whose attempts are all in the other table. NULL: they are not, or not yet.
ALTER TABLE runs ADD COLUMN attempts_moved_at timestamptz;
CREATE INDEX runs_unmoved ON runs (ended_at) WHERE attempts_moved_at IS NULL AND ended_at IS NOT NULL;

-- How many attempts of a run are not in `attempts` any more, moved or gone: what it came to adds up with these, and
-- nobody has to look into every month for it.
CREATE TABLE moved_attempts (
    run_id bigint NOT NULL REFERENCES runs,
    state text NOT NULL,
    disposition text NOT NULL,
    count bigint NOT NULL,
    placed bigint NOT NULL,
    answered bigint NOT NULL,
    PRIMARY KEY (run_id, state, disposition)
);
ALTER TABLE account_retention ADD COLUMN attempts_days integer CHECK (attempts_days > 0),
    -- some of those that ended before are not kept any more
    ADD COLUMN attempts_gone_until timestamptz;

-- What whoever moves and removes has to know: one row.
CREATE TABLE attempt_moves (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- the latest end of an attempt that was moved: limits that look back further count old ones too
    moved_until timestamptz NOT NULL DEFAULT '-infinity',
    -- the clock at the last look, and since when it has not leapt
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    steady_since timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO attempt_moves DEFAULT VALUES;

-- Months without an attempt, and since when: whoever began to look back before may still see some there.
CREATE TABLE empty_months (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Make the partition of a month. Attached, not created as one: that would wait for everybody who looks back, and
-- everybody for it.
CREATE FUNCTION outdial_make_month(p_month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_name text := to_char(p_month, '"old_attempts_"YYYY_MM');
BEGIN
    IF to_regclass(v_name) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE %I (LIKE old_attempts INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', v_name);
        EXECUTE format('ALTER TABLE old_attempts ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', v_name,
                       p_month::timestamp AT TIME ZONE 'UTC',
                       (p_month + interval '1 month') AT TIME ZONE 'UTC');
    END IF;
END $$;

-- How many old attempts to the numbers of a person count for a limit; as in outdial_beyond_limits, which asks for those
-- limits only that look back to before the last that was moved. Not SQL: that would be planned, and every month
-- locked, for each reservation.
CREATE FUNCTION outdial_old_count(
    p_limit attempt_limits, p_account_id text, p_phones text[], p_matters jsonb
) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_count bigint;
BEGIN
    -- with the instant in its text, so that only the months behind it are planned for and locked
    EXECUTE format($query$
        SELECT count(*) FROM old_attempts a
         WHERE a.account_id = $1 AND a.phone = ANY ($2) AND a.ended_at > %1$L::timestamptz
           AND (a.dialed_at IS NOT NULL OR a.disposition <> 'cancelled')
           AND CASE $3
                   WHEN 'attempts' THEN coalesce(a.dialed_at, a.reserved_at) > %1$L::timestamptz
                   WHEN 'conversations' THEN a.disposition IN ('answered_human', 'unknown')
                   ELSE a.disposition IN ('abandoned', 'unknown') END
           AND ($4 IS NULL OR a.matters ->> $4 IS NULL OR $5 ->> $4 IS NULL OR a.matters ->> $4 = $5 ->> $4)
        $query$, now() - p_limit.window_seconds * interval '1 second')
       INTO v_count USING p_account_id, p_phones, p_limit.counts, p_limit.matter, p_matters;
    RETURN v_count;
END $$;

-- As before, and where a limit looks back to before the last that was moved, what is old counts too.
CREATE OR REPLACE FUNCTION outdial_beyond_limits(
    p_account_id text, p_iid text, p_campaign_id text, p_phones text[], p_matters jsonb
) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM attempt_limits l
         WHERE l.account_id = p_account_id AND (l.iid IS NULL OR l.iid = p_iid)
           AND (l.campaign_id IS NULL OR l.campaign_id = p_campaign_id)
           AND l.max_count <= (
               SELECT count(*) FROM attempts a
                WHERE a.account_id = p_account_id AND a.phone = ANY (p_phones) AND a.ended_at IS NOT NULL
                  AND a.ended_at > now() - l.window_seconds * interval '1 second'
                  -- nothing was sent: not an attempt to anybody
                  AND (a.dialed_at IS NOT NULL OR a.disposition <> 'cancelled')
                  AND CASE l.counts
                          WHEN 'attempts' THEN
                              coalesce(a.dialed_at, a.reserved_at) > now() - l.window_seconds * interval '1 second'
                          WHEN 'conversations' THEN a.disposition IN ('answered_human', 'unknown')
                          ELSE a.disposition IN ('abandoned', 'unknown') END
                  AND (l.matter IS NULL OR a.matters ->> l.matter IS NULL OR p_matters ->> l.matter IS NULL
                       OR a.matters ->> l.matter = p_matters ->> l.matter))
             + CASE WHEN now() - l.window_seconds * interval '1 second' < (SELECT m.moved_until FROM attempt_moves m)
                    THEN outdial_old_count(l, p_account_id, p_phones, p_matters) ELSE 0 END)
$$;
