//! The words of tests of migrations: a folder, a database, the command.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use crate::{
    postgres::{Database, Server},
    program,
};

/// A working folder with a fresh database.
pub struct Bench {
    folder: tempfile::TempDir,
    pub database: Database,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// `migrate`, or in tests of auth `auth migrate`, which is the same.
fn under_test() -> Command {
    if std::env::var_os("CARGO_BIN_EXE_auth").is_none() {
        return Command::new(program("migrate"));
    }
    let mut auth = Command::new(program("auth"));
    auth.arg("migrate");
    auth
}

/// A folder without revisions and an empty database.
pub fn bench() -> Bench {
    let bench = Bench {
        folder: tempfile::tempdir().expect("a folder"),
        database: Server::shared().database(),
    };
    fs::create_dir(bench.path("migrations")).expect("a new folder");
    bench
}

/// As `bench`, with revisions of one file pair each: `(number, up, down)`.
pub fn with(revisions: &[(u32, &str, &str)]) -> Bench {
    let bench = bench();
    for (number, up, down) in revisions {
        bench
            .write(&format!("{number}_r{number}.up.sql"), up)
            .write(&format!("{number}_r{number}.down.sql"), down);
    }
    bench
}

/// An empty database and no folder of revisions: there are those that are built in.
pub fn built_in() -> Bench {
    let bench = bench();
    fs::remove_dir(bench.path("migrations")).expect("an empty folder");
    bench
}

impl Bench {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file among the revisions.
    pub fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.path("migrations").join(name), text).expect("written");
        self
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path("migrations").join(name)).expect("removed");
    }

    /// The command, not yet started, with nothing in its environment but the database.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = under_test();
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        command.env_clear().env("DATABASE_URL", self.database.url()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn migrate(&self, arguments: &str) -> Ended {
        Ended::from(self.command(arguments).output().expect("the command"))
    }

    /// Starts it.
    pub fn start(&self, arguments: &str) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command")
    }

    /// The numbers of what is applied.
    pub fn applied(&self) -> String {
        self.database.run(
            "SELECT string_agg(version::text, ' ' ORDER BY version) FROM \
                           migrations.applied WHERE success",
        )
    }

    /// What no revision changes afterwards: everything but the times.
    pub fn rows(&self) -> String {
        self.database.run(
            "SELECT version, description, success, checksum FROM migrations.applied \
                           ORDER BY version",
        )
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ended {
    /// Output of a command that succeeded.
    #[track_caller]
    pub fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out.trim_end().to_owned()
    }

    /// It ended with this code and said this.
    #[track_caller]
    pub fn refused(self, code: i32, said: &str) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(self.err.contains(said), "expected: {said}\nsaid: {}", self.err);
        self.err
    }
}
