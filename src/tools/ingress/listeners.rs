//! Listeners of Ingress objects: one without TLS, and one with the certificates of all secrets.

use super::{
    objects::{Ingress, Objects},
    state::IngressState,
};
use crate::{
    config::directives::Treatment,
    tools::import::plan::{ListenerPlan, Remarks, TlsPlan},
};

/// Folder in which the certificates of secrets are expected.
const CERTIFICATES: &str = "/etc/weir/tls";

/// Plans the listeners.
pub fn listeners(state: &mut IngressState<'_>, objects: &Objects) {
    let mut tls = TlsPlan::default();
    for ingress in &objects.ingresses {
        for part in &ingress.tls {
            let text = format!("tls: {}", part.hosts.join(", "));
            if part.secret.is_empty() {
                let reason = "the certificate is that of the controller: write its file";
                state.note(part.place, text, Treatment::Unsupported, reason);
                continue;
            }
            let folder = format!("{CERTIFICATES}/{}", part.secret);
            let pair = (format!("{folder}/tls.crt"), format!("{folder}/tls.key"));
            let reason = "mount the secret there, or write its files";
            state.note(part.place, text, Treatment::Noted, reason);
            // Ingresses of one host often name the same secret.
            if !tls.certificates.iter().any(|(cert, ..)| *cert == pair.0) {
                let origin = state.files.short_origin(part.place);
                tls.certificates.push((pair.0, pair.1, origin));
            }
        }
    }
    // ingress-nginx redirects what has a certificate, unless `ssl-redirect` is `false`.
    let redirects = |ingress: &Ingress| {
        let is_off = ingress.annotation("ssl-redirect").is_some_and(|one| one.value == "false");
        ingress.is_on("force-ssl-redirect") || (!ingress.tls.is_empty() && !is_off)
    };
    let redirecting = objects.ingresses.iter().filter(|ingress| redirects(ingress)).count();
    let is_all = redirecting == objects.ingresses.len() && redirecting > 0;
    let has_tls = !tls.certificates.is_empty();
    let mut remarks = Remarks::default();
    // Without a certificate there is nothing to redirect to.
    if redirecting > 0 && !(is_all && has_tls) {
        remarks.add("some Ingresses redirect to https, and `redirect` is for a whole listener");
    }
    // A listener redirects all of its requests or none.
    let keys = match is_all && has_tls {
        true => vec![("redirect", "https".to_owned())],
        false => Vec::new(),
    };
    let plain = ListenerPlan { address: ":80".to_owned(), tls: None, keys, remarks };
    state.plan.listeners.push(plain);
    if has_tls {
        state.plan.listeners.push(ListenerPlan {
            address: ":443".to_owned(),
            tls: Some(tls),
            keys: Vec::new(),
            remarks: Remarks::default(),
        });
    }
    for ingress in &objects.ingresses {
        for name in ["ssl-redirect", "force-ssl-redirect"] {
            let Some(annotation) = ingress.annotation(name) else { continue };
            let (treatment, reason) = match (annotation.value == "true", is_all && has_tls) {
                (true, true) | (false, false) => (Treatment::Carried, ""),
                (true, false) => (Treatment::Unsupported, "other Ingresses are served without TLS"),
                (false, true) => (Treatment::Noted, "another annotation redirects"),
            };
            let text = format!("{name}: {}", annotation.value);
            state.note(annotation.place, text, treatment, reason);
        }
    }
}
