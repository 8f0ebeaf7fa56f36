//! Requests in the bytes of a connection, as weir takes them.

use bytes::{Buf, BytesMut};
use weir::http::framing::{
    HeaderLimits,
    body::{BodyDecoder, Piece},
    request_head::HeadReader,
};

/// The part of the bytes that is taken as requests, and the number of heads in it.
pub fn accepted(bytes: &[u8], pieces: usize, limits: HeaderLimits) -> (Vec<u8>, u64) {
    let (mut reader, mut body) = (HeadReader::new(limits), BodyDecoder::default());
    let (mut received, mut came, mut heads) = (BytesMut::new(), 0, 0);
    'pieces: for piece in bytes.chunks(pieces) {
        received.extend_from_slice(piece);
        came += piece.len();
        loop {
            match body.take(&mut received) {
                Ok(Piece::Data(_)) => continue,
                Ok(Piece::More) => break,
                Ok(Piece::Trailers(_) | Piece::End) => {}
                Err(_) => break 'pieces,
            }
            match reader.read(&received) {
                Ok(Some((head, length))) => {
                    heads += 1;
                    body = head.body;
                    received.advance(length);
                }
                Ok(None) => break,
                Err(_) => break 'pieces,
            }
        }
    }
    (bytes[..came - received.len()].to_vec(), heads)
}
