//! One connection.
//!
//! Segments, calls and deadlines go in as values; what follows is asked out: [`Connection::transmit`]
//! until it has nothing more, [`Connection::next_deadline`], [`Connection::readiness`]. The connection
//! knows no listener, no other connection and no packet.

pub mod accecn;
mod ack;
mod alone;
mod build;
mod check;
mod chrono;
pub mod congestion;
pub mod ecn;
pub mod fastopen;
pub mod handshake;
mod icmp;
pub mod info;
mod input;
mod mtu_probe;
pub(crate) mod open;
mod output;
mod pacing;
pub(crate) mod predict;
mod rcv;
pub mod records;
pub mod recovery;
pub mod rtt;
pub mod rxbuf;
pub mod segment;
pub mod seq;
mod snd;
pub mod state;
mod timeout;
pub mod timer;
mod tso;
pub mod txbuf;
mod urgent;
mod user;
pub mod user_timeout;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::sync::Arc;

pub use fastopen::{FastOpenPlan, FastOpenResult};
pub use handshake::HalfOpen;
pub use icmp::{IcmpError, IcmpKind};
pub use info::TcpInfo;
pub use segment::{Outgoing, Path, Segment, TimeWaitInfo, Tuple, Why};
pub use seq::SeqNum;
pub use state::State;

use crate::config::{Config, Options};
use crate::errno::Errno;
use crate::rng::Rng;
use crate::socket::{Ready, SocketId};
use crate::stats::Stats;
use crate::time::{Bounds, Duration, Instant};
use crate::trace::{Record, Trace, What};
use congestion::Congestion;
use rcv::Rcv;
pub use recovery::SpareFlights;
use recovery::{Flight, Persist, RecoveryConfig};
use rtt::RttEstimator;
use snd::Snd;
use state::Event;
use timer::Timers;
use urgent::Urgent;

/// What a connection sees of its stack during one call.
pub struct Cx<'a> {
    /// The time.
    pub now: Instant,
    /// The stack's settings.
    pub config: &'a Config,
    /// The rules of recovery that follow from them.
    pub rules: &'a RecoveryConfig,
    /// The stack's counters.
    pub stats: &'a mut Stats,
    /// The stack's recorder.
    pub trace: &'a mut Trace,
    /// The stack's random numbers.
    pub rng: &'a mut Rng,
    /// Flights that ended, for those that begin.
    pub spare: &'a mut SpareFlights,
    /// The connection's name in records.
    pub id: SocketId,
    /// Memory for buffers is short: nobody gets more than the least buffer.
    pub pressure: bool,
}

/// One TCP connection from SYN-SENT or SYN-RECEIVED on (RFC 9293's transmission control block).
#[derive(Debug)]
pub struct Connection {
    state: State,
    tuple: Tuple,
    snd: Snd,
    rcv: Rcv,
    timers: Timers,
    rtt: RttEstimator,
    cc: Congestion,
    persist: Persist,
    /// What is in flight; nothing while nothing is.
    flight: Option<Box<Flight>>,
    /// Received urgent data; nothing while there is none.
    urgent: Option<Box<Urgent>>,
    options: Arc<Options>,
    path: Path,
    agreed: Agreed,
    /// The MSS option of the peer, or the default.
    peer_mss: u16,
    /// Bytes of text in a full segment now: Eff.snd.MSS less the usual options (MUST-16).
    mss: u16,
    /// The largest text ever acknowledged in one segment: a size proven to get through (RFC 5927 7.2).
    proven_mss: u16,
    /// A smaller path MTU that was reported but contradicts `proven_mss`; 0 if none.
    doubted_pmtu: u16,
    /// Until when the pace would hold the flow if a full burst had left.
    paced_until: Instant,
    /// Sending is paced.
    paced: bool,
    /// The search for the path MTU by probes; nothing while there is none.
    search: Option<Box<mtu_probe::Search>>,
    /// Records, and what is told of single writes; nothing while nobody asks.
    records: Option<Box<records::Records>>,
    /// What is to be sent besides data.
    due: Due,
    /// Unanswered retransmissions, or handshake attempts, or probes in a row.
    retries: u8,
    /// The retransmission timer is the persist timer.
    persisting: bool,
    /// How often the time between zero-window probes was doubled; answers do not shorten it (SHLD-30).
    persist_backoff: u8,
    /// Unanswered keep-alive probes.
    keepalive_probes: u8,
    /// When the present series of retransmissions or probes began.
    trouble_since: Instant,
    /// What is added to the timestamp clock (RFC 7323 7.1).
    ts_offset: u32,
    /// How often its unwelcome segments were answered; nothing while there were none.
    challenge: Option<Box<Challenge>>,
    ecn: ecn::EcnState,
    /// What a SYN with Fast Open carries, until the handshake is over.
    early: Option<Box<fastopen::Early>>,
    facts: fastopen::Facts,
    /// The error that the next call reports.
    error: Option<Errno>,
    /// The last soft error (SHLD-25): reported if the connection later times out.
    soft_error: Option<Errno>,
    /// The user has closed; nobody will read.
    orphan: bool,
    /// It came from `listen` (MUST-11).
    passive: bool,
    /// IPv4 Identification of the next packet.
    pub(crate) ident: u16,
    /// Traffic class of the last segment received (MAY-9).
    rcv_tos: u8,
    counters: Counters,
    chrono: chrono::Chrono,
}

/// What the handshake agreed on.
#[derive(Clone, Copy, Debug, Default)]
struct Agreed {
    timestamps: bool,
    sack: bool,
    window_scaling: bool,
}

/// Segments that are due and carry no new data.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    /// Something may be to do: `transmit` is worth calling.
    output: bool,
    /// A SYN, or the SYN-ACK of a simultaneous open.
    syn: bool,
    /// Why the next pure ACK is sent, if not in the ordinary way.
    ack: Option<Why>,
    /// A zero-window probe or keep-alive probe.
    probe: Option<Why>,
    /// The user timeout option, with the next segment.
    user_timeout: bool,
    /// A tail loss probe.
    tlp: bool,
    /// The override timer ran out: send what is there (MUST-38 (4), cork).
    push: bool,
    /// The pace holds the flow until the send timer is due.
    paced: bool,
}

/// The limit of challenge ACKs: each connection has its own, so that it is nobody's side channel
/// (RFC 5961 7, erratum 4772, CVE-2016-5696).
#[derive(Clone, Copy, Debug, Default)]
struct Challenge {
    /// When the present second began.
    since: Instant,
    /// How many were sent in it.
    sent: u8,
    /// When an ACK was last sent for an empty segment outside of the window.
    oow_at: Instant,
}

/// Lifetime counters for TCP_INFO.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    bytes_acked: u64,
    bytes_received: u64,
    bytes_sent: u64,
    bytes_retrans: u64,
    segs_in: u32,
    segs_out: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    total_retrans: u32,
    dsack_dups: u32,
    rcv_ooopack: u32,
    /// From where SO_TIMESTAMPING counts bytes.
    stamp_base: SeqNum,
    last_data_sent: Instant,
    last_ack_recv: Instant,
}

/// What the stack must do after a call.
#[derive(Debug, Default)]
#[must_use]
pub struct Outcome {
    /// The connection is at its end.
    pub done: Option<Done>,
    /// Readiness that may have been raised anew (an edge), to be told to whoever is interested.
    pub ready: Ready,
    /// It became ESTABLISHED by this.
    pub established: bool,
    /// A segment to be sent at once, even if the connection is done: a RST.
    pub reply: Option<Box<Outgoing>>,
    /// The path MTU to the peer is now at most this (bytes): other connections should know.
    pub pmtu: Option<u16>,
    /// R1 was reached (MUST-20): IP should look for another way.
    pub negative_advice: bool,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// CLOSED: nothing is left.
    Closed,
    /// TIME-WAIT: replace it by an entry of that table.
    TimeWait(TimeWaitInfo),
}

impl Connection {
    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Between whom.
    pub fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// The options it follows.
    pub fn options(&self) -> &Arc<Options> {
        &self.options
    }

    /// When [`Connection::on_deadline`] is due; [`Instant::NEVER`] if no timer runs.
    pub fn next_deadline(&self) -> Instant {
        self.timers.next()
    }

    /// The timers, for views.
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Whether [`Connection::transmit`] may have something.
    pub fn wants_transmit(&self) -> bool {
        self.due.output
    }

    /// Whether it came from a listener (MUST-11).
    pub fn is_passive(&self) -> bool {
        self.passive
    }

    /// Whether the user has closed it.
    pub fn is_orphan(&self) -> bool {
        self.orphan
    }

    /// Whether the peer's FIN has arrived with all that was before it.
    pub fn fin_received(&self) -> bool {
        matches!(self.state, State::CloseWait | State::Closing | State::LastAck | State::TimeWait)
            || (self.state == State::Closed && self.rcv.fin.is_some_and(|fin| self.rcv.nxt.gt(fin)))
    }

    /// Whether the user has shut down the sending direction.
    pub fn fin_queued(&self) -> bool {
        self.snd.fin_queued
    }

    /// Whether the user has shut down the receiving direction.
    pub fn is_read_shut(&self) -> bool {
        self.rcv.shut
    }

    /// Traffic class of the last segment received (MAY-9).
    pub fn received_tos(&self) -> u8 {
        self.rcv_tos
    }

    /// Bytes in its buffers, as the stack accounts for them.
    #[inline(always)]
    pub fn buffered(&self) -> u32 {
        (self.snd.buf.len() + self.rcv.buf.len() + self.rcv.buf.ooo_memory()) as u32
    }

    /// Whether it holds data behind a window of zero.
    pub fn is_probing(&self) -> bool {
        self.persisting
    }

    /// Heap and buffered bytes held for this connection, not counting itself.
    pub fn memory(&self) -> usize {
        self.snd.buf.memory() + self.rcv.buf.memory() + self.rcv.space.memory()
    }

    /// Follows the transition table; an event without a place in this state changes nothing.
    fn step(&mut self, cx: &mut Cx<'_>, event: Event) {
        let Some(to) = self.state.next(event) else { return };
        let from = self.state;
        if to == from {
            return;
        }
        self.state = to;
        let counted = |s: State| matches!(s, State::Established | State::CloseWait);
        match (counted(from), counted(to)) {
            (false, true) => cx.stats.curr_estab += 1,
            (true, false) => cx.stats.curr_estab -= 1,
            _ => {}
        }
        if to == State::Closed && matches!(from, State::SynSent | State::SynReceived) {
            cx.stats.attempt_fails += 1;
        }
        if to == State::Closed && counted(from) {
            cx.stats.estab_resets += 1;
        }
        if cx.trace.on() {
            self.record(cx, What::State { from, to, why: event });
        }
    }

    fn record(&self, cx: &mut Cx<'_>, what: What) {
        cx.trace.push(Record { at: cx.now, socket: Some(cx.id), tuple: self.tuple, what });
    }

    /// Our timestamp clock: milliseconds and a secret offset (RFC 7323 5.4, 7.1).
    fn tsval(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.ts_offset)
    }

    /// What segments are signed with (RFC 2385).
    #[inline]
    pub(crate) fn md5_key(&self) -> Option<&Arc<[u8]>> {
        self.options.md5_key(self.tuple.remote.ip())
    }

    /// Length of the IP header without options, bytes.
    fn ip_header_len(&self) -> u16 {
        if self.tuple.local.is_ipv4() { 20 } else { 40 }
    }

    /// The pending error, which stays.
    pub fn error(&self) -> Option<Errno> {
        self.error
    }

    /// The pending error, which is cleared (SO_ERROR).
    pub fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    /// The last soft error (SHLD-25).
    pub fn soft_error(&self) -> Option<Errno> {
        self.soft_error
    }

    /// Ends the connection without a segment.
    fn fail(&mut self, cx: &mut Cx<'_>, error: Option<Errno>, event: Event) -> Outcome {
        self.error = self.error.or(error);
        self.step(cx, event);
        self.timers.clear();
        self.due = Due::default();
        self.release_records();
        cx.spare.put(self.flight.take());
        self.snd.buf.clear();
        self.rcv.discard_ooo();
        if cx.trace.on() {
            self.record(cx, What::Ended { error });
        }
        Outcome {
            done: Some(Done::Closed),
            ready: Ready::IN | Ready::OUT | Ready::ERR | Ready::HUP | Ready::RDHUP,
            ..Outcome::default()
        }
    }

    /// Enters TIME-WAIT by way of the table, or CLOSED from LAST-ACK.
    fn finish(&mut self, cx: &mut Cx<'_>) -> Outcome {
        let ready = Ready::IN | Ready::OUT | Ready::HUP | Ready::RDHUP;
        self.timers.clear();
        cx.spare.put(self.flight.take());
        let done = if self.state == State::TimeWait {
            Done::TimeWait(TimeWaitInfo {
                snd_nxt: self.snd.nxt,
                rcv_nxt: self.rcv.nxt,
                window: self.wire_window(),
                rcv_wscale: self.rcv.wscale,
                ts_recent: self.agreed.timestamps.then_some(self.rcv.ts_recent),
                ts_offset: self.ts_offset,
                tos: self.options.tos,
                lasts: None,
            })
        } else {
            Done::Closed
        };
        if cx.trace.on() {
            self.record(cx, What::Ended { error: None });
        }
        Outcome { done: Some(done), ready, ..Outcome::default() }
    }

    /// What the connection tells of itself (TCP_INFO).
    pub fn info(&self, now: Instant, config: &Config) -> TcpInfo {
        self.make_info(now, config)
    }

    /// Whether something sent is not acknowledged. (A flight may outlive that while a reduction may be undone.)
    fn in_flight(&self) -> bool {
        self.flight.as_ref().is_some_and(|f| !f.is_empty())
    }

    /// The peer's silence so far.
    fn idle_for(&self, now: Instant) -> Duration {
        now.since(self.rcv.ack.last_data.max(self.counters.last_ack_recv))
    }
}
