//! Annotations of ingress-nginx and their keys: the one table that the importer and the page
//! docs/how-to/ingress-nginx.md are made of.
//!
//! Guarantee: page and table are the same, and each annotation of the table has an outcome
//! (`annotation_table_of_the_page_comes_from_the_importer`, `every_annotation_has_one_line` in
//! tests/config/ingress.rs).

use crate::config::directives::Treatment::{self, Carried, Dropped, Noted, Unsupported};

/// Row of the table.
#[derive(Clone, Copy, Debug)]
pub struct AnnotationRow {
    /// Names without their prefix, with commas between.
    pub names: &'static str,
    /// Treatment, unless a value asks for another.
    pub treatment: Treatment,
    /// Key of weir; empty if there is none.
    pub key: &'static str,
    /// Difference, or the reason why there is no key.
    pub note: &'static str,
    /// It decides who may pass: without a counterpart the routes are closed.
    pub protects: bool,
}

/// Row of an annotation.
#[must_use]
pub fn find(name: &str) -> Option<&'static AnnotationRow> {
    ANNOTATIONS.iter().find(|row| row.names.split(", ").any(|known| known == name))
}

/// Returns true if an annotation without a row may decide who may pass.
#[must_use]
pub fn may_protect(name: &str) -> bool {
    ["auth-", "snippet", "modsecurity", "denylist", "allowlist", "whitelist", "global-auth"]
        .iter()
        .any(|part| name.contains(part))
}

const fn row(
    names: &'static str,
    treatment: Treatment,
    key: &'static str,
    note: &'static str,
) -> AnnotationRow {
    AnnotationRow { names, treatment, key, note, protects: false }
}

const fn guard(
    names: &'static str,
    treatment: Treatment,
    key: &'static str,
    note: &'static str,
) -> AnnotationRow {
    AnnotationRow { names, treatment, key, note, protects: true }
}

/// All annotations that are known.
pub const ANNOTATIONS: &[AnnotationRow] = &[
    row(
        "limit-rps",
        Carried,
        "zones: { NAME: { key: client_ip, rate: 10r/s } }",
        "a zone for each Ingress; the burst is five times the rate, as there, without a delay",
    ),
    row("limit-rpm", Carried, "zones: { NAME: { key: client_ip, rate: 300r/m } }", "the same"),
    row("limit-burst-multiplier", Carried, "limits: [ { burst: 50 } ]", ""),
    row("limit-connections", Carried, "concurrency: [ { zone: NAME, max: 10 } ]", ""),
    row(
        "limit-whitelist, limit-allowlist",
        Carried,
        "zones: { NAME: { exempt: [ NETWORK ] } }",
        "",
    ),
    row("limit-rate, limit-rate-after", Unsupported, "", "a client's speed is not limited"),
    guard(
        "whitelist-source-range, allowlist-source-range",
        Carried,
        "access: { allow: [ NETWORK ] }",
        "",
    ),
    guard("denylist-source-range", Carried, "access: { deny: [ NETWORK ] }", ""),
    row(
        "rewrite-target",
        Carried,
        "rewrite: { strip_prefix: /api }",
        "for `/api(/|$)(.*)` and `/$2`; else `rewrite: { regex: EXPRESSION, to: PATH }`",
    ),
    row(
        "use-regex",
        Carried,
        "path_regex: '(?i)^/v[0-9]+/'",
        "for all paths of the host, the longest first, as there",
    ),
    row(
        "ssl-redirect, force-ssl-redirect",
        Carried,
        "listeners: [ { address: \":80\", redirect: https } ]",
        "for the whole listener, where all Ingresses have it",
    ),
    row("app-root", Carried, "path_exact: /", "with `redirect`, 302"),
    row("permanent-redirect, temporal-redirect", Carried, "redirect: { to: URL, status: 301 }", ""),
    row(
        "permanent-redirect-code, temporal-redirect-code",
        Carried,
        "redirect: { status: 308 }",
        "",
    ),
    row("from-to-www-redirect", Unsupported, "", "write a route for the other host"),
    row("server-alias", Carried, "hosts: [ a, b ]", ""),
    guard(
        "auth-url",
        Carried,
        "auth: { url: \"http://auth:8000/verify\" }",
        "the service is asked behind the limits; a URL with a variable closes the routes",
    ),
    guard("auth-response-headers", Carried, "auth: { pass: [ remote-user ] }", ""),
    guard(
        "auth-signin",
        Noted,
        "",
        "every 3xx and 4xx of the service goes back: let it redirect to its own page",
    ),
    guard("auth-signin-redirect-param", Noted, "", "as `auth-signin`"),
    guard(
        "auth-type, auth-secret",
        Noted,
        "basic_auth: { file: users }",
        "write the key `auth` of the secret to the file; `digest` closes the routes",
    ),
    guard("auth-realm", Carried, "basic_auth: { realm: NAME }", ""),
    guard("auth-secret-type", Unsupported, "", "a map of users closes the routes"),
    guard(
        "auth-method, auth-snippet, auth-cache-key, auth-cache-duration, auth-always-set-cookie, \
         auth-keepalive, auth-proxy-set-headers, enable-global-auth",
        Unsupported,
        "",
        "`auth` asks with GET, for each request: it closes the routes",
    ),
    guard(
        "auth-tls-secret, auth-tls-verify-client, auth-tls-verify-depth, auth-tls-error-page, \
         auth-tls-pass-certificate-to-upstream, auth-tls-match-cn",
        Unsupported,
        "",
        "client certificates are those of a listener: it closes the routes",
    ),
    guard("satisfy", Carried, "access: { satisfy: any }", "with networks and credentials"),
    guard(
        "configuration-snippet, server-snippet, stream-snippet",
        Unsupported,
        "",
        "it may contain rules of access: it closes the routes; `weir import nginx` reads such lines",
    ),
    guard(
        "enable-modsecurity, enable-owasp-core-rules, modsecurity-snippet, \
         modsecurity-transaction-id",
        Unsupported,
        "",
        "weir looks into no bodies: it closes the routes",
    ),
    row("proxy-body-size", Carried, "request: { max_body: 8MiB }", "the default is 1 MiB in both"),
    row(
        "proxy-connect-timeout, proxy-read-timeout",
        Carried,
        "upstreams: { NAME: { timeouts: { connect: 5s, idle: 1h } } }",
        "",
    ),
    row(
        "proxy-send-timeout, proxy-buffering, proxy-buffers-number, proxy-buffer-size, \
         proxy-busy-buffers-size, proxy-max-temp-file-size, proxy-http-version, \
         client-body-buffer-size, connection-proxy-header, enable-access-log, \
         enable-rewrite-log, enable-opentelemetry, enable-opentracing, proxy-request-buffering",
        Dropped,
        "",
        "bodies are streamed, and weir opens and upgrades connections itself",
    ),
    row(
        "proxy-next-upstream, proxy-next-upstream-timeout, proxy-next-upstream-tries",
        Noted,
        "upstreams: { NAME: { retries: { attempts: 2 } } }",
        "only what is safe is sent again",
    ),
    row("backend-protocol", Carried, "upstream: https://host:port", "`HTTP`, `HTTPS` and `GRPC`"),
    row("upstream-vhost", Carried, "request: { headers: { set: { host: NAME } } }", ""),
    row(
        "x-forwarded-prefix",
        Carried,
        "request: { headers: { set: { x-forwarded-prefix: /api } } }",
        "",
    ),
    row(
        "affinity, affinity-mode, session-cookie-name, session-cookie-path, session-cookie-expires, \
         session-cookie-max-age, session-cookie-samesite, session-cookie-secure, \
         session-cookie-domain, session-cookie-change-on-failure, \
         session-cookie-conditional-samesite-none, affinity-canary-behavior, upstream-hash-by, \
         upstream-hash-by-subset, upstream-hash-by-subset-size, load-balance, service-upstream",
        Unsupported,
        "",
        "a Service has one address here: write its endpoints under `upstreams`",
    ),
    row(
        "enable-cors, cors-allow-origin, cors-allow-methods, cors-allow-headers, \
         cors-allow-credentials, cors-expose-headers, cors-max-age",
        Unsupported,
        "",
        "let the application send these fields",
    ),
    row(
        "custom-http-errors, default-backend, custom-headers, mirror-target, mirror-host, \
         mirror-request-body, proxy-cookie-domain, proxy-cookie-path, proxy-redirect-from, \
         proxy-redirect-to, proxy-ssl-secret, proxy-ssl-name, proxy-ssl-verify, \
         proxy-ssl-verify-depth, proxy-ssl-protocols, proxy-ssl-ciphers, proxy-ssl-server-name, \
         ssl-ciphers, ssl-prefer-server-ciphers, ssl-passthrough, preserve-trailing-slash, \
         http2-push-preload, denylist-source-range-global",
        Unsupported,
        "",
        "no key says this for a route",
    ),
    row(
        "canary, canary-weight, canary-weight-total, canary-by-header, canary-by-header-value, \
         canary-by-header-pattern, canary-by-cookie",
        Unsupported,
        "",
        "an Ingress that is a canary is left out; `weight` of endpoints divides requests",
    ),
];
