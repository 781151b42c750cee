//! Socket options of the host, those that have a safe form.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Result;
use rustix::net::sockopt;

use crate::script::run::calls::Refusal;

const SOL_SOCKET: i64 = 1;
const IPPROTO_IP: i64 = 0;
const IPPROTO_TCP: i64 = 6;
const SO_ERROR: i64 = 4;
const SO_LINGER: i64 = 13;
const TCP_CONGESTION: i64 = 13;

/// An option's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One int.
    Int(i64),
    /// SO_LINGER: whether, and seconds.
    Linger(i64, i64),
    /// TCP_CONGESTION.
    Name(String),
}

/// Sets an option; refused if it has no safe form.
pub fn set(
    fd: BorrowedFd<'_>,
    level: i64,
    name: i64,
    value: &Value,
) -> std::result::Result<Result<()>, Refusal> {
    match (level, name, value) {
        (SOL_SOCKET, SO_LINGER, Value::Linger(on, seconds)) => {
            let linger = (*on != 0).then(|| Duration::from_secs((*seconds).max(0) as u64));
            Ok(sockopt::set_socket_linger(fd, linger))
        }
        (IPPROTO_TCP, TCP_CONGESTION, Value::Name(name)) => Ok(sockopt::set_tcp_congestion(fd, name)),
        (_, _, Value::Int(n)) => set_int(fd, level, name, *n).ok_or_else(|| unknown(level, name)),
        _ => Err(unknown(level, name)),
    }
}

fn unknown(level: i64, name: i64) -> Refusal {
    format!("the socket option {name} of level {level} is not set on the host")
}

fn set_int(fd: BorrowedFd<'_>, level: i64, name: i64, n: i64) -> Option<Result<()>> {
    let on = n != 0;
    let seconds = Duration::from_secs(n.max(0) as u64);
    Some(match (level, name) {
        (SOL_SOCKET, 2) => sockopt::set_socket_reuseaddr(fd, on),
        (SOL_SOCKET, 7) => sockopt::set_socket_send_buffer_size(fd, n.max(0) as usize),
        (SOL_SOCKET, 8) => sockopt::set_socket_recv_buffer_size(fd, n.max(0) as usize),
        (SOL_SOCKET, 9) => sockopt::set_socket_keepalive(fd, on),
        (SOL_SOCKET, 10) => sockopt::set_socket_oobinline(fd, on),
        (SOL_SOCKET, 15) => sockopt::set_socket_reuseport(fd, on),
        (IPPROTO_IP, 1) => sockopt::set_ip_tos(fd, n as u8),
        (IPPROTO_IP, 2) => sockopt::set_ip_ttl(fd, n as u32),
        (IPPROTO_TCP, 1) => sockopt::set_tcp_nodelay(fd, on),
        (IPPROTO_TCP, 3) => sockopt::set_tcp_cork(fd, on),
        (IPPROTO_TCP, 4) => sockopt::set_tcp_keepidle(fd, seconds),
        (IPPROTO_TCP, 5) => sockopt::set_tcp_keepintvl(fd, seconds),
        (IPPROTO_TCP, 6) => sockopt::set_tcp_keepcnt(fd, n as u32),
        (IPPROTO_TCP, 12) => sockopt::set_tcp_quickack(fd, on),
        (IPPROTO_TCP, 18) => sockopt::set_tcp_user_timeout(fd, n as u32),
        _ => return None,
    })
}

/// Reads an option; refused if it has no safe form.
pub fn get(fd: BorrowedFd<'_>, level: i64, name: i64) -> std::result::Result<Result<Value>, Refusal> {
    let flag = |value: Result<bool>| value.map(|on| Value::Int(on.into()));
    Ok(match (level, name) {
        (SOL_SOCKET, SO_ERROR) => sockopt::socket_error(fd)
            .map(|error| Value::Int(error.err().map_or(0, |error| error.raw_os_error().into()))),
        (SOL_SOCKET, SO_LINGER) => sockopt::socket_linger(fd).map(|linger| {
            Value::Linger(linger.is_some().into(), linger.map_or(0, |time| time.as_secs() as i64))
        }),
        (SOL_SOCKET, 2) => flag(sockopt::socket_reuseaddr(fd)),
        (SOL_SOCKET, 7) => sockopt::socket_send_buffer_size(fd).map(|n| Value::Int(n as i64)),
        (SOL_SOCKET, 8) => sockopt::socket_recv_buffer_size(fd).map(|n| Value::Int(n as i64)),
        (SOL_SOCKET, 9) => flag(sockopt::socket_keepalive(fd)),
        (SOL_SOCKET, 10) => flag(sockopt::socket_oobinline(fd)),
        (SOL_SOCKET, 30) => flag(sockopt::socket_acceptconn(fd)),
        (IPPROTO_IP, 1) => sockopt::ip_tos(fd).map(|n| Value::Int(n.into())),
        (IPPROTO_IP, 2) => sockopt::ip_ttl(fd).map(|n| Value::Int(n.into())),
        (IPPROTO_TCP, 1) => flag(sockopt::tcp_nodelay(fd)),
        (IPPROTO_TCP, 3) => flag(sockopt::tcp_cork(fd)),
        (IPPROTO_TCP, 4) => sockopt::tcp_keepidle(fd).map(|time| Value::Int(time.as_secs() as i64)),
        (IPPROTO_TCP, 5) => sockopt::tcp_keepintvl(fd).map(|time| Value::Int(time.as_secs() as i64)),
        (IPPROTO_TCP, 6) => sockopt::tcp_keepcnt(fd).map(|n| Value::Int(n.into())),
        (IPPROTO_TCP, 12) => flag(sockopt::tcp_quickack(fd)),
        (IPPROTO_TCP, 18) => sockopt::tcp_user_timeout(fd).map(|n| Value::Int(n.into())),
        (IPPROTO_TCP, TCP_CONGESTION) => sockopt::tcp_congestion(fd).map(Value::Name),
        _ => return Err(format!("the socket option {name} of level {level} is not read from the host")),
    })
}
