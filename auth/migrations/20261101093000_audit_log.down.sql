-- audit log: undo
--
-- The history is lost: copy the table first if it matters.

DROP TABLE auth.audit_log;
