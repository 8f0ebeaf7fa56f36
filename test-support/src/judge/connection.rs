//! A whole connection of any bytes before a recording upstream: the requests that arrive there are
//! those that were accepted, each framed in one way, and nothing that was refused is among them.

use std::{cell::Cell, rc::Rc};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::http::framing::HeaderLimits;

use crate::{accepted::accepted, recorder::on_recorded};

const LIMITS: HeaderLimits = HeaderLimits { size: 32 * 1024, count: 100 };

/// Number of heads in these bytes that are accepted.
fn heads(bytes: &[u8]) -> u64 {
    accepted(bytes, bytes.len().max(1), LIMITS).1
}

/// Plays the bytes and judges what came of them.
pub async fn judge(bytes: &[u8]) {
    let ended = Rc::new(Cell::new(false));
    let told = Rc::clone(&ended);
    on_recorded(&[], |edge, recorder| async move {
        let mut client = edge.connect();
        let talk = async {
            // It may be refused, and closed, before all of it was taken.
            let _refused_early = client.write_all(bytes).await;
            let _refused_early = client.shutdown().await;
            let mut came = Vec::new();
            let _reset = client.read_to_end(&mut came).await;
            came
        };
        let came = talk.await;
        let seen = recorder.requests.borrow().len() as u64;
        assert!(
            seen <= heads(bytes),
            "{seen} requests arrived of {} that were accepted",
            heads(bytes)
        );
        let answers = came
            .windows(9)
            .filter(|window| window.starts_with(b"HTTP/1.") && window[8] == b' ')
            .count() as u64;
        assert!(answers >= seen.min(1), "nothing came back for {seen} requests");
        for request in &*recorder.requests.borrow() {
            assert_eq!(request.all("host").len(), 1);
            assert_eq!(request.all("x-forwarded-for"), ["192.0.2.1"]);
            // A change of protocols is asked for, or nothing is.
            let asked = usize::from(request.all("connection") == ["upgrade"]);
            assert_eq!(
                (request.all("connection").len(), request.all("upgrade").len()),
                (asked, asked)
            );
        }
        told.set(true);
    })
    .await;
    assert!(ended.get());
}
