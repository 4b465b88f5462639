-- The first schema. Words are the glossary's; states are spelled as in core.model.
-- The referee rules live here: one live run per campaign, one live run per contact list, one live attempt per run
-- contact, one live attempt per phone number and account. Every state change of runs, attempts and run contacts
-- appends one history row by trigger, so no statement can forget it.

CREATE TABLE accounts (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE applications (
    iid text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts,
    name text NOT NULL,
    max_concurrent_calls integer CHECK (max_concurrent_calls > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (account_id, name)
);

CREATE TABLE clients (
    id text PRIMARY KEY,
    iid text NOT NULL REFERENCES applications,
    account_id text NOT NULL REFERENCES accounts,
    secret_encrypted bytea NOT NULL,
    scopes text[] NOT NULL DEFAULT ARRAY['campaign_management'],
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);

CREATE TABLE trunks (
    id text PRIMARY KEY,
    iid text NOT NULL REFERENCES applications,
    name text NOT NULL,
    host text NOT NULL,
    -- 0: ask DNS (SRV) for it
    port integer NOT NULL CHECK (port BETWEEN 0 AND 65535),
    transport text NOT NULL CHECK (transport IN ('udp', 'tcp', 'tls')),
    username text,
    password_encrypted bytea,
    from_domain text,
    number_format text NOT NULL DEFAULT 'e164_plus' CHECK (number_format IN ('e164_plus', 'e164')),
    number_prefix text NOT NULL DEFAULT '',
    max_channels integer NOT NULL CHECK (max_channels > 0),
    calls_per_second double precision NOT NULL CHECK (calls_per_second > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at timestamptz
);
CREATE UNIQUE INDEX trunks_name ON trunks (iid, lower(name)) WHERE removed_at IS NULL;

CREATE TABLE caller_ids (
    iid text NOT NULL REFERENCES applications,
    phone text NOT NULL,
    trunk_id text NOT NULL REFERENCES trunks ON DELETE CASCADE,
    PRIMARY KEY (iid, phone)
);
CREATE INDEX caller_ids_trunk ON caller_ids (trunk_id);

CREATE TABLE flows (
    id text PRIMARY KEY,
    iid text NOT NULL REFERENCES applications,
    name text NOT NULL,
    audio bytea NOT NULL,
    duration_seconds double precision NOT NULL CHECK (duration_seconds > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX flows_name ON flows (iid, lower(name));

CREATE TABLE contact_lists (
    id text PRIMARY KEY,
    iid text NOT NULL REFERENCES applications,
    account_id text NOT NULL REFERENCES accounts,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    source text NOT NULL DEFAULT 'passiveApi',
    allow_duplicates boolean NOT NULL DEFAULT false,
    api_version smallint NOT NULL DEFAULT 2,
    created_by text NOT NULL,
    updated_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX contact_lists_name ON contact_lists (iid, lower(name));

CREATE TABLE contacts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    list_id text NOT NULL REFERENCES contact_lists ON DELETE CASCADE,
    phone text NOT NULL CHECK (phone ~ '^\+[1-9][0-9]{1,14}$'),
    -- NULL where the list allows duplicates: NULLs never collide
    dedupe_phone text,
    time_zone text,
    unique_id text,
    priority smallint NOT NULL DEFAULT 0,
    attributes jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX contacts_list ON contacts (list_id, id);
CREATE UNIQUE INDEX contacts_once ON contacts (list_id, dedupe_phone) WHERE dedupe_phone IS NOT NULL;

CREATE TABLE dnc_lists (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts,
    -- NULL: the account-wide list, checked for every campaign of the account
    iid text REFERENCES applications,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX dnc_lists_account ON dnc_lists (account_id) WHERE iid IS NULL;
CREATE UNIQUE INDEX dnc_lists_name ON dnc_lists (iid, lower(name)) WHERE iid IS NOT NULL;

CREATE TABLE dnc_entries (
    dnc_list_id text NOT NULL REFERENCES dnc_lists ON DELETE CASCADE,
    phone text NOT NULL,
    reason text NOT NULL DEFAULT '',
    added_by text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    PRIMARY KEY (dnc_list_id, phone)
);

CREATE TABLE campaigns (
    id text PRIMARY KEY,
    iid text NOT NULL REFERENCES applications,
    account_id text NOT NULL REFERENCES accounts,
    name text NOT NULL,
    description text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 5),
    mode text NOT NULL,
    rules jsonb NOT NULL,
    flow_id text REFERENCES flows,
    dnc_list_id text REFERENCES dnc_lists,
    state text NOT NULL CHECK (state IN ('preparing', 'ready')),
    api_version smallint NOT NULL,
    queue_name text,
    max_skips integer,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- deleted campaigns keep their rows: attempts and history are evidence
    deleted_at timestamptz
);
CREATE INDEX campaigns_application ON campaigns (iid, created_at) WHERE deleted_at IS NULL;

CREATE TABLE campaign_lists (
    campaign_id text NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    list_id text NOT NULL REFERENCES contact_lists,
    position smallint NOT NULL,
    PRIMARY KEY (campaign_id, list_id)
);
CREATE INDEX campaign_lists_list ON campaign_lists (list_id);

CREATE TABLE runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id text NOT NULL UNIQUE,
    campaign_id text NOT NULL REFERENCES campaigns,
    account_id text NOT NULL REFERENCES accounts,
    iid text NOT NULL REFERENCES applications,
    state text NOT NULL CHECK (state IN ('active', 'paused', 'stopping', 'stopped', 'completed')),
    epoch integer NOT NULL DEFAULT 1,
    -- snapshot taken at start: retries dial by the same rules as first tries
    rules jsonb NOT NULL,
    trunk_id text NOT NULL REFERENCES trunks,
    flow_id text REFERENCES flows,
    dnc_list_ids text[] NOT NULL,
    max_concurrent_calls integer CHECK (max_concurrent_calls > 0),
    calls_per_second double precision CHECK (calls_per_second > 0),
    -- NULL while some list is not read to its end; until then the run cannot complete
    loaded_at timestamptz,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stopping_at timestamptz,
    stop_options jsonb,
    stop_report jsonb,
    ended_at timestamptz,
    changed_by text NOT NULL,
    change_reason text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX runs_live ON runs (campaign_id) WHERE state IN ('active', 'paused', 'stopping');
CREATE INDEX runs_campaign ON runs (campaign_id, id DESC);
CREATE INDEX runs_open ON runs (state) WHERE state IN ('active', 'paused', 'stopping');

-- A contact list serves one live run at a time; the primary key is the referee.
CREATE TABLE run_lists (
    list_id text PRIMARY KEY REFERENCES contact_lists,
    run_id bigint NOT NULL REFERENCES runs ON DELETE CASCADE,
    position smallint NOT NULL,
    -- loading of run contacts: the contact id reached (NULL = not begun), and whether the list is read to its end
    load_cursor bigint,
    loaded boolean NOT NULL DEFAULT false
);
CREATE INDEX run_lists_run ON run_lists (run_id);

CREATE TABLE run_contacts (
    run_id bigint NOT NULL REFERENCES runs ON DELETE CASCADE,
    contact_id bigint NOT NULL,
    phone text NOT NULL,
    -- phone, or 'contact:<id>' where the list allows duplicates: one number is one run contact otherwise
    dedupe_key text NOT NULL,
    -- ascending = dial first; made from priority, order and position when loaded
    sort_key bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'claimed', 'dialing', 'waiting', 'done')),
    attempts_count smallint NOT NULL DEFAULT 0,
    not_before timestamptz,
    done_reason text,
    last_disposition text,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, contact_id),
    CHECK ((state = 'waiting') = (not_before IS NOT NULL)),
    CHECK ((state = 'done') = (done_reason IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE UNIQUE INDEX run_contacts_once ON run_contacts (run_id, dedupe_key);
CREATE INDEX run_contacts_pending ON run_contacts (run_id, sort_key) WHERE state = 'pending';
CREATE INDEX run_contacts_waiting ON run_contacts (run_id, not_before) WHERE state = 'waiting';
CREATE INDEX run_contacts_claimed ON run_contacts (run_id) WHERE state IN ('claimed', 'dialing');

CREATE TABLE engines (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('asterisk', 'simulated')),
    url text,
    username text,
    password_encrypted bytea,
    -- engine clock minus wall clock of the node that measured last
    clock_offset_seconds double precision,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- a person states that it is gone for good: a stop no longer waits for it
    retired_at timestamptz,
    retired_by text
);

CREATE TABLE nodes (
    -- one row per life of a dialer process
    id text PRIMARY KEY,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    stasis_app text NOT NULL UNIQUE,
    engine_id text NOT NULL REFERENCES engines,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL,
    engine_up boolean NOT NULL DEFAULT false,
    -- set on a clean end, or by the survivor that took over its calls
    ended_at timestamptz,
    adopted_by text
);
CREATE INDEX nodes_open ON nodes (lease_until) WHERE ended_at IS NULL;

-- Written before the first permit of a run is put on an engine: a stop fences exactly these.
CREATE TABLE run_engines (
    run_id bigint NOT NULL REFERENCES runs ON DELETE CASCADE,
    engine_id text NOT NULL REFERENCES engines,
    epoch integer NOT NULL,
    PRIMARY KEY (run_id, engine_id, epoch)
);

-- A node that serves a run says here up to which epoch it has dropped it.
CREATE TABLE run_nodes (
    run_id bigint NOT NULL REFERENCES runs ON DELETE CASCADE,
    node_id text NOT NULL REFERENCES nodes ON DELETE CASCADE,
    epoch integer NOT NULL,
    dropped_epoch integer NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, node_id)
);

CREATE TABLE attempts (
    id text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    run_id bigint NOT NULL REFERENCES runs,
    campaign_id text NOT NULL,
    account_id text NOT NULL,
    contact_id bigint NOT NULL,
    phone text NOT NULL,
    caller_id text NOT NULL,
    trunk_id text NOT NULL,
    engine_id text NOT NULL,
    node_id text NOT NULL,
    epoch integer NOT NULL,
    number smallint NOT NULL,
    state text NOT NULL CHECK (state IN ('reserved', 'dialing', 'ringing', 'answered', 'ended', 'unknown')),
    disposition text,
    cause smallint,
    sip_code smallint,
    reserved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dialed_at timestamptz,
    ringing_at timestamptz,
    answered_at timestamptz,
    ended_at timestamptz,
    changed_by text NOT NULL,
    change_reason text NOT NULL DEFAULT '',
    CHECK ((state IN ('ended', 'unknown')) = (disposition IS NOT NULL)),
    CHECK ((state IN ('ended', 'unknown')) = (ended_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX attempts_live_contact ON attempts (run_id, contact_id)
    WHERE state IN ('reserved', 'dialing', 'ringing', 'answered');
CREATE UNIQUE INDEX attempts_live_phone ON attempts (account_id, phone)
    WHERE state IN ('reserved', 'dialing', 'ringing', 'answered');
CREATE INDEX attempts_live_trunk ON attempts (trunk_id)
    WHERE state IN ('reserved', 'dialing', 'ringing', 'answered');
CREATE INDEX attempts_live_node ON attempts (node_id)
    WHERE state IN ('reserved', 'dialing', 'ringing', 'answered');
CREATE INDEX attempts_run ON attempts (run_id, reserved_at);
CREATE INDEX attempts_run_contact ON attempts (run_id, contact_id);

-- Calls-per-second budget, one row per limited thing ('run:7', 'trunk:tr-…'): the next instant a call may leave.
CREATE TABLE rate_budgets (
    key text PRIMARY KEY,
    next_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    account_id text,
    campaign_id text,
    run_id bigint,
    contact_id bigint,
    attempt_id text,
    action text NOT NULL,
    from_state text,
    to_state text,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    detail jsonb
);
CREATE INDEX history_run ON history (run_id, id);
CREATE INDEX history_campaign ON history (campaign_id, id);

CREATE FUNCTION outdial_history_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (account_id, campaign_id, run_id, action, from_state, to_state, actor, reason, detail)
    VALUES (NEW.account_id, NEW.campaign_id, NEW.id, 'run', CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state,
            NEW.changed_by, NEW.change_reason, jsonb_build_object('epoch', NEW.epoch));
    RETURN NULL;
END $$;
CREATE TRIGGER runs_history_insert AFTER INSERT ON runs FOR EACH ROW EXECUTE FUNCTION outdial_history_run();
CREATE TRIGGER runs_history_update AFTER UPDATE ON runs FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.epoch IS DISTINCT FROM NEW.epoch)
    EXECUTE FUNCTION outdial_history_run();

CREATE FUNCTION outdial_history_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (account_id, campaign_id, run_id, contact_id, attempt_id, action, from_state, to_state, actor,
                         reason, detail)
    VALUES (NEW.account_id, NEW.campaign_id, NEW.run_id, NEW.contact_id, NEW.id, 'attempt',
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state, NEW.changed_by, NEW.change_reason,
            CASE WHEN NEW.disposition IS NOT NULL THEN
                jsonb_build_object('disposition', NEW.disposition, 'cause', NEW.cause, 'sip_code', NEW.sip_code) END);
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_history_insert AFTER INSERT ON attempts FOR EACH ROW
    EXECUTE FUNCTION outdial_history_attempt();
CREATE TRIGGER attempts_history_update AFTER UPDATE ON attempts FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION outdial_history_attempt();

CREATE FUNCTION outdial_history_run_contact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (run_id, contact_id, action, from_state, to_state, actor, reason)
    VALUES (NEW.run_id, NEW.contact_id, 'run_contact', OLD.state, NEW.state, NEW.changed_by,
            coalesce(NEW.done_reason, ''));
    RETURN NULL;
END $$;
CREATE TRIGGER run_contacts_history AFTER UPDATE ON run_contacts FOR EACH ROW
    -- claimed and dialing move together with the attempt, whose own row tells them
    WHEN (OLD.state IS DISTINCT FROM NEW.state AND NEW.state IN ('pending', 'waiting', 'done'))
    EXECUTE FUNCTION outdial_history_run_contact();
