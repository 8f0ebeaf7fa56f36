//! Parking of a delayed request: a timer and nothing else. The upstream is not touched and the body
//! not read.
//!
//! Guarantees: a request is released at its slot, never before, and never later than computed on
//! arrival. When its client leaves, it ends immediately and the line behind it moves up. When the
//! process will stop before its slot, it is rejected immediately (tests/edge/leaving.rs).

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
};

use crate::{
    downstream::{drain::Drain, request_channel::RequestChannel},
    limit::{Millis, Next, Parked},
    runtime::{clock::Clock, release_timer::ReleaseTimer},
};

/// Time sources for a release.
pub struct Parking<'a> {
    /// Clock of the process.
    pub clock: Clock,
    /// Release timer of the worker.
    pub releases: &'a ReleaseTimer,
    /// Distance of the arrival from the millisecond used for its decision. It is added to each
    /// release, so that none is early.
    pub late: Millis,
}

/// Reason why a parked request was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The client left.
    ClientGone,
    /// The process stops before the slot.
    Draining,
}

/// Leaves the line on drop unless the request was released.
///
/// A slot is given back exactly once and only while it is unused. A client may leave at any await
/// point, so the give-back is in `Drop`: it runs when the future of the request is dropped, however
/// that happens. After the release the slot is used up, even if the upstream never receives the
/// request: giving it back then would let another request through on the same slot.
struct Slot<'a> {
    parked: Option<Parked>,
    parking: &'a Parking<'a>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(parked) = self.parked.take() {
            parked.leave(Millis::cut(self.parking.clock.now()));
        }
    }
}

/// Holds a request until its release and returns the millisecond of its slot.
///
/// # Errors
/// The reason why it left before. The requests behind it have moved up then, as they have when this
/// future is dropped.
pub async fn park(
    parked: Parked,
    parking: &Parking<'_>,
    line: &RequestChannel,
    drain: &Drain,
) -> Result<Millis, Left> {
    let mut slot = Slot { parked: Some(parked), parking };
    let Some(parked) = &slot.parked else { return Err(Left::ClientGone) };
    let released = tokio::select! {
        biased;
        slot = parking.release(parked) => Ok(slot),
        () = line.departed() => Err(Left::ClientGone),
        () = parking.too_late(parked, drain.clone()) => Err(Left::Draining),
    };
    if released.is_ok() {
        slot.parked = None;
    }
    released
}

impl Parking<'_> {
    /// Completes at the slot of a request. It is woken when a request ahead leaves, and then looks
    /// whether it moved up.
    async fn release(&self, parked: &Parked) -> Millis {
        loop {
            let next = poll_fn(|context| Poll::Ready(self.look(parked, context))).await;
            let (Next::Go(slot) | Next::LookAt(slot)) = next;
            let mut timer = pin!(self.releases.until(self.clock.at(slot.plus(self.late).into())));
            let mut is_new = true;
            let is_due = poll_fn(|context| {
                if timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                let moved = !std::mem::take(&mut is_new) && self.look(parked, context) != next;
                if moved { Poll::Ready(false) } else { Poll::Pending }
            });
            if is_due.await && matches!(next, Next::Go(_)) {
                return slot;
            }
        }
    }

    fn look(&self, parked: &Parked, context: &Context<'_>) -> Next {
        parked.look(Millis::cut(self.clock.now()), context.waker())
    }

    /// Completes when the process will stop before the slot of a request, or so soon after it that
    /// its response would be cut.
    async fn too_late(&self, parked: &Parked, mut drain: Drain) {
        let end = Millis::cut(self.clock.since_start(drain.last_release().await));
        if parked.is_in_time(Millis(end.0.saturating_sub(self.late.0))) {
            std::future::pending::<()>().await;
        }
    }
}
