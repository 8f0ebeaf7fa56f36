//! An upstream that writes down every request to the byte, and reads HTTP/1.1 by rules of its own:
//! whatever could be read in two ways is a fault. It responds to each request with what it saw, so
//! that a response tells whose it is.

use std::{cell::RefCell, rc::Rc};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use weir::config::Config;

use crate::harness::{Edge, Pipes, config, on_raw_edge};

/// A message as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub first: String,
    /// Lines of the fields, as they were.
    pub lines: String,
    /// Fields, with their names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// All lines of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// `POST /a body`: what an upstream saw.
    pub fn told(&self) -> String {
        let target = self.first.strip_suffix(" HTTP/1.1").unwrap_or(&self.first);
        format!("{target} {}", String::from_utf8_lossy(&self.body))
    }

    /// `200 body`: what a client got.
    pub fn answer(&self) -> String {
        let status = self.first.split(' ').nth(1).unwrap_or("");
        format!("{status} {}", String::from_utf8_lossy(&self.body))
    }
}

/// The next message of a stream and how long it was; nothing while it is not complete.
pub fn message(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    // Bytes above 127 may stand in a value: each is a character of its own where they are no UTF-8.
    let text = str::from_utf8(&bytes[..end]).map_or_else(
        |_| bytes[..end].iter().map(|byte| char::from(*byte)).collect(),
        str::to_owned,
    );
    let (first, lines) = text.split_once("\r\n").unwrap_or((&text, ""));
    let fields = lines
        .split("\r\n")
        .filter(|_| !lines.is_empty())
        .map(field)
        .collect::<Result<Vec<_>, _>>()?;
    if text.replace("\r\n", "").contains(|c: char| c.is_ascii_control() && c != '\t') {
        return Err(format!("a control byte in {text:?}"));
    }
    let mut message = Message {
        first: first.to_owned(),
        lines: lines.to_owned(),
        fields,
        body: Vec::new(),
        trailers: Vec::new(),
    };
    let rest = &bytes[end + 4..];
    let body = match (&message.all("content-length")[..], &message.all("transfer-encoding")[..]) {
        ([], []) => Some(0),
        ([], ["chunked"]) => message.chunks(rest)?,
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse::<usize>().map_err(|error| error.to_string())?;
            message.body.extend(rest.iter().take(length));
            (rest.len() >= length).then_some(length)
        }
        framing => return Err(format!("framed by {framing:?}")),
    };
    Ok(body.map(|length| (message, end + 4 + length)))
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or(format!("no colon in {line:?}"))?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("no name in {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl Message {
    /// Reads a body in chunks; returns how long it was on the wire.
    fn chunks(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let mut at = 0;
        loop {
            let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
            let size = str::from_utf8(&bytes[at..at + end]).map_err(|error| error.to_string())?;
            let size =
                usize::from_str_radix(size, 16).map_err(|error| format!("{size:?}: {error}"))?;
            at += end + 2;
            if size == 0 {
                break;
            }
            let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
            let data = chunk.strip_suffix(b"\r\n").ok_or("a chunk without an end")?;
            self.body.extend(data);
            at += size + 2;
        }
        loop {
            let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
            let line = String::from_utf8_lossy(&bytes[at..at + end]);
            at += end + 2;
            if line.is_empty() {
                return Ok(Some(at));
            }
            self.trailers.push(field(&line)?);
        }
    }
}

/// What the upstream saw.
#[derive(Default)]
pub struct Recorder {
    pub requests: RefCell<Vec<Message>>,
    /// What could be read in two ways.
    pub faults: RefCell<Vec<String>>,
    /// How many connections were opened, and what was left on each when it ended.
    pub unfinished: RefCell<Vec<Vec<u8>>>,
    /// Response instead of what it saw, and closes behind it if that says so.
    pub reply: RefCell<Option<&'static str>>,
}

impl Recorder {
    pub fn seen(&self) -> Vec<String> {
        self.requests.borrow().iter().map(Message::told).collect()
    }

    async fn serve(self: Rc<Self>, mut pipe: DuplexStream) {
        let mut bytes = Vec::new();
        while pipe.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
            // In a head: a body may say what it likes.
            let head = &bytes[..find(&bytes, b"\r\n\r\n").unwrap_or(0)];
            if find(head, b"\r\nexpect:").is_some() {
                self.faults.borrow_mut().push("an expectation crossed".to_owned());
            }
            loop {
                match message(&bytes) {
                    Ok(None) => break,
                    Err(fault) => return self.faults.borrow_mut().push(fault),
                    Ok(Some((request, length))) => {
                        bytes.drain(..length);
                        let reply =
                            self.reply.borrow().map_or_else(|| answer_to(&request), str::to_owned);
                        self.requests.borrow_mut().push(request);
                        if pipe.write_all(reply.as_bytes()).await.is_err()
                            || reply.contains("connection: close")
                        {
                            return;
                        }
                    }
                }
            }
        }
        self.unfinished.borrow_mut().push(bytes);
    }
}

fn answer_to(request: &Message) -> String {
    let told = request.told();
    let body = if request.first.starts_with("HEAD ") { "" } else { &told };
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", told.len())
}

/// Runs a test before a recording upstream; whatever could be read in two ways there fails it.
pub async fn on_recorded<F: Future<Output = ()>>(
    limits: &[&str],
    test: impl FnOnce(Rc<Edge>, Rc<Recorder>) -> F,
) {
    on_recorded_of(config(limits), test).await;
}

/// The same with a whole configuration.
pub async fn on_recorded_of<F: Future<Output = ()>>(
    config: Config,
    test: impl FnOnce(Rc<Edge>, Rc<Recorder>) -> F,
) {
    on_raw_edge(config, |edge, mut pipes: Pipes| async move {
        let recorder = Rc::new(Recorder::default());
        let serving = Rc::clone(&recorder);
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                tokio::task::spawn_local(Rc::clone(&serving).serve(pipe));
            }
        });
        test(edge, Rc::clone(&recorder)).await;
        assert_eq!(*recorder.faults.borrow(), [""; 0]);
    })
    .await;
}

/// Sends bytes on one connection, and says what came back until it was closed and what the upstream
/// saw.
pub async fn play(edge: &Edge, recorder: &Recorder, bytes: &[u8]) -> (Vec<Message>, Vec<String>) {
    recorder.requests.borrow_mut().clear();
    let mut client = edge.connect();
    // It may be refused, and closed, before all of it was taken.
    let _refused_early = client.write_all(bytes).await;
    let mut came = Vec::new();
    let _reset = client.read_to_end(&mut came).await;
    (messages(&came), recorder.seen())
}

/// All messages of a stream, which must end with the last.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some((answer, length)) =
        message(bytes).unwrap_or_else(|fault| panic!("{fault} in an answer"))
    {
        bytes = &bytes[length..];
        messages.push(answer);
    }
    assert!(bytes.is_empty(), "after the answers came {:?}", String::from_utf8_lossy(bytes));
    messages
}

/// Bytes that one request gets when the upstream replies so, to the byte, until the connection
/// closes.
pub async fn replied(request: &'static str, reply: &'static str) -> String {
    let answer = Rc::new(RefCell::new(String::new()));
    let told = Rc::clone(&answer);
    on_recorded(&[], |edge, recorder| async move {
        *recorder.reply.borrow_mut() = Some(reply);
        let bytes = edge.exchange(request).await;
        *told.borrow_mut() = bytes;
    })
    .await;
    answer.take()
}

pub const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// These bytes are refused with this status: nothing of them, nor of what comes behind them,
/// reaches the upstream.
pub async fn refused_with(status: &str, rows: &[&[u8]]) {
    for row in rows {
        on_recorded(&[], |edge, recorder| async move {
            let (answers, seen) = play(&edge, &recorder, &[row, NEXT.as_bytes()].concat()).await;
            let shown = row.escape_ascii().to_string().chars().take(300).collect::<String>();
            let statuses: Vec<_> =
                answers.iter().map(|answer| answer.answer()[..3].to_owned()).collect();
            assert_eq!((statuses, seen), (vec![status.to_owned()], vec![]), "{shown}");
            assert_eq!(answers[0].all("connection"), ["close"], "{shown}");
            let line = edge.line().await;
            assert_eq!(
                (line["status"].to_string(), &line["error"]["side"]),
                (status.to_owned(), &"client".into())
            );
        })
        .await;
    }
}

/// The same with 400.
pub async fn refused(rows: &[&[u8]]) {
    refused_with("400", rows).await;
}

/// These bytes are one request with this body: the next request is a request of its own, and gets
/// its own response.
pub async fn one_request(rows: &[(&str, &str)]) {
    for (bytes, told) in rows {
        on_recorded(&[], |edge, recorder| async move {
            let (answers, seen) = play(&edge, &recorder, format!("{bytes}{NEXT}").as_bytes()).await;
            assert_eq!(seen, [*told, "GET /next "], "{bytes:?}");
            let answers: Vec<_> = answers.iter().map(Message::answer).collect();
            assert_eq!(answers, [format!("200 {told}"), "200 GET /next ".to_owned()], "{bytes:?}");
        })
        .await;
    }
}
