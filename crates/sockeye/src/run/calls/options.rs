//! `getsockopt` and `setsockopt`: the stack's, but for those of the Unix socket in which the program waits.

use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_error};
use sockeye_core::Errno;
use sockeye_core::socket::{SockOpt, SockOptName, options::SOL_SOCKET};

use super::{Answer, errno};
use crate::net::Socket;
use crate::run::caller::{Caller, Held};
use crate::run::table::{Entry, Phase};

/// The longest value that is read or written; longer ones are cut, as no option has them.
const LONGEST: usize = 4_096;
/// SO_OOBINLINE: the Unix socket has urgent data of its own.
const OOBINLINE: i32 = 10;
/// Options of the kernel's ways to hand data over that a Unix socket has not. Programs do without on ENOPROTOOPT.
const SO_ZEROCOPY: i32 = 60;
const TCP_ZEROCOPY_RECEIVE: i32 = 35;
const TCP_INQ: i32 = 36;

fn is_refused(level: i32, name: i32) -> bool {
    (level == SOL_SOCKET && name == SO_ZEROCOPY)
        || (level == libc::IPPROTO_TCP && matches!(name, TCP_ZEROCOPY_RECEIVE | TCP_INQ))
}

/// SO_SNDTIMEO, which limits `connect` too.
pub(super) fn send_limit(socket: &Socket) -> Option<Duration> {
    match socket.option(SockOptName::SndTimeo) {
        Ok(SockOpt::SndTimeo(limit)) => limit,
        _ => None,
    }
}

pub(super) fn get(caller: &Caller<'_>, held: &Held, entry: &Entry) -> Result<Answer, Errno> {
    let (level, name, at, len_at) = (caller.int(1), caller.int(2), caller.word(3), caller.word(4));
    if (level, name) == (SOL_SOCKET, OOBINLINE) {
        return Ok(Answer::Through);
    }
    if is_refused(level, name) {
        return Err(Errno::ENOPROTOOPT);
    }
    let room = caller.length(len_at)?.min(LONGEST);
    let mut value = vec![0; room];
    if let (true, Some(errno)) = ((level, name) == SockOptName::Error.number(), failure(held, entry)) {
        let len = room.min(4);
        value[..len].copy_from_slice(&errno.number().to_ne_bytes()[..len]);
        caller.write([(at, &value[..len]), (len_at, &(len as u32).to_ne_bytes())])?;
        return Ok(Answer::Done(0));
    }
    let len = match entry.socket.getsockopt(level, name, &mut value) {
        Ok(len) => len,
        Err(error) => match errno(&error) {
            // The stack has forgotten the connection, which is no error of a socket that is open.
            Errno::EBADF if (level, name) == SockOptName::Error.number() => room.min(4),
            Errno::EBADF => of_a_new_one(entry, level, name, &mut value)?,
            errno => return Err(errno),
        },
    };
    caller.write([(at, &value[..len]), (len_at, &(len as u32).to_ne_bytes())])?;
    Ok(Answer::Done(0))
}

/// What a new socket says: for one whose connection is over, of which the stack knows nothing more.
fn of_a_new_one(entry: &Entry, level: i32, name: i32, value: &mut [u8]) -> Result<usize, Errno> {
    let like = entry.names().map(|names| names.local).ok_or(Errno::EBADF)?;
    let socket = Socket::new(entry.socket.host(), like).map_err(|error| errno(&error))?;
    socket.getsockopt(level, name, value).map_err(|error| errno(&error))
}

/// The error that lies in the Unix socket, taken out of it, as what it stands for: whoever asks first is told, `read` or
/// SO_ERROR. That of an attempt the stack knows.
fn failure(held: &Held, entry: &Entry) -> Option<Errno> {
    let lies_there = matches!(socket_error(&held.fd), Ok(Err(_)));
    let is_joined = matches!(entry.phase(), Phase::Joined);
    (lies_there && is_joined).then(|| entry.take_failure().unwrap_or(Errno::ECONNRESET))
}

pub(super) fn set(caller: &Caller<'_>, held: &Held, entry: &Arc<Entry>) -> Result<Answer, Errno> {
    let (level, name, at) = (caller.int(1), caller.int(2), caller.word(3));
    let len = usize::try_from(caller.int(4)).map_err(|_| Errno::EINVAL)?;
    if (level, name) == (SOL_SOCKET, OOBINLINE) {
        return Ok(Answer::Through);
    }
    if is_refused(level, name) {
        return Err(Errno::ENOPROTOOPT);
    }
    let value = caller.read(at, len.min(LONGEST))?;
    match entry.socket.setsockopt(level, name, &value) {
        Ok(()) => {}
        // A connection that is over has no options left to change: harmless, as on Linux.
        Err(error) if errno(&error) == Errno::EBADF && matches!(entry.phase(), Phase::Joined) => {}
        Err(error) => return Err(errno(&error)),
    }
    follow(held, entry, level, name);
    Ok(Answer::Done(0))
}

/// What the program waits for in its Unix socket has the same limits there.
fn follow(held: &Held, entry: &Entry, level: i32, name: i32) {
    let Some(name) = SockOptName::from_number(level, name) else { return };
    let (which, time) = match name {
        SockOptName::RcvTimeo => (Timeout::Recv, entry.socket.option(name)),
        SockOptName::SndTimeo => (Timeout::Send, entry.socket.option(name)),
        _ => return,
    };
    if let Ok(SockOpt::RcvTimeo(time) | SockOpt::SndTimeo(time)) = time {
        // Zero is no limit for `setsockopt`, and an error for rustix, which the stack does not give.
        let _ = set_socket_timeout(&held.fd, which, time.filter(|time| !time.is_zero()));
    }
}
