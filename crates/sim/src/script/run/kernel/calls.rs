//! The calls of a script, made on the host's sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno as HostErrno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use sockeye_core::{Errno, Instant};

use super::HostInfo;
use crate::script::ast::{Call, Expr};
use crate::script::run::calls::values::{self, Args, field, number};
use crate::script::run::calls::{
    Refusal, Returned, check_bytes, check_info, check_option, check_vector, items, makes_descriptor,
    option_bytes, slice_of, usual_peer, vector_len,
};
use crate::script::run::pattern;
use crate::script::run::runner::Runner;

const O_NONBLOCK: i32 = 0o4000;
const MSG_DONTWAIT: i32 = 0x40;
const MSG_PEEK: i32 = 2;
const MSG_OOB: i32 = 1;

/// The host's sockets under the script's numbers.
#[derive(Default)]
pub struct Sockets {
    pub(super) open: BTreeMap<i64, Socket>,
    /// Made by a call whose result has not been compared yet.
    pub(super) made: Option<Socket>,
}

/// A descriptor of the host.
pub struct Socket {
    pub(super) fd: std::rc::Rc<OwnedFd>,
    pub(super) nonblocking: bool,
    pub(super) written: u32,
    pub(super) read: u32,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd, nonblocking: bool) -> Socket {
        Socket { fd: std::rc::Rc::new(fd), nonblocking, written: 0, read: 0 }
    }
}

/// A call that is under way, or done.
pub enum KernelCall {
    /// Done, with what it returned.
    Done(Returned),
    /// Done, with an option's bytes.
    Option(Vec<u8>),
    /// Done, with a number.
    Int(i32),
    /// Done, with an address.
    Name(SocketAddr),
    /// Waits for a connection; the flags of `accept4`.
    Accept(i64, i32),
    /// Waits for the end of the handshake.
    Connect(i64),
    /// Sends what is left.
    Send {
        /// The socket.
        fd: i64,
        /// The bytes.
        data: Vec<u8>,
        /// How many have been taken.
        done: usize,
        /// Of the call.
        flags: i32,
        /// Where to, for the first of them.
        to: Option<SocketAddr>,
    },
    /// Waits for data.
    Receive {
        /// The socket.
        fd: i64,
        /// Of the call.
        flags: i32,
        /// Where the data goes.
        out: Vec<u8>,
        /// How much came.
        got: usize,
    },
    /// Waits for a message.
    Message {
        /// The socket.
        fd: i64,
        /// Of the call.
        flags: i32,
        /// Where the data goes.
        out: Vec<u8>,
        /// How much came.
        got: usize,
        /// The control data that came.
        control: Vec<u8>,
        /// The flags that came.
        back: i32,
    },
    /// Waits for what an epoll descriptor watches.
    EpollWait {
        /// The descriptor.
        fd: i64,
        /// Events at most.
        max: usize,
        /// What it told: events and data.
        found: Vec<(u32, i64)>,
        /// When it gives up.
        until: Instant,
    },
    /// Waits for readiness.
    Poll {
        /// Descriptors and what they are asked for.
        wanted: Vec<(i64, u16)>,
        /// What they are ready for.
        found: Vec<u16>,
        /// When it gives up.
        until: Instant,
    },
}

pub(super) fn io_errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().and_then(Errno::from_number).unwrap_or(Errno::EINVAL)
}

pub(super) fn errno(error: HostErrno) -> Errno {
    Errno::from_number(error.raw_os_error()).unwrap_or(Errno::EINVAL)
}

pub(super) fn returned(result: rustix::io::Result<()>) -> Returned {
    result.map(|()| 0).map_err(errno)
}

impl Runner<'_> {
    pub(super) fn sockets(&mut self) -> &mut Sockets {
        &mut self.kernel.as_mut().expect("only a run on the host makes its calls").sockets
    }

    pub(super) fn host_socket(&mut self, name: i64) -> Result<&mut Socket, Errno> {
        self.sockets().open.get_mut(&name).ok_or(Errno::EBADF)
    }

    /// Begins a call.
    pub fn begin_kernel_call(&mut self, call: &Call) -> Result<KernelCall, Refusal> {
        let args = Args(call);
        match call.name.as_str() {
            "socket" => return self.kernel_socket(&args).map(KernelCall::Done),
            "poll" => return self.kernel_poll(&args),
            "epoll_create" | "epoll_create1" => return Ok(KernelCall::Done(self.kernel_epoll_create())),
            "epoll_ctl" => return self.kernel_epoll_ctl(&args).map(KernelCall::Done),
            "pipe" | "pipe2" => return self.kernel_pipe(&args).map(KernelCall::Done),
            "open" => return self.kernel_open(&args).map(KernelCall::Done),
            "splice" => return self.kernel_splice(&args).map(KernelCall::Done),
            _ => {}
        }
        self.begin_call_on_one(&args)
    }

    /// A call on one descriptor, its first argument.
    fn begin_call_on_one(&mut self, args: &Args<'_>) -> Result<KernelCall, Refusal> {
        let call = args.0;
        let name = args.number(0)?;
        let fd = match self.host_socket(name) {
            Ok(socket) => socket.fd.clone(),
            Err(error) => return Ok(KernelCall::Done(Err(error))),
        };
        Ok(match call.name.as_str() {
            "bind" => {
                let usual = values::wildcard(self.config.is_v4_socket(), self.config.bind_port);
                let done = returned(net::bind(&fd, &args.address(1, usual)?));
                if let Some(local) = local_name(&fd) {
                    self.flows.listening = local.port();
                }
                KernelCall::Done(done)
            }
            "listen" => {
                let done = returned(net::listen(&fd, args.int(1)?.unwrap_or(0)));
                if let (Ok(_), Some(local)) = (done, local_name(&fd)) {
                    self.flows.listening(local.port());
                }
                KernelCall::Done(done)
            }
            "accept" => KernelCall::Accept(name, 0),
            "accept4" => KernelCall::Accept(name, args.int(3)?.unwrap_or(0)),
            "connect" => self.kernel_connect(args, name)?,
            "shutdown" => {
                let how = match args.int(1)? {
                    Some(0) => net::Shutdown::Read,
                    Some(1) => net::Shutdown::Write,
                    Some(2) => net::Shutdown::Both,
                    _ => return Err("shutdown takes SHUT_RD, SHUT_WR or SHUT_RDWR here".to_owned()),
                };
                KernelCall::Done(returned(net::shutdown(&fd, how)))
            }
            "close" => {
                // The last reference is dropped at the end of this call.
                self.sockets().open.remove(&name);
                KernelCall::Done(Ok(0))
            }
            "dup" => {
                let nonblocking = self.host_socket(name).is_ok_and(|socket| socket.nonblocking);
                let twin = Socket { fd, nonblocking, written: 0, read: 0 };
                self.sockets().made = Some(twin);
                KernelCall::Done(Ok(0))
            }
            "getsockname" => match local_name(&fd) {
                Some(addr) => KernelCall::Name(addr),
                None => KernelCall::Done(Err(Errno::ENOTCONN)),
            },
            "getpeername" => match net::getpeername(&fd) {
                Ok(addr) => match addr.and_then(|addr| SocketAddr::try_from(addr).ok()) {
                    Some(addr) => KernelCall::Name(addr),
                    None => KernelCall::Done(Err(Errno::ENOTCONN)),
                },
                Err(error) => KernelCall::Done(Err(errno(error))),
            },
            "write" | "send" | "sendto" | "writev" | "sendmsg" => self.kernel_send(args, name)?,
            "sendfile" => KernelCall::Done(self.kernel_sendfile(args, name)?),
            "read" | "recv" | "recvfrom" => {
                let flags = if call.name == "read" { 0 } else { args.int(3)?.unwrap_or(0) };
                KernelCall::Receive { fd: name, flags, out: vec![0; args.len(2)?], got: 0 }
            }
            "readv" => {
                let out = vec![0; vector_len(args.get(1)?)?];
                KernelCall::Receive { fd: name, flags: 0, out, got: 0 }
            }
            "recvmsg" => self.kernel_recvmsg(args, name)?,
            "epoll_wait" => self.kernel_epoll_wait(args, name)?,
            "fcntl" => self.kernel_fcntl(args, name)?,
            _ => return self.option_call(args, &fd),
        })
    }

    fn kernel_send(&mut self, args: &Args<'_>, name: i64) -> Result<KernelCall, Refusal> {
        const FASTOPEN: i32 = 0x2000_0000;
        let usual = usual_peer(&self.config);
        let mut to = None;
        let (mut flags, mut data) = (0, Vec::new());
        match args.0.name.as_str() {
            "write" => data = self.kernel_data(name, args.get(1)?, args.len(2)?, 0)?,
            "send" | "sendto" => {
                flags = args.int(3)?.unwrap_or(0);
                data = self.kernel_data(name, args.get(1)?, args.len(2)?, 0)?;
                if args.0.name == "sendto" && !matches!(args.get(4)?, Expr::Int { value: 0, .. }) {
                    // Without Fast Open an address opens nothing.
                    to = Some(args.address(4, usual)?).filter(|_| flags & FASTOPEN != 0);
                }
            }
            how => {
                let iov = match how {
                    "writev" => args.get(1)?,
                    _ => field(args.get(1)?, &["msg_iov"]).ok_or("sendmsg needs msg_iov")?,
                };
                for item in items(iov) {
                    let (buffer, len) = slice_of(item)?;
                    data.extend(self.kernel_data(name, buffer, len, data.len() as u32)?);
                }
                if how == "sendmsg" {
                    flags = args.int(2)?.unwrap_or(0);
                    to = (flags & FASTOPEN != 0).then_some(usual);
                }
            }
        }
        Ok(KernelCall::Send { fd: name, data, done: 0, flags, to })
    }

    fn kernel_socket(&mut self, args: &Args<'_>) -> Result<Returned, Refusal> {
        let usual = if self.config.is_v4_socket() { AddressFamily::INET } else { AddressFamily::INET6 };
        let family = match args.int(0)? {
            None => usual,
            Some(2) => AddressFamily::INET,
            Some(10) => AddressFamily::INET6,
            Some(other) => return Err(format!("sockets of the family {other} are not made on the host")),
        };
        let kind = args.int(1)?.unwrap_or(1);
        let made = net::socket_with(
            family,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            Some(net::ipproto::TCP),
        );
        let name = self.kernel.as_ref().map_or(String::new(), |kernel| kernel.congestion.clone());
        Ok(match made {
            Ok(fd) => {
                net::sockopt::set_tcp_congestion(&fd, &name)
                    .map_err(|error| format!("the host's congestion control {name}: {error}"))?;
                self.sockets().made = Some(Socket::new(fd, kind & O_NONBLOCK != 0));
                Ok(0)
            }
            Err(error) => Err(errno(error)),
        })
    }

    fn kernel_connect(&mut self, args: &Args<'_>, name: i64) -> Result<KernelCall, Refusal> {
        let addr = args.address(1, usual_peer(&self.config))?;
        let socket = match self.host_socket(name) {
            Ok(socket) => socket,
            Err(error) => return Ok(KernelCall::Done(Err(error))),
        };
        let (fd, nonblocking) = (socket.fd.clone(), socket.nonblocking);
        let begun = net::connect(&fd, &addr);
        if let Some(local) = local_name(&fd) {
            self.flows.connecting(local, addr);
        }
        Ok(match begun {
            Err(HostErrno::INPROGRESS) if !nonblocking => KernelCall::Connect(name),
            other => KernelCall::Done(returned(other)),
        })
    }

    fn kernel_fcntl(&mut self, args: &Args<'_>, name: i64) -> Result<KernelCall, Refusal> {
        const GETFL: i64 = 3;
        const SETFL: i64 = 4;
        let socket = match self.host_socket(name) {
            Ok(socket) => socket,
            Err(error) => return Ok(KernelCall::Done(Err(error))),
        };
        Ok(KernelCall::Done(match args.number(1)? {
            GETFL => Ok(i64::from(2 | if socket.nonblocking { O_NONBLOCK } else { 0 })),
            SETFL => {
                socket.nonblocking = args.int(2)?.unwrap_or(0) & O_NONBLOCK != 0;
                Ok(0)
            }
            other => return Err(format!("fcntl {other} is not made on the host")),
        }))
    }

    fn kernel_poll(&mut self, args: &Args<'_>) -> Result<KernelCall, Refusal> {
        let mut wanted = Vec::new();
        for item in items(args.get(0)?) {
            let (Some(fd), Some(events)) = (field(item, &["fd"]), field(item, &["events"])) else {
                return Err(format!("'{item}' is no pollfd: it needs fd and events"));
            };
            wanted.push((number(fd)?.unwrap_or(-1), number(events)?.unwrap_or(0) as u16));
        }
        let until = self.until(args.int(2)?.map(i64::from));
        Ok(KernelCall::Poll { wanted, found: Vec::new(), until })
    }

    fn kernel_data(&mut self, name: i64, expr: &Expr, len: usize, after: u32) -> Result<Vec<u8>, Refusal> {
        match expr {
            Expr::Any => {
                let start = self.host_socket(name).map_or(0, |socket| socket.written).wrapping_add(1 + after);
                Ok((0..len as u32).map(|i| pattern(start.wrapping_add(i))).collect())
            }
            Expr::Str { bytes, .. } => {
                self.setup.own_data = true;
                let mut data = bytes.clone();
                data.resize(len, 0);
                Ok(data)
            }
            other => Err(format!("'{other}' is no buffer")),
        }
    }

    /// Asks a call whether it is done.
    pub fn poll_kernel_call(&mut self, call: &mut KernelCall) -> Option<Returned> {
        match call {
            KernelCall::Done(returned) => Some(*returned),
            KernelCall::Name(_) | KernelCall::Option(_) | KernelCall::Int(_) => Some(Ok(0)),
            KernelCall::Message { .. } => self.poll_message(call),
            KernelCall::EpollWait { fd, max, found, until } => self.poll_epoll_wait(*fd, *max, found, *until),
            KernelCall::Accept(name, flags) => self.poll_accept(*name, *flags),
            KernelCall::Connect(name) => self.poll_connect(*name),
            KernelCall::Send { fd, data, done, flags, to } => {
                self.poll_kernel_send(*fd, data, done, flags, to)
            }
            KernelCall::Receive { fd, flags, out, got } => {
                let socket = match self.host_socket(*fd) {
                    Ok(socket) => socket,
                    Err(error) => return Some(Err(error)),
                };
                let how = RecvFlags::from_bits_retain(*flags as u32);
                match net::recv(&socket.fd, out.as_mut_slice(), how) {
                    Ok((n, _)) => {
                        *got = n;
                        if *flags & (MSG_PEEK | MSG_OOB) == 0 {
                            socket.read = socket.read.wrapping_add(n as u32);
                        }
                        Some(Ok(n as i64))
                    }
                    Err(HostErrno::AGAIN) if !socket.nonblocking && *flags & MSG_DONTWAIT == 0 => None,
                    Err(error) => Some(Err(errno(error))),
                }
            }
            KernelCall::Poll { wanted, found, until } => {
                let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
                *found = wanted.iter().map(|&(name, events)| self.readiness(name, events, &zero)).collect();
                let ready = found.iter().filter(|&&found| found != 0).count();
                (ready > 0 || self.now >= *until).then_some(Ok(ready as i64))
            }
        }
    }

    fn readiness(&mut self, name: i64, events: u16, zero: &Timespec) -> u16 {
        let Ok(socket) = self.host_socket(name) else { return PollFlags::NVAL.bits() };
        let mut fds = [PollFd::new(&*socket.fd, PollFlags::from_bits_retain(events))];
        match rustix::event::poll(&mut fds, Some(zero)) {
            Ok(_) => fds[0].revents().bits(),
            Err(_) => 0,
        }
    }

    fn poll_accept(&mut self, name: i64, flags: i32) -> Option<Returned> {
        let socket = match self.host_socket(name) {
            Ok(socket) => socket,
            Err(error) => return Some(Err(error)),
        };
        match net::accept_with(&socket.fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(fd) => {
                self.sockets().made = Some(Socket::new(fd, flags & O_NONBLOCK != 0));
                Some(Ok(0))
            }
            Err(HostErrno::AGAIN) if !socket.nonblocking => None,
            Err(error) => Some(Err(errno(error))),
        }
    }

    fn poll_connect(&mut self, name: i64) -> Option<Returned> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        if self.readiness(name, PollFlags::OUT.bits(), &zero) == 0 {
            return None;
        }
        Some(match self.host_socket(name) {
            Ok(socket) => match net::sockopt::socket_error(&socket.fd) {
                Ok(Err(error)) | Err(error) => Err(errno(error)),
                Ok(Ok(())) => Ok(0),
            },
            Err(error) => Err(error),
        })
    }

    fn poll_kernel_send(
        &mut self,
        name: i64,
        data: &[u8],
        done: &mut usize,
        flags: &mut i32,
        to: &mut Option<SocketAddr>,
    ) -> Option<Returned> {
        const FASTOPEN: i32 = 0x2000_0000;
        const ZEROCOPY: i32 = 0x0400_0000;
        let peer = usual_peer(&self.config);
        let socket = match self.host_socket(name) {
            Ok(socket) => socket,
            Err(error) => return Some(Err(error)),
        };
        let how = SendFlags::from_bits_retain(*flags as u32) | SendFlags::NOSIGNAL;
        let waits = !socket.nonblocking && *flags & MSG_DONTWAIT == 0;
        let fd = socket.fd.clone();
        let mut text = &data[*done..];
        if *flags & ZEROCOPY != 0
            && let Some(kernel) = &mut self.kernel
        {
            kernel.pinned.push(text.to_vec());
            text = kernel.pinned.last().map_or(text, Vec::as_slice);
        }
        let sent = match *to {
            Some(addr) => net::sendto(&fd, text, how, &addr),
            None => net::send(&fd, text, how),
        };
        if let (Some(local), Some(addr)) = (local_name(&fd), *to) {
            self.flows.connecting(local, addr);
        } else if let (Some(local), Err(HostErrno::INPROGRESS) | Ok(_)) = (local_name(&fd), &sent)
            && self.flows.to_peer(peer).is_none()
            && self.flows.listening == 0
        {
            self.flows.connecting(local, peer);
        }
        let socket = match self.host_socket(name) {
            Ok(socket) => socket,
            Err(error) => return Some(Err(error)),
        };
        match sent {
            Err(HostErrno::INPROGRESS) if waits => {
                // The cookie is not known: the data goes once the handshake is over.
                *flags &= !FASTOPEN;
                *to = None;
                None
            }
            Ok(n) => {
                *done += n;
                socket.written = socket.written.wrapping_add(n as u32);
                (*done == data.len() || !waits).then_some(Ok(*done as i64))
            }
            Err(HostErrno::AGAIN) if waits => None,
            Err(_) if *done > 0 => Some(Ok(*done as i64)),
            Err(error) => Some(Err(errno(error))),
        }
    }

    /// `ioctl` and socket options.
    fn option_call(&mut self, args: &Args<'_>, fd: &OwnedFd) -> Result<KernelCall, Refusal> {
        let Some(kernel) = self.kernel.as_mut() else { return Err("no host".to_owned()) };
        let number = |at: usize| args.number(at).map(|n| n as i32);
        let answer = match args.0.name.as_str() {
            "setsockopt" => {
                let mut value = option_bytes(args.get(3)?)?;
                if let Some(len) = args.int(4)?.and_then(|len| usize::try_from(len).ok()) {
                    value.resize(len.min(1 << 16), 0);
                }
                let set = kernel.link.setsockopt(fd.as_fd(), number(1)?, number(2)?, &value);
                return Ok(KernelCall::Done(set.map(|()| 0).map_err(|error| io_errno(&error))));
            }
            "getsockopt" => {
                let room = match args.0.args.get(4).map(items) {
                    Some([len]) => values::number(len)?.map_or(512, |len| len.clamp(0, 1 << 16) as usize),
                    _ => 512,
                };
                let mut value = vec![0; room];
                kernel.link.getsockopt(fd.as_fd(), number(1)?, number(2)?, &mut value).map(|len| {
                    value.truncate(len);
                    KernelCall::Option(value)
                })
            }
            "ioctl" => kernel.link.ioctl(fd.as_fd(), number(1)? as u32).map(KernelCall::Int),
            name => return Err(format!("the call '{name}' is not made on the host")),
        };
        Ok(answer.unwrap_or_else(|error| KernelCall::Done(Err(io_errno(&error)))))
    }

    /// Gives what a call made the number that the script has for it.
    pub fn name_kernel_socket(&mut self, call: &Call, expected: i64) {
        if let Some(made) = self.sockets().made.take().filter(|_| makes_descriptor(&call.name)) {
            self.sockets().open.insert(expected, made);
        }
    }

    /// Compares what a call brought back.
    pub fn check_kernel_output(&mut self, args: &Args<'_>, call: &KernelCall) -> Result<(), Refusal> {
        match call {
            KernelCall::Option(bytes) => match items(args.get(3)?) {
                [Expr::Struct(fields)] if is_info(fields) => {
                    let shown = HostInfo::new(bytes.clone());
                    check_info(args.get(3)?, &|name| shown.value(name))
                }
                _ => check_option(args.get(3)?, bytes),
            },
            KernelCall::Int(value) => match args.0.args.get(2).map(items) {
                Some([expected]) => values::check_number("the value", expected, (*value).into()),
                _ => Ok(()),
            },
            KernelCall::Message { out, got, control, back, .. } => {
                self.check_message(args, &out[..*got], control, *back)
            }
            KernelCall::EpollWait { found, .. } => {
                for (item, &(found, data)) in items(args.get(1)?).iter().zip(found) {
                    if let Some(expected) = field(item, &["events"]) {
                        let wanted = number(expected)?.map_or(found, |wanted| wanted as u32);
                        if wanted != found {
                            return Err(format!(
                                "events: expected {expected} ({wanted:#x}), actual {found:#x}"
                            ));
                        }
                    }
                    if let Some(expected) = field(item, &["fd", "ptr", "u32", "u64"]) {
                        values::check_number("the event's data", expected, data)?;
                    }
                }
                Ok(())
            }
            KernelCall::Name(addr) => values::check_address(args.get(1)?, *addr),
            KernelCall::Receive { out, got, .. } if args.0.name == "readv" => {
                check_vector(args.get(1)?, &out[..*got])
            }
            KernelCall::Receive { out, got, .. } => check_bytes(args.get(1)?, &out[..*got]),
            KernelCall::Poll { found, .. } => {
                for (item, &found) in items(args.get(0)?).iter().zip(found) {
                    if let Some(expected) = field(item, &["revents"]) {
                        values::check_number("revents", expected, found.into())?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether a struct is a `tcp_info`.
fn is_info(fields: &[crate::script::ast::Field]) -> bool {
    fields.iter().any(|field| field.name.as_deref().is_some_and(|name| name.starts_with("tcpi_")))
}

fn local_name(fd: &OwnedFd) -> Option<SocketAddr> {
    let local = SocketAddr::try_from(net::getsockname(fd).ok()?).ok()?;
    (local.port() != 0).then_some(local)
}
