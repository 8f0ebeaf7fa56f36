//! Connections to endpoints that a client has authenticated (NTLM, Negotiate): they serve that
//! client and no other.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::sleep,
};

use crate::{
    grpc::{self, to_http2},
    harness::{Edge, Pipes, config, on_raw_edge, status},
};

/// How an endpoint asks for credentials, in which response field and with which words.
#[derive(Clone, Copy, Debug)]
struct Dialect {
    challenge: &'static str,
    credentials: &'static str,
}

const NTLM: Dialect =
    Dialect { challenge: "WWW-Authenticate: NTLM", credentials: "Authorization: NTLM" };

const DIALECTS: [Dialect; 6] = [
    NTLM,
    Dialect { challenge: "www-authenticate: Negotiate", credentials: "authorization: Negotiate" },
    Dialect { challenge: "WWW-Authenticate: ntLM", credentials: "Authorization: Ntlm" },
    Dialect {
        challenge: "WWW-Authenticate: Basic realm=\"a, b\", NEGOTIATE, NTLM",
        credentials: "Authorization: NTLM",
    },
    Dialect {
        challenge: "WWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: NTLM",
        credentials: "Authorization: NTLM",
    },
    Dialect { challenge: "Proxy-Authenticate: NTLM", credentials: "Proxy-Authorization: NTLM" },
];

/// When connections of the endpoint ended, in milliseconds.
type Ends = Rc<RefCell<Vec<u64>>>;

/// Binds a user to the connection: credentials `TYPE3:user` are theirs, and from then on whatever
/// comes on the connection.
fn bind_users(edge: &Rc<Edge>, mut pipes: Pipes, dialect: Dialect) -> Ends {
    let (ends, edge) = (Ends::default(), Rc::clone(edge));
    let noted = Rc::clone(&ends);
    tokio::task::spawn_local(async move {
        while let Some(pipe) = pipes.recv().await {
            let (ends, edge) = (Rc::clone(&noted), Rc::clone(&edge));
            tokio::task::spawn_local(async move {
                bind_user(pipe, dialect).await;
                ends.borrow_mut().push(edge.now());
            });
        }
    });
    ends
}

async fn bind_user(mut pipe: DuplexStream, dialect: Dialect) {
    let (mut user, mut buffer) = (None, vec![0; 4096]);
    loop {
        let count = pipe.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if let Some(known) =
            request.split("TYPE3:").nth(1).and_then(|rest| rest.split("\r\n").next())
        {
            user = Some(known.to_owned());
        }
        let response = match &user {
            Some(user) => {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nhello {user}", user.len() + 6)
            }
            None => format!(
                "HTTP/1.1 401 Unauthorized\r\n{}\r\ncontent-length: 2\r\n\r\nno",
                dialect.challenge
            ),
        };
        pipe.write_all(response.as_bytes()).await.expect("an open pipe");
    }
}

fn get(credentials: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\n{credentials}\r\n")
}

/// What a client gets on its connection: the last word of the response.
async fn ask(client: &mut DuplexStream, credentials: &str) -> String {
    client.write_all(get(credentials).as_bytes()).await.expect("an open pipe");
    let (mut response, mut buffer) = (String::new(), vec![0; 4096]);
    while !["\r\n\r\nno", "user-1", "user-2"].iter().any(|end| response.ends_with(end)) {
        let count = client.read(&mut buffer).await.expect("a response");
        assert!(count > 0, "{response}");
        response.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    response.rsplit([' ', '\n']).next().unwrap_or_default().to_owned()
}

/// The three steps of NTLM.
async fn log_in(client: &mut DuplexStream, dialect: Dialect, user: &str) {
    assert_eq!(ask(client, "").await, "no");
    assert_eq!(ask(client, &format!("{} TYPE1\r\n", dialect.credentials)).await, "no");
    assert_eq!(ask(client, &format!("{} TYPE3:{user}\r\n", dialect.credentials)).await, user);
}

#[tokio::test(start_paused = true)]
async fn authenticated_connection_stays_with_its_client() {
    for dialect in DIALECTS {
        on_raw_edge(config(&[]), |edge, pipes| async move {
            let ends = bind_users(&edge, pipes, dialect);
            let (mut first, mut second) = (edge.connect(), edge.connect_from("192.0.2.2"));
            log_in(&mut first, dialect, "user-1").await;
            for _ in 0..3 {
                assert_eq!(ask(&mut second, "").await, "no", "{dialect:?}");
            }
            log_in(&mut second, dialect, "user-2").await;
            // Longer than idle connections are kept.
            sleep(Duration::from_secs(30)).await;
            assert_eq!(ask(&mut first, "").await, "user-1", "{dialect:?}");
            assert_eq!(ask(&mut second, "").await, "user-2", "{dialect:?}");
            let before = ends.borrow().len();
            drop(first);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(ends.borrow().len(), before + 1, "{dialect:?}");
            assert_eq!(ask(&mut edge.connect(), "").await, "no", "{dialect:?}");
        })
        .await;
    }
}

/// The endpoint challenges nobody: credentials alone tell.
#[tokio::test(start_paused = true)]
async fn credentials_without_a_challenge_make_a_connection_private() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        bind_users(&edge, pipes, Dialect { challenge: "x: y", ..NTLM });
        let mut first = edge.connect();
        assert_eq!(ask(&mut first, "Authorization: NTLM TYPE3:user-1\r\n").await, "user-1");
        assert_eq!(ask(&mut edge.connect(), "").await, "no");
        assert_eq!(ask(&mut first, "").await, "user-1");
    })
    .await;
}

/// Credentials of each request, as Basic's and Bearer's are, bind no connection.
#[tokio::test(start_paused = true)]
async fn other_schemes_share_connections() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let connections = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                count.set(count.get() + 1);
                let challenge = "WWW-Authenticate: Basic realm=\"NTLM\", Bearer x=Negotiate, Negotiated, x=\"y, NTLM\"";
                tokio::task::spawn_local(bind_user(pipe, Dialect { challenge, ..NTLM }));
            }
        });
        for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            for credentials in ["", "Authorization: Basic TlRMTQ==\r\n", "Authorization: Bearer NTLM\r\n"] {
                assert_eq!(ask(&mut edge.connect_from(client), credentials).await, "no");
            }
        }
        assert_eq!(connections.get(), 1);
    })
    .await;
}

/// A proxy in front speaks for many clients on one connection.
#[tokio::test(start_paused = true)]
async fn authenticated_connection_is_not_shared_by_the_clients_of_a_proxy() {
    let mut trusting = config(&[]);
    trusting.client_ip.proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    on_raw_edge(trusting, |edge, pipes| async move {
        bind_users(&edge, pipes, NTLM);
        let mut proxy = edge.connect_from("10.0.0.9");
        let of = |client: &str| format!("X-Forwarded-For: {client}\r\n");
        let logged_in = format!("{}Authorization: NTLM TYPE3:user-1\r\n", of("192.0.2.1"));
        assert_eq!(ask(&mut proxy, &logged_in).await, "user-1");
        assert_eq!(ask(&mut proxy, &of("192.0.2.1")).await, "user-1");
        assert_eq!(ask(&mut proxy, &of("192.0.2.2")).await, "no");
    })
    .await;
}

/// Streams of a client's connection are no steps of one conversation: each authenticates for
/// itself.
#[tokio::test(start_paused = true)]
async fn authenticated_connection_of_a_stream_is_closed_with_it() {
    on_raw_edge(config(&[]), |edge, pipes| async move {
        bind_users(&edge, pipes, NTLM);
        let mut client = grpc::client(&edge).await;
        let mut ask = async |credentials: &'static str| {
            let request = Request::get("http://a/").header("authorization", credentials);
            client
                .send_request(request.body(grpc::body("", &[])).expect("a request"))
                .await
                .expect("a response")
                .status()
        };
        assert_eq!(ask("NTLM TYPE3:user-1").await, 200);
        assert_eq!(ask("Basic x").await, 401);
    })
    .await;
}

/// A connection of HTTP/2 whose endpoint asks for such credentials takes no other request once it
/// carried some.
#[tokio::test(start_paused = true)]
async fn authenticated_connection_of_an_http2_endpoint_takes_no_other_request() {
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::Builder::new()
                        .handshake::<_, Bytes>(pipe)
                        .await
                        .expect("a handshake");
                    let mut bound = false;
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        bound |= request.headers().contains_key("authorization");
                        let response = match bound {
                            true => Response::builder().status(200),
                            false => {
                                Response::builder().status(401).header("www-authenticate", "NTLM")
                            }
                        };
                        respond
                            .send_response(response.body(()).expect("a response"), true)
                            .expect("a stream");
                    }
                });
            }
        });
        for (credentials, expected) in [
            ("", 401),
            ("authorization: ntlm TYPE3\r\n", 200),
            ("", 401),
            ("authorization: Negotiate YII\r\n", 200),
            ("", 401),
        ] {
            let request =
                format!("GET / HTTP/1.1\r\nhost: a\r\n{credentials}connection: close\r\n\r\n");
            assert_eq!(status(&edge.exchange(&request).await), expected, "{credentials}");
        }
    })
    .await;
}

/// Nobody asked for them: whoever sends them all the same takes the connection from nobody.
#[tokio::test(start_paused = true)]
async fn credentials_nobody_asked_for_leave_the_connection_of_an_http2_endpoint_shared() {
    let (opened, mut openings) = tokio::sync::mpsc::unbounded_channel();
    on_raw_edge(to_http2(&[]), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            while let Some(pipe) = pipes.recv().await {
                opened.send(()).expect("a test that waits");
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::Builder::new().handshake::<_, Bytes>(pipe).await.expect("a handshake");
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        respond.send_response(Response::new(()), true).expect("a stream");
                    }
                });
            }
        });
        for _ in 0..20 {
            for credentials in ["NTLM x", "Negotiate x"] {
                let request =
                    format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: {credentials}\r\nconnection: close\r\n\r\n");
                assert_eq!(status(&edge.exchange(&request).await), 200);
            }
        }
    })
    .await;
    let mut count = 0;
    while openings.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 1);
}

/// A request that is lost on a connection of its client's goes out again on a fresh one, which
/// knows nobody; one that begins to authenticate binds that one.
#[tokio::test(start_paused = true)]
async fn request_lost_on_an_authenticated_connection_is_sent_again_as_nobodys() {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        tokio::task::spawn_local(async move {
            let mut number = 0;
            while let Some(mut pipe) = pipes.recv().await {
                number += 1;
                if number > 1 {
                    tokio::task::spawn_local(bind_user(pipe, NTLM));
                    continue;
                }
                tokio::task::spawn_local(async move {
                    let mut buffer = vec![0; 4096];
                    assert!(pipe.read(&mut buffer).await.expect("a request") > 0);
                    pipe.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello user-1")
                        .await
                        .expect("an open pipe");
                    // Taken, and the connection closed without a word.
                    assert!(pipe.read(&mut buffer).await.expect("a request") > 0);
                });
            }
        });
        let mut first = edge.connect();
        assert_eq!(ask(&mut first, "Authorization: NTLM TYPE3:user-1\r\n").await, "user-1");
        assert_eq!(ask(&mut first, "").await, "no");
        assert_eq!(ask(&mut first, "Authorization: NTLM TYPE3:user-2\r\n").await, "user-2");
        assert_eq!(ask(&mut edge.connect(), "").await, "no");
    })
    .await;
}
