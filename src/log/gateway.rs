//! Detects that most clients appear as the default gateway. Behind a published container port that
//! is every client that comes by IPv6 or from the host of the container, and all of them share one
//! limit.
//!
//! Guarantee: the warning is logged once per process. A request costs a comparison and two
//! additions, no clock and no lock.

use std::{
    cell::Cell,
    fs,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Requests that are judged together.
const WINDOW: u32 = 100;

/// Default gateway, and whether the warning was logged.
#[derive(Clone, Debug)]
pub struct Gateway {
    address: IpAddr,
    told: Arc<AtomicBool>,
}

impl Gateway {
    /// Creates a gateway that was not warned about yet.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self { address, told: Arc::default() }
    }

    /// Returns the default gateway of this network namespace; none if there is none or the kernel
    /// does not say.
    #[must_use]
    pub fn of_this_network() -> Option<Self> {
        let routes = fs::read_to_string("/proc/net/route").ok()?; // no such file: not Linux, and no warning
        default_gateway(&routes).map(|address| Self::new(address.into()))
    }
}

/// Count of requests of one worker that seem to come from the gateway.
#[derive(Debug, Default)]
pub struct Watch {
    gateway: Option<Gateway>,
    seen: Cell<u32>,
    hidden: Cell<u32>,
}

impl Watch {
    /// Creates a watch on a gateway; without one it counts nothing.
    #[must_use]
    pub fn on(gateway: Option<Gateway>) -> Self {
        Self { gateway, ..Self::default() }
    }

    /// Counts a request of `client`, and warns when most of a hundred came from the gateway.
    pub fn see(&self, client: IpAddr) {
        let Some(gateway) = &self.gateway else { return };
        // First, because it counts also after the warning: the windows must stay in step.
        if self.most_are_hidden(client == gateway.address)
            && !gateway.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                gateway = %gateway.address,
                "most requests come from this network's gateway: their own addresses are hidden, and what counts by client_ip \
                 counts them as one; hint: give the network IPv6, use the host's network, or name the proxy in front in \
                 client_ip.trusted_proxies: docs/stack.md, `Whose address?`"
            );
        }
    }

    /// Returns true if this request ends a window in which more than half came from the gateway.
    fn most_are_hidden(&self, hidden: bool) -> bool {
        let (seen, hidden) = (self.seen.get() + 1, self.hidden.get() + u32::from(hidden));
        let over = seen == WINDOW;
        self.seen.set(if over { 0 } else { seen });
        self.hidden.set(if over { 0 } else { hidden });
        over && hidden > WINDOW / 2
    }
}

/// Gateway of the default route with the lowest metric in the text of `/proc/net/route`. Addresses
/// are in the byte order of the machine.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    let default = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Destination and mask are zero: the default route.
        let [_, "00000000", gateway, _, _, _, metric, "00000000", ..] = fields[..] else {
            return None;
        };
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|address| *address != 0)?;
        Some((metric.parse::<u32>().ok()?, Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    routes.lines().filter_map(default).min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use crate::log::gateway::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    /// Line as the kernel writes it on this machine.
    fn line(to: [u8; 4], gateway: [u8; 4], metric: u32, mask: [u8; 4]) -> String {
        let [to, gateway, mask] = [to, gateway, mask].map(u32::from_ne_bytes);
        format!("eth0\t{to:08X}\t{gateway:08X}\t0003\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0\n")
    }

    #[test]
    fn gateway_is_default_route_with_lowest_metric() {
        let near = line([172, 18, 0, 0], [0; 4], 0, [255, 255, 0, 0]);
        let default = |last, metric| line([0; 4], [172, 18, 0, last], metric, [0; 4]);
        let found = |lines: &str| {
            default_gateway(&format!("{HEAD}{lines}")).map(|address| address.octets()[3])
        };
        assert_eq!(found(&(near.clone() + &default(1, 0))), Some(1));
        assert_eq!(found(&(default(1, 200) + &default(2, 100))), Some(2));
        assert_eq!(found(&near), None, "an internal network has none");
        assert_eq!(found(&line([0; 4], [0; 4], 0, [0; 4])), None, "a route to a device");
        assert_eq!(
            found(&line([0; 4], [10, 0, 0, 9], 0, [128, 0, 0, 0])),
            None,
            "half of the addresses"
        );
        assert_eq!((default_gateway(""), default_gateway("x 00000000 z")), (None, None));
    }

    #[test]
    fn more_than_half_of_a_hundred_is_most() {
        let windows = |hidden: [u32; 3]| {
            let watch = Watch::default();
            hidden.map(|hidden| {
                (0..WINDOW).filter(|number| watch.most_are_hidden(*number < hidden)).count()
            })
        };
        assert_eq!(windows([50, 50, 50]), [0, 0, 0]);
        assert_eq!(windows([50, 51, 100]), [0, 1, 1]);
    }
}
