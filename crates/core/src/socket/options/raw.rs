//! Options as bytes: the numbers, sizes and layouts of Linux, in the byte order of the machine.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::{IPPROTO_IP, Md5Sig, SockOpt, SockOptName, tcp_info};
use crate::Errno;
use crate::config::AcceptFilter;
use crate::socket::{Domain, SocketId};
use crate::stack::Stack;
use crate::time::{Duration, Instant};

/// IFNAMSIZ: the longest interface name with its NUL.
const IFNAMSIZ: usize = 16;
/// TCP_CA_NAME_MAX.
const CA_NAME_MAX: usize = 16;
/// The name in FreeBSD's `struct accept_filter_arg`.
const FILTER_NAME_MAX: usize = 16;
/// MAX_SCHEDULE_TIMEOUT in seconds, about: what a time is cut to.
const FOREVER_SECS: u64 = i64::MAX as u64 / 1_000;

impl Stack {
    /// `setsockopt` with Linux's numbers and layouts.
    ///
    /// ENOPROTOOPT for an unknown level or name, EINVAL for a value that is too short, EDOM for
    /// microseconds out of range; then the errors of [`Stack::setsockopt`].
    pub fn setsockopt_raw(
        &mut self,
        now: Instant,
        id: SocketId,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        self.entry(id)?;
        let name = SockOptName::from_number(level, name).ok_or(Errno::ENOPROTOOPT)?;
        let option = decode(name, value)?;
        self.setsockopt(now, id, &option)
    }

    /// `getsockopt` with Linux's numbers and layouts: how many bytes of `out` were written. A value longer
    /// than `out` is cut (posix-sockopt-a).
    pub fn getsockopt_raw(
        &mut self,
        now: Instant,
        id: SocketId,
        level: i32,
        name: i32,
        out: &mut [u8],
    ) -> Result<usize, Errno> {
        self.entry(id)?;
        let name = SockOptName::from_number(level, name).ok_or(Errno::ENOPROTOOPT)?;
        if name == SockOptName::BindToDevice && !out.is_empty() && out.len() < IFNAMSIZ {
            return Err(Errno::EINVAL);
        }
        if name == SockOptName::SavedSyn && self.saved_syn_len(id) > out.len() {
            return Err(Errno::EINVAL); // it would be lost
        }
        let option = self.getsockopt(now, id, name)?;
        let bytes = encode(&option);
        // Linux gives one byte of a small number at the IP level where there is no room for an int.
        let cut = if level == IPPROTO_IP && bytes.len() == 4 && (1..4).contains(&out.len()) {
            match i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) {
                small @ 0..=255 => {
                    out[0] = small as u8;
                    return Ok(1);
                }
                _ => out.len(),
            }
        } else {
            bytes.len().min(out.len())
        };
        out[..cut].copy_from_slice(&bytes[..cut]);
        Ok(cut)
    }
}

/// Bytes to a value. Bounds that need no more than the number are checked here, the others by `set`.
fn decode(name: SockOptName, value: &[u8]) -> Result<SockOpt, Errno> {
    use SockOptName as N;
    Ok(match name {
        N::Linger => {
            let (on, time) = (int_at(value, 0)?, int_at(value, 4)?);
            // Linux reads the time as unsigned.
            SockOpt::Linger((on != 0).then(|| Duration::from_secs(u64::from(time as u32))))
        }
        N::RcvTimeo => SockOpt::RcvTimeo(timeval(value)?),
        N::SndTimeo => SockOpt::SndTimeo(timeval(value)?),
        N::BindToDevice => SockOpt::BindToDevice(name_of(value, IFNAMSIZ - 1)),
        N::Congestion if value.is_empty() => return Err(Errno::EINVAL),
        N::Congestion => SockOpt::Congestion(name_of(value, CA_NAME_MAX - 1)),
        N::IpOptions => SockOpt::IpOptions(Box::from(value)),
        N::FastOpenKey => SockOpt::FastOpenKey(Box::from(value)),
        N::MaxPacingRate => SockOpt::MaxPacingRate(pacing_rate(value)?),
        N::Md5Sig => SockOpt::Md5Sig(md5sig(value, false)?),
        N::Md5SigExt => SockOpt::Md5SigExt(md5sig(value, true)?),
        N::AcceptFilter => SockOpt::AcceptFilter(filter_of(&name_of(value, FILTER_NAME_MAX - 1))?),
        N::Type | N::Error | N::SndLowat | N::PeerName | N::AcceptConn | N::Protocol | N::Domain => {
            return Err(Errno::ENOPROTOOPT);
        }
        N::Cookie | N::Mtu | N::Mtu6 | N::Info | N::SavedSyn | N::IsMptcp => return Err(Errno::ENOPROTOOPT),
        _ => {
            let number = match name.number().0 {
                IPPROTO_IP => ip_int(value),
                _ => int_at(value, 0)?,
            };
            from_int(name, number)?
        }
    })
}

/// The options whose value is an int.
fn from_int(name: SockOptName, n: i32) -> Result<SockOpt, Errno> {
    use SockOptName as N;
    let on = n != 0;
    let strict = || if matches!(n, 0 | 1) { Ok(n == 1) } else { Err(Errno::EINVAL) };
    Ok(match name {
        N::Debug => SockOpt::Debug(on),
        N::ReuseAddr => SockOpt::ReuseAddr(on),
        N::ReusePort => SockOpt::ReusePort(on),
        N::DontRoute => SockOpt::DontRoute(on),
        N::Broadcast => SockOpt::Broadcast(on),
        N::SndBuf => SockOpt::SndBuf(n),
        N::RcvBuf => SockOpt::RcvBuf(n),
        N::SndBufForce => SockOpt::SndBufForce(n),
        N::RcvBufForce => SockOpt::RcvBufForce(n),
        N::KeepAlive => SockOpt::KeepAlive(on),
        N::ZeroCopy => SockOpt::ZeroCopy(strict()?),
        N::Timestamping => SockOpt::Timestamping(n),
        N::OobInline => SockOpt::OobInline(on),
        N::Priority => SockOpt::Priority(n),
        N::RcvLowat => SockOpt::RcvLowat(n),
        N::Mark => SockOpt::Mark(n as u32),
        N::BindToIfIndex => SockOpt::BindToIfIndex(n),
        N::Tos => SockOpt::Tos(n),
        N::RecvTos => SockOpt::RecvTos(on),
        N::RecvTClass => SockOpt::RecvTClass(on),
        N::Ttl => SockOpt::Ttl(n),
        N::MtuDiscover => SockOpt::MtuDiscover(n),
        N::RecvErr => SockOpt::RecvErr(on),
        N::FreeBind => SockOpt::FreeBind(on),
        N::Transparent => SockOpt::Transparent(on),
        N::MinTtl => SockOpt::MinTtl(n),
        N::BindAddressNoPort => SockOpt::BindAddressNoPort(on),
        N::UnicastHops => SockOpt::UnicastHops(n),
        N::MtuDiscover6 => SockOpt::MtuDiscover6(n),
        N::RecvErr6 => SockOpt::RecvErr6(on),
        N::V6Only => SockOpt::V6Only(on),
        N::TClass => SockOpt::TClass(n),
        N::AutoFlowLabel => SockOpt::AutoFlowLabel(on),
        N::MinHopCount => SockOpt::MinHopCount(n),
        N::Transparent6 => SockOpt::Transparent6(on),
        N::FreeBind6 => SockOpt::FreeBind6(on),
        N::NoDelay => SockOpt::NoDelay(on),
        N::MaxSeg => SockOpt::MaxSeg(n),
        N::Cork => SockOpt::Cork(on),
        N::KeepIdle => SockOpt::KeepIdle(seconds(n)?),
        N::KeepIntvl => SockOpt::KeepIntvl(seconds(n)?),
        N::KeepCnt => SockOpt::KeepCnt(n),
        N::SynCnt => SockOpt::SynCnt(n),
        N::Linger2 => SockOpt::Linger2(n),
        N::DeferAccept => SockOpt::DeferAccept(n),
        N::WindowClamp => SockOpt::WindowClamp(n),
        N::QuickAck => SockOpt::QuickAck(on),
        N::ThinLinearTimeouts => SockOpt::ThinLinearTimeouts(strict()?),
        N::ThinDupack => SockOpt::ThinDupack(strict()?),
        N::UserTimeout => {
            SockOpt::UserTimeout(Duration::from_millis(u64::try_from(n).map_err(|_| Errno::EINVAL)?))
        }
        N::RtoMax => SockOpt::RtoMax(Duration::from_millis(u64::try_from(n).map_err(|_| Errno::EINVAL)?)),
        N::RtoMin => SockOpt::RtoMin(micros(n)?),
        N::DelackMax => SockOpt::DelackMax(micros(n)?),
        N::FastOpen => SockOpt::FastOpen(n),
        N::NotSentLowat => SockOpt::NotSentLowat(n as u32),
        N::FastOpenConnect => SockOpt::FastOpenConnect(strict()?),
        N::FastOpenNoCookie => SockOpt::FastOpenNoCookie(strict()?),
        N::SaveSyn => SockOpt::SaveSyn(n),
        N::Inq => SockOpt::Inq(strict()?),
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

/// A value to bytes.
fn encode(option: &SockOpt) -> Vec<u8> {
    use SockOpt as O;
    let int = |n: i32| Vec::from(n.to_ne_bytes());
    match option {
        O::Linger(linger) => {
            let time = linger.map_or(0, |time| time.as_secs() as u32);
            [int(i32::from(linger.is_some())), Vec::from(time.to_ne_bytes())].concat()
        }
        O::RcvTimeo(time) | O::SndTimeo(time) => {
            let time = time.unwrap_or(Duration::ZERO);
            let (sec, usec) = (time.as_secs() as i64, i64::from(time.subsec_micros()));
            [sec.to_ne_bytes(), usec.to_ne_bytes()].concat()
        }
        O::BindToDevice(name) if name.is_empty() => Vec::new(),
        O::BindToDevice(name) => [name.as_bytes(), &[0]].concat(),
        O::Congestion(name) => {
            let mut bytes = Vec::from(name.as_bytes());
            bytes.resize(CA_NAME_MAX, 0);
            bytes
        }
        O::IpOptions(bytes) | O::FastOpenKey(bytes) | O::SavedSyn(bytes) => bytes.to_vec(),
        O::AcceptFilter(filter) => {
            let mut bytes = Vec::from(filter_name(*filter).as_bytes());
            bytes.resize(FILTER_NAME_MAX, 0);
            bytes
        }
        O::Info(info) => tcp_info::encode(info),
        O::PeerName(addr) => sockaddr(addr),
        O::Cookie(n) | O::MaxPacingRate(n) => Vec::from(n.to_ne_bytes()),
        O::Error(error) => int(error.map_or(0, Errno::number)),
        O::KeepIdle(time) | O::KeepIntvl(time) => int(time.as_secs() as i32),
        O::UserTimeout(time) | O::RtoMax(time) => int(time.as_millis() as i32),
        O::RtoMin(time) | O::DelackMax(time) => int(time.as_micros() as i32),
        O::Mark(n) | O::NotSentLowat(n) => Vec::from(n.to_ne_bytes()),
        other => int(flag(other).map(i32::from).or_else(|| number(other)).unwrap_or(0)),
    }
}

/// The value of the options that are switches.
fn flag(option: &SockOpt) -> Option<bool> {
    use SockOpt as O;
    match option {
        O::Debug(on)
        | O::ReuseAddr(on)
        | O::ReusePort(on)
        | O::DontRoute(on)
        | O::Broadcast(on)
        | O::KeepAlive(on)
        | O::ZeroCopy(on)
        | O::OobInline(on)
        | O::AcceptConn(on)
        | O::RecvErr(on)
        | O::FreeBind(on)
        | O::Transparent(on)
        | O::BindAddressNoPort(on)
        | O::RecvErr6(on)
        | O::V6Only(on)
        | O::AutoFlowLabel(on)
        | O::Transparent6(on)
        | O::FreeBind6(on)
        | O::NoDelay(on)
        | O::Cork(on)
        | O::QuickAck(on)
        | O::ThinLinearTimeouts(on)
        | O::ThinDupack(on)
        | O::FastOpenConnect(on)
        | O::FastOpenNoCookie(on)
        | O::RecvTos(on)
        | O::RecvTClass(on)
        | O::Inq(on)
        | O::IsMptcp(on) => Some(*on),
        _ => None,
    }
}

/// The value of the options that are a number as they stand.
fn number(option: &SockOpt) -> Option<i32> {
    use SockOpt as O;
    match option {
        O::Type(n)
        | O::SndBuf(n)
        | O::RcvBuf(n)
        | O::Priority(n)
        | O::RcvLowat(n)
        | O::SndLowat(n)
        | O::SndBufForce(n)
        | O::RcvBufForce(n)
        | O::Protocol(n)
        | O::Domain(n)
        | O::BindToIfIndex(n)
        | O::Timestamping(n)
        | O::Tos(n)
        | O::Ttl(n)
        | O::MtuDiscover(n)
        | O::Mtu(n)
        | O::MinTtl(n)
        | O::UnicastHops(n)
        | O::MtuDiscover6(n)
        | O::Mtu6(n)
        | O::TClass(n)
        | O::MinHopCount(n)
        | O::MaxSeg(n)
        | O::KeepCnt(n)
        | O::SynCnt(n)
        | O::Linger2(n)
        | O::DeferAccept(n)
        | O::WindowClamp(n)
        | O::FastOpen(n)
        | O::SaveSyn(n) => Some(*n),
        _ => None,
    }
}

fn int_at(value: &[u8], at: usize) -> Result<i32, Errno> {
    let bytes = value.get(at..at + 4).ok_or(Errno::EINVAL)?;
    Ok(i32::from_ne_bytes(bytes.try_into().map_err(|_| Errno::EINVAL)?))
}

/// 64 bits, or 32 as before Linux 4.20; all ones is no limit.
fn pacing_rate(value: &[u8]) -> Result<u64, Errno> {
    if let Some(bytes) = value.first_chunk::<8>() {
        return Ok(u64::from_ne_bytes(*bytes));
    }
    let rate = int_at(value, 0)? as u32;
    Ok(if rate == u32::MAX { u64::MAX } else { u64::from(rate) })
}

/// `struct tcp_md5sig`: an address in 128 bytes, flags, prefix length, key length, interface, and 80 bytes of key.
fn md5sig(value: &[u8], extended: bool) -> Result<Md5Sig, Errno> {
    const LEN: usize = 216;
    const PREFIX: u8 = 1;
    const IFINDEX: u8 = 2;
    let value = value.get(..LEN).ok_or(Errno::EINVAL)?;
    let half = |at: usize| u16::from_ne_bytes([value[at], value[at + 1]]);
    let address = match Domain(i32::from(half(0))) {
        Domain::INET => IpAddr::from([value[4], value[5], value[6], value[7]]),
        Domain::INET6 => {
            let octets: [u8; 16] = value[8..24].try_into().map_err(|_| Errno::EINVAL)?;
            IpAddr::from(octets)
        }
        _ => return Err(Errno::EINVAL),
    };
    let (flags, prefix, len) = (value[128], value[129], usize::from(half(130)));
    // There is no device of layer 3 that is a master of others.
    if extended && flags & IFINDEX != 0 && int_at(value, 132)? != 0 {
        return Err(Errno::EINVAL);
    }
    let key = value[136..].get(..len).ok_or(Errno::EINVAL)?;
    Ok(Md5Sig { address, prefix: (extended && flags & PREFIX != 0).then_some(prefix), key: key.into() })
}

/// The IP level takes an int, a byte, or nothing for 0.
fn ip_int(value: &[u8]) -> i32 {
    int_at(value, 0).unwrap_or_else(|_| value.first().map_or(0, |&byte| i32::from(byte)))
}

fn seconds(n: i32) -> Result<Duration, Errno> {
    Ok(Duration::from_secs(u64::try_from(n).map_err(|_| Errno::EINVAL)?))
}

fn micros(n: i32) -> Result<Duration, Errno> {
    Ok(Duration::from_micros(u64::try_from(n).map_err(|_| Errno::EINVAL)?))
}

/// `struct timeval` of two 64-bit numbers: zero waits for ever; negative seconds do not wait at all, as
/// Linux's `sock_set_timeout`.
fn timeval(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let half = |at: usize| -> Result<i64, Errno> {
        let bytes = value.get(at..at + 8).ok_or(Errno::EINVAL)?;
        Ok(i64::from_ne_bytes(bytes.try_into().map_err(|_| Errno::EINVAL)?))
    };
    let (sec, usec) = (half(0)?, half(8)?);
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    let Ok(sec) = u64::try_from(sec) else { return Ok(Some(Duration::ZERO)) };
    if (sec, usec) == (0, 0) || sec >= FOREVER_SECS {
        return Ok(None);
    }
    Ok(Some(Duration::new(sec, usec as u32 * 1_000)))
}

/// Text up to the first NUL, at most `most` bytes of it; what is not UTF-8 names nothing.
fn name_of(value: &[u8], most: usize) -> String {
    let value = &value[..value.len().min(most)];
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from(core::str::from_utf8(&value[..end]).unwrap_or("\u{fffd}"))
}

/// Accept filters by FreeBSD's names; no name takes the filter away. ENOENT for an unknown one.
fn filter_of(name: &str) -> Result<AcceptFilter, Errno> {
    let all = [AcceptFilter::None, AcceptFilter::Data, AcceptFilter::Http];
    all.into_iter().find(|filter| filter_name(*filter) == name).ok_or(Errno::ENOENT)
}

const fn filter_name(filter: AcceptFilter) -> &'static str {
    match filter {
        AcceptFilter::None => "",
        AcceptFilter::Data => "dataready",
        AcceptFilter::Http => "httpready",
    }
}

/// `struct sockaddr_in` or `sockaddr_in6`.
fn sockaddr(addr: &SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(28);
    match addr {
        SocketAddr::V4(v4) => {
            out.extend_from_slice(&(Domain::INET.0 as u16).to_ne_bytes());
            out.extend_from_slice(&v4.port().to_be_bytes());
            out.extend_from_slice(&v4.ip().octets());
            out.extend_from_slice(&[0; 8]);
        }
        SocketAddr::V6(v6) => {
            out.extend_from_slice(&(Domain::INET6.0 as u16).to_ne_bytes());
            out.extend_from_slice(&v6.port().to_be_bytes());
            out.extend_from_slice(&v6.flowinfo().to_be_bytes());
            out.extend_from_slice(&v6.ip().octets());
            out.extend_from_slice(&v6.scope_id().to_ne_bytes());
        }
    }
    out
}
