-- drop what nothing reads: undo

ALTER TABLE auth.one_time_tokens
    DROP CONSTRAINT one_time_tokens_purpose_check,
    ADD CONSTRAINT one_time_tokens_purpose_check CHECK (purpose IN ('password_reset', 'email_verify'));
ALTER TABLE auth.audit_log ADD COLUMN detail jsonb NOT NULL DEFAULT '{}';
ALTER TABLE auth.user_roles ADD COLUMN granted_by uuid REFERENCES auth.users (id) ON DELETE SET NULL;
CREATE INDEX user_roles_granted_by_idx ON auth.user_roles (granted_by) WHERE granted_by IS NOT NULL;
ALTER TABLE auth.clients ADD COLUMN scopes text[] NOT NULL DEFAULT '{}';
ALTER TABLE auth.users ADD COLUMN email_verified_at timestamptz;
ALTER TABLE auth.sessions ADD COLUMN previous_hash bytea, ADD COLUMN successor bytea;
CREATE INDEX sessions_previous_hash_idx ON auth.sessions (previous_hash) WHERE previous_hash IS NOT NULL;
COMMENT ON COLUMN auth.sessions.previous_hash IS 'SHA-256 of the one before, good for the grace window after rotated_at';
COMMENT ON COLUMN auth.sessions.successor IS 'the current token, sealed by the service, for a repeat within the grace window';
