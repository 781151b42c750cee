//! The rules of `setsockopt`: which values an option takes, and when.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::{Md5Sig, Situation, SockOpt};
use crate::config::{CongestionKind, FastOpenBits, FastOpenKeys, Kept};
use crate::md5::{MAX_KEY, width};
use crate::socket::{Domain, SocketId};
use crate::stack::{InterfaceId, Kind, SocketFlags, Stack, key_of};
use crate::tcp::State;
use crate::time::{Duration, Instant};
use crate::{Errno, Options};

/// SOCK_MIN_SNDBUF and SOCK_MIN_RCVBUF of Linux, halved: bytes of data.
const MIN_SNDBUF: u32 = 2_304;
const MIN_RCVBUF: u32 = 1_152;
/// TCP_MIN_MSS and MAX_TCP_WINDOW, the bounds of TCP_MAXSEG.
const MAXSEG: core::ops::RangeInclusive<i32> = 88..=32_767;
/// MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL: seconds.
const MAX_KEEP: u64 = 32_767;
/// MAX_TCP_KEEPCNT, MAX_TCP_SYNCNT.
const MAX_COUNT: i32 = 127;
/// MSEC_PER_SEC to TCP_RTO_MAX_SEC: milliseconds of TCP_RTO_MAX_MS.
const RTO_MAX: core::ops::RangeInclusive<u64> = 1_000..=120_000;
/// TCP_TIMEOUT_MIN to TCP_RTO_MIN and TCP_DELACK_MAX, milliseconds.
const LEAST: core::ops::RangeInclusive<u64> = 2..=200;
/// TCP_FIN_TIMEOUT_MAX.
const MAX_LINGER2: i32 = 120;

impl Stack {
    /// Sets an option.
    ///
    /// EINVAL or EDOM for a value out of range, ENOPROTOOPT for an option that is read only or belongs
    /// to the other family, EPERM or EACCES without the privilege, ENOENT and ENODEV for unknown names.
    pub fn setsockopt(&mut self, now: Instant, id: SocketId, option: &SockOpt) -> Result<(), Errno> {
        let bind_to_device = self.named_device(option)?;
        let socket = self.entry(id)?;
        let situation = Situation {
            config: self.config(),
            domain: socket.domain(),
            state: socket.state(),
            bound: socket.binding.is_some() || !matches!(socket.kind, Kind::Fresh),
        };
        let mut options = Options::clone(&socket.options);
        match bind_to_device {
            Some(device) => options.bind_to_device = device,
            None => apply(&mut options, option, &situation)?,
        }
        let own_route = options.ip_options.is_some();
        if options != *socket.options {
            self.replace_options(now, key_of(id), Arc::new(options));
        }
        if matches!(option, SockOpt::IpOptions(_)) {
            self.entry_mut(id)?.flags.set(SocketFlags::OWN_ROUTE, own_route);
        }
        Ok(())
    }

    /// Whether there is an interface of that number, from 1 as SO_BINDTOIFINDEX counts.
    pub(in crate::socket) fn has_device(&self, device: u32) -> bool {
        device.checked_sub(1).is_some_and(|index| self.interface(InterfaceId(index)).is_some())
    }

    /// The interface an option names, as [`Options::bind_to_device`] keeps it. ENODEV if there is none.
    fn named_device(&self, option: &SockOpt) -> Result<Option<u32>, Errno> {
        match option {
            SockOpt::BindToDevice(name) if name.is_empty() => Ok(Some(0)),
            SockOpt::BindToDevice(name) => {
                let found = self.interfaces().find(|(_, interface)| interface.name == *name);
                Ok(Some(found.ok_or(Errno::ENODEV)?.0.0 + 1))
            }
            SockOpt::BindToIfIndex(index) => {
                let index = u32::try_from(*index).map_err(|_| Errno::EINVAL)?;
                if index != 0 && !self.has_device(index) {
                    return Err(Errno::ENODEV);
                }
                Ok(Some(index))
            }
            _ => Ok(None),
        }
    }
}

fn apply(options: &mut Options, option: &SockOpt, situation: &Situation<'_>) -> Result<(), Errno> {
    use super::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP};
    match option.name().number().0 {
        IPPROTO_TCP => apply_tcp(options, option, situation),
        IPPROTO_IP => apply_ip(options, option, situation),
        IPPROTO_IPV6 => apply_ipv6(options, option, situation),
        _ => apply_socket(options, option, situation),
    }
}

fn apply_socket(options: &mut Options, option: &SockOpt, situation: &Situation<'_>) -> Result<(), Errno> {
    let config = situation.config;
    match option {
        SockOpt::Debug(on) => {
            if *on && !config.privileged {
                return Err(Errno::EACCES);
            }
            options.kept.set(Kept::DEBUG, *on);
        }
        SockOpt::ReuseAddr(on) => options.reuseaddr = *on,
        SockOpt::ReusePort(on) => options.reuseport = *on,
        SockOpt::DontRoute(on) => options.kept.set(Kept::DONTROUTE, *on),
        SockOpt::Broadcast(on) => options.kept.set(Kept::BROADCAST, *on),
        SockOpt::SndBuf(bytes) => options.sndbuf = Some(buffer(*bytes, MIN_SNDBUF, config.wmem_max)),
        SockOpt::RcvBuf(bytes) => options.rcvbuf = Some(buffer(*bytes, MIN_RCVBUF, config.rmem_max)),
        SockOpt::SndBufForce(bytes) => {
            privileged(situation)?;
            options.sndbuf = Some(buffer((*bytes).max(0), MIN_SNDBUF, i32::MAX as u32 / 2));
        }
        SockOpt::RcvBufForce(bytes) => {
            privileged(situation)?;
            options.rcvbuf = Some(buffer((*bytes).max(0), MIN_RCVBUF, i32::MAX as u32 / 2));
        }
        SockOpt::KeepAlive(on) => options.keepalive = *on,
        SockOpt::OobInline(on) => options.oobinline = *on,
        SockOpt::Priority(priority) => {
            if !(0..=6).contains(priority) {
                privileged(situation)?;
            }
            options.priority = *priority as u32;
        }
        SockOpt::Linger(linger) => options.linger = linger.map(|time| Duration::from_secs(time.as_secs())),
        SockOpt::RcvLowat(bytes) => {
            // Linux's tcp_set_rcvlowat: never more than what the buffer may hold.
            let cap = options.rcvbuf.unwrap_or(config.rmem[2] / 2).max(1);
            options.rcvlowat = u32::try_from(*bytes).unwrap_or(u32::MAX).clamp(1, cap);
        }
        SockOpt::RcvTimeo(time) => options.rcvtimeo = *time,
        SockOpt::SndTimeo(time) => options.sndtimeo = *time,
        SockOpt::AcceptFilter(filter) => {
            if situation.state != State::Listen {
                return Err(Errno::EINVAL);
            }
            options.accept_filter = *filter;
        }
        SockOpt::ZeroCopy(on) => options.zerocopy = *on,
        SockOpt::Timestamping(bits) => {
            // SOF_TIMESTAMPING_MASK of Linux 6.18.
            options.timestamping = within(*bits, 0..=(1 << 19) - 1)? as u32;
        }
        SockOpt::MaxPacingRate(rate) => options.max_pacing_rate = *rate,
        SockOpt::Mark(mark) => {
            privileged(situation)?;
            options.mark = *mark;
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

fn apply_ip(options: &mut Options, option: &SockOpt, situation: &Situation<'_>) -> Result<(), Errno> {
    match option {
        // RFC 2474 3, RFC 3168 5: the ECN field belongs to TCP.
        SockOpt::Tos(tos) => options.tos = *tos as u8 & !3,
        SockOpt::RecvTos(on) => options.kept.set(Kept::RECVTOS, *on),
        SockOpt::Ttl(-1) => options.ttl = None,
        SockOpt::Ttl(ttl) => options.ttl = Some(within(*ttl, 1..=255)? as u8),
        SockOpt::IpOptions(bytes) => {
            if !crate::wire::ipv4::may_be_sent(bytes) {
                return Err(Errno::EINVAL);
            }
            options.ip_options = if bytes.is_empty() { None } else { Some(Box::clone(bytes)) };
        }
        SockOpt::MtuDiscover(mode) => options.pmtu_discovery = pmtu_discovery(*mode)?,
        SockOpt::RecvErr(on) => options.recverr = *on,
        SockOpt::FreeBind(on) => options.freebind = *on,
        SockOpt::Transparent(on) => transparent(options, *on, situation)?,
        SockOpt::MinTtl(ttl) => options.min_ttl = within(*ttl, 0..=255)? as u8,
        SockOpt::BindAddressNoPort(on) => options.kept.set(Kept::BIND_ADDRESS_NO_PORT, *on),
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

fn apply_ipv6(options: &mut Options, option: &SockOpt, situation: &Situation<'_>) -> Result<(), Errno> {
    if situation.domain != Domain::INET6 {
        return Err(Errno::ENOPROTOOPT);
    }
    match option {
        SockOpt::UnicastHops(-1) => options.ttl = None,
        SockOpt::UnicastHops(hops) => options.ttl = Some(within(*hops, 0..=255)? as u8),
        SockOpt::MtuDiscover6(mode) => options.pmtu_discovery = pmtu_discovery(*mode)?,
        SockOpt::RecvErr6(on) => options.recverr = *on,
        SockOpt::V6Only(on) => {
            if situation.bound {
                return Err(Errno::EINVAL);
            }
            options.v6only = *on;
        }
        SockOpt::RecvTClass(on) => options.kept.set(Kept::RECVTCLASS, *on),
        SockOpt::TClass(-1) => options.tos = 0,
        SockOpt::TClass(class) => options.tos = within(*class, 0..=255)? as u8 & !3,
        SockOpt::AutoFlowLabel(on) => options.kept.set(Kept::AUTOFLOWLABEL, *on),
        SockOpt::MinHopCount(hops) => options.min_ttl = within(*hops, 0..=255)? as u8,
        SockOpt::Transparent6(on) => transparent(options, *on, situation)?,
        SockOpt::FreeBind6(on) => options.freebind = *on,
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

fn apply_tcp(options: &mut Options, option: &SockOpt, situation: &Situation<'_>) -> Result<(), Errno> {
    match option {
        SockOpt::NoDelay(on) => options.nodelay = *on,
        SockOpt::MaxSeg(0) => options.maxseg = 0,
        SockOpt::MaxSeg(mss) => options.maxseg = within(*mss, MAXSEG)? as u16,
        SockOpt::Cork(on) => options.cork = *on,
        SockOpt::KeepIdle(time) => options.keepidle = Some(keep_time(*time)?),
        SockOpt::KeepIntvl(time) => options.keepintvl = Some(keep_time(*time)?),
        SockOpt::KeepCnt(count) => options.keepcnt = Some(within(*count, 1..=MAX_COUNT)? as u8),
        SockOpt::SynCnt(count) => options.syncnt = Some(within(*count, 1..=MAX_COUNT)? as u8),
        SockOpt::Linger2(seconds) => {
            options.linger2 = match *seconds {
                ..0 => Some(None),
                0 => None,
                seconds => Some(Some(Duration::from_secs(seconds.min(MAX_LINGER2) as u64))),
            }
        }
        SockOpt::DeferAccept(seconds) => options.defer_accept = defer_accept(*seconds),
        SockOpt::WindowClamp(0) => {
            if situation.state != State::Closed {
                return Err(Errno::EINVAL);
            }
            options.window_clamp = 0;
        }
        SockOpt::WindowClamp(bytes) => {
            options.window_clamp = u32::try_from(*bytes).unwrap_or(0).max(MIN_RCVBUF);
        }
        SockOpt::QuickAck(on) => options.quickack = Some(*on),
        SockOpt::Congestion(name) => {
            options.congestion = Some(CongestionKind::from_name(name).ok_or(Errno::ENOENT)?);
        }
        SockOpt::ThinLinearTimeouts(on) => options.kept.set(Kept::THIN_LINEAR_TIMEOUTS, *on),
        SockOpt::ThinDupack(on) => options.kept.set(Kept::THIN_DUPACK, *on),
        SockOpt::UserTimeout(time) => {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(i32::MAX as u64);
            options.user_timeout = (millis > 0).then(|| Duration::from_millis(millis));
        }
        SockOpt::FastOpen(pending) => {
            if *pending < 0 || !matches!(situation.state, State::Closed | State::Listen) {
                return Err(Errno::EINVAL);
            }
            options.fastopen_qlen = (*pending as u32).min(situation.config.somaxconn);
        }
        SockOpt::FastOpenConnect(on) => {
            if !situation.config.fastopen.contains(FastOpenBits::CLIENT) {
                return Err(Errno::EOPNOTSUPP);
            }
            if situation.state != State::Closed {
                return Err(Errno::EINVAL);
            }
            options.fastopen_connect = *on;
        }
        SockOpt::FastOpenNoCookie(on) => {
            if !matches!(situation.state, State::Closed | State::Listen) {
                return Err(Errno::EINVAL);
            }
            options.fastopen_no_cookie = *on;
        }
        SockOpt::FastOpenKey(bytes) => options.fastopen_key = Some(Box::new(keys(bytes)?)),
        SockOpt::NotSentLowat(0) => options.notsent_lowat = situation.config.notsent_lowat,
        SockOpt::NotSentLowat(bytes) => options.notsent_lowat = *bytes,
        SockOpt::SaveSyn(mode) => options.save_syn = within(*mode, 0..=2)? != 0,
        SockOpt::Inq(on) => options.inq = *on,
        SockOpt::RtoMax(time) => options.bounds.rto_max = bound(*time, RTO_MAX)?,
        SockOpt::RtoMin(time) => options.bounds.rto_min = bound(*time, LEAST)?,
        SockOpt::DelackMax(time) => options.bounds.delack_max = bound(*time, LEAST)?,
        SockOpt::Md5Sig(key) | SockOpt::Md5SigExt(key) => md5_key(options, key, situation)?,
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

/// Adds, replaces or removes the key of a network. EINVAL for another family, too long a prefix or key, ENOENT if there is
/// none to remove, ENOMEM if there are too many.
fn md5_key(options: &mut Options, sig: &Md5Sig, situation: &Situation<'_>) -> Result<(), Errno> {
    if sig.address.is_ipv6() != (situation.domain == Domain::INET6) {
        return Err(Errno::EINVAL);
    }
    let address = sig.address.to_canonical();
    let prefix = sig.prefix.unwrap_or(width(address));
    if prefix > width(address) || sig.key.len() > MAX_KEY {
        return Err(Errno::EINVAL);
    }
    let keys = Arc::make_mut(options.md5.get_or_insert_default());
    if sig.key.is_empty() {
        keys.remove(address, prefix)?;
    } else {
        keys.set(address, prefix, &sig.key)?;
    }
    if keys.is_empty() {
        options.md5 = None;
    }
    Ok(())
}

/// One key, or the one in use and the former one.
fn keys(bytes: &[u8]) -> Result<FastOpenKeys, Errno> {
    let (primary, backup) = bytes.split_at_checked(16).ok_or(Errno::EINVAL)?;
    let key = |bytes: &[u8]| bytes.try_into().map_err(|_| Errno::EINVAL);
    let backup = if backup.is_empty() { None } else { Some(key(backup)?) };
    Ok(FastOpenKeys { primary: key(primary)?, backup })
}

fn privileged(situation: &Situation<'_>) -> Result<(), Errno> {
    if situation.config.privileged { Ok(()) } else { Err(Errno::EPERM) }
}

fn within(value: i32, range: core::ops::RangeInclusive<i32>) -> Result<i32, Errno> {
    if range.contains(&value) { Ok(value) } else { Err(Errno::EINVAL) }
}

/// Bytes of data for a buffer size that was asked for. Linux takes a negative size as a huge one.
fn buffer(bytes: i32, least: u32, most: u32) -> u32 {
    (bytes as u32).min(most).max(least)
}

/// Whole milliseconds, rounded up. EINVAL outside of the range.
fn bound(time: Duration, range: core::ops::RangeInclusive<u64>) -> Result<u32, Errno> {
    let millis = u64::try_from(time.as_micros()).map_err(|_| Errno::EINVAL)?.div_ceil(1_000);
    if range.contains(&millis) { Ok(millis as u32) } else { Err(Errno::EINVAL) }
}

fn keep_time(time: Duration) -> Result<Duration, Errno> {
    let seconds = time.as_secs();
    if (1..=MAX_KEEP).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err(Errno::EINVAL) }
}

/// IP_PMTUDISC_DONT and _OMIT (0, 5) do without; WANT (1) is as the stack is set; DO, PROBE and INTERFACE
/// (2, 3, 4) set DF.
fn pmtu_discovery(mode: i32) -> Result<Option<bool>, Errno> {
    match mode {
        0 | 5 => Ok(Some(false)),
        1 => Ok(None),
        2..=4 => Ok(Some(true)),
        _ => Err(Errno::EINVAL),
    }
}

fn transparent(options: &mut Options, on: bool, situation: &Situation<'_>) -> Result<(), Errno> {
    if on {
        privileged(situation)?;
    }
    options.kept.set(Kept::TRANSPARENT, on);
    Ok(())
}

/// Seconds, rounded up to when a SYN-ACK is sent again: 1, 3, 7, 15 ... as Linux's `secs_to_retrans`.
fn defer_accept(seconds: i32) -> u32 {
    let Ok(seconds @ 1..) = u32::try_from(seconds) else { return 0 };
    let (mut period, mut timeout) = (1_u32, 1_u32);
    for _ in 1..255 {
        if seconds <= period {
            break;
        }
        timeout = (timeout * 2).min(120);
        period += timeout;
    }
    period
}
