-- Other numbers of a contact: which it has, which is dialed next, and limits that count all of them.

-- Beside `phone`, in the order in which they are tried. NULL: there is none.
ALTER TABLE contacts ADD COLUMN other_phones text[],
    ADD CONSTRAINT contacts_other_phones CHECK (cardinality(other_phones) BETWEEN 1 AND 4) NOT VALID;
-- Other numbers that were wrong and left out; their contacts were imported without them.
ALTER TABLE imports ADD COLUMN numbers_left_out integer NOT NULL DEFAULT 0;

-- All numbers of the contact, in order, as they were when it was read; NULL: `phone` is the only one. `phone` is the
-- one that is dialed next: what is booked may turn to another (outdial_book), so may a reservation where one is on a
-- do-not-call list (outdial_reserve) and the stop of a number (store.wide_stops). Nothing else does.
ALTER TABLE run_contacts ADD COLUMN phones text[],
    ADD CONSTRAINT run_contacts_phones CHECK (phones IS NULL OR phone = ANY (phones)) NOT VALID;
-- whoever is asked about by another number
CREATE INDEX run_contacts_phones ON run_contacts USING gin (phones) WHERE phones IS NOT NULL;

-- The number of a contact that comes after one, the first after the last, passing over those of which the run knows
-- that nobody has them (core.numbers.after). NULL: there is none.
CREATE FUNCTION outdial_phone_after(p_run_id bigint, p_contact_id bigint, p_phone text, p_phones text[]) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT n.phone FROM unnest(p_phones) WITH ORDINALITY AS n (phone, place)
     WHERE n.phone <> p_phone
       AND NOT EXISTS (SELECT FROM attempts a WHERE a.run_id = p_run_id AND a.contact_id = p_contact_id
                          AND a.phone = n.phone AND a.disposition = 'invalid_number')
     ORDER BY n.place < array_position(p_phones, p_phone), n.place LIMIT 1
$$;

-- Not the telephone is meant, but whoever has it: a contact is called at none of its numbers while one of them has such
-- an entry. So with a person's own word (a key), and while a person is erased (core.numbers.OF_PERSON).
ALTER TABLE dnc_entries ADD COLUMN of_person boolean NOT NULL DEFAULT false;
UPDATE dnc_entries SET of_person = true WHERE source IN ('key', 'erasure');

-- Whether one of a person's numbers has an entry of one of the lists by which the person is meant.
CREATE FUNCTION outdial_person_listed(p_list_ids text[], p_phones text[], p_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM dnc_entries e
                    WHERE e.dnc_list_id = ANY (p_list_ids) AND e.phone = ANY (p_phones) AND e.of_person
                      AND (e.expires_at IS NULL OR e.expires_at > p_at))
$$;

-- Whether the lists leave none of a person's numbers to be called (core.numbers.dialed).
CREATE FUNCTION outdial_uncallable(p_list_ids text[], p_phones text[], p_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT outdial_person_listed(p_list_ids, p_phones, p_at) OR NOT EXISTS (
        SELECT FROM unnest(p_phones) AS n (phone)
         WHERE NOT EXISTS (SELECT FROM dnc_entries e WHERE e.dnc_list_id = ANY (p_list_ids) AND e.phone = n.phone
                              AND (e.expires_at IS NULL OR e.expires_at > p_at)))
$$;

-- Take each number of a person until commit, in one order, as far as that can be without waiting; whether all could be.
-- Who fails tries no further, so that of those who want numbers of each other one always gets all of theirs.
CREATE FUNCTION outdial_try_person(p_account_id text, p_phones text[]) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_key integer;
BEGIN
    FOR v_key IN SELECT DISTINCT hashtext(p_account_id || n.phone) AS key FROM unnest(p_phones) AS n (phone) ORDER BY key
    LOOP
        IF NOT pg_try_advisory_xact_lock(4476485, v_key) THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;

DROP FUNCTION outdial_beyond_limits(text, text, text, text, jsonb);
-- As before, of all numbers of a person: whichever was called, it counts. Attempts that live are not looked at: whoever
-- asks has the only one to any of them, or none.
CREATE FUNCTION outdial_beyond_limits(
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
                       OR a.matters ->> l.matter = p_matters ->> l.matter)))
$$;

DROP FUNCTION outdial_reserve_hashed(
    bytea[], bigint, integer, text, bigint[], text[], jsonb[], bigint[], timestamptz[], jsonb[], bigint[], text[],
    jsonb[], text[], timestamptz[], timestamptz[], integer, integer, integer);
DROP FUNCTION outdial_reserve(
    bigint, integer, text, bigint[], text[], jsonb[], bigint[], timestamptz[], jsonb[], bigint[], text[], jsonb[],
    text[], timestamptz[], timestamptz[], integer, integer, integer);
-- As before, and
--   phones: of each contact with several numbers, {contact: [the one that was dialed next as it was looked at, the one
--   the gate was asked about]}. None of them is taken, denied or put off where another is dialed next by now.
-- 'conflict' also where nobody could be taken since others take numbers of the same persons just now.
CREATE FUNCTION outdial_reserve(
    p_run_id bigint, p_epoch integer, p_node_id text,
    p_denied bigint[], p_denied_reasons text[], p_denied_why jsonb[],
    p_deferred bigint[], p_deferred_to timestamptz[], p_deferred_why jsonb[],
    p_wanted bigint[], p_attempt_ids text[], p_wanted_why jsonb[],
    p_budgets text[], p_seen timestamptz[], p_next timestamptz[],
    p_run_cap integer, p_trunk_cap integer, p_application_cap integer, p_phones jsonb
) RETURNS TABLE (verdict text, attempt_ids text[]) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    r runs%ROWTYPE;
    v_engine_id text;
    v_room integer;
    v_made integer;
    v_limited boolean;
    v_matters text[];
    v_ids text[];
    v_busy bigint[];
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
                            AND c.state IN ('pending', 'waiting')
                            -- what was said of one number says nothing of another
                            AND (c.phones IS NULL OR p_phones -> c.contact_id::text ->> 0 = c.phone)
                            FOR UPDATE SKIP LOCKED) found
     WHERE rc.ctid = found.place;
    UPDATE run_contacts rc
       -- one who has asked to be called later since the look keeps that
       SET state = 'waiting', not_before = greatest(d.not_before, rc.callback_at), screening = d.why,
           phone = coalesce(found.asked, rc.phone), updated_at = clock_timestamp(), changed_by = p_node_id
      FROM unnest(p_deferred, p_deferred_to, p_deferred_why) AS d (contact_id, not_before, why)
     CROSS JOIN LATERAL (SELECT c.ctid AS place, p_phones -> c.contact_id::text ->> 1 AS asked FROM run_contacts c
                          WHERE c.run_id = p_run_id AND c.contact_id = d.contact_id
                            AND c.state IN ('pending', 'waiting')
                            AND (c.phones IS NULL OR p_phones -> c.contact_id::text ->> 0 = c.phone)
                            FOR UPDATE SKIP LOCKED) found
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
    -- Numbers of one person are called by one at a time, and what counts for any of them is seen by the next. Whoever
    -- finds one of them taken by another reservation leaves the contact to the next look, and waits for nobody: a stop
    -- and an addition to a do-not-call list wait for this one.
    SELECT coalesce(array_agg(w.contact_id), '{}') INTO v_busy
      FROM unnest(p_wanted) AS w (contact_id)
     CROSS JOIN LATERAL (
           SELECT c.phone, c.phones FROM run_contacts c
            WHERE c.run_id = p_run_id AND c.contact_id = w.contact_id OFFSET 0) rc
     WHERE NOT CASE WHEN rc.phones IS NULL THEN pg_try_advisory_xact_lock(4476485, hashtext(r.account_id || rc.phone))
               ELSE outdial_try_person(r.account_id, rc.phones) END;
    WITH taken AS (
        SELECT rc.contact_id, rc.phone, rc.attempts_count, rc.callback_at, rc.place, w.attempt_id, w.why, about.matters
          FROM unnest(p_wanted, p_attempt_ids, p_wanted_why) WITH ORDINALITY AS w (contact_id, attempt_id, why, turn)
         CROSS JOIN LATERAL (
               SELECT c.ctid AS place, c.contact_id, c.attempts_count, c.callback_at, c.phones,
                      coalesce(p_phones -> c.contact_id::text ->> 1, c.phone) AS phone
                 FROM run_contacts c
                WHERE c.run_id = p_run_id AND c.contact_id = w.contact_id AND c.contact_id <> ALL (v_busy)
                  -- the gate was asked about a number of theirs, and the one that is dialed next is still the same
                  AND (c.phones IS NULL OR (p_phones -> c.contact_id::text ->> 0 = c.phone
                                            AND p_phones -> c.contact_id::text ->> 1 = ANY (c.phones)))
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
                   NOT outdial_beyond_limits(r.account_id, r.iid, r.campaign_id, coalesce(rc.phones, ARRAY[rc.phone]),
                                             about.matters)
               ELSE true END
           AND CASE WHEN rc.phones IS NOT NULL THEN
                   NOT outdial_person_listed(r.dnc_list_ids, rc.phones, clock_timestamp())
                   AND NOT EXISTS (SELECT FROM attempts a
                                    WHERE a.account_id = r.account_id AND a.phone = ANY (rc.phones)
                                      AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
               ELSE true END
           -- of two who have a number in common the first alone: neither is seen by what is asked of the other
           AND CASE WHEN p_phones <> '{}' THEN
                   NOT EXISTS (SELECT FROM unnest(p_wanted) WITH ORDINALITY AS b (contact_id, turn)
                                CROSS JOIN LATERAL (
                                      SELECT c.phone, c.phones FROM run_contacts c
                                       WHERE c.run_id = p_run_id AND c.contact_id = b.contact_id OFFSET 0) before
                                WHERE b.turn < w.turn
                                  AND coalesce(before.phones, ARRAY[before.phone])
                                      && coalesce(rc.phones, ARRAY[rc.phone]))
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
         -- in one order, should an insert wait for another of the same number that is not committed yet
         ORDER BY t.phone
            ON CONFLICT DO NOTHING
        RETURNING id, contact_id
    ), claimed AS (
        UPDATE run_contacts rc
           SET state = 'claimed', not_before = NULL, callback_at = NULL, screening = NULL, phone = taken.phone,
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
    -- The person's one live attempt is ours now, so nobody else can add to their past: what another run's attempt, made
    -- and ended since the look above began, has added to it is seen by this statement.
    IF v_limited AND EXISTS (
        SELECT FROM attempts a
         CROSS JOIN LATERAL (SELECT c.phones FROM run_contacts c
                              WHERE c.run_id = a.run_id AND c.contact_id = a.contact_id OFFSET 0) rc
         WHERE a.id = ANY (v_ids)
           AND outdial_beyond_limits(a.account_id, r.iid, r.campaign_id, coalesce(rc.phones, ARRAY[a.phone]),
                                     a.matters)) THEN
        RAISE EXCEPTION 'a number has just been called as often as it may be' USING ERRCODE = '40001';
    END IF;
    IF cardinality(v_ids) > 0 THEN
        UPDATE rate_budgets b SET next_at = w.next_at
          FROM unnest(p_budgets, p_next) AS w (key, next_at) WHERE b.key = w.key AND b.next_at <> w.next_at;
    END IF;
    RETURN QUERY SELECT CASE WHEN v_made = 0 AND cardinality(v_busy) > 0 THEN 'conflict' ELSE 'reserved' END, v_ids;
END $$;

-- As before: of a contact with several numbers the hash is that of the one the gate was asked about.
CREATE FUNCTION outdial_reserve_hashed(
    p_hashes bytea[], p_run_id bigint, p_epoch integer, p_node_id text,
    p_denied bigint[], p_denied_reasons text[], p_denied_why jsonb[],
    p_deferred bigint[], p_deferred_to timestamptz[], p_deferred_why jsonb[],
    p_wanted bigint[], p_attempt_ids text[], p_wanted_why jsonb[],
    p_budgets text[], p_seen timestamptz[], p_next timestamptz[],
    p_run_cap integer, p_trunk_cap integer, p_application_cap integer, p_phones jsonb
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
        p_application_cap, p_phones) r;
END $$;

-- As before, and of a contact the news may say `other`: whoever is tried again is called at another of their numbers,
-- where there is one. With `done_reason` beside it, that is how the contact ends where there is none, whatever was
-- promised. A contact with several numbers of whose person a do-not-call list says that they are not to be called is
-- done, whatever the news says.
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
            pre_call jsonb, detection jsonb, contact jsonb)
    ), moved AS (
        UPDATE attempts a
           SET state = n.state, disposition = n.disposition, cause = n.cause, sip_code = n.sip_code,
               dialed_at = coalesce(a.dialed_at, n.dialed_at), ringing_at = coalesce(a.ringing_at, n.ringing_at),
               answered_at = coalesce(a.answered_at, n.answered_at), ended_at = n.ended_at,
               permit = coalesce(a.permit, n.permit), pre_call = coalesce(a.pre_call, n.pre_call),
               detection = coalesce(a.detection, nullif(n.detection, 'null')),
               changed_by = n.by, change_reason = coalesce(n.reason, '')
          FROM news n
         WHERE a.id = n.id
           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')
           AND (array_position(ARRAY['reserved', 'dialing', 'ringing', 'answered', 'ended', 'unknown'], n.state)
              > array_position(ARRAY['reserved', 'dialing', 'ringing', 'answered', 'ended', 'unknown'], a.state)
                -- who has answered is known some time after the answer
                OR (n.state = 'answered' AND a.state = 'answered' AND a.detection IS NULL
                    AND nullif(n.detection, 'null') IS NOT NULL))
        RETURNING a.id, a.run_id, a.contact_id, a.disposition, a.callback_at, n.by, n.contact
    ), told AS (
        SELECT m.*, c.state AS wished, c.after_seconds, c.done_reason, coalesce(c.uncounted, false) AS uncounted,
               coalesce(c.other, false) AS other, r.state IN ('stopping', 'stopped') AS run_over, r.dnc_list_ids
          FROM moved m
          JOIN runs r ON r.id = m.run_id
         CROSS JOIN LATERAL jsonb_to_record(m.contact)
               AS c (state text, after_seconds double precision, done_reason text, uncounted boolean, other boolean)
         WHERE m.contact IS NOT NULL
    ), decided AS (
        SELECT t.id, t.run_id, t.contact_id, t.disposition, t.callback_at, t.by, t.after_seconds, t.uncounted,
               t.run_over, found.wished,
               CASE WHEN found.person_listed AND t.wished <> 'done' THEN 'dnc'
                    WHEN found.wished = 'done' THEN t.done_reason END AS done_reason,
               -- a call-back that is promised is no retry: it stays where it is, unless nobody is there
               CASE WHEN found.wished <> 'done' THEN numbers.other_phone END AS other_phone,
               t.done_reason IS NOT NULL AS must_turn,
               -- of whoever has several numbers, and none that may be called
               coalesce(numbers.contact_id IS NOT NULL AND found.wished = 'done'
                        AND (found.person_listed OR t.wished = 'waiting'), false) AS nowhere
          FROM told t
          LEFT JOIN LATERAL (
               SELECT c.contact_id, outdial_person_listed(t.dnc_list_ids, c.phones, clock_timestamp()) AS person_listed,
                      CASE WHEN t.other THEN
                          outdial_phone_after(t.run_id, t.contact_id, c.phone, c.phones) END AS other_phone
                 FROM run_contacts c
                WHERE t.wished <> 'dialing' AND c.run_id = t.run_id AND c.contact_id = t.contact_id
                  AND c.phones IS NOT NULL OFFSET 0) numbers ON true
         CROSS JOIN LATERAL (
               SELECT coalesce(numbers.person_listed, false) AS person_listed,
                      CASE WHEN numbers.person_listed THEN 'done'
                           -- nobody has this number, or it is not to be called: without another the contact is done
                           WHEN t.wished = 'waiting' AND t.done_reason IS NOT NULL AND numbers.other_phone IS NULL
                           THEN 'done' ELSE t.wished END AS wished) found
    ), settled AS (
        -- a retry that was put back is one that will not happen either: only who was never attempted stays pending
        SELECT d.*, d.run_over AND (d.wished = 'waiting'
                                OR (d.wished = 'pending' AND rc.attempts_count > d.uncounted::integer)) AS dropped,
               CASE WHEN NOT d.run_over AND NOT d.nowhere AND d.wished <> 'dialing' THEN
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
               phone = CASE WHEN d.other_phone IS NOT NULL AND NOT d.dropped
                                 AND (d.call_back_at IS NULL OR d.must_turn) THEN d.other_phone ELSE rc.phone END,
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
