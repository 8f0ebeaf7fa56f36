//! Listeners of both families of addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::{
    http1::{Client, get},
    process::{Weir, output, written},
    upstream::noting,
};

/// A port of both families, bound and not listened on, so that nobody else is given it.
struct Port {
    number: u16,
    _held: [Socket; 2],
}

/// None on a machine without IPv6.
fn free_port() -> Option<Port> {
    let bound = |ip: IpAddr, port: u16| -> io::Result<Socket> {
        let address = SocketAddr::new(ip, port);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if ip.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    };
    // One that is free in one family may be taken in the other.
    for _ in 0..100 {
        let ipv6 = bound(Ipv6Addr::UNSPECIFIED.into(), 0).ok()?;
        let number = ipv6.local_addr().ok()?.as_socket()?.port();
        if let Ok(ipv4) = bound(Ipv4Addr::UNSPECIFIED.into(), number) {
            return Some(Port { number, _held: [ipv6, ipv4] });
        }
    }
    panic!("no port is free in both families");
}

fn both(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

/// The statuses of a GET by IPv4 and by IPv6; none where nobody listens.
fn statuses(port: u16) -> [Option<u16>; 2] {
    let status =
        |address: SocketAddr| TcpStream::connect(address).ok().map(|_| get(address, "/").status);
    both(port).map(status)
}

fn listening(upstream: SocketAddr, listeners: &str) -> String {
    format!(
        "listeners: [ {listeners} ]\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\nworkers: 2\n"
    )
}

#[test]
fn listener_of_each_family_has_the_port_for_itself() {
    let Some(free) = free_port() else { return };
    let port = free.number;
    let (upstream, _) = noting();
    for pair in [
        format!("\"0.0.0.0:{port}\", \"[::]:{port}\""),
        format!("\"[::]:{port}\", \"0.0.0.0:{port}\""),
    ] {
        let weir = Weir::run(&listening(upstream, &pair));
        assert_eq!(statuses(port), [Some(200); 2], "{pair}");
        drop(weir);
    }
    let ipv6 = Weir::run(&listening(upstream, &format!("\"[::]:{port}\"")));
    assert_eq!(statuses(port), [None, Some(200)]);
    drop(ipv6);
    let _ipv4 = Weir::run(&listening(upstream, &format!("\"0.0.0.0:{port}\"")));
    assert_eq!(statuses(port), [Some(200), None]);
}

#[test]
fn listener_of_a_port_alone_is_of_both_families_and_counts_them_together() {
    let Some(free) = free_port() else { return };
    let port = free.number;
    let (upstream, _) = noting();
    let _weir =
        Weir::run(&listening(upstream, &format!("{{ address: \":{port}\", max_connections: 2 }}")));
    let mut open = both(port).map(Client::connect);
    assert!(open.iter_mut().all(|client| client.get("/").is_ok_and(|answer| answer.status == 200)));
    assert!(both(port).iter().all(|address| Client::connect(*address).get("/").is_err()));
}

#[test]
fn reload_goes_from_one_family_to_the_other_and_to_both() {
    let Some(free) = free_port() else { return };
    let port = free.number;
    let (upstream, _) = noting();
    let [ipv4, ipv6] = ["0.0.0.0", "[::]"].map(|ip| format!("\"{ip}:{port}\""));
    let weir = Weir::run(&listening(upstream, &ipv4));
    let (both, none) = (format!("\":{port}\""), format!("{ipv6}, {ipv4}"));
    for (listeners, expected) in [
        (&ipv6, [None, Some(200)]),
        (&ipv4, [Some(200), None]),
        (&both, [Some(200); 2]),
        (&ipv6, [None, Some(200)]),
        (&none, [Some(200); 2]),
        (&both, [Some(200); 2]),
        (&none, [Some(200); 2]),
    ] {
        weir.rewrite(&listening(upstream, listeners));
        weir.signal(Signal::HUP);
        weir.says("configuration reloaded");
        let deadline = std::time::Instant::now() + crate::http1::PATIENCE;
        // What a worker no longer listens on it closes in its next turn.
        while both_listen(port) != expected.map(|status| status.is_some()) {
            assert!(std::time::Instant::now() < deadline, "{listeners}");
            std::thread::yield_now();
        }
        assert_eq!(statuses(port), expected, "{listeners}");
    }
}

fn both_listen(port: u16) -> [bool; 2] {
    both(port).map(|address| TcpStream::connect(address).is_ok())
}

#[test]
fn check_warns_of_ipv6_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let warned = |listeners: &str| {
        let config = written(&folder, &listening(SocketAddr::from(([127, 0, 0, 1], 9)), listeners));
        let check = output(&["check", "-c", &config]);
        assert_eq!(check.status.code(), Some(0), "{check:?}");
        String::from_utf8_lossy(&check.stderr).contains("accepts IPv6 only")
    };
    assert!(
        warned("\"[::]:8080\"")
            && warned("{ address: \"[::]:8080\" }")
            && warned("\"[::]:8080\", \"0.0.0.0:80\"")
    );
    assert!(
        !warned("\"[::]:8080\", \"0.0.0.0:8080\"")
            && !warned("\":8080\"")
            && !warned("\"[::1]:8080\"")
    );
    let config = written(
        &folder,
        &listening(SocketAddr::from(([127, 0, 0, 1], 9)), "\":8080\", \"[::]:8080\""),
    );
    let check = output(&["check", "-c", &config]);
    assert!(String::from_utf8_lossy(&check.stderr).contains("duplicate listener"), "{check:?}");
}
