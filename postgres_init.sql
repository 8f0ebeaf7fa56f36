-- What the database needs before the first migration: three roles, one database, and nothing for anybody else.
--
-- The database image runs this file once, on an empty volume; running it again changes nothing but the passwords, which
-- become what the secret files say. Tables are not made here: `migrate upgrade head` does that.
--
--   auth_owner      owns every table; nobody logs in as this role
--   auth_migrator   changes tables: what it does, it does as auth_owner
--   auth_app        reads and writes rows, as far as each revision grants it
--
-- By hand:  psql -U postgres -v secrets=/path/to/secrets -f postgres_init.sql

\set ON_ERROR_STOP on

-- The statements below contain passwords: none of them may reach the log, not even one that fails.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';

-- A second run has nothing to notice.
SET client_min_messages = 'warning';

-- Passwords are files, one each. psql drops the newline at the end.
\if :{?secrets}
\else
    \set secrets /run/secrets
\endif
\set migrator_password `cat :'secrets'/auth_migrator_password`
\set app_password `cat :'secrets'/auth_app_password`

-- Stop before anything is made: a half-made volume would never be finished, because the next start finds it not empty.
SELECT :'migrator_password' = '' OR :'app_password' = '' AS unreadable \gset
\if :unreadable
    DO $$ BEGIN RAISE EXCEPTION 'a password file is empty or cannot be read'; END $$;
\endif

-- Roles. There is no CREATE ROLE IF NOT EXISTS, so each statement is written by a query that finds it missing.
BEGIN;

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['auth_owner', 'auth_migrator', 'auth_app']) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE auth_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE auth_migrator LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'migrator_password';
ALTER ROLE auth_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'app_password';

GRANT auth_owner TO auth_migrator;

-- A migration that waits for a lock names the session that has it: since when and what for is hidden from others without this.
GRANT pg_read_all_stats TO auth_owner;

COMMIT;

\unset migrator_password
\unset app_password

-- The database. The image may have made it already.
SELECT 'CREATE DATABASE auth'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'auth')
\gexec

ALTER DATABASE auth OWNER TO auth_owner;

-- The migrator becomes the owner as soon as it is connected, so that whatever it makes belongs to auth_owner.
ALTER ROLE auth_migrator IN DATABASE auth SET role = 'auth_owner';

-- A request that takes longer has long been given up by its client.
ALTER ROLE auth_app IN DATABASE auth SET statement_timeout = '10s';
ALTER ROLE auth_app IN DATABASE auth SET idle_in_transaction_session_timeout = '10s';

-- PUBLIC is everybody who can log in: it gets nothing, not even a connection.
REVOKE ALL ON DATABASE auth, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE auth TO auth_migrator, auth_app;

\connect auth

REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE auth_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE auth_owner REVOKE USAGE ON TYPES FROM PUBLIC;
