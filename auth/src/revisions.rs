//! The revisions of the service's database, built in for a first start without a directory. A test
//! holds the list to the directory.

use weir_migrate::built_in::{BuiltIn, Roles};

/// Name and text of each embedded file.
macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(
            (concat!($name, ".up.sql"), include_str!(concat!("../migrations/", $name, ".up.sql"))),
            (
                concat!($name, ".down.sql"),
                include_str!(concat!("../migrations/", $name, ".down.sql")),
            ),
        )*]
    };
}

/// Revisions, and the roles that `postgres_init.sql` makes.
pub const BUILT_IN: BuiltIn = BuiltIn {
    files: embedded![
        "20261101090000_create_initial_tables",
        "20261101090500_create_a_column_country",
        "20261101091000_sessions",
        "20261101091500_roles_and_scopes",
        "20261101092000_one_time_tokens",
        "20261101092500_clients",
        "20261101093000_audit_log",
        "20261101093500_users_keyset_index",
        "20261130050000_canonical_names",
        "20261130050500_drop_what_nothing_reads",
        "20261130120000_drop_unused_scopes_and_rights",
    ],
    roles: Roles { owner: Some("auth_owner"), reader: Some("auth_app") },
};
