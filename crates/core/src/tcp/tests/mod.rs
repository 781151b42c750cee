//! One connection against a scripted peer, and two against each other: segments in, segments out, in
//! virtual time. Themes in files of their own.

mod accecn;
mod ack;
mod attacks;
mod basics;
mod close;
mod ecn;
mod handshake;
mod icmp;
mod keepalive;
mod kit;
mod matrix;
mod mtu_probe;
mod nagle;
mod options;
mod pair;
mod persist;
mod pmtu;
mod predict;
mod recovery;
mod reno;
mod reset;
mod retransmission;
mod sack;
mod sequence;
mod state;
mod timestamps;
mod urgent;
mod user_timeout;
mod window;
mod wrap;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use super::*;
use crate::config::{Options, Profile};
use crate::packet::Payload;
use crate::wire::tcp::{Flags, Header, Options as SegmentOptions, Timestamps};

/// Our address and the peer's.
const LOCAL: &str = "192.0.2.1:1000";
const REMOTE: &str = "192.0.2.2:2000";

/// A connection with a stack's worth of surroundings.
pub(super) struct Host {
    pub conn: Connection,
    pub config: Config,
    pub stats: Stats,
    pub trace: Trace,
    pub rng: Rng,
    pub spare: SpareFlights,
    pub now: Instant,
    /// The last outcome that was not empty.
    pub done: Option<Done>,
    pub ready: Ready,
    /// RSTs and last ACKs that are sent whatever becomes of the connection.
    pub replies: VecDeque<Outgoing>,
}

macro_rules! cx {
    ($h:expr) => {
        Cx {
            now: $h.now,
            config: &$h.config,
            rules: &RecoveryConfig::from(&$h.config),
            stats: &mut $h.stats,
            trace: &mut $h.trace,
            rng: &mut $h.rng,
            spare: &mut $h.spare,
            id: SocketId::from_u64(1),
            pressure: false,
        }
    };
}
use cx;

/// What a scripted peer sends: built up from a plain ACK.
#[derive(Clone)]
pub(super) struct Seg(pub Segment);

impl Seg {
    pub fn new(flags: Flags, seq: u32, ack: u32) -> Seg {
        Seg(Segment {
            hdr: Header {
                src_port: 2000,
                dst_port: 1000,
                seq: SeqNum(seq),
                ack: SeqNum(ack),
                flags,
                window: 65_535,
                urgent: 0,
                options: SegmentOptions::default(),
            },
            data: Payload::new(),
            gso_size: 0,
            tos: 0,
            ttl: 64,
        })
    }
    pub fn win(mut self, window: u16) -> Seg {
        self.0.hdr.window = window;
        self
    }
    pub fn data(mut self, data: &[u8]) -> Seg {
        self.0.data = Payload::from(Bytes::copy_from_slice(data));
        self
    }
    pub fn len(self, len: usize) -> Seg {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        self.data(&data)
    }
    pub fn ts(mut self, val: u32, ecr: u32) -> Seg {
        self.0.hdr.options.timestamps = Some(Timestamps { val, ecr });
        self
    }
    pub fn opt(mut self, set: impl FnOnce(&mut SegmentOptions)) -> Seg {
        set(&mut self.0.hdr.options);
        self
    }
}

impl Host {
    fn with(
        config: Config,
        options: Options,
        open: impl FnOnce(&mut Cx<'_>, Arc<Options>) -> Connection,
    ) -> Host {
        let (mut stats, mut trace, mut rng) = (Stats::default(), Trace::default(), Rng::new([7; 32]));
        let (now, mut spare) = (Instant::from_secs(100), SpareFlights::default());
        let mut cx = Cx {
            now,
            config: &config,
            rules: &RecoveryConfig::from(&config),
            stats: &mut stats,
            trace: &mut trace,
            rng: &mut rng,
            spare: &mut spare,
            id: SocketId::from_u64(1),
            pressure: false,
        };
        let conn = open(&mut cx, Arc::new(options));
        Host {
            conn,
            config,
            stats,
            trace,
            rng,
            spare,
            now,
            done: None,
            ready: Ready::empty(),
            replies: VecDeque::new(),
        }
    }

    /// SYN-SENT with ISS `iss`.
    pub fn connecting(config: Config, options: Options, iss: u32) -> Host {
        Host::with(config, options, |cx, options| {
            Connection::open_active(cx, tuple(), SeqNum(iss), 0, options, path())
        })
    }

    /// ESTABLISHED with ISS 1000 and IRS 5000, window 65,535, no options but MSS 1460.
    pub fn established(config: Config, options: Options) -> Host {
        Host::established_with(config, options, |_| {})
    }

    /// The same, with the options of the peer's SYN-ACK as `set` says.
    pub fn established_with(config: Config, options: Options, set: impl FnOnce(&mut SegmentOptions)) -> Host {
        let mut host = Host::connecting(config, options, 1_000);
        let syn = host.recv().expect("SYN");
        assert!(syn.hdr.flags == Flags::SYN);
        host.advance(Duration::from_millis(10));
        host.send(Seg::new(Flags::SYN | Flags::ACK, 5_000, 1_001).opt(|o| {
            o.mss = Some(1_460);
            set(o);
        }));
        let ack = host.recv().expect("ACK");
        assert_eq!((ack.hdr.seq, ack.hdr.ack), (SeqNum(1_001), SeqNum(5_001)));
        assert_eq!(host.conn.state(), State::Established);
        host
    }

    pub fn note(&mut self, outcome: Outcome) {
        self.done = self.done.or(outcome.done);
        self.ready |= outcome.ready;
        if let Some(reply) = outcome.reply {
            self.replies.push_back(*reply);
        }
    }

    /// A segment of the peer arrives.
    pub fn send(&mut self, seg: Seg) {
        let outcome = self.conn.on_segment(&mut cx!(self), seg.0);
        self.note(outcome);
    }

    /// What the connection sends next, in segments of the wire.
    pub fn recv(&mut self) -> Option<Outgoing> {
        self.replies.pop_front().or_else(|| self.conn.transmit(&mut cx!(self), 1))
    }

    /// All that it sends now.
    pub fn recv_all(&mut self) -> Vec<Outgoing> {
        core::iter::from_fn(|| self.recv()).collect()
    }

    /// Time passes; every timer fires at its own moment.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while self.conn.next_deadline() <= end {
            self.now = self.conn.next_deadline().max(self.now);
            let outcome = self.conn.on_deadline(&mut cx!(self));
            self.note(outcome);
            if self.conn.wants_transmit() || self.done.is_some() {
                return;
            }
        }
        self.now = end;
    }

    /// Lets time pass until something is sent or `limit` is over; returns what is sent.
    pub fn wait(&mut self, limit: Duration) -> Option<Outgoing> {
        let end = self.now + limit;
        loop {
            if let Some(out) = self.recv() {
                return Some(out);
            }
            if self.now >= end || self.done.is_some() {
                return None;
            }
            self.advance(end.since(self.now));
        }
    }

    pub fn write(&mut self, data: &[u8]) -> usize {
        self.conn.write(&mut cx!(self), data)
    }

    pub fn read(&mut self, max: usize) -> Vec<u8> {
        let mut out = alloc::vec![0; max];
        let n = self.conn.read(&mut cx!(self), &mut out);
        out.truncate(n);
        out
    }

    pub fn shutdown(&mut self) {
        let outcome = self.conn.shutdown_write(&mut cx!(self));
        self.note(outcome);
    }

    pub fn close(&mut self) {
        let outcome = self.conn.close(&mut cx!(self));
        self.note(outcome);
    }

    pub fn abort(&mut self) {
        let outcome = self.conn.abort(&mut cx!(self));
        self.note(outcome);
    }
}

pub(super) fn tuple() -> Tuple {
    let at = |s: &str| s.parse::<SocketAddr>().expect("a constant");
    Tuple { local: at(LOCAL), remote: at(REMOTE) }
}

pub(super) fn path() -> Path {
    Path { mtu: 1_500, pmtu: 1_500, gso_max: 0 }
}

/// The `linux` profile without timestamps and SACK: short segments to read.
pub(super) fn plain() -> Config {
    let mut config = Config::new(Profile::Linux);
    config.timestamps = false;
    config.sack = false;
    config.window_scaling = false;
    config
}
