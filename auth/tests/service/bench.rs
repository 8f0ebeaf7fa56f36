//! The language of these tests: a service on a private database, people in it, requests to it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use auth::app::App;
use auth::service::Auth;
use auth::settings::{Hashing, Settings};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;

use weir_test::call::{Call, Response};
use weir_test::postgres::{Database, Server};
use weir_test::redis::Redis;

pub const PASSWORD: &str = "correct horse battery";

/// A running service; it stops with the value.
pub struct Bench {
    pub at: SocketAddr,
    pub metrics_at: SocketAddr,
    pub auth: Arc<Auth>,
    _folder: TempDir,
    _stop: oneshot::Sender<()>,
}

/// Somebody who is logged in.
#[derive(Clone)]
pub struct Person {
    pub name: String,
    pub access: String,
    pub refresh: String,
}

/// The database most tests share, as the service's own role sees it: what that role may not do, no
/// test relies on.
pub fn shared_database() -> &'static Database {
    static DATABASE: OnceLock<Database> = OnceLock::new();
    DATABASE.get_or_init(|| migrated(Server::shared()))
}

/// A new database with all revisions.
pub fn migrated(server: &'static Server) -> Database {
    let database = server.database();
    database.run(
        "DO $$ BEGIN
            CREATE ROLE auth_owner NOLOGIN;
            CREATE ROLE auth_app LOGIN PASSWORD 'app';
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
    );
    upgrade(&database);
    database
}

/// Runs all revisions.
pub fn upgrade(database: &Database) {
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_auth"));
    let done = migrate
        .args(["migrate", "upgrade", "head"])
        .current_dir("/")
        .env("DATABASE_URL", database.url())
        .output();
    let done = done.expect("migrate runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Settings for a database, in a folder with a key; hashing is cheap, its permits are real.
pub fn settings(database: &Database, folder: &Path) -> Settings {
    let mut keys = Command::new(env!("CARGO_BIN_EXE_auth"));
    let made = keys.args(["keys", "generate", "--dir"]).arg(folder).output().expect("auth runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (url, keys) = (database.url_as("auth_app"), folder.display().to_string());
    let find = |name: &str| match name {
        "DATABASE_URL" => Some(url.clone()),
        "PGPASSWORD" => Some("app".to_owned()),
        "AUTH_KEYS_DIR" => Some(keys.clone()),
        "TRUSTED_PROXIES" => Some("127.0.0.1/32".to_owned()),
        "LISTEN" | "METRICS_LISTEN" => Some("127.0.0.1:0".to_owned()),
        _ => None,
    };
    let mut settings = Settings::read(&find).expect("settings");
    settings.hashing = Hashing { memory_kib: 64, passes: 1, permits: 2, waiting: 64 };
    settings.start_wait = std::time::Duration::ZERO;
    settings
}

/// On the shared database and Redis.
pub async fn bench() -> Bench {
    with(|settings| settings.redis = Some(Redis::shared().url().into())).await
}

/// On the shared database, with some settings changed; without Redis unless they say so.
pub async fn with(change: impl FnOnce(&mut Settings)) -> Bench {
    on(shared_database(), change).await
}

/// On any database.
pub async fn on(database: &Database, change: impl FnOnce(&mut Settings)) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(database, folder.path());
    change(&mut settings);
    let app = App::bind(settings).await.expect("it starts");
    let (at, metrics_at) = (app.address().expect("bound"), app.metrics_address().expect("bound"));
    let auth = Arc::clone(app.auth());
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(app.run(async { drop(stopped.await) }));
    Bench { at, metrics_at, auth, _folder: folder, _stop: stop }
}

/// A name nobody has.
pub fn name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Bench {
    /// Another one with the same keys and the same Redis, on the shared database.
    pub async fn replica(&self) -> Self {
        let (redis, keys) = (self.auth.settings.redis.clone(), self.auth.settings.keys_dir.clone());
        with(|settings| (settings.redis, settings.keys_dir) = (redis, keys)).await
    }

    /// A request, as in `call("POST /api/v1/login")`.
    pub fn call(&self, line: &str) -> Call {
        Call::new(self.at, line)
    }

    pub async fn signup(&self, name: &str) -> Response {
        let body = json!({
            "username": name, "email": format!("{name}@example.org"),
            "password": PASSWORD, "country": "NO"
        });
        self.call("POST /api/v1/signup").json(&body).send().await
    }

    pub fn login_call(&self, name: &str, password: &str) -> Call {
        self.call("POST /api/v1/login").json(&json!({"username": name, "password": password}))
    }

    pub async fn login(&self, name: &str) -> Person {
        let response = self.login_call(name, PASSWORD).send().await;
        assert_eq!(response.status, 200, "{}", response.text);
        Person {
            name: name.to_owned(),
            access: response.member("access_token"),
            refresh: response.member("refresh_token"),
        }
    }

    /// Somebody new, logged in.
    pub async fn person(&self) -> Person {
        let name = name("ada");
        assert_eq!(self.signup(&name).await.status, 201);
        self.login(&name).await
    }

    /// An administrator, logged in.
    pub async fn admin(&self) -> Person {
        let name = name("root");
        let body = auth::service::signup::Signup {
            username: auth::person::Username::parse(name.clone()).expect("a name"),
            email: auth::person::Email::parse(format!("{name}@example.org")).expect("an address"),
            password: auth::password::Password::chosen(PASSWORD.to_owned()).expect("a password"),
            country: None,
        };
        let made = self
            .auth
            .signup(&body, &["admin", "user"], &auth::store::audit::Origin::console())
            .await;
        made.expect("made");
        self.login(&name).await
    }

    pub async fn me(&self, access: &str) -> Response {
        self.call("GET /api/v1/me").bearer(access).send().await
    }

    pub async fn refresh(&self, token: &str) -> Response {
        self.call("POST /api/v1/refresh").json(&json!({"refresh_token": token})).send().await
    }

    /// The value of a metric, named with its labels; zero when it was never counted.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = Call::new(self.metrics_at, "GET /metrics").send().await.text;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

/// Waits for something that must come true.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < std::time::Duration::from_secs(30), "never true: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
