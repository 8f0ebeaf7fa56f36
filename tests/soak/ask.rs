//! One request, and what came of it: of a response whatever came is held against the request's
//! mark.

use crate::{
    decode::decode_so_far,
    http1::{Client, Framing, Head, read_body},
    mark::Mark,
    peer::length_of,
};

/// What a client was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// All of the upstream's response.
    Whole,
    /// The beginning of it; the connection is over.
    Part,
    /// A response of weir's own.
    Told(u16),
}

/// Asks for a response of a kind, and takes it.
pub fn ask(client: &mut Client, kind: &str) -> Given {
    ask_with(client, "GET", kind, "", 0)
}

/// The same with a body of so many bytes and fields of one's own.
pub fn ask_with(
    client: &mut Client,
    method: &str,
    kind: &str,
    fields: &str,
    length: usize,
) -> Given {
    let mark = Mark::new();
    let sent = if length == 0 { String::new() } else { format!("content-length: {length}\r\n") };
    let head =
        format!("{method} {} HTTP/1.1\r\nhost: weir.test\r\n{fields}{sent}\r\n", mark.path(kind));
    client.send(&[head.into_bytes(), mark.body(length)].concat()).expect("an open connection");
    let (status, head, framing) = client.head(method).expect("an answer");
    if head.field("x-mark").is_none() {
        read_body(&mut client.stream, framing, |_| {}).expect("all of what weir says");
        return Given::Told(status);
    }
    assert_eq!(
        (status, head.field("x-mark")),
        (200, Some(&*mark.to_string())),
        "an answer that is another's"
    );
    assert_eq!(head.field("x-received"), Some(&*length.to_string()), "a request that is another's");
    take(client, &head, framing, mark, length_of(kind))
}

fn take(client: &mut Client, head: &Head, framing: Framing, mark: Mark, length: usize) -> Given {
    let mut body = Vec::new();
    let whole =
        read_body(&mut client.stream, framing, |piece| body.extend_from_slice(piece)).is_ok();
    if let Some(coding) = head.field("content-encoding") {
        body = decode_so_far(coding, &body).0;
    }
    assert!(mark.owns(&body), "a body that is another's: {}", String::from_utf8_lossy(&body));
    assert!(body.len() == length || !whole, "{} bytes of {length}", body.len());
    if whole { Given::Whole } else { Given::Part }
}
