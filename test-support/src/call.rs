//! One request to a running service over a connection of its own, and its response.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request under construction.
#[derive(Clone)]
#[must_use]
pub struct Call {
    to: SocketAddr,
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub text: String,
}

impl Call {
    pub fn new(to: SocketAddr, line: &str) -> Self {
        Self { to, line: line.to_owned(), headers: Vec::new(), body: String::new() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn from(self, client: &str) -> Self {
        self.header("x-forwarded-for", client)
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", &body.to_string())
    }

    pub fn body(mut self, kind: &str, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self.header("content-type", kind)
    }

    pub fn text(&self) -> String {
        let mut text =
            format!("{} HTTP/1.1\r\nhost: auth.test\r\nconnection: close\r\n", self.line);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() || !self.line.starts_with("GET") {
            text += &format!("content-length: {}\r\n", self.body.len());
        }
        text + "\r\n" + &self.body
    }

    pub async fn send(&self) -> Response {
        let mut stream = TcpStream::connect(self.to).await.expect("it listens");
        stream.write_all(self.text().as_bytes()).await.expect("it reads");
        let mut bytes = Vec::new();
        // A refused upload may end in a reset after the response.
        let _ = stream.read_to_end(&mut bytes).await;
        Response::parse(&bytes)
    }
}

impl Response {
    pub fn parse(bytes: &[u8]) -> Self {
        let all = String::from_utf8(bytes.to_vec()).expect("text");
        let (head, text) =
            all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {all}"));
        let status = head.get(9..12).and_then(|code| code.parse().ok()).expect("a status");
        Self { status, head: head.to_ascii_lowercase(), text: text.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The text of a member.
    pub fn member(&self, name: &str) -> String {
        let json = self.json();
        json[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {json}")).to_owned()
    }

    /// Status, kind and field of a refusal, which must be a problem.
    pub fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        assert_eq!(self.json()["status"], self.status);
        let kind = self.member("type").trim_start_matches("urn:problem:auth:").to_owned();
        (self.status, kind, self.json()["field"].as_str().unwrap_or_default().to_owned())
    }

    /// Name and value of every cookie it sets.
    pub fn cookies(&self) -> Vec<(String, String)> {
        let lines = self.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        let pair = |line: &str| {
            line.split_once(';')
                .and_then(|(pair, _)| pair.split_once('=').map(|(k, v)| (k.into(), v.into())))
        };
        lines.filter_map(pair).collect()
    }
}
