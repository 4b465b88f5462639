-- Verdicts about who has answered that are kept for review, and what somebody who listened says of them.

-- those that are kept: detection is {verdict, cause, seconds, timings, sample}, sample {failure} (core.machine.Sample)
CREATE INDEX attempts_sampled ON attempts (answered_at, id) WHERE detection ->> 'sample' IS NOT NULL;

CREATE TABLE machine_reviews (
    attempt_id text PRIMARY KEY REFERENCES attempts,
    actual text NOT NULL CHECK (actual IN ('person', 'machine', 'unclear')),
    reviewed_by text NOT NULL,
    reviewed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
