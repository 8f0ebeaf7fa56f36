//! A private PostgreSQL for one test binary, from the installed programs: no TCP port, its own
//! folder, gone with the tests.
//!
//! A shell watches over it and ends it when the test process ends, however it ends.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// A running server.
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    next: AtomicU32,
    watch: Child,
}

/// `postgres` may do everything without a password; everybody else needs one.
const HBA: &str = "local all postgres trust\nlocal all all scram-sha-256\n";

/// Starts the server, says so, and stops it when stdin ends.
const WATCH: &str = r#"
trap '' INT
"$1/pg_ctl" -D "$2/data" -l "$2/log" -w -t 60 \
    -o "-k $2 -c listen_addresses='' -c fsync=off -c max_connections=200 \
       -c unix_socket_permissions=0777" start >"$2/start" 2>&1 \
    && echo ready || { cat "$2/start" "$2/log"; exit 1; }
cat >/dev/null
"$1/pg_ctl" -D "$2/data" -m immediate -w stop >/dev/null 2>&1
rm -rf "$2"
"#;

impl Server {
    /// The one of this test binary, started at the first call.
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    /// Starts one.
    pub fn start() -> Self {
        let programs = programs();
        let folder =
            tempfile::Builder::new().prefix("auth-pg").tempdir_in("/tmp").expect("a folder").keep();
        if is_root() {
            let id = |what: &str| {
                text_of(Command::new("id").args([what, "postgres"]))
                    .parse()
                    .expect("the user postgres")
            };
            chown(&folder, Some(id("-u")), Some(id("-g"))).expect("a folder of postgres");
        }
        let data = folder.join("data");
        text_of(
            unprivileged(&programs.join("initdb"))
                .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"])
                .arg("-D")
                .arg(&data),
        );
        fs::write(data.join("pg_hba.conf"), HBA).expect("written");
        let mut sh = unprivileged(Path::new("sh"));
        sh.args(["-c", WATCH, "watch"]).arg(&programs).arg(&folder);
        let mut watch = sh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let said = first_line(watch.stdout.take());
        assert_eq!(said, "ready", "PostgreSQL did not start");
        Self { folder, programs, next: AtomicU32::new(0), watch }
    }

    /// A new, empty database.
    pub fn database(&'static self) -> Database {
        let name = format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.named("postgres").run(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        self.named(&name)
    }

    /// A database that is there already.
    pub fn named(&'static self, name: &str) -> Database {
        Database { server: self, name: name.into() }
    }

    /// Stops it at once, as a crash does; sessions are cut off.
    pub fn down(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    /// Starts it again.
    pub fn up(&self) {
        let options = format!(
            "-k {} -c listen_addresses='' -c fsync=off -c unix_socket_permissions=0777",
            self.folder.display()
        );
        self.control(&["-o", &options, "start"]);
    }

    /// Starts it again, listening on this port of loopback too, over TLS with the certificate and
    /// the key in `folder`.
    pub fn up_with_tls(&self, folder: &Path, port: u16) {
        let own = |name: &str| {
            let (from, to) = (folder.join(name), self.folder.join(name));
            fs::copy(from, &to).expect("a copy");
            if is_root() {
                let id = |what: &str| {
                    text_of(Command::new("id").args([what, "postgres"]))
                        .parse()
                        .expect("the user postgres")
                };
                chown(&to, Some(id("-u")), Some(id("-g"))).expect("a file of postgres");
            }
            fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .expect("a file");
            to.display().to_string()
        };
        let (certificate, key) = (own("server.pem"), own("server.key"));
        fs::write(
            self.folder.join("data/pg_hba.conf"),
            format!("{HBA}host all all 127.0.0.1/32 scram-sha-256\n"),
        )
        .expect("written");
        let options = format!(
            "-k {} -c listen_addresses=127.0.0.1 -p {port} -c fsync=off \
             -c unix_socket_permissions=0777 -c ssl=on \
             -c ssl_cert_file={certificate} -c ssl_key_file={key}",
            self.folder.display()
        );
        self.control(&["-o", &options, "start"]);
    }

    fn control(&self, what: &[&str]) {
        let mut control = unprivileged(&self.programs.join("pg_ctl"));
        control
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-l")
            .arg(self.folder.join("log"))
            .args(["-w", "-t", "60"])
            .args(what);
        let ended =
            control.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(ended.expect("pg_ctl runs").success(), "{what:?} failed");
    }

    /// The socket's folder, which stands for a host name.
    pub fn host(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// One database of the server; `postgres` owns it.
pub struct Database {
    server: &'static Server,
    /// Its name.
    pub name: String,
}

impl Database {
    /// Its address, as `postgres`.
    pub fn url(&self) -> String {
        self.url_as("postgres")
    }

    /// Its address, as somebody.
    pub fn url_as(&self, user: &str) -> String {
        format!("postgres:///{}?host={}&user={user}", self.name, self.server.folder.display())
    }

    /// `psql`, `pg_dump` and so on, set up for this database.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.server.programs.join(name));
        command
            .env("PGHOST", &self.server.folder)
            .env("PGUSER", "postgres")
            .env("PGDATABASE", &self.name);
        command
    }

    fn psql(&self) -> Command {
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1"]);
        psql
    }

    /// Runs SQL and returns what it prints, without the last newline.
    pub fn run(&self, sql: &str) -> String {
        text_of(self.psql().args(["-c", sql]))
    }

    /// The structure of everything in it.
    pub fn dump(&self) -> String {
        let dump = text_of(self.program("pg_dump").arg("--schema-only"));
        // Newer versions put a random word around the dump.
        dump.lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Asks until the response is `t`.
    pub fn until(&self, condition: &str) {
        let begin = Instant::now();
        while self.run(&format!("SELECT ({condition})::bool")) != "t" {
            assert!(begin.elapsed() < Duration::from_secs(30), "never true: {condition}");
        }
    }

    /// A session that runs SQL and stays open.
    pub fn session(&self, sql: &str) -> Held {
        let mut psql =
            self.psql().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql");
        let (stdin, stdout) =
            (psql.stdin.take().expect("piped"), BufReader::new(psql.stdout.take().expect("piped")));
        let mut held = Held { psql, stdin: Some(stdin), stdout };
        held.say(sql);
        held
    }
}

/// An open session; ends with the value.
pub struct Held {
    psql: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Held {
    /// Runs more SQL and waits until it ran.
    pub fn say(&mut self, sql: &str) {
        let stdin = self.stdin.as_mut().expect("open");
        writeln!(stdin, "{sql};\n\\echo done").and_then(|()| stdin.flush()).expect("psql listens");
        let mut line = String::new();
        while line.trim_end() != "done" {
            line.clear();
            assert!(
                self.stdout.read_line(&mut line).expect("psql speaks") > 0,
                "psql ended at: {sql}"
            );
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.psql.wait();
    }
}

/// The newest installed version's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists());
    let number = |bin: &PathBuf| {
        bin.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok())
    };
    installed
        .max_by_key(number)
        .expect("no PostgreSQL below /usr/lib/postgresql: install the Debian package `postgresql`")
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    text_of(Command::new("id").arg("-u")) == "0"
}

/// A program as the user of PostgreSQL, which refuses to run as root.
pub fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program)
        .current_dir("/");
    command
}

fn first_line(stdout: Option<ChildStdout>) -> String {
    let mut lines = BufReader::new(stdout.expect("piped")).lines();
    lines.next().expect("a line").expect("text")
}

/// Runs a program that must work.
fn text_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8(output.stdout).expect("text").trim_end_matches('\n').to_owned()
}
