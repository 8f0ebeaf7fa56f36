//! Some 500 spellings of paths and hosts at a real nginx and at weir: the same route, but for the
//! differences that are listed.
//!
//! A prefix route of weir matches on segment boundaries, so in nginx it is written as
//! `location = P` and `location P/`.

use std::collections::BTreeMap;

mod paths;

use crate::{http1::Client, nginx::Nginx, process::Weir, upstream::answering};

/// The routes: as written in weir's file, and decoded as in nginx's.
const ROUTES: [(&str, &str); 8] = [
    ("/", "/"),
    ("/login", "/login"),
    ("/api", "/api"),
    ("/api/v1/login", "/api/v1/login"),
    ("/a%20b", "/a b"),
    ("/caf%C3%A9", "/caf\u{e9}"),
    ("/100%25", "/100%"),
    ("/files/", "/files/"),
];

/// The route that takes a request, or the status it is refused with.
fn outcome(server: std::net::SocketAddr, target: &str, host: &str) -> String {
    let mut client = Client::connect(server);
    client
        .send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())
        .expect("a server that reads");
    let answer = client.answer("GET").unwrap_or_else(|error| panic!("{target} {host}: {error}"));
    match answer.head.field("x-route") {
        Some(route) => route.to_owned(),
        None => answer.status.to_string(),
    }
}

struct Both {
    weir: Weir,
    nginx: Nginx,
}

impl Both {
    fn start() -> Self {
        let app = answering(|head| {
            let seen = head.second();
            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-seen: {seen}\r\n\r\n").into_bytes()
        });
        let tells = "response: { headers: { set: { x-route: \"{route}\" } } }";
        let route = |host: &str, path: &str| {
            format!("- {{ {host}path: \"{path}\", upstream: \"http://{app}\", {tells} }}\n")
        };
        let mut routes: String = ROUTES.iter().map(|(path, _)| route("", path)).collect();
        routes.push_str(&route("host: admin.test, ", "/"));
        let weir = Weir::run(&format!("access_log: {{ to: none }}\nroutes:\n{routes}"));
        let tell =
            |route: &str| format!("{{ add_header x-route \"{route}\" always; return 204; }}\n");
        let location = |(route, path): &(&str, &str)| match path.strip_suffix('/') {
            Some(_) => format!("location \"{path}\" {}", tell(route)),
            None => {
                format!("location = \"{path}\" {}location \"{path}/\" {}", tell(route), tell(route))
            }
        };
        let locations: String = ROUTES.iter().map(location).collect();
        let other = format!(
            "server {{ listen LISTEN; server_name admin.test; location / {} }}",
            tell("admin.test/")
        );
        Self { weir, nginx: Nginx::start(&other, &format!("server_name site;\n{locations}")) }
    }

    /// What weir makes of it, and what nginx does.
    fn take(&self, target: &str, host: &str) -> (String, String) {
        (outcome(self.weir.address, target, host), outcome(self.nginx.address, target, host))
    }
}

#[test]
fn spellings_of_paths_take_the_route_nginx_gives_them() {
    let (both, listed) = (Both::start(), paths::differences());
    let spellings = paths::spellings();
    assert!(spellings.len() >= 500, "only {} spellings", spellings.len());
    let mut wrong = Vec::new();
    for spelling in &spellings {
        let (ours, theirs) = both.take(spelling, "site");
        match listed.get(spelling.as_str()) {
            Some(_) => {}
            None if ours == theirs => {}
            None => wrong.push(format!("{spelling}: weir {ours}, nginx {theirs}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        spellings.len(),
        wrong.join("\n")
    );
}

#[test]
fn differences_are_those_that_are_listed() {
    let both = Both::start();
    let seen: BTreeMap<_, _> = paths::differences()
        .into_keys()
        .map(|target| (target, both.take(target, "site")))
        .collect();
    let listed = paths::differences()
        .into_iter()
        .map(|(target, (ours, theirs))| (target, (ours.to_owned(), theirs.to_owned())));
    assert_eq!(seen, listed.collect());
}

#[test]
fn spellings_of_hosts_take_the_route_nginx_gives_them() {
    let both = Both::start();
    for (host, route) in [
        ("admin.test", "admin.test/"),
        ("ADMIN.Test", "admin.test/"),
        ("admin.test.", "admin.test/"),
        ("admin.test:80", "admin.test/"),
        ("Admin.test.:8080", "admin.test/"),
        ("admin.test:", "admin.test/"),
        ("admin.test..", "400"),
        (".", "400"),
        ("admin..test", "400"),
        ("other.test", "/"),
        ("x.admin.test", "/"),
    ] {
        assert_eq!(both.take("/", host), (route.to_owned(), route.to_owned()), "{host}");
    }
    // Deliberately not nginx's: an empty label is none of a name's, also as the first.
    assert_eq!(both.take("/", ".admin.test"), ("400".to_owned(), "/".to_owned()));
}
