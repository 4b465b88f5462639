-- Call-backs: an instant at which a contact asked to be called, kept by one attempt beyond those the campaign allows.
-- And the pre-call fetch: what the operator's own system says of a contact right before it is dialed.

-- The instant asked for, until an attempt is made for it or the contact's run ends. Waiting contacts wait for it (or, once
-- it has come, for their calling hours); of claimed and dialing ones it was asked for during the call.
ALTER TABLE run_contacts ADD COLUMN callback_at timestamptz
    CHECK (callback_at IS NULL OR state IN ('waiting', 'claimed', 'dialing'));
CREATE INDEX run_contacts_callback ON run_contacts (run_id, not_before)
    WHERE state = 'waiting' AND callback_at IS NOT NULL;
-- The call-back an attempt was made for.
ALTER TABLE attempts ADD COLUMN callback_at timestamptz;

-- Where a campaign's contacts are asked about; its headers may hold credentials.
CREATE TABLE pre_call_fetches (
    campaign_id text PRIMARY KEY REFERENCES campaigns ON DELETE CASCADE,
    url text NOT NULL,
    headers_encrypted bytea NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by text NOT NULL
);
-- What the fetch said before an attempt: {call, seconds, problem, status, reason, data}; NULL: nothing was asked.
ALTER TABLE attempts ADD COLUMN pre_call jsonb;

-- Reserves attempts of one run for one node. Arrays of one group have equal lengths.
--   denied: contacts no rule will ever let be dialed, with the reason; they become done, a call-back asked for or not
--   deferred: contacts that may not be dialed before an instant; they become waiting
--   wanted: contacts to reserve, with the ids of their attempts
--   budgets: rate budgets the slots were taken from, the instants seen there, the instants to put there
-- verdict: 'reserved', 'moved_on' (the run is not active at that epoch), 'node_ended' (another node has taken this
-- node's calls over) or 'conflict' (another node was faster on a budget, or a do-not-call list is being written: look
-- again).
CREATE OR REPLACE FUNCTION outdial_reserve(
    p_run_id bigint, p_epoch integer, p_node_id text,
    p_denied bigint[], p_denied_reasons text[], p_deferred bigint[], p_deferred_to timestamptz[],
    p_wanted bigint[], p_attempt_ids text[],
    p_budgets text[], p_seen timestamptz[], p_next timestamptz[],
    p_run_cap integer, p_trunk_cap integer, p_application_cap integer
) RETURNS TABLE (verdict text, attempt_ids text[]) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    r runs%ROWTYPE;
    v_engine_id text;
    v_room integer;
    v_made integer;
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
       SET state = 'done', done_reason = d.reason, not_before = NULL, callback_at = NULL,
           updated_at = clock_timestamp(), changed_by = p_node_id
      FROM unnest(p_denied, p_denied_reasons) AS d (contact_id, reason)
     CROSS JOIN LATERAL (SELECT c.ctid AS place FROM run_contacts c
                          WHERE c.run_id = p_run_id AND c.contact_id = d.contact_id
                            AND c.state IN ('pending', 'waiting') FOR UPDATE SKIP LOCKED) found
     WHERE rc.ctid = found.place;
    UPDATE run_contacts rc
       -- one who has asked to be called later since the look keeps that
       SET state = 'waiting', not_before = greatest(d.not_before, rc.callback_at), updated_at = clock_timestamp(), changed_by = p_node_id
      FROM unnest(p_deferred, p_deferred_to) AS d (contact_id, not_before)
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
    WITH taken AS (
        SELECT rc.contact_id, rc.phone, rc.attempts_count, rc.callback_at, rc.place, w.attempt_id
          FROM unnest(p_wanted, p_attempt_ids) WITH ORDINALITY AS w (contact_id, attempt_id, turn)
         CROSS JOIN LATERAL (
               SELECT c.ctid AS place, c.contact_id, c.phone, c.attempts_count, c.callback_at
                 FROM run_contacts c
                WHERE c.run_id = p_run_id AND c.contact_id = w.contact_id
                  AND (c.state = 'pending' OR (c.state = 'waiting' AND c.not_before <= clock_timestamp()))
                  FOR UPDATE SKIP LOCKED) rc
         WHERE NOT EXISTS (SELECT FROM dnc_entries e
                            WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = rc.phone
                              AND (e.expires_at IS NULL OR e.expires_at > clock_timestamp()))
         ORDER BY w.turn
         LIMIT greatest(v_room, 0)
    ), made AS (
        -- one live attempt per run contact, and per number and account: the partial unique indexes decide
        INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id, engine_id,
                              node_id, epoch, number, state, callback_at, changed_by)
        SELECT t.attempt_id, r.id, r.campaign_id, r.account_id, t.contact_id, t.phone, r.rules ->> 'caller_id',
               r.trunk_id, v_engine_id, p_node_id, p_epoch, t.attempts_count + 1, 'reserved', t.callback_at, p_node_id
          FROM taken t
         -- an insert waits for another run's of the same number that has not committed yet: in one order, so that two
         -- runs over the same people never wait for each other
         ORDER BY t.phone
            ON CONFLICT DO NOTHING
        RETURNING id, contact_id
    ), claimed AS (
        UPDATE run_contacts rc
           SET state = 'claimed', not_before = NULL, callback_at = NULL, attempts_count = rc.attempts_count + 1,
               updated_at = clock_timestamp(), changed_by = p_node_id
          FROM made JOIN taken USING (contact_id)
         WHERE rc.ctid = taken.place
        RETURNING made.id
    )
    SELECT (SELECT count(*) FROM made), coalesce(array_agg(id), ARRAY[]::text[]) INTO v_made, v_ids FROM claimed;
    IF v_made <> cardinality(v_ids) THEN
        -- a contact moved between this statement's look and its lock: nothing of this may stand, look again
        RAISE EXCEPTION 'reserved % attempts for % contacts', v_made, cardinality(v_ids) USING ERRCODE = '40001';
    END IF;
    IF cardinality(v_ids) > 0 THEN
        UPDATE rate_budgets b SET next_at = w.next_at
          FROM unnest(p_budgets, p_next) AS w (key, next_at) WHERE b.key = w.key AND b.next_at <> w.next_at;
    END IF;
    RETURN QUERY SELECT 'reserved', v_ids;
END $$;

-- Books what became of attempts, and with each what becomes of its contact. News is an array of
--   {id, state, disposition, cause, sip_code, dialed_at, ringing_at, answered_at, ended_at, reason, by,
--    pre_call, contact: {state, after_seconds, done_reason, uncounted}}
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
            ringing_at timestamptz, answered_at timestamptz, ended_at timestamptz, reason text, by text, pre_call jsonb,
            contact jsonb)
    ), moved AS (
        UPDATE attempts a
           SET state = n.state, disposition = n.disposition, cause = n.cause, sip_code = n.sip_code,
               dialed_at = coalesce(a.dialed_at, n.dialed_at), ringing_at = coalesce(a.ringing_at, n.ringing_at),
               answered_at = coalesce(a.answered_at, n.answered_at), ended_at = n.ended_at,
               pre_call = coalesce(a.pre_call, n.pre_call),
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
