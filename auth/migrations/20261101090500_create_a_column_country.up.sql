-- create a column country
--
-- ISO 3166-1 alpha-2 in capitals, or unknown. Without a default, so the table is not rewritten.

ALTER TABLE auth.users ADD COLUMN country text CHECK (country ~ '^[A-Z]{2}$');
COMMENT ON COLUMN auth.users.country IS 'ISO 3166-1 alpha-2';
