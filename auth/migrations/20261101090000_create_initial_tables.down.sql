-- create initial tables: undo
--
-- No CASCADE: whatever else was put into the schema stops this instead of disappearing with it.

DROP TABLE auth.users;
DROP FUNCTION auth.touch();
DROP SCHEMA auth;
