//! More of the harness: short names, connections in each state, and what a test wants to ask.

use super::*;
use crate::tcp::icmp::IcmpKind;

pub const SYN: Flags = Flags::SYN;
pub const ACK: Flags = Flags::ACK;
pub const FIN: Flags = Flags::FIN;
pub const RST: Flags = Flags::RST;
pub const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);
pub const FIN_ACK: Flags = Flags::FIN.union(Flags::ACK);
pub const RST_ACK: Flags = Flags::RST.union(Flags::ACK);
pub const PSH_ACK: Flags = Flags::PSH.union(Flags::ACK);

/// The full text of a segment without options on a path of 1,500 bytes.
pub const MSS: u32 = 1_460;

/// The states that have a control block and synchronized sequence numbers (TIME-WAIT is the stack's).
pub const SYNCHRONIZED: [State; 6] =
    [State::Established, State::FinWait1, State::FinWait2, State::CloseWait, State::Closing, State::LastAck];

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The `rfc` profile without timestamps, SACK and scaling.
pub fn rfc() -> Config {
    Config { timestamps: false, sack: false, window_scaling: false, ..Config::new(Profile::Rfc) }
}

/// The `linux` profile with the one option that `set` turns on.
pub fn with(set: impl FnOnce(&mut Config)) -> Config {
    let mut config = plain();
    set(&mut config);
    config
}

/// Options of a socket, changed from the default.
pub fn socket(set: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    set(&mut options);
    options
}

/// The same addresses over IPv6.
pub fn tuple_v6() -> Tuple {
    let at = |s: &str| s.parse::<SocketAddr>().expect("a constant");
    Tuple { local: at("[2001:db8::1]:1000"), remote: at("[2001:db8::2]:2000") }
}

/// Flags, SEG.SEQ, SEG.ACK and length of text: what a script compares.
pub fn brief(out: &Outgoing) -> (Flags, u32, u32, usize) {
    (out.hdr.flags, out.hdr.seq.0, out.hdr.ack.0, out.data.len())
}

/// The bytes of a segment.
pub fn bytes_of(out: &Outgoing) -> Vec<u8> {
    let mut bytes = alloc::vec![0; out.data.len()];
    out.data.copy_to(0, &mut bytes);
    bytes
}

/// SACK blocks as pairs.
pub fn blocks(out: &Outgoing) -> Vec<(u32, u32)> {
    out.hdr.options.sack.as_slice().iter().map(|b| (b.left.0, b.right.0)).collect()
}

/// `n` bytes that differ from place to place.
pub fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// A half-open passive connection: ISS 1000, IRS 5000, window 65,535, no options but MSS 1460.
pub fn half_open(now: Instant) -> HalfOpen {
    HalfOpen {
        tuple: tuple(),
        irs: SeqNum(5_000),
        iss: SeqNum(1_000),
        window: 65_535,
        our_window: 64_240,
        peer_mss: 1_460,
        window_scale: None,
        sack: false,
        ecn: false,
        accurate: false,
        not_ect: false,
        ts_recent: None,
        ts_offset: 0,
        retransmits: 0,
        sent_at: now,
        tos: 0,
    }
}

impl Seg {
    pub fn urg(mut self, pointer: u16) -> Seg {
        self.0.hdr.flags |= Flags::URG;
        self.0.hdr.urgent = pointer;
        self
    }
    pub fn sack(mut self, blocks: &[(u32, u32)]) -> Seg {
        for &(left, right) in blocks {
            let block = crate::wire::tcp::SackBlock { left: SeqNum(left), right: SeqNum(right) };
            assert!(self.0.hdr.options.sack.push(block), "at most four");
        }
        self
    }
    /// A super-segment of text in segments of `size` bytes.
    pub fn gso(mut self, size: u16) -> Seg {
        self.0.gso_size = size;
        self
    }
}

impl Host {
    /// SYN-SENT between other addresses or over another path.
    pub fn open_on(config: Config, options: Options, tuple: Tuple, path: Path, iss: u32) -> Host {
        Host::with(config, options, |cx, options| {
            Connection::open_active(cx, tuple, SeqNum(iss), 0, options, path)
        })
    }

    /// ESTABLISHED over IPv6 and a path of `mtu` bytes, the peer's SYN-ACK with the options `set` says.
    pub fn established_on(
        config: Config,
        tuple: Tuple,
        mtu: u16,
        set: impl FnOnce(&mut SegmentOptions),
    ) -> Host {
        let path = Path { mtu, pmtu: mtu, gso_max: 0 };
        let mut host = Host::open_on(config, Options::default(), tuple, path, 1_000);
        host.recv().expect("SYN");
        host.advance(ms(10));
        host.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(set));
        host.recv().expect("ACK");
        host
    }

    /// SYN-RECEIVED, from a listener.
    pub fn passive(config: Config, options: Options, set: impl FnOnce(&mut HalfOpen)) -> Host {
        Host::with(config, options, |cx, options| {
            let mut half = half_open(cx.now);
            set(&mut half);
            Connection::open_passive(cx, &half, options, path())
        })
    }

    /// SYN-RECEIVED by a simultaneous open, its SYN-ACK sent.
    pub fn crossing(config: Config, options: Options) -> Host {
        let mut host = Host::connecting(config, options, 1_000);
        host.recv().expect("SYN");
        host.send(Seg::new(SYN, 5_000, 0).opt(|o| o.mss = Some(1_460)));
        assert_eq!(brief(&host.one()), (SYN_ACK, 1_000, 5_001, 0));
        assert_eq!(host.conn.state(), State::SynReceived);
        host
    }

    /// A connection in `state`, with nothing due and nothing unacknowledged but the SYN or FIN that the
    /// state stands for. SND.NXT is 1001, or 1002 after our FIN; RCV.NXT is 5001, or 5002 after the peer's.
    pub fn in_state(config: Config, state: State) -> Host {
        let mut h = match state {
            State::SynSent => {
                let mut h = Host::connecting(config, Options::default(), 1_000);
                h.recv().expect("SYN");
                return h;
            }
            State::SynReceived => return Host::crossing(config, Options::default()),
            _ => Host::established(config, Options::default()),
        };
        let peer_first = matches!(state, State::CloseWait | State::LastAck);
        if peer_first {
            h.send(Seg::new(FIN_ACK, 5_001, 1_001));
        }
        if !matches!(state, State::Established | State::CloseWait) {
            h.shutdown();
        }
        h.recv_all();
        match state {
            State::FinWait2 => h.send(Seg::new(ACK, 5_001, 1_002)),
            State::Closing => h.send(Seg::new(FIN_ACK, 5_001, 1_001)),
            _ => {}
        }
        h.recv_all();
        assert_eq!(h.conn.state(), state);
        h.ready = Ready::empty();
        h
    }

    /// A call of the connection that needs its surroundings.
    pub fn call<R>(&mut self, f: impl FnOnce(&mut Connection, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx {
            now: self.now,
            config: &self.config,
            rules: &RecoveryConfig::from(&self.config),
            stats: &mut self.stats,
            trace: &mut self.trace,
            rng: &mut self.rng,
            spare: &mut self.spare,
            id: SocketId::from_u64(1),
            pressure: false,
        };
        f(&mut self.conn, &mut cx)
    }

    /// Changes the socket's options.
    pub fn set(&mut self, set: impl FnOnce(&mut Options)) {
        let mut options = Options::clone(self.conn.options());
        set(&mut options);
        self.call(|c, cx| c.set_options(cx, Arc::new(options)));
    }

    /// An ICMP error that quotes `seq`.
    pub fn icmp(&mut self, kind: IcmpKind, seq: u32) -> Outcome {
        let error = IcmpError { kind, seq: SeqNum(seq) };
        self.call(|c, cx| c.on_icmp(cx, &error))
    }

    /// Exactly one segment leaves now.
    pub fn one(&mut self) -> Outgoing {
        let mut all = self.recv_all();
        assert_eq!(all.len(), 1, "exactly one segment: {:?}", all.iter().map(brief).collect::<Vec<_>>());
        all.remove(0)
    }

    /// Nothing leaves now.
    pub fn quiet(&mut self) {
        let all = self.recv_all();
        assert!(all.is_empty(), "nothing is due: {:?}", all.iter().map(brief).collect::<Vec<_>>());
    }

    /// The peer acknowledges up to `ack` with its usual window.
    pub fn ack(&mut self, ack: u32) {
        let seq = self.conn.rcv.nxt.0;
        self.send(Seg::new(ACK, seq, ack));
    }

    /// Everything sent within `limit`, with the time since now in milliseconds.
    pub fn timeline(&mut self, limit: Duration) -> Vec<(u64, Outgoing)> {
        let (start, end) = (self.now, self.now + limit);
        let mut all = Vec::new();
        while self.now < end {
            match self.wait(end.since(self.now)) {
                Some(out) => all.push((self.now.since(start).as_millis() as u64, out)),
                None => break,
            }
        }
        all
    }

    /// When something is sent within `limit`, in milliseconds from now.
    pub fn times(&mut self, limit: Duration) -> Vec<u64> {
        self.timeline(limit).iter().map(|(at, _)| *at).collect()
    }

    pub fn info(&self) -> TcpInfo {
        self.conn.info(self.now, &self.config)
    }

    /// Congestion window and threshold, bytes.
    pub fn cwnd(&self) -> (u32, u32) {
        (self.conn.cc.cwnd(), self.conn.cc.ssthresh())
    }

    /// Takes a write of `segments` full segments to the wire; all of it must leave.
    pub fn send_segments(&mut self, segments: usize) {
        assert_eq!(self.write(&pattern(segments * MSS as usize)), segments * MSS as usize);
        assert_eq!(self.recv_all().len(), segments);
    }

    /// The connection holds what must always hold.
    pub fn check_invariants(&self) {
        let (snd, rcv) = (&self.conn.snd, &self.conn.rcv);
        assert!(snd.una.le(snd.nxt), "SND.UNA {:?} <= SND.NXT {:?}", snd.una, snd.nxt);
        assert!(snd.nxt.le(snd.end() + 1), "nothing is sent that was not written");
        assert!(snd.buf.len() <= snd.capacity as usize + 1);
        assert!(rcv.last_ack_sent.le(rcv.nxt));
        assert!(rcv.buf.memory() <= 4 * rcv.capacity as usize + 65_536, "bounded");
        if let Some(flight) = &self.conn.flight {
            assert!(flight.is_consistent());
        }
    }
}

/// What an address unreachable says, as a soft error.
pub const UNREACHABLE: IcmpKind = IcmpKind::Soft(Errno::EHOSTUNREACH);
/// What a port unreachable says, as a hard error.
pub const REFUSED: IcmpKind = IcmpKind::Hard(Errno::ECONNREFUSED);
/// A packet too big for `mtu` bytes.
pub const fn too_big(mtu: u16) -> IcmpKind {
    IcmpKind::PacketTooBig { mtu }
}
