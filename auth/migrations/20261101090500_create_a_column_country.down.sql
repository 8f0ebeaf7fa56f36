-- create a column country: undo

ALTER TABLE auth.users DROP COLUMN country;
