//! A listening socket, as [`std::net::TcpListener`].

use std::io;
use std::iter::FusedIterator;
use std::net::{SocketAddr, ToSocketAddrs};

use sockeye_core::socket::SockOpt;

use super::each_address;
use super::socket::{AsSocket, Socket};
use super::stream::TcpStream;
use crate::driver::Host;

/// The backlog of [`TcpListener::bind`]; the stack's `somaxconn` bounds it.
const BACKLOG: i32 = 4_096;

/// A listening socket. It is closed when the last clone is dropped.
pub struct TcpListener(Socket);

impl From<Socket> for TcpListener {
    fn from(socket: Socket) -> Self {
        TcpListener(socket)
    }
}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Self {
        listener.0
    }
}

impl AsSocket for TcpListener {
    fn as_socket(&self) -> &Socket {
        &self.0
    }
}

impl TcpListener {
    /// Listens on the first of these addresses that can be bound, with SO_REUSEADDR as `std` sets it.
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL, EACCES.
    pub fn bind(host: &Host, address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        TcpListener::bind_with(host, address, BACKLOG)
    }

    /// [`TcpListener::bind`] with a backlog of one's own.
    ///
    /// # Errors
    /// As there.
    pub fn bind_with(host: &Host, address: impl ToSocketAddrs, backlog: i32) -> io::Result<TcpListener> {
        each_address(address, |address| {
            let socket = Socket::new(host, address)?;
            socket.set_option(&SockOpt::ReuseAddr(true))?;
            socket.bind(address)?;
            socket.listen(backlog)?;
            Ok(TcpListener(socket))
        })
    }

    /// Our address.
    ///
    /// # Errors
    /// EBADF.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Another handle to the same socket.
    ///
    /// # Errors
    /// None; as in `std` for programs that expect them.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener(self.0.clone()))
    }

    /// The next connection and its peer.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if it does not wait; ENFILE.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = self.0.accept()?;
        Ok((TcpStream::from(socket), peer))
    }

    /// The connections as they come, for ever.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// [`TcpListener::incoming`] that owns the listener.
    pub fn into_incoming(self) -> IntoIncoming {
        IntoIncoming { listener: self }
    }

    /// IP_TTL.
    ///
    /// # Errors
    /// EINVAL unless 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.set_ttl(ttl)
    }

    /// IP_TTL.
    ///
    /// # Errors
    /// EBADF.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.ttl()
    }

    /// SO_ERROR: takes the pending error.
    ///
    /// # Errors
    /// EBADF.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.take_error()
    }

    /// O_NONBLOCK, for all clones. Accepted sockets do not inherit it, as on Linux.
    ///
    /// # Errors
    /// None; as in `std` for programs that expect them.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.set_nonblocking(nonblocking);
        Ok(())
    }
}

/// The connections of a listener; see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}

/// The connections of a listener; see [`TcpListener::into_incoming`].
#[derive(Debug)]
pub struct IntoIncoming {
    listener: TcpListener,
}

impl Iterator for IntoIncoming {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for IntoIncoming {}

impl std::fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TcpListener").field(&self.0).finish()
    }
}
