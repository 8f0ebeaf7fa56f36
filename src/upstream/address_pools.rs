//! Connection pools of an upstream in one worker, one for each of its present addresses, and the
//! choice among them.

use std::{
    cell::{Ref, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use tokio::{sync::watch, time::Instant};

use super::{
    balance::Balance,
    connect::Connector,
    endpoints::{EndpointGroup, Known},
    pool::{EndpointPermit, Pool},
    retry::Retry,
    settings::UpstreamSettings,
};

/// Pools of an upstream in one worker.
pub struct AddressPools<B> {
    group: Arc<EndpointGroup>,
    known: RefCell<watch::Receiver<Known>>,
    /// One pool for each known address.
    pools: RefCell<Vec<Rc<Pool<B>>>>,
    connector: Connector,
}

impl<B> AddressPools<B> {
    /// Creates pools without connections.
    #[must_use]
    pub fn new(group: &Arc<EndpointGroup>, connector: &Connector) -> Self {
        let pools = Self {
            group: Arc::clone(group),
            known: RefCell::new(group.known()),
            pools: RefCell::default(),
            connector: group.connector(connector),
        };
        pools.renew();
        pools
    }

    fn settings(&self) -> &UpstreamSettings {
        self.group.settings()
    }

    /// Returns a watch on the addresses that has seen the present ones.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.borrow().clone()
    }

    /// Pools of the present addresses.
    #[must_use]
    pub fn present(&self) -> Ref<'_, Vec<Rc<Pool<B>>>> {
        // One load of a counter for each request. Only a change takes the lock.
        if self.known.borrow().has_changed().unwrap_or(false) {
            self.renew();
        }
        self.pools.borrow()
    }

    fn renew(&self) {
        let mut known = self.known.borrow_mut();
        // Marks the change as seen, else each request would renew the pools again.
        let known = known.borrow_and_update();
        let mut pools = self.pools.borrow_mut();
        let before = std::mem::take(&mut *pools);
        for address in &known.addresses {
            let kept = before.iter().find(|pool| Arc::ptr_eq(pool.address(), address));
            let pool =
                || Rc::new(Pool::new(Arc::clone(address), self.settings(), self.connector.clone()));
            pools.push(kept.cloned().unwrap_or_else(pool));
        }
        for gone in
            before.iter().filter(|before| !pools.iter().any(|pool| Rc::ptr_eq(pool, before)))
        {
            // Requests in progress hold their pool, so it outlives this list.
            gone.retire();
        }
    }

    /// Waits for the first addresses of a name, within the connect time-out.
    pub async fn settle(&self) {
        if !self.present().is_empty() {
            return;
        }
        // A copy, because no `RefCell` borrow may be held while this request waits.
        let mut known = self.known();
        let settled = known.wait_for(Known::is_settled);
        if tokio::time::timeout(self.settings().connect_timeout, settled).await.is_err() {
            tracing::debug!(upstream = &*self.settings().name, "no upstream name resolved in time");
        }
    }

    /// Returns true if there is an address that did not fail a request.
    #[must_use]
    pub fn has_untried(&self, retry: &Retry) -> bool {
        self.present().iter().any(|pool| !retry.has_tried(pool.address()))
    }

    /// Chooses a fit address that did not fail this request; if there is none, any that did not
    /// fail it; if all did, a fit one, and then any. In each of these steps a backup comes last.
    #[must_use]
    pub fn choose(&self, client: IpAddr, retry: &Retry, now: Instant) -> Option<EndpointPermit<B>> {
        let pools = self.present();
        // The only address is used even if it is ejected: there is no better one.
        if let [only] = pools.as_slice() {
            return Some(only.permit());
        }
        let untried = |pool: &Pool<B>| !retry.has_tried(pool.address());
        let fit = |pool: &Pool<B>| pool.address().health().is_fit(now);
        let among = Among { pools: &pools, balance: self.settings().balance, client };
        among
            // In this order a verdict on an address weighs less than its failure of this
            // very request.
            .prefer(|pool| untried(pool) && fit(pool))
            .or_else(|| among.prefer(untried))
            .or_else(|| among.prefer(fit))
            .or_else(|| among.prefer(|_| true))
    }
}

/// Addresses of which one is chosen for a client.
struct Among<'a, B> {
    pools: &'a [Rc<Pool<B>>],
    balance: Balance,
    client: IpAddr,
}

impl<B> Among<'_, B> {
    /// Chooses one that is wanted, a backup only if no other is.
    fn prefer(&self, is_wanted: impl Fn(&Pool<B>) -> bool + Copy) -> Option<EndpointPermit<B>> {
        let is_backup = |pool: &Pool<B>| pool.address().endpoint().backup;
        let usual = self.choose(|pool| !is_backup(pool) && is_wanted(pool));
        // Without a usual one only backups are left.
        usual.or_else(|| self.choose(is_wanted))
    }

    fn choose(&self, is_wanted: impl Fn(&Pool<B>) -> bool + Copy) -> Option<EndpointPermit<B>> {
        let candidates = self.pools.iter().enumerate().filter(move |(_, pool)| is_wanted(pool));
        let shares = candidates.map(|(position, pool)| (position, pool.share()));
        let chosen = self.balance.choose(self.client, shares)?;
        Some(self.pools[chosen].permit())
    }
}
