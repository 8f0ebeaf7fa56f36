//! Order of responses: pipelines, early responses, expectations, bodies that break off.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    harness::{config, on_raw_edge, status},
    recorder::{Message, NEXT, messages, on_recorded, play},
};

fn answers(of: &[Message]) -> Vec<String> {
    of.iter().map(Message::answer).collect()
}

#[tokio::test(start_paused = true)]
async fn pipelined_responses_are_in_order() {
    on_recorded(&[], |edge, recorder| async move {
        let pipeline = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi\
                        POST /3 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let (got, seen) = play(&edge, &recorder, format!("{pipeline}{NEXT}").as_bytes()).await;
        assert_eq!(seen, ["GET /1 ", "POST /2 hi", "POST /3 hi", "GET /next "]);
        assert_eq!(answers(&got), ["200 GET /1 ", "200 POST /2 hi", "200 POST /3 hi", "200 GET /next "]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn responses_before_a_refused_request_come_first() {
    on_recorded(&["10r/s burst=20"], |edge, recorder| async move {
        let pipeline =
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /#3 HTTP/1.1\r\nhost: a\r\n\r\n";
        let (got, seen) = play(&edge, &recorder, format!("{pipeline}{NEXT}").as_bytes()).await;
        assert_eq!(seen, ["GET /1 ", "GET /2 "]);
        assert_eq!(answers(&got)[..2], ["200 GET /1 ", "200 GET /2 "]);
        assert_eq!((got.len(), got[2].first.as_str(), edge.now()), (3, "HTTP/1.1 400 Bad Request", 100));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bytes_after_connection_close_are_no_request() {
    on_recorded(&[], |edge, recorder| async move {
        for behind in [NEXT, "junk\r\n", "\u{0}"] {
            let (got, seen) = play(&edge, &recorder, format!("{NEXT}{behind}").as_bytes()).await;
            assert_eq!(
                (answers(&got), seen),
                (vec!["200 GET /next ".to_owned()], vec!["GET /next ".to_owned()])
            );
        }
    })
    .await;
}

/// The upstream responds before it has the body; the client then sends one that holds a request.
async fn early_answer_of_the_upstream(expect: &'static str, answer: &'static str) {
    on_raw_edge(config(&[]), |edge, mut pipes| async move {
        let mut client = edge.connect();
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{expect}content-length: 35\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("an open pipe");
        let mut upstream = pipes.recv().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(upstream.read_buf(&mut request).await.expect("a head") > 0);
        }
        upstream.write_all(answer.as_bytes()).await.expect("an open pipe");
        let mut came = Vec::new();
        while !String::from_utf8_lossy(&came).contains("no thanks") {
            assert!(client.read_buf(&mut came).await.expect("an answer") > 0);
        }
        // The connection may be closed by now.
        let _closed = client.write_all(b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.shutdown().await.expect("an open pipe");
        client.read_to_end(&mut came).await.expect("an end");
        let text = String::from_utf8_lossy(&came).replace("HTTP/1.1 100 Continue\r\n\r\n", "");
        let refused = &answer[9..12];
        assert_eq!(
            (text.matches("HTTP/1.1 ").count(), status(&text).to_string().as_str()),
            (1, refused),
            "{text}"
        );
        assert!(pipes.try_recv().is_none(), "another request was made of a body");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn early_response_then_body_with_a_request_inside() {
    let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nno thanks";
    early_answer_of_the_upstream("", answer).await;
    early_answer_of_the_upstream("expect: 100-continue\r\n", answer).await;
    let failed = "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 9\r\nconnection: close\r\n\r\nno thanks";
    early_answer_of_the_upstream("expect: 100-continue\r\n", failed).await;
}

/// A rejected POST whose body of this size holds requests: the body is read away, or the connection
/// is closed.
async fn rejected_with_body(framing: &str, body: &str) -> (Vec<String>, bool) {
    let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}{NEXT}");
    let told = std::rc::Rc::new(std::cell::RefCell::new((Vec::new(), false)));
    let outcome = std::rc::Rc::clone(&told);
    on_recorded(&["1r/d"], |edge, recorder| async move {
        play(&edge, &recorder, NEXT.as_bytes()).await;
        let (got, seen) = play(&edge, &recorder, request.as_bytes()).await;
        assert_eq!(seen, [""; 0]);
        let closed = got[0].all("connection") == ["close"];
        *outcome.borrow_mut() =
            (got.iter().map(|answer| answer.answer()[..3].to_owned()).collect(), closed);
    })
    .await;
    told.take()
}

#[tokio::test(start_paused = true)]
async fn early_response_drains_short_body_and_closes_otherwise() {
    let requests =
        |size: usize| "GET /s HTTP/1.1\r\nhost: a\r\n\r\n".repeat(size)[..size].to_owned();
    for size in [1, 280, 65_536] {
        let got = rejected_with_body(&format!("content-length: {size}"), &requests(size)).await;
        assert_eq!(got, (vec!["503".to_owned(), "503".to_owned()], false), "{size}");
    }
    let got = rejected_with_body("content-length: 65537", &requests(65_537)).await;
    assert_eq!(got, (vec!["503".to_owned()], true));
    let chunked = rejected_with_body(
        "transfer-encoding: chunked",
        &format!("20\r\n{}\r\n0\r\n\r\n", requests(32)),
    )
    .await;
    assert_eq!(chunked, (vec!["503".to_owned()], true));
    let expecting =
        rejected_with_body("expect: 100-continue\r\ncontent-length: 32", &requests(32)).await;
    assert_eq!(expecting, (vec!["503".to_owned()], true));
}

#[tokio::test(start_paused = true)]
async fn drained_body_has_one_second() {
    on_recorded(&["1r/d"], |edge, recorder| async move {
        play(&edge, &recorder, NEXT.as_bytes()).await;
        let (mut client, start) = (edge.connect(), edge.now());
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nGET ")
            .await
            .expect("an open pipe");
        let mut came = Vec::new();
        client.read_to_end(&mut came).await.expect("an end");
        assert_eq!((messages(&came).len(), edge.now() - start), (1, 1_000));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn expect_and_then_silence() {
    on_recorded(&[], |edge, recorder| async move {
        let mut client = edge.connect();
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        client.write_all(head.as_bytes()).await.expect("an open pipe");
        let mut came = String::new();
        client.read_to_string(&mut came).await.expect("an end");
        assert_eq!(came, "HTTP/1.1 100 Continue\r\n\r\n");
        assert!((10_000..=11_000).contains(&edge.now()), "{}", edge.now());
        assert_eq!(edge.line().await["error"]["side"], "client");
        assert_eq!(recorder.seen(), [""; 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn head_with_an_expectation_keeps_step() {
    on_recorded(&[], |edge, recorder| async move {
        let head =
            "HEAD / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        let answer = edge.exchange(&format!("{head}hi{NEXT}")).await;
        assert_eq!(recorder.seen(), ["HEAD / hi", "GET /next "]);
        let statuses: Vec<_> =
            answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, ["100", "200", "200"]);
        assert!(answer.ends_with("\r\n\r\nGET /next "), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn expect_never_crosses_and_http10_gets_no_continue() {
    on_recorded(&[], |edge, recorder| async move {
        for expect in ["100-continue", "100-Continue", "x-other"] {
            let head = format!(
                "POST / HTTP/1.0\r\nhost: a\r\nexpect: {expect}\r\ncontent-length: 2\r\n\r\nhi"
            );
            let (got, _) = play(&edge, &recorder, head.as_bytes()).await;
            assert_eq!(answers(&got), ["200 POST / hi"]);
            assert_eq!(recorder.requests.borrow()[0].all("expect"), [""; 0]);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn upload_truncated_never_completes_and_connection_is_dropped() {
    on_recorded(&[], |edge, recorder| async move {
        play(&edge, &recorder, NEXT.as_bytes()).await;
        let mut client = edge.connect();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\nhello")
            .await
            .expect("an open pipe");
        client.shutdown().await.expect("an open pipe");
        edge.line().await;
        assert_eq!(edge.line().await["error"]["kind"], "client_gone");
        let (got, seen) = play(&edge, &recorder, NEXT.as_bytes()).await;
        assert_eq!(
            (answers(&got), seen),
            (vec!["200 GET /next ".to_owned()], vec!["GET /next ".to_owned()])
        );
        assert!(recorder.unfinished.borrow()[0].ends_with(b"hello"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn websocket_upgrade_not_accepted_is_an_ordinary_request() {
    on_recorded(&[], |edge, recorder| async move {
        for upgrade in ["websocket", "h2c", "TLS/1.0, HTTP/1.1"] {
            let get = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\nhttp2-settings: AAMAAABk\r\n\r\n");
            let (got, _) = play(&edge, &recorder, format!("{get}{NEXT}").as_bytes()).await;
            assert_eq!(answers(&got), ["200 GET / ", "200 GET /next "]);
            let requests = recorder.requests.borrow();
            assert_eq!(requests[0].all("http2-settings").len(), 0, "{upgrade}");
            assert_eq!(requests[0].all("upgrade").len(), usize::from(upgrade != "h2c"), "{upgrade}");
        }
    })
    .await;
}
