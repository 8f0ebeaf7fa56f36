//! `auth migrate` and the revisions it carries, against a real PostgreSQL.

mod built_in;
mod revisions;
