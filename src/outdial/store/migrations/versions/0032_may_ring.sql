-- A call whose end nobody knows may have left its phone ringing, and nobody is left who could cancel it. For 4 minutes no
-- run of the account dials its number: a proxy waits more than 3 for an answer (Timer C, RFC 3261 section 16.6), and
-- carriers not much longer.
CREATE INDEX attempts_may_ring ON attempts (account_id, ended_at) INCLUDE (phone) WHERE state = 'unknown';

-- In plpgsql, which plans it once a session: in SQL it would be planned at each call, several times a claim.
CREATE FUNCTION outdial_may_ring(p_account_id text) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN ARRAY(SELECT a.phone FROM attempts a
                  WHERE a.account_id = p_account_id AND a.state = 'unknown'
                    AND a.ended_at > clock_timestamp() - interval '4 minutes');
END $$;

-- Who is wanted, but for those of whose numbers one may ring.
CREATE FUNCTION outdial_not_ringing(
    p_run_id bigint, p_account_id text, p_wanted bigint[], p_attempt_ids text[], p_why jsonb[], p_hashes bytea[]
) RETURNS TABLE (wanted bigint[], attempt_ids text[], why jsonb[], hashes bytea[]) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_ringing text[];
BEGIN
    v_ringing := outdial_may_ring(p_account_id);
    IF cardinality(p_wanted) = 0 OR cardinality(v_ringing) = 0 THEN
        RETURN QUERY SELECT p_wanted, p_attempt_ids, p_why, p_hashes;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT coalesce(array_agg(w.contact_id ORDER BY w.turn), '{}'),
           coalesce(array_agg(w.attempt_id ORDER BY w.turn), '{}'),
           coalesce(array_agg(w.why ORDER BY w.turn), '{}'),
           CASE WHEN p_hashes IS NOT NULL THEN coalesce(array_agg(w.hash ORDER BY w.turn), '{}') END
      FROM unnest(p_wanted, p_attempt_ids, p_why, p_hashes) WITH ORDINALITY AS w (contact_id, attempt_id, why, hash, turn)
     CROSS JOIN LATERAL (SELECT c.phone, c.phones FROM run_contacts c
                          WHERE c.run_id = p_run_id AND c.contact_id = w.contact_id OFFSET 0) rc
     WHERE NOT coalesce(rc.phones, ARRAY[rc.phone]) && v_ringing;
END $$;

-- Attempts that were just reserved hold their persons' numbers, so that nobody else's call to one of them can begin. One
-- that began and was lost since the look above is seen by this one: then nothing of the reservation may stand, look again.
CREATE FUNCTION outdial_unless_ringing(p_account_id text, p_attempt_ids text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_ringing text[];
BEGIN
    IF cardinality(p_attempt_ids) = 0 THEN
        RETURN p_attempt_ids;
    END IF;
    v_ringing := outdial_may_ring(p_account_id);
    IF cardinality(v_ringing) > 0 AND EXISTS (
        SELECT FROM attempts a
         CROSS JOIN LATERAL (SELECT c.phones FROM run_contacts c
                              WHERE c.run_id = a.run_id AND c.contact_id = a.contact_id OFFSET 0) rc
         WHERE a.id = ANY (p_attempt_ids) AND coalesce(rc.phones, ARRAY[a.phone]) && v_ringing) THEN
        RAISE EXCEPTION 'a phone that is to be called may ring already' USING ERRCODE = '40001';
    END IF;
    RETURN p_attempt_ids;
END $$;
