-- one time tokens
--
-- What a mailed link carries. Spending one is a single UPDATE that sets used_at where it is still null, so that of two
-- clicks one wins.

CREATE TABLE auth.one_time_tokens (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    purpose    text        NOT NULL CHECK (purpose IN ('password_reset', 'email_verify')),
    token_hash bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
COMMENT ON COLUMN auth.one_time_tokens.token_hash IS 'SHA-256; the token itself is only in the mail';

CREATE UNIQUE INDEX one_time_tokens_token_hash_key ON auth.one_time_tokens (token_hash);
CREATE INDEX one_time_tokens_user_id_idx ON auth.one_time_tokens (user_id);
CREATE INDEX one_time_tokens_expires_at_idx ON auth.one_time_tokens (expires_at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_owner') THEN
        ALTER TABLE auth.one_time_tokens OWNER TO auth_owner;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_app') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON auth.one_time_tokens TO auth_app;
    END IF;
END
$$;
