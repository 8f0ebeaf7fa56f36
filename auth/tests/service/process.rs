//! The `auth` program itself: starting, stopping, its subcommands.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bench::{PASSWORD, migrated, name, shared_database};
use weir_test::call::{Call, Response};
use weir_test::postgres::Server;

/// The program with what it needs, its keys in `folder`.
pub fn auth(folder: &Path, words: &[&str]) -> Command {
    let mut auth = Command::new(env!("CARGO_BIN_EXE_auth"));
    auth.args(words)
        .env_clear()
        .env("AUTH_KEYS_DIR", folder)
        .env("DATABASE_URL", shared_database().url_as("auth_app"));
    auth.env("PGPASSWORD", "app")
        .env("LISTEN", "127.0.0.1:0")
        .env("METRICS_LISTEN", "127.0.0.1:0")
        .env("START_WAIT_S", "0");
    auth
}

fn run(folder: &Path, words: &[&str]) -> Output {
    auth(folder, words).output().expect("auth runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A folder with a key.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(run(folder.path(), &["keys", "generate"]).status.success());
    folder
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON lines only")
}

/// `auth serve`, listening.
pub struct Serving {
    child: Child,
    at: SocketAddr,
    /// Its log before it listened.
    pub early: Vec<Value>,
    log: Option<JoinHandle<Vec<Value>>>,
}

impl Serving {
    pub fn start(mut auth: Command) -> Self {
        let child = auth.stdout(Stdio::piped()).spawn().expect("auth runs");
        let mut serving =
            Self { child, at: SocketAddr::from(([0; 4], 0)), early: Vec::new(), log: None };
        let mut log = BufReader::new(serving.child.stdout.take().expect("piped"));
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("text") > 0, "it ended before it listened");
            let line = parse(&line);
            if line["message"] == "listening" {
                serving.at =
                    line["address"].as_str().expect("an address").parse().expect("an address");
                // Read all the while: a full pipe would stop the service.
                let rest = move || log.lines().map(|line| parse(&line.expect("text"))).collect();
                serving.log = Some(std::thread::spawn(rest));
                return serving;
            }
            serving.early.push(line);
        }
    }

    fn call(&self, line: &str) -> Call {
        Call::new(self.at, line)
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(kill.expect("kill").success());
    }

    /// Its exit code and the rest of its log.
    fn end(&mut self) -> (Option<i32>, Vec<Value>) {
        let code = self.child.wait().expect("it ended").code();
        (code, self.log.take().expect("not ended before").join().expect("its log"))
    }
}

/// A test that failed leaves nothing running.
impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_refuses_a_database_that_is_behind_and_says_what_to_do() {
    let folder = folder();
    let empty = Server::shared().database();
    let ended = auth(folder.path(), &["serve"])
        .env("DATABASE_URL", empty.url())
        .output()
        .expect("auth runs");
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        said.contains("behind: `20261101090000_create_initial_tables`")
            && said.contains("auth migrate upgrade head"),
        "{said}"
    );
}

#[test]
fn serve_takes_a_database_that_is_ahead_and_says_so() {
    let (folder, database) = (folder(), migrated(Server::shared()));
    database.run(
        "INSERT INTO migrations.applied VALUES (29990101000000, 'from the future', \
                  now(), true, '', 0)",
    );
    let mut command = auth(folder.path(), &["serve"]);
    let serving = Serving::start({
        command.env("DATABASE_URL", database.url_as("auth_app"));
        command
    });
    let warned = |line: &&Value| {
        line["level"] == "WARN" && line["unknown"].to_string().contains("from_the_future")
    };
    assert!(serving.early.iter().any(|line| warned(&line)), "{:?}", serving.early);
}

#[test]
fn serve_refuses_wrong_settings_and_names_them() {
    let folder = folder();
    let said = |name: &str, value: &str| {
        let ended = auth(folder.path(), &["serve"]).env(name, value).output().expect("auth runs");
        (ended.status.code(), text(&ended.stderr))
    };
    let (code, error) = said("TRUSTED_PROXIES", "proxy");
    assert!(
        code == Some(2) && error.contains("`proxy`") && error.contains("TRUSTED_PROXIES"),
        "{error}"
    );
    let (code, error) = said("AUTH_KEYS_DIR", "/nowhere");
    assert!(
        code == Some(2)
            && error.contains("/nowhere/current.pem")
            && error.contains("auth keys generate"),
        "{error}"
    );
    let (code, error) = said("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/auth");
    assert!(code == Some(3) && !error.contains("hunter2"), "{error}");
    let (code, error) = said("PGPASSWORD_FILE", "/nowhere");
    assert!(
        code == Some(2)
            && error.contains("both set")
            && error.ends_with("hint: keep one of them\n"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_finishes_what_is_under_way() {
    let folder = folder();
    let mut serving = Serving::start(auth(folder.path(), &["serve"]));
    let name = name("late");
    let body =
        json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD})
            .to_string();
    let call = serving
        .call("POST /api/v1/signup")
        .header("expect", "100-continue")
        .body("application/json", &body)
        .text();
    let (head, _) = call.split_once("\r\n\r\n").unwrap();
    let mut stream = TcpStream::connect(serving.at).await.unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    // It asks for the body: now the request is under way.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    serving.signal("TERM");
    crate::bench::until("it takes no new connection", async || {
        TcpStream::connect(serving.at).await.is_err()
    })
    .await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    assert_eq!(Response::parse(&response).status, 201);
    let (code, log) = serving.end();
    assert_eq!(code, Some(0));
    assert!(log.iter().any(|line| line["message"] == "stopped"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_is_json_with_the_proxys_request_id_and_without_secrets() {
    let folder = folder();
    let mut serving = Serving::start({
        let mut command = auth(folder.path(), &["serve"]);
        command.env("LOG", "info,auth=debug");
        command
    });
    let body = json!({"username": name("nobody"), "password": "hunter2hunter2"});
    let call =
        serving.call("POST /api/v1/login").header("x-request-id", "from-the-proxy").json(&body);
    assert_eq!(call.send().await.status, 401);
    assert_eq!(serving.call("GET /api/v1/me").bearer("hunter3hunter3").send().await.status, 401);
    serving.signal("INT");
    let (_, log) = serving.end();
    let line = log
        .iter()
        .find(|line| line["request_id"] == "from-the-proxy")
        .expect("a line of this request");
    assert_eq!(
        (&line["message"], &line["method"], &line["path"], &line["status"]),
        (&json!("request"), &json!("POST"), &json!("/api/v1/login"), &json!(401))
    );
    assert!(line["dur_ms"].is_number() && line["client"] == "127.0.0.1");
    assert_eq!(line.to_string().matches("from-the-proxy").count(), 1, "{line}");
    let more = log
        .iter()
        .find(|line| line["level"] == "DEBUG" && line["message"] == "login")
        .expect("more at `debug`");
    assert_eq!(
        (&more["outcome"], &more["span"]["request_id"]),
        (&json!("refused"), &json!("from-the-proxy"))
    );
    assert!(!format!("{log:?}").contains("hunter"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_and_doctor_tell_what_is() {
    let folder = folder();
    let mut serving = Serving::start(auth(folder.path(), &["serve"]));
    let check = |words: &[&str], at: &str| {
        auth(folder.path(), words).env("LISTEN", at).output().expect("auth runs").status.code()
    };
    let at = serving.at.to_string();
    assert_eq!(
        (check(&["healthcheck"], &at), check(&["healthcheck", "--live"], &at)),
        (Some(0), Some(0))
    );
    serving.signal("QUIT");
    assert_eq!(serving.end().0, Some(0));
    assert_eq!((check(&["healthcheck"], &at), check(&["healthcheck"], "8000")), (Some(1), Some(2)));
    let fresh = Server::shared().database().url();
    let behind =
        auth(folder.path(), &["doctor"]).env("DATABASE_URL", fresh).output().expect("auth runs");
    let said = text(&behind.stdout);
    let names = "bad  database: the database is behind: `20261101090000_create_initial_tables` is \
                 missing\nhint: ";
    assert!(behind.status.code() == Some(1) && said.contains(names), "{said}");
    let doctor = run(folder.path(), &["doctor"]);
    let said = text(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(0), "{said}");
    assert!(
        said.contains("ok   keys: signs with `")
            && said.contains("ok   database: ")
            && said.contains("warn redis: not configured"),
        "{said}"
    );
    let sick = auth(folder.path(), &["doctor"])
        .env("AUTH_KEYS_DIR", "/nowhere")
        .output()
        .expect("auth runs");
    assert_eq!((sick.status.code(), text(&sick.stdout).contains("bad  keys: ")), (Some(1), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_makes_an_administrator_whose_password_is_shown_once() {
    let folder = folder();
    let mut serving = Serving::start(auth(folder.path(), &["serve"]));
    let name = name("chief");
    let made =
        run(folder.path(), &["user", "create", &name, &format!("{name}@example.org"), "--admin"]);
    let password = text(&made.stdout).trim().to_owned();
    assert_eq!((made.status.code(), password.len()), (Some(0), 43), "{}", text(&made.stderr));
    let login = serving
        .call("POST /api/v1/login")
        .json(&json!({"username": name, "password": password}))
        .send()
        .await;
    let list = serving
        .call("GET /api/v1/admin/users?limit=1")
        .bearer(&login.member("access_token"))
        .send()
        .await;
    assert_eq!(list.status, 200);
    let again = run(folder.path(), &["user", "create", &name, "other@example.org"]);
    assert_eq!(
        (again.status.code(), text(&again.stderr).contains("`username` is taken")),
        (Some(1), true)
    );
    let token = text(&run(folder.path(), &["user", "reset", &name]).stdout).trim().to_owned();
    let body = json!({"token": token, "password": "another horse battery"});
    assert_eq!(serving.call("POST /api/v1/password/reset").json(&body).send().await.status, 204);
    serving.signal("TERM");
    serving.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_gives_and_takes_roles_lists_and_disables_by_name_or_address() {
    let folder = folder();
    let mut serving = Serving::start(auth(folder.path(), &["serve"]));
    let name = name("grace");
    let address = format!("{name}@example.org");
    let body = json!({"username": name, "email": address, "password": PASSWORD});
    assert_eq!(serving.call("POST /api/v1/signup").json(&body).send().await.status, 201);
    let login = json!({"username": name, "password": PASSWORD});
    let access =
        serving.call("POST /api/v1/login").json(&login).send().await.member("access_token");
    let list = async || {
        serving.call("GET /api/v1/admin/users?limit=1").bearer(&access).send().await.status
    };
    let said = |words: &[&str]| {
        let output = run(folder.path(), words);
        (output.status.code(), text(&output.stdout).trim().to_owned() + text(&output.stderr).trim())
    };
    assert_eq!(list().await, 403);
    assert_eq!(
        said(&["user", "grant", &address.to_uppercase(), "admin"]),
        (Some(0), format!("{name} has the role admin"))
    );
    assert_eq!(list().await, 200);
    assert_eq!(
        said(&["user", "grant", &name, "admin"]),
        (Some(0), format!("{name} has the role admin, as before"))
    );
    assert!(
        said(&["user", "list"])
            .1
            .lines()
            .any(|line| line == format!("{name}  {address}  admin,user"))
    );
    assert_eq!(
        said(&["user", "revoke", &name, "admin"]),
        (Some(0), format!("{name} does not have the role admin"))
    );
    assert_eq!(list().await, 403);
    let wrong = said(&["user", "grant", &name, "root"]);
    assert!(
        wrong.0 == Some(1) && wrong.1.contains("there is no role `root`; there are admin"),
        "{wrong:?}"
    );
    assert!(said(&["user", "disable", "nobody-here"]).1.contains("there is no user `nobody-here`"));
    assert_eq!(said(&["user", "disable", &address]), (Some(0), format!("{name} is disabled")));
    assert_eq!(list().await, 401);
    assert_eq!(serving.call("POST /api/v1/login").json(&login).send().await.status, 401);
    assert_eq!(said(&["user", "enable", &name]), (Some(0), format!("{name} is enabled")));
    assert_eq!(serving.call("POST /api/v1/login").json(&login).send().await.status, 200);
    serving.signal("TERM");
    serving.end();
}

#[test]
fn client_gets_another_secret_only_when_that_is_asked_for() {
    let folder = folder();
    let id = name("program");
    let first = run(folder.path(), &["client", "create", &id]);
    assert_eq!((first.status.code(), text(&first.stdout).trim().len()), (Some(0), 43));
    let again = run(folder.path(), &["client", "create", &id]);
    assert!(
        again.status.code() == Some(1)
            && text(&again.stderr).contains(&format!("auth client rotate {id}"))
    );
    let rotated = run(folder.path(), &["client", "rotate", &id]);
    assert!(rotated.status.success() && rotated.stdout != first.stdout);
    assert!(
        text(&run(folder.path(), &["client", "rotate", "nothing"]).stderr)
            .contains("there is no client `nothing`")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_keeps_what_the_key_before_signed() {
    let folder = folder();
    let there = run(folder.path(), &["keys", "generate"]);
    assert_eq!((there.status.code(), text(&there.stderr).contains("--rotate")), (Some(1), true));
    let mut serving = Serving::start(auth(folder.path(), &["serve"]));
    let name = name("key");
    run(folder.path(), &["user", "create", &name, &format!("{name}@example.org")]);
    let token = text(&run(folder.path(), &["user", "reset", &name]).stdout).trim().to_owned();
    serving
        .call("POST /api/v1/password/reset")
        .json(&json!({"token": token, "password": PASSWORD}))
        .send()
        .await;
    let login = serving
        .call("POST /api/v1/login")
        .json(&json!({"username": name, "password": PASSWORD}))
        .send()
        .await;
    serving.signal("TERM");
    serving.end();
    assert!(run(folder.path(), &["keys", "generate", "--rotate"]).status.success());
    let mut serving = Serving::start(auth(folder.path(), &["serve"]));
    let keys = serving.call("GET /.well-known/jwks.json").send().await.json();
    assert_eq!(
        keys["keys"].as_array().map(Vec::len),
        Some(3),
        "the next, the current and the previous one"
    );
    assert_eq!(
        serving.call("GET /api/v1/me").bearer(&login.member("access_token")).send().await.status,
        200
    );
    let refresh = json!({"refresh_token": login.member("refresh_token")});
    assert_eq!(serving.call("POST /api/v1/refresh").json(&refresh).send().await.status, 200);
    serving.signal("TERM");
    serving.end();
}

/// Root opens read-only files for writing, and no other user does.
#[test]
fn key_rotation_works_again_and_again_for_a_user_who_is_not_root() {
    use std::os::unix::{fs::PermissionsExt, fs::chown, process::CommandExt as _};
    let folder = tempfile::tempdir().expect("a folder");
    let (program, keys) = (folder.path().join("auth"), folder.path().join("keys"));
    std::fs::copy(env!("CARGO_BIN_EXE_auth"), &program).expect("a copy");
    std::fs::create_dir(&keys).expect("a folder");
    let mut names = Vec::new();
    let nobody = chown(&keys, Some(65_534), None).is_ok();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("a folder");
    for rotate in [None, Some("--rotate"), Some("--rotate"), Some("--rotate")] {
        let mut generate = Command::new(&program);
        generate.args(["keys", "generate", "--dir"]).arg(&keys).args(rotate);
        if nobody {
            generate.uid(65_534);
        }
        let made = generate.output().expect("auth runs");
        assert!(made.status.success(), "{rotate:?}: {}", text(&made.stderr));
        names.push(text(&made.stdout));
    }
    names.dedup();
    assert_eq!(names.len(), 4);
    let mode = |name| keys.join(name).metadata().expect("a key").permissions().mode() & 0o777;
    assert_eq!(["current.pem", "previous.pem", "next.pem"].map(mode), [0o400; 3]);
}

/// Two replicas are started again one after the other, each with what it signed and what the other
/// one signed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_of_two_replicas_one_by_one_refuses_nobody() {
    let folder = folder();
    let start = || Serving::start(auth(folder.path(), &["serve"]));
    let mut replicas = [start(), start()];
    let name = name("ring");
    let body =
        json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD});
    assert_eq!(replicas[0].call("POST /api/v1/signup").json(&body).send().await.status, 201);
    for _ in 0..2 {
        assert!(run(folder.path(), &["keys", "generate", "--rotate"]).status.success());
        for restarted in 0..2 {
            let login = json!({"username": name, "password": PASSWORD});
            let mut tokens = Vec::new();
            for replica in &replicas {
                tokens.push(replica.call("POST /api/v1/login").json(&login).send().await);
            }
            replicas[restarted].signal("TERM");
            replicas[restarted].end();
            replicas[restarted] = start();
            for replica in &replicas {
                tokens.push(replica.call("POST /api/v1/login").json(&login).send().await);
            }
            for (index, token) in tokens.iter().enumerate() {
                for replica in &replicas {
                    let me = replica
                        .call("GET /api/v1/me")
                        .bearer(&token.member("access_token"))
                        .send()
                        .await;
                    assert_eq!(
                        me.status, 200,
                        "token {index} when replica {restarted} was started again"
                    );
                }
                let refresh = json!({"refresh_token": token.member("refresh_token")});
                let refreshed =
                    replicas[index % 2].call("POST /api/v1/refresh").json(&refresh).send().await;
                assert_eq!(
                    refreshed.status, 200,
                    "token {index} when replica {restarted} was started again"
                );
            }
        }
    }
    replicas.iter_mut().for_each(|replica| {
        replica.signal("TERM");
        replica.end();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_a_thousand_at_the_same_time_need_the_memory_of_the_permits() {
    let folder = folder();
    let mut command = auth(folder.path(), &["serve"]);
    let mut serving = Serving::start({
        command.env("HASH_PERMITS", "2");
        command
    });
    let peak_kib = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", serving.child.id())).expect("Linux");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("a peak")
            .trim()
            .to_owned();
        line.trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let before = peak_kib();
    let mut logins = JoinSet::new();
    for _ in 0..1000 {
        let call = serving
            .call("POST /api/v1/login")
            .json(&json!({"username": name("ghost"), "password": PASSWORD}));
        logins.spawn(async move { call.send().await.status });
    }
    let statuses = logins.join_all().await;
    assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
    let grown = peak_kib() - before;
    // Two hashes, and what a thousand connections and their tasks need.
    assert!(grown < 2 * 19_456 + 48 * 1024, "{grown} KiB more");
    serving.signal("TERM");
    assert_eq!(serving.end().0, Some(0));
}

/// Nobody looks into a log that is not there: what went wrong is told where the command was typed.
#[test]
fn commands_say_what_went_wrong_with_the_database() {
    let folder = folder();
    let fresh = Server::shared().database();
    let missing = shared_database().url_as("auth_app").replacen(
        &shared_database().name,
        "no_such_database",
        1,
    );
    for words in [
        &["user", "create", "cause1", "cause1@example.org"][..],
        &["user", "reset", "cause1"],
        &["client", "create", "cause1"],
    ] {
        for (setting, value, code, says) in [
            ("PGPASSWORD", "wrong", 3, "password authentication failed"),
            ("DATABASE_URL", missing.as_str(), 3, "does not exist"),
            ("DATABASE_URL", "postgres://u@127.0.0.1:9/auth", 3, "127.0.0.1:9"),
            ("DATABASE_URL", &fresh.url(), 1, "the database is behind"),
        ] {
            let output =
                auth(folder.path(), words).env(setting, value).output().expect("auth runs");
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
            assert!(said.contains(says) && !said.contains("request's id"), "{words:?}: {said}");
        }
    }
}

#[test]
fn address_in_use_is_told_once_and_a_wrong_log_level_too() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output =
        auth(folder.path(), &["serve"]).env("LISTEN", &address).output().expect("auth runs");
    let said = text(&output.stderr);
    assert_eq!(said.matches("in use").count(), 1, "{said}");
    let output = auth(folder.path(), &["serve"])
        .env("LOG", "info,auth=nonsense")
        .output()
        .expect("auth runs");
    assert!(
        !output.status.success() && text(&output.stderr).contains("`LOG`"),
        "{}",
        text(&output.stderr)
    );
}
