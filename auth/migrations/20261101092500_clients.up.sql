-- clients
--
-- Programs that may ask about and revoke tokens (RFC 7662, RFC 7009).

CREATE TABLE auth.clients (
    id          text        PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    name        text        NOT NULL,
    secret_hash text        NOT NULL,
    scopes      text[]      NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
);
COMMENT ON COLUMN auth.clients.secret_hash IS 'the secret itself is shown once, when the client is made';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_owner') THEN
        ALTER TABLE auth.clients OWNER TO auth_owner;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_app') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON auth.clients TO auth_app;
    END IF;
END
$$;
