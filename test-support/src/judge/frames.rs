//! HTTP/2 frames of any kind before a recording upstream: what arrives there is framed in one way
//! and says who it is from, the connection ends, and a good client beside is served.

use std::{cell::Cell, rc::Rc};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    frames::{self, CONTINUATION, HEADERS},
    recorder::{NEXT, on_recorded},
};

/// Frames, each from a kind, flags, a stream, a length and so many bytes.
fn spelled(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut spelled = Vec::new();
    while let Some(([kind, flags, stream, length], rest)) = bytes.split_first_chunk::<4>() {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        spelled.push((*kind, frames::frame(*kind, *flags, u32::from(*stream), payload)));
        bytes = rest;
    }
    spelled
}

/// Plays the frames and judges what came of them.
pub async fn judge(bytes: &[u8]) {
    let ended = Rc::new(Cell::new(false));
    let told = Rc::clone(&ended);
    on_recorded(&[], |edge, recorder| async move {
        let (mut reader, mut writer) = tokio::io::split(edge.connect());
        let frames = spelled(bytes);
        let talk = async {
            // It may be refused, and closed, before all of it was taken.
            let _refused_early = writer.write_all(&frames::hello(&[])).await;
            for (_, frame) in &frames {
                let _refused_early = writer.write_all(frame).await;
            }
            let _refused_early = writer.shutdown().await;
        };
        let mut came = Vec::new();
        let (_, _reset) = tokio::join!(talk, reader.read_to_end(&mut came));
        let begun =
            frames.iter().filter(|(kind, _)| matches!(*kind, HEADERS | CONTINUATION)).count();
        assert!(
            recorder.requests.borrow().len() <= begun,
            "{} requests of {begun}",
            recorder.requests.borrow().len()
        );
        for request in &*recorder.requests.borrow() {
            assert_eq!(
                (request.all("host").len(), request.all("x-forwarded-for")),
                (1, vec!["192.0.2.1"])
            );
            let connection =
                ["connection", "te", "upgrade", "keep-alive", "proxy-connection", "expect"];
            assert!(
                connection.iter().all(|name| request.all(name).is_empty())
                    && request.first.ends_with(" HTTP/1.1")
            );
        }
        assert!(edge.exchange(NEXT).await.starts_with("HTTP/1.1 200 "), "a good client beside");
        told.set(true);
    })
    .await;
    assert!(ended.get());
}
