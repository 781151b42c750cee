//! The calls, each with Linux's meaning. Any of them may come more than once: a signal takes a waiting call back,
//! and the kernel makes it again.
//!
//! | what | where |
//! |---|---|
//! | `socket`, `bind`, `shutdown`, names, `sendto` | here |
//! | `connect` | `connect` |
//! | `listen`, `accept` | `listen` |
//! | options | `options` |

mod connect;
mod listen;
mod options;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::net::{SendFlags, send};
use sockeye_core::socket::{Domain, How, Protocol, SocketType};
use sockeye_core::{Errno, Ready};

use super::caller::{Caller, Held};
use super::supervisor::Supervisor;
use super::table::{Entry, Phase};
use crate::net::Socket;
use crate::sys::seccomp::Notification;

/// IPPROTO_MPTCP: programs that ask for it fall back to TCP.
const MPTCP: i32 = 262;
/// IPPROTO_SCTP, whose stream sockets are the kernel's.
const SCTP: i32 = 132;
/// The most that a `sendto` taken here carries at once.
const MOST: usize = 1 << 20;
/// `sizeof(struct sockaddr_in)`.
const SOCKADDR_IN: usize = 16;
/// SIN6_LEN_RFC2133.
const LEAST_IPV6: i32 = 24;
/// UIO_MAXIOV.
const MOST_PARTS: usize = 1_024;

/// What becomes of a call.
enum Answer {
    /// It returns this.
    Done(i64),
    /// The kernel makes it.
    Through,
    /// It was answered, or waits.
    Later,
}

/// Answers a call, now or later.
pub(super) fn answer(supervisor: &Arc<Supervisor>, notification: Notification) {
    let caller = supervisor.caller(notification);
    let result = match notification.call {
        libc::SYS_socket => socket(supervisor, &caller),
        call => match ours(supervisor, &caller) {
            Ok(Some((held, entry))) => dispatch(supervisor, &caller, call, held, &entry),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                supervisor.must_not_look(notification.tid);
                Ok(Answer::Through)
            }
            // Not one of ours, or nothing at all: the kernel knows what to say.
            Ok(None) | Err(_) => Ok(Answer::Through),
        },
    };
    match result {
        Ok(Answer::Done(value)) => _ = supervisor.listener.answer(notification.id, Ok(value)),
        Ok(Answer::Through) => _ = supervisor.listener.let_through(notification.id),
        Ok(Answer::Later) => {}
        Err(errno) => _ = supervisor.listener.answer(notification.id, Err(errno.number())),
    }
}

/// The socket of the first argument, if it is ours.
fn ours(supervisor: &Supervisor, caller: &Caller<'_>) -> io::Result<Option<(Held, Arc<Entry>)>> {
    let held = caller.hold()?;
    let entry = supervisor.table().get(held.inode);
    Ok(entry.map(|entry| {
        entry.see(caller.seen());
        (held, entry)
    }))
}

fn dispatch(
    supervisor: &Arc<Supervisor>,
    caller: &Caller<'_>,
    call: libc::c_long,
    held: Held,
    entry: &Arc<Entry>,
) -> Result<Answer, Errno> {
    match call {
        libc::SYS_bind => bind(supervisor, caller, entry),
        libc::SYS_listen => listen::listen(supervisor, caller, held, entry),
        libc::SYS_accept => listen::accept(supervisor, caller, held, entry, 0),
        libc::SYS_accept4 => listen::accept(supervisor, caller, held, entry, caller.int(3)),
        libc::SYS_connect => connect::connect(supervisor, caller, held, entry),
        libc::SYS_getsockname => name(caller, entry, |entry| local_name(supervisor, entry)),
        libc::SYS_getpeername => name(caller, entry, |entry| peer_name(supervisor, entry)),
        libc::SYS_getsockopt => options::get(caller, &held, entry),
        libc::SYS_setsockopt => options::set(caller, &held, entry),
        libc::SYS_shutdown => shutdown(supervisor, caller, entry),
        libc::SYS_sendto => sendto(supervisor, caller, held, entry),
        libc::SYS_sendmsg => sendmsg(supervisor, caller, held, entry),
        _ => Ok(Answer::Through),
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().and_then(Errno::from_number).unwrap_or(Errno::EINVAL)
}

/// `socket`: a Unix socket for the program, a TCP socket of the stack for us.
fn socket(supervisor: &Arc<Supervisor>, caller: &Caller<'_>) -> Result<Answer, Errno> {
    let (domain, kind) = (Domain(caller.int(0)), SocketType(caller.int(1)));
    let protocol = match caller.int(2) {
        MPTCP => return Err(Errno::EPROTONOSUPPORT),
        SCTP => return Ok(Answer::Through),
        protocol => Protocol(protocol),
    };
    if kind.0 & !(0xf | SocketType::NONBLOCK | SocketType::CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    if supervisor.table().is_full() {
        supervisor.sweep();
    }
    let id = supervisor.host.with_stack(|stack, _| stack.socket(domain, kind, protocol))?;
    let socket = Socket::from_id(&supervisor.host, id);
    socket.hurry();
    let theirs = supervisor.door.fresh(kind.is_nonblocking()).map_err(|error| errno(&error))?;
    let inode = super::caller::inode_of(&theirs).map_err(|error| errno(&error))?;
    let entry = Entry::new(inode, socket, (caller.notification.tid, -1), Phase::Fresh);
    // Known before the program can name it.
    supervisor.table().insert(entry.clone());
    match supervisor.listener.answer_with_fd(caller.notification.id, theirs.as_fd(), kind.is_cloexec()) {
        Ok(number) => {
            supervisor.table().count();
            entry.see((caller.notification.tid, number));
            Ok(Answer::Later)
        }
        Err(error) => {
            supervisor.table().remove(inode);
            Err(errno(&error))
        }
    }
}

/// An address for this socket. An IPv6 one looks at the length first, and IPv4's are too short.
fn address(caller: &Caller<'_>, entry: &Entry, at: u64, len: i32) -> Result<Option<SocketAddr>, Errno> {
    match caller.address(at, len)? {
        Some(SocketAddr::V4(_)) if len < LEAST_IPV6 && entry.is_ipv6() => Err(Errno::EINVAL),
        address => Ok(address),
    }
}

/// `bind` to AF_UNSPEC, which Linux takes as AF_INET where the address is the wildcard.
fn unspecified(caller: &Caller<'_>, entry: &Entry) -> Result<SocketAddr, Errno> {
    let least = if entry.is_ipv6() { LEAST_IPV6 } else { SOCKADDR_IN as i32 };
    if caller.int(2) < least {
        return Err(Errno::EINVAL);
    }
    let bytes = caller.read(caller.word(1), SOCKADDR_IN)?;
    if entry.is_ipv6() || bytes[4..8] != [0; 4] {
        return Err(Errno::EAFNOSUPPORT);
    }
    Ok((Ipv4Addr::UNSPECIFIED, u16::from_be_bytes([bytes[2], bytes[3]])).into())
}

fn bind(supervisor: &Arc<Supervisor>, caller: &Caller<'_>, entry: &Arc<Entry>) -> Result<Answer, Errno> {
    let local = match address(caller, entry, caller.word(1), caller.int(2))? {
        Some(local) => local,
        None => unspecified(caller, entry)?,
    };
    let result = match entry.socket.bind(local) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // Perhaps by one that was closed, of which nobody has told us.
            supervisor.sweep();
            entry.socket.bind(local)
        }
        result => result,
    };
    result.map(|()| Answer::Done(0)).map_err(|error| errno(&error))
}

fn name(
    caller: &Caller<'_>,
    entry: &Entry,
    name: impl FnOnce(&Entry) -> Result<SocketAddr, Errno>,
) -> Result<Answer, Errno> {
    let (at, len_at) = (caller.word(1), caller.word(2));
    let room = caller.length(len_at)?;
    caller.write_address(name(entry)?, at, room, len_at)?;
    Ok(Answer::Done(0))
}

fn local_name(supervisor: &Supervisor, entry: &Entry) -> Result<SocketAddr, Errno> {
    if let Some(names) = supervisor.present_names(&entry.socket) {
        return Ok(names.local);
    }
    match (entry.socket.local_addr(), entry.names()) {
        (Ok(local), _) => Ok(local),
        // The stack has forgotten the connection; the program still has its socket.
        (Err(_), Some(names)) => Ok(names.local),
        (Err(error), None) => Err(errno(&error)),
    }
}

fn peer_name(supervisor: &Supervisor, entry: &Entry) -> Result<SocketAddr, Errno> {
    supervisor.present_names(&entry.socket).map(|names| names.peer).ok_or(Errno::ENOTCONN)
}

fn shutdown(supervisor: &Arc<Supervisor>, caller: &Caller<'_>, entry: &Arc<Entry>) -> Result<Answer, Errno> {
    let how = How::from_number(caller.int(1)).ok_or(Errno::EINVAL)?;
    match entry.phase() {
        // The Unix socket is shut down by the kernel; the bridge sees it when all is read that was written before.
        Phase::Joined => {
            if how == How::Both {
                entry.shut_both.store(true, Ordering::Release);
            }
            Ok(Answer::Through)
        }
        Phase::Listening(listening) => {
            entry.socket.shutdown(how).map_err(|error| errno(&error))?;
            if how.read() {
                // It may listen once more: with another Unix socket.
                entry.set_phase(Phase::Spent);
                drop(listening.retire(supervisor, Errno::EINVAL));
                supervisor.unpublish(entry);
                return Ok(Answer::Through);
            }
            Ok(Answer::Done(0))
        }
        _ => entry.socket.shutdown(how).map(|()| Answer::Done(0)).map_err(|error| errno(&error)),
    }
}

/// `sendto` with an address, which TCP ignores on a connected socket, or with MSG_FASTOPEN, which connects.
fn sendto(
    supervisor: &Arc<Supervisor>,
    caller: &Caller<'_>,
    held: Held,
    entry: &Arc<Entry>,
) -> Result<Answer, Errno> {
    let flags = caller.int(3);
    let len = usize::try_from(caller.word(2)).unwrap_or(MOST).min(MOST);
    if flags & libc::MSG_FASTOPEN != 0 {
        let to = caller.address(caller.word(4), caller.int(5))?.ok_or(Errno::EOPNOTSUPP)?;
        let data = caller.read(caller.word(1), len)?;
        return connect_and_send(supervisor, caller, held, entry, to, data);
    }
    if flags & libc::MSG_OOB != 0 {
        entry.urgent.store(true, Ordering::Release);
    }
    if caller.word(4) == 0 {
        return Ok(Answer::Through);
    }
    if !matches!(entry.phase(), Phase::Joined) {
        return Err(if entry.socket.ready().contains(Ready::HUP) { Errno::EPIPE } else { Errno::EAGAIN });
    }
    let data = caller.read(caller.word(1), len)?;
    let nonblocking = held.is_nonblocking() || flags & libc::MSG_DONTWAIT != 0;
    let flags = SendFlags::from_bits_truncate(flags as u32) | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match send(&held.fd, &data, flags) {
        Ok(sent) => Ok(Answer::Done(sent as i64)),
        Err(rustix::io::Errno::AGAIN) if !nonblocking => {
            send_later(supervisor, caller.notification, held, data, flags);
            Ok(Answer::Later)
        }
        Err(error) => Err(Errno::from_number(error.raw_os_error()).unwrap_or(Errno::EPIPE)),
    }
}

/// `sendmsg` with MSG_OOB, or with MSG_FASTOPEN: `struct msghdr` names the address and the parts.
fn sendmsg(
    supervisor: &Arc<Supervisor>,
    caller: &Caller<'_>,
    held: Held,
    entry: &Arc<Entry>,
) -> Result<Answer, Errno> {
    if caller.int(2) & libc::MSG_FASTOPEN == 0 {
        entry.urgent.store(true, Ordering::Release);
        return Ok(Answer::Through);
    }
    let header = words(&caller.read(caller.word(1), 4 * 8)?);
    let (name, name_len, parts, count) = (header[0], header[1] as i32, header[2], header[3]);
    let count = usize::try_from(count).ok().filter(|count| *count <= MOST_PARTS).ok_or(Errno::EMSGSIZE)?;
    let to = caller.address(name, name_len)?.ok_or(Errno::EOPNOTSUPP)?;
    let mut data = Vec::new();
    for part in words(&caller.read(parts, count * 16)?).chunks_exact(2) {
        let len = usize::try_from(part[1]).unwrap_or(MOST).min(MOST - data.len());
        data.extend(caller.read(part[0], len)?);
    }
    connect_and_send(supervisor, caller, held, entry, to, data)
}

/// Words of the program's memory.
fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or_default();
    bytes.chunks_exact(8).map(word).collect()
}

/// MSG_FASTOPEN without a cookie: the handshake first, then the data. One that does not wait only connects.
fn connect_and_send(
    supervisor: &Arc<Supervisor>,
    caller: &Caller<'_>,
    held: Held,
    entry: &Arc<Entry>,
    to: SocketAddr,
    data: Vec<u8>,
) -> Result<Answer, Errno> {
    let first = connect::First { data, flags: SendFlags::empty() };
    match connect::connect_to(supervisor, caller, held, entry, to, Some(first))? {
        // It was connected before.
        Answer::Done(_) => Err(Errno::EISCONN),
        answer => Ok(answer),
    }
}

/// Waits for room on behalf of a blocking `sendto`.
fn send_later(
    supervisor: &Arc<Supervisor>,
    notification: Notification,
    held: Held,
    data: Vec<u8>,
    flags: SendFlags,
) {
    let supervisor = supervisor.clone();
    tokio::spawn(async move {
        // There is no telling when a descriptor that is not ours has room; it is asked, as long as somebody waits.
        while supervisor.listener.is_valid(notification.id) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            match send(&held.fd, &data, flags) {
                Err(rustix::io::Errno::AGAIN) => {}
                Ok(sent) => {
                    supervisor.listener.answer(notification.id, Ok(sent as i64));
                    return;
                }
                Err(error) => {
                    supervisor.listener.answer(notification.id, Err(error.raw_os_error()));
                    return;
                }
            }
        }
    });
}
