//! What an intermediary owes to both sides (RFC 9110, RFC 9112), duty by duty.

use crate::recorder::{NEXT, on_recorded, play, replied};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn unknown_fields_pass_and_lines_of_one_name_keep_their_order() {
    on_recorded(&[], |edge, recorder| async move {
        let get = "GET / HTTP/1.1\r\nHost: a\r\nX-Strange_1: \t a\tb \r\nAccept: c\r\nx-list: 2\r\nX-LIST: 1\r\nCookie: b\r\n\r\n";
        play(&edge, &recorder, format!("{get}{NEXT}").as_bytes()).await;
        let request = recorder.requests.borrow()[0].clone();
        assert_eq!((request.all("x-strange_1"), request.all("x-list")), (vec!["a\tb"], vec!["2", "1"]));
        let received = "\r\nX-Strange_1: a\tb\r\nAccept: c\r\nx-list: 2\r\nX-LIST: 1\r\nCookie: b";
        assert!(request.lines.ends_with(received), "{}", request.lines);
    })
    .await;
    let reply = "HTTP/1.1 200 OK\r\nX-Odd: 1\r\nSet-Cookie: a=1, 2\r\nset-cookie: b\r\ncontent-length: 0\r\nx-odd: 0\r\n\r\n";
    let answer = replied(GET, reply).await;
    assert!(answer.starts_with(reply.split_once("\r\n\r\n").expect("a head").0), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn via_is_added_and_appended() {
    on_recorded(&[], |edge, recorder| async move {
        for (version, before, after) in [
            ("1.1", "", "1.1 weir"),
            ("1.1", "via: 1.0 a\r\nvia: 1.1 b\r\n", "1.0 a, 1.1 b, 1.1 weir"),
            ("1.0", "", "1.0 weir"),
            ("1.0", "via: 2 a\r\n", "2 a, 1.0 weir"),
        ] {
            let request =
                format!("GET / HTTP/{version}\r\nhost: a\r\n{before}connection: close\r\n\r\n");
            play(&edge, &recorder, request.as_bytes()).await;
            assert_eq!(recorder.requests.borrow()[0].all("via"), [after], "{request}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn request_line_has_own_version() {
    on_recorded(&[], |edge, recorder| async move {
        edge.exchange("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
        assert_eq!(recorder.requests.borrow()[0].first, "GET / HTTP/1.1");
    })
    .await;
    let answer = replied(GET, "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn max_forwards_counts_options_and_trace_and_nothing_else() {
    on_recorded(&[], |edge, recorder| async move {
        for (method, value, crosses) in [
            ("OPTIONS", "0", Err("200 ")),
            ("TRACE", "0", Err("405 ")),
            ("OPTIONS", "3", Ok("2")),
            ("TRACE", "1", Ok("0")),
            ("GET", "0", Ok("0")),
            ("OPTIONS", "many", Ok("many")),
        ] {
            let request = format!("{method} /x HTTP/1.1\r\nhost: a\r\nmax-forwards: {value}\r\nconnection: close\r\n\r\n");
            let (got, _) = play(&edge, &recorder, request.as_bytes()).await;
            let answer = got[0].answer();
            let requests = recorder.requests.borrow();
            let crossed = requests.first().map(|request| request.all("max-forwards")).ok_or(&answer[..4]);
            assert_eq!(crossed, crosses.map(|value| vec![value]), "{request}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn options_asterisk_is_answered_and_keeps_the_connection() {
    on_recorded(&[], |edge, recorder| async move {
        let (got, seen) = play(
            &edge,
            &recorder,
            format!("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n{NEXT}").as_bytes(),
        )
        .await;
        assert_eq!((got[0].answer().as_str(), seen), ("200 ", vec!["GET /next ".to_owned()]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn host_is_rewritten_from_absolute_target() {
    on_recorded(&[], |edge, recorder| async move {
        for (target, host, path) in [
            ("http://B.test/x", "B.test", "/x"),
            ("HTTP://b.test:8080", "b.test:8080", "/"),
            ("http://[::1]:8080/?q", "[::1]:8080", "/?q"),
            ("http://b.test?x=1", "b.test", "/?x=1"),
            ("http://b.test:81?", "b.test:81", "/?"),
        ] {
            let request =
                format!("GET {target} HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n");
            play(&edge, &recorder, request.as_bytes()).await;
            let request = recorder.requests.borrow()[0].clone();
            assert_eq!((request.all("host"), request.told()), (vec![host], format!("GET {path} ")));
            assert_eq!(request.all("x-forwarded-host"), [host]);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn interim_response_is_never_the_final_one() {
    let reply = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let answer = replied(GET, reply).await;
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let response = answer.strip_prefix(interim).expect("the interim ones first");
    assert!(
        response.starts_with("HTTP/1.1 200 OK\r\n")
            && response.ends_with("\r\n\r\nok")
            && !response.contains("link"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn answers_without_a_body_keep_step() {
    for reply in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 20\r\netag: \"x\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ] {
        let answer =
            replied("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", reply)
                .await;
        assert_eq!(answer.matches(&reply[..12]).count(), 2, "{answer}");
        assert!(answer.ends_with("\r\n\r\n") && !answer.contains("transfer-encoding"), "{answer}");
    }
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    let answer =
        replied("HEAD /1 HTTP/1.1\r\nhost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", reply).await;
    assert_eq!(answer.matches("content-length: 1000\r\n").count(), 2, "{answer}");
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer =
        replied("HEAD /1 HTTP/1.1\r\nhost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", chunked)
            .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn http_1_0_never_gets_chunks_and_its_answer_ends_with_the_connection() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for request in [
        "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
    ] {
        let answer = replied(request, chunked).await;
        assert!(
            answer.ends_with("\r\n\r\nok")
                && !answer.contains("chunked")
                && !answer.contains("content-length"),
            "{answer}"
        );
        assert!(!answer.contains("connection: keep-alive"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn response_framed_by_close_is_reframed() {
    let answer = replied(GET, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end").await;
    assert!(answer.ends_with("\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn trailers_are_never_fields_of_the_answer() {
    let reply = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nset-cookie: evil\r\nx: y\r\n\r\n";
    let answer = replied(GET, reply).await;
    assert!(
        !answer.contains("evil")
            && !answer.contains("x: y")
            && answer.ends_with("2\r\nok\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn date_is_added_if_missing_and_kept_if_present() {
    let answer = replied(GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(answer.matches("\r\ndate: ").count(), 1, "{answer}");
    let dated =
        "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n";
    let answer = replied(GET, dated).await;
    assert_eq!(answer.matches("date: ").count(), 1);
    assert!(answer.contains("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn no_transform_and_every_other_byte_of_a_body_is_respected() {
    let reply = "HTTP/1.1 200 OK\r\ncache-control: no-transform\r\ncontent-encoding: x\r\ncontent-length: 4\r\n\r\n\u{0}\r\n\u{1}";
    let answer = replied(GET, reply).await;
    assert!(
        answer.contains("cache-control: no-transform\r\ncontent-encoding: x\r\n")
            && answer.ends_with("\u{0}\r\n\u{1}"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn connection_close_of_upstream_is_not_forwarded() {
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\r\nok";
    let two =
        "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = replied(two, reply).await;
    assert_eq!(
        (answer.matches("200 OK").count(), answer.matches("connection: close").count()),
        (2, 1),
        "{answer}"
    );
    assert!(!answer.contains("x-hop") && !answer.contains("keep-alive"), "{answer}");
}

/// The endpoint is asked for by its own name where a request names nobody, and nobody is told that
/// the client had named it.
#[tokio::test(start_paused = true)]
async fn host_of_a_request_that_names_none_is_the_endpoints() {
    on_recorded(&[], |edge, recorder| async move {
        for fields in ["", "x-forwarded-host: evil\r\n"] {
            let (got, _) =
                play(&edge, &recorder, format!("GET / HTTP/1.0\r\n{fields}\r\n").as_bytes()).await;
            let request = recorder.requests.borrow()[0].clone();
            assert_eq!(
                (got[0].answer(), request.all("host")),
                ("200 GET / ".to_owned(), vec!["10.0.0.1:80"])
            );
            assert_eq!(request.all("x-forwarded-host"), [""; 0]);
        }
    })
    .await;
}
