//! Calls that may wait, as operations that are asked again until they are done (DESIGN: "resumable operations").
//!
//! What a blocking call means stands here once: its time limits (SO_RCVTIMEO, SO_SNDTIMEO), partial
//! counts, interruption, the socket closed under it. A face only knows how to sleep:
//!
//! ```text
//! loop { match op.poll(&mut stack, now, ..) {
//!     OpPoll::Ready(result) => return result,
//!     OpPoll::Wait { interest, deadline } => sleep until an event with one of these bits, or the deadline
//! } }
//! ```
//!
//! A face tells the stack its interest when it grows, not before each sleep: what holds already is reported at
//! once then, and data that MSG_PEEK leaves in place holds for ever. New data is an event in any case, whatever
//! SO_RCVLOWAT is. Being asked too early does no harm. A signal or a cancellation ends an operation by `interrupt`.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use bytes::{Buf, Bytes};

use crate::Errno;
use crate::config::Profile;
use crate::packet::Payload;
use crate::socket::data::Step;
use crate::socket::{MsgFlags, Ready, SocketId};
use crate::stack::Stack;
use crate::time::{Duration, Instant};

/// What an operation says when asked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum OpPoll<T> {
    /// It is done.
    Ready(Result<T, Errno>),
    /// Ask again at an event of the socket with one of these bits, or at the deadline ([`Instant::NEVER`]: none).
    Wait {
        /// The bits.
        interest: Ready,
        /// When to ask in any case.
        deadline: Instant,
    },
}

impl<T> OpPoll<T> {
    /// The result, if it is done.
    pub fn ready(self) -> Option<Result<T, Errno>> {
        match self {
            OpPoll::Ready(result) => Some(result),
            OpPoll::Wait { .. } => None,
        }
    }
}

/// A call's time limit, which runs from when it first would wait.
#[derive(Clone, Copy, Debug)]
struct Limit(Option<Instant>);

impl Limit {
    const fn new(nonblocking: bool) -> Limit {
        // Zero lies before every `now`: the call never waits.
        Limit(if nonblocking { Some(Instant::ZERO) } else { None })
    }

    /// Waits for `interest` if there is time left; `None` if it is over.
    fn wait<T>(&mut self, now: Instant, timeout: Option<Duration>, interest: Ready) -> Option<OpPoll<T>> {
        let deadline = *self.0.get_or_insert(timeout.map_or(Instant::NEVER, |timeout| now + timeout));
        let is_over = now >= deadline;
        (!is_over).then_some(OpPoll::Wait { interest, deadline })
    }
}

/// `accept` that waits.
#[derive(Debug)]
pub struct AcceptOp {
    id: SocketId,
    limit: Limit,
}

impl AcceptOp {
    /// On a listener; `nonblocking` is its O_NONBLOCK.
    pub const fn new(id: SocketId, nonblocking: bool) -> Self {
        AcceptOp { id, limit: Limit::new(nonblocking) }
    }

    /// The connection and its peer. EAGAIN when SO_RCVTIMEO is over, EBADF if the listener was closed,
    /// EINVAL if it was shut down; otherwise as [`Stack::accept`].
    pub fn poll(&mut self, stack: &mut Stack, now: Instant) -> OpPoll<(SocketId, SocketAddr)> {
        match stack.accept(now, self.id) {
            Err(Errno::EAGAIN) => {
                let timeout = stack.entry(self.id).ok().and_then(|s| s.options.rcvtimeo);
                let wait = self.limit.wait(now, timeout, Ready::IN | Ready::HUP);
                wait.unwrap_or(OpPoll::Ready(Err(Errno::EAGAIN)))
            }
            result => OpPoll::Ready(result),
        }
    }

    /// EINTR; no connection is lost.
    pub fn interrupt(self) -> Result<(SocketId, SocketAddr), Errno> {
        Err(Errno::EINTR)
    }
}

/// `connect` that waits.
#[derive(Debug)]
pub struct ConnectOp {
    id: SocketId,
    to: SocketAddr,
    limit: Limit,
    /// What the call says if it does not wait for the end: EINPROGRESS, or EALREADY for an attempt that was
    /// under way before.
    pending: Option<Errno>,
}

impl ConnectOp {
    /// To a peer; `nonblocking` is the socket's O_NONBLOCK.
    pub const fn new(id: SocketId, to: SocketAddr, nonblocking: bool) -> Self {
        ConnectOp { id, to, limit: Limit::new(nonblocking), pending: None }
    }

    /// Ok when the handshake is complete. When SO_SNDTIMEO is over EINPROGRESS, and the attempt goes on
    /// (posix-send-f); otherwise as [`Stack::connect`].
    pub fn poll(&mut self, stack: &mut Stack, now: Instant) -> OpPoll<()> {
        let (result, pending) = match self.pending {
            None => {
                let result = stack.connect(now, self.id, self.to);
                (result, result.err().unwrap_or(Errno::EINPROGRESS))
            }
            Some(pending) => (stack.connect_result(now, self.id), pending),
        };
        match result {
            Err(Errno::EINPROGRESS | Errno::EALREADY) => {
                self.pending = Some(pending);
                let timeout = stack.entry(self.id).ok().and_then(|s| s.options.sndtimeo);
                let wait = self.limit.wait(now, timeout, Ready::OUT | Ready::ERR | Ready::HUP);
                wait.unwrap_or(OpPoll::Ready(Err(pending)))
            }
            result => OpPoll::Ready(result),
        }
    }

    /// EINTR; the attempt goes on in the background (posix-connect-e).
    pub fn interrupt(self) -> Result<(), Errno> {
        Err(Errno::EINTR)
    }
}

/// `send` that waits until all is queued.
#[derive(Debug)]
pub struct SendOp {
    id: SocketId,
    flags: MsgFlags,
    limit: Limit,
    sent: usize,
    /// `sendto`'s address, for MSG_FASTOPEN.
    to: Option<SocketAddr>,
}

impl SendOp {
    /// On a socket; a non-blocking one adds [`MsgFlags::DONTWAIT`].
    pub const fn new(id: SocketId, flags: MsgFlags) -> Self {
        SendOp { id, flags, limit: Limit::new(flags.contains(MsgFlags::DONTWAIT)), sent: 0, to: None }
    }

    /// `sendto`: with MSG_FASTOPEN it connects first, see [`Stack::sendto`].
    pub const fn to(id: SocketId, to: SocketAddr, flags: MsgFlags) -> Self {
        SendOp { to: Some(to), ..SendOp::new(id, flags) }
    }

    /// Queues `data`, the same at each call. The count is short only where the time is over, an error
    /// stands in the way, or the socket does not wait; with nothing queued it is EAGAIN or the error.
    pub fn poll(&mut self, stack: &mut Stack, now: Instant, data: &[u8]) -> OpPoll<usize> {
        self.poll_vectored(stack, now, &[data])
    }

    /// [`SendOp::poll`] of several slices.
    pub fn poll_vectored(&mut self, stack: &mut Stack, now: Instant, data: &[&[u8]]) -> OpPoll<usize> {
        let total: usize = data.iter().map(|slice| slice.len()).sum();
        loop {
            let step = match self.connect_first(stack, now, data) {
                Some(step) => step,
                None => stack.send_from(now, self.id, data, self.sent, self.flags),
            };
            match step {
                Ok(n) => {
                    self.sent += n;
                    if self.sent >= total {
                        return OpPoll::Ready(Ok(self.sent));
                    }
                }
                Err(Errno::EAGAIN) => return self.wait(stack, now),
                Err(error) => return OpPoll::Ready(self.so_far(error)),
            }
        }
    }

    /// MSG_FASTOPEN counts once: what is left is sent when the connection stands. A call that does not wait says
    /// EINPROGRESS where the SYN takes no data.
    fn connect_first(
        &mut self,
        stack: &mut Stack,
        now: Instant,
        data: &[&[u8]],
    ) -> Option<Result<usize, Errno>> {
        let result = stack.send_fast(now, self.id, data, self.sent, self.flags, self.to.take());
        self.flags.remove(MsgFlags::FASTOPEN);
        match result {
            Some(Err(Errno::EINPROGRESS)) if !self.flags.contains(MsgFlags::DONTWAIT) => Some(Ok(0)),
            result => result,
        }
    }

    /// [`SendOp::poll`] without a copy: what is queued is taken from the front of `data`.
    pub fn poll_bytes(
        &mut self,
        stack: &mut Stack,
        now: Instant,
        data: &mut VecDeque<Bytes>,
    ) -> OpPoll<usize> {
        while let Some(piece) = data.front_mut() {
            let first = if self.sent == 0 { self.connect_first(stack, now, &[piece]) } else { None };
            let step = first.unwrap_or_else(|| stack.send_bytes(now, self.id, piece.clone(), self.flags));
            match step {
                Ok(n) => {
                    self.sent += n;
                    if n >= piece.len() {
                        data.pop_front();
                    } else {
                        piece.advance(n);
                    }
                }
                Err(Errno::EAGAIN) => return self.wait(stack, now),
                Err(error) => return OpPoll::Ready(self.so_far(error)),
            }
        }
        OpPoll::Ready(Ok(self.sent))
    }

    /// The count if something was queued, else EINTR (posix-eintr-a).
    pub fn interrupt(self) -> Result<usize, Errno> {
        self.so_far(Errno::EINTR)
    }

    fn wait(&mut self, stack: &Stack, now: Instant) -> OpPoll<usize> {
        let timeout = stack.entry(self.id).ok().and_then(|s| s.options.sndtimeo);
        let wait = self.limit.wait(now, timeout, Ready::OUT | Ready::ERR | Ready::HUP);
        wait.unwrap_or(OpPoll::Ready(self.so_far(Errno::EAGAIN)))
    }

    fn so_far(&self, error: Errno) -> Result<usize, Errno> {
        if self.sent > 0 { Ok(self.sent) } else { Err(error) }
    }
}

/// `recv` that waits.
#[derive(Debug)]
pub struct RecvOp {
    id: SocketId,
    flags: MsgFlags,
    limit: Limit,
    got: usize,
}

impl RecvOp {
    /// On a socket; a non-blocking one adds [`MsgFlags::DONTWAIT`].
    pub const fn new(id: SocketId, flags: MsgFlags) -> Self {
        RecvOp { id, flags, limit: Limit::new(flags.contains(MsgFlags::DONTWAIT)), got: 0 }
    }

    /// Fills `out`, the same at each call: with what is there once SO_RCVLOWAT bytes are, or the whole of it
    /// with MSG_WAITALL; less at the end of the stream, an error, the urgent mark, or when SO_RCVTIMEO is
    /// over. 0 is the end of the stream, EAGAIN the end of the time.
    pub fn poll(&mut self, stack: &mut Stack, now: Instant, out: &mut [u8]) -> OpPoll<usize> {
        self.poll_vectored(stack, now, &mut [out])
    }

    /// [`RecvOp::poll`] into several slices.
    pub fn poll_vectored(&mut self, stack: &mut Stack, now: Instant, out: &mut [&mut [u8]]) -> OpPoll<usize> {
        let len: usize = out.iter().map(|slice| slice.len()).sum();
        let target = match self.target(stack, len) {
            Ok(target) => target,
            Err(error) => return OpPoll::Ready(self.so_far(error)),
        };
        let peek = self.flags.contains(MsgFlags::PEEK);
        loop {
            let skip = if peek { 0 } else { self.got };
            match stack.recv_into(now, self.id, out, skip, self.got, self.flags) {
                Ok(Step::Got(n)) => {
                    let is_more = skip + n > self.got;
                    self.got = skip + n;
                    if self.got >= target || self.got >= len {
                        return OpPoll::Ready(Ok(self.got));
                    }
                    if !is_more || peek {
                        return self.wait(stack, now);
                    }
                }
                Ok(Step::End) => return OpPoll::Ready(Ok(self.got)),
                Ok(Step::Empty) => return self.wait(stack, now),
                Err(error) => return OpPoll::Ready(self.so_far(error)),
            }
        }
    }

    /// [`RecvOp::poll`] that hands out at most `max` bytes without copying them. MSG_WAITALL has no meaning here.
    pub fn poll_bytes(&mut self, stack: &mut Stack, now: Instant, max: usize) -> OpPoll<Payload> {
        match stack.recv_bytes(now, self.id, max, self.flags) {
            Err(Errno::EAGAIN) => match self.wait(stack, now) {
                OpPoll::Ready(result) => OpPoll::Ready(result.map(|_| Payload::new())),
                OpPoll::Wait { interest, deadline } => OpPoll::Wait { interest, deadline },
            },
            result => OpPoll::Ready(result),
        }
    }

    /// The count if something was received, else EINTR (posix-eintr-a).
    pub fn interrupt(self) -> Result<usize, Errno> {
        let peeked = self.flags.contains(MsgFlags::PEEK);
        if peeked { Err(Errno::EINTR) } else { self.so_far(Errno::EINTR) }
    }

    fn wait(&mut self, stack: &Stack, now: Instant) -> OpPoll<usize> {
        if self.flags.intersects(MsgFlags::OOB | MsgFlags::ERRQUEUE) {
            return OpPoll::Ready(Err(Errno::EAGAIN)); // these never wait
        }
        let timeout = stack.entry(self.id).ok().and_then(|s| s.options.rcvtimeo);
        let interest = Ready::IN | Ready::RDHUP | Ready::ERR | Ready::HUP;
        let wait = self.limit.wait(now, timeout, interest);
        wait.unwrap_or_else(|| OpPoll::Ready(self.so_far(Errno::EAGAIN)))
    }

    /// Linux's `sock_rcvlowat`.
    fn target(&self, stack: &Stack, len: usize) -> Result<usize, Errno> {
        let lowat = stack.entry(self.id)?.options.rcvlowat as usize;
        let wanted = if self.flags.contains(MsgFlags::WAITALL) { len } else { lowat.min(len) };
        Ok(wanted.max(1))
    }

    fn so_far(&self, error: Errno) -> Result<usize, Errno> {
        if self.got > 0 { Ok(self.got) } else { Err(error) }
    }
}

/// `close` that waits as SO_LINGER says (posix-linger-b).
#[derive(Debug)]
pub struct CloseOp {
    id: SocketId,
    limit: Limit,
    /// SO_LINGER's time, once the socket is closed.
    lingers: Option<Duration>,
}

impl CloseOp {
    /// Of a socket. O_NONBLOCK does not shorten SO_LINGER, as on Linux.
    pub const fn new(id: SocketId) -> Self {
        CloseOp { id, limit: Limit::new(false), lingers: None }
    }

    /// Closes at the first call: the name is dead from then on. Done at once without SO_LINGER, else when data and
    /// FIN are acknowledged or the time is over: then it is Ok as on Linux, EAGAIN under the FreeBSD profile.
    /// What is still unsent goes out in the background in any case. EBADF if there is no such socket.
    pub fn poll(&mut self, stack: &mut Stack, now: Instant) -> OpPoll<()> {
        let lingers = match self.lingers {
            Some(lingers) => lingers,
            None => {
                let lingers = stack.entry(self.id).map(|socket| socket.options.linger);
                if let Err(error) = stack.close(now, self.id) {
                    return OpPoll::Ready(Err(error));
                }
                let Ok(Some(lingers)) = lingers else {
                    return OpPoll::Ready(Ok(()));
                };
                *self.lingers.insert(lingers)
            }
        };
        if !stack.is_lingering(self.id) {
            return OpPoll::Ready(Ok(()));
        }
        let wait = self.limit.wait(now, Some(lingers), Ready::HUP | Ready::NVAL);
        wait.unwrap_or(OpPoll::Ready(match stack.config().profile {
            Profile::FreeBsd => Err(Errno::EAGAIN),
            _ => Ok(()),
        }))
    }

    /// Ok: the socket is closed, whatever was waited for.
    pub fn interrupt(self) -> Result<(), Errno> {
        Ok(())
    }
}
