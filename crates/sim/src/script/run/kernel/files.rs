//! What is no socket on the host: epoll descriptors, pipes, files; and messages with control data.

use std::os::fd::AsFd;
use std::path::{Component, Path};

use rustix::event::epoll;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::SpliceFlags;
use sockeye_core::Instant;

use super::calls::{KernelCall, Socket, errno, io_errno, returned};
use crate::script::ast::Expr;
use crate::script::run::calls::control::{self, Clock};
use crate::script::run::calls::values::{self, Args, field, number};
use crate::script::run::calls::{Refusal, Returned, check_vector, items, vector_len};
use crate::script::run::runner::Runner;
use sockeye_core::Errno;

/// Room for control data.
const CONTROL: usize = 1024;
/// Events that one `epoll_wait` may ask for.
const EVENTS: usize = 64;

impl Runner<'_> {
    pub(super) fn kernel_recvmsg(&mut self, args: &Args<'_>, fd: i64) -> Result<KernelCall, Refusal> {
        let iov = field(args.get(1)?, &["msg_iov"]).ok_or("recvmsg needs msg_iov")?;
        let flags = args.int(2)?.unwrap_or(0);
        let out = vec![0; vector_len(iov)?];
        Ok(KernelCall::Message { fd, flags, out, got: 0, control: Vec::new(), back: 0 })
    }

    pub(super) fn poll_message(&mut self, call: &mut KernelCall) -> Option<Returned> {
        const DONTWAIT: i32 = 0x40;
        const ERRQUEUE: i32 = 0x2000;
        const PEEK: i32 = 2;
        let KernelCall::Message { fd, flags, out, got, control, back } = call else { return None };
        let kernel = self.kernel.as_mut()?;
        let Some(socket) = kernel.sockets.open.get_mut(fd) else { return Some(Err(Errno::EBADF)) };
        control.resize(CONTROL, 0);
        match kernel.link.recvmsg(socket.fd.as_fd(), out, control, *flags | DONTWAIT) {
            Ok((n, used, how)) => {
                control.truncate(used);
                (*got, *back) = (n, how);
                if *flags & (PEEK | ERRQUEUE) == 0 {
                    socket.read = socket.read.wrapping_add(n as u32);
                }
                Some(Ok(n as i64))
            }
            Err(error) => {
                let waits = !socket.nonblocking && *flags & (DONTWAIT | ERRQUEUE) == 0;
                match io_errno(&error) {
                    Errno::EAGAIN if waits => None,
                    error => Some(Err(error)),
                }
            }
        }
    }

    pub(super) fn check_message(
        &self,
        args: &Args<'_>,
        out: &[u8],
        control: &[u8],
        back: i32,
    ) -> Result<(), Refusal> {
        let message = args.get(1)?;
        if let Some(iov) = field(message, &["msg_iov"]) {
            check_vector(iov, out)?;
        }
        if let Some(flags) = field(message, &["msg_flags"]) {
            values::check_number("msg_flags", flags, back.into())?;
        }
        let clock = Clock {
            start: self.kernel.as_ref().map_or(Default::default(), |kernel| kernel.wall),
            tolerance: self.config.tolerance,
        };
        control::check(field(message, &["msg_control"]), &control::parse(control), &clock)
    }

    pub(super) fn kernel_epoll_create(&mut self) -> Returned {
        match epoll::create(epoll::CreateFlags::CLOEXEC) {
            Ok(fd) => {
                self.sockets().made = Some(Socket::new(fd, false));
                Ok(0)
            }
            Err(error) => Err(errno(error)),
        }
    }

    pub(super) fn kernel_epoll_ctl(&mut self, args: &Args<'_>) -> Result<Returned, Refusal> {
        let (epoll, operation, target) = (args.number(0)?, args.number(1)?, args.number(2)?);
        let event = args.0.args.get(3);
        let events = event.and_then(|event| field(event, &["events"])).map(number).transpose()?.flatten();
        let data = event.and_then(|event| field(event, &["fd", "ptr", "u32", "u64"]));
        let data = epoll::EventData::new_u64(data.map(number).transpose()?.flatten().unwrap_or(0) as u64);
        let flags = epoll::EventFlags::from_bits_retain(events.unwrap_or(0) as u32);
        let sockets = self.sockets();
        let (Some(epoll), Some(target)) = (sockets.open.get(&epoll), sockets.open.get(&target)) else {
            return Ok(Err(Errno::EBADF));
        };
        Ok(returned(match operation {
            1 => epoll::add(&epoll.fd, &target.fd, data, flags),
            2 => epoll::delete(&epoll.fd, &target.fd),
            3 => epoll::modify(&epoll.fd, &target.fd, data, flags),
            _ => return Ok(Err(Errno::EINVAL)),
        }))
    }

    pub(super) fn kernel_epoll_wait(&mut self, args: &Args<'_>, fd: i64) -> Result<KernelCall, Refusal> {
        let max = args.int(2)?.unwrap_or(1);
        let until = self.until(args.int(3)?.map(i64::from));
        Ok(match usize::try_from(max) {
            Ok(max @ 1..) => KernelCall::EpollWait { fd, max: max.min(EVENTS), found: Vec::new(), until },
            _ => KernelCall::Done(Err(Errno::EINVAL)),
        })
    }

    pub(super) fn poll_epoll_wait(
        &mut self,
        fd: i64,
        max: usize,
        found: &mut Vec<(u32, i64)>,
        until: Instant,
    ) -> Option<Returned> {
        let now = self.now;
        let Ok(socket) = self.host_socket(fd) else { return Some(Err(Errno::EBADF)) };
        let mut events =
            vec![epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; max];
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&socket.fd, events.as_mut_slice(), Some(&zero)) {
            Ok(n) => {
                *found = events[..n]
                    .iter()
                    .map(|event| {
                        let (flags, data) = (event.flags, event.data);
                        (flags.bits(), data.u64() as i64)
                    })
                    .collect();
                (n > 0 || now >= until).then_some(Ok(n as i64))
            }
            Err(error) => Some(Err(errno(error))),
        }
    }

    pub(super) fn kernel_pipe(&mut self, args: &Args<'_>) -> Result<Returned, Refusal> {
        let [first, second] = items(args.get(0)?) else {
            return Err("pipe needs two descriptors".to_owned());
        };
        let (read, write) = match rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK) {
            Ok(ends) => ends,
            Err(error) => return Ok(Err(errno(error))),
        };
        for (name, fd) in [(first, read), (second, write)] {
            let name = number(name)?.ok_or("a descriptor must be said")?;
            self.sockets().open.insert(name, Socket::new(fd, false));
        }
        Ok(Ok(0))
    }

    /// Files are made under the folder for temporary ones, whatever path the script gives them.
    pub(super) fn kernel_open(&mut self, args: &Args<'_>) -> Result<Returned, Refusal> {
        let Expr::Str { bytes, .. } = args.get(0)? else {
            return Err("open needs a path in quotes".to_owned());
        };
        let path = String::from_utf8_lossy(bytes).into_owned();
        let flags = OFlags::from_bits_retain(args.int(1)?.unwrap_or(0) as u32);
        if flags.contains(OFlags::CREATE) && Path::new(&path).components().any(|c| c == Component::ParentDir)
        {
            return Err(format!("the file {path} is not made on the host"));
        }
        let path = self.kernel.as_ref().and_then(|kernel| kernel.files.get(&path).cloned()).unwrap_or(path);
        Ok(match rustix::fs::open(path.as_str(), flags, Mode::from_bits_retain(0o600)) {
            Ok(fd) => {
                self.sockets().made = Some(Socket::new(fd, false));
                Ok(0)
            }
            Err(error) => Err(errno(error)),
        })
    }

    pub(super) fn kernel_sendfile(&mut self, args: &Args<'_>, fd: i64) -> Result<Returned, Refusal> {
        let (file, count) = (args.number(1)?, args.len(3)?);
        let mut offset = match args.get(2)? {
            Expr::List(items) if items.len() == 1 => number(&items[0])?.map(|at| at.max(0) as u64),
            _ => None,
        };
        self.setup.own_data = true;
        let sockets = self.sockets();
        let (Some(socket), Some(file)) = (sockets.open.get(&fd), sockets.open.get(&file)) else {
            return Ok(Err(Errno::EBADF));
        };
        let sent = rustix::fs::sendfile(&socket.fd, &file.fd, offset.as_mut(), count);
        Ok(sent.map(|n| n as i64).map_err(errno))
    }

    pub(super) fn kernel_splice(&mut self, args: &Args<'_>) -> Result<Returned, Refusal> {
        let (from, to, len) = (args.number(0)?, args.number(2)?, args.len(4)?);
        let flags = SpliceFlags::from_bits_retain(args.int(5)?.unwrap_or(0) as u32) | SpliceFlags::NONBLOCK;
        self.setup.own_data = true;
        let sockets = self.sockets();
        let (Some(from), Some(to)) = (sockets.open.get(&from), sockets.open.get(&to)) else {
            return Ok(Err(Errno::EBADF));
        };
        let moved = rustix::pipe::splice(&from.fd, None, &to.fd, None, len, flags);
        Ok(moved.map(|n| n as i64).map_err(errno))
    }
}
