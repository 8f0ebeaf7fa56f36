//! HTTP/2 frames byte by byte, for clients no library would be (RFC 9113, section 4).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// One frame as it is sent.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as they are sent, none of them in a table (RFC 7541, section 6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 7, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A number behind the first bits of a byte (RFC 7541, section 5.1).
fn integer(block: &mut Vec<u8>, bits: u32, mut number: usize) {
    let most = (1 << bits) - 1;
    if number < most {
        return block.push(u8::try_from(number).expect("a byte"));
    }
    block.push(u8::try_from(most).expect("a byte"));
    number -= most;
    while number >= 128 {
        block.push(u8::try_from(number % 128 + 128).expect("a byte"));
        number /= 128;
    }
    block.push(u8::try_from(number).expect("a byte"));
}

pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

/// A request without a body.
pub fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(&GET))
}

/// What a client begins with: the preface and its settings.
pub fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()
}

/// Reads one frame; nothing at the end of the connection.
pub async fn read(client: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    client.read_exact(&mut head).await.ok()?;
    let mut frame = begun(head);
    client.read_exact(&mut frame.payload).await.ok()?;
    Some(frame)
}

/// A frame whose head was read, and room for what follows.
pub fn begun(head: [u8; 9]) -> Frame {
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Frame { kind: head[3], flags: head[4], stream, payload: vec![0; length] }
}

/// Reads until a frame of that kind, and acknowledges what has to be on the way.
pub async fn until(client: &mut DuplexStream, kind: u8) -> Option<Frame> {
    loop {
        let frame = read(client).await?;
        match frame.kind {
            found if found == kind => return Some(frame),
            // A connection that ends takes no more responses.
            PING if frame.flags & ACK == 0 => {
                let _ = client.write_all(&self::frame(PING, ACK, 0, &frame.payload)).await;
            }
            _ => {}
        }
    }
}

/// The error code of a RST_STREAM or GOAWAY.
pub fn code(frame: &Frame) -> u32 {
    let from = if frame.kind == GOAWAY { 4 } else { 0 };
    u32::from_be_bytes(frame.payload[from..from + 4].try_into().expect("a code"))
}
