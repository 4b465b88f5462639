-- What the columns of an imported file are called and hold: [{"column": "Telefon", "field": "phoneNumber"}, …], in the
-- order of the file. NULL: its rows have not been begun, or had been before this was noted.
ALTER TABLE imports ADD COLUMN columns jsonb;
-- a contact list names the files it has its contacts from
CREATE INDEX imports_list ON imports (list_id, created_at) INCLUDE (state) WHERE list_id IS NOT NULL;
