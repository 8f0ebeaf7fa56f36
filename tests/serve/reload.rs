//! Loading the configuration again: the next request meets the new one, what is under way and what
//! is owed stays.

use std::{
    fs,
    io::{BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Instant,
};

use rustix::process::Signal;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject},
};

use crate::{
    certificates::Authority,
    http1::{Client, Head, PATIENCE, get},
    process::{Weir, weir, written},
    upstream::{noting, upstream},
};

fn reload(weir: &Weir, config: &str) {
    weir.rewrite(config);
    weir.signal(Signal::HUP);
}

fn reloaded(weir: &Weir, config: &str) {
    reload(weir, config);
    weir.says("configuration reloaded");
}

/// A route to `upstream` with one limit, so slow that no test sees it work off anything.
fn limited(upstream: std::net::SocketAddr, rate: &str, burst: u32) -> String {
    format!(
        "zones: {{ all: {{ key: global, rate: {rate} }} }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: all, burst: {burst}, nodelay: true }} ] }} ]\n"
    )
}

#[test]
fn reload_open_connection_uses_new_routes_and_keeps_debts() {
    let (upstream, seen) = noting();
    let weir = Weir::run(&limited(upstream, "1r/d", 1));
    let mut client = Client::connect(weir.address);
    let mut ask = |path: &str| client.get(path).expect("an answer").status;
    assert_eq!([ask("/1"), ask("/2"), ask("/3")], [200, 200, 503]);
    // The same zone, a longer burst: two are owed, so one more fits.
    reloaded(&weir, &limited(upstream, "1r/d", 2));
    assert_eq!([ask("/4"), ask("/5")], [200, 503]);
    // Another rate: three days are owed, which is a burst of six at two a day.
    reloaded(&weir, &limited(upstream, "2r/d", 6));
    assert_eq!([ask("/6"), ask("/7")], [200, 503]);
    reloaded(&weir, &format!("routes: [ {{ path: /only, upstream: \"http://{upstream}\" }} ]"));
    assert_eq!([ask("/8"), ask("/only")], [404, 200]);
    assert_eq!(seen.lock().expect("no panic").len(), 5);
}

#[test]
fn reload_of_wrong_file_changes_nothing() {
    let (upstream, _) = noting();
    let right = limited(upstream, "1r/d", 2);
    let weir = Weir::run(&right);
    assert_eq!(get(weir.address, "/").status, 200);
    for number in 0..50 {
        reload(&weir, &right.replace("burst: 2", &format!("brust: {number}")));
        let line = weir.says("the configuration is invalid");
        assert!(line.contains("did you mean `burst`?") && line.contains("weir.yaml:3"), "{line}");
    }
    reload(&weir, "");
    weir.says("no route: every request would be refused");
    assert_eq!(
        [
            get(weir.address, "/").status,
            get(weir.address, "/").status,
            get(weir.address, "/").status
        ],
        [200, 200, 503]
    );
}

#[test]
fn reload_adds_and_removes_listeners_or_changes_nothing() {
    let (upstream, _) = noting();
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n");
    let weir = Weir::run(&routes);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let occupied = taken.local_addr().expect("an address");
    reload(&weir, &format!("listeners: [ \"127.0.0.1:0\", \"{occupied}\" ]\n{routes}"));
    weir.says(&format!("cannot listen on `{occupied}`"));
    drop(taken);
    reloaded(&weir, &format!("listeners: [ \"127.0.0.1:0\", \"{occupied}\" ]\n{routes}"));
    assert_eq!([get(weir.address, "/").status, get(occupied, "/").status], [200, 200]);
    let mut open = Client::connect(weir.address);
    assert_eq!(open.get("/").expect("an answer").status, 200);
    reloaded(&weir, &format!("listeners: [ \"{occupied}\" ]\n{routes}"));
    assert_eq!(get(occupied, "/").status, 200);
    assert_eq!(open.get("/").expect("a connection that was open stays").status, 200);
    crate::shutdown::refuses_soon(weir.address);
}

#[test]
fn reload_parked_request_keeps_its_slot() {
    let (upstream, _) = noting();
    let delayed = limited(upstream, "2r/s", 4).replace(", nodelay: true", "");
    let weir = Weir::run(&delayed);
    assert_eq!(get(weir.address, "/").status, 200);
    let address = weir.address;
    let parked: Vec<_> = (0..3).map(|_| thread::spawn(move || get(address, "/").status)).collect();
    for _ in 0..5 {
        reloaded(&weir, &delayed);
    }
    assert!(parked.into_iter().all(|one| one.join().expect("no panic") == 200));
}

#[test]
fn signals_storm_loses_no_descriptor() {
    let (upstream, _) = noting();
    let routes = format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\naccess_log: {{ to: none }}\n"
    );
    let weir = Weir::run(&routes);
    let mut client = Client::connect(weir.address);
    assert_eq!(client.get("/").expect("an answer").status, 200);
    reloaded(&weir, &routes);
    let before = weir.descriptors();
    for _ in 0..50 {
        weir.signal(Signal::HUP);
        assert_eq!(client.get("/").expect("an answer").status, 200);
    }
    reloaded(&weir, &format!("{routes}log: {{ level: warn }}\n"));
    assert_eq!(weir.descriptors(), before);
}

#[test]
fn access_log_is_reopened_after_rotation() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let to = format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\naccess_log: {{ to: {} }}\n",
        path.display()
    );
    let mut weir = Weir::run(&to);
    assert_eq!(get(weir.address, "/before").status, 200);
    fs::rename(&path, &moved).expect("a log");
    weir.signal(Signal::USR1);
    weir.says("log files reopened");
    assert_eq!(get(weir.address, "/after").status, 200);
    // Its room on the disk is not kept from whoever removes it.
    let deadline = Instant::now() + PATIENCE;
    while weir.has_open(&moved) {
        assert!(Instant::now() < deadline, "the log of before is still open");
        thread::yield_now();
    }
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
    let has = |path, text| fs::read_to_string(path).expect("a log").contains(text);
    assert!(has(&moved, "/before") && !has(&moved, "/after"));
    assert!(has(&path, "/after"));
}

#[test]
fn reload_names_keys_that_need_a_restart() {
    let (upstream, _) = noting();
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n");
    let weir = Weir::run(&format!("{routes}workers: 1\n"));
    reload(&weir, &format!("{routes}workers: 2\n"));
    assert!(
        weir.says("a changed setting needs a restart; ignored until then").contains("\"workers\"")
    );
}

#[test]
fn watch_reloads_when_content_changes() {
    let (upstream, _) = noting();
    let weir = Weir::run_watching(&format!(
        "routes: [ {{ path: /old, upstream: \"http://{upstream}\" }} ]\n"
    ));
    assert_eq!([get(weir.address, "/old").status, get(weir.address, "/new").status], [200, 404]);
    weir.rewrite("routes: nonsense");
    weir.says("the configuration is invalid");
    weir.rewrite(&format!("routes: [ {{ path: /new, upstream: \"http://{upstream}\" }} ]\n"));
    weir.says("configuration reloaded");
    assert_eq!([get(weir.address, "/old").status, get(weir.address, "/new").status], [404, 200]);
}

#[test]
fn watch_reloads_when_an_included_file_changes_comes_or_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let conf_d = folder.path().join("conf.d");
    fs::create_dir(&conf_d).expect("a folder");
    let route =
        |path: &str| format!("routes: [ {{ path: {path}, respond: {{ status: 200 }} }} ]\n");
    let write = |name: &str, text: &str| fs::write(conf_d.join(name), text).expect("a file");
    write("a.yaml", &route("/old"));
    let path = written(&folder, "listeners: [ '127.0.0.1:0' ]\ninclude: 'conf.d/*.yaml'\n");
    let mut command = weir(&["run", "--watch", "-c", &path]);
    let weir = Weir::start(&mut command, folder);
    let statuses = || ["/old", "/new", "/more"].map(|path| get(weir.address, path).status);
    assert_eq!(statuses(), [200, 404, 404]);
    write("a.yaml", "routes: nonsense");
    weir.says("the configuration is invalid");
    write("a.yaml", &route("/new"));
    weir.says("configuration reloaded");
    assert_eq!(statuses(), [404, 200, 404]);
    write("b.yaml", &route("/more"));
    weir.says("configuration reloaded");
    assert_eq!(statuses(), [404, 200, 200]);
    fs::remove_file(conf_d.join("a.yaml")).expect("a file");
    weir.says("configuration reloaded");
    assert_eq!(statuses(), [404, 404, 200]);
}

#[test]
fn networks_of_a_file_are_read_again_and_wrong_ones_change_nothing() {
    let (upstream, _) = noting();
    let text = format!(
        "zones: {{ all: {{ key: client_ip, rate: 1r/d, exempt: [ \"@file:exempt.txt\" ] }} }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: all, burst: 1, nodelay: true }} ] }} ]\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let networks = folder.path().join("exempt.txt");
    fs::write(&networks, "# nobody yet\n192.0.2.0/24\n").expect("a file");
    let weir = Weir::run_in(folder, &text);
    let statuses =
        |count: usize| (0..count).map(|_| get(weir.address, "/").status).collect::<Vec<_>>();
    assert_eq!(statuses(3), [200, 200, 503]);
    fs::write(&networks, "127.0.0.0/8\n").expect("a file");
    weir.says("network files changed; networks reloaded");
    assert_eq!(statuses(4), [200; 4]);
    fs::write(&networks, "127.0.0.0/8\nno network\n").expect("a file");
    weir.says("line 2: `no network` is not a network; keeping the current networks");
    assert_eq!(statuses(2), [200; 2]);
    fs::write(&networks, "192.0.2.0/24\n").expect("a file");
    weir.says("network files changed; networks reloaded");
    assert_eq!(statuses(1), [503]);
}

#[test]
fn users_of_a_file_are_read_again_and_wrong_ones_change_nothing() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    fs::write(&users, "ada:$apr1$r31.....$G/cElGhD0cboYkZN5h5Ne/\n").expect("a file");
    let weir = Weir::run_in(
        folder,
        &format!(
            "routes: [ {{ path: /, upstream: \"http://{upstream}\", basic_auth: {{ file: users }} }} ]\n"
        ),
    );
    let status = |credentials: &str| {
        let mut client = Client::connect(weir.address);
        let request =
            format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Basic {credentials}\r\n\r\n");
        client.send(request.as_bytes()).expect("an open connection");
        client.head("GET").expect("a response").0
    };
    let (ada, bob) = ("YWRhOnNlY3JldA==", "Ym9iOng=");
    assert_eq!([status(ada), status(bob)], [200, 401]);
    fs::write(&users, "bob:$apr1$12345678$zbBEMgfXu4mAHPrplrtNt.\n").expect("a file");
    weir.says("password files changed; users reloaded");
    assert_eq!([status(ada), status(bob)], [401, 200], "what was verified is forgotten");
    fs::write(&users, "bob:x\n").expect("a file");
    weir.says("keeping the current users");
    assert_eq!([status(ada), status(bob)], [401, 200]);
}

/// Its caps, its queue and its level are changed by the file that cannot be taken over, and by
/// nothing else in it.
#[test]
fn reload_that_fails_leaves_caps_queue_and_log_level() {
    let (upstream, _) = noting();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let occupied = taken.local_addr().expect("an address");
    let rest = format!(
        "zones: {{ all: {{ key: global, rate: 5r/s }} }}\nroutes:\n- {{ path: /, upstream: \"http://{upstream}\" }}\n\
         - {{ path: /limited, upstream: \"http://{upstream}\", limits: [ {{ zone: all, burst: 5 }} ] }}\n"
    );
    let weir = Weir::run(&rest);
    let first = "{ address: \"127.0.0.1:0\", max_connections: 1, max_connections_per_client: 1 }";
    let changed = format!(
        "{rest}log: {{ level: \"off\" }}\nqueue: {{ max: 0 }}\ntimeouts: {{ write: 90s }}\n"
    );
    for _ in 0..2 {
        reload(&weir, &format!("listeners: [ {first}, \"{occupied}\" ]\n{changed}"));
        // The second time as well: the level is what it was.
        weir.says(&format!("cannot listen on `{occupied}`"));
    }
    let mut open: Vec<Client> = (0..3).map(|_| Client::connect(weir.address)).collect();
    assert!(open.iter_mut().all(|client| client.get("/").expect("an answer").status == 200));
    let limited: Vec<u16> =
        open.iter_mut().map(|client| client.get("/limited").expect("an answer").status).collect();
    assert_eq!(limited, [200; 3]);
    drop(taken);
    reload(&weir, &format!("listeners: [ {first}, \"{occupied}\" ]\n{changed}"));
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(occupied).is_err() {
        assert!(Instant::now() < deadline, "the file that can be used is not");
        thread::yield_now();
    }
}

/// An upstream of `app.test` with the certificate `app` of this authority.
fn secured(authority: &Authority) -> SocketAddr {
    authority.issue("app", &["app.test"]);
    let key = PrivateKeyDer::from_pem_file(authority.path("app.key")).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let config = Arc::new(
        builder.with_single_cert(vec![authority.certificate("app")], key).expect("a certificate"),
    );
    upstream(move |wire| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        let mut wire = BufReader::new(StreamOwned::new(session, wire.into_inner()));
        while Head::read(&mut wire)?.is_some() {
            wire.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    })
}

/// Its connections are kept long enough to be used again, if they were.
fn trusting(upstream: SocketAddr, file: &std::path::Path) -> String {
    let tls = format!("tls: {{ ca: {}, server_name: app.test }}", file.display());
    format!(
        "upstreams: {{ app: {{ endpoints: [ \"https://{upstream}\" ], {tls}, keepalive: {{ idle: 60s }} }} }}\n\
         routes: [ {{ path: /, upstream: app }} ]\nworkers: 1\n"
    )
}

#[test]
fn reload_reads_the_authorities_of_an_upstream_again() {
    let (shown, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    let trust = |authority: &Authority| fs::copy(authority.path("ca.pem"), &file).expect("a file");
    trust(&other);
    let config = trusting(secured(&shown), &file);
    let weir = Weir::run(&config);
    assert_eq!(get(weir.address, "/").status, 502);
    trust(&shown);
    reloaded(&weir, &config);
    assert_eq!(get(weir.address, "/").status, 200);
    // The one that signed the endpoint's certificate is withdrawn; so is the connection that is
    // kept.
    trust(&other);
    reloaded(&weir, &config);
    assert_eq!(get(weir.address, "/").status, 502);
}

#[test]
fn authorities_of_an_upstream_are_watched_and_heal() {
    let (shown, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    let trust = |authority: &Authority| fs::copy(authority.path("ca.pem"), &file).expect("a file");
    trust(&shown);
    let weir = Weir::run(&trusting(secured(&shown), &file));
    assert_eq!(get(weir.address, "/").status, 200);
    fs::write(&file, "half a certificate").expect("a file");
    weir.says("cannot use the changed TLS files of the upstream");
    assert_eq!(get(weir.address, "/").status, 200);
    trust(&other);
    weir.says("upstream TLS files changed");
    assert_eq!(get(weir.address, "/").status, 502);
    trust(&shown);
    weir.says("upstream TLS files changed");
    assert_eq!(get(weir.address, "/").status, 200);
}

/// The certificates of a listener are as old as the last reload at most, not as the last look.
#[test]
fn reload_reads_the_certificates_of_a_listener_again() {
    let authority = Authority::new();
    authority.issue("a", &["a.test"]);
    let (cert, key) = (authority.path("a.pem"), authority.path("a.key"));
    let config = format!(
        "listeners: [ {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ cert: {}, key: {} }} ] }} }} ]\n\
         routes: [ {{ path: /, upstream: \"http://127.0.0.1:9\" }} ]\n",
        cert.display(),
        key.display()
    );
    let weir = Weir::run(&config);
    for _ in 0..3 {
        authority.issue("a", &["a.test"]);
        reloaded(&weir, &config);
        assert_eq!(crate::tls::get(&authority, weir.address).0, authority.certificate("a"));
    }
}
