//! The operator's listener, and the command that speaks to it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU8, Ordering},
};

use crate::{
    http1::{Client, get},
    process::{Weir, output},
    upstream::noting,
};

/// A proxy with an operator's listener on a port that is free. It stays so, as no other test uses a
/// loopback address of its own, and no connection begins there.
fn with_admin(upstream: SocketAddr) -> (Weir, SocketAddr, String) {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let own = Ipv4Addr::new(127, 88, 0, 1 + LAST.fetch_add(1, Ordering::Relaxed));
    let free = TcpListener::bind((own, 0)).and_then(|socket| socket.local_addr()).expect("a port");
    let config = format!(
        "routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\nadmin: {{ address: \"{free}\" }}\n"
    );
    (Weir::run(&config), free, config)
}

fn post(admin: SocketAddr, fields: &str) -> u16 {
    let mut client = Client::connect(admin);
    client
        .send(format!("POST /reload HTTP/1.1\r\n{fields}content-length: 0\r\n\r\n").as_bytes())
        .expect("a connection");
    client.answer("POST").expect("an answer").status
}

#[test]
fn it_says_how_the_proxy_is_and_loads_the_configuration_again() {
    let (upstream, _) = noting();
    let (weir, admin, config) = with_admin(upstream);
    assert_eq!(
        [
            get(admin, "/health/live").status,
            get(admin, "/health/ready").status,
            get(admin, "/").status
        ],
        [200, 200, 404]
    );
    weir.rewrite(&config.replace("path: /", "path: /new"));
    let reload = output(&["reload", "-c", &weir.config()]);
    assert_eq!(
        (reload.status.code(), &*reload.stdout),
        (Some(0), &b"configuration reloaded\n"[..])
    );
    assert_eq!([get(weir.address, "/").status, get(weir.address, "/new").status], [404, 200]);
    // A file that was renamed away under a bind mount is read again as it was: the operator looks
    // for this.
    let unchanged = output(&["reload", "-c", &weir.config()]);
    assert_eq!(&*unchanged.stdout, b"configuration reloaded; nothing changed\n");
    weir.says("configuration reloaded; nothing changed");
}

#[test]
fn reload_reports_wrong_configuration_to_requester() {
    let (upstream, _) = noting();
    let (weir, admin, config) = with_admin(upstream);
    weir.rewrite(&config.replace("upstream:", "upsteam:"));
    assert_eq!(post(admin, &format!("host: {admin}\r\n")), 422);
    let reload = output(&["reload", "-c", &weir.config()]);
    assert_eq!(reload.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&reload.stderr).contains("did you mean `upstream`?"));
    assert_eq!(get(weir.address, "/").status, 200);
}

#[test]
fn admin_refuses_requests_from_web_pages() {
    let (upstream, _) = noting();
    let (_weir, admin, _) = with_admin(upstream);
    let address = format!("host: {admin}\r\n");
    assert_eq!(post(admin, &format!("{address}origin: http://evil.test\r\n")), 403);
    assert_eq!(post(admin, &format!("{address}sec-fetch-site: cross-site\r\n")), 403);
    assert_eq!(post(admin, &format!("host: rebound.test:{}\r\n", admin.port())), 403);
    assert_eq!(post(admin, &address), 200);
    assert_eq!(post(admin, &format!("host: localhost:{}\r\n", admin.port())), 200);
    let reload = get(admin, "/reload");
    assert_eq!((reload.status, reload.head.field("allow")), (405, Some("POST")));
}

#[test]
fn without_a_proxy_the_command_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let routes =
        "listeners: [ \":0\" ]\nroutes: [ { path: /, upstream: \"http://127.0.0.1:9\" } ]\n";
    for (admin, told) in [
        ("", "send the process HUP"),
        ("admin: { address: \"127.0.0.1:9\" }\n", "no response from"),
    ] {
        let path = crate::process::written(&folder, &format!("{routes}{admin}"));
        let reload = output(&["reload", "-c", &path]);
        assert_eq!(reload.status.code(), Some(5));
        let said = String::from_utf8_lossy(&reload.stderr).into_owned();
        assert!(said.contains(told), "{said}");
    }
}

fn healthcheck(weir: &Weir) -> Option<i32> {
    output(&["healthcheck", "-c", &weir.config()]).status.code()
}

/// A container asks every few seconds: its checks would fill the log.
#[test]
fn healthcheck_leaves_no_access_line() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n");
    let weir = Weir::run(&format!("{routes}access_log: {{ to: \"{}\" }}\n", log.display()));
    assert_eq!([(); 3].map(|()| healthcheck(&weir)), [Some(0); 3]);
    assert_eq!(get(weir.address, "/after").status, 200);
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !read().contains("/after") {
        assert!(std::time::Instant::now() < deadline, "no line of the request");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(read().lines().count(), 1, "{}", read());
}

/// A process that serves is healthy, whatever became of its file and of its listeners.
#[test]
fn healthcheck_asks_the_process_and_not_its_file() {
    let (upstream, _) = noting();
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n");
    let weir = Weir::run(&routes);
    assert_eq!(healthcheck(&weir), Some(0));
    for wrong in
        ["drainn: 1s\n", "drain: \"${NO_SUCH_VARIABLE}\"\n", "listeners: [ \"127.0.0.1:9\" ]\n"]
    {
        weir.rewrite(&format!("{wrong}{routes}"));
        assert_eq!((healthcheck(&weir), get(weir.address, "/").status), (Some(0), 200), "{wrong}");
    }
    std::fs::remove_file(weir.config()).expect("a file");
    assert_eq!(healthcheck(&weir), Some(0));
}

#[test]
fn healthcheck_is_not_in_the_way_of_full_listeners_and_proxy_headers() {
    let (upstream, _) = noting();
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n");
    let weir = Weir::run(&format!(
        "listeners: [ {{ address: \"127.0.0.1:0\", max_connections: 1 }} ]\n{routes}"
    ));
    let mut taken = Client::connect(weir.address);
    assert_eq!(taken.get("/").expect("an answer").status, 200);
    assert!(Client::connect(weir.address).get("/").is_err());
    assert_eq!(healthcheck(&weir), Some(0));
    let proxied = "listeners: [ { address: \"127.0.0.1:0\", proxy_protocol: true } ]\n\
                   client_ip: { trusted_proxies: [ 127.0.0.0/8 ] }\n";
    assert_eq!(healthcheck(&Weir::run(&format!("{proxied}{routes}"))), Some(0));
}

#[test]
fn healthcheck_fails_once_the_process_stops() {
    let upstream = crate::upstream::upstream(|mut wire| {
        while crate::http1::Head::read(&mut wire)?.is_some() {}
        Ok(())
    });
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\ndrain: 1h\n");
    let mut weir = Weir::run(&routes);
    let mut under_way = Client::connect(weir.address);
    under_way.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("a connection");
    weir.signal(rustix::process::Signal::TERM);
    weir.says("draining: finishing requests in progress");
    crate::shutdown::refuses_soon(weir.address);
    assert_eq!(healthcheck(&weir), Some(1));
    weir.signal(rustix::process::Signal::TERM);
    weir.ended();
    assert_eq!(healthcheck(&weir), Some(1));
}

#[test]
fn reload_needs_no_admin_address_and_no_variables_of_the_file() {
    let (upstream, _) = noting();
    let text = |path: &str| {
        format!(
            "routes: [ {{ path: {path}, upstream: \"${{APP}}\" }} ]\nlisteners: [ \"127.0.0.1:0\" ]\n"
        )
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = crate::process::written(&folder, &text("/"));
    let mut command = crate::process::weir(&["run", "-c", &file]);
    let weir = Weir::start(command.env("APP", format!("http://{upstream}")), folder);
    weir.rewrite(&text("/new"));
    let reload = output(&["reload", "-c", &file]);
    assert_eq!(
        (reload.status.code(), &*reload.stdout),
        (Some(0), &b"configuration reloaded\n"[..])
    );
    assert_eq!([get(weir.address, "/").status, get(weir.address, "/new").status], [404, 200]);
    weir.rewrite(&text("/new").replace("upstream", "upsteam"));
    let reload = output(&["reload", "-c", &file]);
    assert_eq!(reload.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&reload.stderr).contains("did you mean `upstream`?"));
}

#[test]
fn reload_of_a_file_that_no_process_serves_names_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let text =
        "listeners: [ \"127.0.0.1:0\" ]\nroutes: [ { path: /, upstream: \"http://a:1\" } ]\n";
    let file = crate::process::written(&folder, text);
    let reload = output(&["reload", "-c", &file]);
    let expected = format!(
        "error: no running weir serves `{file}`, hint: pass the file that `weir run` got, like \
        `-c FILE`, or send the process HUP\n"
    );
    assert_eq!(
        (reload.status.code(), String::from_utf8_lossy(&reload.stderr)),
        (Some(5), expected.into())
    );
}

/// Runs only where the tests run as root.
#[test]
fn reload_by_root_reaches_a_process_of_another_user() {
    let Some((mut command, folder)) = crate::process::as_nobody() else { return };
    let (upstream, _) = noting();
    let text = |path: &str| {
        format!(
            "routes: [ {{ path: {path}, upstream: \"http://{upstream}\" }} ]\nlisteners: [ \"127.0.0.1:0\" ]\n"
        )
    };
    let file = crate::process::written(&folder, &text("/"));
    let command = command.args(["run", "-c", &file]).stderr(std::process::Stdio::piped());
    let weir = Weir::start(command, folder);
    weir.rewrite(&text("/new"));
    let reload = output(&["reload", "-c", &file]);
    assert_eq!(
        (reload.status.code(), &*reload.stdout),
        (Some(0), &b"configuration reloaded\n"[..]),
        "{reload:?}"
    );
    assert_eq!([get(weir.address, "/").status, get(weir.address, "/new").status], [404, 200]);
    assert_eq!(healthcheck(&weir), Some(0));
}

/// Only who has the user of the process, or is root: here root has it.
#[test]
fn control_socket_is_for_the_same_user() {
    use std::os::unix::fs::PermissionsExt;
    let Some((mut command, _folder)) = crate::process::as_nobody() else { return };
    let (upstream, _) = noting();
    let weir = Weir::run(&format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n"));
    let folder = std::path::Path::new(&weir.config()).parent().expect("a folder").to_owned();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("a folder");
    let reload = command.args(["reload", "-c", &weir.config()]).output().expect("a process");
    assert_eq!(reload.status.code(), Some(5));
    assert!(
        String::from_utf8_lossy(&reload.stderr).contains("belongs to another user"),
        "{reload:?}"
    );
}

/// Every listener speaks TLS: the operator's knows.
#[test]
fn healthcheck_asks_control_socket() {
    let authority = crate::certificates::Authority::new();
    authority.issue("a", &["a.test"]);
    let (cert, key) = (authority.path("a.pem"), authority.path("a.key"));
    let tls = format!(
        "tls: {{ certificates: [ {{ cert: {}, key: {} }} ] }}",
        cert.display(),
        key.display()
    );
    let (upstream, _) = noting();
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let secure = format!(
        "listeners: [ {{ address: \"127.0.0.1:0\", {tls} }} ]\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n"
    );
    let mut weir = Weir::run(&format!("{secure}admin: {{ address: \"{free}\" }}\n"));
    assert_eq!(output(&["healthcheck", "-c", &weir.config()]).status.code(), Some(0));
    weir.signal(rustix::process::Signal::TERM);
    assert!(weir.ended().success());
    let stopped = output(&["healthcheck", "-c", &weir.config()]);
    assert_eq!(stopped.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("is not healthy"), "{stopped:?}");
    weir.rewrite(&secure);
    let nobody = output(&["healthcheck", "-c", &weir.config()]);
    assert!(
        nobody.status.code() == Some(1)
            && String::from_utf8_lossy(&nobody.stderr).contains("set `admin.address`")
    );
}

#[test]
fn it_goes_over_to_a_new_process() {
    let (upstream, _) = noting();
    let (weir, admin, _) = with_admin(upstream);
    weir.signal(rustix::process::Signal::USR2);
    weir.is_handed_over();
    for _ in 0..20 {
        assert_eq!(get(admin, "/health/ready").status, 200);
        assert_eq!(healthcheck(&weir), Some(0));
    }
    // And once more, from the process that was started for it.
    weir.signal(rustix::process::Signal::USR2);
    weir.is_handed_over();
    assert_eq!(healthcheck(&weir), Some(0));
}
