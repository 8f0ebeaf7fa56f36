//! The revisions built into this program, for a first start without a directory. A test holds the list to the directory.

/// The name and the text of every embedded file.
macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(
            (concat!($name, ".up.sql"), include_str!(concat!("../../auth/migrations/", $name, ".up.sql"))),
            (concat!($name, ".down.sql"), include_str!(concat!("../../auth/migrations/", $name, ".down.sql"))),
        )*]
    };
}

/// File names and texts.
pub const FILES: &[(&str, &str)] = embedded![
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
];
