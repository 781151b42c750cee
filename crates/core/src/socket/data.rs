//! Bytes in and out: `send`, `recv` and their forms, with Linux's order of errors and ends.
//!
//! | the connection | `send` | `recv` with nothing to read |
//! |---|---|---|
//! | never was | EPIPE (linux), ENOTCONN | ENOTCONN |
//! | SYN-SENT, SYN-RECEIVED (unless opened early, by a SYN with data) | EAGAIN | EAGAIN |
//! | open in that direction | count, or EAGAIN | EAGAIN |
//! | shut down, or ended by a FIN | EPIPE | 0 |
//! | ended by an error | the error once, then EPIPE | the error once, then 0 |
//!
//! Received data stays readable after a FIN and after a RST; the error comes after it. No call raises a signal.

use bytes::Bytes;

use crate::Errno;
use crate::config::Profile;
use crate::packet::Payload;
use crate::socket::{Ioctl, MsgFlags, RecvMsg, SocketId};
use crate::stack::{Kind, Stack, key_of};
use crate::tcp::records::Notice;
use crate::tcp::{Connection, Outcome, State};
use crate::time::Instant;

/// What one look at the received data gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Bytes.
    Got(usize),
    /// No more will come, or an error that the next call reports: what was got so far is the result.
    End,
    /// Nothing now.
    Empty,
}

impl Stack {
    /// Queues as much of `data` as fits: how much that was, or EAGAIN for nothing.
    ///
    /// EPIPE after SHUT_WR or the connection's end, the connection's error before it once, EOPNOTSUPP for an unknown flag.
    pub fn send(&mut self, now: Instant, id: SocketId, data: &[u8], flags: MsgFlags) -> Result<usize, Errno> {
        if flags.is_empty() && !data.is_empty() {
            let sent = self.operate_quickly(now, key_of(id), |conn, cx| {
                let open = conn.state() == State::Established && conn.error().is_none() && !conn.fin_queued();
                if !open || !has_room(conn) {
                    return None;
                }
                conn.set_more(false);
                Some(conn.write(cx, data))
            });
            match sent {
                Some(0) => return Err(Errno::EAGAIN),
                Some(sent) => return Ok(sent),
                None => {}
            }
        }
        self.send_from(now, id, &[data], 0, flags)
    }

    /// [`Stack::send`] of several slices, one after another.
    pub fn sendmsg(
        &mut self,
        now: Instant,
        id: SocketId,
        data: &[&[u8]],
        flags: MsgFlags,
    ) -> Result<usize, Errno> {
        self.send_from(now, id, data, 0, flags)
    }

    /// [`Stack::send`] without a copy: the front of `data` is queued by reference.
    pub fn send_bytes(
        &mut self,
        now: Instant,
        id: SocketId,
        data: Bytes,
        flags: MsgFlags,
    ) -> Result<usize, Errno> {
        if flags.contains(MsgFlags::OOB) {
            return self.send_from(now, id, &[&data], 0, flags);
        }
        if let Some(result) = self.send_fast(now, id, &[&data], 0, flags, None) {
            return result;
        }
        self.may_send(id, flags)?;
        if data.is_empty() {
            return Ok(0);
        }
        let sent = self.with_connection(now, key_of(id), |conn, cx| {
            conn.set_more(flags.contains(MsgFlags::MORE));
            let len = data.len();
            let sent = if has_room(conn) { conn.push(cx, data) } else { 0 };
            note_write(conn, flags, sent, sent == len);
            sent
        });
        self.after_send(now, id, sent.unwrap_or(0))
    }

    /// What a `send` from byte `skip` of all of `data` on queues.
    pub(super) fn send_from(
        &mut self,
        now: Instant,
        id: SocketId,
        data: &[&[u8]],
        mut skip: usize,
        flags: MsgFlags,
    ) -> Result<usize, Errno> {
        if let Some(result) = self.send_fast(now, id, data, skip, flags, None) {
            return result;
        }
        self.may_send(id, flags)?;
        let mut left = data.iter().map(|slice| slice.len()).sum::<usize>().saturating_sub(skip);
        if left == 0 {
            return Ok(0);
        }
        let urgent = flags.contains(MsgFlags::OOB);
        let sent = self.with_connection(now, key_of(id), |conn, cx| {
            conn.set_more(flags.contains(MsgFlags::MORE));
            let mut sent = 0;
            for slice in data {
                let from = skip.min(slice.len());
                skip -= from;
                let mut rest = &slice[from..];
                // The last byte of all is the urgent one (MUST-62).
                let marked = (urgent && rest.len() == left).then(|| rest.split_last()).flatten();
                if let Some((_, before)) = marked {
                    rest = before;
                }
                let written = if rest.is_empty() || !has_room(conn) { 0 } else { conn.write(cx, rest) };
                sent += written;
                left -= written;
                if written < rest.len() {
                    break;
                }
                if let Some((&byte, _)) = marked {
                    let done = has_room(conn) && conn.send_urgent(cx, byte);
                    sent += usize::from(done);
                    left -= usize::from(done);
                    break;
                }
            }
            note_write(conn, flags, sent, left == 0);
            sent
        });
        self.after_send(now, id, sent.unwrap_or(0))
    }

    fn after_send(&mut self, now: Instant, id: SocketId, sent: usize) -> Result<usize, Errno> {
        self.settle(now, key_of(id), Outcome::default());
        if sent == 0 { Err(Errno::EAGAIN) } else { Ok(sent) }
    }

    /// What stands in the way of sending: Linux's `tcp_sendmsg_locked` before its loop.
    fn may_send(&mut self, id: SocketId, flags: MsgFlags) -> Result<(), Errno> {
        let never_connected = match self.config().profile {
            Profile::Linux => Errno::EPIPE,
            _ => Errno::ENOTCONN, // POSIX send()
        };
        let socket = self.entry_mut(id)?;
        if !MsgFlags::all().contains(flags) {
            return Err(Errno::EOPNOTSUPP);
        }
        let Kind::Connection(conn) = &mut socket.kind else { return Err(never_connected) };
        match conn.state() {
            State::SynReceived if conn.is_open_early() && !conn.fin_queued() => Ok(()),
            State::SynReceived if conn.is_open_early() => Err(conn.take_error().unwrap_or(Errno::EPIPE)),
            State::SynSent | State::SynReceived => Err(conn.take_error().unwrap_or(Errno::EAGAIN)),
            State::Established | State::CloseWait if conn.error().is_none() && !conn.fin_queued() => Ok(()),
            _ => Err(conn.take_error().unwrap_or(Errno::EPIPE)),
        }
    }

    /// Receives what is there, at most `out.len()` bytes, up to the urgent mark. 0 is the end of the stream.
    ///
    /// EAGAIN for nothing, ENOTCONN without a connection, the connection's error once. MSG_WAITALL means something to
    /// [`crate::socket::op::RecvOp`] only.
    pub fn recv(
        &mut self,
        now: Instant,
        id: SocketId,
        out: &mut [u8],
        flags: MsgFlags,
    ) -> Result<usize, Errno> {
        if flags.is_empty() {
            let got = self.operate_quickly(now, key_of(id), |conn, cx| {
                (conn.readable() > 0).then(|| conn.read(cx, out))
            });
            if let Some(got) = got {
                return Ok(got);
            }
        }
        match self.recv_into(now, id, &mut [out], 0, 0, flags)? {
            Step::Got(n) => Ok(n),
            Step::End => Ok(0),
            Step::Empty => Err(Errno::EAGAIN),
        }
    }

    /// [`Stack::recv`] into several slices, one after another, with what stands beside the data.
    pub fn recvmsg(
        &mut self,
        now: Instant,
        id: SocketId,
        out: &mut [&mut [u8]],
        flags: MsgFlags,
    ) -> Result<RecvMsg, Errno> {
        let room = out.iter().any(|slice| !slice.is_empty());
        let mut msg = RecvMsg { len: 0, flags: MsgFlags::empty(), inq: None };
        match self.recv_into(now, id, out, 0, 0, flags)? {
            Step::Got(n) => msg.len = n,
            Step::End => {}
            Step::Empty => return Err(Errno::EAGAIN),
        }
        if flags.contains(MsgFlags::OOB) {
            msg.flags |= MsgFlags::OOB;
            if !room {
                msg.flags |= MsgFlags::TRUNC;
            }
        }
        let socket = self.entry(id)?;
        if socket.options.inq {
            msg.inq = socket.connection().map(inq_hint);
        }
        Ok(msg)
    }

    /// [`Stack::recv`] without a copy: at most `max` bytes by reference. Empty is the end of the stream.
    pub fn recv_bytes(
        &mut self,
        now: Instant,
        id: SocketId,
        max: usize,
        flags: MsgFlags,
    ) -> Result<Payload, Errno> {
        if flags.intersects(MsgFlags::OOB | MsgFlags::PEEK | MsgFlags::TRUNC) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.may_receive(id, flags)?;
        let taken = self.with_connection(now, key_of(id), |conn, cx| conn.take(cx, max));
        self.settle(now, key_of(id), Outcome::default());
        let taken = taken.unwrap_or_default();
        if !taken.is_empty() || (max == 0 && self.connection(id)?.readable() > 0) {
            return Ok(taken);
        }
        match self.connection_mut(id).and_then(|conn| end_of_stream(conn, 0))? {
            Step::Empty => Err(Errno::EAGAIN),
            _ => Ok(taken),
        }
    }

    /// Takes the oldest message out of the error queue, what MSG_ERRQUEUE reads: zero-copy sends that are done with,
    /// timestamps. EAGAIN if there is none.
    pub fn take_notice(&mut self, id: SocketId) -> Result<Notice, Errno> {
        match &mut self.entry_mut(id)?.kind {
            Kind::Connection(conn) => conn.take_notice().ok_or(Errno::EAGAIN),
            _ => Err(Errno::EAGAIN),
        }
    }

    /// One step of a receive call that has got `copied` bytes so far: into `out` from byte `skip` of all of it on.
    pub(super) fn recv_into(
        &mut self,
        now: Instant,
        id: SocketId,
        out: &mut [&mut [u8]],
        skip: usize,
        copied: usize,
        flags: MsgFlags,
    ) -> Result<Step, Errno> {
        self.may_receive(id, flags)?;
        if flags.contains(MsgFlags::OOB) {
            return self.recv_urgent(id, out, flags);
        }
        let key = key_of(id);
        let peek = flags.contains(MsgFlags::PEEK);
        let discard = flags.contains(MsgFlags::TRUNC);
        let got = self.with_connection(now, key, |conn, cx| {
            // Reading stops at the urgent mark; only a call that starts there passes it (RFC 9293 3.8.5).
            if copied > 0 && !peek && conn.at_mark() {
                return Some(Step::End);
            }
            if conn.readable() == 0 {
                if !peek {
                    let _ = conn.read(cx, &mut [0; 0]); // an out-of-band byte alone is passed
                }
                return None;
            }
            let got = match (peek, discard) {
                (true, _) => look(conn, out, skip, discard),
                (false, true) => {
                    let max = out.iter().map(|slice| slice.len()).sum::<usize>() - skip;
                    conn.skip(cx, max)
                }
                (false, false) => {
                    let mut got = 0;
                    for slice in from(out, skip) {
                        if got > 0 && conn.at_mark() {
                            break;
                        }
                        let n = conn.read(cx, slice);
                        got += n;
                        if n < slice.len() {
                            break;
                        }
                    }
                    got
                }
            };
            Some(Step::Got(got))
        });
        self.settle(now, key, Outcome::default());
        match got.flatten() {
            Some(step) => Ok(step),
            None => self.connection_mut(id).and_then(|conn| end_of_stream(conn, copied)),
        }
    }

    /// What stands in the way of receiving whatever there is to read.
    fn may_receive(&mut self, id: SocketId, flags: MsgFlags) -> Result<(), Errno> {
        let socket = self.entry(id)?;
        if !MsgFlags::all().contains(flags) {
            return Err(Errno::EOPNOTSUPP);
        }
        if flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        match &socket.kind {
            Kind::Connection(_) => Ok(()),
            _ if flags.contains(MsgFlags::OOB) => Err(Errno::EINVAL),
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// MSG_OOB: EINVAL without an urgent byte, or if it stays in line or was read; EAGAIN if it is announced and
    /// not here yet. It never waits.
    fn recv_urgent(&mut self, id: SocketId, out: &mut [&mut [u8]], flags: MsgFlags) -> Result<Step, Errno> {
        let conn = self.connection_mut(id)?;
        let byte = match conn.take_urgent(flags.contains(MsgFlags::PEEK)) {
            Err(Errno::EAGAIN)
                if conn.state() == State::Closed || conn.fin_received() || conn.is_read_shut() =>
            {
                return Ok(Step::End);
            }
            result => result?,
        };
        match out.iter_mut().find(|slice| !slice.is_empty()) {
            Some(slice) => {
                if !flags.contains(MsgFlags::TRUNC) {
                    slice[0] = byte;
                }
                Ok(Step::Got(1))
            }
            None => Ok(Step::Got(0)),
        }
    }

    fn connection_mut(&mut self, id: SocketId) -> Result<&mut Connection, Errno> {
        match &mut self.entry_mut(id)?.kind {
            Kind::Connection(conn) => Ok(conn),
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// FIONREAD, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK. EINVAL on a listener for the queues, as Linux; without a
    /// connection they are empty.
    pub fn ioctl(&self, id: SocketId, request: Ioctl) -> Result<i32, Errno> {
        let socket = self.entry(id)?;
        let conn = match &socket.kind {
            Kind::Listener(_) if request != Ioctl::AtMark => return Err(Errno::EINVAL),
            Kind::Connection(conn) => conn,
            _ => return Ok(0),
        };
        let unopened = matches!(conn.state(), State::SynSent | State::SynReceived) && !conn.is_open_early();
        let n = match request {
            Ioctl::AtMark => u32::from(conn.at_mark()),
            _ if unopened => 0,
            Ioctl::Inq => inq(conn),
            Ioctl::OutQ => conn.send_queue().0,
            Ioctl::OutQNotSent => conn.send_queue().1,
        };
        Ok(i32::try_from(n).unwrap_or(i32::MAX))
    }
}

/// Bytes that can be read, up to the urgent mark if it lies ahead: Linux's `tcp_inq`.
fn inq(conn: &Connection) -> u32 {
    let readable = u32::try_from(conn.readable()).unwrap_or(u32::MAX);
    match conn.urgent_offset() {
        Some(mark) if mark > 0 && !conn.options().oobinline => readable.min(mark),
        _ => readable,
    }
}

/// The same for TCP_INQ: 1 if only the end of the stream is left to be read (Linux's `tcp_inq_hint`).
fn inq_hint(conn: &Connection) -> u32 {
    match inq(conn) {
        0 => u32::from(conn.fin_received()),
        bytes => bytes,
    }
}

/// Notes what the flags and options of a write ask for, which has queued `sent` bytes, all of them if `whole`.
pub(super) fn note_write(conn: &mut Connection, flags: MsgFlags, sent: usize, whole: bool) {
    if sent == 0 {
        return;
    }
    if whole && flags.contains(MsgFlags::EOR) {
        conn.end_record();
    }
    if flags.contains(MsgFlags::ZEROCOPY) && conn.options().zerocopy {
        conn.watch_zerocopy();
    }
    conn.watch_timestamps();
}

/// Room in the buffer, and less unsent than TCP_NOTSENT_LOWAT: Linux's `sk_stream_memory_free`.
fn has_room(conn: &mut Connection) -> bool {
    let room = conn.send_room() > 0 && conn.send_queue().1 < conn.options().notsent_lowat;
    if !room {
        conn.note_full();
    }
    room
}

/// Why there is nothing to read: Linux's order in `tcp_recvmsg_locked`.
fn end_of_stream(conn: &mut Connection, copied: usize) -> Result<Step, Errno> {
    if copied > 0 {
        let over = conn.error().is_some() || conn.fin_received() || conn.is_read_shut();
        return Ok(if over || conn.state() == State::Closed { Step::End } else { Step::Empty });
    }
    if conn.fin_received() {
        return Ok(Step::End);
    }
    if let Some(error) = conn.take_error() {
        return Err(error);
    }
    let over = conn.is_read_shut() || conn.state() == State::Closed;
    Ok(if over { Step::End } else { Step::Empty })
}

/// MSG_PEEK: copies (or only counts) what is there, from the front.
fn look(conn: &Connection, out: &mut [&mut [u8]], skip: usize, count_only: bool) -> usize {
    if count_only {
        let room = out.iter().map(|slice| slice.len()).sum::<usize>() - skip;
        return room.min(inq(conn) as usize);
    }
    let mut got = 0;
    for slice in from(out, skip) {
        let n = conn.peek(got, slice);
        got += n;
        if n < slice.len() {
            break;
        }
    }
    got
}

/// The slices from byte `skip` of all of them on, none of them empty.
fn from<'a>(out: &'a mut [&mut [u8]], skip: usize) -> impl Iterator<Item = &'a mut [u8]> {
    let mut skip = skip;
    out.iter_mut().filter_map(move |slice| {
        let past = skip.min(slice.len());
        skip -= past;
        let rest = &mut slice[past..];
        (!rest.is_empty()).then_some(rest)
    })
}
