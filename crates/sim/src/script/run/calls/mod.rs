//! The calls of a script: each becomes an operation that is asked until it is done, then its result and what came
//! back through its pointers are compared.
//!
//! | what | where |
//! |---|---|
//! | sockets made, named, opened, ended; descriptors | here |
//! | bytes in and out, files, pipes | `data` |
//! | control messages | `control` |
//! | socket options, fcntl, ioctl | `options` |
//! | poll and epoll | `ready` |
//! | values between script and call | `values` |

pub(super) mod control;
mod data;
mod options;
mod ready;
pub(super) mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use sockeye_core::socket::fd::FdTable;
use sockeye_core::socket::op::{AcceptOp, CloseOp, ConnectOp, OpPoll};
use sockeye_core::socket::{Domain, How, Protocol, SocketType};
use sockeye_core::stack::{Event, Stack};
use sockeye_core::tcp::records::Notice;
use sockeye_core::{Errno, Instant, Ready, SocketId};

use super::flow::plain;
#[cfg(target_os = "linux")]
use super::kernel::KernelCall;
use super::runner::{Runner, Step};
use crate::script::ast::{Call, Expr};
use crate::script::{Config, IpVersion, constants};
use data::{Receive, Send};
pub(super) use data::{check_bytes, check_vector, slice_of, vector_len};
use options::Got;
pub(super) use options::{check_info, check_option, option_bytes};
use ready::{Epoll, EpollWait, Poll};
use values::Args;

/// Why a call cannot be made at all: not an errno, but a script that asks for what is not here.
pub(super) type Refusal = String;
/// What a call returns.
pub(super) type Returned = Result<i64, Errno>;

/// A call that is under way.
pub(super) struct Pending {
    call: Call,
    line: u32,
    /// When it must return.
    limit: Instant,
    operation: Operation,
    /// When it returns by itself, if that is known.
    deadline: Option<Instant>,
    done: bool,
}

impl Pending {
    pub fn is_done(&self) -> bool {
        self.done
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub fn limit(&self) -> Instant {
        self.limit
    }

    pub fn call(&self) -> &Call {
        &self.call
    }

    pub fn line(&self) -> u32 {
        self.line
    }
}

/// What a call does, with what it brings back.
enum Operation {
    /// It is done already.
    Done(Returned),
    /// `getsockopt`, `ioctl`: done, with a value.
    Value(Returned, Got),
    /// `getsockname`, `getpeername`.
    Name(Result<SocketAddr, Errno>),
    /// `pipe`: the two descriptors.
    Pipe(i32, i32),
    Accept {
        op: AcceptOp,
        flags: i32,
    },
    Connect(ConnectOp),
    Close(CloseOp),
    Send(Box<Send>),
    Receive(Box<Receive>),
    /// `recvmsg` of the error queue.
    Notice(Notice),
    Poll(Poll),
    EpollWait(EpollWait),
    /// The host makes it.
    #[cfg(target_os = "linux")]
    Kernel(KernelCall),
}

/// Something a descriptor names that is no socket.
pub(super) enum Other {
    Epoll(Epoll),
    /// The end of a pipe; what is in it.
    Pipe(std::rc::Rc<std::cell::RefCell<std::collections::VecDeque<u8>>>),
    /// An open file of zero bytes: how many, and where reading goes on.
    File {
        len: u64,
        at: u64,
    },
}

/// The descriptors of the script's program.
pub(super) struct Descriptors {
    table: FdTable,
    /// The script's numbers.
    names: BTreeMap<i64, i32>,
    others: BTreeMap<i32, Other>,
    /// How often each socket has become ready for something.
    edges: BTreeMap<SocketId, u64>,
    /// Sockets that were writable once, and those where somebody has found no room since.
    opened: BTreeSet<SocketId>,
    no_space: BTreeSet<SocketId>,
    /// Bytes that the program has written to each socket.
    written: BTreeMap<SocketId, u32>,
    /// Bytes that it has read from each.
    read: BTreeMap<SocketId, u32>,
}

impl Descriptors {
    pub fn new() -> Descriptors {
        Descriptors {
            table: FdTable::new(1024),
            names: BTreeMap::new(),
            others: BTreeMap::new(),
            edges: BTreeMap::new(),
            opened: BTreeSet::new(),
            no_space: BTreeSet::new(),
            written: BTreeMap::new(),
            read: BTreeMap::new(),
        }
    }

    /// Counts what has become ready.
    ///
    /// Room to send is one only if somebody has missed it since, as Linux's SOCK_NOSPACE has it; the first time it is
    /// the end of the handshake.
    pub fn take_events(&mut self, stack: &mut Stack) {
        while let Some(Event::Ready(id, ready)) = stack.next_event() {
            let missed = ready.contains(Ready::OUT) && (self.opened.insert(id) | self.no_space.remove(&id));
            if missed || ready.intersects(Ready::all() - Ready::OUT) {
                *self.edges.entry(id).or_default() += 1;
            }
        }
    }

    /// Somebody has found no room to send.
    fn miss_space(&mut self, id: SocketId) {
        self.no_space.insert(id);
    }

    /// The descriptor that the script calls `name`; one that is not open has a number that never is.
    fn live(&self, name: i64) -> i32 {
        self.names.get(&name).copied().unwrap_or(-1)
    }

    fn socket(&self, name: i64) -> Result<SocketId, Errno> {
        self.table.get(self.live(name))
    }
}

impl Runner<'_> {
    /// Starts a call that must return at `limit`.
    pub fn begin_call(&mut self, call: &Call, line: u32, limit: Instant) -> Step<Pending> {
        #[cfg(target_os = "linux")]
        if self.kernel.is_some() {
            let operation = self.begin_kernel_call(call).map_err(|what| self.fail(what))?;
            let operation = Operation::Kernel(operation);
            return Ok(Pending { call: call.clone(), line, limit, operation, deadline: None, done: false });
        }
        let operation = self.operation(call).map_err(|what| self.fail(what))?;
        Ok(Pending { call: call.clone(), line, limit, operation, deadline: None, done: false })
    }

    /// Asks a call whether it is done; whether it is, now.
    pub fn poll_pending(&mut self, pending: &mut Pending) -> Step<bool> {
        let returned = match self.poll_operation(&mut pending.operation) {
            OpPoll::Ready(returned) => returned,
            OpPoll::Wait { deadline, .. } => {
                pending.deadline = (!deadline.is_never()).then_some(deadline);
                return Ok(false);
            }
        };
        pending.done = true;
        self.conclude(pending, returned)?;
        Ok(true)
    }

    /// Compares what a call returned, when, and what it brought back.
    fn conclude(&mut self, pending: &Pending, returned: Returned) -> Step<()> {
        let call = &pending.call;
        let name = match (returned, values::number(&call.result)) {
            (Ok(_), Ok(Some(fd))) if makes_descriptor(&call.name) && fd >= 0 => fd.to_string(),
            (Ok(value), _) => value.to_string(),
            (Err(error), _) => failed(error),
        };
        self.note(self.now, Some(pending.line), format!("{} = {name}", values::head(call)));
        if let Err(what) = self.check_result(call, returned) {
            return Err(self.fail_at(pending.line, format!("{}: {what}", call.name)));
        }
        if returned.is_ok() {
            if let Err(what) = self.check_output(call, &pending.operation) {
                return Err(self.fail_at(pending.line, format!("{}: {what}", call.name)));
            }
        }
        let tolerance = self.tolerance_of_call(pending.limit);
        let early = self.now + tolerance < pending.limit;
        let late = self.now > pending.limit + tolerance;
        if early || late {
            let should = pending.limit.since(self.instant(std::time::Duration::ZERO));
            let what = format!("'{}' returned at {:?}, expected at {should:?}", call.name, self.elapsed());
            return Err(self.fail_at(pending.line, what));
        }
        Ok(())
    }

    fn check_result(&mut self, call: &Call, returned: Returned) -> Result<(), Refusal> {
        let Some(expected) = values::number(&call.result)? else { return Ok(()) };
        match returned {
            Ok(fd) if makes_descriptor(&call.name) && expected >= 0 => {
                #[cfg(target_os = "linux")]
                if self.kernel.is_some() {
                    self.name_kernel_socket(call, expected);
                    return Ok(());
                }
                self.descriptors.names.insert(expected, fd as i32);
                Ok(())
            }
            Ok(value) if value == expected && call.errno.is_none() => Ok(()),
            Ok(value) => {
                let error = call.errno.as_deref().map_or(String::new(), |name| format!(" {name}"));
                Err(format!("expected {expected}{error}, actual {value}"))
            }
            Err(error) => {
                let wanted = call.errno.as_deref().and_then(constants::errno);
                if expected == -1 && wanted.is_none_or(|wanted| wanted == i64::from(error.number())) {
                    return Ok(());
                }
                let name = call.errno.as_deref().map_or(String::new(), |name| format!(" {name}"));
                Err(format!("expected {expected}{name}, actual {}", failed(error)))
            }
        }
    }

    fn check_output(&mut self, call: &Call, operation: &Operation) -> Result<(), Refusal> {
        let args = Args(call);
        match operation {
            Operation::Value(_, got) => got.check(&args),
            Operation::Name(Ok(addr)) => values::check_address(args.get(1)?, *addr),
            Operation::Pipe(read, write) => self.name_pipe(&args, *read, *write),
            Operation::Notice(notice) => self.check_notice(&args, notice),
            Operation::Receive(receive) => self.check_receive(&args, receive),
            Operation::Poll(poll) => poll.check(&args),
            Operation::EpollWait(wait) => wait.check(&args),
            #[cfg(target_os = "linux")]
            Operation::Kernel(call) => self.check_kernel_output(&args, call),
            _ => Ok(()),
        }
    }

    fn poll_operation(&mut self, operation: &mut Operation) -> OpPoll<i64> {
        let now = self.now;
        match operation {
            Operation::Done(returned) | Operation::Value(returned, _) => OpPoll::Ready(*returned),
            Operation::Name(result) => OpPoll::Ready(result.map(|_| 0)),
            Operation::Pipe(..) | Operation::Notice(_) => OpPoll::Ready(Ok(0)),
            Operation::Accept { op, flags } => match op.poll(&mut self.stack, now) {
                OpPoll::Ready(result) => OpPoll::Ready(
                    result.and_then(|(id, _)| self.new_socket(id, SocketType(*flags)).map(i64::from)),
                ),
                OpPoll::Wait { interest, deadline } => OpPoll::Wait { interest, deadline },
            },
            Operation::Connect(op) => map(op.poll(&mut self.stack, now), |()| 0),
            Operation::Close(op) => map(op.poll(&mut self.stack, now), |()| 0),
            Operation::Send(send) => self.poll_send(send),
            Operation::Receive(receive) => self.poll_receive(receive),
            Operation::Poll(poll) => self.poll_poll(poll),
            Operation::EpollWait(wait) => self.poll_epoll(wait),
            #[cfg(target_os = "linux")]
            Operation::Kernel(call) => match self.poll_kernel_call(call) {
                Some(returned) => OpPoll::Ready(returned),
                None => OpPoll::Wait { interest: Ready::empty(), deadline: Instant::NEVER },
            },
        }
    }

    /// The operation that a call is.
    fn operation(&mut self, call: &Call) -> Result<Operation, Refusal> {
        let args = Args(call);
        match call.name.as_str() {
            "socket" => self.socket(&args).map(Operation::Done),
            "bind" => self.bind(&args).map(Operation::Done),
            "listen" => self.listen(&args).map(Operation::Done),
            "accept" | "accept4" => self.accept(&args),
            "connect" => self.connect(&args),
            "shutdown" => self.shutdown(&args).map(Operation::Done),
            "close" => self.close(&args),
            "getsockname" | "getpeername" => self.name(&args),
            "dup" | "dup2" => self.dup(&args).map(Operation::Done),
            "write" | "writev" | "send" | "sendto" | "sendmsg" | "sendfile" => self.send(&args),
            "read" | "readv" | "recv" | "recvfrom" | "recvmsg" => self.receive(&args),
            "splice" => self.splice(&args),
            "pipe" | "pipe2" => self.pipe(),
            "open" => self.open(&args).map(Operation::Done),
            "fcntl" => self.fcntl(&args).map(Operation::Done),
            "ioctl" => self.ioctl(&args),
            "getsockopt" => self.getsockopt(&args),
            "setsockopt" => self.setsockopt(&args).map(Operation::Done),
            "poll" => self.begin_poll(&args),
            "epoll_create" | "epoll_create1" => self.epoll_create().map(Operation::Done),
            "epoll_ctl" => self.epoll_ctl(&args).map(Operation::Done),
            "epoll_wait" => self.epoll_wait(&args),
            name => Err(format!("the call '{name}' is not one that this stack has")),
        }
    }

    fn new_socket(&mut self, id: SocketId, flags: SocketType) -> Result<i32, Errno> {
        let all = Ready::IN | Ready::PRI | Ready::OUT | Ready::ERR | Ready::HUP | Ready::RDHUP;
        self.stack.set_interest(id, all);
        self.descriptors.table.insert(id, flags.is_nonblocking(), flags.is_cloexec())
    }

    fn socket(&mut self, args: &Args) -> Result<Returned, Refusal> {
        let usual = if self.config.is_v4_socket() { Domain::INET } else { Domain::INET6 };
        let domain = args.int(0)?.map_or(usual, Domain);
        let kind = SocketType(args.int(1)?.unwrap_or(SocketType::STREAM.0));
        let protocol = Protocol(args.int(2)?.unwrap_or(0));
        let id = match self.stack.socket(domain, kind, protocol) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        Ok(self.new_socket(id, kind).map(i64::from))
    }

    fn bind(&mut self, args: &Args) -> Result<Returned, Refusal> {
        let addr = args.address(1, values::wildcard(self.config.is_v4_socket(), self.config.bind_port))?;
        let Ok(id) = self.descriptors.socket(args.number(0)?) else { return Ok(self.bad_descriptor(args)) };
        let bound = self.stack.bind(id, addr);
        if let (Ok(()), Ok(name)) = (bound, self.stack.getsockname(id)) {
            self.flows.listening = name.port();
        }
        Ok(bound.map(|()| 0))
    }

    fn listen(&mut self, args: &Args) -> Result<Returned, Refusal> {
        let backlog = args.int(1)?.unwrap_or(0);
        let Ok(id) = self.descriptors.socket(args.number(0)?) else { return Ok(self.bad_descriptor(args)) };
        let listens = self.stack.listen(self.now, id, backlog);
        if let (Ok(()), Ok(name)) = (listens, self.stack.getsockname(id)) {
            self.flows.listening(name.port());
        }
        Ok(listens.map(|()| 0))
    }

    fn accept(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let fd = args.number(0)?;
        let flags = if args.0.name == "accept4" { args.int(3)?.unwrap_or(0) } else { 0 };
        let Ok(id) = self.descriptors.socket(fd) else {
            return Ok(Operation::Done(self.bad_descriptor(args)));
        };
        let nonblocking = self.descriptors.table.is_nonblocking(self.descriptors.live(fd)).unwrap_or(false);
        Ok(Operation::Accept { op: AcceptOp::new(id, nonblocking), flags })
    }

    fn connect(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let fd = args.number(0)?;
        let Ok(id) = self.descriptors.socket(fd) else {
            return Ok(Operation::Done(self.bad_descriptor(args)));
        };
        if args.is_unspecified_family(1) {
            return Ok(Operation::Done(self.stack.disconnect(self.now, id).map(|()| 0)));
        }
        let addr = args.address(1, usual_peer(&self.config))?;
        let nonblocking = self.descriptors.table.is_nonblocking(self.descriptors.live(fd)).unwrap_or(false);
        let mut op = ConnectOp::new(id, addr, nonblocking);
        let begun = op.poll(&mut self.stack, self.now);
        if let Ok(local) = self.stack.getsockname(id) {
            if local.port() != 0 && !local.ip().is_unspecified() {
                self.flows.connecting(local, addr);
            }
        }
        Ok(match begun {
            OpPoll::Ready(result) => Operation::Done(result.map(|()| 0)),
            OpPoll::Wait { .. } => Operation::Connect(op),
        })
    }

    fn shutdown(&mut self, args: &Args) -> Result<Returned, Refusal> {
        let how = args.int(1)?.and_then(How::from_number);
        let Ok(id) = self.descriptors.socket(args.number(0)?) else { return Ok(self.bad_descriptor(args)) };
        let Some(how) = how else { return Ok(Err(Errno::EINVAL)) };
        Ok(self.stack.shutdown(self.now, id, how).map(|()| 0))
    }

    fn close(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let name = args.number(0)?;
        let live = self.descriptors.live(name);
        self.descriptors.names.remove(&name);
        self.descriptors.others.remove(&live);
        Ok(match self.descriptors.table.close(live) {
            Err(error) => Operation::Done(Err(error)),
            Ok(None) => Operation::Done(Ok(0)),
            Ok(Some(id)) => Operation::Close(CloseOp::new(id)),
        })
    }

    fn name(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let id = match self.descriptors.socket(args.number(0)?) {
            Ok(id) => id,
            Err(error) => return Ok(Operation::Name(Err(error))),
        };
        let local = args.0.name == "getsockname";
        Ok(Operation::Name(if local { self.stack.getsockname(id) } else { self.stack.getpeername(id) }))
    }

    fn dup(&mut self, args: &Args) -> Result<Returned, Refusal> {
        let live = self.descriptors.live(args.number(0)?);
        if args.0.name == "dup" {
            return Ok(self.descriptors.table.dup(live).map(i64::from));
        }
        let to = args.number(1)?;
        // The script's number may be taken by a descriptor of its own choice; a new one serves as well.
        if let Some(old) = self.descriptors.names.remove(&to) {
            if let Ok(Some(id)) = self.descriptors.table.close(old) {
                // `dup2` does not tell of errors of the close that it implies.
                let _ = self.stack.close(self.now, id);
            }
        }
        let made = self.descriptors.table.dup(live);
        if let Ok(fd) = made {
            self.descriptors.names.insert(to, fd);
        }
        Ok(made.map(|_| to))
    }

    /// EBADF, or ENOTSOCK for what is no socket.
    fn bad_descriptor(&self, args: &Args) -> Returned {
        let name = args.number(0).unwrap_or(-1);
        match self.descriptors.socket(name) {
            Err(error) => Err(error),
            Ok(_) => Err(Errno::EBADF),
        }
    }

    /// The socket whose statistics assertions ask for: that of the connection the script is about.
    pub fn socket_under_test(&self) -> Option<SocketId> {
        let flow = self.flows.current();
        let row = flow.and_then(|flow| {
            self.stack.snapshot().find(|row| {
                row.id.is_some()
                    && plain(row.local) == flow.ends.local
                    && plain(row.remote) == flow.ends.remote
            })
        });
        let latest =
            || self.descriptors.names.values().rev().find_map(|&fd| self.descriptors.table.get(fd).ok());
        row.and_then(|row| row.id).or_else(latest)
    }
}

/// A failed call's result as scripts write it.
fn failed(error: Errno) -> String {
    format!("-1 {} ({})", error.name(), error.message())
}

pub(super) fn makes_descriptor(name: &str) -> bool {
    matches!(name, "socket" | "accept" | "accept4" | "open" | "dup" | "epoll_create" | "epoll_create1")
}

/// Where `connect` goes that names no address.
pub(super) fn usual_peer(config: &Config) -> SocketAddr {
    let ip = match (config.ip_version, config.remote()) {
        (IpVersion::V4MappedV6, IpAddr::V4(v4)) => IpAddr::V6(v4.to_ipv6_mapped()),
        (_, ip) => ip,
    };
    SocketAddr::new(ip, config.connect_port)
}

fn map<T>(poll: OpPoll<T>, to: impl FnOnce(T) -> i64) -> OpPoll<i64> {
    match poll {
        OpPoll::Ready(result) => OpPoll::Ready(result.map(to)),
        OpPoll::Wait { interest, deadline } => OpPoll::Wait { interest, deadline },
    }
}

/// A list's items, or the value itself as its only item.
pub(super) fn items(expr: &Expr) -> &[Expr] {
    match expr {
        Expr::List(items) => items,
        other => std::slice::from_ref(other),
    }
}
