-- The gate: what each call was allowed by, and why whoever was not called was denied or put off.

-- What the gate said last of a contact that may not be dialed, or not yet: {rule, sentence, until, inputs, versions}. It
-- goes with the next attempt, which has its own.
ALTER TABLE run_contacts ADD COLUMN screening jsonb;
-- What an attempt was allowed by: {inputs by rule, versions}.
ALTER TABLE attempts ADD COLUMN screening jsonb;

-- A denial is told once, with all of it; that a contact is put off is told when another rule does it than before. Who is
-- put off again by the same rule, as a whole list is at the end of every day, only has the row of the contact rewritten.
DROP TRIGGER run_contacts_history ON run_contacts;
CREATE OR REPLACE FUNCTION outdial_history_run_contact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (run_id, contact_id, action, from_state, to_state, actor, reason, detail)
    VALUES (NEW.run_id, NEW.contact_id, 'run_contact', OLD.state, NEW.state, NEW.changed_by,
            coalesce(NEW.done_reason, ''),
            CASE WHEN NEW.screening IS DISTINCT FROM OLD.screening THEN NEW.screening END);
    RETURN NULL;
END $$;
CREATE TRIGGER run_contacts_history AFTER UPDATE ON run_contacts FOR EACH ROW
    -- claimed and dialing move together with the attempt, whose own row tells them
    WHEN ((OLD.state IS DISTINCT FROM NEW.state AND NEW.state IN ('pending', 'waiting', 'done'))
          OR (NEW.screening IS NOT NULL AND OLD.screening -> 'rule' IS DISTINCT FROM NEW.screening -> 'rule'))
    EXECUTE FUNCTION outdial_history_run_contact();

CREATE OR REPLACE FUNCTION outdial_history_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (account_id, campaign_id, run_id, contact_id, attempt_id, action, from_state, to_state, actor,
                         reason, detail)
    VALUES (NEW.account_id, NEW.campaign_id, NEW.run_id, NEW.contact_id, NEW.id, 'attempt',
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state, NEW.changed_by, NEW.change_reason,
            CASE WHEN TG_OP = 'INSERT' THEN
                jsonb_build_object('phone', NEW.phone, 'caller_id', NEW.caller_id, 'number', NEW.number,
                                   'trunk_id', NEW.trunk_id, 'engine_id', NEW.engine_id, 'node_id', NEW.node_id,
                                   'epoch', NEW.epoch, 'callback_at', NEW.callback_at, 'screening', NEW.screening)
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

-- How often one number may be called, in rolling windows over all campaigns of the account (core.attempt_limits).
CREATE TABLE attempt_limits (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts,
    -- whose calls it holds back: all of the account's, one application's, one campaign's
    iid text REFERENCES applications,
    campaign_id text REFERENCES campaigns,
    max_count integer NOT NULL CHECK (max_count > 0),
    window_seconds integer NOT NULL CHECK (window_seconds > 0),
    counts text NOT NULL CHECK (counts IN ('attempts', 'conversations', 'abandoned')),
    -- the contact's attribute that says what a call is about; NULL: all calls count
    matter text,
    preset text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    CHECK (campaign_id IS NULL OR iid IS NOT NULL)
);
CREATE INDEX attempt_limits_account ON attempt_limits (account_id);

-- What an attempt is about: {attribute: value} of those attributes that limits named when it was made.
ALTER TABLE attempts ADD COLUMN matters jsonb;
-- The attempts to a number that are over. Only ended ones are in it, so that an attempt enters it once.
CREATE INDEX attempts_number ON attempts (account_id, phone, ended_at) WHERE ended_at IS NOT NULL;

-- The values of those attributes that the contact has, as text.
CREATE FUNCTION outdial_matters(p_attributes jsonb, p_names text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_object_agg(name, p_attributes ->> name) FROM unnest(p_names) AS n (name)
     WHERE p_attributes ->> name IS NOT NULL
$$;

-- Whether some limit forbids another call to the number now: core.attempt_limits.standing, over the rows themselves.
-- Attempts that live are not looked at: whoever asks has the number's only one, or none.
CREATE FUNCTION outdial_beyond_limits(
    p_account_id text, p_iid text, p_campaign_id text, p_phone text, p_matters jsonb
) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM attempt_limits l
         WHERE l.account_id = p_account_id AND (l.iid IS NULL OR l.iid = p_iid)
           AND (l.campaign_id IS NULL OR l.campaign_id = p_campaign_id)
           AND l.max_count <= (
               SELECT count(*) FROM attempts a
                WHERE a.account_id = p_account_id AND a.phone = p_phone AND a.ended_at IS NOT NULL
                  AND a.ended_at > now() - l.window_seconds * interval '1 second'
                  -- nothing was sent: not an attempt to anybody
                  AND (a.dialed_at IS NOT NULL OR a.disposition <> 'cancelled')
                  AND CASE l.counts
                          WHEN 'attempts' THEN
                              coalesce(a.dialed_at, a.reserved_at) > now() - l.window_seconds * interval '1 second'
                          WHEN 'conversations' THEN a.disposition IN ('answered_human', 'unknown')
                          ELSE a.disposition IN ('abandoned', 'unknown') END
                  AND (l.matter IS NULL OR a.matters ->> l.matter IS NULL OR p_matters ->> l.matter IS NULL
                       OR a.matters ->> l.matter = p_matters ->> l.matter)))
$$;

-- Where an entry of a do-not-call list comes from (core.model.DncSource); of those from before nobody knows.
ALTER TABLE dnc_entries ADD COLUMN source text NOT NULL DEFAULT 'unknown';

-- Who was put off before the first try, and who is to be tried again, each in the order in which they come due: neither
-- is found by reading past all of the others.
CREATE INDEX run_contacts_put_off ON run_contacts (run_id, not_before) WHERE state = 'waiting' AND attempts_count = 0;
CREATE INDEX run_contacts_retries ON run_contacts (run_id, not_before) WHERE state = 'waiting' AND attempts_count > 0;

-- What carriers said of late that had too much to do (RFC 3261 §21.5.4, RFC 6585 §4): core.pacing slows down by it.
CREATE INDEX attempts_refused ON attempts (trunk_id, ended_at) WHERE sip_code IN (429, 503);

-- Reserves attempts of one run for one node. Arrays of one group have equal lengths.
--   denied: contacts no rule will ever let be dialed, with the reason; they become done, a call-back asked for or not
--   deferred: contacts that may not be dialed before an instant; they become waiting
--   wanted: contacts to reserve, with the ids of their attempts
--   why, of each: the decision of the gate, as it is stored
--   budgets: rate budgets the slots were taken from, the instants seen there, the instants to put there
-- verdict: 'reserved', 'moved_on' (the run is not active at that epoch), 'node_ended' (another node has taken this
-- node's calls over) or 'conflict' (another node was faster on a budget, or a do-not-call list is being written: look
-- again).
DROP FUNCTION outdial_reserve(
    bigint, integer, text, bigint[], text[], bigint[], timestamptz[], bigint[], text[], text[], timestamptz[],
    timestamptz[], integer, integer, integer);
CREATE FUNCTION outdial_reserve(
    p_run_id bigint, p_epoch integer, p_node_id text,
    p_denied bigint[], p_denied_reasons text[], p_denied_why jsonb[],
    p_deferred bigint[], p_deferred_to timestamptz[], p_deferred_why jsonb[],
    p_wanted bigint[], p_attempt_ids text[], p_wanted_why jsonb[],
    p_budgets text[], p_seen timestamptz[], p_next timestamptz[],
    p_run_cap integer, p_trunk_cap integer, p_application_cap integer
) RETURNS TABLE (verdict text, attempt_ids text[]) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    r runs%ROWTYPE;
    v_engine_id text;
    v_room integer;
    v_made integer;
    v_limited boolean;
    v_matters text[];
    v_ids text[];
BEGIN
    SELECT * INTO r FROM runs WHERE id = p_run_id;
    -- the do-not-call lock (store.dnc) is tried, never waited for: those who wait hold connections, and a writer that is
    -- frozen would empty the pool that leases and stops need too
    IF NOT pg_try_advisory_xact_lock_shared(4476483, hashtext(r.account_id)) THEN
        RETURN QUERY SELECT 'conflict', ARRAY[]::text[];
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(outdial_run_lock_key(p_run_id));
    SELECT * INTO r FROM runs WHERE id = p_run_id;
    IF r.state <> 'active' OR r.epoch <> p_epoch THEN
        RETURN QUERY SELECT 'moved_on', ARRAY[]::text[];
        RETURN;
    END IF;
    -- whoever adopts the node's calls ends its row first: either that is seen here, or these attempts are seen there
    SELECT engine_id INTO v_engine_id FROM nodes WHERE id = p_node_id AND ended_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'node_ended', ARRAY[]::text[];
        RETURN;
    END IF;

    -- Contacts are found one by one through the primary key (a locking subquery is not merged into its parent) and
    -- then updated where they were found: of a run that was loaded a moment ago the statistics know nothing, and the
    -- planner, expecting one row, would read all of it (130 ms instead of 4 at 100,000 contacts; measured).
    UPDATE run_contacts rc
       SET state = 'done', done_reason = d.reason, not_before = NULL, callback_at = NULL, screening = d.why,
           updated_at = clock_timestamp(), changed_by = p_node_id
      FROM unnest(p_denied, p_denied_reasons, p_denied_why) AS d (contact_id, reason, why)
     CROSS JOIN LATERAL (SELECT c.ctid AS place FROM run_contacts c
                          WHERE c.run_id = p_run_id AND c.contact_id = d.contact_id
                            AND c.state IN ('pending', 'waiting') FOR UPDATE SKIP LOCKED) found
     WHERE rc.ctid = found.place;
    UPDATE run_contacts rc
       -- one who has asked to be called later since the look keeps that
       SET state = 'waiting', not_before = greatest(d.not_before, rc.callback_at), screening = d.why,
           updated_at = clock_timestamp(), changed_by = p_node_id
      FROM unnest(p_deferred, p_deferred_to, p_deferred_why) AS d (contact_id, not_before, why)
     CROSS JOIN LATERAL (SELECT c.ctid AS place FROM run_contacts c
                          WHERE c.run_id = p_run_id AND c.contact_id = d.contact_id
                            AND c.state IN ('pending', 'waiting') FOR UPDATE SKIP LOCKED) found
     WHERE rc.ctid = found.place;
    IF cardinality(p_wanted) = 0 THEN
        RETURN QUERY SELECT 'reserved', ARRAY[]::text[];
        RETURN;
    END IF;

    -- the budgets' rows also order the counts of live calls below: one reservation at a time per run, trunk and
    -- application
    INSERT INTO rate_budgets (key, next_at)
    SELECT w.key, coalesce(w.seen, clock_timestamp()) FROM unnest(p_budgets, p_seen) AS w (key, seen) ORDER BY w.key
        ON CONFLICT DO NOTHING;
    PERFORM FROM rate_budgets WHERE key = ANY (p_budgets) ORDER BY key FOR UPDATE;
    IF EXISTS (SELECT FROM unnest(p_budgets, p_seen) AS w (key, seen) JOIN rate_budgets b USING (key)
                WHERE b.next_at IS DISTINCT FROM w.seen) THEN
        RETURN QUERY SELECT 'conflict', ARRAY[]::text[];
        RETURN;
    END IF;
    SELECT least(
               cardinality(p_wanted),
               p_run_cap - (SELECT count(*) FROM attempts a WHERE a.run_id = p_run_id
                               AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')),
               p_trunk_cap - (SELECT count(*) FROM attempts a WHERE a.trunk_id = r.trunk_id
                               AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')),
               CASE WHEN p_application_cap IS NOT NULL THEN
                   p_application_cap - (SELECT count(*) FROM attempts a JOIN runs o ON o.id = a.run_id
                                         WHERE o.iid = r.iid
                                           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
               END)
      INTO v_room;
    SELECT count(*) > 0, array_agg(DISTINCT l.matter) FILTER (WHERE l.matter IS NOT NULL) INTO v_limited, v_matters
      FROM attempt_limits l
     WHERE l.account_id = r.account_id AND (l.iid IS NULL OR l.iid = r.iid)
       AND (l.campaign_id IS NULL OR l.campaign_id = r.campaign_id);
    WITH taken AS (
        SELECT rc.contact_id, rc.phone, rc.attempts_count, rc.callback_at, rc.place, w.attempt_id, w.why, about.matters
          FROM unnest(p_wanted, p_attempt_ids, p_wanted_why) WITH ORDINALITY AS w (contact_id, attempt_id, why, turn)
         CROSS JOIN LATERAL (
               SELECT c.ctid AS place, c.contact_id, c.phone, c.attempts_count, c.callback_at
                 FROM run_contacts c
                WHERE c.run_id = p_run_id AND c.contact_id = w.contact_id
                  AND (c.state = 'pending' OR (c.state = 'waiting' AND c.not_before <= clock_timestamp()))
                  FOR UPDATE SKIP LOCKED) rc
         CROSS JOIN LATERAL (
               SELECT CASE WHEN v_matters IS NOT NULL THEN
                   (SELECT outdial_matters(p.attributes, v_matters) FROM contacts p WHERE p.id = rc.contact_id)
                   END AS matters) about
         WHERE NOT EXISTS (SELECT FROM dnc_entries e
                            WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = rc.phone
                              AND (e.expires_at IS NULL OR e.expires_at > clock_timestamp()))
           AND CASE WHEN v_limited THEN
                   NOT outdial_beyond_limits(r.account_id, r.iid, r.campaign_id, rc.phone, about.matters)
               ELSE true END
         ORDER BY w.turn
         LIMIT greatest(v_room, 0)
    ), made AS (
        -- one live attempt per run contact, and per number and account: the partial unique indexes decide
        INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id, engine_id,
                              node_id, epoch, number, state, callback_at, screening, matters, changed_by)
        SELECT t.attempt_id, r.id, r.campaign_id, r.account_id, t.contact_id, t.phone, r.rules ->> 'caller_id',
               r.trunk_id, v_engine_id, p_node_id, p_epoch, t.attempts_count + 1, 'reserved', t.callback_at, t.why,
               t.matters, p_node_id
          FROM taken t
         -- an insert waits for another run's of the same number that has not committed yet: in one order, so that two
         -- runs over the same people never wait for each other
         ORDER BY t.phone
            ON CONFLICT DO NOTHING
        RETURNING id, contact_id
    ), claimed AS (
        UPDATE run_contacts rc
           SET state = 'claimed', not_before = NULL, callback_at = NULL, screening = NULL,
               attempts_count = rc.attempts_count + 1, updated_at = clock_timestamp(), changed_by = p_node_id
          FROM made JOIN taken USING (contact_id)
         WHERE rc.ctid = taken.place
        RETURNING made.id
    )
    SELECT (SELECT count(*) FROM made), coalesce(array_agg(id), ARRAY[]::text[]) INTO v_made, v_ids FROM claimed;
    IF v_made <> cardinality(v_ids) THEN
        -- a contact moved between this statement's look and its lock: nothing of this may stand, look again
        RAISE EXCEPTION 'reserved % attempts for % contacts', v_made, cardinality(v_ids) USING ERRCODE = '40001';
    END IF;
    -- The number's one live attempt is ours now, so nobody else can add to its past: what another run's attempt, made and
    -- ended since the look above began, has added to it is seen by this statement.
    IF v_limited AND EXISTS (
        SELECT FROM attempts a WHERE a.id = ANY (v_ids)
           AND outdial_beyond_limits(a.account_id, r.iid, r.campaign_id, a.phone, a.matters)) THEN
        RAISE EXCEPTION 'a number has just been called as often as it may be' USING ERRCODE = '40001';
    END IF;
    IF cardinality(v_ids) > 0 THEN
        UPDATE rate_budgets b SET next_at = w.next_at
          FROM unnest(p_budgets, p_next) AS w (key, next_at) WHERE b.key = w.key AND b.next_at <> w.next_at;
    END IF;
    RETURN QUERY SELECT 'reserved', v_ids;
END $$;
