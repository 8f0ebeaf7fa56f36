//! Header blocks of another encoder, whole and with flaws
//! ([`judge::blocks`](weir_test::judge::blocks) judges them).

use http::Request;
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use weir::http::framing::hpack::{Decoder, FieldName};

use weir_test::{
    frames::{self, CONTINUATION, END_HEADERS, HEADERS},
    judge::blocks::{compare, run},
};

/// Fields of requests as clients send them: some again and again, some never twice.
fn requests() -> impl Strategy<Value = Vec<Vec<(&'static str, String)>>> {
    let names = [
        "user-agent",
        "cookie",
        "x-request-id",
        "accept",
        "authorization",
        "x-a",
        "referer",
        "content-type",
    ];
    let value = prop_oneof![
        select(vec!["a", "gzip, deflate", "", "text/html", "no-cache"]).prop_map(str::to_owned),
        "[ -~\t]{0,40}",
        "[a-z0-9]{100,300}"
    ];
    let value = value.prop_map(|value| value.trim().to_owned());
    vec(vec((select(names.to_vec()), value), 0..12), 1..12)
}

/// What a client of the other implementation sends for these requests: the block of each.
async fn encoded(requests: &[Vec<(&'static str, String)>]) -> Vec<Vec<u8>> {
    let (client, mut server) = duplex(1 << 20);
    let (mut sender, connection) = h2::client::handshake(client).await.expect("a handshake");
    tokio::task::spawn_local(connection);
    let mut preface = [0; 24];
    server.read_exact(&mut preface).await.expect("a preface");
    server.write_all(&frames::frame(frames::SETTINGS, 0, 0, &[])).await.expect("an open pipe");
    let (mut blocks, mut block, mut responses) = (Vec::new(), Vec::new(), Vec::new());
    for (number, fields) in requests.iter().enumerate() {
        let mut request = Request::get(format!("http://a.test/{number}"));
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        let request = request.body(()).expect("a request");
        let (response, _) = sender.send_request(request, true).expect("an open connection");
        // Dropped, it would be reset.
        responses.push(response);
        loop {
            let frame = frames::read(&mut server).await.expect("a frame");
            if matches!(frame.kind, HEADERS | CONTINUATION) {
                block.extend(frame.payload);
                if frame.flags & END_HEADERS != 0 {
                    break;
                }
            }
        }
        blocks.push(std::mem::take(&mut block));
    }
    blocks
}

/// Names with each byte there is, at the beginning and behind it.
#[test]
fn names_of_every_byte_are_judged_as_another_decoder_does() {
    for byte in 0..=255 {
        for name in [vec![byte], vec![byte, b'x'], vec![b'x', byte]] {
            let length = u8::try_from(name.len()).expect("a short name");
            run(compare(&[[&b"\x82\x86\x84\x00"[..], &[length], &name, b"\x011"].concat()]));
        }
    }
}

proptest! {
    #[test]
    fn blocks_of_another_encoder_are_decoded(requests in requests()) {
        run(async {
            let mut decoder = Decoder::default();
            for (number, (block, fields)) in encoded(&requests).await.iter().zip(&requests).enumerate() {
                let mut decoded = Vec::new();
                decoder.decode(block, |field| decoded.push(field.clone())).expect("a block");
                let of = |name: &FieldName| {
                    decoded.iter().filter(|field| field.name == *name).map(|field| field.value.as_bytes()).collect::<Vec<_>>()
                };
                let path = format!("/{number}");
                assert_eq!([of(&FieldName::Method), of(&FieldName::Scheme), of(&FieldName::Authority), of(&FieldName::Path)], [vec![&b"GET"[..]], vec![b"http"], vec![b"a.test"], vec![path.as_bytes()]]);
                for (name, _) in fields {
                    let expected: Vec<_> = fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_bytes()).collect();
                    assert_eq!(of(&FieldName::Field(name.parse().expect("a name"))), expected, "{name}");
                }
                assert_eq!(decoded.len(), fields.len() + 4);
            }
        });
    }

    #[test]
    fn blocks_with_flaws_are_judged_as_another_decoder_does(
        requests in requests(),
        flaws in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        run(async {
            let mut blocks = encoded(&requests).await;
            for (block, place, byte, kind) in flaws {
                let block = block.get_mut(&mut blocks);
                let place = place.index(block.len());
                match kind {
                    0 => block[place] = byte,
                    1 => block[place] ^= 1 << (byte % 8),
                    2 => block.insert(place, byte),
                    _ => block.truncate(place),
                }
                if block.is_empty() {
                    block.push(byte);
                }
            }
            compare(&blocks).await;
        });
    }

    #[test]
    fn blocks_of_any_bytes_are_judged_as_another_decoder_does(blocks in vec(vec(any::<u8>(), 0..40), 1..6)) {
        run(compare(&blocks));
    }
}
