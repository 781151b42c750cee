//! An open socket: what duplicated handles share. The last handle closes it.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sockeye_core::socket::op::{AcceptOp, CloseOp, ConnectOp, OpPoll, RecvOp, SendOp};
use sockeye_core::socket::{Domain, How, Ioctl, MsgFlags, Protocol, SockOpt, SockOptName, SocketType};
use sockeye_core::stack::Stack;
use sockeye_core::tcp::TcpInfo;
use sockeye_core::{Errno, Instant, Payload, Ready, SocketId};

use crate::driver::{Host, Polled, Sleeper, into_io};

/// Data of this many bytes is copied by the caller and queued by reference, in parts of so many.
const LONG: usize = 16 << 10;
const PART: usize = 256 << 10;

/// A TCP socket with the Berkeley calls as they are, blocking unless [`Socket::set_nonblocking`] says otherwise.
///
/// Clones share the open description, as descriptors made by `dup` do: the FIN goes out when the last
/// is dropped, [`Socket::shutdown`] acts at once. [`Socket::close`] closes it under all of them: calls
/// that wait fail with EBADF, and so do all later ones.
#[derive(Clone)]
pub struct Socket(Arc<Open>);

struct Open {
    host: Host,
    id: SocketId,
    nonblocking: AtomicBool,
    /// `close` was called: there is nothing left to close at the end.
    closed: AtomicBool,
    /// Closing does not wait as SO_LINGER says (async programs must not be held up).
    hurried: AtomicBool,
}

/// What can be waited for with [`super::poll`].
pub trait AsSocket {
    /// The socket.
    fn as_socket(&self) -> &Socket;
}

impl AsSocket for Socket {
    fn as_socket(&self) -> &Socket {
        self
    }
}

impl<T: AsSocket + ?Sized> AsSocket for &T {
    fn as_socket(&self) -> &Socket {
        (**self).as_socket()
    }
}

/// An error of the core as one of `std::io`.
fn io<T>(result: Result<T, Errno>) -> io::Result<T> {
    result.map_err(into_io)
}

impl Socket {
    /// `socket`: of the family of `like`.
    ///
    /// # Errors
    /// ENFILE if the stack holds as many sockets as it may.
    pub fn new(host: &Host, like: SocketAddr) -> io::Result<Socket> {
        let domain = if like.is_ipv4() { Domain::INET } else { Domain::INET6 };
        let id = host.with_stack(|stack, _| stack.socket(domain, SocketType::STREAM, Protocol::TCP));
        Ok(Socket::from_id(host, io(id)?))
    }

    /// Takes over a socket made by the stack's own calls; it is closed with the last handle.
    pub fn from_id(host: &Host, id: SocketId) -> Socket {
        Socket(Arc::new(Open {
            host: host.clone(),
            id,
            nonblocking: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
        }))
    }

    /// The host that it belongs to.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Its name in the stack.
    pub fn id(&self) -> SocketId {
        self.0.id
    }

    /// Closing is not to wait.
    #[cfg(feature = "tokio")]
    pub(crate) fn hurry(&self) {
        self.0.hurried.store(true, Ordering::Relaxed);
    }

    fn call<T>(&self, call: impl FnOnce(&mut Stack, Instant) -> Result<T, Errno>) -> io::Result<T> {
        io(self.0.host.with_stack(call))
    }

    fn look<T>(&self, look: impl FnOnce(&Stack, Instant) -> Result<T, Errno>) -> io::Result<T> {
        io(self.0.host.shard().look(look))
    }

    fn block_on<T>(&self, op: impl FnMut(&mut Stack, Instant) -> OpPoll<T>) -> io::Result<T> {
        io(self.0.host.shard().block_on(self.0.id, op))
    }

    fn flags(&self, flags: MsgFlags) -> MsgFlags {
        if self.is_nonblocking() { flags | MsgFlags::DONTWAIT } else { flags }
    }

    /// `bind`.
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL, EACCES, EINVAL (bound already), EAFNOSUPPORT.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        self.call(|stack, _| stack.bind(self.0.id, address))
    }

    /// `listen`.
    ///
    /// # Errors
    /// EADDRINUSE, EINVAL (connected).
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        self.call(|stack, now| stack.listen(now, self.0.id, backlog))
    }

    /// `accept`.
    ///
    /// # Errors
    /// EAGAIN (not blocking, or SO_RCVTIMEO is over), EINVAL (not listening), ENFILE.
    pub fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let mut op = AcceptOp::new(self.0.id, self.is_nonblocking());
        let (id, peer) = self.block_on(|stack, now| op.poll(stack, now))?;
        Ok((Socket::from_id(&self.0.host, id), peer))
    }

    /// `connect`.
    ///
    /// # Errors
    /// ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL; EINPROGRESS, EALREADY (not
    /// blocking, or SO_SNDTIMEO is over); EISCONN.
    pub fn connect(&self, to: SocketAddr) -> io::Result<()> {
        let mut op = ConnectOp::new(self.0.id, to, self.is_nonblocking());
        self.block_on(|stack, now| op.poll(stack, now))
    }

    /// `connect`, given up after `timeout`. The attempt itself goes on until the socket is closed.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when the time is over; else as [`Socket::connect`].
    pub fn connect_timeout(&self, to: SocketAddr, timeout: Duration) -> io::Result<()> {
        let until = std::time::Instant::now().checked_add(timeout);
        let (mut op, shard) = (ConnectOp::new(self.0.id, to, false), self.0.host.shard());
        let (sleeper, mut ticket) = (Sleeper::current(), None);
        loop {
            let ask = |stack: &mut Stack, now| op.poll(stack, now);
            let deadline = match shard.poll_op(self.0.id, &sleeper.waker, &mut ticket, ask) {
                Polled::Ready(result) => return io(result),
                Polled::Wait(deadline) => deadline,
            };
            let left = until.map(|until| until.saturating_duration_since(std::time::Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                shard.forget(self.0.id, &mut ticket);
                return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
            }
            let due = self.0.host.clock().until(deadline);
            sleeper.sleep(match (left, due) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            });
        }
    }

    /// `send`: waits until all of `data` is queued.
    ///
    /// # Errors
    /// EAGAIN, EPIPE, ECONNRESET, ENOTCONN and what ended the connection.
    pub fn send(&self, data: &[u8], flags: MsgFlags) -> io::Result<usize> {
        let flags = self.flags(flags);
        let mut op = SendOp::new(self.0.id, flags);
        if data.len() < LONG || flags.intersects(MsgFlags::OOB | MsgFlags::DONTWAIT) {
            return self.block_on(|stack, now| op.poll(stack, now, data));
        }
        // Copied without the stack's lock, and into memory that the caches hold.
        let mut sent = 0;
        for part in data.chunks(PART) {
            let mut copy = self.0.host.shard().chunks.copy(part);
            let before = std::mem::replace(
                &mut sent,
                self.block_on(|stack, now| op.poll_bytes(stack, now, &mut copy))?,
            );
            if sent - before < part.len() {
                break;
            }
        }
        Ok(sent)
    }

    /// `sendmsg`: several slices as one.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn send_vectored(&self, data: &[IoSlice<'_>], flags: MsgFlags) -> io::Result<usize> {
        let slices: smallvec::SmallVec<[&[u8]; 16]> = data.iter().map(|slice| &**slice).collect();
        let mut op = SendOp::new(self.0.id, self.flags(flags));
        self.block_on(|stack, now| op.poll_vectored(stack, now, &slices))
    }

    /// Queues `data` without copying it; waits until all of it is queued.
    ///
    /// # Errors
    /// As [`Socket::send`]. What an error leaves unqueued is lost with it.
    pub fn send_bytes(&self, data: Bytes, flags: MsgFlags) -> io::Result<usize> {
        let (mut op, mut data) = (SendOp::new(self.0.id, self.flags(flags)), VecDeque::from([data]));
        self.block_on(|stack, now| op.poll_bytes(stack, now, &mut data))
    }

    /// `recv`.
    ///
    /// # Errors
    /// EAGAIN, ECONNRESET, ETIMEDOUT, ENOTCONN.
    pub fn recv(&self, out: &mut [u8], flags: MsgFlags) -> io::Result<usize> {
        let mut op = RecvOp::new(self.0.id, self.flags(flags));
        self.block_on(|stack, now| op.poll(stack, now, out))
    }

    /// `recvmsg`: into several slices as one.
    ///
    /// # Errors
    /// As [`Socket::recv`].
    pub fn recv_vectored(&self, out: &mut [IoSliceMut<'_>], flags: MsgFlags) -> io::Result<usize> {
        let mut slices: smallvec::SmallVec<[&mut [u8]; 16]> =
            out.iter_mut().map(|slice| &mut **slice).collect();
        let mut op = RecvOp::new(self.0.id, self.flags(flags));
        self.block_on(|stack, now| op.poll_vectored(stack, now, &mut slices))
    }

    /// Receives at most `max` bytes without copying them; none is the end of the stream.
    ///
    /// # Errors
    /// As [`Socket::recv`].
    pub fn recv_bytes(&self, max: usize, flags: MsgFlags) -> io::Result<Payload> {
        let mut op = RecvOp::new(self.0.id, self.flags(flags));
        self.block_on(|stack, now| op.poll_bytes(stack, now, max))
    }

    /// `shutdown`.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn shutdown(&self, how: How) -> io::Result<()> {
        self.call(|stack, now| stack.shutdown(now, self.0.id, how))
    }

    /// `close`, for all handles at once: calls that wait on this socket fail with EBADF. Waits as SO_LINGER says.
    ///
    /// # Errors
    /// EBADF if it is closed already.
    pub fn close(&self) -> io::Result<()> {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return Err(into_io(Errno::EBADF));
        }
        io(self.0.close())
    }

    /// Resets the connection: as SO_LINGER of zero and `close`.
    pub fn abort(&self) {
        // On a socket that is closed there is nothing to reset, and to close one that was just reset nothing is left.
        let _ = self.0.host.with_stack(|stack, now| stack.abort(now, self.0.id));
        let _ = self.close();
    }

    /// `getsockname`.
    ///
    /// # Errors
    /// EBADF.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.look(|stack, _| stack.getsockname(self.0.id))
    }

    /// `getpeername`.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.look(|stack, _| stack.getpeername(self.0.id))
    }

    /// `setsockopt`.
    ///
    /// # Errors
    /// EINVAL, EDOM, ENOENT, EPERM, ENOPROTOOPT: as the option's text says.
    pub fn set_option(&self, option: &SockOpt) -> io::Result<()> {
        self.call(|stack, now| stack.setsockopt(now, self.0.id, option))
    }

    /// `getsockopt`.
    ///
    /// # Errors
    /// EBADF, ENOTCONN, ENOPROTOOPT.
    pub fn option(&self, name: SockOptName) -> io::Result<SockOpt> {
        self.call(|stack, now| stack.getsockopt(now, self.0.id, name))
    }

    /// `setsockopt` with Linux's numbers and bytes.
    ///
    /// # Errors
    /// As Linux's.
    pub fn setsockopt(&self, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        self.call(|stack, now| stack.setsockopt_raw(now, self.0.id, level, name, value))
    }

    /// `getsockopt` with Linux's numbers and bytes; returns how many bytes the value has.
    ///
    /// # Errors
    /// As Linux's.
    pub fn getsockopt(&self, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
        self.call(|stack, now| stack.getsockopt_raw(now, self.0.id, level, name, value))
    }

    /// `ioctl`.
    ///
    /// # Errors
    /// EINVAL on a listener.
    pub fn ioctl(&self, request: Ioctl) -> io::Result<i32> {
        self.look(|stack, _| stack.ioctl(self.0.id, request))
    }

    /// TCP_INFO.
    ///
    /// # Errors
    /// EBADF.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        self.look(|stack, now| stack.tcp_info(now, self.0.id))
    }

    /// What the socket is ready for now.
    pub fn ready(&self) -> Ready {
        self.0.host.shard().look(|stack, _| stack.poll(self.0.id))
    }

    /// O_NONBLOCK, of the open description: all handles see it.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.0.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// O_NONBLOCK.
    pub fn is_nonblocking(&self) -> bool {
        self.0.nonblocking.load(Ordering::Relaxed)
    }

    /// SO_ERROR: takes the pending error.
    ///
    /// # Errors
    /// EBADF.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self.option(SockOptName::Error)? {
            SockOpt::Error(error) => Ok(error.map(into_io)),
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) fn bool_option(&self, name: SockOptName) -> io::Result<bool> {
        match self.option(name)? {
            SockOpt::NoDelay(on) | SockOpt::KeepAlive(on) | SockOpt::V6Only(on) | SockOpt::QuickAck(on) => {
                Ok(on)
            }
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) fn time_option(&self, name: SockOptName) -> io::Result<Option<Duration>> {
        match self.option(name)? {
            SockOpt::RcvTimeo(time) | SockOpt::SndTimeo(time) | SockOpt::Linger(time) => Ok(time),
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) fn ttl(&self) -> io::Result<u32> {
        match self.option(SockOptName::Ttl)? {
            SockOpt::Ttl(ttl) => Ok(ttl.unsigned_abs()),
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = i32::try_from(ttl).map_err(|_| into_io(Errno::EINVAL))?;
        self.set_option(&SockOpt::Ttl(ttl))
    }
}

/// The core answered another option than was asked for, which it never does.
fn mismatch(answer: &SockOpt) -> io::Error {
    io::Error::other(format!("asked for another option than {:?}", answer.name()))
}

impl Open {
    fn close(&self) -> Result<(), Errno> {
        let shard = self.host.shard();
        if self.hurried.load(Ordering::Relaxed) {
            shard.close_now(self.id);
            return Ok(());
        }
        let (mut op, sleeper) = (CloseOp::new(self.id), Sleeper::current());
        loop {
            match shard.poll_close(self.id, &sleeper.waker, |stack, now| op.poll(stack, now)) {
                Polled::Ready(result) => return result,
                Polled::Wait(_) if shard.is_stopped() => return Ok(()),
                Polled::Wait(deadline) => sleeper.sleep(self.host.clock().until(deadline)),
            };
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            // As std: who wants to know how closing went calls `close` or sets SO_LINGER and reads the error before.
            let _ = self.close();
        }
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Socket");
        shown.field("id", &self.0.id);
        if let Ok(local) = self.local_addr() {
            shown.field("local", &local);
        }
        if let Ok(peer) = self.peer_addr() {
            shown.field("peer", &peer);
        }
        shown.finish()
    }
}
