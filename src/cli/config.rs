//! `weir config`: the resolved configuration, and the schema of the file.

use super::{
    arguments::ConfigArgs,
    outcome::{Outcome, print, print_problems, usable},
};
use crate::config;

/// Show the configuration as used, or its schema.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigCommand {
    #[command(subcommand)]
    what: ConfigAction,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum ConfigAction {
    /// The configuration as used, with every default, as YAML
    Show(ConfigArgs),
    /// The JSON schema of the file, for editors
    Schema,
}

impl ConfigCommand {
    /// Prints it; exits 3 when the configuration cannot be used.
    #[must_use]
    pub fn run(self) -> Outcome {
        let which = match self.what {
            ConfigAction::Schema => return print(&config::schema()),
            ConfigAction::Show(which) => which,
        };
        match usable(config::load(&which.path(), &which.sets)) {
            Ok(loaded) => {
                print_problems(&loaded.warnings);
                print(&config::show(&loaded))
            }
            Err(outcome) => outcome,
        }
    }
}
