//! The calls of a script, made on the host's sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno as HostErrno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use sockeye_core::{Errno, Instant};

use super::options::{self, Value};
use crate::script::ast::{Call, Expr};
use crate::script::run::calls::values::{self, Args, field, number};
use crate::script::run::calls::{Refusal, Returned, check_bytes, items, makes_descriptor, usual_peer};
use crate::script::run::pattern;
use crate::script::run::runner::Runner;

const O_NONBLOCK: i32 = 0o4000;
const MSG_DONTWAIT: i32 = 0x40;
const MSG_PEEK: i32 = 2;
const MSG_OOB: i32 = 1;

/// The host's sockets under the script's numbers.
#[derive(Default)]
pub struct Sockets {
    open: BTreeMap<i64, Socket>,
    /// Made by a call whose result has not been compared yet.
    made: Option<Socket>,
}

struct Socket {
    fd: std::rc::Rc<OwnedFd>,
    nonblocking: bool,
    written: u32,
    read: u32,
}

impl Socket {
    fn new(fd: OwnedFd, nonblocking: bool) -> Socket {
        Socket { fd: std::rc::Rc::new(fd), nonblocking, written: 0, read: 0 }
    }
}

/// A call that is under way, or done.
pub enum KernelCall {
    /// Done, with what it returned.
    Done(Returned),
    /// Done, with a value.
    Value(Returned, Value),
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

fn errno(error: HostErrno) -> Errno {
    Errno::from_number(error.raw_os_error()).unwrap_or(Errno::EINVAL)
}

fn returned(result: rustix::io::Result<()>) -> Returned {
    result.map(|()| 0).map_err(errno)
}

impl Runner<'_> {
    fn sockets(&mut self) -> &mut Sockets {
        &mut self.kernel.as_mut().expect("only a run on the host makes its calls").sockets
    }

    fn host_socket(&mut self, name: i64) -> Result<&mut Socket, Errno> {
        self.sockets().open.get_mut(&name).ok_or(Errno::EBADF)
    }

    /// Begins a call.
    pub fn begin_kernel_call(&mut self, call: &Call) -> Result<KernelCall, Refusal> {
        let args = Args(call);
        if call.name == "socket" {
            return self.kernel_socket(&args).map(KernelCall::Done);
        }
        if call.name == "poll" {
            return self.kernel_poll(&args);
        }
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
            "connect" => self.kernel_connect(&args, name)?,
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
            "write" | "send" | "sendto" => {
                let flags = if call.name == "write" { 0 } else { args.int(3)?.unwrap_or(0) };
                let data = self.kernel_data(name, args.get(1)?, args.len(2)?)?;
                KernelCall::Send { fd: name, data, done: 0, flags }
            }
            "read" | "recv" | "recvfrom" => {
                let flags = if call.name == "read" { 0 } else { args.int(3)?.unwrap_or(0) };
                KernelCall::Receive { fd: name, flags, out: vec![0; args.len(2)?], got: 0 }
            }
            "fcntl" => self.kernel_fcntl(&args, name)?,
            _ => return option_call(&args, &fd),
        })
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

    fn kernel_data(&mut self, name: i64, expr: &Expr, len: usize) -> Result<Vec<u8>, Refusal> {
        match expr {
            Expr::Any => {
                let start = self.host_socket(name).map_or(0, |socket| socket.written).wrapping_add(1);
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
            KernelCall::Done(returned) | KernelCall::Value(returned, _) => Some(*returned),
            KernelCall::Name(_) => Some(Ok(0)),
            KernelCall::Accept(name, flags) => self.poll_accept(*name, *flags),
            KernelCall::Connect(name) => self.poll_connect(*name),
            KernelCall::Send { fd, data, done, flags } => self.poll_kernel_send(*fd, data, done, *flags),
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

    fn poll_kernel_send(&mut self, name: i64, data: &[u8], done: &mut usize, flags: i32) -> Option<Returned> {
        let socket = match self.host_socket(name) {
            Ok(socket) => socket,
            Err(error) => return Some(Err(error)),
        };
        let how = SendFlags::from_bits_retain(flags as u32) | SendFlags::NOSIGNAL;
        let waits = !socket.nonblocking && flags & MSG_DONTWAIT == 0;
        match net::send(&socket.fd, &data[*done..], how) {
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

    /// Gives what a call made the number that the script has for it.
    pub fn name_kernel_socket(&mut self, call: &Call, expected: i64) {
        if let Some(made) = self.sockets().made.take().filter(|_| makes_descriptor(&call.name)) {
            self.sockets().open.insert(expected, made);
        }
    }

    /// Compares what a call brought back.
    pub fn check_kernel_output(&mut self, args: &Args<'_>, call: &KernelCall) -> Result<(), Refusal> {
        match call {
            KernelCall::Value(_, value) => {
                let at = if args.0.name == "ioctl" { 2 } else { 3 };
                check_value(args.get(at)?, value)
            }
            KernelCall::Name(addr) => values::check_address(args.get(1)?, *addr),
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

/// `ioctl` and socket options.
fn option_call(args: &Args<'_>, fd: &OwnedFd) -> Result<KernelCall, Refusal> {
    const FIONREAD: i64 = 0x541b;
    let answer = match args.0.name.as_str() {
        "setsockopt" => {
            let value = option_value(args.get(3)?)?;
            return Ok(KernelCall::Done(returned(options::set(
                fd.as_fd(),
                args.number(1)?,
                args.number(2)?,
                &value,
            )?)));
        }
        "getsockopt" => options::get(fd.as_fd(), args.number(1)?, args.number(2)?)?,
        "ioctl" if args.number(1)? == FIONREAD => {
            rustix::io::ioctl_fionread(fd).map(|n| Value::Int(n as i64))
        }
        "ioctl" => return Err(format!("ioctl {} is not made on the host", args.get(1)?)),
        name => return Err(format!("the call '{name}' is not made on the host")),
    };
    Ok(match answer {
        Ok(value) => KernelCall::Value(Ok(0), value),
        Err(error) => KernelCall::Done(Err(errno(error))),
    })
}

fn local_name(fd: &OwnedFd) -> Option<SocketAddr> {
    let local = SocketAddr::try_from(net::getsockname(fd).ok()?).ok()?;
    (local.port() != 0).then_some(local)
}

fn option_value(expr: &Expr) -> Result<Value, Refusal> {
    match expr {
        Expr::Str { bytes, .. } => {
            Ok(Value::Name(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()))
        }
        Expr::List(list) if list.len() == 1 => option_value(&list[0]),
        Expr::Struct(_) => {
            let part = |names: &[&str]| {
                field(expr, names).map(number).transpose().map(|value| value.flatten().unwrap_or(0))
            };
            Ok(Value::Linger(part(&["onoff", "l_onoff"])?, part(&["linger", "l_linger"])?))
        }
        other => Ok(Value::Int(number(other)?.unwrap_or(0))),
    }
}

fn check_value(expected: &Expr, value: &Value) -> Result<(), Refusal> {
    let expected = match expected {
        Expr::List(list) if list.len() == 1 => &list[0],
        other => other,
    };
    match (expected, value) {
        (Expr::Any, _) => Ok(()),
        (_, Value::Int(n)) => values::check_number("the value", expected, *n),
        (wanted, value) => match option_value(wanted)? {
            wanted if wanted == *value => Ok(()),
            wanted => Err(format!("expected {wanted:?}, actual {value:?}")),
        },
    }
}
