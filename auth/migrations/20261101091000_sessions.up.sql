-- sessions
--
-- One row is one logged-in device. Its refresh token changes with every use; the row remembers the token before the
-- current one for the grace window, and anything older is a stolen token. Only digests are kept.

CREATE TABLE auth.sessions (
    id             uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    generation     bigint      NOT NULL DEFAULT 0,
    token_hash     bytea       NOT NULL,
    previous_hash  bytea,
    successor      bytea,
    rotated_at     timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    last_used_at   timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    revoked_reason text,
    ip             inet,
    user_agent     text        CHECK (length(user_agent) <= 512)
);
COMMENT ON COLUMN auth.sessions.generation IS 'how often the refresh token was rotated';
COMMENT ON COLUMN auth.sessions.token_hash IS 'SHA-256 of the current refresh token';
COMMENT ON COLUMN auth.sessions.previous_hash IS 'SHA-256 of the one before, good for the grace window after rotated_at';
COMMENT ON COLUMN auth.sessions.successor IS 'the current token, sealed by the service, for a repeat within the grace window';

CREATE UNIQUE INDEX sessions_token_hash_key ON auth.sessions (token_hash);
CREATE INDEX sessions_previous_hash_idx ON auth.sessions (previous_hash) WHERE previous_hash IS NOT NULL;
CREATE INDEX sessions_user_id_idx ON auth.sessions (user_id);
CREATE INDEX sessions_expires_at_idx ON auth.sessions (expires_at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_owner') THEN
        ALTER TABLE auth.sessions OWNER TO auth_owner;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_app') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON auth.sessions TO auth_app;
    END IF;
END
$$;
