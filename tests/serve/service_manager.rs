//! States of the process as a service manager gets them (`sd_notify`).

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    http1::{PATIENCE, get},
    process::{self, Weir},
};

const CONFIG: &str =
    "listeners: [ '127.0.0.1:0' ]\nroutes: [ { path: /, respond: { status: 200 } } ]\n";

/// weir with a service manager at this address.
fn started(address: &str) -> Weir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = process::written(&folder, CONFIG);
    let mut command = process::weir(&["run", "-c", &path]);
    Weir::start(command.env("NOTIFY_SOCKET", address), folder)
}

fn manager(folder: &TempDir) -> (UnixDatagram, String) {
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    (socket, path.display().to_string())
}

/// The next message.
fn told(manager: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let length = manager.recv(&mut message).expect("a message");
    String::from_utf8_lossy(&message[..length]).into_owned()
}

#[test]
fn service_manager_is_told_of_start_reload_and_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let (manager, path) = manager(&folder);
    let mut weir = started(&path);
    assert_eq!(told(&manager), "READY=1");
    assert_eq!(get(weir.address, "/").status, 200);
    for config in [CONFIG, "routes: [ wrong"] {
        weir.rewrite(config);
        weir.signal(Signal::HUP);
        let reloading = told(&manager);
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a reload");
        assert!(time.parse::<u64>().is_ok_and(|time| time > 0), "{time}");
        assert_eq!(told(&manager), "READY=1", "also where the file is wrong");
    }
    weir.signal(Signal::TERM);
    assert_eq!(told(&manager), "STOPPING=1");
    assert!(weir.ended().success());
}

#[test]
fn service_manager_is_told_of_the_process_that_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    let (manager, path) = manager(&folder);
    let weir = started(&path);
    assert_eq!(told(&manager), "READY=1");
    weir.signal(Signal::USR2);
    weir.is_handed_over();
    let mut messages = [told(&manager), told(&manager)];
    messages.sort();
    let following = format!("MAINPID={}\nREADY=1", weir.pid().as_raw_nonzero());
    assert_eq!(messages, [following, "READY=1".to_owned()]);
}

#[test]
fn service_manager_may_have_an_abstract_name() {
    let name = format!("weir-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let _weir = started(&format!("@{name}"));
    assert_eq!(told(&manager), "READY=1");
}

/// One that is gone, or reads nothing, is no reason to wait.
#[test]
fn service_manager_that_is_gone_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (silent, path) = manager(&folder);
    drop(silent);
    assert!(Path::new(&path).exists());
    let mut weir = started(&path);
    assert_eq!(get(weir.address, "/").status, 200);
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
}
