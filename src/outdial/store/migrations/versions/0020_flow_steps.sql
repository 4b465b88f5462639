-- What people said on calls, with their consent: the files are in the data folder of the machine that made them.
CREATE TABLE recordings (
    id text PRIMARY KEY,
    attempt_id text NOT NULL REFERENCES attempts,
    -- of the flow
    step text NOT NULL,
    duration_seconds double precision NOT NULL CHECK (duration_seconds > 0),
    size_bytes bigint NOT NULL CHECK (size_bytes > 0),
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    -- name of the machine, and where the file is in its folder of recordings
    host text NOT NULL,
    file text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the file is gone; that there was one stays
    removed_at timestamptz
);
CREATE INDEX recordings_attempt ON recordings (attempt_id);

-- Calls placed to connect whoever is on the line with somebody else. Written before each is placed; how long it rang and
-- talked is in the engine's records.
CREATE TABLE transfers (
    -- channel id at the engine
    id text PRIMARY KEY,
    attempt_id text NOT NULL REFERENCES attempts,
    run_id bigint NOT NULL REFERENCES runs,
    epoch integer NOT NULL,
    engine_id text NOT NULL,
    -- as the INVITE has it: a number as the trunk writes it, or the user part of a SIP address there
    dialed text NOT NULL,
    -- E.164, NULL for a SIP address
    phone text,
    reserved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the engine has taken it; NULL: an engine may be about to, as long as it has not ended
    dialed_at timestamptz,
    ended_at timestamptz,
    answered boolean,
    -- how it ended when nobody answered, in the words of dispositions
    outcome text
);
CREATE INDEX transfers_run ON transfers (run_id, reserved_at);
CREATE INDEX transfers_attempt ON transfers (attempt_id);
CREATE INDEX transfers_open ON transfers (phone) WHERE ended_at IS NULL;
CREATE INDEX transfers_phone ON transfers (phone, reserved_at);
