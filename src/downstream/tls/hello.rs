//! First bytes on a TLS listener: a ClientHello, or a request of plain HTTP.
//!
//! Guarantees: a client of plain HTTP gets no byte of TLS, so that the response is the first it
//! reads. No byte it sent is lost. rustls bounds the size of a ClientHello.

use std::{
    future::poll_fn,
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
};

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio_rustls::StartHandshake;

use crate::{downstream::resumed::resumed, runtime::io::Io};

/// Beginning of a connection.
pub enum Hello {
    /// ClientHello of a handshake.
    Tls(Box<StartHandshake<Box<dyn Io>>>),
    /// Plain HTTP; what was read is read again.
    Plain(Box<dyn Io>),
}

/// Reads the beginning of a connection.
///
/// # Errors
/// When it is neither; the client gets the alert that TLS defines.
pub async fn read(mut io: Box<dyn Io>) -> io::Result<Hello> {
    let (mut acceptor, mut spoken) = (Acceptor::default(), Spoken::Nothing);
    let read = poll_fn(|context| poll_hello(&mut acceptor, &mut io, &mut spoken, context)).await;
    if let Spoken::Plain(ahead) = spoken {
        return Ok(Hello::Plain(resumed(ahead, io)));
    }
    match read? {
        Ok(accepted) => Ok(Hello::Tls(Box::new(StartHandshake::from_parts(accepted, io)))),
        Err(Refused { alert, error }) => {
            // The error of the handshake says more than that of this write.
            let _ = io.write_all(&alert).await;
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
    }
}

/// Protocol of the first byte.
enum Spoken {
    /// None was received.
    Nothing,
    /// TLS, or neither: the TLS library decides.
    Tls,
    /// Plain HTTP, with what was read of it.
    Plain(Vec<u8>),
}

/// Beginning that is not a ClientHello.
struct Refused {
    alert: Vec<u8>,
    error: rustls::Error,
}

fn poll_hello(
    acceptor: &mut Acceptor,
    io: &mut Box<dyn Io>,
    spoken: &mut Spoken,
    context: &mut Context<'_>,
) -> Poll<io::Result<Result<Accepted, Refused>>> {
    loop {
        match acceptor.read_tls(&mut FirstBytes { io: &mut **io, spoken, context }) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Poll::Ready(Ok(Ok(accepted))),
            Err((error, mut written)) => {
                let mut alert = Vec::new();
                // Writing to memory does not fail.
                let _ = written.write_all(&mut alert);
                return Poll::Ready(Ok(Err(Refused { alert, error })));
            }
        }
    }
}

/// Reader that keeps plain HTTP from the TLS library, whose response would be an alert.
struct FirstBytes<'a, 'b> {
    io: &'a mut dyn Io,
    spoken: &'a mut Spoken,
    context: &'a mut Context<'b>,
}

impl Read for FirstBytes<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.io).poll_read(self.context, &mut buffer) {
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            Poll::Ready(outcome) => outcome?,
        }
        let read = buffer.filled();
        // Only the first byte decides: any byte may stand within a ClientHello.
        if let (Spoken::Nothing, Some(first)) = (&self.spoken, read.first()) {
            // A method begins with a letter, and a record of TLS with 20 to 23 (RFC 8446,
            // section 5.1).
            if first.is_ascii_alphabetic() {
                *self.spoken = Spoken::Plain(read.to_vec());
                return Err(io::ErrorKind::InvalidData.into());
            }
            *self.spoken = Spoken::Tls;
        }
        Ok(read.len())
    }
}
