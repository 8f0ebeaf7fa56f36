//! `weir import nginx`: files of nginx served by nginx and, imported, by weir, with `--verify` clean
//! but for what the import lists.

use std::{fs, net::SocketAddr};

use crate::{
    http1::Head,
    nginx::Nginx,
    process::{self, Weir},
    upstream::answering,
};

/// An upstream that responds with what it was asked for.
fn echo() -> SocketAddr {
    answering(|head: &Head| {
        let own = |name: &str| head.field(name).unwrap_or("-").to_owned();
        let seen = ["host", "x-script-name", "x-text"].map(own).join(" ");
        let line = &head.first;
        format!(
            "HTTP/1.1 200 OK\r\nX-Line: {line}\r\nX-Seen: {seen}\r\nContent-Length: 2\r\n\r\nok"
        )
        .into_bytes()
    })
}

/// The file of a test with every `host:port` of an upstream replaced.
fn file(name: &str, endpoint: SocketAddr) -> String {
    let folder = format!("{}/tests/import/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(format!("{folder}.conf"))
        .or_else(|_| fs::read_to_string(format!("{folder}/nginx.conf")))
        .expect("a file of this repository");
    // What stands around `http` is the test's own.
    let inside = text.strip_prefix("events {}\n\nhttp {\n");
    let text = inside.and_then(|text| text.trim_end().strip_suffix('}')).unwrap_or(&text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    // Without it an upstream sees another `Host`, which is a difference to look at.
    let mut whole = "proxy_set_header Host $host;\n".to_owned();
    for word in text.split_inclusive([' ', ';', '/']) {
        let host = word.trim_end_matches([' ', ';', '/']);
        let is_endpoint = host.split_once(':').is_some_and(|(host, port)| {
            host.starts_with(|c: char| c.is_ascii_lowercase())
                && host.chars().all(is_name)
                && port.parse::<u16>().is_ok()
        });
        whole +=
            &if is_endpoint { word.replace(host, &endpoint.to_string()) } else { word.to_owned() };
    }
    whole
}

/// Verifies a file beside a real nginx: the exit code and what was printed.
fn verified(name: &str, edit: impl Fn(String) -> String) -> (Option<i32>, String) {
    let endpoint = echo();
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("site");
    fs::create_dir_all(site.join("assets")).expect("a folder");
    fs::write(site.join("index.html"), "<p>page</p>\n").expect("a file");
    let text = edit(file(name, endpoint));
    let text = text.replace("/usr/share/nginx/html", &site.display().to_string());
    let users = folder.path().join("users");
    // `open sesame`, as `htpasswd -m` hashes it, which both servers read.
    fs::write(&users, "ada:$apr1$abcdefgh$T64oOxnD8c28.dQa.2Lty1\n").expect("a file");
    let text = text.replace("/etc/nginx/.htpasswd", &users.display().to_string());
    let path = folder.path().join("nginx.conf");
    fs::write(&path, &text).expect("a file");
    let path = path.display().to_string();
    let imported = process::output(&["import", "nginx", &path]);
    let yaml = String::from_utf8(imported.stdout).expect("a configuration");
    let weir = Weir::run(&yaml.replace("\"0.0.0.0:80\"", "\"127.0.0.1:0\""));
    let listen = text.replace("listen 80", "listen LISTEN");
    let nginx = Nginx::start_http(&format!("proxy_http_version 1.1; {listen}"));
    let (old, new) = (format!("http://{}", nginx.address), format!("http://{}", weir.address));
    let output = process::output(&["import", "nginx", &path, "--verify", &old, &new]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), format!("{told}{}", String::from_utf8_lossy(&output.stderr)))
}

fn is_clean(name: &str) {
    let (code, told) = verified(name, |text| text);
    assert_eq!(code, Some(0), "{name}: {told}");
    assert!(!told.contains("different: "), "{told}");
}

#[test]
fn import_of_limits_decides_as_nginx() {
    is_clean("tuning");
    let (code, told) = verified("monitor_map", |text| text.replace("listen 8080", "listen 80"));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(" 1 limit: 0 different"), "{told}");
}

#[test]
fn import_of_keys_decides_as_nginx() {
    is_clean("api_keys");
    is_clean("office_geo");
}

#[test]
fn import_of_locations_and_hosts_routes_as_nginx() {
    for name in ["nested", "methods", "security_headers", "hosts", "canonical_host"] {
        is_clean(name);
    }
}

#[test]
fn import_of_expressions_routes_as_nginx() {
    for name in ["php_site", "nested_expressions", "not_found_page"] {
        is_clean(name);
    }
}

#[test]
fn import_of_rewrites_and_methods_does_as_nginx() {
    for name in ["moved_pages", "prefixed_app", "read_only_api", "limited_some"] {
        is_clean(name);
    }
}

/// The compose file of docs/from-nginx.md, with all of its conditions.
#[test]
fn import_of_the_compose_move_does_as_nginx() {
    let (code, told) = verified("compose_move", |text| {
        text.replace("/srv/site", "/usr/share/nginx/html")
            .replace("/etc/nginx/users", "/etc/nginx/.htpasswd")
    });
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(" 1 limit: 0 different"), "{told}");
}

/// What weir cannot do as nginx does is listed, and nothing else differs.
#[test]
fn import_of_files_with_more_differs_only_as_listed() {
    for name in ["two_services", "spa", "protected", "cloudflare", "connections", "bots"] {
        is_clean(name);
    }
}

/// Another limit than the file's is seen.
#[test]
fn verify_finds_a_limit_that_differs() {
    let endpoint = echo();
    let folder = tempfile::tempdir().expect("a folder");
    let text = |burst: u32| {
        format!(
            "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s;\n\
             server {{ listen LISTEN; limit_req zone=z burst={burst} nodelay;\n\
             location / {{ proxy_pass http://{endpoint}; proxy_set_header Host $host; }} }}"
        )
    };
    let path = folder.path().join("nginx.conf");
    fs::write(&path, text(3).replace("LISTEN", "80")).expect("a file");
    let servers = [Nginx::start_http(&text(3)), Nginx::start_http(&text(4))];
    let urls = servers.each_ref().map(|nginx| format!("http://{}", nginx.address));
    let path = path.display().to_string();
    let verify = |old: &str, new: &str| {
        let output = process::output(&["import", "nginx", &path, "--verify", old, new]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, told) = verify(&urls[0], &urls[0]);
    // The second burst finds what the first one left.
    assert_eq!(code, Some(10), "{told}");
    let (code, told) = verify(&urls[0], &urls[1]);
    assert_eq!(code, Some(10), "{told}");
    assert!(told.contains("verdicts PPPPRRR, now PPPPPRR"), "{told}");
}

#[test]
fn verify_names_a_server_that_cannot_be_asked() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import/methods.conf");
    let output = process::output(&[
        "import",
        "nginx",
        path,
        "--verify",
        "http://127.0.0.1:1",
        "127.0.0.1:1",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.starts_with("error: `127.0.0.1:1` cannot be asked: "), "{told}");
}
