-- no-transaction
-- users keyset index
--
-- Lists of people are read newest first, from where the last page ended. Built while people write, which PostgreSQL does
-- not do inside a transaction; a half-built index of an interrupted attempt is dropped first, so this can be run again.

DROP INDEX CONCURRENTLY IF EXISTS auth.users_keyset_idx;

CREATE INDEX CONCURRENTLY users_keyset_idx ON auth.users (created_at DESC, id DESC);
