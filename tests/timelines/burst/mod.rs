//! `weir bench burst` over real sockets: servers whose limit is known, a real nginx, and servers
//! that are wrong by one request.

mod engine;
mod nginx;

use std::{net::SocketAddr, rc::Rc, time::Duration};

use weir::tools::burst::{
    Breach, BurstPlan, BurstTarget, Counts, Limit, Report, RequestTemplate, View, fire,
};
use weir_test::worked_tables::{self, WorkedTable};

/// Reads `10r/s burst 20 nodelay` and `10r/s burst 20 delay 8`.
fn limit(text: &str) -> Limit {
    let words: Vec<&str> = text.split(' ').collect();
    let number = |at: usize| words[at].parse().expect("a number");
    let delay = match words.get(3) {
        None => 0,
        Some(&"nodelay") => number(2),
        Some(_) => number(4),
    };
    Limit::new(words[0].parse().expect("a rate"), number(2), delay).expect("a limit")
}

/// Fires `schedule` at a server and judges it by `limit`, if there is one.
async fn burst(server: SocketAddr, schedule: &str, by: Option<&str>) -> Report {
    burst_by(server, schedule, by, 1, None).await
}

async fn burst_by(
    server: SocketAddr,
    send: &str,
    by: Option<&str>,
    clients: u32,
    connections: Option<usize>,
) -> Report {
    let target: BurstTarget = server.to_string().parse().expect("a target");
    let order = RequestTemplate::new(&target, &http::Method::GET, &[]).expect("an order");
    let schedule = send.parse().expect("a schedule");
    let plan = BurstPlan {
        target,
        order,
        schedule,
        clients,
        connections,
        timeout: Duration::from_secs(20),
    };
    let trace = fire(&plan, &Rc::default()).await.expect("a server that listens");
    let view = View { reject_status: 503, limit: by.map(limit), tolerance_us: 25_000 };
    Report::new(&server.to_string(), send, clients, view, trace)
}

/// Nothing broken, and exactly these counts, by the responses and by the engine.
fn holds(report: &Report, pass: usize, wait: usize, reject: usize) {
    let counts = Counts { pass, wait, reject, failed: 0 };
    assert_eq!(report.broken(), [""; 0], "{:?}", report.judgement.lateness);
    assert_eq!((report.counts(), report.judgement.expected), (counts, Some(counts)));
}

fn breaks(report: &Report, kind: fn(&Breach) -> bool) {
    assert!(report.judgement.breaches.iter().any(kind), "{:?}", report.judgement.breaches);
}

/// The burst of a table, at a server that keeps its one limit.
async fn holds_table(server: SocketAddr, table: &WorkedTable) {
    let report = burst(server, &table.schedule(), Some(&table.rules[0].bench())).await;
    let (pass, wait, reject) = table.counts();
    holds(&report, pass, wait, reject);
}

/// The same at the engine.
async fn engine_holds(table: &WorkedTable) {
    holds_table(engine::serve(&table.rules[0].bench()), table).await;
}

#[tokio::test]
async fn table_a_one_a_second() {
    engine_holds(&worked_tables::A_ON_REAL_CLOCK).await;
}

#[tokio::test]
async fn table_b_one_passes_twenty_wait_nine_are_rejected() {
    engine_holds(&worked_tables::B).await;
}

#[tokio::test]
async fn table_b_nodelay() {
    engine_holds(&worked_tables::B_NODELAY).await;
}

#[tokio::test]
async fn table_b_delay_8() {
    engine_holds(&worked_tables::B_DELAY_8).await;
}

#[tokio::test]
async fn table_c() {
    engine_holds(&worked_tables::C).await;
}

#[tokio::test]
async fn table_d() {
    engine_holds(&worked_tables::D).await;
}

#[tokio::test]
async fn burst_trains_with_pause_keep_the_envelope() {
    // No request comes within 40 ms of the instant a place becomes free: a busy machine changes
    // nothing.
    let server = engine::serve("5r/s burst 2 delay 1");
    let report =
        burst(server, "12 every 10ms, pause 430ms, 3 every 10ms", Some("5r/s burst 2 delay 1"))
            .await;
    holds(&report, 3, 2, 10);
}

#[tokio::test]
async fn every_client_has_its_own_bucket() {
    let server = engine::serve("10r/s burst 3 nodelay");
    let report = burst_by(server, "6", Some("10r/s burst 3 nodelay"), 20, None).await;
    holds(&report, 80, 0, 40);
}

#[tokio::test]
async fn few_connections_carry_many_requests_later() {
    let server = engine::serve("100r/s burst 50");
    let report = burst_by(server, "12", Some("100r/s burst 50"), 1, Some(3)).await;
    assert_eq!(report.counts().forwarded(), 12);
    assert_eq!(report.broken(), [""; 0]);
    assert!(report.worst_send_us() >= 80_000, "four rounds of three: {}", report.worst_send_us());
}

#[tokio::test]
async fn one_too_many_is_caught() {
    let report = burst(engine::serve("20r/s burst 4"), "8", Some("20r/s burst 3")).await;
    breaks(&report, |breach| matches!(breach, Breach::TooMany { .. }));
}

#[tokio::test]
async fn one_rejected_while_there_is_a_place_is_caught() {
    let report = burst(engine::serve("20r/s burst 2"), "8", Some("20r/s burst 3")).await;
    breaks(&report, |breach| matches!(breach, Breach::NeedlessReject { .. }));
}

#[tokio::test]
async fn one_released_early_is_caught() {
    let report = burst(engine::serve("20r/s burst 3 delay 1"), "8", Some("20r/s burst 3")).await;
    breaks(&report, |breach| matches!(breach, Breach::Early { .. }));
}

mod command {
    //! The exit code and what is said on the way.

    use std::process::{Command, Output};

    use super::engine;

    fn weir(server: &str, arguments: &str) -> Output {
        let url = format!("http://{server}/");
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(["bench", "burst", &url])
            .args(arguments.split('|').filter(|argument| !argument.is_empty()));
        command.output().expect("the weir command")
    }

    fn code_and_errors(output: &Output) -> (Option<i32>, String) {
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    const JUDGED: &str = "--send|8|--rate|20r/s|--burst|3|--tolerance|25ms";

    #[test]
    fn bench_server_that_keeps_its_limit_exits_0() {
        let server = engine::serve("20r/s burst 3").to_string();
        let output =
            weir(&server, &format!("{JUDGED}|--expect|pass=1 wait=3 reject=4|--expect-status|503"));
        assert_eq!(code_and_errors(&output), (Some(0), String::new()));
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(
            text.is_ascii() && text.contains("seen       pass 1  wait 3  reject 4\n"),
            "{text}"
        );
    }

    #[test]
    fn reader_that_leaves_is_no_failure() {
        let url = format!("http://{}/", engine::serve("20r/s burst 3"));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let output = command
            .args(["bench", "burst", &url, "--send", "1"])
            .stdout(writer)
            .output()
            .expect("the weir command");
        assert_eq!(code_and_errors(&output), (Some(0), String::new()));
    }

    #[test]
    fn bench_limit_wrong_by_one_exits_10_and_is_named() {
        for (kept, says) in [
            ("20r/s burst 4", "forwarded over the limit"),
            ("20r/s burst 3 delay 1", "released before the slot"),
            ("20r/s burst 2", "rejected with room left"),
        ] {
            let (code, errors) = code_and_errors(&weir(&engine::serve(kept).to_string(), JUDGED));
            assert_eq!(code, Some(10), "{errors}");
            assert!(errors.starts_with("broken: ") && errors.contains(says), "{errors}");
        }
    }

    #[test]
    fn bench_broken_expectation_exits_10_and_shows_both_numbers() {
        let server = engine::serve("1r/m burst 1 nodelay").to_string();
        let (code, errors) =
            code_and_errors(&weir(&server, "--send|4|--expect|reject=3|--expect-status|429"));
        assert_eq!(code, Some(10));
        assert_eq!(
            errors,
            "broken: expected reject=3, saw reject=0\nbroken: expected every refusal to be 429, saw 503 2x\n\
             hint: `--reject-status 503` counts responses of 503 as rejects\n"
        );
    }

    #[test]
    fn bench_no_server_exits_1_and_names_address() {
        // Bound and not listening: nobody else can get the port.
        let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        held.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address").into())
            .expect("a port");
        let gone =
            held.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let (code, errors) = code_and_errors(&weir(&gone.to_string(), ""));
        assert_eq!(code, Some(1));
        assert!(
            errors.starts_with(&format!("error: cannot connect to `{gone}`: Connection refused")),
            "{errors}"
        );
    }

    #[test]
    fn nonsense_is_2() {
        for arguments in
            ["--send|soon", "--burst|3", "--expect|all", "--clients|0", "--header|x", "--rate|10"]
        {
            let (code, errors) = code_and_errors(&weir("127.0.0.1:1", arguments));
            assert_eq!(code, Some(2), "{arguments}: {errors}");
        }
    }

    #[test]
    fn bench_output_file_gets_picture_and_stdout_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("burst.svg");
        let server = engine::serve("20r/s burst 3").to_string();
        let output = weir(&server, &format!("{JUDGED}|-o|svg|--out|{}", path.display()));
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.starts_with(b"http://"));
        assert!(std::fs::read_to_string(path).expect("a picture").starts_with("<svg "));
    }
}
