-- sessions: undo
--
-- Everyone is logged out.

DROP TABLE auth.sessions;
