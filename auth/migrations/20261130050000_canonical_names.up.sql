-- canonical names
--
-- Names and addresses are compared in a form the service makes: NFC in lower case. The locale of the database decided before,
-- and with some of them `I` and `i` are two letters. A trigger fills in what another writer leaves out, by rules no locale has
-- a say in.

ALTER TABLE auth.users ADD COLUMN username_canonical text, ADD COLUMN email_canonical text;
COMMENT ON COLUMN auth.users.username_canonical IS 'in lower case; unique, and what a login is looked up by';
COMMENT ON COLUMN auth.users.email_canonical IS 'NFC in lower case; unique, and what a login is looked up by';

CREATE FUNCTION auth.fill_canonical() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.username_canonical := lower(NEW.username COLLATE "C");
    -- Of other letters the service knows more than this does; of these it knows the same.
    IF NEW.email !~ '[^[:ascii:]]' THEN
        NEW.email_canonical := lower(NEW.email COLLATE "C");
    ELSIF NEW.email_canonical IS NULL AND current_setting('server_encoding') = 'UTF8' THEN
        NEW.email_canonical := lower(normalize(NEW.email, NFC) COLLATE "C");
    ELSIF NEW.email_canonical IS NULL THEN
        NEW.email_canonical := lower(NEW.email COLLATE "C");
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION auth.fill_canonical() FROM PUBLIC;

CREATE TRIGGER users_fill_canonical BEFORE INSERT OR UPDATE ON auth.users
    FOR EACH ROW EXECUTE FUNCTION auth.fill_canonical();

UPDATE auth.users SET email_canonical = NULL;

ALTER TABLE auth.users ALTER COLUMN username_canonical SET NOT NULL, ALTER COLUMN email_canonical SET NOT NULL;
CREATE UNIQUE INDEX users_username_canonical_key ON auth.users (username_canonical);
CREATE UNIQUE INDEX users_email_canonical_key ON auth.users (email_canonical);
DROP INDEX auth.users_username_key, auth.users_email_key;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_owner') THEN
        ALTER FUNCTION auth.fill_canonical() OWNER TO auth_owner;
    END IF;
END
$$;
