//! Panic guard: a panic while handling a request costs that request only.
//!
//! Guarantee: everything the request held (slots and permits) is given back by unwinding before its
//! client gets a response.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
};

use crate::{
    downstream::request_channel::RequestChannel,
    http::{
        error::{Error, Kind},
        known_name::KnownName,
        message::Response,
    },
    log::record::LoggedBody,
    proxy::{
        reply,
        stop::Closed,
        to_client::{ResponseBody, own, set_date},
    },
};

/// Outcome of a request.
pub type Handled = Result<Response<LoggedBody<ResponseBody>>, Closed>;

/// Runs the handling of a request; a panic becomes a 500, after which an HTTP/1.1 connection ends.
/// The work is pinned by the caller, because a future that is moved into another one is in both.
///
/// # Errors
/// [`Closed`], as the work says.
pub async fn guarded(
    line: &RequestChannel,
    mut work: Pin<&mut impl Future<Output = Handled>>,
) -> Handled {
    let outcome =
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(polled) => polled.map(Some),
            // The panic hook has printed the place. A future that has panicked is unwound and not
            // polled again.
            Err(_) => Poll::Ready(None),
        });
    outcome.await.unwrap_or_else(|| Ok(internal_error(line)))
}

fn internal_error(line: &RequestChannel) -> Response<LoggedBody<ResponseBody>> {
    let error = Error::new(Kind::ProxyInternalError, "internal error");
    let mut answer = own(reply::failure(&error, None)).map(LoggedBody::unlogged);
    set_date(&mut answer.head.headers);
    if line.conn.is_some() {
        answer.head.headers.set_static(KnownName::Connection, "close");
    }
    answer
}

#[cfg(test)]
mod tests {
    use crate::{
        downstream::client_state::{ClientState, WaitingFor},
        limit::{Key, Part, Queue, Zone, ZoneSettings},
        process::panic_guard::*,
    };

    #[tokio::test(start_paused = true)]
    async fn panic_is_a_500_and_gives_back_permits() {
        let (queue, line) = (
            Queue::with_room(1, 1),
            RequestChannel::stream(&ClientState::new(WaitingFor::Nothing), None),
        );
        let (key, rate) = (Key::of(vec![Part::Global]), "1r/s".parse().expect("a rate"));
        let zone = ZoneSettings { name: "z".into(), key, rate, capacity: 1, exempt: Vec::new() };
        let zone = std::sync::Arc::new(Zone::new(zone));
        let work = async {
            let _seat = queue.enter(&zone).expect("room for one");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            panic!("an invariant of the test is broken");
        };
        let answer = guarded(&line, std::pin::pin!(work)).await.expect("an answer");
        assert_eq!((answer.head.status.as_u16(), queue.parked()), (500, 0));
        assert!(!answer.head.headers.contains(KnownName::Connection));
    }
}
