//! Endpoints of one upstream, shared by all workers: its present addresses.
//!
//! Guarantees: an address that stays keeps its state. One that goes gets no new request. At most
//! [`MAX_ADDRESSES`] of a name are used. At most half of the addresses are ejected for failed
//! requests. Addresses that refuse connections are ejected only while one is left that is fit and
//! had no failure lately. `tests/edge/health.rs` holds them.

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
    address::Address,
    capacity::Capacity,
    connect::Connector,
    proxy_header::Introduction,
    remote::Remote,
    settings::{Endpoint, PassiveSettings, Protocol, SecureSettings, UpstreamSettings},
    sticky::Sticky,
    tls::{Secure, SecureError},
};
use crate::runtime::pem;

/// Limit on the addresses of one name.
pub const MAX_ADDRESSES: usize = 256;

/// Name to be resolved.
#[derive(Debug)]
pub struct Name {
    /// Endpoint that has this name.
    pub endpoint: Arc<Endpoint>,
    wanted: Notify,
}

/// Known addresses at one moment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// All addresses.
    pub addresses: Vec<Arc<Address>>,
    /// Names without a first result.
    unheard: Vec<Arc<Endpoint>>,
}

/// State of an upstream in this process.
#[derive(Debug)]
pub struct EndpointGroup {
    settings: UpstreamSettings,
    names: Vec<Arc<Name>>,
    known: watch::Sender<Known>,
    secure: Option<Secure>,
    sticky: Option<Sticky>,
    /// Fingerprint of the files that `secure` was made of, by [`pem::fingerprint`].
    tls_files: u64,
    /// Fingerprint of content that was reported as unusable.
    unusable: AtomicU64,
    /// Places at endpoints with `max_connections`.
    capacity: Arc<Capacity>,
    /// Serialises ejections: two at the same time could both take the last allowed place.
    judging: Mutex<()>,
}

impl Name {
    /// Waits until a request wants it to be resolved.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Known {
    /// Returns true if the addresses are known: at least one, or none for all names.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.addresses.is_empty() || self.unheard.is_empty()
    }
}

impl EndpointGroup {
    /// Loads an upstream with the addresses that need no resolution; reads the files of
    /// TLS, if there are any.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn load(settings: UpstreamSettings) -> Result<Arc<Self>, SecureError> {
        Self::load_after(settings, None)
    }

    /// The same in place of a former group, whose requests in progress count on.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn load_after(
        settings: UpstreamSettings,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, SecureError> {
        let (mut known, mut names) = (Known::default(), Vec::new());
        let capacity = before.map(|before| Arc::clone(&before.capacity)).unwrap_or_default();
        for endpoint in settings.endpoints.iter().cloned().map(Arc::new) {
            match endpoint.address() {
                Some(remote) => known.addresses.push(Address::new(&endpoint, remote, &capacity)),
                None => {
                    known.unheard.push(Arc::clone(&endpoint));
                    names.push(Arc::new(Name { endpoint, wanted: Notify::new() }));
                }
            }
        }
        // Before the file is read: a change in between is then found by the next look.
        let tls_files = fingerprint(&settings);
        let secure = secure(&settings)?;
        let sticky = settings.sticky.as_ref();
        let sticky = sticky.map(|sticky| Sticky::new(sticky, &settings.name)).transpose()?;
        // The content in use is usable, so the first other one is reported.
        let (known, unusable) = (watch::Sender::new(known), AtomicU64::new(tls_files));
        Ok(Arc::new(Self {
            settings,
            names,
            known,
            secure,
            sticky,
            tls_files,
            unusable,
            capacity,
            judging: Mutex::new(()),
        }))
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// Adds TLS to a connector, if the upstream uses it, and a PROXY header of no client.
    #[must_use]
    pub fn connector(&self, sockets: &Connector) -> Connector {
        match (&self.secure, self.introduction(sockets)) {
            (_, Some(introduction)) => introduction.connector(None),
            (None, None) => sockets.clone(),
            (Some(secure), None) => secure.over(sockets),
        }
    }

    /// Connector of one client each, if the upstream wants a PROXY header.
    #[must_use]
    pub fn introduction(&self, sockets: &Connector) -> Option<Introduction> {
        let version = self.settings.proxy_header?;
        Some(Introduction {
            version,
            sockets: sockets.clone(),
            secure: self.secure.clone(),
            timeout: self.settings.connect_timeout,
        })
    }

    /// Returns true if the files of TLS differ from what is in use.
    #[must_use]
    pub fn has_other_tls_files(&self) -> bool {
        fingerprint(&self.settings) != self.tls_files
    }

    /// Returns true if they differ and can be used; unusable ones are logged once.
    #[must_use]
    pub fn has_usable_other_tls_files(&self) -> bool {
        let now = fingerprint(&self.settings);
        if now == self.tls_files {
            // The content in use is back. If the unusable one returns, it is reported again.
            self.unusable.store(now, Ordering::Relaxed);
            return false;
        }
        let Err(error) = secure(&self.settings) else { return true };
        if self.unusable.swap(now, Ordering::Relaxed) != now {
            let upstream = &*self.settings.name;
            tracing::error!(
                upstream,
                cause = %error,
                "cannot use the changed TLS files of the upstream; keeping the current ones"
            );
        }
        false
    }

    /// Cookies that lead clients back, if it has them.
    #[must_use]
    pub fn sticky(&self) -> Option<&Sticky> {
        self.sticky.as_ref()
    }

    /// Places at endpoints with `max_connections`.
    #[must_use]
    pub fn capacity(&self) -> &Arc<Capacity> {
        &self.capacity
    }

    /// Names among its endpoints.
    #[must_use]
    pub fn names(&self) -> &[Arc<Name>] {
        &self.names
    }

    /// Addresses, now and whenever they change.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Requests a resolution, as an endpoint is unreachable, or none is known: its name, or all
    /// names, may have other addresses by now.
    pub fn doubt(&self, endpoint: Option<&Arc<Endpoint>>) {
        let doubted = |name: &&Arc<Name>| {
            endpoint.is_none_or(|endpoint| Arc::ptr_eq(endpoint, &name.endpoint))
        };
        // Stores the wish if the task is busy, so none is lost. Many wishes are one query.
        self.names.iter().filter(doubted).for_each(|name| name.wanted.notify_one());
    }

    /// Counts a request that failed because of an address. Too many failures eject it, unless half
    /// of the addresses are ejected.
    #[cold]
    pub fn failed(&self, address: &Address, now: Instant) {
        self.count(address, now, |_| false);
    }

    /// Counts a connection that an address refused. Too many eject it, unless half of the addresses
    /// are ejected and no other one is well.
    ///
    /// That other one must not have failed lately: where all addresses refuse, the last one to be
    /// ejected is no better than the rest.
    #[cold]
    pub fn unreachable(&self, address: &Address, now: Instant) {
        self.count(address, now, |passive| {
            let well = |other: &&Arc<Address>| {
                other.health().is_fit(now) && !other.health().has_failed(passive, now)
            };
            self.known.borrow().addresses.iter().any(|other| well(&other))
        });
    }

    /// Counts a failure, and ejects the address if that is enough; beyond half of the addresses
    /// only if `may` allows it.
    fn count(&self, address: &Address, now: Instant, may: impl FnOnce(&PassiveSettings) -> bool) {
        let Some(passive) = &self.settings.passive else { return };
        // From the look at the others to the ejection no other thread may eject one.
        let _alone = self.judging.lock().unwrap_or_else(PoisonError::into_inner);
        // The failure is counted even if the address may not be ejected, so the next one
        // tries again.
        if address.health().fails(passive, now) && (self.has_few_ejected(now) || may(passive)) {
            let eject_ms = address.health().eject(passive, now).as_millis();
            let (upstream, endpoint) = (&*self.settings.name, &**address.label());
            tracing::warn!(
                upstream,
                endpoint,
                eject_ms,
                "too many requests failed; upstream address ejected"
            );
        }
    }

    /// Returns true if one more ejection leaves half of the addresses.
    fn has_few_ejected(&self, now: Instant) -> bool {
        // A borrow keeps new addresses waiting, so it lasts only for this look.
        let known = self.known.borrow();
        let ejected = known.addresses.iter().filter(|other| other.health().is_ejected(now)).count();
        (ejected + 1) * 2 <= known.addresses.len()
    }

    /// Records a response of an address to a request sent at `sent`.
    pub fn answered(&self, address: &Address, sent: Instant) {
        if address.health().succeeds(sent) {
            let (upstream, endpoint) = (&*self.settings.name, &**address.label());
            tracing::info!(upstream, endpoint, "upstream address responds again; back in use");
        }
    }

    /// Records the outcome of probes of an address.
    pub fn probed(&self, address: &Address, outcome: Result<(), BoxError>) {
        if !address.health().set_down(outcome.is_err(), Instant::now()) {
            return;
        }
        let (upstream, endpoint) = (&*self.settings.name, &**address.label());
        match outcome {
            Ok(()) => tracing::info!(upstream, endpoint, "probes succeed; upstream address in use"),
            Err(error) => {
                tracing::warn!(%error, upstream, endpoint, "probes fail; upstream address not in \
                    use");
            }
        }
    }

    /// Records the addresses of a name.
    pub fn resolved(&self, endpoint: &Arc<Endpoint>, mut sockets: Vec<SocketAddr>) {
        // Resolvers rotate the order, and a different order is no change.
        sockets.sort_unstable();
        sockets.dedup();
        // Behind the sort, so that of a larger set always the same addresses are used.
        sockets.truncate(MAX_ADDRESSES);
        self.known.send_if_modified(|known| {
            // The first result is a change even without addresses: requests wait for it (`settle`).
            let heard = known.hear(endpoint);
            let of_name = |address: &&Arc<Address>| Arc::ptr_eq(address.endpoint(), endpoint);
            let before: Vec<_> =
                known.addresses.iter().filter(of_name).filter_map(|it| it.remote().tcp()).collect();
            if before == sockets {
                return heard;
            }
            let (upstream, addresses) = (&*self.settings.name, &sockets);
            tracing::info!(upstream, %endpoint, ?addresses, "upstream addresses changed");
            // Those of the first result start together, and none is warm.
            let new = known.replace(endpoint, &sockets, &self.capacity);
            if !heard {
                new.iter().for_each(|address| address.health().returns(Instant::now()));
            }
            true
        });
    }

    /// Records that a name does not resolve; its known addresses stay.
    pub fn unresolved(&self, endpoint: &Arc<Endpoint>) {
        self.known.send_if_modified(|known| known.hear(endpoint));
    }
}

fn secure(settings: &UpstreamSettings) -> Result<Option<Secure>, SecureError> {
    let http2 = settings.protocol == Protocol::Http2;
    settings.secure.as_ref().map(|secure| Secure::load(secure, http2)).transpose()
}

fn fingerprint(settings: &UpstreamSettings) -> u64 {
    pem::fingerprint(settings.secure.iter().flat_map(SecureSettings::files))
}

impl Known {
    /// Returns true if this is the first result for a name.
    fn hear(&mut self, endpoint: &Arc<Endpoint>) -> bool {
        let before = self.unheard.len();
        self.unheard.retain(|unheard| !Arc::ptr_eq(unheard, endpoint));
        self.unheard.len() < before
    }

    /// Replaces the addresses of an endpoint by `sockets`, in order; those known before keep their
    /// state. Returns those that were not.
    fn replace(
        &mut self,
        endpoint: &Arc<Endpoint>,
        sockets: &[SocketAddr],
        capacity: &Arc<Capacity>,
    ) -> Vec<Arc<Address>> {
        let (before, others): (Vec<_>, Vec<_>) =
            self.addresses.drain(..).partition(|address| Arc::ptr_eq(address.endpoint(), endpoint));
        let known =
            // The same `Address` and not an equal one: workers compare pointers to keep
            // their pools.
            |remote: &Remote| before.iter().find(|address| address.remote() == remote).cloned();
        let mut new = Vec::new();
        let now = sockets.iter().map(|socket| {
            let remote = Remote::Tcp(*socket);
            known(&remote).unwrap_or_else(|| {
                new.push(Address::new(endpoint, remote, capacity));
                Arc::clone(&new[new.len() - 1])
            })
        });
        self.addresses = others;
        self.addresses.extend(now);
        new
    }
}
