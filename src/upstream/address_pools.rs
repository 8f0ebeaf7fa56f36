//! Connection pools of an upstream in one worker, one for each of its present addresses, and the
//! choice among them.

use std::{
    cell::{Ref, RefCell},
    net::IpAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
};

use tokio::{sync::watch, time::Instant};

use super::{
    balance::Balance,
    connect::Connector,
    endpoints::{EndpointGroup, Known},
    pool::{Caller, EndpointPermit, Pool},
    proxy_header::Introduction,
    retry::Retry,
    settings::{QueueSettings, UpstreamSettings},
};
use crate::http::error::{Error, Kind};

/// Pools of an upstream in one worker.
pub struct AddressPools<B> {
    group: Arc<EndpointGroup>,
    known: RefCell<watch::Receiver<Known>>,
    /// One pool for each known address.
    pools: RefCell<Vec<Rc<Pool<B>>>>,
    connector: Connector,
    /// Connector for one client each, in its place.
    introduction: Option<Rc<Introduction>>,
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
            introduction: group.introduction(connector).map(Rc::new),
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
            let pool = || {
                let (connector, introduction) = (self.connector.clone(), self.introduction.clone());
                let address = Arc::clone(address);
                Rc::new(Pool::new(address, &self.group, connector, introduction))
            };
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

    /// Value of the cookie that leads to the address with this label, if it is present.
    #[must_use]
    pub fn sticky_id(&self, label: &str) -> Option<Box<str>> {
        let pools = self.present();
        let named = pools.iter().find(|pool| **pool.address().label() == *label)?;
        named.sticky_id().map(Box::from)
    }

    /// Returns true if there is an address that did not fail a request.
    #[must_use]
    pub fn has_untried(&self, retry: &Retry) -> bool {
        self.present().iter().any(|pool| !retry.has_tried(pool.address()))
    }

    /// Returns true if one of these should get requests.
    #[must_use]
    pub fn has_fit_untried(&self, retry: &Retry, now: Instant) -> bool {
        let is_fit = |pool: &Rc<Pool<B>>| pool.address().health().is_fit(now);
        self.present().iter().any(|pool| !retry.has_tried(pool.address()) && is_fit(pool))
    }

    /// Chooses a fit address that did not fail this request; if there is none, any that did not
    /// fail it; if all did, a fit one, and then any. In each of these steps a backup comes last, and
    /// one without room is left out: if all of a step have none, the request has to wait.
    #[must_use]
    pub fn choose(&self, caller: &Caller<'_, B>, retry: &Retry, now: Instant) -> Choice<B> {
        if self.group.capacity().has_waiting() {
            return Choice::Full;
        }
        self.choose_first(caller, Some(retry), now)
    }

    /// Waits for room, behind those that wait already.
    ///
    /// # Errors
    /// When there is none in time, or too many wait.
    pub async fn wait_for_room(&self, caller: &Caller<'_, B>) -> Result<EndpointPermit<B>, Error> {
        let QueueSettings { max, max_wait } = self.settings().queue;
        let full = |detail| Error::new(Kind::ConnectionLimitReached, detail);
        let capacity = Arc::clone(self.group.capacity());
        let Some(waiting) = capacity.join(max) else {
            return Err(full("every endpoint has `max_connections` requests in progress"));
        };
        let (end, mut known) = (Instant::now() + max_wait, self.known());
        let mut may_look = waiting.is_first;
        loop {
            let mut freed = pin!(capacity.freed().notified());
            // Before the look: a place that is freed in between is not missed.
            freed.as_mut().enable();
            // Any address will do: a place that the first in the line does not take would be lost.
            if may_look
                && let Choice::Permit(permit) = self.choose_first(caller, None, Instant::now())
            {
                return Ok(permit);
            }
            may_look = true;
            tokio::select! {
                biased;
                () = freed.as_mut() => {}
                // A new address has room, and wakes no request by itself.
                Ok(()) = known.changed() => {}
                () = tokio::time::sleep_until(end) => {
                    return Err(full("no endpoint had room within `queue.max_wait`"));
                }
            }
        }
    }

    fn choose_first(
        &self,
        caller: &Caller<'_, B>,
        retry: Option<&Retry>,
        now: Instant,
    ) -> Choice<B> {
        let pools = self.present();
        // The only address is used even if it is ejected: there is no better one.
        if let [only] = pools.as_slice() {
            return only.permit().map_or(Choice::Full, Choice::Permit);
        }
        // Here and not by a timer: a share matters only while there are requests.
        if let Some(slow_start) = self.settings().slow_start {
            pools.iter().for_each(|pool| pool.grow(slow_start, now));
        }
        let untried = |pool: &Pool<B>| retry.is_none_or(|retry| !retry.has_tried(pool.address()));
        let fit = |pool: &Pool<B>| pool.address().health().is_fit(now);
        let is_own = |pool: &&Rc<Pool<B>>| pool.sticky_id().map(str::as_bytes) == caller.sticky;
        if caller.sticky.is_some()
            && let Some(own) = pools.iter().find(is_own).filter(|own| untried(own) && fit(own))
            && let Some(permit) = own.permit()
        {
            return Choice::Permit(permit);
        }
        let (balance, client) = (self.settings().balance, caller.address);
        let among = Among { pools: &pools, balance, client };
        among
            // In this order a verdict on an address weighs less than its failure of this
            // very request.
            .prefer(|pool| untried(pool) && fit(pool))
            .or_else(|| among.prefer(untried))
            .or_else(|| among.prefer(fit))
            .or_else(|| among.prefer(|_| true))
            .unwrap_or(Choice::Nowhere)
    }
}

/// Choice of an address for a request.
pub enum Choice<B> {
    /// One that has room.
    Permit(EndpointPermit<B>),
    /// Those that fit have no room.
    Full,
    /// There is no address.
    Nowhere,
}

/// Addresses of which one is chosen for a client.
struct Among<'a, B> {
    pools: &'a [Rc<Pool<B>>],
    balance: Balance,
    client: IpAddr,
}

impl<B> Among<'_, B> {
    /// Chooses one that is wanted, a backup only if no other is; none if none is wanted.
    fn prefer(&self, is_wanted: impl Fn(&Pool<B>) -> bool + Copy) -> Option<Choice<B>> {
        let is_backup = |pool: &Pool<B>| pool.address().endpoint().backup;
        let usual = self.choose(|pool| !is_backup(pool) && is_wanted(pool));
        // Without a usual one only backups are left.
        let chosen = usual.or_else(|| self.choose(is_wanted)).map(Choice::Permit);
        let is_full = || self.pools.iter().any(|pool| is_wanted(pool)).then_some(Choice::Full);
        chosen.or_else(is_full)
    }

    fn choose(&self, is_wanted: impl Fn(&Pool<B>) -> bool + Copy) -> Option<EndpointPermit<B>> {
        let is_open = move |pool: &Pool<B>| is_wanted(pool) && pool.has_room();
        // Ends: without a permit another worker took the last place, and the address is left out.
        loop {
            let candidates = self.pools.iter().enumerate().filter(move |(_, pool)| is_open(pool));
            let shares = candidates.map(|(position, pool)| (position, pool.share()));
            let chosen = self.balance.choose(self.client, shares)?;
            if let Some(permit) = self.pools[chosen].permit() {
                return Some(permit);
            }
        }
    }
}
