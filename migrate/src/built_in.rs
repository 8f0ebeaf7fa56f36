//! Revisions and roles that a program carries which embeds the migrations.

/// Revisions of a program for a first start without a directory, and the roles its database may
/// have.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// File names and texts: an `.up.sql` for each revision, and a `.down.sql` where it can be
    /// undone.
    pub files: &'static [(&'static str, &'static str)],
    /// Roles that get the table of what was applied.
    pub roles: Roles,
}

impl BuiltIn {
    /// No revision and no role: for a program that only works on a directory.
    pub const NONE: Self = Self { files: &[], roles: Roles::NONE };
}

/// Roles that get the table of what was applied when it is made, as far as they exist. Plain
/// lower-case names: they are written into SQL as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Owner of the schema `migrations`.
    pub owner: Option<&'static str>,
    /// Role of the service, which checks at its start whether the database is at head.
    pub reader: Option<&'static str>,
}

impl Roles {
    /// No role: the user that runs the migrations owns the table, and no other reads it.
    pub const NONE: Self = Self { owner: None, reader: None };

    /// Returns the statements that hand the table over, each a no-op where its role does not exist.
    #[must_use]
    pub fn grants(self) -> String {
        let owner = self.owner.map(|role| {
            let change = format!(
                "ALTER SCHEMA migrations OWNER TO {role};\n        ALTER TABLE migrations.applied \
                 OWNER TO {role};"
            );
            (role, change)
        });
        let reader = self.reader.map(|role| {
            let change = format!(
                "GRANT USAGE ON SCHEMA migrations TO {role};\n        GRANT SELECT ON \
                 migrations.applied TO {role};"
            );
            (role, change)
        });
        owner
            .into_iter()
            .chain(reader)
            .map(|(role, change)| where_it_exists(role, &change))
            .collect()
    }
}

fn where_it_exists(role: &str, change: &str) -> String {
    format!(
        "DO $$\nBEGIN\n    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN\n       \
         {change}\n    \
         END IF;\nEND\n$$;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_name_each_role_once_and_nothing_without_roles() {
        assert_eq!(BuiltIn::NONE.roles.grants(), "");
        let grants = Roles { owner: Some("o"), reader: Some("r") }.grants();
        assert_eq!(grants.matches("DO $$").count(), 2, "{grants}");
        assert!(grants.contains("ALTER TABLE migrations.applied OWNER TO o;"), "{grants}");
        assert!(grants.contains("GRANT SELECT ON migrations.applied TO r;"), "{grants}");
    }
}
