//! Bytes in and out: sockets, files of zeros and pipes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use sockeye_core::socket::op::{OpPoll, RecvOp, SendOp};
use sockeye_core::socket::{Ioctl, MsgFlags, SockOpt, SockOptName};
use sockeye_core::tcp::records::Notice;
use sockeye_core::{Errno, Ready, SocketId};

use super::control;
use super::values::{self, Args, field, length, number};
use super::{Operation, Other, Refusal, Returned, items, map, usual_peer};
use crate::script::ast::Expr;
use crate::script::run::pattern;
use crate::script::run::runner::Runner;

const SOL_TCP: i32 = 6;
const TCP_CM_INQ: i32 = 36;

/// A call that sends.
pub(super) struct Send {
    op: SendOp,
    id: SocketId,
    data: Vec<u8>,
    /// The pipe whose bytes these are.
    from: Option<Pipe>,
    how: MsgFlags,
    /// The peer that MSG_FASTOPEN connects to, until it has.
    to: Option<SocketAddr>,
}

type Pipe = Rc<RefCell<VecDeque<u8>>>;

/// A call that receives.
pub(super) struct Receive {
    op: RecvOp,
    id: SocketId,
    flags: MsgFlags,
    out: Vec<u8>,
    got: usize,
    /// The pipe that the bytes go to.
    into: Option<Pipe>,
    /// TCP_CM_INQ, after a `recvmsg` with TCP_INQ on.
    inq: Option<i32>,
    /// The first byte that is not the peer's.
    wrong: Option<usize>,
}

impl Runner<'_> {
    pub(super) fn send(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let fd = args.number(0)?;
        let id = match self.descriptors.socket(fd) {
            Ok(id) => id,
            Err(error) => return self.write_other(args, fd, error),
        };
        if let Some(Expr::Int { .. }) = args.0.args.get(1)
            && args.0.name != "sendfile"
            && args.len(2)? > 0
        {
            // An address of memory that the program does not have.
            return Ok(Operation::Done(Err(Errno::EFAULT)));
        }
        let mut flags = MsgFlags::empty();
        let mut to = None;
        let data = match args.0.name.as_str() {
            "write" => self.buffer(id, args.get(1)?, args.len(2)?, 0)?,
            "send" | "sendto" => {
                flags = message_flags(args, 3)?;
                if args.0.name == "sendto" && !matches!(args.get(4)?, Expr::Int { value: 0, .. }) {
                    to = Some(args.address(4, usual_peer(&self.config))?);
                }
                self.buffer(id, args.get(1)?, args.len(2)?, 0)?
            }
            "writev" => self.vector(id, args.get(1)?)?,
            "sendmsg" => {
                flags = message_flags(args, 2)?;
                let iov = field(args.get(1)?, &["msg_iov"]).ok_or("sendmsg needs msg_iov")?;
                to = flags.contains(MsgFlags::FASTOPEN).then(|| usual_peer(&self.config));
                self.vector(id, iov)?
            }
            _ => return self.sendfile(args, fd, id),
        };
        let Operation::Send(mut send) = self.sending(fd, id, data, flags, None) else {
            return Err("no operation".to_owned());
        };
        if let Some(to) = to.filter(|_| flags.contains(MsgFlags::FASTOPEN)) {
            send.op = SendOp::to(id, to, flags | send.how);
            send.to = Some(to);
        }
        Ok(Operation::Send(send))
    }

    fn sending(
        &self,
        fd: i64,
        id: SocketId,
        data: Vec<u8>,
        mut flags: MsgFlags,
        from: Option<Pipe>,
    ) -> Operation {
        if self.descriptors.table.is_nonblocking(self.descriptors.live(fd)) == Ok(true) {
            flags |= MsgFlags::DONTWAIT;
        }
        Operation::Send(Box::new(Send { op: SendOp::new(id, flags), id, data, from, how: flags, to: None }))
    }

    /// The bytes of one buffer of `len`: what the script says, zeros after it, or the stream's own pattern. `after`
    /// bytes of the same call come before.
    fn buffer(&mut self, id: SocketId, expr: &Expr, len: usize, after: usize) -> Result<Vec<u8>, Refusal> {
        match expr {
            Expr::Any => {
                let written = self.descriptors.written.get(&id).copied().unwrap_or(0);
                let start = written.wrapping_add(1).wrapping_add(after as u32);
                Ok((0..len as u32).map(|i| pattern(start.wrapping_add(i))).collect())
            }
            Expr::Str { bytes, .. } => {
                self.setup.own_data = true;
                let mut data = bytes.clone();
                data.resize(len, 0);
                Ok(data)
            }
            other => Err(format!("'{other}' is no buffer: this stack takes no addresses of memory")),
        }
    }

    fn vector(&mut self, id: SocketId, expr: &Expr) -> Result<Vec<u8>, Refusal> {
        let mut data = Vec::new();
        for item in items(expr) {
            let (buffer, len) = slice_of(item)?;
            let slice = self.buffer(id, buffer, len, data.len())?;
            data.extend_from_slice(&slice);
        }
        Ok(data)
    }

    fn sendfile(&mut self, args: &Args, fd: i64, id: SocketId) -> Result<Operation, Refusal> {
        let file = self.descriptors.live(args.number(1)?);
        let count = args.len(3)? as u64;
        let offset = match args.get(2)? {
            Expr::List(items) if items.len() == 1 => number(&items[0])?,
            _ => None,
        };
        let Some(Other::File { len, at }) = self.descriptors.others.get_mut(&file) else {
            return Ok(Operation::Done(Err(Errno::EBADF)));
        };
        let from = offset.map_or(*at, |offset| offset.max(0) as u64);
        let n = count.min(len.saturating_sub(from));
        if offset.is_none() {
            *at += n;
        }
        self.setup.own_data = true;
        Ok(self.sending(fd, id, vec![0; n as usize], MsgFlags::empty(), None))
    }

    pub(super) fn poll_send(&mut self, send: &mut Send) -> OpPoll<i64> {
        let polled = send.op.poll(&mut self.stack, self.now, &send.data);
        let short = match &polled {
            OpPoll::Ready(Ok(n)) => *n < send.data.len(),
            OpPoll::Ready(Err(error)) => *error == Errno::EAGAIN,
            OpPoll::Wait { .. } => true,
        };
        if short {
            self.descriptors.miss_space(send.id);
        }
        if let Some(peer) = send.to.take()
            && let Ok(local) = self.stack.getsockname(send.id)
            && local.port() != 0
            && !local.ip().is_unspecified()
        {
            self.flows.connecting(local, peer);
        }
        if let OpPoll::Ready(Ok(n)) = &polled {
            let written = self.descriptors.written.entry(send.id).or_default();
            *written = written.wrapping_add(*n as u32);
            if let Some(pipe) = &send.from {
                pipe.borrow_mut().drain(..*n);
            }
        }
        map(polled, |n| n as i64)
    }

    pub(super) fn receive(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let fd = args.number(0)?;
        let (len, flags) = match args.0.name.as_str() {
            "read" => (args.len(2)?, MsgFlags::empty()),
            "recv" | "recvfrom" => (args.len(2)?, message_flags(args, 3)?),
            "readv" => (vector_len(args.get(1)?)?, MsgFlags::empty()),
            _ => {
                let iov = field(args.get(1)?, &["msg_iov"]).ok_or("recvmsg needs msg_iov")?;
                (vector_len(iov)?, message_flags(args, 2)?)
            }
        };
        match self.descriptors.socket(fd) {
            Ok(id) if flags.contains(MsgFlags::ERRQUEUE) => Ok(match self.stack.take_notice(id) {
                Ok(notice) => Operation::Notice(notice),
                Err(error) => Operation::Done(Err(error)),
            }),
            Ok(id) => Ok(self.receiving(fd, id, len, flags, None)),
            Err(error) => self.read_other(fd, len, error),
        }
    }

    fn receiving(&self, fd: i64, id: SocketId, len: usize, flags: MsgFlags, into: Option<Pipe>) -> Operation {
        let mut how = flags;
        if self.descriptors.table.is_nonblocking(self.descriptors.live(fd)) == Ok(true) {
            how |= MsgFlags::DONTWAIT;
        }
        let op = RecvOp::new(id, how);
        Operation::Receive(Box::new(Receive {
            op,
            id,
            flags,
            out: vec![0; len],
            got: 0,
            into,
            inq: None,
            wrong: None,
        }))
    }

    pub(super) fn poll_receive(&mut self, receive: &mut Receive) -> OpPoll<i64> {
        let polled = receive.op.poll(&mut self.stack, self.now, &mut receive.out);
        if let OpPoll::Ready(Ok(n)) = &polled {
            receive.got = *n;
            receive.wrong = self.wrong_received(receive);
            if let Some(pipe) = &receive.into {
                pipe.borrow_mut().extend(&receive.out[..*n]);
            }
            let on = self.stack.getsockopt(self.now, receive.id, SockOptName::Inq);
            if matches!(on, Ok(SockOpt::Inq(true))) {
                let end = self.stack.poll(receive.id).contains(Ready::RDHUP);
                let bytes = self.stack.ioctl(receive.id, Ioctl::Inq).ok();
                receive.inq = bytes.map(|bytes| bytes.max(end.into()));
            }
        }
        map(polled, |n| n as i64)
    }

    /// Where the data is not what the peer sent at that place of the stream. Counts what is read.
    fn wrong_received(&mut self, receive: &Receive) -> Option<usize> {
        let read = self.descriptors.read.entry(receive.id).or_default();
        let from = *read;
        if !receive.flags.intersects(MsgFlags::PEEK | MsgFlags::OOB) {
            *read = read.wrapping_add(receive.got as u32);
        }
        if self.setup.urgent || receive.flags.intersects(MsgFlags::TRUNC | MsgFlags::OOB) {
            return None;
        }
        let flow = self.flows.to_peer(self.stack.getpeername(receive.id).ok()?)?;
        let first = flow.remote_start.wrapping_add(1).wrapping_add(from);
        let got = receive.out[..receive.got].iter().zip(0u32..);
        got.map(|(&byte, i)| byte == pattern(first.wrapping_add(i))).position(|right| !right)
    }

    /// What a receive call brought: the bytes, if the script says any, and what stands beside them.
    pub(super) fn check_receive(&mut self, args: &Args, receive: &Receive) -> Result<(), Refusal> {
        let got = &receive.out[..receive.got];
        if let Some(at) = receive.wrong {
            return Err(format!("byte {at} is not what the peer sent there"));
        }
        match args.0.name.as_str() {
            "readv" => check_vector(args.get(1)?, got),
            "recvmsg" => {
                let message = args.get(1)?;
                if let Some(iov) = field(message, &["msg_iov"]) {
                    check_vector(iov, got)?;
                }
                if let Some(addr) = field(message, &["msg_name"]).filter(|addr| !matches!(addr, Expr::Any)) {
                    return Err(format!("msg_name: expected {addr}, but TCP gives no name with its data"));
                }
                let oob = receive.flags & MsgFlags::OOB;
                if let Some(flags) = field(message, &["msg_flags"]) {
                    values::check_number("msg_flags", flags, i64::from(oob.bits()))?;
                }
                let inq = receive.inq.map(|inq| control::Control {
                    level: SOL_TCP,
                    kind: TCP_CM_INQ,
                    data: inq.to_ne_bytes().to_vec(),
                });
                let got: Vec<control::Control> = inq.into_iter().collect();
                control::check(field(message, &["msg_control"]), &got, &control::Clock::default())
            }
            "splice" => Ok(()),
            _ => check_bytes(args.get(1)?, got),
        }
    }

    /// What MSG_ERRQUEUE brought: no data, but control messages.
    pub(super) fn check_notice(&mut self, args: &Args, notice: &Notice) -> Result<(), Refusal> {
        if args.0.name != "recvmsg" {
            return Ok(());
        }
        let message = args.get(1)?;
        if let Some(flags) = field(message, &["msg_flags"]) {
            let cut = matches!(notice, Notice::Timestamp { only: false, .. });
            let actual = MsgFlags::ERRQUEUE.bits() | if cut { MsgFlags::TRUNC.bits() } else { 0 };
            values::check_number("msg_flags", flags, i64::from(actual))?;
        }
        let start = self.instant(std::time::Duration::ZERO);
        let got = control::of_notice(notice, !self.config.is_v4_socket(), start);
        let clock = control::Clock { start: std::time::Duration::ZERO, tolerance: self.config.tolerance };
        control::check(field(message, &["msg_control"]), &got, &clock)
    }

    /// Reads from what is no socket.
    fn read_other(&mut self, fd: i64, len: usize, error: Errno) -> Result<Operation, Refusal> {
        let live = self.descriptors.live(fd);
        Ok(Operation::Done(match self.descriptors.others.get_mut(&live) {
            Some(Other::Pipe(pipe)) => {
                let mut pipe = pipe.borrow_mut();
                let n = len.min(pipe.len());
                pipe.drain(..n);
                if n == 0 && len > 0 { Err(Errno::EAGAIN) } else { Ok(n as i64) }
            }
            Some(Other::File { len: size, at }) => {
                let n = (len as u64).min(size.saturating_sub(*at));
                *at += n;
                Ok(n as i64)
            }
            Some(Other::Epoll(_)) => Err(Errno::EINVAL),
            None => Err(error),
        }))
    }

    fn write_other(&mut self, args: &Args, fd: i64, error: Errno) -> Result<Operation, Refusal> {
        let live = self.descriptors.live(fd);
        Ok(Operation::Done(match self.descriptors.others.get_mut(&live) {
            Some(Other::Pipe(pipe)) => {
                let len = args.len(2)?;
                pipe.borrow_mut().extend(std::iter::repeat_n(0, len));
                Ok(len as i64)
            }
            Some(_) => Err(Errno::EINVAL),
            None => Err(error),
        }))
    }

    pub(super) fn splice(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let (from, to, len) = (args.number(0)?, args.number(2)?, args.len(4)?);
        let pipe_of = |fd: i64| match self.descriptors.others.get(&self.descriptors.live(fd)) {
            Some(Other::Pipe(pipe)) => Some(pipe.clone()),
            _ => None,
        };
        match (pipe_of(from), pipe_of(to)) {
            (Some(pipe), None) => match self.descriptors.socket(to) {
                Ok(id) => {
                    let data: Vec<u8> = pipe.borrow().iter().copied().take(len).collect();
                    self.setup.own_data = true;
                    Ok(self.sending(to, id, data, MsgFlags::empty(), Some(pipe)))
                }
                Err(error) => Ok(Operation::Done(Err(error))),
            },
            (None, Some(pipe)) => match self.descriptors.socket(from) {
                Ok(id) => Ok(self.receiving(from, id, len, MsgFlags::empty(), Some(pipe))),
                Err(error) => Ok(Operation::Done(Err(error))),
            },
            _ => Ok(Operation::Done(Err(Errno::EINVAL))),
        }
    }

    pub(super) fn pipe(&mut self) -> Result<Operation, Refusal> {
        let pipe = Pipe::default();
        let mut ends = [0; 2];
        for end in &mut ends {
            match self.descriptors.table.insert_other() {
                Ok(fd) => *end = fd,
                Err(error) => return Ok(Operation::Done(Err(error))),
            }
            self.descriptors.others.insert(*end, Other::Pipe(pipe.clone()));
        }
        Ok(Operation::Pipe(ends[0], ends[1]))
    }

    pub(super) fn name_pipe(&mut self, args: &Args, read: i32, write: i32) -> Result<(), Refusal> {
        let [first, second] = items(args.get(0)?) else {
            return Err("pipe needs two descriptors".to_owned());
        };
        for (name, fd) in [(first, read), (second, write)] {
            let name = number(name)?.ok_or("a descriptor must be said")?;
            self.descriptors.names.insert(name, fd);
        }
        Ok(())
    }

    pub(super) fn open(&mut self, args: &Args) -> Result<Returned, Refusal> {
        const O_CREAT: i32 = 0o100;
        let Expr::Str { bytes, .. } = args.get(0)? else {
            return Err("open needs a path in quotes".to_owned());
        };
        let path = String::from_utf8_lossy(bytes).into_owned();
        let creates = args.int(1)?.unwrap_or(0) & O_CREAT != 0;
        let len = match self.setup.files.get(&path) {
            Some(&len) => len,
            None if path == "/dev/zero" => u64::MAX,
            None if creates || path == "/dev/null" => 0,
            None => return Err(format!("the file {path} was not made by the script")),
        };
        let fd = match self.descriptors.table.insert_other() {
            Ok(fd) => fd,
            Err(error) => return Ok(Err(error)),
        };
        self.descriptors.others.insert(fd, Other::File { len, at: 0 });
        Ok(Ok(fd.into()))
    }
}

fn message_flags(args: &Args, at: usize) -> Result<MsgFlags, Refusal> {
    Ok(MsgFlags::from_bits_retain(args.int(at)?.unwrap_or(0) as u32))
}

/// Buffer and length of an iovec.
pub(in super::super) fn slice_of(item: &Expr) -> Result<(&Expr, usize), Refusal> {
    match item {
        Expr::Struct(fields) if fields.len() == 2 => Ok((&fields[0].value, length(&fields[1].value)?)),
        other => Err(format!("'{other}' is no iovec")),
    }
}

pub(in super::super) fn vector_len(expr: &Expr) -> Result<usize, Refusal> {
    items(expr).iter().try_fold(0, |sum, item| Ok(sum + slice_of(item)?.1))
}

pub(in super::super) fn check_bytes(expected: &Expr, got: &[u8]) -> Result<(), Refusal> {
    let Expr::Str { bytes, open } = expected else { return Ok(()) };
    let fits = if *open { got.starts_with(bytes) } else { got == bytes.as_slice() };
    if fits {
        return Ok(());
    }
    Err(format!("expected the data \"{}\", actual \"{}\"", bytes.escape_ascii(), got.escape_ascii()))
}

pub(in super::super) fn check_vector(expected: &Expr, mut got: &[u8]) -> Result<(), Refusal> {
    for item in items(expected) {
        let (buffer, len) = slice_of(item)?;
        let (here, rest) = got.split_at(len.min(got.len()));
        check_bytes(buffer, here)?;
        got = rest;
    }
    Ok(())
}
