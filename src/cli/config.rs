//! `weir config`: the configuration as used, and the schema it follows.

use super::{Outcome, Which, complain, say};
use crate::config;

/// Show the configuration as used, or its schema.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// The configuration as used, with every default, as YAML
    Show(Which),
    /// The JSON schema of the file, for editors
    Schema,
}

impl Config {
    /// Shows; exits 3 when the configuration cannot be used.
    #[must_use]
    pub fn run(self) -> Outcome {
        let which = match self.what {
            What::Schema => return say(&config::schema()),
            What::Show(which) => which,
        };
        match config::load(&which.path(), &which.sets) {
            Ok(loaded) => {
                complain(&loaded.warnings);
                say(&config::show(&loaded))
            }
            Err(problems) => {
                complain(&problems);
                Outcome::Invalid
            }
        }
    }
}
