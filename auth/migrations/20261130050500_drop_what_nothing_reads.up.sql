-- drop what nothing reads
--
-- Columns that were written and never read, or neither. Refresh tokens are told apart by their seal and the generation.

DROP INDEX auth.sessions_previous_hash_idx;
ALTER TABLE auth.sessions DROP COLUMN previous_hash, DROP COLUMN successor;
ALTER TABLE auth.users DROP COLUMN email_verified_at;
ALTER TABLE auth.clients DROP COLUMN scopes;
DROP INDEX auth.user_roles_granted_by_idx;
ALTER TABLE auth.user_roles DROP COLUMN granted_by;
ALTER TABLE auth.audit_log DROP COLUMN detail;

DELETE FROM auth.one_time_tokens WHERE purpose <> 'password_reset';
ALTER TABLE auth.one_time_tokens
    DROP CONSTRAINT one_time_tokens_purpose_check,
    ADD CONSTRAINT one_time_tokens_purpose_check CHECK (purpose = 'password_reset');
