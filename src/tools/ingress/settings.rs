//! Settings of an Ingress: its annotations as keys of its routes.

use ipnet::IpNet;

use super::{
    annotations::{find, may_protect},
    objects::{Annotation, Ingress},
    state::IngressState,
};
use crate::{
    config::{directives::Treatment, networks},
    tools::import::{
        access,
        amounts::{keys, size, size_bytes},
        names::{free_name, name_like},
        plan::{
            AuthPlan, ConcurrencyPlan, ConcurrencyRulePlan, GuardPlan, Remarks, RoutePlan,
            RulePlan, ZonePlan,
        },
        scalar::{quoted, quoted_always},
    },
};

/// Size of the zones of ingress-nginx, in bytes.
const ZONE_BYTES: u64 = 5 * 1024 * 1024;
/// Folder in which files of users are expected.
const USERS: &str = "/etc/weir/users";

/// Settings of all paths of an Ingress.
#[derive(Debug, Default)]
pub struct IngressSettings {
    /// What every route has.
    pub route: RoutePlan,
    /// Reason why all routes have to be closed.
    pub closed: Option<String>,
    /// Endpoints have TLS.
    pub has_tls: bool,
    /// Lines of the upstreams.
    pub lines: Vec<String>,
    /// Further hosts.
    pub aliases: Vec<String>,
    /// Path that a request for the root is sent to.
    pub app_root: Option<String>,
    /// New path.
    pub rewrite_target: Option<String>,
}

/// Outcome of an annotation.
type Outcome = Result<(Treatment, &'static str), String>;

const CARRIED: Outcome = Ok((Treatment::Carried, ""));

/// Reads the annotations of an Ingress.
pub fn settings(state: &mut IngressState<'_>, ingress: &Ingress) -> IngressSettings {
    let mut found = IngressSettings::default();
    // First, since an annotation alone does not say what the others make of it.
    limits(state, ingress, &mut found);
    for annotation in &ingress.annotations {
        let outcome = plan(state, ingress, annotation, &mut found);
        let row = find(&annotation.name);
        let protects = row.map_or_else(|| may_protect(&annotation.name), |row| row.protects);
        let text = format!("{}: {}", annotation.name, annotation.value);
        match outcome {
            // The listeners have noted it.
            Some(Ok((_, "listener"))) => {}
            Some(Ok((treatment, reason))) => {
                state.note(annotation.place, text, treatment, reason);
            }
            // One that is not understood may be what keeps clients out.
            Some(Err(reason)) if protects => {
                found.closed.get_or_insert(format!("`{}`: {reason}", annotation.name));
                let reason = format!("{reason}: the routes are closed");
                state.note(annotation.place, text, Treatment::Unsupported, &reason);
            }
            Some(Err(reason)) => {
                found.route.remarks.add(format!("without `{}`: {reason}", annotation.name));
                state.note(annotation.place, text, Treatment::Unsupported, &reason);
            }
            None => {
                let (treatment, reason) = row
                    .map_or((Treatment::Unsupported, "weir does not know it"), |row| {
                        (row.treatment, row.note)
                    });
                if protects && treatment == Treatment::Unsupported {
                    found.closed.get_or_insert(format!("`{}` has no key", annotation.name));
                }
                state.note(annotation.place, text, treatment, reason);
            }
        }
    }
    conditions(state, &mut found);
    found
}

/// Plans one annotation; none where its row says all.
fn plan(
    state: &mut IngressState<'_>,
    ingress: &Ingress,
    annotation: &Annotation,
    found: &mut IngressSettings,
) -> Option<Outcome> {
    let value = &*annotation.value;
    let guard = &mut found.route.guard;
    Some(match &*annotation.name {
        "ssl-redirect" | "force-ssl-redirect" => Ok((Treatment::Carried, "listener")),
        "limit-rps" | "limit-rpm" | "limit-connections" | "limit-burst-multiplier" => {
            limit_outcome(annotation, found)
        }
        "limit-whitelist" | "limit-allowlist" => networks(value).map(|_| (Treatment::Carried, "")),
        "whitelist-source-range" | "allowlist-source-range" => networks(value).map(|networks| {
            guard.allow = Some(networks);
            (Treatment::Carried, "")
        }),
        "denylist-source-range" => networks(value).map(|networks| {
            guard.deny = networks;
            (Treatment::Carried, "")
        }),
        "satisfy" => {
            guard.is_any = value == "any";
            CARRIED
        }
        "auth-url" => auth(ingress, value, guard),
        "auth-type" => basic(ingress, value, guard),
        "auth-secret" | "auth-realm" | "auth-response-headers" => CARRIED,
        "auth-secret-type" if value == "auth-file" => Ok((Treatment::Dropped, "the default")),
        "auth-method" if value == "GET" => Ok((Treatment::Dropped, "the default")),
        "enable-global-auth" if value == "true" => {
            Err("the service of the controller is in no file".to_owned())
        }
        "enable-modsecurity" | "enable-owasp-core-rules" if value != "true" => {
            Ok((Treatment::Dropped, "the default"))
        }
        "rewrite-target" => {
            found.rewrite_target = Some(value.to_owned()).filter(|value| !value.is_empty());
            CARRIED
        }
        "use-regex" => CARRIED,
        "server-alias" => {
            found.aliases = list(value).map(str::to_ascii_lowercase).collect();
            CARRIED
        }
        "app-root" => {
            found.app_root = Some(value.to_owned());
            CARRIED
        }
        "permanent-redirect" | "temporal-redirect" => redirect(state, ingress, annotation, found),
        "permanent-redirect-code" | "temporal-redirect-code" => CARRIED,
        _ => return upstream(state, annotation, found),
    })
}

/// Plans annotations about requests and upstreams.
fn upstream(
    state: &mut IngressState<'_>,
    annotation: &Annotation,
    found: &mut IngressSettings,
) -> Option<Outcome> {
    let value = &*annotation.value;
    let seconds = || {
        let seconds = value.trim_end_matches('s').parse::<u32>().ok().filter(|time| *time > 0);
        seconds.ok_or_else(|| "not a number of seconds".to_owned())
    };
    Some(match &*annotation.name {
        "proxy-body-size" => match size_bytes(value) {
            Some(0) => {
                found.route.max_body = Some("none".to_owned());
                CARRIED
            }
            Some(1_048_576) => Ok((Treatment::Dropped, "the default")),
            Some(bytes) => {
                found.route.max_body = Some(size(bytes));
                CARRIED
            }
            None => Err("not a size".to_owned()),
        },
        "proxy-connect-timeout" => seconds().map(|time| {
            found.lines.push(format!("timeouts.connect: {time}s"));
            (Treatment::Carried, "")
        }),
        "proxy-read-timeout" => seconds().map(|time| {
            found.lines.push(format!("timeouts.first_byte: {time}s"));
            found.lines.push(format!("timeouts.idle: {time}s"));
            (Treatment::Carried, "")
        }),
        "backend-protocol" => protocol(value, found),
        "upstream-vhost" | "x-forwarded-prefix" => {
            let name = match &*annotation.name {
                "upstream-vhost" => "host",
                name => name,
            };
            match value.contains('$') {
                true => Err("the value is only known with the request".to_owned()),
                false => match state.loads.edit("request", name, Some(value)) {
                    Some(reason) => Err(reason),
                    None => {
                        found.route.set_request.insert(name.to_owned(), value.to_owned());
                        CARRIED
                    }
                },
            }
        }
        _ => return None,
    })
}

fn protocol(value: &str, found: &mut IngressSettings) -> Outcome {
    match &*value.to_ascii_uppercase() {
        "HTTP" => Ok((Treatment::Dropped, "the default")),
        protocol @ ("HTTPS" | "GRPC" | "GRPCS") => {
            found.has_tls = protocol.ends_with('S');
            if protocol.starts_with("GRPC") {
                found.lines.push("protocol: http2".to_owned());
            }
            match found.has_tls {
                true => Ok((Treatment::Noted, "certificates of endpoints are verified")),
                false => CARRIED,
            }
        }
        other => {
            let reason = format!("weir speaks no `{other}`");
            found.closed.get_or_insert(reason.clone());
            Err(reason)
        }
    }
}

/// Plans the zones and rules of an Ingress.
fn limits(state: &mut IngressState<'_>, ingress: &Ingress, found: &mut IngressSettings) {
    let number = |name: &str| ingress.annotation(name)?.value.parse::<u32>().ok();
    let multiplier = number("limit-burst-multiplier").filter(|factor| *factor > 0).unwrap_or(5);
    let exempt = ingress.first(&["limit-allowlist", "limit-whitelist"]);
    let exempt = exempt.and_then(|one| networks(&one.value).ok()).unwrap_or_default();
    for (name, unit, interval_us) in [("limit-rps", "s", 1_000_000), ("limit-rpm", "m", 60_000_000)]
    {
        let Some(annotation) = ingress.annotation(name) else { continue };
        let Some(rate @ 1..) = number(name) else { continue };
        let burst = rate.saturating_mul(multiplier);
        let zone = ZonePlan {
            key: vec!["client_ip".to_owned()],
            rate: format!("{rate}r/{unit}"),
            capacity: Some(keys(ZONE_BYTES)),
            exempt: exempt.clone(),
            condition: None,
            remarks: Remarks::from(state.files.short_origin(annotation.place)),
        };
        let rule = format!(", burst: {burst}, nodelay: true");
        // A burst beyond weir's own limit: the annotation then says that it is no number.
        if state.loads.rule(&zone.key_and_rate(), &rule).is_some() {
            continue;
        }
        let name = format!("{}-{}", name_like(&ingress.name), &name["limit-".len()..]);
        let name = free_name(&name, |name| state.plan.zones.contains_key(name));
        state.plan.zones.insert(name.clone(), zone);
        found.route.limits.push(RulePlan {
            text: format!("zone: {}{rule}", quoted(&name)),
            zone: name,
            burst,
            interval: std::time::Duration::from_micros(interval_us / u64::from(rate)),
            is_dry: false,
            is_conditional: false,
            origin: String::new(),
        });
    }
    if let (Some(max @ 1..), Some(annotation)) =
        (number("limit-connections"), ingress.annotation("limit-connections"))
    {
        let remarks = Remarks::from(state.files.short_origin(annotation.place));
        let key = vec!["client_ip".to_owned()];
        let zone = ConcurrencyPlan { key, exempt, condition: None, remarks };
        let name = format!("{}-connections", name_like(&ingress.name));
        let name = free_name(&name, |name| state.plan.concurrency.contains_key(name));
        state.plan.concurrency.insert(name.clone(), zone);
        let text = format!("zone: {}, max: {max}", quoted(&name));
        let origin = String::new();
        found.route.concurrency.push(ConcurrencyRulePlan { zone: name, text, status: 503, origin });
    }
}

/// Outcome of an annotation of the limits, which are planned before.
fn limit_outcome(annotation: &Annotation, found: &IngressSettings) -> Outcome {
    let ending = match &*annotation.name {
        "limit-rps" => "-rps",
        "limit-rpm" => "-rpm",
        "limit-connections" => {
            let is_planned = !found.route.concurrency.is_empty();
            return is_planned.then_some((Treatment::Carried, "")).ok_or_else(not_a_number);
        }
        _ => {
            let is_number = annotation.value.parse::<u32>().is_ok_and(|number| number > 0);
            return is_number.then_some((Treatment::Carried, "")).ok_or_else(not_a_number);
        }
    };
    let is_planned = found.route.limits.iter().any(|rule| rule.zone.contains(ending));
    is_planned.then_some((Treatment::Carried, "")).ok_or_else(not_a_number)
}

fn not_a_number() -> String {
    "not a number that weir takes".to_owned()
}

fn redirect(
    state: &mut IngressState<'_>,
    ingress: &Ingress,
    annotation: &Annotation,
    found: &mut IngressSettings,
) -> Outcome {
    let (name, default) = match &*annotation.name {
        "permanent-redirect" => ("permanent-redirect-code", 301),
        _ => ("temporal-redirect-code", 302),
    };
    let code = ingress.annotation(name).and_then(|code| code.value.parse::<u16>().ok());
    let status = code.filter(|code| (301..=308).contains(code)).unwrap_or(default);
    let to = annotation.value.replace('{', "{{").replace('}', "}}");
    // The one variable that such URLs have in practice.
    let to = to.replace("$request_uri", "{path}{query}");
    if to.contains('$') {
        return Err("a variable has no placeholder".to_owned());
    }
    let line = format!("redirect: {{ to: {}, status: {status} }}", quoted_always(&to));
    match state.loads.action(&line) {
        Some(reason) => Err(reason),
        None => {
            found.route.action = Some(line);
            CARRIED
        }
    }
}

fn auth(ingress: &Ingress, url: &str, guard: &mut GuardPlan) -> Outcome {
    // A variable of nginx would be a text here.
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest.filter(|_| !url.contains('$')) else {
        return Err("the service is only known with the request".to_owned());
    };
    let end = url.len() - rest.len() + rest.find('/').unwrap_or(rest.len());
    let path = if end == url.len() { "/" } else { &url[end..] };
    // Names of fields are compared without case.
    let fields = ingress.annotation("auth-response-headers");
    let fields = fields.map(|fields| list(&fields.value).map(str::to_ascii_lowercase).collect());
    guard.auth = Some(AuthPlan {
        upstream: url[..end].to_owned(),
        path: path.to_owned(),
        pass: fields.unwrap_or_default(),
        ..AuthPlan::default()
    });
    CARRIED
}

fn basic(ingress: &Ingress, kind: &str, guard: &mut GuardPlan) -> Outcome {
    let secret = ingress.annotation("auth-secret").map_or("", |secret| &*secret.value);
    // `digest` needs the password in a form that no hash of the file has.
    if kind != "basic" || secret.is_empty() {
        return Err(format!("weir has no `{kind}` authentication without a file of users"));
    }
    let realm = ingress.annotation("auth-realm").map_or("Authentication Required", |it| &*it.value);
    // A secret of another namespace is `namespace/name`.
    let file = format!("{USERS}/{}", secret.rsplit('/').next().unwrap_or(secret));
    guard.basic_auth = Some((file, realm.to_owned()));
    Ok((Treatment::Noted, "write the key `auth` of the secret to the file"))
}

/// Looks at the conditions together.
fn conditions(state: &mut IngressState<'_>, found: &mut IngressSettings) {
    let guard = &mut found.route.guard;
    let has_users = guard.basic_auth.is_some() || guard.auth.is_some();
    if guard.basic_auth.is_some() && guard.auth.is_some() {
        let reason = "weir asks for a password or a service, not both";
        found.closed.get_or_insert(reason.to_owned());
    }
    // With one kind of condition `any` and `all` are the same.
    if guard.is_any && (!has_users || guard.allow.is_none()) {
        guard.is_any = false;
        if has_users && !guard.deny.is_empty() {
            let reason = "weir has no networks that need credentials, only some that do not";
            found.closed.get_or_insert(reason.to_owned());
        }
    }
    // The file of users is not here: what is beside it is judged without it.
    let mut judged = guard.clone();
    judged.is_any &= judged.basic_auth.take().is_none();
    let lines = access::lines(&judged);
    let lines = lines.iter().filter(|line| !judged.is_any || !line.starts_with("access: "));
    if let Some(reason) = lines.map(|line| state.loads.keys(line)).find_map(|reason| reason) {
        found.closed.get_or_insert(reason);
    }
}

/// Networks of a list.
fn networks(value: &str) -> Result<Vec<String>, String> {
    let read = |text: &str| {
        let network: Option<IpNet> = networks::network(text);
        network.map(|network| network.trunc().to_string()).ok_or(format!("`{text}` is no network"))
    };
    let found: Vec<String> = list(value).map(read).collect::<Result<_, _>>()?;
    // An empty list would allow every network.
    if found.is_empty() { Err("it names no network".to_owned()) } else { Ok(found) }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|text| !text.is_empty())
}
