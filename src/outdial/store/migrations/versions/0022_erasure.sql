-- Erasure: a person's number and what is known of them go, that something was done stays, and the chain still holds.

-- A row's salt is hashed with it and goes when it is erased: what is left of it, and all numbers there are, tell nobody
-- which of them has the digest. Rows from before have none. 122 of its 128 bits are drawn.
ALTER TABLE history ADD COLUMN salt bytea CHECK (length(salt) = 16);
ALTER TABLE history ALTER COLUMN salt SET DEFAULT uuid_send(gen_random_uuid());
-- the digest of a row that was erased
ALTER TABLE history ADD COLUMN erased_sha256 bytea CHECK (length(erased_sha256) = 32);

-- Persons who were erased, or are about to be.
CREATE TABLE erasures (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts,
    -- of the number, by the installation's key (store.number_keys)
    number_hmac bytea NOT NULL CHECK (length(number_hmac) = 32),
    -- gone when it is done
    number_encrypted bytea,
    -- nobody of the account may call it from now on, whether or not it was on a do-not-call list
    never_call boolean NOT NULL,
    -- what becomes of a conversation: keep (the erasure waits for its end) or hang_up
    connected text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    requested_by text NOT NULL,
    -- how many rows of each kind are gone
    counts jsonb NOT NULL DEFAULT '{}',
    -- everything but recordings on other machines is gone
    erased_at timestamptz,
    done_at timestamptz,
    CHECK (done_at IS NULL OR erased_at IS NOT NULL),
    CHECK ((number_encrypted IS NULL) = (erased_at IS NOT NULL))
);
CREATE INDEX erasures_account ON erasures (account_id, requested_at);
-- a number is erased by one at a time
CREATE UNIQUE INDEX erasures_one ON erasures (account_id, number_hmac) WHERE erased_at IS NULL;
CREATE INDEX erasures_open ON erasures (requested_at) WHERE done_at IS NULL;

-- The one key that numbers are hashed with where a number itself may not stay.
CREATE TABLE number_keys (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    key_encrypted bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Numbers on do-not-call lists whose persons were erased. Each counts as an entry of dnc_entries does.
CREATE TABLE dnc_hashes (
    dnc_list_id text NOT NULL REFERENCES dnc_lists ON DELETE CASCADE,
    number_hmac bytea NOT NULL CHECK (length(number_hmac) = 32),
    source text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    PRIMARY KEY (dnc_list_id, number_hmac)
);

-- As outdial_reserve, for runs whose do-not-call lists may hold numbers as hashes only: p_hashes are those of p_wanted's
-- numbers, in their order; NULL: whoever asks has found no such list, and looks again ('conflict') when there is one.
CREATE FUNCTION outdial_reserve_hashed(
    p_hashes bytea[], p_run_id bigint, p_epoch integer, p_node_id text,
    p_denied bigint[], p_denied_reasons text[], p_denied_why jsonb[],
    p_deferred bigint[], p_deferred_to timestamptz[], p_deferred_why jsonb[],
    p_wanted bigint[], p_attempt_ids text[], p_wanted_why jsonb[],
    p_budgets text[], p_seen timestamptz[], p_next timestamptz[],
    p_run_cap integer, p_trunk_cap integer, p_application_cap integer
) RETURNS TABLE (verdict text, attempt_ids text[]) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_account_id text;
    v_list_ids text[];
    v_wanted bigint[] := p_wanted;
    v_attempt_ids text[] := p_attempt_ids;
    v_why jsonb[] := p_wanted_why;
BEGIN
    SELECT account_id, dnc_list_ids INTO v_account_id, v_list_ids FROM runs WHERE id = p_run_id;
    -- as in outdial_reserve, and held until its transaction ends: what is looked at below cannot change before
    IF NOT pg_try_advisory_xact_lock_shared(4476483, hashtext(v_account_id)) THEN
        RETURN QUERY SELECT 'conflict', ARRAY[]::text[];
        RETURN;
    END IF;
    IF cardinality(p_wanted) > 0 AND EXISTS (SELECT FROM dnc_hashes d WHERE d.dnc_list_id = ANY (v_list_ids)) THEN
        IF p_hashes IS NULL THEN
            RETURN QUERY SELECT 'conflict', ARRAY[]::text[];
            RETURN;
        END IF;
        SELECT coalesce(array_agg(w.contact_id ORDER BY w.turn), '{}'),
               coalesce(array_agg(w.attempt_id ORDER BY w.turn), '{}'),
               coalesce(array_agg(w.why ORDER BY w.turn), '{}')
          INTO v_wanted, v_attempt_ids, v_why
          FROM unnest(p_wanted, p_attempt_ids, p_wanted_why, p_hashes) WITH ORDINALITY
               AS w (contact_id, attempt_id, why, hash, turn)
         -- one without a hash is not taken
         WHERE w.hash IS NOT NULL
           AND NOT EXISTS (SELECT FROM dnc_hashes d WHERE d.dnc_list_id = ANY (v_list_ids) AND d.number_hmac = w.hash
                              AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()));
    END IF;
    RETURN QUERY SELECT r.verdict, r.attempt_ids FROM outdial_reserve(
        p_run_id, p_epoch, p_node_id, p_denied, p_denied_reasons, p_denied_why, p_deferred, p_deferred_to,
        p_deferred_why, v_wanted, v_attempt_ids, v_why, p_budgets, p_seen, p_next, p_run_cap, p_trunk_cap,
        p_application_cap) r;
END $$;

-- Recordings that are to go: of whoever was erased, or older than their account keeps them. Nobody can hear them from
-- here on; removed_at follows when the machine that has the file has removed it.
ALTER TABLE recordings ADD COLUMN erasure_id text REFERENCES erasures;
CREATE INDEX recordings_erasure ON recordings (erasure_id) WHERE erasure_id IS NOT NULL AND removed_at IS NULL;
CREATE INDEX recordings_kept ON recordings (recorded_at) WHERE removed_at IS NULL;

-- Of whoever was erased a run keeps that there was somebody, as '' in place of the number, who can never be called.
ALTER TABLE run_contacts ADD CONSTRAINT run_contacts_erased
    CHECK (phone <> '' OR state NOT IN ('claimed', 'dialing')) NOT VALID;
ALTER TABLE attempts ADD CONSTRAINT attempts_erased CHECK (phone <> '' OR state IN ('ended', 'unknown')) NOT VALID;

-- How long an account keeps what; NULL: for ever.
CREATE TABLE account_retention (
    account_id text PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
    recordings_days integer CHECK (recordings_days > 0),
    attributes_days integer CHECK (attributes_days > 0),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by text NOT NULL,
    -- the last round over its contacts' attributes
    swept_at timestamptz
);

-- Whether this transaction has appended the row of an erasure that names something of an account's.
CREATE FUNCTION outdial_erasing(p_account_id text, p_what text, p_id bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM history e
                    WHERE e.xid = pg_current_xact_id() AND e.account_id = p_account_id AND e.action = 'erasure'
                      AND e.detail -> p_what @> to_jsonb(p_id))
$$;

-- Beside what each row's trigger says: nothing is changed outside an erasure, also where no row would be.
CREATE FUNCTION outdial_refuse_change_unless_erasing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM history e WHERE e.xid = pg_current_xact_id() AND e.action = 'erasure') THEN
        RAISE insufficient_privilege
          USING MESSAGE = format('rows of %s are evidence: they are never changed or deleted', TG_TABLE_NAME);
    END IF;
    RETURN NULL;
END $$;

-- History changes in one way only: a row that is in a seal loses what it says and keeps its digest, in the transaction
-- that appends the row of the erasure by which it does. Nothing can be put in its place, and nothing brings it back.
CREATE FUNCTION outdial_only_erase_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    left_over history%ROWTYPE := OLD;
    v_account_id text := coalesce(OLD.account_id, (SELECT r.account_id FROM runs r WHERE r.id = OLD.run_id));
    v_sealed_at timestamptz;
BEGIN
    left_over.contact_id := NULL;
    left_over.actor := '';
    left_over.reason := '';
    left_over.detail := NULL;
    left_over.salt := NULL;
    left_over.erased_sha256 := NEW.erased_sha256;
    SELECT s.sealed_at INTO v_sealed_at FROM history_seals s
     WHERE s.account_id = v_account_id AND s.to_id >= OLD.id AND s.from_id <= OLD.id AND OLD.id = ANY (s.ids);
    IF OLD.salt IS NULL THEN
        -- of one without a salt as little stays as can, since its digest can be guessed by what does
        left_over.at := v_sealed_at;
        left_over.account_id := v_account_id;
        left_over.campaign_id := NULL;
        left_over.run_id := NULL;
        left_over.attempt_id := NULL;
        left_over.action := 'erased';
        left_over.from_state := NULL;
        left_over.to_state := NULL;
    END IF;
    IF OLD.erased_sha256 IS NOT NULL OR NEW.erased_sha256 IS NULL OR v_sealed_at IS NULL
       OR NEW IS DISTINCT FROM left_over OR OLD.action = 'erasure'
       OR NOT outdial_erasing(v_account_id, 'rows', OLD.id) THEN
        RAISE insufficient_privilege USING MESSAGE = 'rows of history are evidence: they are never changed or deleted';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER history_stays ON history;
CREATE TRIGGER history_stays BEFORE DELETE OR TRUNCATE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change();
ALTER TABLE history ENABLE ALWAYS TRIGGER history_stays;
CREATE TRIGGER history_is_only_erased BEFORE UPDATE ON history
    FOR EACH ROW EXECUTE FUNCTION outdial_only_erase_history();
ALTER TABLE history ENABLE ALWAYS TRIGGER history_is_only_erased;
CREATE TRIGGER history_stay_as_they_are BEFORE UPDATE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change_unless_erasing();
ALTER TABLE history ENABLE ALWAYS TRIGGER history_stay_as_they_are;

-- The erasing itself; p_digests are those of the rows, in the order of their ids. The trigger decides whether it may be.
CREATE FUNCTION outdial_erase_history(p_ids bigint[], p_digests bytea[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_count integer;
BEGIN
    UPDATE history h
       SET contact_id = NULL, actor = '', reason = '', detail = NULL, salt = NULL, erased_sha256 = g.digest,
           at = CASE WHEN h.salt IS NULL THEN s.sealed_at ELSE h.at END,
           account_id = CASE WHEN h.salt IS NULL THEN s.account_id ELSE h.account_id END,
           campaign_id = CASE WHEN h.salt IS NOT NULL THEN h.campaign_id END,
           run_id = CASE WHEN h.salt IS NOT NULL THEN h.run_id END,
           attempt_id = CASE WHEN h.salt IS NOT NULL THEN h.attempt_id END,
           action = CASE WHEN h.salt IS NULL THEN 'erased' ELSE h.action END,
           from_state = CASE WHEN h.salt IS NOT NULL THEN h.from_state END,
           to_state = CASE WHEN h.salt IS NOT NULL THEN h.to_state END
      FROM unnest(p_ids, p_digests) AS g (id, digest)
      JOIN history o ON o.id = g.id
      LEFT JOIN runs r ON r.id = o.run_id
     CROSS JOIN LATERAL (SELECT x.sealed_at, x.account_id FROM history_seals x
                          WHERE x.account_id = coalesce(o.account_id, r.account_id) AND x.to_id >= g.id
                            AND x.from_id <= g.id AND g.id = ANY (x.ids)) s
     WHERE h.id = g.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- An alarm loses the number that was called, and nothing else.
CREATE FUNCTION outdial_only_erase_alarm() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    left_over watchdog_alarms%ROWTYPE := OLD;
BEGIN
    left_over.number := '';
    IF NEW IS DISTINCT FROM left_over OR OLD.account_id IS NULL
       OR NOT outdial_erasing(OLD.account_id, 'alarms', OLD.id) THEN
        RAISE insufficient_privilege
          USING MESSAGE = 'rows of watchdog_alarms are evidence: they are never changed or deleted';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER watchdog_alarms_stay ON watchdog_alarms;
CREATE TRIGGER watchdog_alarms_stay BEFORE DELETE OR TRUNCATE ON watchdog_alarms
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change();
ALTER TABLE watchdog_alarms ENABLE ALWAYS TRIGGER watchdog_alarms_stay;
CREATE TRIGGER watchdog_alarms_are_only_erased BEFORE UPDATE ON watchdog_alarms
    FOR EACH ROW EXECUTE FUNCTION outdial_only_erase_alarm();
ALTER TABLE watchdog_alarms ENABLE ALWAYS TRIGGER watchdog_alarms_are_only_erased;
CREATE TRIGGER watchdog_alarms_stay_as_they_are BEFORE UPDATE ON watchdog_alarms
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change_unless_erasing();
ALTER TABLE watchdog_alarms ENABLE ALWAYS TRIGGER watchdog_alarms_stay_as_they_are;

-- A signed report that names the number goes as a whole, its hash stays: a part of it would be no signed report.
ALTER TABLE signed_reports ADD COLUMN erased_sha256 bytea CHECK (length(erased_sha256) = 32);
CREATE FUNCTION outdial_only_erase_report() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    left_over signed_reports%ROWTYPE := OLD;
BEGIN
    left_over.document := ''::bytea;
    left_over.erased_sha256 := sha256(OLD.document);
    IF NEW IS DISTINCT FROM left_over OR OLD.erased_sha256 IS NOT NULL
       OR NOT outdial_erasing((SELECT r.account_id FROM runs r WHERE r.id = OLD.run_id), 'reports', OLD.run_id) THEN
        RAISE insufficient_privilege
          USING MESSAGE = 'rows of signed_reports are evidence: they are never changed or deleted';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER signed_reports_stay ON signed_reports;
CREATE TRIGGER signed_reports_stay BEFORE DELETE OR TRUNCATE ON signed_reports
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change();
ALTER TABLE signed_reports ENABLE ALWAYS TRIGGER signed_reports_stay;
CREATE TRIGGER signed_reports_are_only_erased BEFORE UPDATE ON signed_reports
    FOR EACH ROW EXECUTE FUNCTION outdial_only_erase_report();
ALTER TABLE signed_reports ENABLE ALWAYS TRIGGER signed_reports_are_only_erased;
CREATE TRIGGER signed_reports_stay_as_they_are BEFORE UPDATE ON signed_reports
    FOR EACH STATEMENT EXECUTE FUNCTION outdial_refuse_change_unless_erasing();
ALTER TABLE signed_reports ENABLE ALWAYS TRIGGER signed_reports_stay_as_they_are;
