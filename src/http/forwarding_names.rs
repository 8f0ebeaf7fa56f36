//! Names of forwarding fields, in which a proxy informs a server about its client and the original
//! request.
//!
//! Servers cannot tell who wrote them (Spring calls it imperative that the edge drops them). So
//! none of them crosses from a stranger, and all do from a trusted proxy. The lists contain what is
//! in use: Traefik, Envoy, ingress-nginx, Apache and HAProxy write them; Rack, Django, Spring,
//! Symfony, ASP.NET Core, PHP frameworks, oauth2-proxy, Grafana and the guides of large content
//! networks read them.

/// Prefixes of names after `x-`.
const FAMILIES_OF_X: [&str; 9] = [
    // X-Forwarded-For, -Proto, -Host, -Port, -Prefix, -Server, -Ssl, -Scheme, -User, -Email,
    // -Groups, -Client-Cert, -Tls-Client-Cert ...
    "forwarded",
    "auth-request-",
    "amzn-mtls-",
    "amzn-oidc-",
    "envoy-",
    "goog-authenticated-user-",
    "ms-client-principal",
    "ssl-",
    "webauth-",
];
/// Prefixes of other names.
const FAMILIES: [&str; 4] =
    ["forwarded", "cf-access-authenticated-user-", "client-cert", "ssl-client-"];

/// Returns true if a field, by its name in lower case, makes a claim about a client that only a
/// proxy may make.
#[must_use]
pub fn is_claim(name: &str) -> bool {
    // Most names have no `x-`, so they are not compared with that half of the list.
    match name.strip_prefix("x-") {
        Some(rest) => {
            is_claim_of_x(rest) || FAMILIES_OF_X.iter().any(|family| rest.starts_with(family))
        }
        None => is_other_claim(name) || FAMILIES.iter().any(|family| name.starts_with(family)),
    }
}

/// A match on text compiles to a comparison of lengths first; this runs for every field of every
/// request.
fn is_claim_of_x(rest: &str) -> bool {
    let address = matches!(
        rest,
        "real-ip"
            | "client-ip"
            | "cluster-client-ip"
            | "remote-ip"
            | "remote-addr"
            | "originating-ip"
            | "proxyuser-ip"
            | "appengine-user-ip"
            | "azure-clientip"
            | "azure-socketip"
            | "nf-client-connection-ip"
            | "vercel-forwarded-for"
            | "original-forwarded-for"
            | "original-for"
            | "sucuri-clientip"
    );
    let target = matches!(
        rest,
        "original-host"
            | "original-method"
            | "original-prefix"
            | "original-proto"
            | "original-uri"
            | "original-url"
            | "rewrite-url"
            | "host"
            | "http-host-override"
    );
    address
        || target
        || matches!(
            rest,
            "scheme" | "url-scheme" | "arr-ssl" | "arr-clientcert" | "remote-user" | "client-cert"
        )
}

fn is_other_claim(name: &str) -> bool {
    matches!(
        name,
        "client-ip"
            | "true-client-ip"
            | "cf-connecting-ip"
            | "cf-connecting-ipv6"
            | "cf-visitor"
            | "do-connecting-ip"
            | "fastly-client-ip"
            | "fastly-ssl"
            | "incap-client-ip"
            | "ali-cdn-real-ip"
            | "fly-client-ip"
            | "cloudfront-viewer-address"
            | "cloudfront-forwarded-proto"
            | "proxy-client-ip"
            | "wl-proxy-client-ip"
            | "wl-proxy-ssl"
            | "front-end-https"
    )
}

#[cfg(test)]
mod tests {
    use crate::http::forwarding_names::*;

    #[test]
    fn claims_are_told_from_what_clients_say_themselves() {
        for name in [
            "forwarded",
            "x-forwarded",
            "x-forwarded-port",
            "x-forwarded-anything",
            "x-real-ip",
            "true-client-ip",
            "front-end-https",
            "x-original-url",
            "client-cert-chain",
            "x-ssl-client-verify",
            "x-auth-request-user",
        ] {
            assert!(is_claim(name), "{name}");
        }
        for name in [
            "host",
            "accept",
            "forward",
            "x-requested-with",
            "x-request-id",
            "x-csrf-token",
            "x-http-method-override",
            "x-original-filename",
            "x-hostname",
            "cf-ray",
            "client-id",
            "sec-websocket-key",
            "authorization",
        ] {
            assert!(!is_claim(name), "{name}");
        }
    }
}
