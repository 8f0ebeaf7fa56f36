//! One test per fixed bug, in the order the bugs were found, with the bytes that showed it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_test::{
    certificates::Authority,
    frames,
    harness::{self, config, on_edge, on_raw_edge, status},
    http1, http2_endpoint, process,
    recorder::{self, on_recorded, play, refused, replied},
};

/// A Content-Length beside a Transfer-Encoding was dropped without a word, and the request served.
#[tokio::test(start_paused = true)]
async fn r001_two_framings_were_one() {
    refused(&[b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"]).await;
}

/// A fragment was cut off the target, and the rest of it served.
#[tokio::test(start_paused = true)]
async fn r002_a_fragment_was_dropped() {
    refused(&[b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"]).await;
}

/// Lines could end with a bare LF.
#[tokio::test(start_paused = true)]
async fn r003_a_bare_lf_was_the_end_of_a_line() {
    refused(&[b"GET / HTTP/1.1\nhost: a\n\n"]).await;
}

/// Two equal lengths were taken for one.
#[tokio::test(start_paused = true)]
async fn r004_a_length_could_be_said_twice() {
    refused(&[b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi"])
        .await;
}

/// A percent sign in Host made a second spelling of a host, for which neither routes nor keys were
/// asked.
#[tokio::test(start_paused = true)]
async fn r005_a_host_had_a_second_spelling() {
    refused(&[b"GET / HTTP/1.1\r\nhost: %61\r\n\r\n"]).await;
}

/// A `header_limits.size` above 128 KiB was not honoured: the buffer was smaller.
#[tokio::test(start_paused = true)]
async fn r006_a_large_head_that_was_allowed_was_refused() {
    let mut config = config(&[]);
    config.header_limits.size = 512 * 1024;
    on_raw_edge(config, |edge, pipes| async move {
        drop(pipes);
        let mut client = edge.connect();
        let head = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {}\r\n\r\n",
            "y".repeat(400_000)
        );
        client.write_all(head.as_bytes()).await.expect("it is taken");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert_eq!(status(&answer), 502);
    })
    .await;
}

/// A client that stopped within its body was logged as one that sent a malformed request.
#[tokio::test(start_paused = true)]
async fn r007_a_client_that_left_was_told_to_be_malformed() {
    on_recorded(&[], |edge, _| async move {
        let mut client = edge.connect();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe")
            .await
            .expect("a pipe");
        client.shutdown().await.expect("a pipe");
        let line = edge.line().await;
        assert_eq!((&line["status"], &line["error"]["kind"]), (&499.into(), &"client_gone".into()));
    })
    .await;
}

/// A response of unknown length to HTTP/1.0 promised to keep a connection that only its end could
/// frame.
#[tokio::test(start_paused = true)]
async fn r008_keep_alive_was_promised_to_http_1_0() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let answer =
        replied("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n", chunked).await;
    assert!(answer.contains("connection: close\r\n") && !answer.contains("keep-alive"), "{answer}");
}

/// The version of an upstream's response was passed on as ours.
#[tokio::test(start_paused = true)]
async fn r009_the_version_was_the_upstreams() {
    let answer = replied(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "HTTP/1.0 204 No Content\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}

/// A head whose beginning came with the request before it had 75 seconds instead of 10.
#[tokio::test(start_paused = true)]
async fn r010_a_head_that_began_early_had_the_time_of_an_idle_connection() {
    on_edge(&[], |edge| async move {
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n").await;
        assert!((10_000..=10_500).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

/// A byte that is no text in X-Forwarded-For hid the whole line: the client was the proxy.
#[tokio::test(start_paused = true)]
async fn r011_a_byte_hid_the_client() {
    let mut trusting = config(&[]);
    trusting.client_ip.proxies =
        vec!["192.0.2.1".parse::<std::net::IpAddr>().expect("an address").into()];
    on_raw_edge(trusting, |edge, pipes| async move {
        drop(pipes);
        let mut client = edge.connect();
        let head = b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: caf\xe9, 198.51.100.7\r\n\r\n";
        client.write_all(head).await.expect("a pipe");
        assert_eq!(edge.line().await["client"], "198.51.100.7");
    })
    .await;
}

/// A parked client that closed its sending side got a status that is for the log
/// only.
#[tokio::test(start_paused = true)]
async fn r012_a_client_that_left_was_answered() {
    on_recorded(&["1r/s burst=1"], |edge, recorder| async move {
        play(&edge, &recorder, recorder::NEXT.as_bytes()).await;
        let mut client = edge.connect();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("a pipe");
        client.shutdown().await.expect("a pipe");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an end");
        assert_eq!(answer, "");
    })
    .await;
}

/// A target that was no text passed the framer, and was refused by who read it next (found by the
/// fuzz target `framing`).
#[tokio::test(start_paused = true)]
async fn r013_a_target_that_is_no_text_was_framed() {
    refused(&[
        b"GET /ne\x8bt HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /a\x7f HTTP/1.1\r\nhost: a\r\n\r\n",
    ])
    .await;
}

/// A hundred warnings filled the list of problems: the errors behind them were not counted, and the
/// file was taken for fine.
#[test]
fn r014_a_hundred_warnings_hid_an_error() {
    let networks = vec!["10.1.0.1/16"; 100].join(", ");
    let text = format!(
        "listeners: [ ':1' ]\nzones: {{ z: {{ key: client_ip, rate: 1r/s, exempt: [ {networks} ] }} }}\n\
         upstreams: {{ a_admin: {{ endpoints: [ 'a:1' ] }}, public: {{ endpoints: [ 'b:1' ] }} }}\n\
         routes: [ {{ path: /, upstream: publik, limits: [ {{ zone: z }} ] }} ]"
    );
    let problems =
        weir::config::parse("test.yaml", &text, &[]).expect_err("there is no upstream `publik`");
    assert!(problems.to_string().contains("there is no upstream `publik`"));
}

/// A client that weir cut off for a body that stopped coming was logged as one that had left.
#[tokio::test(start_paused = true)]
async fn r016_a_client_that_was_cut_was_told_as_one_that_left() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\nx")
            .await
            .expect("a pipe");
        client.read_to_end(&mut Vec::new()).await.expect("an end");
        let line = edge.line().await;
        assert_eq!(
            (&line["status"], &line["error"]["kind"]),
            (&408.into(), &"request_timeout".into())
        );
    })
    .await;
}

/// A sum of rejects named the client whose reject came first, whoever the others were.
#[test]
fn r017_a_sum_of_rejects_blamed_the_first_client() {
    use std::{net::IpAddr, time::Duration};
    use weir::log::sample::{RejectEvent, Sampler, Sampling};
    let (sampler, zone) = (Sampler::default(), "z".into());
    let sampling = Sampling { first: 1, every: Duration::from_secs(10) };
    for last in [1, 2, 2] {
        let client = IpAddr::from([192, 0, 2, last]);
        let _ = sampler.take(
            RejectEvent { zone: &zone, fingerprint: Some(1), reason: None, client },
            sampling,
            Duration::ZERO,
        );
    }
    let sums = sampler.sum_up_due(sampling.every, sampling.every);
    assert_eq!((sums[0].rejects, sums[0].client), (2, Some(IpAddr::from([192, 0, 2, 2]))));
}

/// A file of networks, a key or a certificate behind a byte order mark lost its first entry.
#[test]
fn r018_a_byte_order_mark_hid_a_certificate() {
    let path = std::path::Path::new("tests/certificates/bom.pem");
    assert_eq!(weir::runtime::pem::certificates(path).expect("a certificate").len(), 1);
}

/// A reject that closes the connection without a response was logged as a client that had left.
#[tokio::test(start_paused = true)]
async fn r019_444_was_logged_as_499() {
    let mut closing = config(&["1r/d"]);
    closing.routes[0].reject.status = 444;
    harness::on_edge_of(closing, |edge| async move {
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(
            (edge.line().await["status"].clone(), edge.line().await["status"].clone()),
            (200.into(), 444.into())
        );
    })
    .await;
}

/// A path that is written as a pattern was taken for a plain one: it matched nothing, and its limit
/// never applied.
#[test]
fn r015_a_pattern_was_taken_for_a_path() {
    let text =
        "listeners: [ ':1' ]\nroutes: [ { path: '/(login|reset)', upstream: 'http://a:1' } ]";
    assert!(weir::config::parse("test.yaml", text, &[]).is_err());
}

/// Another spelling of a path or of a host took another route, and passed the limit of its own.
#[tokio::test(start_paused = true)]
async fn r020_another_spelling_passed_the_limit() {
    let mut limited = config(&["1r/m"]);
    let everything = limited.routes[0].clone();
    limited.routes[0].patterns[0].path =
        weir::proxy::route::PathPattern::Prefix("/login".to_owned());
    limited.routes.push(weir::config::RouteConfig { limits: Vec::new(), ..everything });
    harness::on_edge_of(limited, |edge| async move {
        let ask =
            |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&edge.exchange(&ask("/login")).await), 200);
        for path in ["/%6cogin", "//login", "/./login", "/x/../login", "/login;x=1"] {
            assert_eq!(status(&edge.exchange(&ask(path)).await), 503, "{path}");
        }
    })
    .await;
}

/// A request that left one part of a key out was counted nowhere.
#[tokio::test(start_paused = true)]
async fn r021_a_part_left_out_made_exempt() {
    let mut limited = config(&["1r/m"]);
    limited.zones[0].key.parts.push("header:x-api-key".parse().expect("a part"));
    harness::on_edge_of(limited, |edge| async move {
        assert_eq!([std::rc::Rc::clone(&edge).get().await.0, edge.get().await.0], [200, 503]);
    })
    .await;
}

/// A comma at the end of X-Forwarded-For made the proxy the client.
#[tokio::test(start_paused = true)]
async fn r022_a_comma_hid_the_client() {
    let mut trusting = config(&[]);
    trusting.client_ip.proxies =
        vec!["192.0.2.1".parse::<std::net::IpAddr>().expect("an address").into()];
    harness::on_edge_of(trusting, |edge| async move {
        edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 198.51.100.6,\r\nconnection: close\r\n\r\n").await;
        assert_eq!(edge.line().await["client"], "198.51.100.6");
    })
    .await;
}

/// A reject for a missing part of a key told a time after which it would pass, and it never did.
#[tokio::test(start_paused = true)]
async fn r023_a_missing_part_had_a_time() {
    let mut limited = config(&["1r/m"]);
    limited.zones[0].key = weir::limit::Key {
        missing: weir::limit::Missing::Reject,
        ..weir::limit::Key::of(vec!["header:x-api-key".parse().expect("a part")])
    };
    harness::on_edge_of(limited, |edge| async move {
        let response =
            edge.exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(
            response.contains("the field x-api-key is missing") && !response.contains("retry"),
            "{response}"
        );
    })
    .await;
}

/// A method that is not allowed got a response without saying which are.
#[tokio::test(start_paused = true)]
async fn r024_405_had_no_allow() {
    let mut getting = config(&[]);
    getting.routes[0].patterns[0].methods = vec![http::Method::GET];
    harness::on_edge_of(getting, |edge| async move {
        let ask =
            |method: &str| format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert!(edge.exchange(&ask("PUT")).await.contains("\r\nallow: GET, HEAD\r\n"));
        assert_eq!(status(&edge.exchange(&ask("HEAD")).await), 200);
    })
    .await;
}

/// A body that was refused for its length spent the place of one that would have been taken.
#[tokio::test(start_paused = true)]
async fn r025_a_body_too_large_was_charged() {
    harness::on_edge_of(config(&["1r/m"]), |edge| async move {
        let large =
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 9000000\r\n\r\n";
        assert_eq!(status(&edge.exchange(large).await), 413);
        assert_eq!(edge.get().await.0, 200);
    })
    .await;
}

/// The line of a request that was refused before it was read had no method and no path.
#[tokio::test(start_paused = true)]
async fn r026_a_refused_request_had_no_path() {
    on_recorded(&[], |edge, _| async move {
        edge.exchange("GET /secret HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n").await;
        let line = edge.line().await;
        assert_eq!((&line["method"], &line["path"]), (&"GET".into(), &"/secret".into()));
    })
    .await;
}

/// A place taken off the tail when somebody left the middle: who parked, left just before the slot
/// and asked again got any number through at one instant.
#[tokio::test(start_paused = true)]
async fn r040_leaving_and_asking_again_broke_the_limit() {
    on_edge(&["10r/s burst=20"], |edge| async move {
        let ask = async |edge: &std::rc::Rc<harness::Edge>| {
            let mut client = edge.connect();
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("an open pipe");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            client
        };
        let mut parked = std::collections::VecDeque::new();
        drop(ask(&edge).await);
        for slot in 1..=60_u64 {
            while parked.len() < 20 {
                parked.push_back(ask(&edge).await);
            }
            tokio::time::sleep(std::time::Duration::from_millis(
                (slot * 100 - 1).saturating_sub(edge.now()),
            ))
            .await;
            drop(parked.pop_front());
        }
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        let forwarded = edge.forwarded();
        assert!(forwarded.windows(2).all(|pair| pair[1] - pair[0] >= 99), "{forwarded:?}");
    })
    .await;
}

/// After a restart with another key, a value that was never seen owed what the same text had spent
/// under the key before.
#[test]
fn r041_debts_of_one_key_were_those_of_another() {
    use weir::{
        limit::{Gate, Key, Millis, Rule, RuleSettings, Subject, Zone, ZoneSettings},
        process::state::SavedState,
    };
    let settings = |part: &str| {
        let (key, rate) =
            (Key::of(vec![part.parse().expect("a part")]), "1r/m".parse().expect("a rate"));
        ZoneSettings { name: "z".into(), key, rate, capacity: 10, exempt: Vec::new() }
    };
    let decide = |zone: &std::sync::Arc<Zone>, name: &'static str| {
        let rule = Rule::new(std::sync::Arc::clone(zone), RuleSettings::burst(0)).expect("a rule");
        let headers = http::HeaderMap::from_iter([(
            name.parse().expect("a name"),
            "k1".parse().expect("a value"),
        )]);
        let client = std::net::IpAddr::from([192, 0, 2, 1]);
        let subject = Subject::of(client, &http::Method::GET, &headers);
        Gate::new(vec![rule])
            .expect("one rule")
            .decide(&subject, Millis::ZERO)
            .verdict
            .decision
            .as_str()
    };
    let zone = std::sync::Arc::new(Zone::new(settings("header:x-user")));
    assert_eq!([decide(&zone, "x-user"), decide(&zone, "x-user")], ["pass", "reject"]);
    let wall = std::time::SystemTime::now();
    let restarted = |part| {
        SavedState::take(&[std::sync::Arc::clone(&zone)], Millis::ZERO, wall).revive(
            &[settings(part)],
            Millis::ZERO,
            wall,
        )
    };
    assert_eq!(decide(&restarted("header:x-api-key")[0], "x-api-key"), "pass");
    assert_eq!(decide(&restarted("header:x-user")[0], "x-user"), "reject");
}

/// `post` took the route below the one for POST, and passed its limit.
#[tokio::test(start_paused = true)]
async fn r027_a_method_in_lower_case_passed_the_limit() {
    let mut limited = config(&["1r/m"]);
    limited.routes[0].patterns[0].methods = vec![http::Method::POST];
    limited
        .routes
        .push(weir::config::RouteConfig { limits: Vec::new(), ..config(&[]).routes[0].clone() });
    harness::on_edge_of(limited, |edge| async move {
        let ask = |method: &str| {
            format!(
                "{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        };
        assert_eq!(status(&edge.exchange(&ask("POST")).await), 200);
        assert_eq!(status(&edge.exchange(&ask("post")).await), 503);
    })
    .await;
}

/// A field with an underscore was forwarded beside the key it looks like, and not counted.
#[tokio::test(start_paused = true)]
async fn r028_a_lookalike_of_the_key_was_not_counted() {
    let mut limited = config(&["1r/m"]);
    limited.zones[0].key = weir::limit::Key::of(vec!["header:x-api-key".parse().expect("a part")]);
    harness::on_edge_of(limited, |edge| async move {
        let ask = "GET / HTTP/1.1\r\nhost: a\r\nx_api_key: 1\r\nconnection: close\r\n\r\n";
        assert_eq!(status(&edge.exchange(ask).await), 400);
    })
    .await;
}

/// A cookie, or credentials, written in another way were another key.
#[tokio::test(start_paused = true)]
async fn r029_a_value_in_another_spelling_was_another_key() {
    for (part, first, second) in [
        ("cookie:sid", "cookie: sid=1", "cookie: sid =%31"),
        ("header:authorization", "authorization: Bearer x", "authorization: bearer  x"),
    ] {
        let mut limited = config(&["1r/m"]);
        limited.zones[0].key = weir::limit::Key::of(vec![part.parse().expect("a part")]);
        harness::on_edge_of(limited, |edge| async move {
            let ask = |field: &str| {
                format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\nconnection: close\r\n\r\n")
            };
            assert_eq!(status(&edge.exchange(&ask(first)).await), 200);
            assert_eq!(status(&edge.exchange(&ask(second)).await), 503, "{part}");
        })
        .await;
    }
}

/// A client that left behind a large upload was not noticed while its request was parked: it was
/// forwarded at its slot.
#[tokio::test]
async fn r042_a_client_that_left_behind_an_upload_stayed_in_the_line() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().expect("an address"))
        .await
        .expect("a connection");
    let (server, _) = listener.accept().await.expect("a connection");
    client.write_all(&[7; 100_000]).await.expect("room in the socket");
    drop(client);
    weir::downstream::client_conn::ClientConn::new(Box::new(server)).departed().await;
}

/// A number from the environment had to be quoted inside of brackets, and was refused because it
/// was quoted.
#[test]
fn r050_a_quoted_number_of_the_environment_was_refused() {
    let text = "listeners: [ ':1' ]\nzones: { z: { key: client_ip, rate: 1r/s } }\n\
                routes: [ { path: /, upstream: 'http://a:1', limits: [ { zone: z, burst: \"${UNSET_4711:-20}\" } ] } ]";
    let loaded =
        weir::config::parse("test.yaml", text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.config.routes[0].limits[0].settings.burst, 20);
}

/// A full disk cut a line in two, and the next whole line became part of it.
#[test]
fn r051_a_torn_line_spoiled_the_next() {
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use weir::log::writer;
    /// Takes three bytes, then fails once, then takes everything.
    struct Disk(Arc<Mutex<Vec<u8>>>, u32);
    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            let count = match self.1 {
                1 => 3,
                2 => return Err(io::ErrorKind::StorageFull.into()),
                _ => bytes.len(),
            };
            self.0.lock().expect("no panic").extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let written = Arc::default();
    let (lines, thread) =
        writer::start_on(Some(writer::Output::own(Disk(Arc::clone(&written), 0))), None)
            .expect("a thread");
    let queue = lines.access.clone().expect("an access log");
    queue.push(b"first\n".to_vec());
    queue.push(b"second\n".to_vec());
    drop((lines, queue));
    writer::Writer::finish_all(&[thread]);
    assert_eq!(String::from_utf8_lossy(&written.lock().expect("no panic")), "fir\nsecond\n");
}

/// What a configuration took from the environment was printed by `weir config show`.
#[test]
fn r052_a_secret_of_the_environment_was_shown() {
    let text = "listeners: [ ':1' ]\nroutes: [ { path: /, upstream: 'http://a:1', request: { headers: { set: { x-a: \"${PATH}\" } } } } ]";
    let loaded =
        weir::config::parse("test.yaml", text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(weir::config::show(&loaded).contains("${PATH}"));
}

/// Requests parked in one zone filled the queue for all: a short wait in another zone was a 503.
#[test]
fn r043_a_crowd_in_one_zone_shut_out_the_others() {
    use weir::limit::{Key, Part, Queue, Zone, ZoneSettings};
    let zone = |name: &str| {
        let (key, rate) = (Key::of(vec![Part::ClientIp]), "1r/s".parse().expect("a rate"));
        std::sync::Arc::new(Zone::new(ZoneSettings {
            name: name.into(),
            key,
            rate,
            capacity: 1,
            exempt: Vec::new(),
        }))
    };
    let (crowded, calm, queue) = (zone("a"), zone("b"), Queue::with_room(8, 2));
    let crowd: Vec<_> = std::iter::from_fn(|| queue.enter(&crowded)).collect();
    assert_eq!((crowd.len(), queue.enter(&calm).is_some()), (6, true));
}

/// Upstream without an endpoint: a request that is not refused before gets 502.
const NOWHERE: &str =
    "routes: [ { path: /, upstream: 'http://127.0.0.1:9' } ]\naccess_log: { to: none }\n";

fn told(weir: &process::Weir, config: &str) {
    weir.rewrite(config);
    weir.signal(rustix::process::Signal::HUP);
}

/// A reload that failed had changed the caps of connections before it did.
#[test]
fn r061_a_failed_reload_changed_caps() {
    let weir = process::Weir::run(NOWHERE);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let occupied = taken.local_addr().expect("an address");
    let capped = "{ address: '127.0.0.1:0', max_connections: 1 }";
    told(&weir, &format!("listeners: [ {capped}, '{occupied}' ]\n{NOWHERE}"));
    weir.says("cannot listen on");
    let mut open = [(); 3].map(|()| http1::Client::connect(weir.address));
    assert!(open.iter_mut().all(|client| client.get("/").is_ok_and(|answer| answer.status == 502)));
}

/// An authority that was withdrawn from the file of an upstream stayed trusted until a restart.
#[test]
fn r062_a_withdrawn_authority_stayed_trusted() {
    let (one, other) = (Authority::new(), Authority::new());
    let file = one.path("ca.pem");
    let mut upstreams = config(&[]).upstreams;
    upstreams[0].secure = Some(weir::upstream::settings::SecureSettings {
        client: None,
        fingerprints: Vec::new(),
        ca: Some(file.clone()),
        server_name: None,
    });
    let groups =
        |before: &[_]| weir::process::reload::groups(before, &upstreams).expect("authorities");
    let before = groups(&[]);
    assert!(std::sync::Arc::ptr_eq(&before[0], &groups(&before)[0]));
    std::fs::copy(other.path("ca.pem"), file).expect("a file");
    assert!(!std::sync::Arc::ptr_eq(&before[0], &groups(&before)[0]));
}

/// A process that served was unhealthy while its file was wrong.
#[test]
fn r063_a_wrong_file_made_a_healthy_process_unhealthy() {
    let weir = process::Weir::run(NOWHERE);
    weir.rewrite("drainn: 1s");
    assert_eq!(process::output(&["healthcheck", "-c", &weir.config()]).status.code(), Some(0));
}

/// While a file was waited for, neither TERM nor health got a response.
#[test]
fn r064_a_file_that_hangs_held_a_stop() {
    let mut weir = process::Weir::run(NOWHERE);
    let file = weir.config();
    std::fs::remove_file(&file).expect("a file");
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).expect("a pipe");
    weir.signal(rustix::process::Signal::HUP);
    assert_eq!(process::output(&["healthcheck", "-c", &file]).status.code(), Some(0));
    weir.signal(rustix::process::Signal::TERM);
    assert_eq!(weir.ended().code(), Some(0));
}

/// A request that the end of the process cut left no line.
#[test]
fn r065_a_request_that_was_cut_left_no_line() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let (log, upstream) =
        (folder.path().join("access.log"), silent.local_addr().expect("an address"));
    let mut weir = process::Weir::run(&format!(
        "routes: [ {{ path: /, upstream: 'http://{upstream}' }} ]\naccess_log: {{ to: {} }}\ndrain: 100ms\n",
        log.display()
    ));
    let mut client = http1::Client::connect(weir.address);
    client.send(b"GET /cut HTTP/1.1\r\nhost: a\r\n\r\n").expect("a connection");
    let _forwarded = silent.accept().expect("a connection");
    weir.signal(rustix::process::Signal::TERM);
    assert_eq!(weir.ended().code(), Some(0));
    let lines = std::fs::read_to_string(log).expect("a log");
    assert!(lines.contains("/cut") && lines.contains("destination_unavailable"), "{lines}");
}

/// Each of several listeners took all the connections that there are descriptors for.
#[test]
fn r066_every_listener_took_all_descriptors() {
    use weir::process::fd_limit::connections;
    assert!(4 * connections(Some(300), &[None; 4]) <= connections(Some(300), &[None]));
}

/// What a write that was cut short had left beside the state opened it to others.
#[test]
fn r067_a_leftover_opened_the_state_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, left) = (folder.path().join("zones.bin"), folder.path().join("zones.bin.new"));
    std::fs::write(&left, "half a state").expect("a file");
    std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o666)).expect("a file");
    weir::process::state::SavedState { taken_ms: 0, zones: Vec::new() }
        .save(&file)
        .expect("a file");
    assert_eq!(std::fs::metadata(file).expect("a file").permissions().mode() & 0o777, 0o600);
}

/// A deadline of many ticks, each a little late, came later and later.
#[tokio::test(start_paused = true)]
async fn r068_deadlines_drifted() {
    use std::time::Duration;
    let alarm = std::rc::Rc::new(weir::runtime::coarse_timer::CoarseTimer::default());
    let start = tokio::time::Instant::now();
    let late = async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::time::advance(Duration::from_millis(7)).await;
        }
    };
    tokio::select! {
        biased;
        _ = alarm.within(Duration::from_secs(20), std::future::pending::<()>()) => {}
        () = late => {}
        () = alarm.run() => {}
    }
    assert!(start.elapsed() < Duration::from_millis(20_220), "{:?}", start.elapsed());
}

/// A listener of IPv6 took the port of IPv4 as well, and the two could not stand side by side.
#[test]
fn r069_ipv6_took_the_port_of_ipv4() {
    use weir::downstream::listener::bind;
    let Ok(ipv6) = bind("[::]:0".parse().expect("an address"), 1) else { return };
    let port = ipv6[0].local_addr().expect("an address").port();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// `timeouts.first_byte` was twice as long for every request with a body.
#[tokio::test(start_paused = true)]
async fn r081_a_body_doubled_the_time_to_the_first_byte() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let request =
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
        let (answer, _pipe) = tokio::join!(edge.exchange(request), pipes.recv());
        assert_eq!(status(&answer), 504);
        assert!((30_000..30_500).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

/// Requests to an HTTP/2 endpoint that takes no connections waited one behind the other, a connect
/// time-out each.
#[tokio::test(start_paused = true)]
async fn r082_openings_stood_in_a_line() {
    let mut config = config(&[]);
    config.upstreams[0].protocol = weir::upstream::settings::Protocol::Http2;
    on_raw_edge(config, |edge, pipes| async move {
        drop(pipes);
        edge.world.silent.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(edge.burst(5).await, [(504, 2_000); 5]);
    })
    .await;
}

/// Each request that met a dead address spent the retry budget: with one address of three alive a
/// quarter were 502 for as long as it lasted.
#[tokio::test(start_paused = true)]
async fn r080_an_address_that_was_alive_was_not_asked() {
    harness::on_edge_of(harness::config_to(&["1", "2", "3"]), |edge| async move {
        edge.world.down_are(&[1, 2]);
        for _ in 0..100 {
            assert_eq!(std::rc::Rc::clone(&edge).get().await.0, 200);
        }
    })
    .await;
}

/// 426 lost the `Upgrade` that it must have, and 204 kept a length.
#[tokio::test(start_paused = true)]
async fn r083_a_response_had_a_field_too_few_or_too_many() {
    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let required = "HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n";
    let answer = replied(GET, required).await;
    assert!(answer.contains("upgrade: websocket\r\n"), "{answer}");
    let answer = replied(GET, "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && !answer.contains("content-length"), "{answer}");
}

/// A response whose chunk sizes are padded was cut, and of two `Trailer` lines the second was lost.
#[tokio::test(start_paused = true)]
async fn r084_a_padded_chunk_size_cut_the_response() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-a\r\ntrailer: x-b\r\n\r\n5   \r\nhello\r\n0 ;a=b\r\nx-a: 1\r\nx-b: 2\r\n\r\n";
    let answer = replied(
        "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close, te\r\n\r\n",
        chunked,
    )
    .await;
    assert!(
        answer.contains("hello") && answer.contains("x-a: 1\r\n") && answer.contains("x-b: 2\r\n"),
        "{answer}"
    );
}

/// What a URL parser, or a server that takes a backslash for a slash, reads as the limited path was
/// another path, without the limit.
#[tokio::test(start_paused = true)]
async fn r100_a_reading_of_url_parsers_passed_the_limit() {
    let mut limited = config(&["1r/m"]);
    let everything = limited.routes[0].clone();
    limited.routes[0].patterns[0].path =
        weir::proxy::route::PathPattern::Prefix("/api/login".to_owned());
    limited.routes.push(weir::config::RouteConfig { limits: Vec::new(), ..everything });
    harness::on_edge_of(limited, |edge| async move {
        for path in [
            "//x/api/login",
            "/api//../login",
            "/api/x%2fy/../login",
            "/api\\login",
            "/x%5c..%5capi%5clogin",
        ] {
            let ask = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            assert_eq!(status(&edge.exchange(&ask).await), 400, "{path}");
        }
    })
    .await;
}

/// A path as received ran what a limited route above the chosen one guards, and only the chosen
/// one, without a limit, was asked.
#[tokio::test(start_paused = true)]
async fn r101_the_limit_of_a_route_above_was_passed() {
    let mut limited = config(&["1r/m"]);
    let mut free = limited.routes[0].clone();
    free.patterns[0].path = weir::proxy::route::PathPattern::Prefix("/static".to_owned());
    free.limits.clear();
    limited.routes.push(free);
    harness::on_edge_of(limited, |edge| async move {
        let ask = "GET /search/../static/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        assert_eq!(status(&edge.exchange(ask).await), 400);
    })
    .await;
}

/// A dot before a host made another host of it, with another route.
#[tokio::test(start_paused = true)]
async fn r102_a_host_could_begin_with_a_dot() {
    refused(&[b"GET / HTTP/1.1\r\nhost: .a\r\n\r\n"]).await;
}

fn to_http2() -> weir::config::Config {
    let mut config = config(&[]);
    config.upstreams[0].protocol = weir::upstream::settings::Protocol::Http2;
    config
}

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";

/// A request that an HTTP/2 endpoint did not process, as its GOAWAY said, was 502.
#[tokio::test(start_paused = true)]
async fn r130_goaway_lost_a_request() {
    on_raw_edge(to_http2(), |edge, mut pipes| async move {
        let play = async {
            let mut first =
                http2_endpoint::Endpoint::accept(pipes.recv().await.expect("a connection"), &[])
                    .await;
            first.request().await.expect("a request");
            first.go_away(0, 0).await;
            let mut second =
                http2_endpoint::Endpoint::accept(pipes.recv().await.expect("another"), &[]).await;
            let (stream, body) = second.request().await.expect("a request");
            assert_eq!(body, b"hi");
            second.respond(stream).await;
        };
        assert_eq!(status(&tokio::join!(edge.exchange(POST), play).0), 200);
    })
    .await;
}

/// A quiet HTTP/2 endpoint was asked every 20 s whether it was there, and gRPC servers ended the
/// connection for it.
#[tokio::test(start_paused = true)]
async fn r131_a_quiet_endpoint_was_pinged() {
    on_raw_edge(to_http2(), |edge, mut pipes| async move {
        let play = async {
            let mut endpoint =
                http2_endpoint::Endpoint::accept(pipes.recv().await.expect("a connection"), &[])
                    .await;
            let (stream, _) = endpoint.request().await.expect("a request");
            let pinged =
                tokio::time::timeout(std::time::Duration::from_secs(25), endpoint.read()).await;
            assert!(pinged.is_err(), "{pinged:?}");
            endpoint.respond(stream).await;
        };
        assert_eq!(status(&tokio::join!(edge.exchange(POST), play).0), 200);
    })
    .await;
}

/// `keepalive.max_idle: 0` did nothing with `protocol: http2`.
#[tokio::test(start_paused = true)]
async fn r132_an_idle_http2_connection_was_kept() {
    let mut config = to_http2();
    config.upstreams[0].keepalive_max_idle = 0;
    on_raw_edge(config, |edge, mut pipes| async move {
        let play = async {
            let mut endpoint =
                http2_endpoint::Endpoint::accept(pipes.recv().await.expect("a connection"), &[])
                    .await;
            let (stream, _) = endpoint.request().await.expect("a request");
            endpoint.respond(stream).await;
            while endpoint.read().await.is_some() {}
        };
        assert_eq!(status(&tokio::join!(edge.exchange(POST), play).0), 200);
        assert!(edge.now() < 100, "{}", edge.now());
    })
    .await;
}

/// A request whose upstream was weir's own listener was multiplied until its fields were too large.
#[tokio::test(start_paused = true)]
async fn r133_a_loop_had_no_end() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let looping = std::rc::Rc::clone(&edge);
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                let (from, door) = (
                    std::net::SocketAddr::from(([10, 0, 0, 1], 1)),
                    std::sync::Arc::clone(&looping.door),
                );
                looping.worker.take(Box::new(pipe), from, door);
            }
        });
        assert_eq!(status(&edge.exchange(POST).await), 508);
    })
    .await;
}

/// A response with 101 fields was told to be no HTTP/1.1.
#[tokio::test(start_paused = true)]
async fn r134_a_response_with_many_fields_was_called_no_http() {
    let many = format!("HTTP/1.1 204 No Content\r\n{}\r\n", "a: b\r\n".repeat(101)).leak();
    let answer = replied(POST, many).await;
    assert!(status(&answer) == 502 && answer.contains("`response_limits.count`"), "{answer}");
}

/// A connection that one client had authenticated (NTLM) served the next client as the first.
#[tokio::test(start_paused = true)]
async fn r135_an_authenticated_connection_served_somebody_else() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let play = async {
            let mut kept = Vec::new();
            for _ in 0..2 {
                let mut pipe = pipes.recv().await.expect("a connection for each client");
                assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
                pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await
                    .expect("an open pipe");
                kept.push(pipe);
            }
        };
        let ask = async {
            for credentials in ["authorization: NTLM TlRMTQ==\r\n", ""] {
                let request =
                    format!("GET / HTTP/1.1\r\nhost: a\r\n{credentials}connection: close\r\n\r\n");
                assert_eq!(status(&edge.exchange(&request).await), 200);
            }
        };
        tokio::join!(ask, play);
    })
    .await;
}

/// Of an endpoint that closes behind each response and does not say so, a share of POST was 502 for
/// ever.
#[tokio::test(start_paused = true)]
async fn r136_an_endpoint_that_closes_behind_responses_lost_posts() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            while let Some(mut pipe) = pipes.recv().await {
                tokio::task::spawn_local(async move {
                    assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
                    pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await
                        .expect("an open pipe");
                    let _lost = pipe.read(&mut [0; 1024]).await;
                });
            }
        });
        let mut lost = 0;
        for _ in 0..100 {
            lost += u32::from(status(&edge.exchange(POST).await) != 200);
        }
        assert_eq!(lost, 3);
    })
    .await;
}

/// A fresh value in front of the one that the server used was a fresh bucket with each request.
#[tokio::test(start_paused = true)]
async fn r103_a_repeated_part_of_a_key_chose_the_bucket() {
    let mut limited = config(&["1r/m"]);
    limited.zones[0].key = weir::limit::Key::of(vec!["header:x-key".parse().expect("a part")]);
    harness::on_edge_of(limited, |edge| async move {
        for number in 0..3 {
            let ask = format!("GET / HTTP/1.1\r\nhost: a\r\nx-key: {number}\r\nx-key: k\r\nconnection: close\r\n\r\n");
            assert_eq!(status(&edge.exchange(&ask).await), 503);
        }
    })
    .await;
}

/// A client of HTTP/2 that granted room for every small response was cut as a flood.
#[tokio::test(start_paused = true)]
async fn r110_room_for_small_responses_was_a_flood() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(&frames::hello(&[])).await.expect("an open pipe");
        for stream in (1..6_000).step_by(2) {
            let room =
                |stream| frames::frame(frames::WINDOW_UPDATE, 0, stream, &2_u32.to_be_bytes());
            client
                .write_all(&[frames::get(stream), room(stream), room(0)].concat())
                .await
                .expect("an open pipe");
            let data = frames::until(&mut client, frames::DATA).await.expect("a response");
            assert_eq!(data.stream, stream);
        }
    })
    .await;
}

/// Requests that a client of HTTP/2 broke off at their deadlines, 200 over any time, closed its
/// connection.
#[tokio::test(start_paused = true)]
async fn r111_deadlines_added_up_to_abuse() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        // No request gets a response.
        let _pipes = pipes;
        let mut client = edge.connect();
        client.write_all(&frames::hello(&[])).await.expect("an open pipe");
        for stream in (1..1_000).step_by(2) {
            client.write_all(&frames::get(stream)).await.expect("an open pipe");
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            let reset = frames::frame(frames::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            client.write_all(&reset).await.expect("an open pipe");
        }
        client.write_all(&frames::frame(frames::PING, 0, 0, &[7; 8])).await.expect("an open pipe");
        let pong = loop {
            let frame = frames::read(&mut client).await.expect("an open connection");
            if frame.kind == frames::PING && frame.flags & frames::ACK != 0 {
                break frame;
            }
        };
        assert_eq!(pong.payload, [7; 8]);
    })
    .await;
}

/// A field that HTTP does not know ended the connection of an HTTP/2 client, and with it the
/// requests of others.
#[tokio::test(start_paused = true)]
async fn r113_a_malformed_field_ended_the_connection() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        let ask = |stream, field: &[u8]| {
            let block = [b"\x82\x86\x84\x01\x01a", field].concat();
            frames::frame(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, stream, &block)
        };
        client
            .write_all(&[frames::hello(&[]), ask(1, b"\x00\x01x\x01\x01"), ask(3, b"")].concat())
            .await
            .expect("an open pipe");
        // `:status` 400 and 200 of the static table.
        for (stream, status) in [(1, 0x8c), (3, 0x88)] {
            let head = frames::until(&mut client, frames::HEADERS).await.expect("a response");
            assert_eq!((head.stream, head.payload[0]), (stream, status));
        }
    })
    .await;
}

/// More than 16 KiB of fields were refused over HTTP/2, whatever was granted, and each crumb of a
/// cookie was a field.
#[tokio::test(start_paused = true)]
async fn r114_limits_of_heads_were_others_over_http2() {
    on_edge(&[], |edge| async move {
        let (mut client, crumb) = (edge.connect(), format!("c={}", "v".repeat(170)));
        let fields =
            frames::fields(&[&frames::GET[..], &[("cookie", crumb.as_str()); 150]].concat());
        let (first, rest) = fields.split_at(16_384);
        let head = frames::frame(frames::HEADERS, frames::END_STREAM, 1, first);
        let rest = frames::frame(frames::CONTINUATION, frames::END_HEADERS, 1, rest);
        client.write_all(&[frames::hello(&[]), head, rest].concat()).await.expect("an open pipe");
        assert_eq!(
            frames::until(&mut client, frames::HEADERS).await.expect("a response").payload[0],
            0x88
        );
    })
    .await;
}

/// The head of an HTTP/2 request had no time of its own.
#[tokio::test(start_paused = true)]
async fn r115_a_head_over_http2_could_take_any_time() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        let head =
            frames::frame(frames::HEADERS, frames::END_STREAM, 1, &frames::fields(&frames::GET));
        client.write_all(&[frames::hello(&[]), head].concat()).await.expect("an open pipe");
        client.read_to_end(&mut Vec::new()).await.expect("an end");
        assert!((10_000..=10_600).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

/// Heads that were read ahead counted as requests, so that the last of a pipeline got no response.
#[tokio::test(start_paused = true)]
async fn r112_heads_read_ahead_were_requests() {
    harness::on_door(
        config(&[]),
        weir::downstream::listener::ListenerPolicy { max_requests: 50, ..harness::open_door() },
        |edge| async move {
            let requests = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(50);
            assert_eq!(edge.exchange(&requests).await.matches("HTTP/1.1 200 OK\r\n").count(), 50);
        },
    )
    .await;
}

/// The connection of an upload that was refused was closed behind 64 KiB of it: a client that sends
/// all of it first met a reset, and lost the response.
#[tokio::test(start_paused = true)]
async fn r150_the_response_to_an_upload_that_is_too_large_was_lost() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4194304\r\n\r\n")
            .await
            .expect("an open pipe");
        client.write_all(&vec![b'x'; 4 << 20]).await.expect("an open pipe");
        let mut response = String::new();
        client.read_to_string(&mut response).await.expect("an end");
        assert_eq!(status(&response), 413);
    })
    .await;
}

/// A field's name that no parser behind the framer holds got a bare 431: no cause, no method and
/// path in its line.
#[tokio::test(start_paused = true)]
async fn r151_a_name_that_is_too_long_got_a_bare_response() {
    let mut large = config(&[]);
    large.header_limits.size = 1 << 20;
    harness::on_edge_of(large, |edge| async move {
        let response = edge
            .exchange(&format!("GET /p HTTP/1.1\r\nhost: a\r\n{}: y\r\n\r\n", "x".repeat(65_536)))
            .await;
        assert!(
            response.starts_with("HTTP/1.1 431 ")
                && response.contains("proxy-status: weir; error="),
            "{response}"
        );
        assert_eq!(edge.line().await["path"], "/p");
    })
    .await;
}

/// A client that only offered to change protocols was refused for its body.
#[tokio::test(start_paused = true)]
async fn r152_an_offer_beside_a_body_was_refused() {
    on_recorded(&[], |edge, recorder| async move {
        let request =
            b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: tcp\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(play(&edge, &recorder, request).await.1, ["POST / hi"]);
    })
    .await;
}

/// An absolute target with a query and no path was refused; the path is `/`.
#[tokio::test(start_paused = true)]
async fn r153_an_absolute_target_without_a_path_lost_its_request() {
    on_recorded(&[], |edge, recorder| async move {
        let request = b"GET http://a?x=1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        assert_eq!(play(&edge, &recorder, request).await.1, ["GET /?x=1 "]);
    })
    .await;
}

/// A request of HTTP/1.0 that names no host went out with an empty one, and not at all to an
/// upstream of HTTP/2.
#[tokio::test(start_paused = true)]
async fn r154_a_request_without_a_host_had_an_empty_one() {
    on_recorded(&[], |edge, recorder| async move {
        play(&edge, &recorder, b"GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(recorder.requests.borrow()[0].all("host"), ["10.0.0.1:80"]);
    })
    .await;
}

/// Strangers could say to which port, below which prefix and as which user they came; `Via` said
/// 1.1 whatever came.
#[tokio::test(start_paused = true)]
async fn r155_a_stranger_spoke_for_a_proxy() {
    on_recorded(&[], |edge, recorder| async move {
        let request =
            b"GET / HTTP/1.0\r\nhost: a\r\nx-forwarded-port: 1\r\nx-forwarded-user: root\r\ntrue-client-ip: ::1\r\n\r\n";
        play(&edge, &recorder, request).await;
        let request = recorder.requests.borrow()[0].clone();
        for name in ["x-forwarded-port", "x-forwarded-user", "true-client-ip"] {
            assert_eq!(request.all(name), [""; 0]);
        }
        assert_eq!(request.all("via"), ["1.0 weir"]);
    })
    .await;
}

/// A body in chunks stayed so, and applications of uWSGI read it as empty; it could not be sent
/// again.
#[tokio::test(start_paused = true)]
async fn r156_a_body_in_chunks_could_have_no_length() {
    let mut buffering = config(&[]);
    buffering.routes[0].buffer = 1024;
    harness::on_edge_of(buffering, |edge| async move {
        edge.exchange(
            "PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        )
        .await;
        let seen = edge.seen.borrow();
        assert_eq!(
            (seen[0].headers.get("transfer-encoding"), &seen[0].headers["content-length"]),
            (None, &"2".parse().expect("a value"))
        );
    })
    .await;
}

/// A SETTINGS or CONTINUATION frame without a payload was looked at with the next byte where a turn
/// ended with it: the client was cut.
#[tokio::test(start_paused = true)]
async fn r170_a_frame_without_a_payload_waited_for_the_next() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client.write_all(&frames::hello(&[])).await.expect("an open pipe");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let pings = frames::frame(frames::PING, frames::ACK, 0, &[0; 8]).repeat(7);
        let sent = [pings, frames::frame(frames::SETTINGS, frames::ACK, 0, &[])].concat();
        client.write_all(&sent).await.expect("an open pipe");
        tokio::time::sleep(std::time::Duration::from_secs(15)).await;
        client.write_all(&frames::get(1)).await.expect("an open pipe");
        assert!(frames::until(&mut client, frames::DATA).await.is_some());
    })
    .await;
}

/// A field's name of HTTP/2 could have a quotation mark, and had it in HTTP/1.1 too.
#[tokio::test(start_paused = true)]
async fn r171_a_quotation_mark_in_a_name_was_forwarded() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        let block = b"\x82\x86\x84\x01\x01a\x00\x03x\"y\x011";
        let request =
            frames::frame(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, 1, block);
        client.write_all(&[frames::hello(&[]), request].concat()).await.expect("an open pipe");
        let told = frames::until(&mut client, frames::HEADERS).await.expect("a response");
        // `:status 400` of the static table.
        assert_eq!(told.payload[0], 0x8c);
        assert!(pipes.try_recv().is_none());
    })
    .await;
}

/// Resets of one stream, over and over, were taken for the ends of as many requests.
#[tokio::test(start_paused = true)]
async fn r172_a_stream_could_be_reset_for_ever() {
    on_edge(&[], |edge| async move {
        let mut client = edge.connect();
        client
            .write_all(&[frames::hello(&[]), frames::get(1)].concat())
            .await
            .expect("an open pipe");
        let resets = frames::frame(frames::RST_STREAM, 0, 1, &8_u32.to_be_bytes()).repeat(100);
        let mut sent = 0;
        while sent < 100_000 && client.write_all(&resets).await.is_ok() {
            sent += 100;
        }
        assert!(sent < 20_000, "{sent}");
    })
    .await;
}

/// An endpoint that took a collected body slowly had its time to the first byte from the end of the
/// collecting: 504.
#[tokio::test(start_paused = true)]
async fn r173_a_collected_body_went_out_without_progress() {
    let mut buffering = config(&[]);
    buffering.routes[0].buffer = 1 << 20;
    on_raw_edge(buffering, |edge, mut pipes| async move {
        let slow = async {
            let (mut pipe, mut taken) =
                (pipes.recv().await.expect("a connection"), Vec::with_capacity(20_000));
            while !taken.ends_with(b"xend") {
                taken.clear();
                assert!(
                    pipe.read_buf(&mut taken).await.expect("an open pipe") > 0,
                    "cut at {} ms",
                    edge.now()
                );
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .expect("an open pipe");
        };
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        let request = format!("{head}f4243\r\n{}end\r\n0\r\n\r\n", "x".repeat(1_000_000));
        assert_eq!(status(&tokio::join!(edge.exchange(&request), slow).0), 200);
    })
    .await;
}

/// The time for a head went on from one head to the next where what was read ended within one each
/// time: a busy client was cut.
#[tokio::test(start_paused = true)]
async fn r174_the_time_of_a_head_went_on_with_the_next() {
    on_edge(&[], |edge| async move {
        let mut pipe = edge.connect();
        let get = b"\x82\x86\x84\x01\x01a";
        let requests: Vec<u8> = (0..15)
            .flat_map(|number| {
                frames::frame(
                    frames::HEADERS,
                    frames::END_STREAM | frames::END_HEADERS,
                    2 * number + 1,
                    get,
                )
            })
            .collect();
        let (length, hello) = (requests.len() / 15, frames::hello(&[]));
        pipe.write_all(&hello).await.expect("an open pipe");
        for (number, piece) in
            [&requests[..5]].into_iter().chain(requests[5..].chunks(length)).enumerate()
        {
            pipe.write_all(piece)
                .await
                .unwrap_or_else(|error| panic!("cut after {number} s: {error}"));
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    })
    .await;
}
