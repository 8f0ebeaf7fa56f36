-- no-transaction
-- users keyset index: undo

DROP INDEX CONCURRENTLY IF EXISTS auth.users_keyset_idx;
