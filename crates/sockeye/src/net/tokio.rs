//! The two types for async programs: [`AsyncRead`] and [`AsyncWrite`] of tokio, on any runtime.
//!
//! Readiness comes from the stack, not from tokio's reactor: nothing here needs a runtime's I/O driver.
//! Every future is cancellation-safe: what was not handed out is still there. Any number of tasks may
//! wait for the same socket. Dropping never waits, whatever SO_LINGER says: what is unsent goes out in
//! the background. Time limits are the program's (`tokio::time::timeout`); SO_RCVTIMEO and SO_SNDTIMEO are for
//! the blocking face.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use sockeye_core::socket::op::{AcceptOp, ConnectOp, OpPoll};
use sockeye_core::socket::{How, MsgFlags, SockOpt, SockOptName};
use sockeye_core::stack::Stack;
use sockeye_core::tcp::TcpInfo;
use sockeye_core::{Errno, Instant, Ready};

use super::socket::{AsSocket, Socket};
use crate::driver::{Host, Polled, Ticket, into_io};

pub(crate) const READABLE: Ready = Ready::IN.union(Ready::RDHUP).union(Ready::ERR).union(Ready::HUP);
pub(crate) const WRITABLE: Ready = Ready::OUT.union(Ready::ERR).union(Ready::HUP);

/// A task's place among a socket's waiters; given up when it is dropped.
pub(crate) struct Slot {
    socket: Socket,
    ticket: Option<Ticket>,
}

impl Slot {
    pub(crate) fn new(socket: &Socket) -> Slot {
        Slot { socket: socket.clone(), ticket: None }
    }

    /// Asks `op` once; pending keeps the task's waker.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        op: impl FnOnce(&mut Stack, Instant) -> OpPoll<T>,
    ) -> Poll<io::Result<T>> {
        let shard = self.socket.host().shard();
        match shard.poll_op(self.socket.id(), cx.waker(), &mut self.ticket, op) {
            Polled::Ready(result) => Poll::Ready(result.map_err(into_io)),
            Polled::Wait(_) => Poll::Pending,
        }
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>, interest: Ready) -> Poll<Ready> {
        let shard = self.socket.host().shard();
        let ready = shard.poll_ready(self.socket.id(), interest, cx.waker(), &mut self.ticket);
        if ready.is_empty() { Poll::Pending } else { Poll::Ready(ready) }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        flags: MsgFlags,
    ) -> Poll<io::Result<usize>> {
        let id = self.socket.id();
        let room = out.initialize_unfilled();
        let count = ready!(self.poll(cx, |stack, now| or_wait(stack.recv(now, id, room, flags), READABLE)))?;
        out.advance(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let id = self.socket.id();
        self.poll(cx, |stack, now| or_wait(stack.send(now, id, data, MsgFlags::NOSIGNAL), WRITABLE))
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let id = self.socket.id();
        let slices: smallvec::SmallVec<[&[u8]; 16]> = data.iter().map(|slice| &**slice).collect();
        self.poll(cx, |stack, now| or_wait(stack.sendmsg(now, id, &slices, MsgFlags::NOSIGNAL), WRITABLE))
    }

    /// The FIN; as tokio has it, a connection that is gone already is no error.
    fn shutdown_write(&self) -> io::Result<()> {
        match self.socket.shutdown(How::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.socket.host().shard().forget(self.socket.id(), &mut self.ticket);
    }
}

/// A call that never waits as an operation: EAGAIN means to wait for `interest`.
pub(crate) fn or_wait<T>(result: Result<T, Errno>, interest: Ready) -> OpPoll<T> {
    match result {
        Err(Errno::EAGAIN) => OpPoll::Wait { interest, deadline: Instant::NEVER },
        result => OpPoll::Ready(result),
    }
}

/// Waits until `socket` is ready for one of `interest`, an error or its end.
pub(crate) async fn ready_for(socket: &Socket, interest: Ready) -> io::Result<Ready> {
    let mut slot = Slot::new(socket);
    let ready = poll_fn(|cx| slot.poll_ready(cx, interest)).await;
    if ready.contains(Ready::NVAL) { Err(into_io(Errno::EBADF)) } else { Ok(ready) }
}

/// EAGAIN where the socket would have to wait.
fn without_waiting<T>(
    socket: &Socket,
    call: impl FnOnce(&mut Stack, Instant) -> Result<T, Errno>,
) -> io::Result<T> {
    socket.host().with_stack(call).map_err(into_io)
}

/// A listening socket.
pub struct TcpListener(Socket);

impl TcpListener {
    /// Listens; as [`super::TcpListener::bind`].
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL, EACCES.
    pub fn bind(host: &Host, address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        super::TcpListener::bind(host, address).map(TcpListener::from_std)
    }

    /// Takes over a blocking listener.
    pub fn from_std(listener: super::TcpListener) -> TcpListener {
        let socket = Socket::from(listener);
        socket.hurry();
        TcpListener(socket)
    }

    /// The next connection and its peer. A cancelled `accept` takes no connection.
    ///
    /// # Errors
    /// ENFILE; EBADF if the listener is closed meanwhile.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (mut slot, mut op) = (Slot::new(&self.0), AcceptOp::new(self.0.id(), false));
        let (id, peer) = poll_fn(|cx| slot.poll(cx, |stack, now| op.poll(stack, now))).await?;
        Ok((TcpStream::new(Socket::from_id(self.0.host(), id)), peer))
    }

    /// Our address.
    ///
    /// # Errors
    /// EBADF.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
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
}

impl AsSocket for TcpListener {
    fn as_socket(&self) -> &Socket {
        &self.0
    }
}

/// A TCP connection.
pub struct TcpStream {
    read: Slot,
    write: Slot,
}

impl TcpStream {
    fn new(socket: Socket) -> TcpStream {
        socket.hurry();
        TcpStream { read: Slot::new(&socket), write: Slot::new(&socket) }
    }

    /// Opens a connection to the first of these addresses that answers. A cancelled attempt is closed.
    ///
    /// # Errors
    /// As [`super::TcpStream::connect`].
    pub async fn connect(host: &Host, address: impl ToSocketAddrs) -> io::Result<TcpStream> {
        let mut last = None;
        for address in address.to_socket_addrs()? {
            let socket = Socket::new(host, address)?;
            socket.hurry();
            let (mut slot, mut op) = (Slot::new(&socket), ConnectOp::new(socket.id(), address, false));
            match poll_fn(|cx| slot.poll(cx, |stack, now| op.poll(stack, now))).await {
                Ok(()) => return Ok(TcpStream::new(socket)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any addresses")
        }))
    }

    /// Takes over a blocking stream.
    pub fn from_std(stream: super::TcpStream) -> TcpStream {
        TcpStream::new(Socket::from(stream))
    }

    /// The same connection with the blocking face.
    pub fn into_std(self) -> super::TcpStream {
        super::TcpStream::from(self.read.socket.clone())
    }

    /// Our address.
    ///
    /// # Errors
    /// EBADF.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.as_socket().local_addr()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.as_socket().peer_addr()
    }

    /// Waits until a read would not wait: data, the end, or an error.
    ///
    /// # Errors
    /// EBADF.
    pub async fn readable(&self) -> io::Result<()> {
        ready_for(self.as_socket(), READABLE).await.map(drop)
    }

    /// Waits until a write would not wait.
    ///
    /// # Errors
    /// EBADF.
    pub async fn writable(&self) -> io::Result<()> {
        ready_for(self.as_socket(), WRITABLE).await.map(drop)
    }

    /// Waits for any of `interest`; says which hold, and errors and ends besides.
    ///
    /// # Errors
    /// EBADF.
    pub async fn ready(&self, interest: Ready) -> io::Result<Ready> {
        ready_for(self.as_socket(), interest).await
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is.
    pub fn try_read(&self, out: &mut [u8]) -> io::Result<usize> {
        let id = self.as_socket().id();
        without_waiting(self.as_socket(), |stack, now| stack.recv(now, id, out, MsgFlags::DONTWAIT))
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none.
    pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        let id = self.as_socket().id();
        let flags = MsgFlags::DONTWAIT | MsgFlags::NOSIGNAL;
        without_waiting(self.as_socket(), |stack, now| stack.send(now, id, data, flags))
    }

    /// Reads without taking the bytes away.
    ///
    /// # Errors
    /// As reading.
    pub async fn peek(&self, out: &mut [u8]) -> io::Result<usize> {
        let mut slot = Slot::new(self.as_socket());
        let mut out = ReadBuf::new(out);
        poll_fn(|cx| slot.poll_read(cx, &mut out, MsgFlags::PEEK)).await
    }

    /// TCP_NODELAY.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.as_socket().set_option(&SockOpt::NoDelay(nodelay))
    }

    /// TCP_NODELAY.
    ///
    /// # Errors
    /// EBADF.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.as_socket().bool_option(SockOptName::NoDelay)
    }

    /// TCP_INFO.
    ///
    /// # Errors
    /// EBADF.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        self.as_socket().tcp_info()
    }

    /// SO_ERROR: takes the pending error.
    ///
    /// # Errors
    /// EBADF.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.as_socket().take_error()
    }

    /// Ends one or both directions.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn shutdown_std(&self, how: Shutdown) -> io::Result<()> {
        self.as_socket().shutdown(match how {
            Shutdown::Read => How::Read,
            Shutdown::Write => How::Write,
            Shutdown::Both => How::Both,
        })
    }

    /// Two halves that borrow the stream.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(&mut self.read), WriteHalf(&mut self.write))
    }

    /// Two halves that tasks of their own may hold. Dropping the write half sends the FIN.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let pair = Arc::new(());
        let read = OwnedReadHalf { slot: self.read, pair: pair.clone() };
        (read, OwnedWriteHalf { slot: self.write, pair, keep: false })
    }
}

impl AsSocket for TcpStream {
    fn as_socket(&self) -> &Socket {
        &self.read.socket
    }
}

/// The read half of [`TcpStream::split`].
pub struct ReadHalf<'a>(&'a mut Slot);

/// The write half of [`TcpStream::split`].
pub struct WriteHalf<'a>(&'a mut Slot);

/// The read half of [`TcpStream::into_split`].
pub struct OwnedReadHalf {
    slot: Slot,
    pair: Arc<()>,
}

/// The write half of [`TcpStream::into_split`].
pub struct OwnedWriteHalf {
    slot: Slot,
    pair: Arc<()>,
    /// The FIN is not to be sent at the end: the half was put back together or told so.
    keep: bool,
}

/// The halves are of different streams.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl OwnedReadHalf {
    /// The stream again.
    ///
    /// # Errors
    /// The halves are of different streams.
    pub fn reunite(self, mut write: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        if !Arc::ptr_eq(&self.pair, &write.pair) {
            return Err(ReuniteError(self, write));
        }
        write.keep = true;
        Ok(TcpStream::new(self.slot.socket.clone()))
    }
}

impl OwnedWriteHalf {
    /// Drops the half without sending the FIN.
    pub fn forget(mut self) {
        self.keep = true;
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if !self.keep {
            // A connection that is gone needs no FIN.
            let _ = self.slot.shutdown_write();
        }
    }
}

impl AsSocket for OwnedReadHalf {
    fn as_socket(&self) -> &Socket {
        &self.slot.socket
    }
}

impl AsSocket for OwnedWriteHalf {
    fn as_socket(&self) -> &Socket {
        &self.slot.socket
    }
}

macro_rules! async_read {
    ($name:ty, $this:ident => $slot:expr) => {
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                out: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                $slot.poll_read(cx, out, MsgFlags::empty()).map_ok(drop)
            }
        }
    };
}

macro_rules! async_write {
    ($name:ty, $this:ident => $slot:expr) => {
        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                let $this = self.get_mut();
                $slot.poll_write(cx, data)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let $this = self.get_mut();
                $slot.poll_write_vectored(cx, data)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                Poll::Ready($slot.shutdown_write())
            }
        }
    };
}

async_read!(TcpStream, this => this.read);
async_read!(ReadHalf<'_>, this => this.0);
async_read!(OwnedReadHalf, this => this.slot);
async_write!(TcpStream, this => this.write);
async_write!(WriteHalf<'_>, this => this.0);
async_write!(OwnedWriteHalf, this => this.slot);

macro_rules! debug {
    ($($name:ident),*) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(self.as_socket()).finish()
            }
        })*
    };
}

debug!(TcpListener, TcpStream, OwnedReadHalf, OwnedWriteHalf);
