//! Commands that print and end.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::{Output, Stdio},
};

use crate::{
    http1::get,
    process::{Weir, output, peak_memory, weir, written},
    upstream::noting,
};

const CONFIG: &str =
    "listeners: [ \"127.0.0.1:0\" ]\nroutes: [ { path: /, upstream: \"http://127.0.0.1:9\" } ]\n";

fn printing(folder: &tempfile::TempDir) -> Vec<(Vec<String>, &'static str)> {
    let config = written(folder, CONFIG);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        (words("completions bash"), "_weir()"),
        (words("completions zsh"), "#compdef weir"),
        (words("completions fish"), "complete -c weir"),
        (words("man"), ".TH weir"),
        (words("version"), concat!("weir ", env!("CARGO_PKG_VERSION"), "\n")),
        (words("--version"), concat!("weir ", env!("CARGO_PKG_VERSION"), "\n")),
        (words("config schema"), "\"$schema\""),
        (vec!["config".into(), "show".into(), "-c".into(), config.clone()], "127.0.0.1:0"),
        (vec!["check".into(), "-c".into(), config], "is valid\n"),
    ]
}

#[test]
fn cli_output_goes_to_standard_output() {
    let folder = tempfile::tempdir().expect("a folder");
    for (args, expected) in printing(&folder) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let Output { status, stdout, stderr } = output(&args);
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(
            status.success() && stdout.contains(expected),
            "{args:?}: {status}\n{stdout}\n{stderr}"
        );
        assert_eq!(stderr, "", "{args:?}");
    }
}

#[test]
fn cli_closed_pipe_is_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    for (args, _) in printing(&folder) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut child = weir(&args).stdout(Stdio::from(writer)).spawn().expect("a process");
        let mut stderr = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
        let status = child.wait().expect("a child");
        assert!(status.success() && stderr.is_empty(), "{args:?}: {status}: {stderr}");
    }
}

#[test]
fn full_standard_output_is_named() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut child =
        weir(&["config", "schema"]).stdout(Stdio::from(full)).spawn().expect("a process");
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert_eq!(child.wait().expect("a child").code(), Some(1));
    assert!(
        stderr.starts_with("error: cannot write to standard output: No space left"),
        "{stderr}"
    );
}

/// In a container the user is often another than the file's owner.
#[test]
fn unreadable_file_names_the_user() {
    use std::os::unix::fs::PermissionsExt;
    let Some((mut command, folder)) = crate::process::as_nobody() else { return };
    let path = folder.path().join("weir.yaml");
    std::fs::write(&path, CONFIG).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("a file");
    let output = command.args(["check", "-c"]).arg(&path).output().expect("a process");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("Permission denied") && told.contains("the user with the id "), "{told}");
}

#[test]
fn proxy_command_needs_no_file() {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let to = format!("http://{upstream}");
    let args = [
        "proxy",
        "--from",
        "127.0.0.1:0",
        "--to",
        &to,
        "--rate",
        "1r/d",
        "--burst",
        "1",
        "--nodelay",
    ];
    let weir = Weir::start(&mut weir(&args), folder);
    assert_eq!([(); 3].map(|()| get(weir.address, "/").status), [200, 200, 503]);
}

#[test]
fn healthcheck_creates_no_zones() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (folder, address) =
        (tempfile::tempdir().expect("a folder"), server.local_addr().expect("an address"));
    let zones = "zones: { z: { key: client_ip, rate: 10r/s, capacity: 100M } }\n";
    let route = "{ path: /, upstream: \"http://127.0.0.1:9\", limits: [ { zone: z, burst: 20 } ] }";
    let config =
        written(&folder, &format!("listeners: [ \"{address}\" ]\n{zones}routes: [ {route} ]\n"));
    let mut child = weir(&["healthcheck", "-c", &config]).spawn().expect("a process");
    let (mut asking, _) = server.accept().expect("a connection");
    let peak = peak_memory(child.id()); // all is done but to hear the answer
    asking.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("an open socket");
    assert_eq!(child.wait().expect("a child").code(), Some(0));
    assert!(peak < 64 << 20, "{peak} bytes, and the zones would take 5 GB");
}

#[test]
fn healthcheck_detects_whether_proxy_serves() {
    let (upstream, log) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let routes = format!("routes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n");
    let weir = Weir::run(&routes);
    let address = weir.address;
    let config = written(&folder, &format!("listeners: [ \"{address}\" ]\n{routes}"));
    assert_eq!(output(&["healthcheck", "-c", &config]).status.code(), Some(0));
    assert!(log.lock().expect("no panic").is_empty());
    drop(weir);
    let Output { status, stderr, .. } = output(&["healthcheck", "-c", &config]);
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("`{address}` is not healthy")), "{stderr}");
}
