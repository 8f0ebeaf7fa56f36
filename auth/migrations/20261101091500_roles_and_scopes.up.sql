-- roles and scopes
--
-- A role is a named set of scopes. Which roles exist is decided here, in revisions; who has them, by the service.

CREATE TABLE auth.roles (
    name        text   PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,31}$'),
    description text   NOT NULL,
    scopes      text[] NOT NULL DEFAULT '{}'
);

CREATE TABLE auth.user_roles (
    user_id    uuid        NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    role       text        NOT NULL REFERENCES auth.roles (name),
    granted_at timestamptz NOT NULL DEFAULT now(),
    granted_by uuid        REFERENCES auth.users (id) ON DELETE SET NULL,
    PRIMARY KEY (user_id, role)
);
CREATE INDEX user_roles_role_idx ON auth.user_roles (role);
CREATE INDEX user_roles_granted_by_idx ON auth.user_roles (granted_by) WHERE granted_by IS NOT NULL;

INSERT INTO auth.roles (name, description, scopes) VALUES
    ('user',  'everyone who signed up', '{profile:read,profile:write}'),
    ('admin', 'reads and changes everyone', '{profile:read,profile:write,users:read,users:write}');

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_owner') THEN
        ALTER TABLE auth.roles OWNER TO auth_owner;
        ALTER TABLE auth.user_roles OWNER TO auth_owner;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_app') THEN
        GRANT SELECT ON auth.roles TO auth_app;
        GRANT SELECT, INSERT, DELETE ON auth.user_roles TO auth_app;
    END IF;
END
$$;
