//! A TCP connection, as [`std::net::TcpStream`].

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use sockeye_core::Payload;
use sockeye_core::socket::{How, MsgFlags, SockOpt, SockOptName};
use sockeye_core::tcp::TcpInfo;

use super::each_address;
use super::socket::{AsSocket, Socket};
use crate::driver::Host;

/// A TCP connection. It is closed when the last clone is dropped.
pub struct TcpStream(Socket);

impl From<Socket> for TcpStream {
    fn from(socket: Socket) -> Self {
        TcpStream(socket)
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        stream.0
    }
}

impl AsSocket for TcpStream {
    fn as_socket(&self) -> &Socket {
        &self.0
    }
}

impl TcpStream {
    /// Opens a connection to the first of these addresses that answers.
    ///
    /// # Errors
    /// As `connect`: ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EADDRNOTAVAIL ..., of the last address tried.
    pub fn connect(host: &Host, address: impl ToSocketAddrs) -> io::Result<TcpStream> {
        each_address(address, |address| {
            let socket = Socket::new(host, address)?;
            socket.connect(address)?;
            Ok(TcpStream(socket))
        })
    }

    /// Opens a connection, given up after `timeout`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a timeout of zero, [`io::ErrorKind::TimedOut`], else as [`TcpStream::connect`].
    pub fn connect_timeout(host: &Host, address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        refuse_zero(Some(timeout))?;
        let socket = Socket::new(host, *address)?;
        socket.connect_timeout(*address, timeout)?;
        Ok(TcpStream(socket))
    }

    /// The peer's address.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// Our address.
    ///
    /// # Errors
    /// EBADF.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Ends one or both directions, for all clones. As on Linux the write side may be shut down again, and
    /// a connection that is gone gives ENOTCONN.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(match how {
            Shutdown::Read => How::Read,
            Shutdown::Write => How::Write,
            Shutdown::Both => How::Both,
        })
    }

    /// Another handle to the same connection.
    ///
    /// # Errors
    /// None; as in `std` for programs that expect them.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        Ok(TcpStream(self.0.clone()))
    }

    /// How long a read may wait (SO_RCVTIMEO); `None` for ever. It then fails with [`io::ErrorKind::WouldBlock`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        refuse_zero(timeout)?;
        self.0.set_option(&SockOpt::RcvTimeo(timeout))
    }

    /// How long a write may wait (SO_SNDTIMEO); see [`TcpStream::set_read_timeout`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        refuse_zero(timeout)?;
        self.0.set_option(&SockOpt::SndTimeo(timeout))
    }

    /// What [`TcpStream::set_read_timeout`] set.
    ///
    /// # Errors
    /// EBADF.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.0.time_option(SockOptName::RcvTimeo)
    }

    /// What [`TcpStream::set_write_timeout`] set.
    ///
    /// # Errors
    /// EBADF.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        self.0.time_option(SockOptName::SndTimeo)
    }

    /// Reads without taking the bytes away.
    ///
    /// # Errors
    /// As reading.
    pub fn peek(&self, out: &mut [u8]) -> io::Result<usize> {
        self.0.recv(out, MsgFlags::PEEK)
    }

    /// SO_LINGER: how long closing may wait for the peer to have everything; zero resets.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.0.set_option(&SockOpt::Linger(linger))
    }

    /// What [`TcpStream::set_linger`] set, in whole seconds.
    ///
    /// # Errors
    /// EBADF.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.0.time_option(SockOptName::Linger)
    }

    /// TCP_NODELAY: small segments are sent at once.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.set_option(&SockOpt::NoDelay(nodelay))
    }

    /// TCP_NODELAY.
    ///
    /// # Errors
    /// EBADF.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.bool_option(SockOptName::NoDelay)
    }

    /// TCP_QUICKACK: ACKs are not delayed for a while.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.0.set_option(&SockOpt::QuickAck(quickack))
    }

    /// TCP_QUICKACK.
    ///
    /// # Errors
    /// EBADF.
    pub fn quickack(&self) -> io::Result<bool> {
        self.0.bool_option(SockOptName::QuickAck)
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

    /// O_NONBLOCK, for all clones.
    ///
    /// # Errors
    /// None; as in `std` for programs that expect them.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.set_nonblocking(nonblocking);
        Ok(())
    }

    /// Writes `data` without copying it; all of it unless an error or a time limit stands in the way.
    ///
    /// # Errors
    /// As writing.
    pub fn send_bytes(&self, data: Bytes) -> io::Result<usize> {
        self.0.send_bytes(data, MsgFlags::empty())
    }

    /// Reads at most `max` bytes without copying them; none is the end of the stream.
    ///
    /// # Errors
    /// As reading.
    pub fn recv_bytes(&self, max: usize) -> io::Result<Payload> {
        self.0.recv_bytes(max, MsgFlags::empty())
    }

    /// TCP_INFO.
    ///
    /// # Errors
    /// EBADF.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        self.0.tcp_info()
    }
}

fn refuse_zero(timeout: Option<Duration>) -> io::Result<()> {
    if timeout == Some(Duration::ZERO) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout"));
    }
    Ok(())
}

impl Read for &TcpStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.recv(out, MsgFlags::empty())
    }

    fn read_vectored(&mut self, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.recv_vectored(out, MsgFlags::empty())
    }
}

impl Write for &TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.send(data, MsgFlags::NOSIGNAL)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_vectored(data, MsgFlags::NOSIGNAL)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        (&*self).read(out)
    }

    fn read_vectored(&mut self, out: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(out)
    }
}

impl Write for TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TcpStream").field(&self.0).finish()
    }
}
