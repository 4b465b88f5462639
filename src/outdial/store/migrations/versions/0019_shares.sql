-- Runs share the lines of a trunk by the priority of their campaigns (core.shares), caller IDs have caps, and what holds
-- a run back can be read.

CREATE TABLE run_turns (
    run_id bigint PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    -- calls taken while others wanted the trunk's lines too, divided by the run's weight
    share double precision NOT NULL DEFAULT 0,
    -- until then it counts as having somebody to dial
    wants_until timestamptz NOT NULL DEFAULT '-infinity',
    -- since when it could have taken a call and has not, while another waited for it to
    passed_since timestamptz,
    -- what it waits for: a cap, or its turn; until then that counts as true
    held_by text NOT NULL DEFAULT '',
    held_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

ALTER TABLE caller_ids ADD COLUMN max_concurrent_calls integer CHECK (max_concurrent_calls > 0);
ALTER TABLE caller_ids ADD COLUMN calls_per_second double precision CHECK (calls_per_second > 0);
-- in any 24 hours
ALTER TABLE caller_ids ADD COLUMN calls_per_day integer CHECK (calls_per_day > 0);

-- The runs of a trunk of lately, for counting what was called with one of its caller IDs.
CREATE INDEX runs_trunk ON runs (trunk_id, ended_at);
