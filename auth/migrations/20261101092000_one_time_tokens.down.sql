-- one time tokens: undo
--
-- Links already mailed stop working.

DROP TABLE auth.one_time_tokens;
