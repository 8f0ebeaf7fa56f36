//! One request, asked twice: of a server and through weir.

use std::net::SocketAddr;

use crate::{
    http1::{Answer, Client, Framing},
    process::Weir,
};

/// Fields of one connection, of one moment, or of the way the response took.
const NOT_END_TO_END: [&str; 4] = ["connection", "keep-alive", "date", "via"];

pub struct Both {
    _weir: Weir,
    direct: Path,
    through: Path,
    pub asked: usize,
}

/// Keeps its connection for as long as the other side does.
struct Path {
    name: &'static str,
    server: SocketAddr,
    client: Option<Client>,
}

pub struct Request {
    pub method: &'static str,
    pub target: String,
    pub fields: String,
    /// The bytes of the body as they are framed.
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &'static str, target: &str, fields: &str) -> Self {
        Self { method, target: target.to_owned(), fields: fields.to_owned(), body: Vec::new() }
    }

    fn head(&self) -> String {
        let Self { method, target, fields, .. } = self;
        let fields: String = fields.lines().map(|field| format!("{field}\r\n")).collect();
        format!("{method} {target} HTTP/1.1\r\nhost: files.test\r\n{fields}\r\n")
    }
}

impl Path {
    fn ask(&mut self, request: &Request) -> Answer {
        let mut client = self.client.take().unwrap_or_else(|| Client::connect(self.server));
        client.send(request.head().as_bytes()).expect("an open connection");
        client.send(&request.body).expect("an open connection");
        let answer = client.answer(request.method);
        let answer = answer.unwrap_or_else(|error| {
            panic!("{} ({}) says to {}: {error}", self.server, self.name, request.head())
        });
        let framing = answer.head.framing(Framing::Close);
        let bare = request.method == "HEAD" || answer.status == 204 || answer.status == 304;
        let old = answer.head.first.starts_with("HTTP/1.0");
        let ends =
            answer.head.field("connection") == Some("close") || framing == Framing::Close && !bare;
        self.client = (!old && !ends).then_some(client);
        answer
    }
}

impl Both {
    pub fn before(server: SocketAddr) -> Self {
        let weir = Weir::run(&format!(
            "routes: [ {{ path: /, upstream: \"http://{server}\", request: {{ max_body: none }} }} ]\naccess_log: {{ to: none }}\n"
        ));
        let path = |name, server| Path { name, server, client: None };
        Self {
            direct: path("directly", server),
            through: path("through weir", weir.address),
            _weir: weir,
            asked: 0,
        }
    }

    /// The response, which is the same on both ways.
    pub fn ask(&mut self, request: &Request) -> Answer {
        self.asked += 1;
        let (direct, through) = (self.direct.ask(request), self.through.ask(request));
        let what = format!("{} {}\n{}", request.method, request.target, request.fields);
        assert_eq!(through.status, direct.status, "{what}");
        assert_eq!(end_to_end(&through), end_to_end(&direct), "{what}");
        assert!(
            through.body == direct.body,
            "{what}: {} bytes, {} expected",
            through.body.len(),
            direct.body.len()
        );
        direct
    }
}

/// What the server told its client, however often each field; how the body was framed is told
/// between neighbours.
fn end_to_end(answer: &Answer) -> Vec<(String, String)> {
    let mut fields = answer.head.fields.clone();
    fields.retain(|(name, _)| !NOT_END_TO_END.contains(&&**name) && name != "transfer-encoding");
    fields.sort();
    fields
}
