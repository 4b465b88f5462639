-- Limits of an account: what it holds is counted as it changes, since counting millions of rows at every change would
-- be too slow. Each statement that adds or removes contacts or lists moves the counts in its own transaction.
--
-- The count of a list also does what the foreign key of contacts did, once per statement instead of once per row (a
-- third of the cost of adding contacts in bulk): it locks the list, and no list means an error. A list that is deleted
-- takes its contacts with it.

CREATE TABLE account_usage (
    account_id text PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
    lists_count integer NOT NULL DEFAULT 0 CHECK (lists_count >= 0),
    contacts_count bigint NOT NULL DEFAULT 0 CHECK (contacts_count >= 0)
) WITH (fillfactor = 50);

LOCK TABLE accounts, contact_lists, contacts IN SHARE ROW EXCLUSIVE MODE;

ALTER TABLE contact_lists ADD COLUMN contacts_count bigint NOT NULL DEFAULT 0 CHECK (contacts_count >= 0);
UPDATE contact_lists l SET contacts_count = c.count
  FROM (SELECT list_id, count(*) FROM contacts GROUP BY list_id) c WHERE c.list_id = l.id;
INSERT INTO account_usage (account_id, lists_count, contacts_count)
SELECT a.id, count(l.id), coalesce(sum(l.contacts_count), 0)
  FROM accounts a LEFT JOIN contact_lists l ON l.account_id = a.id GROUP BY a.id;

ALTER TABLE contacts DROP CONSTRAINT contacts_list_id_fkey;
-- the same as '^\+[1-9][0-9]{1,14}$', in a quarter of the time
ALTER TABLE contacts DROP CONSTRAINT contacts_phone_check, ADD CONSTRAINT contacts_phone_check
    CHECK (length(phone) BETWEEN 3 AND 16 AND rtrim(phone, '0123456789') = '+' AND substr(phone, 2, 1) <> '0');
-- one instant for all rows of a statement, and both columns the same
ALTER TABLE contacts ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now();

CREATE FUNCTION outdial_usage_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO account_usage (account_id) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_usage AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION outdial_usage_account();

CREATE FUNCTION outdial_usage_list() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE account_usage SET lists_count = lists_count + 1 WHERE account_id = NEW.account_id;
    ELSE
        UPDATE account_usage SET lists_count = lists_count - 1, contacts_count = contacts_count - OLD.contacts_count
         WHERE account_id = OLD.account_id;
        DELETE FROM contacts WHERE list_id = OLD.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER contact_lists_usage AFTER INSERT OR DELETE ON contact_lists FOR EACH ROW
    EXECUTE FUNCTION outdial_usage_list();

CREATE FUNCTION outdial_usage_contacts_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted bigint;
    found bigint;
BEGIN
    WITH added AS (SELECT list_id, count(*) AS count FROM new_contacts GROUP BY list_id),
         lists AS (UPDATE contact_lists l SET contacts_count = l.contacts_count + a.count
                     FROM added a WHERE l.id = a.list_id RETURNING l.account_id, a.count),
         usage AS (UPDATE account_usage u SET contacts_count = u.contacts_count + o.count
                     FROM (SELECT account_id, sum(count) AS count FROM lists GROUP BY account_id) o
                    WHERE u.account_id = o.account_id)
    SELECT (SELECT count(*) FROM added), (SELECT count(*) FROM lists) INTO wanted, found;
    IF wanted <> found THEN
        RAISE foreign_key_violation USING MESSAGE = 'contacts are added to a contact list that does not exist';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER contacts_added AFTER INSERT ON contacts REFERENCING NEW TABLE AS new_contacts FOR EACH STATEMENT
    EXECUTE FUNCTION outdial_usage_contacts_added();

-- Of a list that is deleted nothing is found here any more: its own trigger has counted.
CREATE FUNCTION outdial_usage_contacts_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH removed AS (SELECT list_id, count(*) AS count FROM old_contacts GROUP BY list_id),
         lists AS (UPDATE contact_lists l SET contacts_count = l.contacts_count - r.count
                     FROM removed r WHERE l.id = r.list_id RETURNING l.account_id, r.count)
    UPDATE account_usage u SET contacts_count = u.contacts_count - o.count
      FROM (SELECT account_id, sum(count) AS count FROM lists GROUP BY account_id) o
     WHERE u.account_id = o.account_id;
    RETURN NULL;
END $$;
CREATE TRIGGER contacts_removed AFTER DELETE ON contacts REFERENCING OLD TABLE AS old_contacts FOR EACH STATEMENT
    EXECUTE FUNCTION outdial_usage_contacts_removed();

CREATE FUNCTION outdial_contact_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE integrity_constraint_violation USING MESSAGE = 'a contact stays in its contact list';
END $$;
CREATE TRIGGER contacts_stay BEFORE UPDATE OF list_id ON contacts FOR EACH ROW
    WHEN (OLD.list_id IS DISTINCT FROM NEW.list_id) EXECUTE FUNCTION outdial_contact_stays();

-- Imports of contacts from files. Rows are added in lots; each moves the counts and the position in its own
-- transaction, so that a crash loses nothing and adds nothing twice.

CREATE TABLE imports (
    id text PRIMARY KEY,
    iid text NOT NULL REFERENCES applications,
    account_id text NOT NULL REFERENCES accounts,
    state text NOT NULL CHECK (state IN ('receiving', 'running', 'done', 'failed', 'cancelled')),
    file_name text NOT NULL,
    sheet text,
    mapping jsonb NOT NULL,
    default_region text,
    list_name text NOT NULL,
    -- no foreign key: an import is kept when its list is deleted
    list_id text,
    create_list boolean NOT NULL,
    list_created boolean NOT NULL DEFAULT false,
    received_bytes bigint NOT NULL DEFAULT 0,
    position bigint NOT NULL DEFAULT 0,
    size bigint NOT NULL DEFAULT 0,
    rows bigint NOT NULL DEFAULT 0,
    added bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    bad bigint NOT NULL DEFAULT 0,
    beyond bigint NOT NULL DEFAULT 0,
    on_dnc bigint NOT NULL DEFAULT 0,
    failure text NOT NULL DEFAULT '',
    -- the process that adds rows now, and until when nobody else may begin
    runner text,
    lease_until timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    changed_by text NOT NULL,
    change_reason text NOT NULL DEFAULT '',
    CHECK (rows = added + duplicates + bad + beyond),
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    CHECK ((runner IS NULL) = (lease_until IS NULL)),
    CHECK (runner IS NULL OR state = 'running')
) WITH (fillfactor = 50);
CREATE INDEX imports_application ON imports (iid, created_at);

-- The first of the rows that were not imported; all are counted.
CREATE TABLE import_errors (
    import_id text NOT NULL REFERENCES imports ON DELETE CASCADE,
    line bigint NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (import_id, line)
);

CREATE FUNCTION outdial_history_import() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (account_id, action, from_state, to_state, actor, reason, detail)
    VALUES (NEW.account_id, 'import', CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state, NEW.changed_by,
            NEW.change_reason,
            jsonb_build_object('import_id', NEW.id, 'list_id', NEW.list_id, 'file_name', NEW.file_name,
                               'rows', NEW.rows, 'added', NEW.added));
    RETURN NULL;
END $$;
CREATE TRIGGER imports_history_insert AFTER INSERT ON imports FOR EACH ROW EXECUTE FUNCTION outdial_history_import();
CREATE TRIGGER imports_history_update AFTER UPDATE ON imports FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION outdial_history_import();
