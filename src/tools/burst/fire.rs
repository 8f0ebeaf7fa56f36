//! Sender of a burst: every request at its instant, never more than the schedule says, done by a
//! known time.
//!
//! By default each request has a connection of its own, opened up to [`AHEAD`] before its instant,
//! so that only one `write` lies between the schedule and the wire. With fewer connections than
//! requests they are reused, and a request that finds none free is sent late; the trace has the
//! instant at which it was really sent. Each client sends the whole schedule.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::{JoinSet, LocalSet, yield_now};

use super::{
    lane::{Lane, LaneConn, LaneResponse},
    schedule::{MAX_REQUESTS, Schedule},
    target::{BurstTarget, RequestTemplate},
    trace::{Cause, End, Shot},
};
use crate::runtime::hint::Hinted;

/// Time before its instant at which the connection of a request is opened: less than the idle
/// time-out of any server.
pub const AHEAD: Duration = Duration::from_secs(1);

/// Limit on clients: addresses of 127.0.0.0/8.
pub const MAX_CLIENTS: u32 = 10_000;

/// Default number of open connections, for the usual limit of 1024 open files.
pub const USUAL_CONNECTIONS: usize = 800;

/// The timer has a resolution of a millisecond; the rest of the time to an instant is spent reading
/// the clock.
const LOOK: Duration = Duration::from_micros(1_500);

/// Plan of a burst.
#[derive(Clone, Debug)]
pub struct BurstPlan {
    /// Server to send to.
    pub target: BurstTarget,
    /// Request to send.
    pub order: RequestTemplate,
    /// Schedule of each client.
    pub schedule: Schedule,
    /// Number of clients, each with a loopback address of its own when there are several.
    pub clients: u32,
    /// Open connections, all clients together; none means [`USUAL_CONNECTIONS`].
    pub connections: Option<usize>,
    /// Time-out for a response, and for a connection.
    pub timeout: Duration,
}

/// Progress of a burst.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests sent.
    pub sent: Cell<usize>,
    /// Requests with a response or a failure.
    pub ended: Cell<usize>,
}

/// Reason why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum FireError {
    /// The host has no address.
    #[error("cannot find the address of `{host}`: {cause}")]
    Resolve {
        /// Name of the host.
        host: String,
        /// Error of the resolver.
        cause: io::Error,
    },
    /// The server does not listen, or there are too many connections.
    #[error("cannot connect to `{server}`: {cause}")]
    Connect {
        /// Address of the server.
        server: SocketAddr,
        /// Error of the kernel.
        cause: io::Error,
    },
    /// Several clients need several loopback addresses.
    #[error("`{0}` is not on this machine")]
    NotLoopback(SocketAddr),
    /// Out of bounds.
    #[error("`{0}` is not a supported number of clients")]
    Clients(u32),
    /// Out of bounds.
    #[error("`0` is too few connections")]
    NoConnections,
}

impl Hinted for FireError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Resolve { .. } => "check the spelling",
            Self::Connect { cause, .. } => connect_hint(cause),
            Self::NotLoopback(_) => {
                "more than one client works with 127.0.0.1 only, each from its own 127.0.0.x"
            }
            Self::Clients(_) => {
                return Some(format!(
                    "use 1 to {MAX_CLIENTS} clients and at most {MAX_REQUESTS} requests in all"
                ));
            }
            Self::NoConnections => "use at least one for each client",
        };
        Some(text.to_owned())
    }
}

fn connect_hint(cause: &io::Error) -> &'static str {
    const TOO_MANY_OPEN_FILES: i32 = 24;
    match cause.raw_os_error() {
        Some(TOO_MANY_OPEN_FILES) => "lower `--connections` or raise `ulimit -n`",
        _ => "is the server running, and is this its address?",
    }
}

/// Sends the plan and returns the trace, ordered by schedule and client.
///
/// # Errors
/// When nothing could be sent: no address, no connection, or a plan out of bounds.
pub async fn fire(plan: &BurstPlan, tally: &Rc<Tally>) -> Result<Vec<Shot>, FireError> {
    let server = resolve(&plan.target).await?;
    let volley = Rc::new(Volley::new(plan, server)?);
    LocalSet::new().run_until(volley.fire(Rc::clone(tally))).await
}

async fn resolve(target: &BurstTarget) -> Result<SocketAddr, FireError> {
    let failed = |cause| FireError::Resolve { host: target.host.clone(), cause };
    let mut addresses =
        tokio::net::lookup_host((target.host.as_str(), target.port)).await.map_err(failed)?;
    // A server on `localhost` is more often on 127.0.0.1 than on ::1.
    let first = addresses.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    Ok(if first.is_ipv4() { first } else { addresses.find(SocketAddr::is_ipv4).unwrap_or(first) })
}

/// Returns the n-th loopback address, from 127.0.0.1 on.
fn loopback(client: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + client))
}

/// Plan that is ready to be sent.
struct Volley {
    server: SocketAddr,
    order: Rc<RequestTemplate>,
    lanes: Vec<Rc<Lane>>,
    offsets: Vec<Duration>,
    timeout: Duration,
    /// True if connections serve more than once.
    reuse: bool,
    /// Connections per lane.
    room: usize,
}

impl Volley {
    fn new(plan: &BurstPlan, server: SocketAddr) -> Result<Self, FireError> {
        let requests = plan.schedule.offsets_us().len();
        let clients = plan.clients as usize;
        if clients == 0
            || plan.clients > MAX_CLIENTS
            || requests.saturating_mul(clients) > MAX_REQUESTS
        {
            return Err(FireError::Clients(plan.clients));
        }
        if clients > 1 && !matches!(server.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
            return Err(FireError::NotLoopback(server));
        }
        let connections = plan.connections.unwrap_or(USUAL_CONNECTIONS);
        if connections == 0 {
            return Err(FireError::NoConnections);
        }
        // At least one for each client, and no more than it has requests.
        let room = (connections / clients).clamp(1, requests);
        let lane =
            |client| Rc::new(Lane::new(server, (clients > 1).then(|| loopback(client)), room));
        Ok(Self {
            server,
            order: Rc::new(plan.order.clone()),
            lanes: (0..plan.clients).map(lane).collect(),
            offsets: plan
                .schedule
                .offsets_us()
                .iter()
                .map(|offset| Duration::from_micros(*offset))
                .collect(),
            timeout: plan.timeout,
            reuse: room < requests,
            room,
        })
    }

    async fn fire(self: Rc<Self>, tally: Rc<Tally>) -> Result<Vec<Shot>, FireError> {
        // Later connections are opened shortly before their requests: a server would close them as
        // idle.
        let soon = self.offsets.partition_point(|offset| *offset <= AHEAD).min(self.room);
        self.prepare(soon).await?;
        // Ahead by the time that `reach` spends reading the clock, so that the first instant is not
        // missed.
        let start = Instant::now() + LOOK;
        let preparing = tokio::task::spawn_local(Rc::clone(&self).prepare_later(soon, start));
        let mut under_way = JoinSet::new();
        for offset in &self.offsets {
            reach(start + *offset).await;
            for client in 0..self.lanes.len() {
                let shot = Flight {
                    volley: Rc::clone(&self),
                    tally: Rc::clone(&tally),
                    client,
                    offset: *offset,
                    start,
                };
                // The request is written here, not in its task: a task would begin only when this
                // loop yields.
                shot.launch(&mut under_way);
            }
        }
        let mut trace = Vec::with_capacity(self.offsets.len() * self.lanes.len());
        while let Some(ended) = under_way.join_next().await {
            // A task that panicked has reported its bug on stderr already.
            trace.extend(ended.ok());
        }
        // Every request has ended, so connections that are still being opened are of no use.
        preparing.abort();
        // Tasks end in any order, and outputs must not depend on it.
        trace.sort_by_key(|shot: &Shot| (shot.due_us, shot.client, shot.sent_us));
        Ok(trace)
    }

    /// Opens the first connections of every lane.
    async fn prepare(&self, each: usize) -> Result<(), FireError> {
        for lane in &self.lanes {
            for _ in 0..each {
                let opened = tokio::time::timeout(self.timeout, lane.prepare()).await;
                let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                opened.map_err(|cause| FireError::Connect { server: self.server, cause })?;
            }
        }
        Ok(())
    }

    /// Opens the other connections shortly before they are needed. One that fails here fails, or is
    /// tried again, when it is needed.
    async fn prepare_later(self: Rc<Self>, done: usize, start: Instant) {
        if self.reuse {
            return;
        }
        for offset in &self.offsets[done..] {
            tokio::time::sleep_until((start + *offset - AHEAD).into()).await;
            for lane in &self.lanes {
                let _tried_again_by_take = lane.prepare().await;
            }
        }
    }
}

/// Waits for an instant: by the timer while it is far, then by reading the clock and yielding in
/// between.
async fn reach(instant: Instant) {
    let far = instant.checked_sub(LOOK).filter(|near| *near > Instant::now());
    if let Some(near) = far {
        tokio::time::sleep_until(near.into()).await;
    }
    while Instant::now() < instant {
        // Responses are read on the same thread while the clock is watched.
        yield_now().await;
    }
}

/// Request in progress.
struct Flight {
    volley: Rc<Volley>,
    tally: Rc<Tally>,
    client: usize,
    offset: Duration,
    start: Instant,
}

impl Flight {
    /// Sends immediately if a connection is ready, or as soon as one is.
    fn launch(self, under_way: &mut JoinSet<Shot>) {
        match self.lane().ready() {
            Some(connection) => {
                let sent = Instant::now();
                let written = connection.write_now(&self.volley.order.bytes);
                under_way.spawn_local(self.fly(connection, sent, written));
            }
            None => {
                under_way.spawn_local(self.launch_late());
            }
        }
    }

    async fn launch_late(self) -> Shot {
        let connection = tokio::time::timeout(self.volley.timeout, self.lane().take()).await;
        // After the wait for a connection: the trace must show when it was really sent.
        let sent = Instant::now();
        match connection {
            Ok(Ok(connection)) => {
                let written = connection.write_now(&self.volley.order.bytes);
                self.fly(connection, sent, written).await
            }
            Ok(Err(error)) => self.failed(sent, Cause::Io(error.to_string())),
            Err(_) => self.failed(sent, Cause::Timeout),
        }
    }

    async fn fly(self, connection: LaneConn, sent: Instant, written: io::Result<usize>) -> Shot {
        self.tally.sent.set(self.tally.sent.get() + 1);
        let written = match written {
            Ok(written) => written,
            Err(error) => return self.failed(sent, error.into()),
        };
        let order = Rc::clone(&self.volley.order);
        let answer = connection.finish(&order.bytes[written..], order.answers_are_bare);
        match tokio::time::timeout(self.volley.timeout, answer).await {
            Ok(LaneResponse { at, end, connection }) => {
                // Without reuse every request has a connection of its own, so this one is closed.
                if let (true, Some(connection)) = (self.volley.reuse, connection) {
                    self.lane().put(connection);
                }
                self.ended(sent, at, end)
            }
            Err(_) => self.failed(sent, Cause::Timeout),
        }
    }

    fn lane(&self) -> &Lane {
        &self.volley.lanes[self.client]
    }

    fn failed(&self, sent: Instant, cause: Cause) -> Shot {
        self.ended(sent, Instant::now(), End::Failed(cause))
    }

    fn ended(&self, sent: Instant, at: Instant, end: End) -> Shot {
        self.tally.ended.set(self.tally.ended.get() + 1);
        let since = |instant: Instant| instant.saturating_duration_since(self.start).as_nanos();
        let micros = |nanos: u128| u64::try_from(nanos).unwrap_or(u64::MAX);
        Shot {
            client: u32::try_from(self.client).unwrap_or(u32::MAX),
            due_us: micros(self.offset.as_micros()),
            // Rounded outwards, the send down and the end up: rounding never makes a breach.
            sent_us: micros(since(sent) / 1_000),
            end_us: micros(since(at).div_ceil(1_000)),
            end,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{runtime::hint::one_line, tools::burst::fire::*};

    fn volley(
        server: &str,
        clients: u32,
        connections: Option<usize>,
    ) -> Result<(usize, bool), String> {
        let target: BurstTarget = server.parse().expect("a target");
        let order = RequestTemplate::new(&target, &http::Method::GET, &[]).expect("an order");
        let schedule = "30".parse().expect("a schedule");
        let plan = BurstPlan {
            target,
            order,
            schedule,
            clients,
            connections,
            timeout: Duration::from_secs(1),
        };
        let volley = Volley::new(&plan, server.parse().expect("an address"));
        volley.map(|volley| (volley.room, volley.reuse)).map_err(|error| one_line(&error))
    }

    #[test]
    fn connections_are_shared_out_and_reused_only_when_they_are_few() {
        assert_eq!(volley("127.0.0.1:1", 1, None), Ok((30, false)));
        assert_eq!(volley("127.0.0.1:1", 1, Some(10)), Ok((10, true)));
        assert_eq!(volley("127.0.0.1:1", 100, None), Ok((8, true)));
        assert_eq!(volley("127.0.0.1:1", 1_000, Some(10)), Ok((1, true)));
    }

    #[test]
    fn burst_plan_out_of_bounds_names_allowed_range() {
        for (server, clients, connections, says) in [
            ("192.0.2.1:80", 2, None, "`192.0.2.1:80` is not on this machine"),
            ("127.0.0.1:80", 0, None, "`0` is not a supported number of clients"),
            (
                "127.0.0.1:80",
                4_000,
                None,
                "`4000` is not a supported number of clients, hint: use 1 to 10000 clients and at \
                most 100000",
            ),
            ("127.0.0.1:80", 1, Some(0), "`0` is too few connections"),
        ] {
            let error = volley(server, clients, connections).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn clients_have_addresses_of_their_own() {
        assert_eq!(loopback(0).to_string(), "127.0.0.1");
        assert_eq!(loopback(255).to_string(), "127.0.1.0");
    }
}
