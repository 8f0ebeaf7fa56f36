//! Debts outlive the process, however it ends.

use std::{fs, net::SocketAddr, path::Path};

use rustix::process::Signal;

use crate::{
    http1::{PATIENCE, get},
    process::Weir,
    upstream::noting,
};

fn config(upstream: SocketAddr, state: &Path, interval: &str) -> String {
    format!(
        "zones: {{ all: {{ key: client_ip, rate: 1r/d }} }}\n\
         routes: [ {{ path: /, upstream: \"http://{upstream}\", limits: [ {{ zone: all, burst: 1, nodelay: true }} ] }} ]\n\
         state: {{ file: {}, interval: {interval} }}\n",
        state.display()
    )
}

fn asked(weir: &Weir, times: usize) -> Vec<u16> {
    (0..times).map(|_| get(weir.address, "/").status).collect()
}

#[test]
fn state_file_keeps_limits_over_restart() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("zones.bin");
    let config = config(upstream, &state, "1h");
    let mut weir = Weir::run(&config);
    assert_eq!(asked(&weir, 3), [200, 200, 503]);
    weir.signal(Signal::TERM);
    assert!(weir.ended().success());
    assert_eq!(asked(&Weir::run(&config), 1), [503]);
}

#[test]
fn and_after_a_kill_once_the_interval_has_passed() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("zones.bin");
    let config = config(upstream, &state, "10ms");
    let mut weir = Weir::run(&config);
    assert_eq!(asked(&weir, 3), [200, 200, 503]);
    // Two writes that began after the last response: the second one certainly holds it.
    for _ in 0..2 {
        let _ = fs::remove_file(&state);
        let deadline = std::time::Instant::now() + PATIENCE;
        while !state.exists() {
            assert!(std::time::Instant::now() < deadline, "nothing is written");
            std::thread::yield_now();
        }
    }
    weir.signal(Signal::KILL);
    assert!(!weir.ended().success());
    assert_eq!(asked(&Weir::run(&config), 1), [503]);
}

#[test]
fn state_file_damaged_or_unwritable_stops_nothing() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("zones.bin");
    fs::write(&state, "weirst02 and then nonsense that is long enough").expect("a file");
    let weir = Weir::run(&config(upstream, &state, "1h"));
    assert_eq!(asked(&weir, 3), [200, 200, 503]);
    let nowhere = folder.path().join("no/such/folder/zones.bin");
    let weir = Weir::run(&config(upstream, &nowhere, "10ms"));
    weir.says("cannot write state file");
    assert_eq!(asked(&weir, 3), [200, 200, 503]);
}

/// Not only when the first write is due, which is an hour later.
#[test]
fn state_that_cannot_be_written_is_told_at_the_start_and_with_a_reload() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("no/zones.bin");
    let unwritable = config(upstream, &nowhere, "1h");
    // It ends for its log.
    let start = format!(
        "listeners: [ \"127.0.0.1:0\" ]\n{unwritable}access_log: {{ to: /no/such/folder/access.log }}\n"
    );
    let run = crate::process::output(&["run", "-c", &crate::process::written(&folder, &start)]);
    assert!(String::from_utf8_lossy(&run.stderr).contains("cannot write state file"), "{run:?}");
    let weir = Weir::run(&config(upstream, &folder.path().join("zones.bin"), "1h"));
    weir.rewrite(&unwritable);
    weir.signal(Signal::HUP);
    assert!(weir.says("cannot write state file").contains("no/zones.bin"));
}
