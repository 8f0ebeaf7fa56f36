//! What all workers know of one upstream: the addresses it has at this moment.
//!
//! Guarantees: an address that stays keeps its state; one that goes is used for no new request; at
//! most [`MAX_ADDRESSES`] of a name are used; never more than half of the addresses are ejected for
//! failed requests, and addresses that take no connection only as long as one is left that is fit
//! and failed no request lately.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tower::BoxError;

use super::{
    connect::Connector,
    health::Health,
    settings::{Endpoint, PassiveSettings, Protocol, UpstreamSettings},
    tls::{Secure, SecureError},
};
use crate::runtime::pem;

/// The most addresses of one name.
pub const MAX_ADDRESSES: usize = 256;

/// One address of an upstream.
#[derive(Debug)]
pub struct Address {
    endpoint: Arc<Endpoint>,
    socket: SocketAddr,
    label: Arc<str>,
    health: Health,
}

/// A name to be resolved.
#[derive(Debug)]
pub struct Name {
    /// The endpoint it was written for.
    pub endpoint: Arc<Endpoint>,
    wanted: Notify,
}

/// The addresses known at a moment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// All of them.
    pub addresses: Vec<Arc<Address>>,
    /// The names nothing was heard of yet.
    unheard: Vec<Arc<Endpoint>>,
}

/// An upstream as the process knows it.
#[derive(Debug)]
pub struct EndpointGroup {
    settings: UpstreamSettings,
    names: Vec<Arc<Name>>,
    known: watch::Sender<Known>,
    secure: Option<Secure>,
    /// The file of the authorities that `secure` was made of, as [`pem::fingerprint`] tells it.
    authorities: u64,
    /// The same of content that was told to be of no use.
    unusable: AtomicU64,
    /// Who is to be ejected is judged one at a time, or two could go where one may.
    judging: Mutex<()>,
}

impl Address {
    fn new(endpoint: &Arc<Endpoint>, socket: SocketAddr) -> Arc<Self> {
        let label = socket.to_string().into();
        Arc::new(Self { endpoint: Arc::clone(endpoint), socket, label, health: Health::default() })
    }

    /// What it is an address of.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Where to connect to.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// The same as logs say it.
    #[must_use]
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Whether it is fit for requests.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }
}

impl Name {
    /// Waits until somebody wants it to be resolved.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Known {
    /// Whether it is known what there is: some address, or that no name has one.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.addresses.is_empty() || self.unheard.is_empty()
    }
}

impl EndpointGroup {
    /// The group of an upstream, with the addresses that need no resolving; reads the file of the
    /// authorities, if it names one.
    ///
    /// # Errors
    /// When TLS cannot be spoken as the settings say.
    pub fn load(settings: UpstreamSettings) -> Result<Arc<Self>, SecureError> {
        let (mut known, mut names) = (Known::default(), Vec::new());
        for endpoint in settings.endpoints.iter().cloned().map(Arc::new) {
            match endpoint.address() {
                Some(socket) => known.addresses.push(Address::new(&endpoint, socket)),
                None => {
                    known.unheard.push(Arc::clone(&endpoint));
                    names.push(Arc::new(Name { endpoint, wanted: Notify::new() }));
                }
            }
        }
        let authorities = fingerprint(&settings);
        let secure = secure(&settings)?;
        let (known, unusable) = (watch::Sender::new(known), AtomicU64::new(authorities));
        Ok(Arc::new(Self {
            settings,
            names,
            known,
            secure,
            authorities,
            unusable,
            judging: Mutex::new(()),
        }))
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// How its addresses are connected to, given how TCP connections are opened.
    #[must_use]
    pub fn connector(&self, tcp: &Connector) -> Connector {
        match &self.secure {
            None => tcp.clone(),
            Some(secure) => secure.over(tcp),
        }
    }

    /// Whether the file of the authorities holds something else than what is trusted.
    #[must_use]
    pub fn has_other_authorities(&self) -> bool {
        fingerprint(&self.settings) != self.authorities
    }

    /// Whether that is so and the file can be used; where it cannot, says so once.
    #[must_use]
    pub fn has_usable_other_authorities(&self) -> bool {
        let now = fingerprint(&self.settings);
        if now == self.authorities {
            self.unusable.store(now, Ordering::Relaxed);
            return false;
        }
        let Err(error) = secure(&self.settings) else { return true };
        if self.unusable.swap(now, Ordering::Relaxed) != now {
            let error = error.to_string();
            let cause = error.split(", hint: ").next().unwrap_or_default();
            let upstream = &*self.settings.name;
            tracing::error!(
                upstream,
                cause,
                "changed authorities of an upstream cannot be used; the old ones stay"
            );
        }
        false
    }

    /// The names among its endpoints.
    #[must_use]
    pub fn names(&self) -> &[Arc<Name>] {
        &self.names
    }

    /// The addresses, now and whenever they change.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// An endpoint cannot be reached, or none is known: its name, or all of them, may have other
    /// addresses by now.
    pub fn doubt(&self, endpoint: Option<&Arc<Endpoint>>) {
        let doubted = |name: &&Arc<Name>| {
            endpoint.is_none_or(|endpoint| Arc::ptr_eq(endpoint, &name.endpoint))
        };
        self.names.iter().filter(doubted).for_each(|name| name.wanted.notify_one());
    }

    /// A request failed at an address, and the address is to blame: it is ejected if that happens
    /// too often, unless half of the addresses are.
    pub fn failed(&self, address: &Address, now: Instant) {
        self.count(address, now, |_| false);
    }

    /// An address takes no connection: it is ejected if that happens too often, unless half of the
    /// addresses are and no other one is well.
    ///
    /// That one must not have failed lately: where all addresses refuse, the last one to be ejected
    /// is no better than the others.
    pub fn unreachable(&self, address: &Address, now: Instant) {
        self.count(address, now, |passive| {
            let well = |other: &&Arc<Address>| {
                other.health.is_fit(now) && !other.health.has_failed(passive, now)
            };
            self.known.borrow().addresses.iter().any(|other| well(&other))
        });
    }

    /// Counts a failure, and ejects the address if that is enough; beyond half of the addresses
    /// only if it `may` be.
    fn count(&self, address: &Address, now: Instant, may: impl FnOnce(&PassiveSettings) -> bool) {
        let Some(passive) = &self.settings.passive else { return };
        let _alone = self.judging.lock().unwrap_or_else(PoisonError::into_inner);
        if address.health.fails(passive, now) && (self.has_few_ejected(now) || may(passive)) {
            let eject_ms = address.health.eject(passive, now).as_millis();
            let (upstream, endpoint) = (&*self.settings.name, &*address.label);
            tracing::warn!(
                upstream,
                endpoint,
                eject_ms,
                "too many requests failed: the address is ejected"
            );
        }
    }

    /// Whether one more is at most half of the addresses.
    fn has_few_ejected(&self, now: Instant) -> bool {
        let known = self.known.borrow();
        let ejected = known.addresses.iter().filter(|other| other.health.is_ejected(now)).count();
        (ejected + 1) * 2 <= known.addresses.len()
    }

    /// An address answered a request that was sent at `sent`.
    pub fn answered(&self, address: &Address, sent: Instant) {
        if address.health.succeeds(sent) {
            let (upstream, endpoint) = (&*self.settings.name, &*address.label);
            tracing::info!(upstream, endpoint, "the address answers again and is used as before");
        }
    }

    /// Probes of an address have come to this.
    pub fn probed(&self, address: &Address, outcome: Result<(), BoxError>) {
        if !address.health.set_down(outcome.is_err()) {
            return;
        }
        let (upstream, endpoint) = (&*self.settings.name, &*address.label);
        match outcome {
            Ok(()) => tracing::info!(
                upstream,
                endpoint,
                "its probes are answered: the address gets requests"
            ),
            Err(error) => {
                tracing::warn!(%error, upstream, endpoint, "its probes fail: the address gets no requests");
            }
        }
    }

    /// A name has these addresses.
    pub fn resolved(&self, endpoint: &Arc<Endpoint>, mut sockets: Vec<SocketAddr>) {
        sockets.sort_unstable();
        sockets.dedup();
        sockets.truncate(MAX_ADDRESSES);
        self.known.send_if_modified(|known| {
            let heard = known.hear(endpoint);
            let of_name = |address: &&Arc<Address>| Arc::ptr_eq(&address.endpoint, endpoint);
            let before: Vec<_> =
                known.addresses.iter().filter(of_name).map(|address| address.socket).collect();
            if before == sockets {
                return heard;
            }
            let (upstream, addresses) = (&*self.settings.name, &sockets);
            tracing::info!(upstream, %endpoint, ?addresses, "a name has other addresses");
            known.replace(endpoint, &sockets);
            true
        });
    }

    /// A name does not resolve: what is known of it stays.
    pub fn unresolved(&self, endpoint: &Arc<Endpoint>) {
        self.known.send_if_modified(|known| known.hear(endpoint));
    }
}

fn secure(settings: &UpstreamSettings) -> Result<Option<Secure>, SecureError> {
    let http2 = settings.protocol == Protocol::Http2;
    settings.secure.as_ref().map(|secure| Secure::load(secure, http2)).transpose()
}

fn fingerprint(settings: &UpstreamSettings) -> u64 {
    pem::fingerprint(settings.secure.iter().filter_map(|secure| secure.ca.as_deref()))
}

impl Known {
    /// Whether this is the first that is heard of a name.
    fn hear(&mut self, endpoint: &Arc<Endpoint>) -> bool {
        let before = self.unheard.len();
        self.unheard.retain(|unheard| !Arc::ptr_eq(unheard, endpoint));
        self.unheard.len() < before
    }

    /// Takes `sockets`, in order, for the addresses of an endpoint; those known before stay what
    /// they were.
    fn replace(&mut self, endpoint: &Arc<Endpoint>, sockets: &[SocketAddr]) {
        let (before, others): (Vec<_>, Vec<_>) =
            self.addresses.drain(..).partition(|address| Arc::ptr_eq(&address.endpoint, endpoint));
        let known =
            |socket: SocketAddr| before.iter().find(|address| address.socket == socket).cloned();
        let now = sockets
            .iter()
            .map(|socket| known(*socket).unwrap_or_else(|| Address::new(endpoint, *socket)));
        self.addresses = others;
        self.addresses.extend(now);
    }
}
