//! Socket options: typed, and as bytes with Linux's numbers and layouts.
//!
//! | what | where |
//! |---|---|
//! | names, values, numbers | here |
//! | the rules of setting | `set` |
//! | what is read back | `get` |
//! | bytes to values and back | `raw` |
//! | `struct tcp_info` | `tcp_info` |

mod get;
mod raw;
mod set;
mod tcp_info;

use alloc::boxed::Box;
use alloc::string::String;
use core::net::{IpAddr, SocketAddr};

use crate::Errno;
use crate::config::AcceptFilter;
use crate::socket::Domain;
use crate::tcp::{State, TcpInfo};
use crate::time::Duration;

/// SOL_SOCKET.
pub const SOL_SOCKET: i32 = 1;
/// IPPROTO_IP, SOL_IP.
pub const IPPROTO_IP: i32 = 0;
/// IPPROTO_IPV6, SOL_IPV6.
pub const IPPROTO_IPV6: i32 = 41;
/// IPPROTO_TCP, SOL_TCP.
pub const IPPROTO_TCP: i32 = 6;

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident($value:ty) = $level:ident $number:literal $(| $second:literal)?;)*) => {
        /// The name of an option.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum SockOptName { $($(#[$doc])* $name,)* }

        /// An option with its value.
        #[derive(Clone, PartialEq, Debug)]
        #[non_exhaustive]
        pub enum SockOpt { $($(#[$doc])* $name($value),)* }

        impl SockOpt {
            /// Which option it is.
            pub const fn name(&self) -> SockOptName {
                match self { $(SockOpt::$name(_) => SockOptName::$name,)* }
            }
        }

        impl SockOptName {
            /// Every option.
            pub const ALL: &'static [SockOptName] = &[$(SockOptName::$name,)*];

            /// Linux's level and number.
            pub const fn number(self) -> (i32, i32) {
                match self { $(SockOptName::$name => ($level, $number),)* }
            }

            /// The option of that level and number; `None` is ENOPROTOOPT.
            pub const fn from_number(level: i32, number: i32) -> Option<SockOptName> {
                match (level, number) {
                    $(($level, $number $(| $second)?) => Some(SockOptName::$name),)*
                    _ => None,
                }
            }
        }
    };
}

options! {
    /// SO_DEBUG: kept, without effect; needs the privilege to set.
    Debug(bool) = SOL_SOCKET 1;
    /// SO_REUSEADDR.
    ReuseAddr(bool) = SOL_SOCKET 2;
    /// SO_TYPE: 1, SOCK_STREAM. Read only.
    Type(i32) = SOL_SOCKET 3;
    /// SO_ERROR: the pending error, which reading clears. Read only.
    Error(Option<Errno>) = SOL_SOCKET 4;
    /// SO_DONTROUTE: kept, without effect.
    DontRoute(bool) = SOL_SOCKET 5;
    /// SO_BROADCAST: kept, without effect.
    Broadcast(bool) = SOL_SOCKET 6;
    /// SO_SNDBUF, bytes. What is read is twice what was set, as on Linux: data and its overhead.
    SndBuf(i32) = SOL_SOCKET 7;
    /// SO_RCVBUF, bytes; doubled likewise.
    RcvBuf(i32) = SOL_SOCKET 8;
    /// SO_KEEPALIVE.
    KeepAlive(bool) = SOL_SOCKET 9;
    /// SO_OOBINLINE: urgent data stays in the stream.
    OobInline(bool) = SOL_SOCKET 10;
    /// SO_PRIORITY: kept, without effect. Above 6 needs the privilege.
    Priority(i32) = SOL_SOCKET 12;
    /// SO_LINGER: `Some` is on; whole seconds count.
    Linger(Option<Duration>) = SOL_SOCKET 13;
    /// SO_REUSEPORT.
    ReusePort(bool) = SOL_SOCKET 15;
    /// SO_RCVLOWAT, bytes; negative is as much as fits.
    RcvLowat(i32) = SOL_SOCKET 18;
    /// SO_SNDLOWAT: 1. Read only, as on Linux.
    SndLowat(i32) = SOL_SOCKET 19;
    /// SO_RCVTIMEO; `None` waits for ever.
    RcvTimeo(Option<Duration>) = SOL_SOCKET 20 | 66;
    /// SO_SNDTIMEO; `None` waits for ever.
    SndTimeo(Option<Duration>) = SOL_SOCKET 21 | 67;
    /// SO_BINDTODEVICE: an interface's name, empty for none.
    BindToDevice(String) = SOL_SOCKET 25;
    /// SO_PEERNAME. Read only.
    PeerName(SocketAddr) = SOL_SOCKET 28;
    /// SO_ACCEPTCONN: whether the socket listens. Read only.
    AcceptConn(bool) = SOL_SOCKET 30;
    /// SO_SNDBUFFORCE: SO_SNDBUF without its bound; needs the privilege.
    SndBufForce(i32) = SOL_SOCKET 32;
    /// SO_RCVBUFFORCE: SO_RCVBUF without its bound; needs the privilege.
    RcvBufForce(i32) = SOL_SOCKET 33;
    /// SO_MARK: kept; needs the privilege.
    Mark(u32) = SOL_SOCKET 36;
    /// SO_PROTOCOL: 6, IPPROTO_TCP. Read only.
    Protocol(i32) = SOL_SOCKET 38;
    /// SO_DOMAIN. Read only.
    Domain(i32) = SOL_SOCKET 39;
    /// SO_MAX_PACING_RATE, bytes a second; the greatest value is no limit.
    MaxPacingRate(u64) = SOL_SOCKET 47;
    /// SO_COOKIE: a number no other socket of this stack has. Read only.
    Cookie(u64) = SOL_SOCKET 57;
    /// SO_ZEROCOPY: sends with MSG_ZEROCOPY are reported in the error queue.
    ZeroCopy(bool) = SOL_SOCKET 60;
    /// SO_TIMESTAMPING: what is told of sent text in the error queue, SOF_TIMESTAMPING_* bits. The bits for hardware
    /// and for receiving are kept, without effect.
    Timestamping(i32) = SOL_SOCKET 37 | 65;
    /// SO_BINDTOIFINDEX: an interface's number from 1, 0 for none.
    BindToIfIndex(i32) = SOL_SOCKET 62;

    /// SO_ACCEPTFILTER, FreeBSD's, under its number: what a connection must have sent before `accept` hands it out.
    /// EINVAL unless the socket listens.
    AcceptFilter(AcceptFilter) = SOL_SOCKET 0x1000;

    /// IP_TOS: the two ECN bits are not taken.
    Tos(i32) = IPPROTO_IP 1;
    /// IP_TTL: 1 to 255; -1 is the stack's.
    Ttl(i32) = IPPROTO_IP 2;
    /// IP_OPTIONS: at most 40 bytes (MUST-51).
    IpOptions(Box<[u8]>) = IPPROTO_IP 4;
    /// IP_MTU_DISCOVER: 0 (never) to 5.
    MtuDiscover(i32) = IPPROTO_IP 10;
    /// IP_RECVERR: soft errors are reported at once (MUST-47, SHLD-20).
    RecvErr(bool) = IPPROTO_IP 11;
    /// IP_RECVTOS: kept; the traffic class is [`Stack::received_tos`](crate::stack::Stack::received_tos).
    RecvTos(bool) = IPPROTO_IP 13;
    /// IP_MTU: the path MTU of the connection, bytes. Read only; ENOTCONN without one.
    Mtu(i32) = IPPROTO_IP 14;
    /// IP_FREEBIND.
    FreeBind(bool) = IPPROTO_IP 15;
    /// IP_TRANSPARENT: needs the privilege.
    Transparent(bool) = IPPROTO_IP 19;
    /// IP_MINTTL: 0 (off) to 255.
    MinTtl(i32) = IPPROTO_IP 21;
    /// IP_BIND_ADDRESS_NO_PORT: `bind` to port 0 leaves the port to `connect`.
    BindAddressNoPort(bool) = IPPROTO_IP 24;

    /// IPV6_UNICAST_HOPS: 0 to 255; -1 is the stack's.
    UnicastHops(i32) = IPPROTO_IPV6 16;
    /// IPV6_MTU_DISCOVER: 0 to 5.
    MtuDiscover6(i32) = IPPROTO_IPV6 23;
    /// IPV6_MTU: as IP_MTU.
    Mtu6(i32) = IPPROTO_IPV6 24;
    /// IPV6_RECVERR: as IP_RECVERR.
    RecvErr6(bool) = IPPROTO_IPV6 25;
    /// IPV6_V6ONLY: only before the socket is bound.
    V6Only(bool) = IPPROTO_IPV6 26;
    /// IPV6_RECVTCLASS: as IP_RECVTOS.
    RecvTClass(bool) = IPPROTO_IPV6 66;
    /// IPV6_TCLASS: 0 to 255; -1 is 0. The two ECN bits are not taken.
    TClass(i32) = IPPROTO_IPV6 67;
    /// IPV6_AUTOFLOWLABEL: kept, without effect.
    AutoFlowLabel(bool) = IPPROTO_IPV6 70;
    /// IPV6_MINHOPCOUNT: 0 (off) to 255.
    MinHopCount(i32) = IPPROTO_IPV6 73;
    /// IPV6_TRANSPARENT: as IP_TRANSPARENT.
    Transparent6(bool) = IPPROTO_IPV6 75;
    /// IPV6_FREEBIND: as IP_FREEBIND.
    FreeBind6(bool) = IPPROTO_IPV6 78;

    /// TCP_NODELAY: switches Nagle's algorithm off (MUST-17).
    NoDelay(bool) = IPPROTO_TCP 1;
    /// TCP_MAXSEG, bytes: 88 to 32,767, 0 takes it back.
    MaxSeg(i32) = IPPROTO_TCP 2;
    /// TCP_CORK: part-filled segments wait.
    Cork(bool) = IPPROTO_TCP 3;
    /// TCP_KEEPIDLE: 1 to 32,767 s.
    KeepIdle(Duration) = IPPROTO_TCP 4;
    /// TCP_KEEPINTVL: 1 to 32,767 s.
    KeepIntvl(Duration) = IPPROTO_TCP 5;
    /// TCP_KEEPCNT: 1 to 127.
    KeepCnt(i32) = IPPROTO_TCP 6;
    /// TCP_SYNCNT: 1 to 127.
    SynCnt(i32) = IPPROTO_TCP 7;
    /// TCP_LINGER2, seconds: 0 is the stack's, negative is not at all, at most 120.
    Linger2(i32) = IPPROTO_TCP 8;
    /// TCP_DEFER_ACCEPT, seconds: what is read is rounded up to a whole number of SYN-ACKs.
    DeferAccept(i32) = IPPROTO_TCP 9;
    /// TCP_WINDOW_CLAMP, bytes.
    WindowClamp(i32) = IPPROTO_TCP 10;
    /// TCP_INFO. Read only.
    Info(Box<TcpInfo>) = IPPROTO_TCP 11;
    /// TCP_QUICKACK.
    QuickAck(bool) = IPPROTO_TCP 12;
    /// TCP_CONGESTION, by name: ENOENT if there is none of it.
    Congestion(String) = IPPROTO_TCP 13;
    /// TCP_MD5SIG: the key of a peer, or none with an empty one. Set only.
    Md5Sig(Md5Sig) = IPPROTO_TCP 14;
    /// TCP_THIN_LINEAR_TIMEOUTS: the first time-outs of a thin connection do not double the RTO.
    ThinLinearTimeouts(bool) = IPPROTO_TCP 16;
    /// TCP_THIN_DUPACK: kept, without effect (as on Linux).
    ThinDupack(bool) = IPPROTO_TCP 17;
    /// TCP_USER_TIMEOUT, whole milliseconds; zero is R2 of the stack (MUST-21).
    UserTimeout(Duration) = IPPROTO_TCP 18;
    /// TCP_FASTOPEN: how many pending requests a listener admits.
    FastOpen(i32) = IPPROTO_TCP 23;
    /// TCP_NOTSENT_LOWAT, bytes.
    NotSentLowat(u32) = IPPROTO_TCP 25;
    /// TCP_SAVE_SYN: 0 to 2.
    SaveSyn(i32) = IPPROTO_TCP 27;
    /// TCP_SAVED_SYN: the headers of the SYN that opened an accepted connection, once, if TCP_SAVE_SYN was on.
    /// Read only.
    SavedSyn(Box<[u8]>) = IPPROTO_TCP 28;
    /// TCP_FASTOPEN_CONNECT: `connect` waits for the first data. EOPNOTSUPP where `tcp_fastopen` has no client.
    FastOpenConnect(bool) = IPPROTO_TCP 30;
    /// TCP_MD5SIG_EXT: as TCP_MD5SIG, for a network of peers.
    Md5SigExt(Md5Sig) = IPPROTO_TCP 32;
    /// TCP_FASTOPEN_KEY: 16 bytes, or 32 with the former key.
    FastOpenKey(Box<[u8]>) = IPPROTO_TCP 33;
    /// TCP_FASTOPEN_NO_COOKIE: data on the SYN without a cookie.
    FastOpenNoCookie(bool) = IPPROTO_TCP 34;
    /// TCP_IS_MPTCP: false. Read only.
    IsMptcp(bool) = IPPROTO_TCP 43;
    /// TCP_RTO_MAX_MS: the greatest RTO, 1 to 120 s.
    RtoMax(Duration) = IPPROTO_TCP 44;
    /// TCP_RTO_MIN_US: the least RTO, 2 to 200 ms, rounded up to whole ones.
    RtoMin(Duration) = IPPROTO_TCP 45;
    /// TCP_DELACK_MAX_US: the longest an ACK waits, 2 to 200 ms, rounded up to whole ones.
    DelackMax(Duration) = IPPROTO_TCP 46;
    /// TCP_INQ: `recvmsg` tells how much is left.
    Inq(bool) = IPPROTO_TCP 36;
}

/// `struct tcp_md5sig`: whose segments are signed, and with what (RFC 2385).
#[derive(Clone, PartialEq)]
pub struct Md5Sig {
    /// A peer, or the address of a network.
    pub address: IpAddr,
    /// Bits of the network, if the option says so.
    pub prefix: Option<u8>,
    /// At most 80 bytes; none takes the key away.
    pub key: Box<[u8]>,
}

impl core::fmt::Debug for Md5Sig {
    /// Without the key, which is a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Md5Sig { address, prefix, .. } = self;
        f.debug_struct("Md5Sig").field("address", address).field("prefix", prefix).finish_non_exhaustive()
    }
}

/// Of a socket, what the rules of setting an option look at.
#[derive(Clone, Copy, Debug)]
struct Situation<'a> {
    config: &'a crate::Config,
    domain: Domain,
    state: State,
    bound: bool,
}
