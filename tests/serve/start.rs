//! Starts that must fail, and say why.

use std::net::{SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::process::{Weir, output, written};

const ROUTES: &str = "routes: [ { path: /, upstream: \"http://127.0.0.1:9\" } ]\n";

/// Tries to listen on a taken address, and must be told which.
fn cannot_bind(address: SocketAddr) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = written(&folder, &format!("listeners: [ \"{address}\" ]\n{ROUTES}"));
    let output = output(&["run", "-c", &config]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains(&format!("error: cannot listen on `{address}`")), "{stderr}");
    assert!(stderr.contains("hint: another program listens there"), "{stderr}");
}

#[test]
fn listener_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    cannot_bind(taken.local_addr().expect("an address"));
}

#[test]
fn listener_port_of_another_weir_is_in_use() {
    let other = Weir::run(ROUTES);
    cannot_bind(other.address);
    assert!(TcpStream::connect(other.address).is_ok());
}

#[test]
fn start_with_wrong_configuration_reports_all_and_listens_nowhere() {
    let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    reserved.set_reuse_address(true).expect("a socket");
    reserved.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let address = reserved.local_addr().expect("an address").as_socket().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let config = written(
        &folder,
        &format!(
            "listeners: [ \"{address}\" ]\nzones: {{ z: {{ key: client_ip, rate: 10 }} }}\n\
             routes: [ {{ path: /, upstream: \"http://127.0.0.1:9\", limits: [ {{ zone: nil, bust: 3 }} ] }} ]\ndrain: soon\n"
        ),
    );
    let output = output(&["run", "-c", &config]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    for told in ["`10`", "`nil`", "`bust`", "`burst`", "`soon`", &config, "4 errors"] {
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    assert!(!stderr.contains("listening") && TcpStream::connect(address).is_err());
}

#[test]
fn config_missing_file_is_named() {
    let output = output(&["run", "-c", "/nowhere/weir.yaml"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("/nowhere/weir.yaml"), "{stderr}");
}

/// Standard error is a pipe here.
#[test]
fn start_warnings_are_json_lines_where_diagnostics_are() {
    let other = Weir::run(ROUTES);
    let (folder, address) = (tempfile::tempdir().expect("a folder"), other.address);
    let zones = "zones: { idle: { key: client_ip, rate: 1r/s } }\n";
    let config = written(&folder, &format!("listeners: [ \"{address}\" ]\n{zones}{ROUTES}"));
    let stderr = output(&["run", "-c", &config]).stderr;
    let lines = String::from_utf8_lossy(&stderr);
    let (json, text): (Vec<_>, Vec<_>) = lines.lines().partition(|line| line.starts_with('{'));
    assert!(text.len() == 1 && text[0].starts_with("error: cannot listen on"), "{lines}");
    let lines: Vec<serde_json::Value> =
        json.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of_warnings = |line: &&serde_json::Value| {
        line["fields"]["message"] == "configuration warning" && line["level"] == "WARN"
    };
    let warnings: Vec<_> = lines.iter().filter(of_warnings).map(|line| &line["fields"]).collect();
    assert_eq!(warnings.len(), 1, "{lines:?}");
    assert_eq!(warnings[0]["problem"], "the zone `idle` is not used");
    assert_eq!(warnings[0]["line"], 2);
}
