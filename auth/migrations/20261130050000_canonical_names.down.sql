-- canonical names: undo

CREATE UNIQUE INDEX users_username_key ON auth.users (lower(username));
CREATE UNIQUE INDEX users_email_key ON auth.users (lower(email));
DROP TRIGGER users_fill_canonical ON auth.users;
DROP FUNCTION auth.fill_canonical();
ALTER TABLE auth.users DROP COLUMN username_canonical, DROP COLUMN email_canonical;
