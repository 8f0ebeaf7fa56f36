-- roles and scopes: undo

DROP TABLE auth.user_roles;
DROP TABLE auth.roles;
