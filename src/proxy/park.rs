//! A delayed request: a timer and nothing else. It has not touched the upstream and its body is not
//! read.
//!
//! Guarantees: it is released when its turn comes, never before, and never later than told on
//! arrival; when its client leaves it ends immediately and the line behind it moves up; when the
//! process is to stop before its turn, it is rejected immediately (tests/edge/leaving.rs).

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
};

use crate::{
    downstream::{client_state::RequestChannel, drain::Drain},
    limit::{Millis, Next, Parked},
    runtime::{clock::Clock, release_timer::ReleaseTimer},
};

/// What a release is timed by.
pub struct Parking<'a> {
    /// The process's clock.
    pub clock: Clock,
    /// The worker's releases.
    pub releases: &'a ReleaseTimer,
    /// What the arrival was after the millisecond it was decided at: added to each release, so that
    /// none is early.
    pub late: Millis,
}

/// Why a parked request was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Its client left.
    ClientGone,
    /// The process stops before its turn.
    Draining,
}

/// Leaves its line unless the request was released, also when it is dropped.
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

/// Holds a request until its release; returns the millisecond at which its turn came.
///
/// # Errors
/// Why it left before; those behind it have moved up then, as they have when this is dropped.
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
        turn = parking.release(parked) => Ok(turn),
        () = line.departed() => Err(Left::ClientGone),
        () = parking.too_late(parked, drain.clone()) => Err(Left::Draining),
    };
    if released.is_ok() {
        slot.parked = None;
    }
    released
}

impl Parking<'_> {
    /// Completes when the turn of a request has come. A leave in its line wakes it: then it looks
    /// whether it moved up.
    async fn release(&self, parked: &Parked) -> Millis {
        loop {
            let next = poll_fn(|context| Poll::Ready(self.look(parked, context))).await;
            let (Next::Go(turn) | Next::LookAt(turn)) = next;
            let mut timer = pin!(self.releases.until(self.clock.at(turn.plus(self.late).into())));
            let mut is_new = true;
            let is_due = poll_fn(|context| {
                if timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                let moved = !std::mem::take(&mut is_new) && self.look(parked, context) != next;
                if moved { Poll::Ready(false) } else { Poll::Pending }
            });
            if is_due.await && matches!(next, Next::Go(_)) {
                return turn;
            }
        }
    }

    fn look(&self, parked: &Parked, context: &Context<'_>) -> Next {
        parked.look(Millis::cut(self.clock.now()), context.waker())
    }

    /// Completes when the process is to stop before the turn of a request, or so soon behind it
    /// that its response would be cut.
    async fn too_late(&self, parked: &Parked, mut drain: Drain) {
        let end = Millis::cut(self.clock.since_start(drain.last_release().await));
        if parked.is_in_time(Millis(end.0.saturating_sub(self.late.0))) {
            std::future::pending::<()>().await;
        }
    }
}
