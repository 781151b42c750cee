//! What `getsockopt` reads back.

use alloc::boxed::Box;
use alloc::string::String;

use super::{Situation, SockOpt, SockOptName};
use crate::config::Kept;
use crate::socket::{Domain, SocketId};
use crate::stack::{InterfaceId, Stack};
use crate::tcp::State;
use crate::time::{Bounds, Duration, Instant};
use crate::{Errno, Options};

/// TCP_MSS_DEFAULT: what TCP_MAXSEG shows before there is a connection (RFC 9293 3.7.1).
const MSS_DEFAULT: i32 = 536;

impl Stack {
    /// Reads an option. SO_ERROR is cleared by it.
    ///
    /// ENOTCONN where the option needs a connection, ENOPROTOOPT for one of the other family or that can only be set.
    pub fn getsockopt(&mut self, now: Instant, id: SocketId, name: SockOptName) -> Result<SockOpt, Errno> {
        let socket = self.entry(id)?;
        Ok(match name {
            SockOptName::Error => SockOpt::Error(self.take_pending_error(id)?),
            SockOptName::Info => SockOpt::Info(Box::new(self.tcp_info(now, id)?)),
            SockOptName::PeerName => SockOpt::PeerName(self.getpeername(id)?),
            SockOptName::Cookie => SockOpt::Cookie(id.to_u64().wrapping_add(1)),
            SockOptName::BindToDevice => {
                let device = socket.options.bind_to_device;
                let device = device.checked_sub(1).and_then(|index| self.interface(InterfaceId(index)));
                SockOpt::BindToDevice(device.map_or_else(String::new, |interface| interface.name.clone()))
            }
            SockOptName::Mtu | SockOptName::Mtu6 => {
                let mtu =
                    socket.connection().filter(|c| c.state() != State::Closed).ok_or(Errno::ENOTCONN)?;
                let mtu = mtu.info(now, self.config()).pmtu as i32;
                if name == SockOptName::Mtu { SockOpt::Mtu(mtu) } else { SockOpt::Mtu6(mtu) }
            }
            SockOptName::FastOpenKey => {
                let keys = socket.options.fastopen_key.as_deref().unwrap_or_else(|| self.fast_open_keys());
                SockOpt::FastOpenKey(
                    [&keys.primary[..], keys.backup.as_ref().map_or(&[], |k| k)].concat().into(),
                )
            }
            SockOptName::SavedSyn => SockOpt::SavedSyn(self.take_saved_syn(id)?),
            SockOptName::WindowClamp if socket.state().is_synchronized() => {
                let clamp = socket.connection().map_or(0, |connection| connection.window_clamp());
                SockOpt::WindowClamp(clamp.min(i32::MAX as u32) as i32)
            }
            SockOptName::MaxSeg => SockOpt::MaxSeg(self.maxseg(now, id)?),
            // What dynamic right-sizing has made of it.
            SockOptName::RcvBuf if socket.connection().is_some_and(|c| c.receive_memory().is_some()) => {
                let memory = socket.connection().and_then(|c| c.receive_memory()).unwrap_or_default();
                SockOpt::RcvBuf(memory.min(i32::MAX as u32) as i32)
            }
            _ => {
                let situation = Situation {
                    config: self.config(),
                    domain: socket.domain(),
                    state: socket.state(),
                    bound: true,
                };
                read(&socket.options, name, &situation)?
            }
        })
    }

    /// TCP_MAXSEG: what the user set where there is no connection, else SND's MSS.
    fn maxseg(&self, now: Instant, id: SocketId) -> Result<i32, Errno> {
        let socket = self.entry(id)?;
        let set = i32::from(socket.options.maxseg);
        Ok(match socket.connection().filter(|c| c.state() != State::Closed) {
            Some(connection) => connection.info(now, self.config()).snd_mss as i32,
            None if set != 0 => set,
            None => MSS_DEFAULT,
        })
    }
}

fn read(options: &Options, name: SockOptName, situation: &Situation<'_>) -> Result<SockOpt, Errno> {
    use super::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP};
    match name.number().0 {
        IPPROTO_TCP => read_tcp(options, name, situation),
        IPPROTO_IP => read_ip(options, name, situation),
        IPPROTO_IPV6 if situation.domain != Domain::INET6 => Err(Errno::ENOPROTOOPT),
        IPPROTO_IPV6 => read_ipv6(options, name, situation),
        _ => read_socket(options, name, situation),
    }
}

fn read_socket(options: &Options, name: SockOptName, situation: &Situation<'_>) -> Result<SockOpt, Errno> {
    let config = situation.config;
    Ok(match name {
        SockOptName::Debug => SockOpt::Debug(options.kept.contains(Kept::DEBUG)),
        SockOptName::ReuseAddr => SockOpt::ReuseAddr(options.reuseaddr),
        SockOptName::ReusePort => SockOpt::ReusePort(options.reuseport),
        SockOptName::Type => SockOpt::Type(crate::socket::SocketType::STREAM.0),
        SockOptName::Protocol => SockOpt::Protocol(crate::socket::Protocol::TCP.0),
        SockOptName::Domain => SockOpt::Domain(situation.domain.0),
        SockOptName::AcceptConn => SockOpt::AcceptConn(situation.state == State::Listen),
        SockOptName::DontRoute => SockOpt::DontRoute(options.kept.contains(Kept::DONTROUTE)),
        SockOptName::Broadcast => SockOpt::Broadcast(options.kept.contains(Kept::BROADCAST)),
        SockOptName::SndBuf => SockOpt::SndBuf(doubled(options.sndbuf, config.wmem[1])),
        SockOptName::RcvBuf => SockOpt::RcvBuf(doubled(options.rcvbuf, config.rmem[1])),
        SockOptName::KeepAlive => SockOpt::KeepAlive(options.keepalive),
        SockOptName::OobInline => SockOpt::OobInline(options.oobinline),
        SockOptName::Priority => SockOpt::Priority(options.priority as i32),
        SockOptName::Linger => SockOpt::Linger(options.linger),
        SockOptName::RcvLowat => SockOpt::RcvLowat(int(options.rcvlowat)),
        SockOptName::SndLowat => SockOpt::SndLowat(1),
        SockOptName::RcvTimeo => SockOpt::RcvTimeo(options.rcvtimeo),
        SockOptName::SndTimeo => SockOpt::SndTimeo(options.sndtimeo),
        SockOptName::AcceptFilter => SockOpt::AcceptFilter(options.accept_filter),
        SockOptName::ZeroCopy => SockOpt::ZeroCopy(options.zerocopy),
        SockOptName::Timestamping => SockOpt::Timestamping(options.timestamping as i32),
        SockOptName::MaxPacingRate => SockOpt::MaxPacingRate(options.max_pacing_rate),
        SockOptName::Mark => SockOpt::Mark(options.mark),
        SockOptName::BindToIfIndex => SockOpt::BindToIfIndex(options.bind_to_device as i32),
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

fn read_ip(options: &Options, name: SockOptName, situation: &Situation<'_>) -> Result<SockOpt, Errno> {
    Ok(match name {
        SockOptName::Tos => SockOpt::Tos(i32::from(options.tos)),
        SockOptName::RecvTos => SockOpt::RecvTos(options.kept.contains(Kept::RECVTOS)),
        SockOptName::Ttl => SockOpt::Ttl(i32::from(options.ttl.unwrap_or(situation.config.default_ttl))),
        SockOptName::IpOptions => SockOpt::IpOptions(options.ip_options.clone().unwrap_or_default()),
        SockOptName::MtuDiscover => SockOpt::MtuDiscover(mtu_discover(options, situation)),
        SockOptName::RecvErr => SockOpt::RecvErr(options.recverr),
        SockOptName::FreeBind => SockOpt::FreeBind(options.freebind),
        SockOptName::Transparent => SockOpt::Transparent(options.kept.contains(Kept::TRANSPARENT)),
        SockOptName::MinTtl => SockOpt::MinTtl(i32::from(options.min_ttl)),
        SockOptName::BindAddressNoPort => {
            SockOpt::BindAddressNoPort(options.kept.contains(Kept::BIND_ADDRESS_NO_PORT))
        }
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

fn read_ipv6(options: &Options, name: SockOptName, situation: &Situation<'_>) -> Result<SockOpt, Errno> {
    Ok(match name {
        SockOptName::UnicastHops => {
            SockOpt::UnicastHops(i32::from(options.ttl.unwrap_or(situation.config.default_ttl)))
        }
        SockOptName::MtuDiscover6 => SockOpt::MtuDiscover6(mtu_discover(options, situation)),
        SockOptName::RecvErr6 => SockOpt::RecvErr6(options.recverr),
        SockOptName::V6Only => SockOpt::V6Only(options.v6only),
        SockOptName::RecvTClass => SockOpt::RecvTClass(options.kept.contains(Kept::RECVTCLASS)),
        SockOptName::TClass => SockOpt::TClass(i32::from(options.tos)),
        SockOptName::AutoFlowLabel => SockOpt::AutoFlowLabel(options.kept.contains(Kept::AUTOFLOWLABEL)),
        SockOptName::MinHopCount => SockOpt::MinHopCount(i32::from(options.min_ttl)),
        SockOptName::Transparent6 => SockOpt::Transparent6(options.kept.contains(Kept::TRANSPARENT)),
        SockOptName::FreeBind6 => SockOpt::FreeBind6(options.freebind),
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

fn read_tcp(options: &Options, name: SockOptName, situation: &Situation<'_>) -> Result<SockOpt, Errno> {
    let config = situation.config;
    Ok(match name {
        SockOptName::NoDelay => SockOpt::NoDelay(options.nodelay),
        SockOptName::Cork => SockOpt::Cork(options.cork),
        SockOptName::KeepIdle => SockOpt::KeepIdle(options.keepidle.unwrap_or(config.keepalive_time)),
        SockOptName::KeepIntvl => SockOpt::KeepIntvl(options.keepintvl.unwrap_or(config.keepalive_interval)),
        SockOptName::KeepCnt => {
            SockOpt::KeepCnt(i32::from(options.keepcnt.unwrap_or(config.keepalive_probes)))
        }
        SockOptName::SynCnt => SockOpt::SynCnt(i32::from(options.syncnt.unwrap_or(config.syn_retries))),
        SockOptName::Linger2 => SockOpt::Linger2(match options.linger2 {
            None => seconds(config.fin_timeout),
            Some(None) => -1,
            Some(Some(time)) => seconds(time),
        }),
        SockOptName::DeferAccept => SockOpt::DeferAccept(int(options.defer_accept)),
        SockOptName::WindowClamp => SockOpt::WindowClamp(int(options.window_clamp)),
        SockOptName::QuickAck => SockOpt::QuickAck(options.quickack.unwrap_or(true)),
        SockOptName::Congestion => {
            SockOpt::Congestion(String::from(options.congestion.unwrap_or(config.congestion).name()))
        }
        SockOptName::ThinLinearTimeouts => {
            SockOpt::ThinLinearTimeouts(options.kept.contains(Kept::THIN_LINEAR_TIMEOUTS))
        }
        SockOptName::ThinDupack => SockOpt::ThinDupack(options.kept.contains(Kept::THIN_DUPACK)),
        SockOptName::UserTimeout => SockOpt::UserTimeout(options.user_timeout.unwrap_or(Duration::ZERO)),
        SockOptName::FastOpen => SockOpt::FastOpen(int(options.fastopen_qlen)),
        SockOptName::FastOpenConnect => SockOpt::FastOpenConnect(options.fastopen_connect),
        SockOptName::FastOpenNoCookie => SockOpt::FastOpenNoCookie(options.fastopen_no_cookie),
        SockOptName::NotSentLowat if options.notsent_lowat == situation.config.notsent_lowat => {
            SockOpt::NotSentLowat(0)
        }
        SockOptName::NotSentLowat => SockOpt::NotSentLowat(options.notsent_lowat),
        SockOptName::SaveSyn => SockOpt::SaveSyn(i32::from(options.save_syn)),
        SockOptName::IsMptcp => SockOpt::IsMptcp(false),
        SockOptName::RtoMax => SockOpt::RtoMax(Bounds::or(options.bounds.rto_max, config.rto_max)),
        SockOptName::RtoMin => SockOpt::RtoMin(Bounds::or(options.bounds.rto_min, config.rto_min)),
        SockOptName::DelackMax => {
            SockOpt::DelackMax(Bounds::or(options.bounds.delack_max, config.delack_max))
        }
        SockOptName::Inq => SockOpt::Inq(options.inq),
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

/// Linux counts data and its overhead, and shows twice what was asked for.
fn doubled(set: Option<u32>, initial: u32) -> i32 {
    int(set.map_or(initial, |bytes| bytes.saturating_mul(2)))
}

fn mtu_discover(options: &Options, situation: &Situation<'_>) -> i32 {
    match options.pmtu_discovery {
        Some(true) => 2,
        Some(false) => 0,
        None => i32::from(situation.config.pmtu_discovery),
    }
}

fn int(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}
