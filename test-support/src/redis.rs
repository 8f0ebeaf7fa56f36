//! A private Redis from the installed program: no TCP port, its own folder, gone with the tests. It
//! can be killed, started again and made to hang.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Starts the server, says its process's id, and kills it when stdin ends, however the test ends.
const WATCH: &str = r#"
redis-server --port 0 --unixsocket "$1/redis.sock" --dir "$1" --save "" --appendonly no $2 \
    >"$1/log" 2>&1 &
pid=$!
echo $pid
cat >/dev/null
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
exit 0
"#;

/// A server that may or may not run right now.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    folder: tempfile::TempDir,
    running: Mutex<Option<(Child, String)>>,
}

impl Redis {
    /// The one of this test binary, for tests that leave it alone.
    pub fn shared() -> Self {
        static SERVER: OnceLock<Redis> = OnceLock::new();
        SERVER.get_or_init(Self::start).clone()
    }

    /// Starts one.
    pub fn start() -> Self {
        let redis = Self::stopped();
        redis.up();
        redis
    }

    /// Starts one that listens on this port of loopback too, over TLS with the certificate and the
    /// key in `folder`.
    pub fn start_with_tls(folder: &std::path::Path, port: u16) -> Self {
        let redis = Self::stopped();
        let name = |name: &str| folder.join(name).display().to_string();
        redis.up_with(&format!(
            "--tls-port {port} --bind 127.0.0.1 --tls-auth-clients no --tls-cert-file {} \
             --tls-key-file {} --tls-ca-cert-file {}",
            name("server.pem"),
            name("server.key"),
            name("ca.pem")
        ));
        redis
    }

    /// One that was not started yet.
    pub fn stopped() -> Self {
        let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        assert!(found.is_ok(), "no redis-server: install the Debian package `redis-server`");
        Self(Arc::new(Inner {
            folder: tempfile::tempdir().expect("a folder"),
            running: Mutex::default(),
        }))
    }

    fn socket(&self) -> PathBuf {
        self.0.folder.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Starts it; returns when it takes connections.
    pub fn up(&self) {
        self.up_with("");
    }

    fn up_with(&self, options: &str) {
        let mut watch = Command::new("sh");
        watch
            .args(["-c", WATCH, "watch"])
            .arg(self.0.folder.path())
            .arg(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = watch.spawn().expect("a shell");
        let mut pid = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut pid).expect("its id");
        let begin = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "redis did not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        *self.0.running.lock().expect("nobody panicked") = Some((child, pid.trim().to_owned()));
    }

    /// Kills it: whatever it knew is lost.
    pub fn kill(&self) {
        let running = self.0.running.lock().expect("nobody panicked").take();
        let (mut child, _) = running.expect("it runs");
        drop(child.stdin.take());
        child.wait().expect("it ended");
        let _ = std::fs::remove_file(self.socket());
    }

    /// Makes it hang, or go on.
    pub fn signal(&self, name: &str) {
        let running = self.0.running.lock().expect("nobody panicked");
        let (_, pid) = running.as_ref().expect("it runs");
        assert!(Command::new("kill").args(["-s", name, pid]).status().expect("kill").success());
    }

    /// Output of `redis-cli`.
    pub fn ask(&self, words: &[&str]) -> String {
        let response = Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(words)
            .output()
            .expect("redis-cli");
        String::from_utf8(response.stdout).expect("text").trim().to_owned()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some((mut child, _)) =
            self.running.lock().ok().and_then(|mut running| running.take())
        {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}
