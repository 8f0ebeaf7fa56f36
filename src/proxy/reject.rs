//! Responses to rejected requests.
//!
//! Guarantee: a rejected client learns exactly when to retry (`Retry-After` in whole seconds,
//! rounded up, at least one; the milliseconds in the body), or which part of its key is at fault
//! (`reject_response_has_retry_time`).
//!
//! A flood gets the same response again and again. So all of it but the times is made once, when a
//! rule rejects for the first time with this form of the body.

use std::cell::OnceCell;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reply::{ErrorBody, Page, RejectBody, described, insert, preferred};
use crate::{
    http::{
        header_list::HeaderList,
        known_name::KnownName,
        message::{Response, ResponseParts},
    },
    limit::{KeyFault, Millis, Rule, Verdict},
};

/// Status that closes the connection instead of responding.
pub const CLOSE: u16 = 444;

/// Header field of a reject.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RejectHeader {
    /// `Retry-After`: whole seconds.
    RetryAfter,
    /// `Proxy-Status`: RFC 9209.
    ProxyStatus,
    /// `RateLimit-Policy` and `RateLimit`.
    Ratelimit,
}

/// Form of the rejects of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectSettings {
    /// Status from 400 to 599; 444 closes the connection without a response.
    pub status: u16,
    /// Fields in the order they are sent.
    pub headers: Vec<RejectHeader>,
    /// The body.
    pub body: RejectBody,
}

/// Reject for another reason than a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'a> {
    /// Zone of the rule.
    pub zone: &'a str,
    /// Status; 444 closes the connection.
    pub code: u16,
    /// Reason for people.
    pub detail: &'static str,
    /// Time after which to try again.
    pub retry: Millis,
    /// Missing or repeated part of the key, if that is the reason.
    pub fault: Option<&'a KeyFault>,
}

/// Rejects of a route.
pub struct Reject {
    settings: RejectSettings,
    /// Responses of each rule, by the form of the body.
    kept: Vec<[OnceCell<Template>; FORMS]>,
}

/// Number of forms of a body.
const FORMS: usize = RejectBody::None as usize + 1;

/// Response without its times.
struct Template {
    headers: HeaderList,
    page: Page,
}

impl Reject {
    /// Rejects of a route with so many rules.
    #[must_use]
    pub fn new(settings: RejectSettings, rules: usize) -> Self {
        Self { settings, kept: (0..rules).map(|_| <_>::default()).collect() }
    }

    /// Status of the responses.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        status(self.settings.status)
    }

    /// Response to a request that something else than a bucket denied. None when the connection is
    /// to be closed instead.
    #[must_use]
    pub fn denied(
        &self,
        denial: &Denial<'_>,
        accept: Option<&[u8]>,
    ) -> Option<Response<Full<Bytes>>> {
        let Denial { zone, code, detail, retry, fault } = *denial;
        if code == CLOSE {
            return None;
        }
        let body = match self.settings.body {
            RejectBody::Auto => preferred(accept),
            body => body,
        };
        let fault = fault.map(described);
        let mut headers = HeaderList::with_room();
        for header in &self.settings.headers {
            match header {
                RejectHeader::ProxyStatus => set_cause(zone, fault.as_deref(), &mut headers),
                RejectHeader::RetryAfter if fault.is_none() => {
                    headers.set_number(KnownName::RetryAfter, retry.seconds_up().max(1));
                }
                // There is no rate.
                RejectHeader::RetryAfter | RejectHeader::Ratelimit => {}
            }
        }
        let status = status(code);
        let detail = fault.as_deref().unwrap_or(detail);
        let has_retry = fault.is_none();
        let page = ErrorBody { status, detail, zone: Some(zone), has_retry }.render(body);
        page.describe(&mut headers);
        let head = ResponseParts { headers, ..ResponseParts::of(status) };
        Some(Response { head, body: Full::new(page.filled(retry).into()) })
    }

    /// Response to a request that one of these rules rejected, with the part of its key that is
    /// missing or repeated if that is the reason. None when the connection is to be closed instead.
    #[must_use]
    pub fn response(
        &self,
        verdict: &Verdict,
        rules: &[Rule],
        fault: Option<&KeyFault>,
        accept: Option<&[u8]>,
    ) -> Option<Response<Full<Bytes>>> {
        if self.settings.status == CLOSE {
            return None;
        }
        let body = match self.settings.body {
            RejectBody::Auto => preferred(accept),
            body => body,
        };
        let rule = verdict.rule.and_then(|index| rules.get(index));
        let kept = verdict.rule.and_then(|index| self.kept.get(index));
        let mut made = None;
        let template = match kept.filter(|_| fault.is_none()) {
            Some(kept) => kept[body as usize].get_or_init(|| self.template(rule, None, body)),
            None => made.insert(self.template(rule, fault, body)),
        };
        let mut headers = template.headers.with_room_behind();
        if fault.is_none() {
            for header in &self.settings.headers {
                set_time(*header, rule, verdict.retry, &mut headers);
            }
        }
        let head = ResponseParts { headers, ..ResponseParts::of(self.status()) };
        Some(Response { head, body: Full::new(template.page.filled(verdict.retry).into()) })
    }

    fn template(
        &self,
        rule: Option<&Rule>,
        fault: Option<&KeyFault>,
        body: RejectBody,
    ) -> Template {
        let (fault, zone) = (fault.map(described), rule.map(|rule| &*rule.zone().settings().name));
        let mut headers = HeaderList::with_room();
        for header in &self.settings.headers {
            match header {
                RejectHeader::RetryAfter => {}
                RejectHeader::ProxyStatus => {
                    set_cause(zone.unwrap_or("none"), fault.as_deref(), &mut headers);
                }
                RejectHeader::Ratelimit => {
                    if let Some(rule) = rule {
                        insert(&mut headers, KnownName::RatelimitPolicy, &[&policy(rule)]);
                    }
                }
            }
            // The time follows with each response, and then has its place.
            if fault.is_none() {
                set_time(*header, rule, Millis::ZERO, &mut headers);
            }
        }
        let (status, has_retry) = (self.status(), fault.is_none());
        let detail = fault.as_deref().unwrap_or("rate limit exceeded; retry later");
        let page = ErrorBody { status, detail, zone, has_retry }.render(body);
        page.describe(&mut headers);
        Template { headers, page }
    }
}

/// Status of this number.
#[must_use]
pub fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// Sets `Proxy-Status` for a reject by this zone.
fn set_cause(zone: &str, fault: Option<&str>, headers: &mut HeaderList) {
    let (colon, fault) = fault.map_or(("", ""), |fault| (": ", fault));
    let begin = "weir; error=http_request_denied; details=\"zone ";
    insert(headers, KnownName::ProxyStatus, &[begin, zone, colon, fault, "\""]);
}

/// Sets the time to retry, if the field has it.
fn set_time(header: RejectHeader, rule: Option<&Rule>, retry: Millis, headers: &mut HeaderList) {
    let seconds = retry.seconds_up().max(1);
    match header {
        RejectHeader::RetryAfter => headers.set_number(KnownName::RetryAfter, seconds),
        RejectHeader::Ratelimit => {
            let Some(rule) = rule else { return };
            let left = format!("\"{}\";r=0;t={seconds}", rule.zone().settings().name);
            insert(headers, KnownName::Ratelimit, &[&left]);
        }
        RejectHeader::ProxyStatus => {}
    }
}

/// Value of `RateLimit-Policy`.
fn policy(rule: &Rule) -> String {
    let places = u64::from(rule.settings().burst) + 1;
    let (name, window) = (&rule.zone().settings().name, window_seconds(rule, places));
    format!("\"{name}\";q={places};w={window}")
}

/// Time until the whole burst is free again, in seconds, rounded up.
fn window_seconds(rule: &Rule, places: u64) -> u64 {
    let rate = rule.zone().settings().rate;
    (rate.interval_ticks().saturating_mul(places))
        .div_ceil(rate.ticks_per_ms().saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderMap;
    use http_body_util::BodyExt;

    use crate::{
        limit::{Key, Part, Reason, RuleSettings, Zone, ZoneSettings},
        proxy::reject::*,
    };

    fn rule() -> Rule {
        let settings = ZoneSettings {
            name: "per_ip".into(),
            key: Key::of(vec![Part::ClientIp]),
            rate: "10r/s".parse().expect("a rate"),
            capacity: 1,
            exempt: Vec::new(),
        };
        Rule::new(Arc::new(Zone::new(settings)), RuleSettings::burst(20)).expect("a rule")
    }

    fn settings(status: u16) -> RejectSettings {
        let headers =
            vec![RejectHeader::RetryAfter, RejectHeader::ProxyStatus, RejectHeader::Ratelimit];
        RejectSettings { status, headers, body: RejectBody::Auto }
    }

    async fn rejected(accept: &str) -> (HeaderMap, String) {
        let accept = Some(accept.as_bytes());
        let reject = Reject::new(settings(503), 1);
        // The second one is made of what was kept of the first.
        let [_, response] = [Millis(7), Millis(1_001)].map(|retry| {
            let verdict =
                Verdict { rule: Some(0), ..Verdict::EXEMPT.rejected(Reason::Burst, retry) };
            reject.response(&verdict, &[rule()], None, accept).expect("a response")
        });
        assert_eq!(response.head.status, 503);
        let body = response.body.collect().await.expect("a whole body").to_bytes();
        (response.head.headers.to_map(), String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn reject_response_has_retry_time() {
        let (headers, body) = rejected("*/*").await;
        assert_eq!(headers["retry-after"], "2");
        assert_eq!(
            headers["proxy-status"],
            "weir; error=http_request_denied; details=\"zone per_ip\""
        );
        assert_eq!(headers["ratelimit-policy"], "\"per_ip\";q=21;w=3");
        assert_eq!(headers["ratelimit"], "\"per_ip\";r=0;t=2");
        assert_eq!(headers["cache-control"], "no-store");
        let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (&problem["zone"], &problem["retry_after_ms"]),
            (&"per_ip".into(), &1_001.into())
        );
    }

    #[tokio::test]
    async fn reject_body_follows_accept() {
        for (accept, media) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
            ("text/html;q=0.5, application/json", "application/problem+json"),
            ("text/plain", "text/plain; charset=utf-8"),
            ("image/png", "application/problem+json"),
            ("text/html;q=0, text/plain;q=0.001", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(rejected(accept).await.0["content-type"], media, "{accept}");
        }
        assert_eq!(
            rejected("text/plain").await.1,
            "503 Service Unavailable: rate limit exceeded; retry later (in 1001 ms)\n"
        );
    }

    #[test]
    fn status_444_is_no_answer() {
        let verdict = Verdict::EXEMPT.rejected(Reason::Burst, Millis(1));
        assert!(Reject::new(settings(444), 0).response(&verdict, &[], None, None).is_none());
    }
}
