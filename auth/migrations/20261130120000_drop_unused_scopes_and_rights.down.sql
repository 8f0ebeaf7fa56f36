-- drop unused scopes and rights: undo

UPDATE auth.roles SET scopes = ARRAY['profile:read', 'profile:write'] || scopes WHERE name IN ('user', 'admin');

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_app') THEN
        GRANT DELETE ON auth.users, auth.clients TO auth_app;
    END IF;
END
$$;
