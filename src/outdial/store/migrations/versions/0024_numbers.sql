-- Contacts that somebody wants called now come first in the queue of their run.

-- Since when, and who asked. It says who comes first and adds no attempt: the gate, caps and rates stay what they are.
-- It is kept while the contact is being called, so that one of which nothing was sent comes first again.
ALTER TABLE run_contacts ADD COLUMN asked_at timestamptz, ADD COLUMN asked_by text,
    ADD CHECK ((asked_at IS NULL) = (asked_by IS NULL));
CREATE INDEX run_contacts_asked ON run_contacts (run_id, asked_at) WHERE asked_at IS NOT NULL;

-- Whoever was called, put off or is done is not asked for any more.
CREATE FUNCTION outdial_asked_is_over() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.asked_at := NULL;
    NEW.asked_by := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER run_contacts_asked_is_over BEFORE UPDATE ON run_contacts FOR EACH ROW
    WHEN (OLD.asked_at IS NOT NULL AND NEW.state IN ('waiting', 'done')
          AND (OLD.state IS DISTINCT FROM NEW.state OR OLD.not_before IS DISTINCT FROM NEW.not_before))
    EXECUTE FUNCTION outdial_asked_is_over();
