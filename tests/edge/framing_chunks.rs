//! Bodies in chunks: sizes, extensions, ends and trailers.

use tokio::io::AsyncWriteExt;

use crate::recorder::{NEXT, on_recorded, one_request, play};

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// A body that is refused: the client learns it, nothing behind it is a request, and the upstream
/// never gets a whole one.
async fn broken(bodies: &[&[u8]]) {
    for body in bodies {
        on_recorded(&[], |edge, recorder| async move {
            let (answers, seen) =
                play(&edge, &recorder, &[CHUNKED.as_bytes(), body, NEXT.as_bytes()].concat()).await;
            let shown = body.escape_ascii().to_string().chars().take(100).collect::<String>();
            let statuses: Vec<_> =
                answers.iter().map(|answer| answer.answer()[..3].to_owned()).collect();
            assert_eq!((statuses, seen), (vec!["400".to_owned()], vec![]), "{shown}");
            assert_eq!(edge.line().await["error"]["side"], "client", "{shown}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn chunk_sizes() {
    broken(&[
        b"0x2\r\nhi\r\n0\r\n\r\n",
        b"+2\r\nhi\r\n0\r\n\r\n",
        b"-2\r\nhi\r\n0\r\n\r\n",
        b"2_\r\nhi\r\n0\r\n\r\n",
        b"2h\r\nhi\r\n0\r\n\r\n",
        b"g\r\nhi\r\n0\r\n\r\n",
        b"\r\nhi\r\n0\r\n\r\n",
        b" 2\r\nhi\r\n0\r\n\r\n",
        b"2 \r\nhi\r\n0\r\n\r\n",
        b"2\t;a\r\nhi\r\n0\r\n\r\n",
        b"2,2\r\nhi\r\n0\r\n\r\n",
        b"\x002\r\nhi\r\n0\r\n\r\n",
        b"10000000000000002\r\nhi\r\n0\r\n\r\n",
        b"0000000000000000000000000000000002\r\nhi\r\n0\r\n\r\n",
        b"0000000000000002\r\nhi\r\n0\r\n\r\n",
        b"2\r\nhi\r\n0000000000000000\r\n\r\n",
        b"2\nhi\r\n0\r\n\r\n",
        b"2\rhi\r\n0\r\n\r\n",
        b"2\r\rhi\r\n0\r\n\r\n",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn chunk_sizes_of_15_digits() {
    one_request(&[(
        &format!("{CHUNKED}000000000000002\r\nhi\r\n000000000000000\r\n\r\n"),
        "POST / hi",
    )])
    .await;
}

#[tokio::test(start_paused = true)]
async fn chunk_extensions_are_taken_off() {
    for extension in [";", ";a", ";a=b", ";a=\"b;c\"", "; a", ";a\t=b", ";\u{e9}"] {
        one_request(&[(
            &format!("{CHUNKED}2{extension}\r\nhi\r\n0{extension}\r\n\r\n"),
            "POST / hi",
        )])
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn chunk_extensions_that_hide_an_end() {
    let endless = [b"2;".to_vec(), vec![b'x'; 70_000]].concat();
    broken(&[
        b"2;a\rb\r\nhi\r\n0\r\n\r\n",
        b"2;a\nb\r\nhi\r\n0\r\n\r\n",
        b"2;a\n\r\nhi\r\n0\r\n\r\n",
        b"2;a=\"\r\nhi\r\n\"\r\n0\r\n\r\n",
        b"2;a\x00\r\nhi\r\n0\r\n\r\n",
        &endless,
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn extensions_of_more_than_16_kib_a_body() {
    let lines = |count: usize| {
        [format!("1;{}\r\nx\r\n", "e".repeat(1000)).repeat(count).as_bytes(), b"0\r\n\r\n"].concat()
    };
    broken(&[&lines(17)]).await;
    let fine = String::from_utf8(lines(16)).expect("text");
    one_request(&[(&format!("{CHUNKED}{fine}"), &format!("POST / {}", "x".repeat(16)))]).await;
}

#[tokio::test(start_paused = true)]
async fn chunk_data_without_its_end() {
    broken(&[
        b"2\r\nhi0\r\n\r\n",
        b"2\r\nhi\n0\r\n\r\n",
        b"2\r\nhi\r0\r\n\r\n",
        b"2\r\nhiya\r\n0\r\n\r\n",
        b"2\r\nhi\r\n\r\n0\r\n\r\n",
        b"2\r\nhi\r\n0\r\nxx",
        b"2\r\nhi\r\n0\n\n",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn response_without_last_chunk_is_cut_and_connection_dropped() {
    on_recorded(&[], |edge, recorder| async move {
        for body in ["2\r\nhi\r\n", "2\r\nhi", "2\r\nhi\r\n0\r\n", "5\r\nhi"] {
            let mut client = edge.connect();
            client.write_all(format!("{CHUNKED}{body}").as_bytes()).await.expect("an open pipe");
            client.shutdown().await.expect("an open pipe");
            let line = edge.line().await;
            assert_eq!(
                (&line["status"], &line["error"]["kind"]),
                (&499.into(), &"client_gone".into()),
                "{body:?}"
            );
        }
        let (_, seen) = play(&edge, &recorder, NEXT.as_bytes()).await;
        assert_eq!(seen, ["GET /next "]);
        let unfinished: Vec<_> =
            recorder.unfinished.borrow().iter().map(|left| !left.is_empty()).collect();
        assert_eq!(unfinished[..4], [true; 4]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn trailers_with_framing_fields() {
    broken(&[
        b"0\r\ncontent-length: 5\r\n\r\n",
        b"0\r\ntransfer-encoding: chunked\r\n\r\n",
        b"0\r\nHost: evil\r\n\r\n",
        b"0\r\nconnection: x\r\n\r\n",
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn trailers_that_are_no_fields_or_never_end() {
    let endless = [&b"0\r\nx: "[..], &[b'x'; 40_000]].concat();
    let many = [&b"0\r\n"[..], &b"x: y\r\n".repeat(101)].concat();
    broken(&[
        b"0\r\n x: y\r\n\r\n",
        b"0\r\nx: y\r\n z\r\n\r\n",
        b"0\r\nx y\r\n\r\n",
        b"0\r\n: y\r\n\r\n",
        b"0\r\nx : y\r\n\r\n",
        b"0\r\nx: y\n\r\n",
        b"0\r\nx: \x00\r\n\r\n",
        b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        &endless,
        &many,
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn identity_fields_behind_a_body_never_cross() {
    on_recorded(&[], |edge, recorder| async move {
        let fields =
            "x-real-ip: 6.6.6.6\r\nx-forwarded-for: 6.6.6.6\r\nauthorization: x\r\nremote-user: root\r\nx-sum: 1\r\n";
        let head = CHUNKED.replace("\r\n\r\n", "\r\ntrailer: x-real-ip, x-forwarded-for, authorization, x-sum\r\n\r\n");
        play(&edge, &recorder, format!("{head}2\r\nhi\r\n0\r\n{fields}\r\n{NEXT}").as_bytes()).await;
        let requests = recorder.requests.borrow();
        assert_eq!(requests[0].trailers, [("x-sum".to_owned(), "1".to_owned())]);
        assert_eq!((requests[0].all("trailer"), requests[0].all("x-sum")), (vec!["x-sum"], vec![]));
    })
    .await;
}
