//! `weir demo` as it is started and used: the page, its two limits, and one client however many
//! addresses it fires at.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

const PAGE: &str = include_str!("../../src/demo/page.html");

/// A demo on a port the kernel chose; it ends with the test.
struct Demo {
    child: Child,
    address: SocketAddr,
    greeting: String,
}

impl Demo {
    fn start() -> Self {
        Self::start_on("127.0.0.1:0")
    }

    fn start_on(address: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let command = command.args(["demo", "--listen", address]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary of this package");
        let mut greeting = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        while !greeting.contains("Or see it") {
            assert!(output.read_line(&mut greeting).expect("a greeting") > 0, "{greeting}");
        }
        let address = greeting
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split(',').next())
            .expect("an address");
        let address = address.parse().expect("an address");
        Self { child, address, greeting }
    }

    /// Sends requests one behind the other over one connection; all that comes back.
    fn ask(&self, requests: &[(&str, &str)]) -> String {
        ask(self.address, requests)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().expect("a process of this test");
        self.child.wait().expect("a process of this test");
    }
}

fn ask(address: SocketAddr, requests: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (index, (path, accept)) in requests.iter().enumerate() {
        let close = if index + 1 == requests.len() { "connection: close\r\n" } else { "" };
        text.push_str(&format!(
            "GET {path} HTTP/1.1\r\nhost: demo\r\naccept: {accept}\r\n{close}\r\n"
        ));
    }
    let mut stream = TcpStream::connect(address).expect("the demo listens");
    stream.write_all(text.as_bytes()).expect("a request is taken");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answers, then the end");
    answers
}

fn statuses(answers: &str) -> Vec<&str> {
    let codes =
        answers.match_indices("HTTP/1.1 ").map(|(at, version)| &answers[at + version.len()..][..3]);
    codes.filter(|code| code.parse::<u16>().is_ok()).collect()
}

#[test]
fn demo_page_is_never_limited() {
    let answers = Demo::start().ask(&[("/demo", "text/html"); 60]);
    assert_eq!(statuses(&answers), ["200"; 60]);
    assert_eq!(answers.matches("text/html; charset=utf-8").count(), 60);
    assert_eq!(answers.matches(PAGE).count(), 60);
}

#[test]
fn demo_redirects_browsers_to_the_page_and_not_scripts() {
    let demo = Demo::start();
    let browser = demo.ask(&[("/", "text/html,application/xhtml+xml,*/*;q=0.8")]);
    assert_eq!((statuses(&browser), browser.contains("location: /demo\r\n")), (vec!["302"], true));
    let script = demo.ask(&[("/", "*/*")]);
    assert_eq!(
        (statuses(&script), script.contains("reached the sample upstream")),
        (vec!["200"], true)
    );
}

#[test]
fn strict_lets_one_through_and_tells_the_next_when_to_come_back() {
    let answers =
        Demo::start().ask(&[("/strict/1", "*/*"), ("/strict/2", "application/problem+json")]);
    assert_eq!(statuses(&answers), ["200", "503"]);
    assert!(answers.contains("retry-after: 1\r\n"), "{answers}");
    assert!(answers.contains("\"retry_after_ms\":"), "{answers}");
}

#[test]
#[cfg(target_os = "linux")]
fn whatever_address_the_page_fires_at_it_is_one_client() {
    let demo = Demo::start();
    let beside = (2..=7).map(|last| SocketAddr::from(([127, 0, 0, last], demo.address.port())));
    // The port may be in use on one of them by a client of another test, hardly on all.
    let open: Vec<SocketAddr> =
        beside.filter(|address| TcpStream::connect(address).is_ok()).collect();
    assert!(!open.is_empty());
    assert_eq!(statuses(&demo.ask(&[("/strict", "*/*")])), ["200"]);
    for address in open {
        assert_eq!(statuses(&ask(address, &[("/strict", "*/*")])), ["503"], "{address}");
    }
}

#[test]
fn demo_page_is_self_contained() {
    let own = ["http://127.0.0.", "http://${host}", "http://www.w3.org/2000/svg'"];
    let foreign = PAGE.match_indices("//").filter(|(at, _)| {
        let from = PAGE[..*at].rfind([' ', '"', '\'', '`', '(']).map_or(0, |before| before + 1);
        PAGE[from..*at].ends_with(':') && !own.iter().any(|own| PAGE[from..].starts_with(own))
    });
    assert_eq!(foreign.map(|(at, _)| &PAGE[at..at + 30]).collect::<Vec<_>>(), [""; 0]);
    assert!(!PAGE.contains("@import") && !PAGE.contains("url("));
    assert!(PAGE.len() < 40 * 1024, "{} bytes", PAGE.len());
}

#[test]
fn demo_page_explains_configured_limits() {
    let config = include_str!("../../config/demo.yaml");
    for words in [
        "one: { key: client_ip, rate: 1r/s }",
        "mylimit: { key: client_ip, rate: 10r/s }",
        "limits: [ { zone: one } ]",
        "limits: [ { zone: mylimit, burst: 20 } ]",
        "limit_req zone=one;",
        "limit_req zone=mylimit burst=20;",
    ] {
        assert!(config.contains(words) && PAGE.contains(words), "{words}");
    }
}

/// Both snippets of the page are configurations, and the nginx ones begin with a zone.
#[test]
fn page_snippets_are_configurations() {
    let snippets: Vec<_> =
        PAGE.split("weir: 'listeners").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
    assert_eq!(snippets.len(), 2);
    for snippet in snippets {
        let text = format!("listeners{}", snippet.replace("\\n", "\n"));
        let loaded = weir::config::parse("page.yaml", &text, &[])
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert!(loaded.warnings.is_empty() || text.contains("/strict"), "{}", loaded.warnings);
    }
}

/// The greeting's last command names this program as it was started.
#[test]
fn greeting_names_the_program_as_it_was_started() {
    let demo = Demo::start();
    let path = env!("CARGO_BIN_EXE_weir");
    let line =
        demo.greeting.lines().find(|line| line.contains(" bench burst ")).expect("a line to try");
    assert!(line.trim_start().starts_with(&format!("{path} bench burst http://")), "{line}");
    assert!(
        demo.greeting.contains("curl -Z --no-progress-meter --parallel-immediate"),
        "{}",
        demo.greeting
    );
}

/// An earlier burst leaves a debt: the printed line waits until the limit has recovered.
#[test]
fn greeting_burst_keeps_the_limit_behind_another_one() {
    let demo = Demo::start();
    let line = demo.greeting.lines().find(|line| line.contains(" bench burst ")).expect("a line");
    for _ in 0..2 {
        let fired = Command::new("sh").args(["-c", line]).output().expect("a shell");
        let text = String::from_utf8_lossy(&fired.stdout);
        assert!(fired.status.success() && text.contains("20"), "{fired:?}");
    }
}

/// A link to 0.0.0.0 opens in no browser of another system.
#[test]
fn greeting_names_an_address_to_type() {
    let demo = Demo::start_on(":0");
    assert!(demo.greeting.contains("http://127.0.0.1:"), "{}", demo.greeting);
    assert!(!demo.greeting.contains("0.0.0.0"), "{}", demo.greeting);
}

/// As a listener `:8080` of a file does.
#[test]
fn demo_on_a_port_alone_listens_on_both_families() {
    let port = Demo::start_on(":0").address.port();
    let demo = Demo::start_on(&format!(":{port}"));
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        std::net::TcpStream::connect(&address).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
    assert!(demo.greeting.contains(&format!("http://127.0.0.1:{port}")), "{}", demo.greeting);
}

#[test]
fn listen_takes_the_addresses_that_listeners_take() {
    use clap::Parser as _;
    let parses = |address: &str| {
        weir::cli::Cli::try_parse_from(["weir", "demo", "--listen", address]).is_ok()
    };
    assert_eq!(
        [":8080", "127.0.0.1:0", "[::1]:8080", "8080", "example.com:80"].map(parses),
        [true, true, true, false, false]
    );
}

/// A proxy names the user there; a client may, since nothing is before it.
#[test]
fn sample_alone_shows_the_user_and_ends_with_a_signal() {
    let command = &mut Command::new(env!("CARGO_BIN_EXE_weir"));
    let command = command.args(["demo", "--sample", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary of this package");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("a line");
    let address = line.trim_end().rsplit("http://").next().expect("an address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request =
        "GET /whoami HTTP/1.1\r\nhost: a\r\nremote-user: ada\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("a request is taken");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response, then the end");
    assert!(response.ends_with("\r\n\r\nremote-user: ada\nremote-roles: -\n"), "{response}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a process");
    assert!(child.wait().expect("a process of this test").success());
}
