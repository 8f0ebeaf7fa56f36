//! An endpoint that responds with any bytes: the client gets a whole response only where there was
//! one, with the very body, and the next request gets a response of its own.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::http::framing::{HeaderLimits, body::Piece, response};

use crate::harness::{Pipes, config, on_raw_edge};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const LIMITS: HeaderLimits = HeaderLimits { size: 32 * 1024, count: 100 };
const OWN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown";

/// The final response in these bytes, if it is whole; they end with their connection.
fn whole(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let (mut bytes, mut body) = (BytesMut::from(bytes), Vec::new());
    let mut begun = loop {
        let begun = response::head(&mut bytes, false, LIMITS).ok()??;
        if !begun.parts.status.is_informational() || begun.parts.status.as_u16() == 101 {
            break begun;
        }
    };
    let status = begun.parts.status.as_u16();
    loop {
        match begun.body.take(&mut bytes).ok()? {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::Trailers(_) | Piece::End => return Some((status, body)),
            Piece::More => return begun.body.close().then_some((status, body)),
        }
    }
}

/// Responds to the first request with `bytes` and closes, and all others as it should.
async fn play(pipes: &mut Pipes, bytes: &[u8]) {
    let mut answer = bytes;
    while let Some(mut pipe) = pipes.recv().await {
        let mut request = [0; 4096];
        let _ = pipe.read(&mut request).await;
        // A connection that is dropped meanwhile takes no more.
        let _ = pipe.write_all(answer).await;
        let _ = pipe.shutdown().await;
        answer = OWN;
    }
}

/// Plays the bytes and judges what came of them.
pub async fn judge(bytes: &[u8]) {
    let playing = on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let ask = async { (edge.exchange_bytes(GET).await, edge.exchange_bytes(GET).await) };
        let (first, second) = tokio::select! {
            got = ask => got,
            () = play(&mut pipes, bytes) => panic!("weir is gone"),
        };
        match (whole(bytes), whole(&first)) {
            (Some((101, _)) | None, Some((status, _))) => assert_eq!(status, 502),
            (Some((101, _)) | None, None) => {}
            (Some(said), got) => assert_eq!(got, Some(said)),
        }
        assert_eq!(whole(&second), Some((200, b"own".to_vec())));
    });
    Box::pin(playing).await;
}
