-- create initial tables
--
-- The schema and its people. Ids are UUID v7, made by the service, so that they sort by the time they were made.
-- Names and addresses are kept as typed and compared in lower case.

CREATE SCHEMA auth;
COMMENT ON SCHEMA auth IS 'Sign-up, login and tokens; changed by migrations only';

CREATE TABLE auth.users (
    id                uuid        PRIMARY KEY CHECK (get_byte(uuid_send(id), 6) >> 4 = 7),
    username          text        NOT NULL CHECK (length(username) BETWEEN 1 AND 64),
    email             text        NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    password_hash     text        NOT NULL,
    version           bigint      NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    email_verified_at timestamptz,
    disabled_at       timestamptz
);
COMMENT ON COLUMN auth.users.password_hash IS 'argon2id in PHC form, its parameters inside';
COMMENT ON COLUMN auth.users.version IS 'grows by one with every change; a cached copy with a smaller one is old';

CREATE UNIQUE INDEX users_username_key ON auth.users (lower(username));
CREATE UNIQUE INDEX users_email_key ON auth.users (lower(email));

-- The version grows whoever writes, so that no write can be missed by a cache.
CREATE FUNCTION auth.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION auth.touch() FROM PUBLIC;

CREATE TRIGGER users_touch BEFORE UPDATE ON auth.users FOR EACH ROW EXECUTE FUNCTION auth.touch();

-- Who owns and who may use it. The roles come from postgres_init.sql; without them (a test's database) nothing is granted.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_owner') THEN
        ALTER SCHEMA auth OWNER TO auth_owner;
        ALTER TABLE auth.users OWNER TO auth_owner;
        ALTER FUNCTION auth.touch() OWNER TO auth_owner;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_app') THEN
        GRANT USAGE ON SCHEMA auth TO auth_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON auth.users TO auth_app;
    END IF;
END
$$;
