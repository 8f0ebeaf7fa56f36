//! Conditions for passing a route beside its limits: the network of the client before them, and the
//! user behind them.

use std::{net::IpAddr, rc::Rc};

use http::HeaderName;

use super::{
    asking::Asking,
    basic_auth::BasicAuth,
    context::RequestContext,
    forward_auth::{ForwardAuth, Verdict},
    refusal::Refusal,
    verified_fields::VerifiedFields,
};
use crate::{
    access::networks::{NetworkAccess, NetworkVerdict},
    downstream::upload::RequestBody,
    http::message::{RequestParts, Response},
    log::{entry::AuthStory, record::Record},
    upstream::body::UpstreamBody,
};

/// Conditions of a route.
pub struct Guard {
    networks: Option<NetworkAccess>,
    users: Option<Authenticator>,
}

/// Way to find out the user of a request.
pub enum Authenticator {
    /// By a password.
    Passwords(BasicAuth),
    /// By another service.
    Service {
        /// The service.
        service: ForwardAuth,
        /// Names of trailers that only the service may set.
        withheld: Rc<[HeaderName]>,
    },
}

/// Outcome for a request whose client may pass by its network.
pub enum Passage {
    /// It passes, with fields that a service has set.
    Through(Option<Rc<VerifiedFields>>),
    /// A service has refused it with this response.
    Refused(Response<Box<UpstreamBody<RequestBody>>>),
}

impl Guard {
    /// Conditions of a route; none if it has no condition.
    #[must_use]
    pub fn of(networks: Option<NetworkAccess>, users: Option<Authenticator>) -> Option<Box<Self>> {
        let has_any = networks.is_some() || users.is_some();
        has_any.then(|| Box::new(Self { networks, users }))
    }

    /// Returns true if these conditions are those of `other`, so that no request passes here that
    /// does not pass there.
    #[must_use]
    pub fn asks_as(&self, other: &Self) -> bool {
        let same_users = match (&self.users, &other.users) {
            (Some(own), Some(other)) => own.asks_as(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        self.networks == other.networks && same_users
    }

    /// Judges the client by its network.
    ///
    /// # Errors
    /// [`Refusal::Network`] when it may not pass.
    pub fn admit_network(&self, client: IpAddr) -> Result<NetworkVerdict, Refusal> {
        match self.networks.as_ref().map(|networks| networks.judge(client)) {
            Some(NetworkVerdict::Denied) => Err(Refusal::Network),
            verdict => Ok(verdict.unwrap_or(NetworkVerdict::Allowed)),
        }
    }

    /// Finds out the user, unless the network of the client is enough. Fields that only a service
    /// sets are removed from those of the client in any case.
    ///
    /// # Errors
    /// When the user may not pass, or it cannot be found out.
    pub async fn admit_user(
        &self,
        asking: Asking<'_>,
        head: &mut RequestParts,
        visit: &mut RequestContext<'_>,
        record: &mut Record,
    ) -> Result<Passage, Refusal> {
        let is_asked = asking.network != NetworkVerdict::Trusted;
        match &self.users {
            Some(Authenticator::Passwords(users)) if is_asked => {
                let user = Some(users.user(&head.headers).await?);
                record.entry.auth = Some(Box::new(AuthStory { user, ..AuthStory::default() }));
                Ok(Passage::Through(None))
            }
            Some(Authenticator::Service { service, withheld }) => {
                let verdict = match is_asked {
                    true => Some(service.judge(head, &asking, visit, record).await?),
                    false => None,
                };
                service.strip(&mut head.headers);
                visit.body.get_or_insert_default().withhold(withheld);
                Ok(match verdict {
                    Some(Verdict::Refused(response)) => Passage::Refused(response),
                    Some(Verdict::Passed(fields)) => Passage::Through(Some(fields)),
                    None => Passage::Through(None),
                })
            }
            _ => Ok(Passage::Through(None)),
        }
    }
}

impl Authenticator {
    /// Judgement by another service.
    #[must_use]
    pub fn service(service: ForwardAuth) -> Self {
        let withheld = service.passes().into();
        Self::Service { service, withheld }
    }

    fn asks_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Passwords(own), Self::Passwords(other)) => own.asks_as(other),
            (Self::Service { service: own, .. }, Self::Service { service: other, .. }) => {
                own.asks_as(other)
            }
            _ => false,
        }
    }
}
