//! Programs that are asked for by name, and named when they are missing.

use std::process::{Command, Stdio};

/// A program, and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub command: &'static str,
    pub package: &'static str,
}

pub const PYTHON: Program = Program { command: "python3", package: "python3" };
pub const NODE: Program = Program { command: "node", package: "nodejs" };

impl Program {
    /// What it prints, without the newline at its end. It must succeed.
    pub fn prints(self, args: &[&str], environment: &[(&str, &str)]) -> String {
        let Self { command, package } = self;
        let mut run = Command::new(command);
        run.args(args).envs(environment.iter().copied()).stdin(Stdio::null());
        let done = run.output().unwrap_or_else(|error| panic!("{command}: {error}: install the Debian package {package}"));
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {}: {said}", done.status);
        String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
    }
}
