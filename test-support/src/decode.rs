//! What clients make of coded bytes.

use std::io::{self, Read};

use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// The whole of what was coded.
pub fn decode(coding: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let (decoded, end) = decode_so_far(coding, bytes);
    end.map(|()| decoded)
}

/// What can be decoded of these bytes, and whether they are whole.
pub fn decode_so_far(coding: &str, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    match coding {
        "gzip" => read(flate2::read::MultiGzDecoder::new(bytes)),
        "br" => read(brotli::Decompressor::new(bytes, 4096)),
        "zstd" => zstd(bytes),
        other => panic!("no decoder of `{other}`"),
    }
}

fn read(mut decoder: impl Read) -> (Vec<u8>, io::Result<()>) {
    let (mut decoded, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return (decoded, Ok(())),
            Ok(count) => decoded.extend_from_slice(&buffer[..count]),
            Err(error) => return (decoded, Err(error)),
        }
    }
}

fn zstd(bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let (mut context, mut input) = (DCtx::create(), InBuffer::around(bytes));
    let (mut decoded, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let mut output = OutBuffer::around(&mut buffer[..]);
        let left = context.decompress_stream(&mut output, &mut input).expect("bytes of zstd");
        let written = output.pos();
        decoded.extend_from_slice(&buffer[..written]);
        if left == 0 {
            let end = if input.pos() == bytes.len() {
                Ok(())
            } else {
                Err(io::ErrorKind::InvalidData.into())
            };
            return (decoded, end);
        }
        if written < buffer.len() && input.pos() == bytes.len() {
            return (decoded, Err(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}
