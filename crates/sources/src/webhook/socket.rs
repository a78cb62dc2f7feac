//! A connection's socket, which can be asked whether its peer is still there.
//!
//! hyper serves half-closed clients only where it does not look for the end of a connection, so
//! it notices no caller that hangs up.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A socket, shared between the server that uses it and those who ask for its peer.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<TcpStream>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// Who is at the other end. Does not keep the connection open.
    pub(super) fn peer(&self) -> Peer {
        Peer(Arc::downgrade(&self.0))
    }

    /// Resolves when the connection is broken.
    pub(super) async fn broken(&self) {
        // An error of waiting is as good as one of the connection.
        self.0.ready(Interest::ERROR).await.ok();
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer(Weak<TcpStream>);

/// What is known of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It has both sides open.
    Here,
    /// It sends no more; it may have closed, or wait for the answer.
    Closed,
    /// The connection is broken, or over.
    Gone,
}

impl Peer {
    pub(super) fn presence(&self) -> Presence {
        let Some(stream) = self.0.upgrade() else {
            return Presence::Gone;
        };
        let interest = Interest::READABLE | Interest::ERROR;
        match stream.ready(interest).now_or_never() {
            None => Presence::Here,
            Some(Err(_)) => Presence::Gone,
            Some(Ok(ready)) if ready.is_error() => Presence::Gone,
            Some(Ok(ready)) if ready.is_read_closed() => Presence::Closed,
            Some(Ok(_)) => Presence::Here,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.0).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (server, _) = listener.accept().await.unwrap();
        (Socket::new(server), client.unwrap())
    }

    #[tokio::test]
    async fn carries_bytes_both_ways() {
        let (mut socket, mut client) = pair().await;
        client.write_all(b"question").await.unwrap();
        let mut question = [0; 8];
        socket.read_exact(&mut question).await.unwrap();
        socket.write_all(b"answer").await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((&question, answer.as_str()), (b"question", "answer"));
    }

    #[tokio::test]
    async fn tells_a_peer_that_waits_from_one_that_hung_up() {
        let (socket, mut client) = pair().await;
        client.write_all(b"pending").await.unwrap();
        socket.0.readable().await.unwrap();
        let peer = socket.peer();
        assert_eq!(peer.presence(), Presence::Here);
        client.shutdown().await.unwrap();
        while peer.presence() == Presence::Here {
            tokio::task::yield_now().await;
        }
        assert_eq!(peer.presence(), Presence::Closed);
        // What it never read makes its close a reset.
        let mut socket = socket;
        socket.write_all(b"unread").await.unwrap();
        client.readable().await.unwrap();
        drop(client);
        socket.broken().await;
        assert_eq!(peer.presence(), Presence::Gone);
        drop(socket);
        assert_eq!(peer.presence(), Presence::Gone);
    }
}
