-- drop unused scopes and rights
--
-- Scopes that nothing asks for, and rights that the service makes no use of: it disables people and clients, and removes none.

UPDATE auth.roles SET scopes = array_remove(array_remove(scopes, 'profile:read'), 'profile:write');

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'auth_app') THEN
        REVOKE DELETE ON auth.users, auth.clients FROM auth_app;
    END IF;
END
$$;
