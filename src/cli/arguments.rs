//! Arguments that several subcommands have.

use std::path::{Path, PathBuf};

use crate::runtime::hint::{Hinted, one_line};

/// Configuration to read.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Override a value of the file, like zones.per_ip.rate=5r/s
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub sets: Vec<String>,
}

impl ConfigArgs {
    /// Returns the named file, or the first usual place that has one.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let usual = ["weir.yaml", "/etc/weir/weir.yaml"].map(Path::new);
        // Without any file the first place is named in the error, where a newcomer would put one.
        let found = || usual.into_iter().find(|path| path.exists()).unwrap_or(usual[0]).to_owned();
        self.config.clone().unwrap_or_else(found)
    }
}

/// Parser of an argument that prints message and hint of its errors on one line, as clap does.
pub fn with_hint<T, E: Hinted>(
    parse: fn(&str) -> Result<T, E>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| parse(text).map_err(|error| one_line(&error))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn argument_error_has_a_hint() {
        for line in [
            "demo --listen 8080",
            "bench burst ftp://a",
            "bench burst http://a --send x",
            "bench burst http://a --rate 10",
            "bench burst http://a --expect pass",
            "bench burst http://a --timeout 5",
            "bench burst http://a --tolerance 5",
        ] {
            let said = Cli::try_parse_from(std::iter::once("weir").chain(line.split(' ')));
            let said = said.err().map_or_else(String::new, |error| error.to_string());
            assert!(said.contains(", hint: "), "{line}: {said}");
        }
    }
}
