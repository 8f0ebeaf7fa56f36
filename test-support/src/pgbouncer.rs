//! A private PgBouncer before a private PostgreSQL, from the installed program: no TCP port, its
//! own folder, gone with the value.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::postgres::{Database, Server, is_root, unprivileged};

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// Starts the pooler, says so once its socket is there, and stops it when stdin ends, however the
/// test ends.
const WATCH: &str = r#"
"$1" -q "$2/pgbouncer.ini" &
pid=$!
for i in $(seq 500); do
    [ -S "$2/.s.PGSQL.6432" ] && break
    kill -0 $pid 2>/dev/null || { cat "$2/log"; exit 1; }
    sleep 0.02
done
echo ready
cat >/dev/null
kill -KILL $pid
wait $pid 2>/dev/null
exit 0
"#;

/// A running pooler in transaction mode.
pub struct PgBouncer {
    folder: tempfile::TempDir,
    watch: Child,
}

impl PgBouncer {
    /// Starts one with `connections` to the server and these startup parameters ignored.
    pub fn start(server: &Server, connections: u32, ignored: &str) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "no {PROGRAM}: install the Debian package `pgbouncer`"
        );
        let folder =
            tempfile::Builder::new().prefix("auth-pgbouncer").tempdir_in("/tmp").expect("a folder");
        let path = folder.path().display().to_string();
        let configuration = format!(
            "[databases]\n* = host={} port=5432\n[pgbouncer]\n\
             unix_socket_dir = {path}\nlisten_port = 6432\n\
             logfile = {path}/log\n\
             auth_type = scram-sha-256\nauth_file = {path}/users\npool_mode = transaction\n\
             default_pool_size = {connections}\n\
             ignore_startup_parameters = {ignored}\n",
            server.host().display()
        );
        fs::write(folder.path().join("pgbouncer.ini"), configuration).expect("written");
        fs::write(folder.path().join("users"), "\"auth_app\" \"app\"\n").expect("written");
        if is_root() {
            let server = fs::metadata(server.host()).expect("the server's folder");
            chown(folder.path(), Some(server.uid()), Some(server.gid()))
                .expect("a folder of postgres");
        }
        let mut sh = unprivileged(Path::new("sh"));
        sh.args(["-c", WATCH, "watch", PROGRAM]).arg(folder.path());
        let mut watch = sh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let said = BufReader::new(watch.stdout.take().expect("piped")).lines().next();
        assert_eq!(said.expect("a line").expect("text"), "ready", "PgBouncer did not start");
        Self { folder, watch }
    }

    /// The address of a database through it, as the service's role.
    pub fn url(&self, database: &Database) -> String {
        format!(
            "postgres:///{}?host={}&port=6432&user=auth_app&password=app",
            database.name,
            self.folder.path().display()
        )
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}
