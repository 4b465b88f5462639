-- Call details: the calls of an account that are over, by when they were dialed.
-- Both columns are in the condition, so that an attempt enters the index once, when it ends.

CREATE INDEX attempts_calls ON attempts (account_id, dialed_at, id)
    WHERE dialed_at IS NOT NULL AND ended_at IS NOT NULL;
