-- Flows of several steps: a document and the sounds it names, in place of one recording.

ALTER TABLE flows ADD COLUMN document jsonb;
UPDATE flows SET document = '{"start": "message", "steps": {"message": {"play": "message"}},
                              "sounds": {"message": "message.wav"}}';
ALTER TABLE flows ALTER COLUMN document SET NOT NULL;

CREATE TABLE flow_sounds (
    flow_id text NOT NULL REFERENCES flows,
    -- as the document names it
    file text NOT NULL,
    audio bytea NOT NULL,
    duration_seconds double precision NOT NULL CHECK (duration_seconds > 0),
    PRIMARY KEY (flow_id, file)
);
INSERT INTO flow_sounds (flow_id, file, audio, duration_seconds)
SELECT id, 'message.wav', audio, duration_seconds FROM flows WHERE removed_at IS NULL;
ALTER TABLE flows DROP COLUMN audio;
-- of all its sounds together; texts that are spoken have none
ALTER TABLE flows DROP CONSTRAINT flows_duration_seconds_check;
ALTER TABLE flows ADD CHECK (duration_seconds >= 0);

-- What came of an answered call's flow: written once, with the attempt's end.
CREATE TABLE flow_outcomes (
    attempt_id text PRIMARY KEY REFERENCES attempts,
    flow_id text NOT NULL REFERENCES flows,
    -- in the flow's own words
    result text,
    opted_out boolean NOT NULL,
    -- steps in the order in which they were taken
    path text[] NOT NULL,
    -- false: the call ended before its flow did
    finished boolean NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
