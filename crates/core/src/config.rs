//! What can be set: profiles, and every knob under Linux's sysctl name where it has one.
//!
//! A [`Config`] belongs to a stack and may change while connections live, as sysctls do;
//! an [`Options`] belongs to a socket. Both start from a [`Profile`].

mod ecn;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

pub use ecn::Ecn;

use crate::md5::Md5Keys;
use crate::time::{Bounds, Duration};

/// Whose lawful behaviour the stack follows where systems differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Profile {
    /// Linux's, to the segment where it is lawful or long practice.
    #[default]
    Linux,
    /// FreeBSD's listener and timing policies.
    FreeBsd,
    /// The RFCs to the letter.
    Rfc,
}

impl Profile {
    /// The name as the command line spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Linux => "linux",
            Profile::FreeBsd => "freebsd",
            Profile::Rfc => "rfc",
        }
    }

    /// The profile of that name.
    pub fn from_name(name: &str) -> Option<Profile> {
        [Profile::Linux, Profile::FreeBsd, Profile::Rfc].into_iter().find(|p| p.name() == name)
    }
}

/// A congestion control algorithm, by the name that TCP_CONGESTION gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum CongestionKind {
    /// RFC 9438 with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// RFC 5681.
    Reno,
    /// BBR version 3 (draft-ietf-ccwg-bbr), paced.
    Bbr,
    /// DCTCP (RFC 8257), for paths that mark; asks for ECN.
    Dctcp,
}

impl CongestionKind {
    /// The name as TCP_CONGESTION spells it.
    pub const fn name(self) -> &'static str {
        match self {
            CongestionKind::Cubic => "cubic",
            CongestionKind::Reno => "reno",
            CongestionKind::Bbr => "bbr",
            CongestionKind::Dctcp => "dctcp",
        }
    }

    /// The algorithm of that name.
    pub fn from_name(name: &str) -> Option<CongestionKind> {
        use CongestionKind::{Bbr, Cubic, Dctcp, Reno};
        [Cubic, Reno, Bbr, Dctcp].into_iter().find(|k| k.name() == name)
    }

    /// Whether it is of little use without ECN, and so asks for it and accepts it whatever `tcp_ecn` says.
    pub const fn needs_ecn(self) -> bool {
        matches!(self, CongestionKind::Dctcp)
    }
}

/// When a half-open connection is answered by a SYN cookie (`tcp_syncookies`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SynCookies {
    /// Never (0).
    Off,
    /// When the SYN queue is full (1).
    #[default]
    WhenFull,
    /// Always (2).
    Always,
}

/// What a connection must have sent before `accept` hands it out (FreeBSD's accept filters).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AcceptFilter {
    /// Nothing.
    #[default]
    None,
    /// Data (`dataready`).
    Data,
    /// A whole HTTP request head, or what cannot become one (`httpready`).
    Http,
}

bitflags::bitflags! {
    /// Who uses Fast Open, as `tcp_fastopen` counts it.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub struct FastOpenBits: u32 {
        /// Connections that ask for it may send data on the SYN.
        const CLIENT = 1;
        /// Listeners that ask for it may accept data on the SYN.
        const SERVER = 2;
        /// Clients send data without a cookie.
        const CLIENT_NO_COOKIE = 4;
        /// Servers accept data without a cookie.
        const SERVER_NO_COOKIE = 0x200;
        /// Every listener accepts data on the SYN, with its backlog as the limit.
        const SERVER_EVERY_LISTENER = 0x400;
    }
}

/// The keys of Fast Open cookies (TCP_FASTOPEN_KEY, `tcp_fastopen_key`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FastOpenKeys {
    /// New cookies are made with this one.
    pub primary: [u8; 16],
    /// Cookies made with this one are still good.
    pub backup: Option<[u8; 16]>,
}

impl core::fmt::Debug for FastOpenKeys {
    /// Secrets are not shown.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FastOpenKeys")
    }
}

/// Path MTU discovery without ICMP (`tcp_mtu_probing`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MtuProbing {
    /// Never (0).
    Off,
    /// Once full segments seem to vanish (1).
    #[default]
    BlackHole,
    /// From the beginning (2).
    Always,
}

/// The settings of a stack. Durations and sizes say their units; the Linux name stands beside each.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Whose behaviour.
    pub profile: Profile,

    // Memory.
    /// Minimum, initial and maximum receive buffer, bytes (`tcp_rmem`).
    pub rmem: [u32; 3],
    /// Minimum, initial and maximum send buffer, bytes (`tcp_wmem`).
    pub wmem: [u32; 3],
    /// The largest buffer SO_SNDBUF may ask for, bytes, before doubling (`wmem_max`).
    pub wmem_max: u32,
    /// The largest buffer SO_RCVBUF may ask for, bytes, before doubling (`rmem_max`).
    pub rmem_max: u32,
    /// Buffer memory of all connections together, bytes (`tcp_mem`); above it new data is refused
    /// and zero-window holders are reset first.
    pub mem_limit: u64,
    /// How many sockets may exist, orphans included.
    pub max_sockets: u32,

    // Handshake and listeners.
    /// Retransmissions of a SYN (`tcp_syn_retries`).
    pub syn_retries: u8,
    /// Retransmissions of a SYN that come one initial RTO apart, before the doubling begins, on top of `syn_retries`
    /// (`tcp_syn_linear_timeouts`).
    pub syn_linear_timeouts: u8,
    /// Retransmissions of a SYN-ACK (`tcp_synack_retries`).
    pub synack_retries: u8,
    /// The least R2 for a SYN (MUST-23): an attempt lasts at least this long unless told otherwise.
    pub syn_min_timeout: Duration,
    /// The largest backlog (`somaxconn`; FreeBSD's `kern.ipc.soacceptqueue`).
    pub somaxconn: u32,
    /// Half-open connections a listener may hold (`tcp_max_syn_backlog`); FreeBSD: bucket limit.
    pub max_syn_backlog: u32,
    /// Half-open connections of the whole stack (FreeBSD's `net.inet.tcp.syncache.cachelimit`).
    pub syncache_limit: u32,
    /// SYN cookies (`tcp_syncookies`).
    pub syncookies: SynCookies,
    /// RST instead of holding the last ACK at a full accept queue (`tcp_abort_on_overflow`;
    /// FreeBSD's `rst_on_sock_fail`).
    pub abort_on_overflow: bool,
    /// How long a parked SYN waits for what its owner says ([`crate::stack::Stack::park`]).
    pub park_timeout: Duration,

    // Options of segments.
    /// Offer window scaling (`tcp_window_scaling`).
    pub window_scaling: bool,
    /// Offer timestamps (`tcp_timestamps`).
    pub timestamps: bool,
    /// Offer SACK (`tcp_sack`).
    pub sack: bool,
    /// Report duplicates (`tcp_dsack`).
    pub dsack: bool,
    /// The least MSS that a peer or a path can bring us to, bytes (CVE-2019-11479; `tcp_min_snd_mss`).
    pub min_snd_mss: u16,
    /// Tolerate segments without timestamps once they were agreed (requirements note 13).
    pub tolerate_missing_timestamps: bool,
    /// ECN (`tcp_ecn`).
    pub ecn: Ecn,
    /// When accurate ECN's option is sent (`tcp_ecn_option`): 0 never, 1 where it must be, 2 wherever it fits, 3 also where
    /// it seems to be lost on the way.
    pub ecn_option: u8,
    /// At 1, the least number of options a round trip (`tcp_ecn_option_beacon`); 0 is none.
    pub ecn_option_beacon: u8,
    /// Fast Open (`tcp_fastopen`).
    pub fastopen: FastOpenBits,
    /// The keys of Fast Open cookies (`tcp_fastopen_key`); `None`: the stack draws its own.
    pub fastopen_key: Option<FastOpenKeys>,

    // Sending.
    /// The algorithm of new sockets (`tcp_congestion_control`).
    pub congestion: CongestionKind,
    /// Initial window in segments (RFC 6928); 0 is RFC 5681's.
    pub initial_cwnd: u8,
    /// Pace every flow, not only those whose algorithm or SO_MAX_PACING_RATE asks for it (as Linux with `fq`).
    pub pacing: bool,
    /// The pacing rate in slow start, percent of a window a round trip (`tcp_pacing_ss_ratio`).
    pub pacing_ss_ratio: u16,
    /// The pacing rate in congestion avoidance (`tcp_pacing_ca_ratio`).
    pub pacing_ca_ratio: u16,
    /// The receive buffer grows with what is read in a round trip, up to `rmem[2]`, unless SO_RCVBUF was set
    /// (`tcp_moderate_rcvbuf`).
    pub moderate_rcvbuf: bool,
    /// Shrink cwnd after idle (`tcp_slow_start_after_idle`).
    pub slow_start_after_idle: bool,
    /// The least RTO (`tcp_rto_min_us`).
    pub rto_min: Duration,
    /// The RTO before any sample.
    pub rto_initial: Duration,
    /// The greatest RTO (`tcp_rto_max_ms`).
    pub rto_max: Duration,
    /// Retransmissions after which IP is told (R1; `tcp_retries1`).
    pub retries1: u8,
    /// Retransmissions that bound R2 (`tcp_retries2`).
    pub retries2: u8,
    /// Retransmissions of an orphan (`tcp_orphan_retries`; 0 means 8).
    pub orphan_retries: u8,
    /// SACK-based recovery with RACK (`tcp_recovery` bit 0).
    pub rack: bool,
    /// Duplicate ACKs that mean a loss, before the path shows that it reorders more, segments (`tcp_reordering`).
    pub reordering: u16,
    /// The most that adapts to (`tcp_max_reordering`), segments.
    pub max_reordering: u16,
    /// Time-outs of a connection with fewer than four segments in flight do not double the RTO, six times
    /// (`tcp_thin_linear_timeouts`).
    pub thin_linear_timeouts: bool,
    /// Tail loss probes (`tcp_early_retrans` = 3).
    pub tlp: bool,
    /// F-RTO (`tcp_frto`).
    pub frto: bool,
    /// PSH on the last segment of each burst as Linux does (else only where the queue empties).
    pub push_each_burst: bool,
    /// Size super-segments by rate and round trip, and let short ones wait for the next ACK, as Linux does.
    pub tso_autosizing: bool,
    /// Segments that a super-segment may always have, whatever the rate (`tcp_min_tso_segs`).
    pub min_tso_segs: u8,
    /// TCP_NOTSENT_LOWAT of new sockets, bytes (`tcp_notsent_lowat`).
    pub notsent_lowat: u32,

    // Receiving.
    /// The longest a delayed ACK waits, below 0.5 s (MUST-40).
    pub delack_max: Duration,
    /// The shortest a delayed ACK waits.
    pub delack_min: Duration,
    /// Segments acknowledged at once at the start and after idle (Linux's quick ACK mode).
    pub quick_acks: u8,

    // Keep-alive and ends.
    /// Idle time before the first probe (`tcp_keepalive_time`).
    pub keepalive_time: Duration,
    /// Time between probes (`tcp_keepalive_intvl`).
    pub keepalive_interval: Duration,
    /// Unanswered probes that end the connection (`tcp_keepalive_probes`).
    pub keepalive_probes: u8,
    /// Keep-alive probes carry one garbage octet (MAY-6).
    pub keepalive_garbage: bool,
    /// Orphans leave FIN-WAIT-2 after this (`tcp_fin_timeout`).
    pub fin_timeout: Duration,
    /// How long TIME-WAIT lasts (2 MSL).
    pub time_wait: Duration,
    /// TIME-WAIT entries kept (`tcp_max_tw_buckets`).
    pub max_tw_buckets: u32,
    /// Ignore RSTs in TIME-WAIT (`tcp_rfc1337`).
    pub rfc1337: bool,
    /// An active open may take a TIME-WAIT tuple with timestamps (`tcp_tw_reuse`).
    pub tw_reuse: bool,
    /// Connections without a socket (`tcp_max_orphans`).
    pub max_orphans: u32,

    // Robustness.
    /// Least time between challenge ACKs of one connection (`tcp_invalid_ratelimit`).
    pub invalid_ratelimit: Duration,
    /// RSTs and ICMP errors a second, per interface side, for segments that belong to nobody.
    pub icmp_ratelimit: u32,
    /// ACKs for data never sent again older than the largest window (RFC 5961 5) are refused.
    pub rfc5961_ack_check: bool,
    /// Obey packet-too-big messages (`ip_no_pmtu_disc` = 0).
    pub pmtu_discovery: bool,
    /// The least path MTU believed for IPv4, bytes (`min_pmtu`).
    pub min_pmtu: u16,
    /// How long a lowered path MTU is believed (`mtu_expires`).
    pub mtu_expires: Duration,
    /// Probing for the path MTU (`tcp_mtu_probing`; Linux's default is 0).
    pub mtu_probing: MtuProbing,
    /// The MSS that probing starts from, bytes (`tcp_base_mss`).
    pub base_mss: u16,
    /// The least MSS that time-outs bring probing to, bytes (`tcp_mtu_probe_floor`).
    pub mtu_probe_floor: u16,
    /// Probing stops when the range is narrower than this, bytes (`tcp_probe_threshold`).
    pub probe_threshold: u16,
    /// Probing starts again after this (`tcp_probe_interval`).
    pub probe_interval: Duration,
    /// Understand IPv4 source routes (`accept_source_route`).
    pub accept_source_route: bool,

    // Ports.
    /// Ephemeral ports (`ip_local_port_range`).
    pub local_port_range: RangeInclusive<u16>,
    /// Ports that port 0 never gives (`ip_local_reserved_ports`).
    pub local_reserved_ports: Vec<u16>,
    /// Ports below this need the privilege (`ip_unprivileged_port_start`).
    pub unprivileged_port_start: u16,
    /// Whether the user of this stack has that privilege.
    pub privileged: bool,

    // IP.
    /// TTL and hop limit of new sockets (`ip_default_ttl`).
    pub default_ttl: u8,
    /// A name shown by views.
    pub name: String,
}

impl Config {
    /// The settings of a profile.
    pub fn new(profile: Profile) -> Self {
        let mut config = Config::linux();
        config.profile = profile;
        match profile {
            Profile::Linux => {}
            Profile::FreeBsd => config.make_freebsd(),
            Profile::Rfc => config.make_rfc(),
        }
        config
    }

    #[allow(clippy::too_many_lines)] // a line for each setting, and nothing else
    fn linux() -> Self {
        Config {
            profile: Profile::Linux,
            rmem: [4_096, 131_072, 33_554_432],
            // Linux stops at 4 MB; twice 1 Gbit/s times 100 ms needs more.
            wmem: [4_096, 16_384, 33_554_432],
            wmem_max: 4_194_304,
            rmem_max: 6_291_456,
            mem_limit: 4 << 30,
            max_sockets: 4 << 20,
            syn_retries: 6,
            syn_linear_timeouts: 4,
            synack_retries: 5,
            syn_min_timeout: Duration::ZERO,
            somaxconn: 4_096,
            max_syn_backlog: 1_024,
            syncache_limit: 65_536,
            syncookies: SynCookies::WhenFull,
            abort_on_overflow: false,
            park_timeout: Duration::from_secs(130), // a little more than Linux's `connect` takes
            window_scaling: true,
            timestamps: true,
            sack: true,
            dsack: true,
            min_snd_mss: 48,
            tolerate_missing_timestamps: true,
            ecn: Ecn::Accept,
            ecn_option: 2,
            ecn_option_beacon: 3,
            fastopen: FastOpenBits::CLIENT,
            fastopen_key: None,
            congestion: CongestionKind::Cubic,
            initial_cwnd: 10,
            pacing: false,
            pacing_ss_ratio: 200,
            pacing_ca_ratio: 120,
            moderate_rcvbuf: true,
            slow_start_after_idle: true,
            rto_min: Duration::from_millis(200),
            rto_initial: Duration::from_secs(1),
            rto_max: Duration::from_secs(120),
            retries1: 3,
            retries2: 15,
            orphan_retries: 0,
            rack: true,
            reordering: 3,
            max_reordering: 300,
            thin_linear_timeouts: false,
            tlp: true,
            frto: true,
            push_each_burst: true,
            tso_autosizing: true,
            min_tso_segs: 2,
            notsent_lowat: u32::MAX,
            delack_max: Duration::from_millis(200),
            delack_min: Duration::from_millis(40),
            quick_acks: 16,
            keepalive_time: Duration::from_secs(7_200),
            keepalive_interval: Duration::from_secs(75),
            keepalive_probes: 9,
            keepalive_garbage: false,
            fin_timeout: Duration::from_secs(60),
            time_wait: Duration::from_secs(60),
            max_tw_buckets: 1 << 18,
            rfc1337: false,
            tw_reuse: true,
            max_orphans: 1 << 16,
            invalid_ratelimit: Duration::from_millis(500),
            icmp_ratelimit: 1_000,
            rfc5961_ack_check: true,
            pmtu_discovery: true,
            min_pmtu: 552,
            mtu_expires: Duration::from_secs(600),
            mtu_probing: MtuProbing::BlackHole,
            base_mss: 1_024,
            mtu_probe_floor: 48,
            probe_threshold: 8,
            probe_interval: Duration::from_secs(600),
            accept_source_route: false,
            local_port_range: 32_768..=60_999,
            local_reserved_ports: Vec::new(),
            unprivileged_port_start: 1_024,
            privileged: true,
            default_ttl: 64,
            name: String::new(),
        }
    }

    fn make_freebsd(&mut self) {
        self.syn_linear_timeouts = 0;
        self.somaxconn = 128;
        self.rto_min = Duration::from_millis(230);
        self.delack_min = Duration::from_millis(40);
        self.delack_max = Duration::from_millis(40);
        self.quick_acks = 0;
        self.synack_retries = 3;
        self.abort_on_overflow = true; // net.inet.tcp.syncache.rst_on_sock_fail
        self.push_each_burst = false;
        self.tso_autosizing = false;
        self.local_port_range = 10_000..=65_535;
        self.tolerate_missing_timestamps = false;
        self.min_snd_mss = 216;
        self.time_wait = Duration::from_secs(60);
    }

    fn make_rfc(&mut self) {
        self.syn_linear_timeouts = 0;
        self.syn_retries = 8;
        self.syn_min_timeout = Duration::from_secs(180); // MUST-23
        self.min_snd_mss = 536; // CVE-2019-11479, requirements note 10
        self.tolerate_missing_timestamps = false; // requirements note 13
        self.rto_min = Duration::from_millis(200); // requirements note 4
        self.rfc1337 = true;
        self.time_wait = Duration::from_secs(240); // 2 MSL with the MSL of RFC 9293 3.4.2
        self.quick_acks = 0;
        self.delack_min = Duration::from_millis(200);
        self.push_each_burst = false;
        self.tso_autosizing = false;
        self.local_port_range = 49_152..=65_535; // RFC 6335 6
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::new(Profile::default())
    }
}

bitflags::bitflags! {
    /// Options that no connection reads: without effect on TCP, or of effect on `bind` alone.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub struct Kept: u16 {
        /// SO_DEBUG.
        const DEBUG = 1;
        /// SO_DONTROUTE.
        const DONTROUTE = 2;
        /// SO_BROADCAST.
        const BROADCAST = 4;
        /// IPV6_AUTOFLOWLABEL.
        const AUTOFLOWLABEL = 8;
        /// TCP_THIN_LINEAR_TIMEOUTS (`thin_linear_timeouts`).
        const THIN_LINEAR_TIMEOUTS = 16;
        /// TCP_THIN_DUPACK.
        const THIN_DUPACK = 32;
        /// IP_BIND_ADDRESS_NO_PORT: `bind` to port 0 leaves the choice of the port to `connect`.
        const BIND_ADDRESS_NO_PORT = 64;
        /// IP_TRANSPARENT: as `freebind`, and privileged.
        const TRANSPARENT = 128;
        /// IP_RECVTOS.
        const RECVTOS = 256;
        /// IPV6_RECVTCLASS.
        const RECVTCLASS = 512;
    }
}

/// The options of a socket that a connection reads; shared by all sockets that have not changed any.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// SO_SNDBUF, bytes of data; `None`: grows by itself within `wmem`.
    pub sndbuf: Option<u32>,
    /// SO_RCVBUF, bytes of data; `None`: grows by itself within `rmem`.
    pub rcvbuf: Option<u32>,
    /// SO_RCVLOWAT, bytes.
    pub rcvlowat: u32,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// TCP_KEEPIDLE.
    pub keepidle: Option<Duration>,
    /// TCP_KEEPINTVL.
    pub keepintvl: Option<Duration>,
    /// TCP_KEEPCNT.
    pub keepcnt: Option<u8>,
    /// SO_LINGER: `Some` is on, with its time.
    pub linger: Option<Duration>,
    /// SO_OOBINLINE.
    pub oobinline: bool,
    /// SO_REUSEADDR.
    pub reuseaddr: bool,
    /// SO_REUSEPORT.
    pub reuseport: bool,
    /// SO_PRIORITY: kept, without effect.
    pub priority: u32,
    /// SO_MARK.
    pub mark: u32,
    /// SO_RCVTIMEO; `None` waits for ever.
    pub rcvtimeo: Option<Duration>,
    /// SO_SNDTIMEO; `None` waits for ever.
    pub sndtimeo: Option<Duration>,
    /// SO_BINDTODEVICE / IP_UNICAST_IF, by interface index + 1; 0 is none.
    pub bind_to_device: u32,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// TCP_CORK.
    pub cork: bool,
    /// TCP_MAXSEG as the user set it, bytes; 0 is not set.
    pub maxseg: u16,
    /// TCP_QUICKACK.
    pub quickack: Option<bool>,
    /// TCP_USER_TIMEOUT; `None` is R2 by `retries2`.
    pub user_timeout: Option<Duration>,
    /// TCP_SYNCNT.
    pub syncnt: Option<u8>,
    /// TCP_LINGER2: `Some(None)` is "not at all" (a negative value).
    pub linger2: Option<Option<Duration>>,
    /// TCP_DEFER_ACCEPT, seconds; 0 is off.
    pub defer_accept: u32,
    /// SO_ACCEPTFILTER.
    pub accept_filter: AcceptFilter,
    /// TCP_WINDOW_CLAMP, bytes; 0 is none.
    pub window_clamp: u32,
    /// TCP_NOTSENT_LOWAT, bytes.
    pub notsent_lowat: u32,
    /// TCP_CONGESTION; `None` is the stack's.
    pub congestion: Option<CongestionKind>,
    /// TCP_SAVE_SYN.
    pub save_syn: bool,
    /// SO_MAX_PACING_RATE, bytes a second; `u64::MAX` is no limit.
    pub max_pacing_rate: u64,
    /// TCP_INQ.
    pub inq: bool,
    /// TCP_FASTOPEN: pending requests a listener admits; 0 is off.
    pub fastopen_qlen: u32,
    /// TCP_FASTOPEN_CONNECT: `connect` waits for the first data where it has a cookie.
    pub fastopen_connect: bool,
    /// TCP_FASTOPEN_NO_COOKIE: data on the SYN without a cookie.
    pub fastopen_no_cookie: bool,
    /// TCP_FASTOPEN_KEY of a listener; `None` is the stack's.
    pub fastopen_key: Option<alloc::boxed::Box<FastOpenKeys>>,
    /// Understand and use the user timeout option (RFC 5482).
    pub user_timeout_option: bool,
    /// IP_TOS / IPV6_TCLASS: DSCP in the upper six bits; the two ECN bits are not taken.
    pub tos: u8,
    /// IP_TTL / IPV6_UNICAST_HOPS; `None` is the stack's.
    pub ttl: Option<u8>,
    /// IP_MINTTL / IPV6_MINHOPCOUNT: segments with less are dropped; 0 is off.
    pub min_ttl: u8,
    /// IP_MTU_DISCOVER: set DF and obey packet-too-big.
    pub pmtu_discovery: Option<bool>,
    /// IP_RECVERR / IPV6_RECVERR: soft errors are reported at once (SHLD-20).
    pub recverr: bool,
    /// IPV6_V6ONLY.
    pub v6only: bool,
    /// IP_OPTIONS: options bytes put into each IPv4 header (a source route; MUST-51).
    pub ip_options: Option<alloc::boxed::Box<[u8]>>,
    /// IP_FREEBIND: bind to an address that is not ours.
    pub freebind: bool,
    /// Sends with MSG_ZEROCOPY are reported when their data is acknowledged (SO_ZEROCOPY).
    pub zerocopy: bool,
    /// SOF_TIMESTAMPING_* bits (SO_TIMESTAMPING).
    pub timestamping: u32,
    /// TCP_RTO_MAX_MS, TCP_RTO_MIN_US, TCP_DELACK_MAX_US.
    pub bounds: Bounds,
    /// Keys by peers (TCP_MD5SIG).
    pub md5: Option<Arc<Md5Keys>>,
    /// Flags kept for programs that read back what they set, and for `bind`.
    pub kept: Kept,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sndbuf: None,
            rcvbuf: None,
            rcvlowat: 1,
            keepalive: false,
            keepidle: None,
            keepintvl: None,
            keepcnt: None,
            linger: None,
            oobinline: false,
            reuseaddr: false,
            reuseport: false,
            priority: 0,
            mark: 0,
            rcvtimeo: None,
            sndtimeo: None,
            bind_to_device: 0,
            nodelay: false,
            cork: false,
            maxseg: 0,
            quickack: None,
            user_timeout: None,
            syncnt: None,
            linger2: None,
            defer_accept: 0,
            accept_filter: AcceptFilter::None,
            window_clamp: 0,
            notsent_lowat: u32::MAX,
            congestion: None,
            save_syn: false,
            max_pacing_rate: u64::MAX,
            inq: false,
            fastopen_qlen: 0,
            fastopen_connect: false,
            fastopen_no_cookie: false,
            fastopen_key: None,
            user_timeout_option: false,
            tos: 0,
            ttl: None,
            min_ttl: 0,
            pmtu_discovery: None,
            recverr: false,
            v6only: false,
            ip_options: None,
            freebind: false,
            zerocopy: false,
            timestamping: 0,
            bounds: Bounds::default(),
            md5: None,
            kept: Kept::empty(),
        }
    }
}
