//! Listeners: addresses, redirects, and certificates, which are read to check that they can be
//! used.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use super::{address, collector::Collector, location::Location, socket_file};
use crate::{
    config::{
        networks,
        schema::{Certificate, ClientAuthName, File, Listener, LongListener, TlsSpec},
    },
    downstream::{
        listen_address::ListenAddress,
        listen_socket::UNIX_PEER,
        settings::{ClientProtocols, ListenerSettings, SocketFileSettings},
        tls::{
            self,
            certificates::Pair,
            settings::{CertificateFiles, ClientAuth, ClientAuthSettings, TlsSettings},
        },
    },
    files::challenge::ChallengeDirectory,
    runtime::{
        clock::Clock,
        hint::{HintedError, hinted},
    },
};

/// Range of limits on connections and requests.
const COUNTS: RangeInclusive<usize> = 1..=1_000_000_000;
/// Default port of `https`.
const HTTPS: u16 = 443;

/// Resolves all listeners.
pub fn listeners(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    file: &File,
) -> Vec<ListenerSettings> {
    let mut found: Vec<ListenerSettings> = Vec::new();
    for (index, listener) in file.listeners.iter().enumerate() {
        let spot = spot.item(index);
        let (place, long) = match listener {
            Listener::Short(text) => (spot, &LongListener::on(text.clone())),
            Listener::Long(long) => (spot.key("address"), &**long),
        };
        // Without them no peer may send the header, and every connection would be refused.
        if long.proxy_protocol && file.client_ip.trusted_proxies.is_empty() {
            let hint = "list them: client_ip: { trusted_proxies: [ \"10.0.0.0/8\" ] }";
            judge.refuse(
                spot.key("proxy_protocol"),
                hinted("`proxy_protocol` without trusted proxies", hint),
            );
        }
        let settings = settings(judge, spot, long);
        let Some(address) = judge.take(place, address::listen(&long.address)) else { continue };
        untrusted_socket(judge, spot, file, &address, long);
        let settings = ListenerSettings {
            file: socket_file::permissions(judge, spot, &address, long),
            address,
            also_ipv6: address::is_port_alone(&long.address),
            ..settings
        };
        // Two listeners with port 0 get two ports, so only equal settings are a mistake.
        let twice = |other: &ListenerSettings| {
            let shared =
                other.addresses().any(|taken| settings.addresses().any(|address| address == taken));
            let is_any_port = settings.address.tcp().is_some_and(|address| address.port() == 0);
            shared && (!is_any_port || *other != settings)
        };
        if found.iter().any(twice) {
            let message = format!("duplicate listener `{}`", long.address);
            judge.refuse(place, hinted(message, "keep one of them"));
        }
        found.push(settings);
    }
    found
}

/// Refuses a PROXY header from peers that are not trusted: each connection would be closed.
fn untrusted_socket(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    file: &File,
    address: &ListenAddress,
    listener: &LongListener,
) {
    let proxies = &file.client_ip.trusted_proxies;
    let is_unix = |text: &String| {
        networks::network(text).is_some_and(|network| network.contains(&UNIX_PEER.ip()))
    };
    // A list without an entry is reported already, and an inherited socket may be one of TCP.
    let is_path = matches!(address, ListenAddress::Unix(_));
    if listener.proxy_protocol && is_path && !proxies.is_empty() && !proxies.iter().any(is_unix) {
        let message = "`proxy_protocol` on a unix socket whose peers are not trusted";
        let hint = "add \"unix:\" to `client_ip.trusted_proxies`";
        judge.refuse(spot.key("proxy_protocol"), hinted(message, hint));
    }
}

/// Resolves everything but the address.
fn settings(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    listener: &LongListener,
) -> ListenerSettings {
    let redirect = spot.key("redirect");
    // Its requests came over TLS already, so it could redirect to itself.
    if listener.tls.is_some() && listener.redirect.is_some() {
        let hint = "write it on a listener without `tls`";
        judge.refuse(redirect, hinted("`redirect` on a listener with `tls`", hint));
    }
    let port =
        listener.redirect.as_ref().and_then(|text| judge.take(redirect, redirect_port(text)));
    let http01 = http01(judge, spot.key("http01"), listener);
    let mut count = |key, amount| judge.count(spot.key(key), amount, COUNTS);
    let auto = listener.max_connections.0 == "auto";
    ListenerSettings {
        address: SocketAddr::from(([0; 4], 0)).into(),
        file: SocketFileSettings::default(),
        also_ipv6: false,
        redirect: port,
        http01,
        proxy_protocol: listener.proxy_protocol,
        max_connections: (!auto).then(|| count("max_connections", &listener.max_connections)),
        max_connections_per_client: count(
            "max_connections_per_client",
            &listener.max_connections_per_client,
        ),
        max_requests: count("max_requests", &listener.max_requests),
        protocol: listener.protocol,
        tls: listener.tls.as_ref().map(|tls| TlsSettings {
            http2: listener.protocol == ClientProtocols::Auto,
            ..read(judge, spot.key("tls"), tls)
        }),
    }
}

/// Directory for ACME challenges, which is opened to check that it can be used.
fn http01(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    listener: &LongListener,
) -> Option<PathBuf> {
    let path = PathBuf::from(&listener.http01.as_ref()?.path);
    if listener.redirect.is_none() {
        let hint = "write `redirect: https` beside it; a route serves files elsewhere";
        judge.refuse(spot, hinted("`http01` on a listener without `redirect`", hint));
    }
    if let Err(error) = ChallengeDirectory::open(&path) {
        judge.refuse(spot.key("path"), error);
    }
    Some(path)
}

fn redirect_port(text: &str) -> Result<u16, HintedError> {
    let wrong = || {
        let hint = "write `https`, or a port as in `https:8443`";
        hinted(format!("`{text}` is not a redirect target"), hint)
    };
    match text.strip_prefix("https").ok_or_else(wrong)? {
        "" => Ok(HTTPS),
        port => port
            .strip_prefix(':')
            .and_then(|port| port.parse().ok())
            .filter(|port| *port != 0)
            .ok_or_else(wrong),
    }
}

fn read(judge: &mut Collector<'_>, spot: Location<'_>, tls: &TlsSpec) -> TlsSettings {
    let certificates = spot.key("certificates");
    if tls.certificates.is_empty() {
        let hint = "certificates: [ { cert: FILE, key: FILE } ]";
        judge.refuse(certificates, hinted("no certificate", hint));
    }
    let pairs = tls.certificates.iter().enumerate();
    TlsSettings {
        certificates: pairs
            .map(|(index, pair)| certificate(judge, certificates.item(index), pair))
            .collect(),
        min_version: tls.min_version,
        http2: true,
        client_auth: client_auth(judge, spot, tls),
    }
}

/// Certificates of clients; their files are read to check that they can be used.
fn client_auth(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    tls: &TlsSpec,
) -> Option<ClientAuthSettings> {
    let Some(ca) = &tls.client_ca else {
        let lone = [
            ("client_auth", tls.client_auth.is_some()),
            ("client_auth_names", !tls.client_auth_names.is_empty()),
            ("client_crl", tls.client_crl.is_some()),
        ];
        for (key, _) in lone.into_iter().filter(|(_, is_written)| *is_written) {
            let hint = "add `client_ca: FILE`, the authorities that sign client certificates";
            judge.refuse(spot.key(key), hinted(format!("`{key}` without `client_ca`"), hint));
        }
        return None;
    };
    let names = spot.key("client_auth_names");
    let mut found: Vec<(String, ClientAuth)> = Vec::new();
    for (index, ClientAuthName { name: text, client_auth: auth }) in
        tls.client_auth_names.iter().enumerate()
    {
        let place = names.item(index).key("name");
        let name = text.to_ascii_lowercase();
        let host = name.strip_prefix("*.").unwrap_or(&name);
        if !address::is_host(host) || host.ends_with('.') {
            let hint = "write a name, like `admin.example.com` or `*.example.com`";
            judge.refuse(place, hinted(format!("`{text}` is not a server name"), hint));
        } else if found.iter().any(|(other, _)| *other == name) {
            let hint = "keep one of them; case does not matter";
            judge.refuse(place, hinted(format!("`{text}` is listed twice"), hint));
        }
        found.push((name, *auth));
    }
    // Verified as if it were required: the files must be usable whatever the requirement is.
    let settings = ClientAuthSettings {
        ca: ca.into(),
        crl: tls.client_crl.as_ref().map(Into::into),
        usual: tls.client_auth.unwrap_or_default(),
        names: found,
    };
    if let Err(error) = tls::client_auth::verifier(&settings, ClientAuth::Required) {
        let key = if error.is_about_revocation() { "client_crl" } else { "client_ca" };
        judge.refuse(spot.key(key), error);
    }
    Some(settings)
}

fn certificate(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    pair: &Certificate,
) -> CertificateFiles {
    let files = CertificateFiles { cert: (&pair.cert).into(), key: (&pair.key).into() };
    match Pair::read(&files) {
        // A warning only: the file may be replaced while weir runs, and is loaded then.
        Ok(pair) if pair.expires.is_some_and(|expires| expires < Clock::wall()) => {
            let hint = "clients will refuse it: renew it; a new file is loaded without a restart";
            judge.problems.warn(spot.key("cert").span, "the certificate is no longer valid", hint);
        }
        Ok(_) => {}
        Err(error) => {
            let key = if error.is_about_certificate() { "cert" } else { "key" };
            judge.refuse(spot.key(key), error);
        }
    }
    files
}
