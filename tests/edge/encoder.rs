//! Bodies through coders: they decode to what they were, however they are cut, and flow, break and
//! end as they did.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use proptest::prelude::*;
use weir::{
    compress::{
        body::{Coded, FRAME, TURN},
        negotiate::Coding,
        permits::EncoderPermits,
    },
    http::error::{Error, Kind},
};
use weir_test::decode::{decode, decode_so_far};

/// What an upstream does next.
#[derive(Clone, Debug)]
enum Act {
    Send(Vec<u8>),
    Pause,
    Break,
    Trail(HeaderMap),
}

struct Script(VecDeque<Act>);

impl Body for Script {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Act::Pause) => Poll::Pending,
            Some(Act::Send(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
            Some(Act::Trail(fields)) => Poll::Ready(Some(Ok(Frame::trailers(fields)))),
            Some(Act::Break) => Poll::Ready(Some(Err(Error::new(
                Kind::HttpResponseIncomplete,
                "the endpoint cut its response short",
            )))),
        }
    }
}

/// What a client gets of a script.
#[derive(Debug, Default)]
struct Got {
    bytes: Vec<u8>,
    frames: usize,
    /// How often there was nothing, and how many bytes there were by then.
    pauses: Vec<usize>,
    trailers: Option<HeaderMap>,
    broke: Option<Kind>,
}

fn play(coding: Coding, script: &[Act]) -> Got {
    let (coder, seat) = EncoderPermits::default().take(coding, None).expect("a coder");
    let mut body = Coded::by(coder, seat, Script(script.iter().cloned().collect()));
    let (mut got, mut context) = (Got::default(), Context::from_waker(Waker::noop()));
    loop {
        match Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Pending => got.pauses.push(got.bytes.len()),
            Poll::Ready(None) => return got,
            Poll::Ready(Some(Err(error))) => {
                got.broke = Some(error.kind());
                return got;
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    assert!((1..=FRAME).contains(&data.len()), "a frame of {} bytes", data.len());
                    got.bytes.extend_from_slice(&data);
                    got.frames += 1;
                }
                Err(frame) => got.trailers = frame.into_trailers().ok(),
            },
        }
    }
}

/// Words, noise, or one byte again and again.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = proptest::collection::vec("[a-e]{1,9} ", 0..500)
        .prop_map(|words| words.concat().into_bytes());
    let same = (any::<u8>(), 0_usize..200_000).prop_map(|(byte, count)| vec![byte; count]);
    prop_oneof![words, same, proptest::collection::vec(any::<u8>(), 0..40_000)]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![3 => piece().prop_map(Act::Send), 2 => Just(Act::Pause)]
}

fn sent(script: &[Act]) -> Vec<u8> {
    let sent = script
        .iter()
        .filter_map(|act| if let Act::Send(bytes) = act { Some(&bytes[..]) } else { None });
    sent.collect::<Vec<_>>().concat()
}

fn coding() -> impl Strategy<Value = Coding> {
    proptest::sample::select(Coding::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn gzip_brotli_zstd_body_decodes_to_original_however_it_is_cut(coding in coding(), script in proptest::collection::vec(act(), 0..12)) {
        let got = play(coding, &script);
        prop_assert_eq!(decode(coding.name(), &got.bytes).expect("a whole body"), sent(&script));
        prop_assert!(got.broke.is_none() && got.trailers.is_none());
    }

    #[test]
    fn gzip_brotli_zstd_broken_body_is_never_complete(
        coding in coding(),
        script in proptest::collection::vec(act(), 0..6),
    ) {
        let got = play(coding, &[&script[..], &[Act::Break]].concat());
        prop_assert_eq!(got.broke, Some(Kind::HttpResponseIncomplete));
        let (decoded, end) = decode_so_far(coding.name(), &got.bytes);
        prop_assert!(end.is_err() || got.bytes.is_empty());
        prop_assert!(sent(&script).starts_with(&decoded));
    }
}

#[test]
fn gzip_brotli_zstd_all_sent_before_a_pause_can_be_decoded_in_it() {
    for coding in Coding::ALL.iter().copied() {
        let mut script = Vec::new();
        for number in 0..20 {
            script.extend([
                Act::Send(format!("piece {number}\n").into_bytes()),
                Act::Pause,
                Act::Pause,
                Act::Pause,
            ]);
        }
        let got = play(coding, &script);
        // The first time the upstream gets a turn, the second time there is a flush, the third time
        // there is nothing.
        let mut sent = String::new();
        for (number, pause) in got.pauses.iter().skip(1).step_by(2).enumerate() {
            sent += &format!("piece {number}\n");
            let (decoded, end) = decode_so_far(coding.name(), &got.bytes[..*pause]);
            assert_eq!(
                (String::from_utf8_lossy(&decoded), end.is_err()),
                (sent.as_str().into(), true),
                "{coding:?}"
            );
        }
        assert_eq!(got.pauses.len(), 40);
    }
}

#[test]
fn gzip_brotli_zstd_pieces_without_a_pause_are_not_flushed() {
    for coding in Coding::ALL.iter().copied() {
        let script: Vec<Act> =
            (0..100).flat_map(|_| [Act::Send(b"again and again, ".to_vec()), Act::Pause]).collect();
        let got = play(coding, &script);
        assert_eq!((got.frames, got.pauses.len()), (1, 100), "{coding:?}");
        assert!(got.bytes.len() < 100, "{coding:?}: {} bytes", got.bytes.len());
    }
}

#[test]
fn gzip_brotli_zstd_trailers_follow_without_what_was_true_of_other_bytes() {
    for coding in Coding::ALL.iter().copied() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        let kept = trailers.clone();
        trailers.insert("repr-digest", HeaderValue::from_static("sha-256=:x:"));
        let got = play(coding, &[Act::Send(vec![b'x'; 100_000]), Act::Trail(trailers)]);
        assert_eq!(got.trailers, Some(kept));
        assert_eq!(decode(coding.name(), &got.bytes).expect("a whole body").len(), 100_000);
    }
}

#[test]
fn gzip_brotli_zstd_endless_body_yields_to_others() {
    for coding in Coding::ALL.iter().copied() {
        let got = play(coding, &[Act::Send(vec![b'x'; 20 * TURN])]);
        assert_eq!(got.pauses.len(), 19, "{coding:?}");
    }
}

#[test]
fn http2_known_end_comes_with_last_frame() {
    let (coder, seat) = EncoderPermits::default().take(Coding::Gzip, Some(2000)).expect("a coder");
    let mut body = Coded::by(coder, seat, Script([Act::Send(vec![b'x'; 2000])].into()));
    let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(
        matches!(polled, Poll::Ready(Some(Ok(frame))) if frame.is_data()) && body.is_end_stream()
    );
}
