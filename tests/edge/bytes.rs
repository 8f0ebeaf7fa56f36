//! Every byte at every place of a request's head: it is forwarded as it came, or refused with a
//! response and a line that say so.

use weir::downstream::settings::HeaderLimits;

use crate::{
    harness::{Edge, config, on_edge_of, status},
    recorder::{Message, Recorder, on_recorded, play},
};

/// A head with a byte somewhere.
type Head = fn(u8) -> Vec<u8>;

fn head(line: &[&[u8]], field: &[&[u8]]) -> Vec<u8> {
    [&line.concat(), &b"\r\nhost: a\r\n"[..], &field.concat(), b"connection: close\r\n\r\n"]
        .concat()
}

/// The places.
const PLACES: [(&str, Head); 7] = [
    ("path", |byte| head(&[b"GET /a", &[byte], b"c HTTP/1.1"], &[])),
    ("query", |byte| head(&[b"GET /?a", &[byte], b"c HTTP/1.1"], &[])),
    ("authority", |byte| head(&[b"GET http://a", &[byte], b"c/ HTTP/1.1"], &[])),
    ("method", |byte| head(&[b"G", &[byte], b"T / HTTP/1.1"], &[])),
    ("version", |byte| head(&[b"GET / HTTP/1.1", &[byte]], &[])),
    ("name", |byte| head(&[b"GET / HTTP/1.1"], &[b"x", &[byte], b"y: v\r\n"])),
    ("value", |byte| head(&[b"GET / HTTP/1.1"], &[b"x-a: a", &[byte], b"c\r\n"])),
];

/// What is wrong with a response that refuses a request, and with its line.
async fn faults(edge: &Edge, response: &Message, place: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut want = |fine: bool, what: &str| {
        if !fine {
            faults.push(what.to_owned());
        }
    };
    want(response.first == "HTTP/1.1 400 Bad Request", &response.first);
    want(response.all("proxy-status").len() == 1, "no Proxy-Status");
    want(response.all("cache-control") == ["no-store"], "no Cache-Control");
    want(response.all("content-type") == ["application/problem+json"], "no problem");
    want(serde_json::from_slice::<serde_json::Value>(&response.body).is_ok(), "no body");
    let line = edge.line().await;
    want(line["status"] == 400 && line["error"]["side"] == "client", "another line");
    want(place == "method" || line["method"] == "GET", "no method");
    want(
        place == "method"
            || line["path"].as_str().is_some_and(|path| path.len() > 1 || path == "/"),
        "no path",
    );
    faults
}

/// Judges one request; says whether it was forwarded.
async fn judge(
    edge: &Edge,
    recorder: &Recorder,
    place: &str,
    byte: u8,
    request: &[u8],
) -> Result<bool, String> {
    let (responses, seen) = play(edge, recorder, request).await;
    let [response] = &responses[..] else { return Err(format!("{} responses", responses.len())) };
    if let [seen] = &seen[..] {
        let line = edge.line().await;
        let crossed = match place {
            "name" | "value" => {
                recorder.requests.borrow()[0].fields.iter().any(|(name, _)| name.starts_with('x'))
            }
            // It makes another host, or another path, of what stands before it.
            "authority" => true,
            _ => seen.as_bytes().contains(&byte),
        };
        let fine = crossed && response.first == "HTTP/1.1 200 OK" && line["status"] == 200;
        return if fine { Ok(true) } else { Err(format!("{seen} {line}")) };
    }
    let faults = faults(edge, response, place).await;
    if faults.is_empty() { Ok(false) } else { Err(faults.join(", ")) }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_head_are_forwarded_or_refused_with_a_word() {
    for (place, head) in PLACES {
        on_recorded(&[], |edge, recorder| async move {
            let (mut wrong, mut taken) = (Vec::new(), 0);
            for byte in 0..=255_u8 {
                match judge(&edge, &recorder, place, byte, &head(byte)).await {
                    Ok(forwarded) => taken += u32::from(forwarded),
                    Err(fault) => wrong.push(format!("{byte:#04x}: {fault}")),
                }
            }
            assert!(wrong.is_empty(), "in a {place}: {wrong:#?}");
            eprintln!("{place}: {taken} are forwarded");
        })
        .await;
    }
}

/// The framer's bounds are the parser's: a head that is within them gets its response, and one that
/// is not is refused with a word.
async fn bounded(size: usize, rows: &[(String, u16)]) {
    let mut large = config(&[]);
    large.header_limits = HeaderLimits { size, count: 1_000 };
    on_edge_of(large, |edge| async move {
        for (request, expected) in rows {
            let response = edge.exchange(request).await;
            let line = edge.line().await;
            let told = (status(&response), line["path"].as_str().unwrap_or_default().to_owned());
            assert_eq!(
                told,
                (*expected, "/p".to_owned()),
                "{} bytes: {response:.200}",
                request.len()
            );
            assert_eq!(
                response.contains("proxy-status: weir; error="),
                *expected != 200,
                "{response:.200}"
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_name_are_bounded_by_what_a_name_holds() {
    let named = |length: usize| {
        format!(
            "OPTIONS /p HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n{}: v\r\nconnection: close\r\n\r\n",
            "x".repeat(length)
        )
    };
    bounded(1 << 20, &[(named(65_535), 200), (named(65_536), 431), (named(300_000), 431)]).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_head_are_bounded_to_the_byte() {
    for size in [1_024, 200_000] {
        let head = |length: usize| {
            let [before, behind] = [
                "OPTIONS /p HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\nconnection: close\r\nx: ",
                "\r\n",
            ];
            format!("{before}{}{behind}\r\n", "y".repeat(length - before.len() - behind.len()))
        };
        let rows = [head(size), format!("\r\n{}", head(size)), head(size + 1)];
        bounded(size, &rows.into_iter().zip([200, 200, 431]).collect::<Vec<_>>()).await;
    }
    let fields = |count: usize| {
        format!(
            "OPTIONS /p HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\nconnection: close\r\n{}\r\n",
            "x: y\r\n".repeat(count - 3)
        )
    };
    bounded(200_000, &[(fields(1_000), 200), (fields(1_001), 431)]).await;
}
