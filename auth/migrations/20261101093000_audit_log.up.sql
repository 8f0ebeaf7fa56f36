-- audit log
--
-- Who did what to whom. The service may add lines and nothing else: not read, not change, not remove. People are named by
-- id without a foreign key, so that a line outlives them.

CREATE TABLE auth.audit_log (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    action     text        NOT NULL,
    actor_id   uuid,
    subject_id uuid,
    ip         inet,
    request_id text,
    detail     jsonb       NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_log_at_idx ON auth.audit_log (at);
CREATE INDEX audit_log_subject_id_idx ON auth.audit_log (subject_id, at) WHERE subject_id IS NOT NULL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_owner') THEN
        ALTER TABLE auth.audit_log OWNER TO auth_owner;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_app') THEN
        GRANT INSERT ON auth.audit_log TO auth_app;
    END IF;
END
$$;
