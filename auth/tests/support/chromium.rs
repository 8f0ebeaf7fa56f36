//! A headless Chromium, driven over WebDriver (W3C) by its own `chromedriver`. It resolves no name and so reaches loopback only.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longest wait for something that a page does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one window.
pub struct Chromium {
    driver: Child,
    at: SocketAddr,
    session: String,
}

impl Chromium {
    pub async fn start() -> Self {
        let mut command = Command::new("chromedriver");
        let driver = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = driver.unwrap_or_else(|error| panic!("`chromedriver` of the package chromium-driver: {error}"));
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let port = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            line.split_once("successfully on port ")?.1.trim_end_matches('.').parse::<u16>().ok()
        });
        // Its later lines are read too: a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let at = SocketAddr::from(([127, 0, 0, 1], port.expect("chromedriver says its port")));
        let mut browser = Self { driver, at, session: String::new() };
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ];
        let options = json!({ "goog:chromeOptions": { "args": args } });
        let made = browser.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": options } })).await;
        made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")).clone_into(&mut browser.session);
        browser
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url })).await;
    }

    /// Types into the field of this name.
    pub async fn type_into(&self, name: &str, text: &str) {
        let id = self.find(&format!("[name={name}]")).await;
        self.command("POST", &format!("/element/{id}/value"), &json!({ "text": text })).await;
    }

    pub async fn click(&self, css: &str) {
        let id = self.find(css).await;
        self.command("POST", &format!("/element/{id}/click"), &json!({})).await;
    }

    /// What a function of the page's own language returns.
    pub async fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Waits until the page of this path shows this text somewhere.
    pub async fn shows(&self, path: &str, text: &str) {
        let begin = std::time::Instant::now();
        loop {
            let seen = self.run("return [location.pathname, document.body.innerText]").await;
            if seen[0] == path && seen[1].as_str().is_some_and(|all| all.contains(text)) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "`{path}` never shows `{text}`: {seen}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn find(&self, css: &str) -> String {
        let found = self.command("POST", "/element", &json!({ "using": "css selector", "value": css })).await;
        let id = found.as_object().and_then(|members| members.values().next()).and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("no `{css}` on the page: {found}")).to_owned()
    }

    async fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), body).await
    }

    /// One request; the driver keeps connections, so the length of its response counts.
    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = tokio::io::BufReader::new(TcpStream::connect(self.at).await.expect("chromedriver listens"));
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", self.at, body.len());
        stream.write_all((head + &body).as_bytes()).await.expect("it reads");
        let (mut length, mut line) = (0, String::new());
        while stream.read_line(&mut line).await.expect("a head") > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut text = vec![0; length];
        stream.read_exact(&mut text).await.expect("a body");
        let mut response: Value = serde_json::from_slice(&text).expect("JSON");
        assert!(response["value"]["error"].is_null(), "{method} {path}: {response}");
        response["value"].take()
    }
}

/// The driver ends its browser with itself.
impl Drop for Chromium {
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.driver.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.driver.kill();
        }
        let _ = self.driver.wait();
    }
}
