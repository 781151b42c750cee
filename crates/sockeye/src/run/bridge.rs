//! The bytes of one connection, between the Unix socket that the program has and the stack.
//!
//! | the program's end | the connection |
//! |---|---|
//! | `shutdown(SHUT_WR)`: end of file here | FIN |
//! | `close`, everything read: hang-up here | what is left is sent, then FIN |
//! | `close`, data unread: ECONNRESET here | RST |
//! | `shutdown(SHUT_RDWR)`, and data comes | RST |
//! | end of file there | FIN from the peer |
//! | what is pending, then ECONNRESET | RST from the peer, or the connection given up |
//!
//! Nothing is read from the program that the send buffer has no room for, and nothing from the stack that the
//! program's end has no room for: the window follows the program.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use sockeye_core::socket::op::OpPoll;
use sockeye_core::socket::{How, Ioctl, MsgFlags, SockOpt, SockOptName};
use sockeye_core::stack::Stack;
use sockeye_core::{Errno, Instant, Payload, Ready, SocketId};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::report::{Closed, Ending};
use super::supervisor::Supervisor;
use super::table::Entry;
use crate::driver::Chunks;
use crate::net::tokio::{READABLE, Slot, WRITABLE, or_wait};
use crate::sys::urgent::is_at_mark;
use crate::sys::watch::watch;

/// Bytes taken from the stack at once.
const PART: usize = 256 << 10;
/// Slices written with one call.
const SLICES: usize = 64;
/// Steps of one direction before the other connections get their turn.
const STEPS: usize = 32;

/// One direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Open,
    /// Its end has been passed on.
    Done,
}

/// Why a bridge is no longer needed.
enum Over {
    /// The program has closed its end; what it had written is in the send buffer.
    Closed,
    /// It has closed with data unread.
    ClosedUnread,
    /// The connection has failed.
    Failed(Errno),
    /// Both directions have ended in order.
    Ended,
    /// The stack's socket has got another entry.
    Detached,
}

struct Bridge {
    unix: AsyncFd<OwnedFd>,
    entry: Arc<Entry>,
    reader: Slot,
    writer: Slot,
    /// Bytes at the front that are not the program's.
    skip: usize,
    /// From the program, not yet in the send buffer.
    up: VecDeque<Bytes>,
    up_way: Way,
    /// The program's end is closed: nothing can be delivered.
    hung_up: bool,
    /// From the stack, not yet in the program's socket.
    down: VecDeque<Bytes>,
    down_way: Way,
    /// The program has shut its receiving direction down: what comes is thrown away.
    deaf: bool,
    sent: u64,
    received: u64,
    program_ended_first: Option<bool>,
}

/// Carries the bytes of `entry`'s connection from now on; `ours` is the other end of the program's socket, and
/// `skip` how many bytes of a plug lie in it.
pub(super) fn start(
    supervisor: &Arc<Supervisor>,
    entry: Arc<Entry>,
    ours: OwnedFd,
    skip: usize,
    accepted: bool,
) {
    let guard = supervisor.begin();
    let supervisor = supervisor.clone();
    let interest = Interest::READABLE | Interest::WRITABLE;
    let unix = match watch(ours, interest) {
        Ok(unix) => unix,
        Err(_) => {
            // No room in the reactor: the program finds its connection reset.
            entry.socket.abort();
            return;
        }
    };
    tokio::spawn(async move {
        let _guard = guard;
        let opened = std::time::Instant::now();
        let mut bridge = Bridge {
            unix,
            reader: Slot::new(&entry.socket),
            writer: Slot::new(&entry.socket),
            entry,
            skip,
            up: VecDeque::new(),
            up_way: Way::Open,
            hung_up: false,
            down: VecDeque::new(),
            down_way: Way::Open,
            deaf: false,
            sent: 0,
            received: 0,
            program_ended_first: None,
        };
        let over = poll_fn(|cx| bridge.poll(cx)).await;
        bridge.finish(&supervisor, over, accepted, opened).await;
    });
}

impl Bridge {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        if self.entry.is_detached() {
            return Poll::Ready(Over::Detached);
        }
        for _ in 0..STEPS {
            let up = self.poll_up(cx);
            if let Poll::Ready(Err(over)) = up {
                return Poll::Ready(over);
            }
            let down = self.poll_down(cx);
            if let Poll::Ready(Err(over)) = down {
                return Poll::Ready(over);
            }
            if self.up_way == Way::Done && self.down_way == Way::Done {
                return Poll::Ready(Over::Ended);
            }
            if up.is_pending() && down.is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One step from the program to the stack. Pending: nothing to do, or no room.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        if self.up_way == Way::Done {
            return Poll::Pending;
        }
        if !self.up.is_empty() {
            let (id, up) = (self.entry.socket.id(), &mut self.up);
            let Some(first) = up.front_mut() else { return Poll::Pending };
            let send = |stack: &mut Stack, now| {
                or_wait(stack.send_bytes(now, id, first.clone(), MsgFlags::NOSIGNAL), WRITABLE)
            };
            return Poll::Ready(match ready!(self.writer.poll(cx, send)) {
                Ok(sent) => {
                    self.sent += sent as u64;
                    first.advance(sent);
                    if first.is_empty() {
                        up.pop_front();
                    }
                    Ok(())
                }
                Err(error) => Err(Over::Failed(errno_of(&error))),
            });
        }
        if self.hung_up {
            return Poll::Ready(Err(Over::Closed));
        }
        let mut guard = ready!(self.unix.poll_read_ready(cx)).map_err(failed)?;
        let closed = guard.ready().is_read_closed();
        // A plug alone stays where it is: to take it out would tell the program of room once more.
        let unread = |unix: &OwnedFd| rustix::io::ioctl_fionread(unix).unwrap_or(0);
        if self.skip > 0 && !closed && unread(self.unix.get_ref()) == self.skip as u64 {
            guard.clear_ready();
            return self.poll_up(cx);
        }
        // Reading stops at the mark of urgent data, and passes over the byte there.
        let is_urgent = self.entry.urgent.load(Ordering::Acquire);
        if is_urgent && pass_urgent(self.unix.get_ref(), &self.entry, &mut self.up) {
            return Poll::Ready(Ok(()));
        }
        match read_part(&self.entry.socket.host().shard().chunks, self.unix.get_ref()) {
            Ok((mut bytes, filled)) if !bytes.is_empty() => {
                if !filled && !closed && !is_urgent {
                    guard.clear_ready();
                }
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes.advance(skipped);
                if !bytes.is_empty() {
                    self.up.push_back(bytes);
                }
                Poll::Ready(Ok(()))
            }
            Ok(_) => Poll::Ready(self.program_ended()),
            Err(rustix::io::Errno::AGAIN) => {
                guard.clear_ready();
                self.poll_up(cx)
            }
            Err(rustix::io::Errno::INTR) => Poll::Ready(Ok(())),
            Err(rustix::io::Errno::CONNRESET) => Poll::Ready(Err(Over::ClosedUnread)),
            Err(_) => Poll::Ready(Err(Over::ClosedUnread)),
        }
    }

    /// End of file from the program: `shutdown(SHUT_WR)`, or all of its descriptors are closed.
    fn program_ended(&mut self) -> Result<(), Over> {
        self.program_ended_first.get_or_insert(true);
        let mut fds = [rustix::event::PollFd::new(self.unix.get_ref(), rustix::event::PollFlags::empty())];
        let polled = rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default()));
        let is_hung_up = polled.is_ok() && fds[0].revents().contains(rustix::event::PollFlags::HUP);
        if is_hung_up && self.down_way == Way::Open && !self.entry.is_shut_both() {
            self.hung_up = true;
            return Ok(());
        }
        self.up_way = Way::Done;
        self.deaf |= is_hung_up;
        match self.entry.socket.shutdown(How::Write) {
            // It has ended already: the other direction finds out how.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(Over::Failed(errno_of(&error))),
            Ok(()) => Ok(()),
        }
    }

    /// One step from the stack to the program.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        if self.hung_up {
            return Poll::Pending;
        }
        if self.down_way == Way::Done {
            return if self.up_way == Way::Open { self.poll_failure(cx) } else { Poll::Pending };
        }
        if !self.down.is_empty() {
            return self.poll_write(cx);
        }
        let id = self.entry.socket.id();
        let mut urgent = None;
        let take = |stack: &mut Stack, now| {
            urgent = take_urgent(stack, now, id);
            match urgent {
                Some(_) => OpPoll::Ready(Ok(Payload::new())),
                None => or_wait(stack.recv_bytes(now, id, PART, MsgFlags::empty()), READABLE | Ready::PRI),
            }
        };
        let taken = ready!(self.reader.poll(cx, take));
        match (taken, urgent) {
            (_, Some(byte)) => {
                self.pass_urgent_on(byte);
                Poll::Ready(Ok(()))
            }
            (Ok(payload), _) if !payload.is_empty() => {
                self.received += payload.len() as u64;
                self.down.extend(payload.into_slices());
                Poll::Ready(Ok(()))
            }
            (Ok(_), _) => {
                self.down_way = Way::Done;
                self.program_ended_first.get_or_insert(false);
                // Its receiving direction may be shut already: then there is nobody to tell.
                let _ = shutdown(self.unix.get_ref(), Shutdown::Write);
                Poll::Ready(Ok(()))
            }
            (Err(error), _) => Poll::Ready(Err(Over::Failed(errno_of(&error)))),
        }
    }

    /// Whether the connection has failed since the peer ended its direction, though there is nothing to send.
    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let id = self.entry.socket.id();
        let ask = |stack: &mut Stack, now| match stack.getsockopt(now, id, SockOptName::Error) {
            Ok(SockOpt::Error(Some(error))) | Err(error) => OpPoll::Ready(Err(error)),
            Ok(_) => OpPoll::Wait { interest: Ready::ERR, deadline: Instant::NEVER },
        };
        match ready!(self.reader.poll(cx, ask)) {
            Err(error) => Poll::Ready(Err(Over::Failed(errno_of(&error)))),
            Ok(()) => Poll::Pending,
        }
    }

    /// Hands an urgent byte on as such.
    fn pass_urgent_on(&mut self, byte: u8) {
        self.received += 1;
        // A kernel whose Unix sockets know no urgent data takes it in line.
        let flags = SendFlags::OOB | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if send(self.unix.get_ref(), &[byte], flags).is_err() {
            self.down.push_back(Bytes::copy_from_slice(&[byte]));
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        if self.deaf {
            // As Linux: after `shutdown` of both directions nobody is to take it, ever.
            if self.entry.is_shut_both() && self.up_way == Way::Done {
                return Poll::Ready(Err(Over::ClosedUnread));
            }
            self.down.clear();
            return Poll::Ready(Ok(()));
        }
        let mut guard = ready!(self.unix.poll_write_ready(cx)).map_err(failed)?;
        let slices: smallvec::SmallVec<[IoSlice<'_>; 8]> =
            self.down.iter().take(SLICES).map(|slice| IoSlice::new(slice)).collect();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let result = sendmsg(self.unix.get_ref(), &slices, &mut SendAncillaryBuffer::default(), flags);
        drop(slices);
        match result {
            Ok(mut written) => {
                while let Some(first) = self.down.front_mut().filter(|_| written > 0) {
                    let part = written.min(first.len());
                    first.advance(part);
                    written -= part;
                    if first.is_empty() {
                        self.down.pop_front();
                    }
                }
                Poll::Ready(Ok(()))
            }
            Err(rustix::io::Errno::AGAIN) => {
                guard.clear_ready();
                self.poll_write(cx)
            }
            Err(rustix::io::Errno::INTR) => Poll::Ready(Ok(())),
            // The program has closed, or shut its receiving direction down: the way up tells which.
            Err(rustix::io::Errno::PIPE) => {
                self.deaf = true;
                Poll::Ready(Ok(()))
            }
            Err(_) => Poll::Ready(Err(Over::ClosedUnread)),
        }
    }

    /// Ends what is left, at both ends, and tells how it went.
    async fn finish(
        mut self,
        supervisor: &Arc<Supervisor>,
        over: Over,
        accepted: bool,
        opened: std::time::Instant,
    ) {
        let socket = self.entry.socket.clone();
        let info = socket.tcp_info().ok();
        let names = self.entry.names().or_else(|| supervisor.present_names(&socket));
        let first = self.program_ended_first == Some(true);
        // What the program has not taken is as unread as what it has not asked for.
        let is_unread = !self.down.is_empty() || socket.ioctl(Ioctl::Inq).unwrap_or(0) > 0;
        let over = match over {
            Over::Closed if is_unread && self.down_way == Way::Open => Over::ClosedUnread,
            over => over,
        };
        let ending = match over {
            Over::Detached => Ending::ProgramFirst,
            Over::Closed | Over::Ended if first => Ending::ProgramFirst,
            Over::Closed | Over::Ended => Ending::PeerFirst,
            Over::ClosedUnread => Ending::Unread,
            Over::Failed(errno) => Ending::Failed(errno),
        };
        match over {
            Over::Detached => {}
            Over::ClosedUnread => socket.abort(),
            // Sends what is queued and the FIN in the background; with data unread it is a RST.
            _ => socket.host().shard().close_now(socket.id()),
        }
        if let Over::Failed(errno) = over {
            self.entry.set_failure(errno);
            self.deliver_rest().await;
            break_off(supervisor, &self.entry, self.unix.into_inner());
        }
        if let Some(names) = names {
            let retransmissions = info.map_or(0, |info| u64::from(info.total_retrans));
            supervisor.report().ended(Closed {
                names,
                accepted,
                sent: self.sent,
                received: self.received,
                retransmissions,
                seconds: opened.elapsed().as_secs_f64(),
                ending,
            });
        }
    }

    /// What had come before the connection failed is still the program's.
    async fn deliver_rest(&mut self) {
        poll_fn(|cx| {
            while !self.down.is_empty() && !self.hung_up {
                if let Err(_over) = ready!(self.poll_write(cx)) {
                    return Poll::Ready(());
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Reads once, as much as a chunk holds, and whether that was all it could take. Short texts get memory of their own.
fn read_part(chunks: &Chunks, unix: &OwnedFd) -> rustix::io::Result<(Bytes, bool)> {
    let mut chunk = chunks.take();
    match rustix::io::read(unix, rustix::buffer::spare_capacity(&mut chunk)) {
        Ok(read) if read > chunk.capacity() / 4 => {
            let filled = read == chunk.capacity();
            Ok((chunks.wrap(chunk), filled))
        }
        result => {
            let bytes = Bytes::copy_from_slice(&chunk);
            chunks.give_back(chunk);
            result.map(|_| (bytes, false))
        }
    }
}

/// The urgent byte at which reading the stack has stopped, if there is one.
fn take_urgent(stack: &mut Stack, now: Instant, id: SocketId) -> Option<u8> {
    if stack.ioctl(id, Ioctl::AtMark).unwrap_or(0) == 0 {
        return None;
    }
    let mut byte = [0];
    let got = stack.recv(now, id, &mut byte, MsgFlags::OOB | MsgFlags::DONTWAIT);
    (got == Ok(1)).then_some(byte[0])
}

/// The urgent byte at which reading the program's end has stopped, if there is one.
fn pass_urgent(unix: &OwnedFd, entry: &Entry, up: &mut VecDeque<Bytes>) -> bool {
    if !is_at_mark(unix) {
        return false;
    }
    let mut byte = [0];
    let got = recv(unix, &mut byte, RecvFlags::OOB | RecvFlags::DONTWAIT);
    if !matches!(got, Ok((_, 1))) {
        return false;
    }
    let flags = MsgFlags::OOB | MsgFlags::NOSIGNAL | MsgFlags::DONTWAIT;
    // Without room for it the byte goes in line; that it was urgent is lost, the byte is not.
    if entry.socket.send(&byte, flags).is_err() {
        up.push_back(Bytes::copy_from_slice(&byte));
    }
    true
}

/// Closes our end so that the program finds ECONNRESET after what is pending: a Unix socket reports it where its
/// peer closes with data unread. If there is none, a byte of ours goes through the program's own end.
pub(super) fn break_off(supervisor: &Supervisor, entry: &Entry, ours: OwnedFd) {
    let unread = rustix::io::ioctl_fionread(&ours).unwrap_or(0);
    if unread == 0 {
        if let Some(theirs) = supervisor.tasks.find(entry.inode, entry.seen()) {
            // If even that is impossible the program finds the end of the stream instead.
            let _ = send(&theirs, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }
    drop(ours);
}

fn failed(error: io::Error) -> Over {
    Over::Failed(errno_of(&error))
}

pub(super) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().and_then(Errno::from_number).unwrap_or(Errno::ECONNRESET)
}
