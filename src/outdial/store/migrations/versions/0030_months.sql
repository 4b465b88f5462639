-- Months of old attempts: made by what is attached, not by what a table is called, and dropped in one statement.

-- Make the partition of a month. Attached, not created as one: that would wait for everybody who looks back, and
-- everybody for it. A table that has the name and is no partition is somebody's, who has to say what becomes of it.
CREATE OR REPLACE FUNCTION outdial_make_month(p_month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_name text := to_char(p_month, '"old_attempts_"YYYY_MM');
    v_pending boolean;
    v_bounds text := format('FOR VALUES FROM (%L) TO (%L)', p_month::timestamp AT TIME ZONE 'UTC',
                            (p_month + interval '1 month') AT TIME ZONE 'UTC');
BEGIN
    SELECT i.inhdetachpending INTO v_pending FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'old_attempts'::regclass AND c.relname = v_name;
    IF NOT v_pending THEN
        RETURN;
    ELSIF v_pending THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format(
            'detaching the month %1$I from old_attempts was broken off; bring it to an end: ALTER TABLE old_attempts '
            'DETACH PARTITION %1$I FINALIZE; then rename the table, or attach it again: ALTER TABLE old_attempts '
            'ATTACH PARTITION %1$I %2$s', v_name, v_bounds);
    END IF;
    IF to_regclass(v_name) IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format(
            'table %1$I has the name of a month of old_attempts and is not attached to it; rename it, or attach it '
            'again: ALTER TABLE old_attempts ATTACH PARTITION %1$I %2$s', v_name, v_bounds);
    END IF;
    EXECUTE format(
        'CREATE TABLE %I (LIKE old_attempts INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', v_name);
    EXECUTE format('ALTER TABLE old_attempts ATTACH PARTITION %I %s', v_name, v_bounds);
END $$;

-- Do away with a month, if it has no attempt and nobody who began to look back before that was noted is still at it:
-- they may see some there. Sessions that the database's account may not see are given a day. NULL: gave up on a lock.
--
-- Called as a statement of its own: a drop locks `old_attempts` as a whole, for limits that look far back and so for
-- whoever stops their run, and a process that freezes between two statements would hold them up.
--
-- 4476486 is the lock of whoever moves, removes or drops (store.old_attempts): nothing is moved there meanwhile.
CREATE FUNCTION outdial_drop_month(p_name text, p_lock_milliseconds integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_seen_at timestamptz;
    v_filled boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(4476486) THEN
        RETURN false;
    END IF;
    SELECT e.seen_at INTO v_seen_at FROM empty_months e WHERE e.name = p_name;
    IF v_seen_at IS NULL
       OR EXISTS (SELECT FROM pg_stat_activity a
                   WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
                     AND (a.xact_start < v_seen_at
                          -- hidden: of another account
                          OR (a.backend_type IS NULL AND v_seen_at > now() - interval '1 day'))) THEN
        RETURN false;
    END IF;
    -- for each of its locks it waits no longer, and others no longer for it
    PERFORM set_config('lock_timeout', p_lock_milliseconds::text, true);
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', p_name) INTO v_filled;
    IF v_filled
       -- or somebody has detached it
       OR NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                       WHERE i.inhparent = 'old_attempts'::regclass AND c.relname = p_name
                         AND NOT i.inhdetachpending) THEN
        RETURN false;
    END IF;
    DELETE FROM empty_months e WHERE e.name = p_name;
    EXECUTE format('DROP TABLE %I', p_name);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    -- somebody looks back just now
    RETURN NULL;
END $$;
