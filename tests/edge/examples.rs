//! The files of `config/examples`: each does what its first line says.

use std::{fs, path::Path, rc::Rc, sync::atomic::Ordering::Relaxed, time::Duration};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{sleep, timeout},
};
use weir::{
    config::{Config, load, parse},
    downstream::listen_socket::UNIX_PEER,
};

use crate::harness::{Edge, address, on_edge_of, on_raw_edge, status};

fn example(name: &str) -> Config {
    example_with(name, &[])
}

fn example_with(name: &str, sets: &[&str]) -> Config {
    let path = Path::new("config/examples").join(name).with_extension("yaml");
    let sets: Vec<_> = sets.iter().map(ToString::to_string).collect();
    load(&path, &sets).unwrap_or_else(|problems| panic!("{problems}")).config
}

/// One request line with these fields, from this address; the response.
async fn ask(edge: &Edge, from: &str, line: &str, fields: &[&str]) -> String {
    let mut client = edge.connect_from(from);
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let request =
        format!("{line} HTTP/1.1\r\n{fields}connection: close\r\ncontent-length: 0\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("an open pipe");
    let mut response = String::new();
    client.read_to_string(&mut response).await.expect("an open pipe");
    response
}

/// How many of so many requests at once get each status.
async fn at_once(
    edge: &Rc<Edge>,
    count: usize,
    from: &str,
    line: &'static str,
    fields: &[&'static str],
) -> Vec<(u16, usize)> {
    let mut asking = Vec::new();
    for _ in 0..count {
        let (edge, from, fields) = (Rc::clone(edge), from.to_owned(), fields.to_vec());
        asking.push(tokio::task::spawn_local(async move {
            status(&ask(&edge, &from, line, &fields).await)
        }));
        tokio::task::yield_now().await;
    }
    let mut counted = std::collections::BTreeMap::<u16, usize>::new();
    for one in asking {
        *counted.entry(one.await.expect("no panic")).or_default() += 1;
    }
    counted.into_iter().collect()
}

#[test]
fn every_example_is_tested_here() {
    let here = include_str!("examples.rs");
    for entry in fs::read_dir("config/examples").expect("a folder of this repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(
            here.contains(&format!("example(\"{name}\")"))
                || here.contains(&format!("example_with(\"{name}\"")),
            "no test fires requests at {}",
            path.display()
        );
    }
}

const API: &str = "host: api.example.com";

/// Each key has its own allowance, all requests without a key share one, and no address gets round
/// it by making keys up.
#[tokio::test(start_paused = true)]
async fn api_keys() {
    on_edge_of(example("api-keys"), |edge| async move {
        let get = "GET /v1/things";
        assert_eq!(
            at_once(&edge, 60, "192.0.2.1", get, &[API, "x-api-key: one"]).await,
            [(200, 51), (429, 9)]
        );
        assert_eq!(
            at_once(&edge, 40, "192.0.2.1", get, &[API, "x-api-key: two"]).await,
            [(200, 40)]
        );
        assert_eq!(
            at_once(&edge, 20, "192.0.2.1", get, &[API, "x-api-key: made-up"]).await,
            [(200, 10), (429, 10)]
        );
        assert_eq!(at_once(&edge, 40, "192.0.2.2", get, &[API]).await, [(200, 40)]);
        assert_eq!(at_once(&edge, 20, "192.0.2.3", get, &[API]).await, [(200, 11), (429, 9)]);
        let search = "GET /v1/search";
        let mut made_up = [0, 0];
        for number in 0..110 {
            let key = format!("x-api-key: made-up-{number}");
            let status = status(&ask(&edge, "192.0.2.6", search, &[API, &key]).await);
            made_up[usize::from(status == 429)] += 1;
        }
        assert_eq!(made_up, [101, 9]);
        assert_eq!(
            at_once(&edge, 5, "192.0.2.4", search, &[API, "x-api-key: one"]).await,
            [(200, 4), (429, 1)]
        );
        assert_eq!(
            at_once(&edge, 1, "192.0.2.4", "HEAD /v1/search", &[API, "x-api-key: one"]).await,
            [(429, 1)]
        );
        assert_eq!(at_once(&edge, 1, "192.0.2.4", search, &[API]).await, [(429, 1)]);
        assert_eq!(
            at_once(&edge, 8, "192.0.2.5", "GET /", &["host: www"]).await,
            [(200, 6), (429, 2)]
        );
    })
    .await;
}

/// Visitors behind the networks of a file are limited one by one, and other peers by their own
/// address.
#[tokio::test(start_paused = true)]
async fn behind_a_cdn() {
    on_edge_of(example("behind-a-cdn"), |edge| async move {
        edge.world.app_is(&[1]);
        let first = ["host: a", "x-forwarded-for: 198.51.100.1"];
        assert_eq!(at_once(&edge, 42, "192.0.2.9", "GET /", &first).await, [(200, 41), (503, 1)]);
        let second = ["host: a", "x-forwarded-for: 203.0.113.5, 198.51.100.2"];
        assert_eq!(at_once(&edge, 41, "2001:db8:1::7", "GET /", &second).await, [(200, 41)]);
        assert_eq!(at_once(&edge, 41, "203.0.113.9", "GET /", &first).await, [(200, 41)]);
        assert_eq!(
            edge.seen.borrow().last().expect("a request").headers["x-real-ip"],
            "203.0.113.9"
        );
    })
    .await;
}

/// The CDN's field is the visitor; it is believed from the CDN alone, and only if it is one address.
#[tokio::test(start_paused = true)]
async fn client_address() {
    on_edge_of(example("client-address"), |edge| async move {
        edge.world.app_is(&[1]);
        let (cdn, line) = ("192.0.2.9", "GET /");
        let of = |field: &'static str| vec!["host: a", field];
        let first = of("CF-Connecting-IP: 198.51.100.1");
        assert_eq!(at_once(&edge, 22, cdn, line, &first).await, [(200, 21), (503, 1)]);
        let second = of("cf-connecting-ip: 198.51.100.2");
        assert_eq!(at_once(&edge, 21, cdn, line, &second).await, [(200, 21)]);
        let list = of("cf-connecting-ip: 198.51.100.3, 198.51.100.4");
        assert_eq!(at_once(&edge, 1, cdn, line, &list).await, [(400, 1)]);
        assert_eq!(at_once(&edge, 21, "203.0.113.9", line, &first).await, [(200, 21)]);
    })
    .await;
}

/// All bots share a bucket, whatever their addresses; the office is free, and a reader has his own.
#[tokio::test(start_paused = true)]
async fn bots() {
    on_edge_of(example("bots"), |edge| async move {
        edge.world.app_is(&[1]);
        let (line, reader) = ("GET /", ["host: a", "user-agent: Mozilla/5.0 Firefox"]);
        let bot = ["host: a", "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1)"];
        assert_eq!(at_once(&edge, 4, "198.51.100.1", line, &bot).await, [(200, 4)]);
        let crawler = ["host: a", "user-agent: my-CRAWLER"];
        let others = at_once(&edge, 4, "198.51.100.2", line, &crawler).await;
        assert_eq!(others, [(200, 2), (429, 2)]);
        assert_eq!(at_once(&edge, 42, "198.51.100.3", line, &reader).await, [(200, 41), (429, 1)]);
        assert_eq!(at_once(&edge, 60, "192.0.2.7", line, &reader).await, [(200, 60)]);
    })
    .await;
}

/// A search takes five places of the allowance that all requests of a client share.
#[tokio::test(start_paused = true)]
async fn cost() {
    on_edge_of(example("cost"), |edge| async move {
        edge.world.app_is(&[1]);
        let (search, page, fields) = ("GET /search?q=1", "GET /", ["host: a"]);
        assert_eq!(at_once(&edge, 5, "192.0.2.1", search, &fields).await, [(200, 4), (503, 1)]);
        assert_eq!(at_once(&edge, 2, "192.0.2.1", page, &fields).await, [(200, 1), (503, 1)]);
        assert_eq!(at_once(&edge, 22, "192.0.2.2", page, &fields).await, [(200, 21), (503, 1)]);
    })
    .await;
}

/// Two reports of a client run, a third is rejected, and the ninth of all waits for its turn.
#[tokio::test(start_paused = true)]
async fn concurrency() {
    on_raw_edge(example("concurrency"), |edge, mut pipes| async move {
        edge.world.app_is(&[1]);
        let report = b"GET /reports HTTP/1.1\r\nhost: a\r\n\r\n";
        let (mut clients, mut endpoints) = (Vec::new(), Vec::new());
        for client in (1..=4).flat_map(|last| [last; 2]) {
            let mut client = edge.connect_from(&format!("198.51.100.{client}"));
            client.write_all(report).await.expect("an open pipe");
            clients.push(client);
            endpoints.push(pipes.recv().await.expect("a connection"));
        }
        let third = ask(&edge, "198.51.100.1", "GET /reports", &["host: a"]).await;
        assert_eq!(status(&third), 429);
        let page =
            timeout(Duration::from_secs(1), ask(&edge, "198.51.100.1", "GET /", &["host: a"]));
        assert!(page.await.is_err(), "it is forwarded, and nobody responds");
        let began = edge.now();
        let waiting = ask(&edge, "198.51.100.9", "GET /reports", &["host: a"]).await;
        assert_eq!((status(&waiting), edge.now() - began), (503, 5_000));
    })
    .await;
}

/// Right logins are free, and five wrong ones are counted.
#[tokio::test(start_paused = true)]
async fn failed_logins() {
    on_raw_edge(example("failed-logins"), |edge, mut pipes| async move {
        edge.world.app_is(&[1]);
        for (code, expected) in [(200, 200), (401, 401), (200, 200), (403, 403)]
            .into_iter()
            .chain([(401, 401); 3])
            .chain([(200, 429); 2])
        {
            let responding = async {
                let mut endpoint = pipes.recv().await.expect("a connection");
                let mut buffer = [0; 1024];
                assert!(endpoint.read(&mut buffer).await.expect("a request") > 0);
                let text =
                    format!("HTTP/1.1 {code} A\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                endpoint.write_all(text.as_bytes()).await.expect("an open pipe");
                std::future::pending::<()>().await;
            };
            let asking = ask(&edge, "192.0.2.1", "POST /login", &["host: a"]);
            tokio::select! {
                () = responding => {}
                got = asking => assert_eq!(status(&got), expected, "{code}"),
            }
        }
    })
    .await;
}

/// Twenty rejects shut a client out, with another status; it alone, and for ten minutes.
#[tokio::test(start_paused = true)]
async fn penalty() {
    on_edge_of(example("penalty"), |edge| async move {
        edge.world.app_is(&[1]);
        let (line, fields) = ("GET /", ["host: a"]);
        let first = at_once(&edge, 45, "192.0.2.1", line, &fields).await;
        assert_eq!(first, [(200, 21), (403, 4), (429, 20)]);
        let shut_out = ask(&edge, "192.0.2.1", line, &fields).await;
        assert!(shut_out.contains("\r\nretry-after: 600\r\n"), "{shut_out}");
        assert_eq!(at_once(&edge, 1, "192.0.2.2", line, &fields).await, [(200, 1)]);
        sleep(Duration::from_secs(599)).await;
        assert_eq!(at_once(&edge, 1, "192.0.2.1", line, &fields).await, [(403, 1)]);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(at_once(&edge, 1, "192.0.2.1", line, &fields).await, [(200, 1)]);
    })
    .await;
}

/// Five tries of an address pass, a wave from many addresses waits in line, and a reject by one
/// rule costs the others nothing.
#[tokio::test(start_paused = true)]
async fn login_brute_force() {
    on_edge_of(example("login-brute-force"), |edge| async move {
        edge.world.app_is(&[1]);
        let login = "POST /login";
        assert_eq!(
            at_once(&edge, 300, "192.0.2.1", login, &["host: a"]).await,
            [(200, 5), (429, 295)]
        );
        assert_eq!(edge.now(), 0, "a typing error is not held up");
        assert_eq!(
            at_once(&edge, 2, "192.0.2.1", "POST //login;x=1", &["host: a"]).await,
            [(429, 2)]
        );
        let addresses: Vec<_> = (2..22).map(|last| format!("192.0.2.{last}")).collect();
        let wave =
            join_all(addresses.iter().map(|from| at_once(&edge, 5, from, login, &["host: a"])))
                .await;
        let counted = |status| {
            wave.iter()
                .flatten()
                .filter(|(of, _)| *of == status)
                .map(|(_, count)| count)
                .sum::<usize>()
        };
        // 11 pass immediately, and 25 wait 200 ms each behind them; 5 of the 36 were those of the
        // first address.
        assert_eq!([counted(200), counted(429)], [31, 69]);
        assert_eq!(edge.now(), 5_000);
        assert_eq!(at_once(&edge, 1, "192.0.2.1", "GET /", &["host: a"]).await, [(200, 1)]);
    })
    .await;
}

async fn read_head(pipe: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(pipe.read_u8().await.expect("an open pipe"));
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A tunnel may be silent for an hour, and one address opens six of them in a row.
#[tokio::test(start_paused = true)]
async fn websocket() {
    on_raw_edge(example("websocket"), |edge, mut pipes| async move {
        edge.world.app_is(&[1]);
        let mut connect = async || {
            let mut client = edge.connect();
            let upgrade = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            client.write_all(upgrade.as_bytes()).await.expect("an open pipe");
            let endpoint = tokio::select! {
                pipe = pipes.recv() => pipe,
                () = sleep(Duration::from_secs(1)) => None,
            };
            let Some(mut endpoint) = endpoint else { return (read_head(&mut client).await, client, None) };
            read_head(&mut endpoint).await;
            let agreed = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            endpoint.write_all(agreed).await.expect("an open pipe");
            (read_head(&mut client).await, client, Some(endpoint))
        };
        let (head, mut client, endpoint) = connect().await;
        let mut endpoint = endpoint.expect("a connection");
        assert_eq!(status(&head), 101);
        sleep(Duration::from_secs(59 * 60)).await;
        endpoint.write_all(b"news").await.expect("an open tunnel");
        let mut news = [0; 4];
        client.read_exact(&mut news).await.expect("an open tunnel");
        assert_eq!(&news, b"news");
        assert!(timeout(Duration::from_secs(59 * 60), client.read_u8()).await.is_err(), "still open");
        assert!(timeout(Duration::from_secs(61), client.read_u8()).await.expect("closed by now").is_err());
        let mut kept = Vec::new();
        for _ in 0..6 {
            let opened = connect().await;
            assert_eq!(status(&opened.0), 101);
            kept.push(opened);
        }
        assert_eq!(status(&connect().await.0), 503);
    })
    .await;
}

/// Calls go out over HTTP/2, and one without a token is rejected.
#[tokio::test(start_paused = true)]
async fn grpc() {
    on_raw_edge(example("grpc"), |edge, mut pipes| async move {
        edge.world.app_is(&[1]);
        let call = "POST /shop.Orders/List HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n";
        let mut client = edge.connect();
        client.write_all(format!("{call}authorization: Bearer x\r\n\r\n").as_bytes()).await.expect("an open pipe");
        let mut preface = [0; 24];
        let mut endpoint = pipes.recv().await.expect("a connection");
        endpoint.read_exact(&mut preface).await.expect("an open pipe");
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert_eq!(status(&edge.exchange(&format!("{call}\r\n")).await), 503);
        let other =
            edge.exchange("POST /shop.Stock/List HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&other.await), 404);
    })
    .await;
}

/// All requests go to `blue` but those for the host of the next release; one word in the file
/// switches.
#[tokio::test(start_paused = true)]
async fn blue_green() {
    let text =
        fs::read_to_string("config/examples/blue-green.yaml").expect("a file of this repository");
    let switched = text.replace("upstream: blue ", "upstream: green");
    let switched =
        parse("weir.yaml", &switched, &[]).unwrap_or_else(|problems| panic!("{problems}")).config;
    for (config, of_all) in [(example("blue-green"), 2), (switched, 3)] {
        on_edge_of(config, |edge| async move {
            for (name, last) in [("blue", 2), ("green", 3)] {
                edge.world
                    .names
                    .lock()
                    .expect("no panic")
                    .insert(name.to_owned(), vec![address(last)]);
            }
            for (host, last) in [("host: shop.example.com", of_all), ("host: green.example.com", 3)]
            {
                assert_eq!(status(&ask(&edge, "192.0.2.1", "GET /", &[host]).await), 200);
                let seen = edge.seen.borrow().last().expect("a request").address.ip();
                assert_eq!(seen, address(last).ip(), "{host}");
            }
        })
        .await;
    }
}

/// The next release gets who asks for it and the office, with a limit for those too.
#[tokio::test(start_paused = true)]
async fn canary() {
    on_edge_of(example("canary"), |edge| async move {
        for (name, last) in [("current", 2), ("next", 3)] {
            let mut names = edge.world.names.lock().expect("no panic");
            names.insert(name.to_owned(), vec![address(last)]);
        }
        for (from, field, last) in [
            ("198.51.100.1", "x-a: 1", 2),
            ("198.51.100.1", "cookie: canary=always", 3),
            ("198.51.100.1", "cookie: canary=never", 2),
            ("192.0.2.7", "x-a: 1", 3),
        ] {
            let fields = ["host: a", field];
            assert_eq!(status(&ask(&edge, from, "GET /", &fields).await), 200);
            let seen = edge.seen.borrow().last().expect("a request").address.ip();
            assert_eq!(seen, address(last).ip(), "{from} {field}");
        }
        let next = ["host: a", "cookie: canary=always"];
        let counted = at_once(&edge, 22, "203.0.113.1", "GET /", &next).await;
        assert_eq!(counted, [(200, 21), (503, 1)]);
    })
    .await;
}

/// A download gets its first mebibyte immediately, then 512 KiB a second; the probe has no line.
#[tokio::test(start_paused = true)]
async fn downloads() {
    on_raw_edge(example("downloads"), |edge, mut pipes| async move {
        edge.world.app_is(&[1]);
        let fields = ["host: a", "user-agent: curl/8"];
        assert_eq!(status(&ask(&edge, "192.0.2.1", "GET /healthz", &fields).await), 200);
        let mut client = edge.connect();
        let request = "GET /downloads/a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
            user-agent: curl/8\r\n\r\n";
        client.write_all(request.as_bytes()).await.expect("an open pipe");
        let mut upstream = pipes.recv().await.expect("a connection");
        tokio::task::spawn_local(async move {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 2097152\r\n\r\n";
            upstream.write_all(head.as_bytes()).await.expect("an open pipe");
            upstream.write_all(&vec![0; 2 << 20]).await.expect("an open pipe");
        });
        let (began, mut whole) = (tokio::time::Instant::now(), Vec::new());
        client.read_to_end(&mut whole).await.expect("an open pipe");
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        let line = edge.text_line_within(Duration::from_millis(60)).await;
        let rest = " \"GET /downloads/a HTTP/1.1\" 200 2097152 \"curl/8\" 2.000";
        assert!(line.starts_with("192.0.2.1 [") && line.ends_with(rest), "{line}");
    })
    .await;
}

/// Each service has a file. A route has the limits of the main file unless it writes its own.
#[tokio::test(start_paused = true)]
async fn several_files() {
    on_edge_of(example("several-files"), |edge| async move {
        for (name, last) in [("blog", 2), ("shop", 3)] {
            let mut names = edge.world.names.lock().expect("no panic");
            names.insert(name.to_owned(), vec![address(last)]);
        }
        let (shop, blog) = (["host: shop.example.com"], ["host: blog.example.com"]);
        for (host, last) in [(shop[0], 3), (blog[0], 2)] {
            assert_eq!(status(&ask(&edge, "192.0.2.1", "GET /", &[host]).await), 200);
            let seen = edge.seen.borrow().last().expect("a request").address.ip();
            assert_eq!(seen, address(last).ip(), "{host}");
        }
        let counted = at_once(&edge, 22, "192.0.2.2", "GET /x", &shop).await;
        assert_eq!(counted, [(200, 21), (503, 1)]);
        assert_eq!(at_once(&edge, 1, "192.0.2.2", "GET /", &blog).await, [(503, 1)]);
        assert_eq!(at_once(&edge, 60, "192.0.2.2", "GET /healthz", &shop).await, [(200, 60)]);
        let logins = at_once(&edge, 4, "192.0.2.3", "POST /login", &shop).await;
        assert_eq!(logins, [(200, 3), (503, 1)]);
    })
    .await;
}

/// Requests wait while no container of the service accepts connections, here for ten seconds.
async fn service_is_replaced(config: Config) {
    on_edge_of(config, |edge| async move {
        edge.world.app_is(&[1]);
        edge.world.refusing.store(true, Relaxed);
        let world = std::sync::Arc::clone(&edge.world);
        tokio::task::spawn_local(async move {
            sleep(Duration::from_secs(10)).await;
            world.app_is(&[2]);
            world.refusing.store(false, Relaxed);
        });
        assert_eq!(at_once(&edge, 5, "192.0.2.1", "POST /", &["host: a"]).await, [(200, 5)]);
        assert!((10_000..=15_500).contains(&edge.now()), "{}", edge.now());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn upgrade_without_loss() {
    service_is_replaced(example("upgrade-without-loss")).await;
}

#[tokio::test(start_paused = true)]
async fn compose() {
    service_is_replaced(example("compose")).await;
}

/// The error log has a path of its own; `tests/serve/real` reads such a log with fail2ban's filter.
#[tokio::test(start_paused = true)]
async fn ban_addresses() {
    let config = example("ban-addresses");
    let to = format!("{:?}", config.access_log.errors_to);
    assert!(to.contains("/var/log/weir/error.log"), "{to}");
    on_edge_of(config, |edge| async move {
        edge.world.app_is(&[1]);
        assert_eq!(
            at_once(&edge, 30, "192.0.2.1", "GET /", &["host: a"]).await,
            [(200, 21), (503, 9)]
        );
    })
    .await;
}

/// The server of docs/from-nginx.md: a burst without delay, a paced login, a large upload and 429.
#[tokio::test(start_paused = true)]
async fn from_nginx() {
    let pair = "listeners.0.tls.certificates.0";
    let sets = [
        format!("{pair}.cert=tests/certificates/a.pem"),
        format!("{pair}.key=tests/certificates/a.key"),
    ];
    let config = example_with("from-nginx", &[&sets[0], &sets[1]]);
    on_edge_of(config, |edge| async move {
        let host = ["host: shop.example.com"];
        assert_eq!(at_once(&edge, 30, "192.0.2.1", "GET /", &host).await, [(200, 21), (429, 9)]);
        assert_eq!(at_once(&edge, 8, "192.0.2.2", "POST /login", &host).await, [(200, 6), (429, 2)]);
        assert_eq!(edge.now(), 0, "nodelay");
        let upload = |length: usize| {
            format!("POST / HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")
        };
        assert_eq!(status(&edge.exchange(&upload((20 << 20) + 1)).await), 413);
        assert_eq!(at_once(&edge, 1, "192.0.2.1", "GET /", &["host: other.test"]).await, [(404, 1)]);
    })
    .await;
}

/// The client's address is what the other proxies say, and only what they say.
#[tokio::test(start_paused = true)]
async fn behind_proxies() {
    on_edge_of(example("behind-proxies"), |edge| async move {
        let of = |field: &'static str| vec!["host: a", field];
        assert_eq!(
            at_once(&edge, 22, "192.0.2.9", "GET /", &of("x-forwarded-for: 198.51.100.1")).await,
            [(200, 21), (503, 1)]
        );
        let second = at_once(
            &edge,
            21,
            "192.0.2.10",
            "GET /",
            &of("x-forwarded-for: 203.0.113.5, 198.51.100.2"),
        )
        .await;
        assert_eq!(second, [(200, 21)]);
        let network =
            at_once(&edge, 22, "2001:db8:1::7", "GET /", &of("x-forwarded-for: 2001:db8:2::1"))
                .await;
        assert_eq!(network, [(200, 21), (503, 1)]);
        // A stranger says what it likes and is counted by its own address.
        assert_eq!(
            at_once(&edge, 21, "203.0.113.9", "GET /", &of("x-forwarded-for: 198.51.100.9")).await,
            [(200, 21)]
        );
        assert_eq!(
            edge.seen.borrow().last().expect("a request").headers["x-real-ip"],
            "203.0.113.9"
        );
    })
    .await;
}

/// A new limit on trial: judged, counted and logged, never enforced.
#[tokio::test(start_paused = true)]
async fn dry_run() {
    on_edge_of(example("dry-run"), |edge| async move {
        assert_eq!(
            at_once(&edge, 102, "192.0.2.1", "GET /", &["host: a"]).await,
            [(200, 101), (503, 1)]
        );
        assert_eq!(edge.now(), 0, "the limit on trial holds nobody");
        let mut dry = Vec::new();
        for _ in 0..101 {
            let decision = &edge.line().await["limit_dry_run"]["decision"];
            dry.push(decision.as_str().unwrap_or("pass").to_owned());
        }
        let count = |decision: &str| dry.iter().filter(|found| *found == decision).count();
        assert_eq!([count("pass"), count("delay"), count("reject")], [1, 20, 80]);
    })
    .await;
}

/// Shortest configuration: one address, one limit, one server.
#[tokio::test(start_paused = true)]
async fn minimal() {
    on_edge_of(example("minimal"), |edge| async move {
        assert_eq!(
            at_once(&edge, 30, "192.0.2.1", "GET /", &["host: a"]).await,
            [(200, 21), (503, 9)]
        );
        assert_eq!(edge.forwarded(), (0..21).map(|slot| slot * 100).collect::<Vec<_>>());
        assert_eq!(edge.seen.borrow()[0].address.to_string(), "127.0.0.1:8000");
    })
    .await;
}

/// A page for every path but those of assets, which are there or not.
#[tokio::test(start_paused = true)]
async fn static_site() {
    on_edge_of(example("static-site"), |edge| async move {
        for (path, expected, policy, content) in [
            ("/", 200, "no-cache", "<!doctype html>"),
            ("/users/7", 200, "no-cache", "<!doctype html>"),
            ("/assets/app.js", 200, "public, max-age=31536000, immutable", "document."),
            ("/assets/none.js", 404, "no-store", "{"),
            ("/api/x", 200, "", "ok"),
        ] {
            let response = ask(&edge, "192.0.2.1", &format!("GET {path}"), &["host: a"]).await;
            assert_eq!(status(&response), expected, "{path}: {response}");
            let (head, body) = response.split_once("\r\n\r\n").expect("a head");
            assert!(body.starts_with(content), "{path}: {body}");
            let field = format!("cache-control: {policy}\r\n");
            assert_eq!(
                format!("{head}\r\n").contains(&field),
                !policy.is_empty(),
                "{path}: {head}"
            );
        }
        let fields = ["host: a", "accept-encoding: gzip"];
        let response = ask(&edge, "192.0.2.1", "HEAD /assets/app.js", &fields).await;
        assert!(response.contains("content-encoding: gzip\r\n"), "{response}");
        assert_eq!(edge.seen.borrow().len(), 1);
    })
    .await;
}

/// Pages are compressed for who accepts it, and fields tell browsers what they may do with them.
#[tokio::test(start_paused = true)]
async fn pages() {
    on_raw_edge(example("pages"), |edge, mut pipes| async move {
        let page = "<p>of a page</p>".repeat(200);
        let reply = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nserver: inner\r\ncontent-length: {}\r\n\r\n{page}",
            page.len()
        );
        let (sender, asked) = std::sync::mpsc::channel();
        tokio::task::spawn_local(async move {
            while let Some(mut pipe) = pipes.recv().await {
                let mut request = [0; 4096];
                while let Ok(count @ 1..) = pipe.read(&mut request).await {
                    sender.send(String::from_utf8_lossy(&request[..count]).into_owned()).expect("a test that waits");
                    pipe.write_all(reply.as_bytes()).await.expect("an open pipe");
                }
            }
        });
        let raw = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}connection: close\r\n\r\n");
        let coded = edge.exchange(&raw("host: www.example.com\r\naccept-encoding: gzip, br\r\n")).await;
        let fields = ["content-encoding: br\r\n", "x-content-type-options: nosniff\r\n", "x-frame-options: DENY\r\n"];
        assert!(fields.iter().all(|field| coded.contains(field)) && !coded.contains("server: "), "{coded}");
        let asked_first = asked.try_recv().expect("a request").to_lowercase();
        assert!(asked_first.contains("x-entry: http://www.example.com\r\n") && !asked_first.contains("accept-encoding"));
        let plain = edge.exchange(&raw("host: www.example.com\r\n")).await;
        assert!(plain.ends_with(&page) && plain.contains("x-frame-options: DENY\r\n"), "{plain}");
        let other = edge.exchange(&raw("host: other.test\r\naccept-encoding: gzip\r\n")).await;
        assert!(other.ends_with(&page) && other.contains("server: inner\r\n"), "{other}");
    })
    .await;
}

/// Several limits on one route: all must agree, and a reject by one spends nothing in the others.
#[tokio::test(start_paused = true)]
async fn several_limits() {
    on_edge_of(example("several-limits"), |edge| async move {
        assert_eq!(
            at_once(&edge, 60, "10.8.3.4", "GET /", &["host: a"]).await,
            [(200, 60)],
            "the office is never limited"
        );
        assert_eq!(
            at_once(&edge, 22, "192.0.2.1", "GET /", &["host: a"]).await,
            [(200, 21), (503, 1)]
        );
        assert_eq!(
            at_once(&edge, 300, "192.0.2.2", "POST /login", &["host: a"]).await,
            [(200, 4), (429, 296)]
        );
        assert_eq!(edge.now(), 32_000, "the fourth waits 30 s behind the two of `per_client`");
        // Had the 296 been charged to the site, nothing would be left of it.
        assert_eq!(at_once(&edge, 401, "10.8.3.4", "GET /", &["host: a"]).await, [(200, 401)]);
    })
    .await;
}

/// Several servers of one application: by name, by address, one twice as strong.
#[tokio::test(start_paused = true)]
async fn several_servers() {
    on_edge_of(example("several-servers"), |edge| async move {
        edge.world.app_is(&[1, 2]);
        for _ in 0..40 {
            assert_eq!(status(&ask(&edge, "192.0.2.1", "GET /page", &["host: a"]).await), 200);
        }
        let seen = edge.seen.borrow();
        let share = |address: &str| {
            let to = |seen: &&crate::harness::Seen| {
                seen.address.to_string().starts_with(address) && seen.target == "/page"
            };
            seen.iter().filter(to).count()
        };
        assert_eq!([share("10.0.0.1:"), share("10.0.0.2:"), share("10.0.0.7:")], [10, 10, 20]);
    })
    .await;
}

/// An application server that reads bodies in chunks as empty, and closes connections without
/// saying so.
#[tokio::test(start_paused = true)]
async fn legacy_app() {
    on_edge_of(example("legacy-app"), |edge| async move {
        let post = "POST /form HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n";
        assert_eq!(status(&edge.exchange(post).await), 200);
        let seen = edge.seen.borrow();
        assert_eq!((&seen[0].headers["content-length"], &seen[0].body[..]), (&"3".parse().expect("a value"), &b"a=b"[..]));
    })
    .await;
}

/// What hashes a password in `auth` costs its processors: each of these paths has a zone of its own
/// beside the one of everything.
#[tokio::test(start_paused = true)]
async fn stack_limits_every_path_that_hashes() {
    let text = fs::read_to_string("config/weir.yaml").expect("a file of this repository");
    let text = text.replace("http://auth:8000", "http://10.0.0.1:8000");
    let stack = weir::config::parse("weir.yaml", &text, &[])
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    on_edge_of(stack, |edge| async move {
        for (client, line) in [
            "POST /api/v1/login",
            "POST /api/v1/signup",
            "POST /api/v1/password/change",
            "POST /api/v1/password/reset",
            "POST /api/v1/password/forgot",
            "PATCH /api/v1/me",
        ]
        .into_iter()
        .enumerate()
        {
            let from = format!("192.0.2.{}", client + 1);
            assert_eq!(
                at_once(&edge, 8, &from, line, &["host: a"]).await,
                [(200, 6), (503, 2)],
                "{line}"
            );
        }
        assert_eq!(
            at_once(&edge, 8, "192.0.2.99", "GET /api/v1/me", &["host: a"]).await,
            [(200, 8)]
        );
    })
    .await;
}

/// Users get in with their password, colleagues without, and guesses are rejected.
#[tokio::test(start_paused = true)]
async fn password() {
    on_edge_of(example("password"), |edge| async move {
        edge.world.app_is(&[1]);
        let demo = "authorization: Basic ZGVtbzpjb3JyZWN0IGhvcnNlIGJhdHRlcnkgc3RhcGxl";
        let get = "GET /admin";
        assert_eq!(at_once(&edge, 1, "192.0.2.1", get, &["host: a", demo]).await, [(200, 1)]);
        assert!(!edge.seen.borrow()[0].headers.contains_key("authorization"));
        assert_eq!(at_once(&edge, 5, "10.1.2.3", get, &["host: a"]).await, [(200, 5)]);
        let guess = "authorization: Basic ZGVtbzpndWVzcw==";
        let got = at_once(&edge, 24, "192.0.2.2", get, &["host: a", guess]).await;
        assert_eq!(got, [(401, 21), (503, 3)]);
        assert_eq!(at_once(&edge, 1, "192.0.2.2", "GET /", &["host: a"]).await, [(200, 1)]);
    })
    .await;
}

/// The service is asked about each request, and its refusal is the response.
#[tokio::test(start_paused = true)]
async fn forward_auth() {
    on_raw_edge(example("forward-auth"), |edge, mut pipes| async move {
        let names = [("auth".to_owned(), vec![address(2)]), ("app".to_owned(), vec![address(1)])];
        edge.world.names.lock().expect("no panic").extend(names);
        let asking = ask(&edge, "192.0.2.1", "GET /x", &["host: a", "cookie: sid=1"]);
        let playing = async {
            let (_, mut auth) = pipes.recv_at().await.expect("a connection");
            let mut question = vec![0; 4096];
            let length = auth.read(&mut question).await.expect("a question");
            let no = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 5\r\n\r\nlogin";
            auth.write_all(no.as_bytes()).await.expect("an open pipe");
            String::from_utf8_lossy(&question[..length]).into_owned()
        };
        let (response, question) = tokio::join!(asking, playing);
        assert!(status(&response) == 401 && response.ends_with("login"), "{response}");
        assert!(question.starts_with("GET /verify HTTP/1.1\r\n"), "{question}");
        assert!(question.contains("cookie: sid=1\r\n"), "{question}");
    })
    .await;
}

/// Clients behind the proxy on the socket are limited one by one.
#[tokio::test(start_paused = true)]
async fn unix_sockets() {
    on_edge_of(example("unix-sockets"), |edge| async move {
        let peer = UNIX_PEER.ip().to_string();
        for client in ["198.51.100.1", "198.51.100.2"] {
            let fields = ["host: a".to_owned(), format!("x-forwarded-for: {client}")];
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let asked = join_all((0..22).map(|_| ask(&edge, &peer, "GET /", &fields))).await;
            let rejected = asked.iter().filter(|response| status(response) == 503).count();
            assert_eq!(rejected, 1, "{client}");
        }
        let seen = edge.seen.borrow();
        assert_eq!(seen.last().expect("a request").headers["x-forwarded-for"], "198.51.100.2, ::");
    })
    .await;
}

/// A client returns to its server, and a request beyond the limit of both waits for three seconds.
#[tokio::test(start_paused = true)]
async fn sessions() {
    on_raw_edge(example("sessions"), |edge, mut pipes| async move {
        let mut client = edge.connect();
        let mut set = None;
        for _ in 0..3 {
            let cookie = set.as_ref().map_or(String::new(), |set| format!("cookie: {set}\r\n"));
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{cookie}\r\n");
            client.write_all(request.as_bytes()).await.expect("an open pipe");
            let mut pipe = pipes.recv().await.expect("a connection");
            assert!(pipe.read(&mut [0; 1024]).await.expect("a request") > 0);
            let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            pipe.write_all(response).await.expect("an open pipe");
            let mut got = vec![0; 1024];
            let count = client.read(&mut got).await.expect("a response");
            let got = String::from_utf8_lossy(&got[..count]).into_owned();
            let cookie = got.lines().find_map(|line| line.strip_prefix("set-cookie: "));
            // It is set once.
            assert_eq!(cookie.is_some(), set.is_none(), "{got}");
            let value = cookie.and_then(|cookie| cookie.split(';').next());
            set = set.or(value.map(str::to_owned));
        }
        let asked = (0..203).map(|_| ask(&edge, "192.0.2.1", "GET /", &["host: a"]));
        let asked = timeout(Duration::from_millis(3_001), join_all(asked)).await;
        // 200 are in progress without an end, and the others did not wait longer.
        assert!(asked.is_err());
        for expected in [200, 200, 200, 503, 503, 503] {
            assert_eq!(edge.line().await["status"], expected);
        }
    })
    .await;
}
