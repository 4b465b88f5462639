-- Answering machines: who has answered a call, where that is to be found out.

-- {verdict, cause, seconds, timings} (core.machine.Detection); NULL: it was not asked, or is not known.
ALTER TABLE attempts ADD COLUMN detection jsonb;
-- verdicts of lately, for those who watch them
CREATE INDEX attempts_detected ON attempts (answered_at) WHERE detection IS NOT NULL;

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
                    'pre_call', NEW.pre_call - 'data',
                    'detection', NEW.detection))
            END);
    RETURN NULL;
END $$;

-- As before, and of an answered attempt news may also say who has answered: {…, detection}. That moves no state, so the
-- history tells it with the attempt's end.
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
