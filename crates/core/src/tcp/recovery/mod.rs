//! Loss recovery: what is in flight, what of it is lost, what may be sent.
//!
//! [`Flight`] exists while something is in flight; [`Persist`] is the little that outlives it. Neither
//! knows of packets: sequence numbers (SYN and FIN take one each), lengths and times go in, and the
//! connection asks what to send again ([`Flight::next_retransmit`]) and how much new
//! ([`Flight::can_send_new`]).
//!
//! SACK scoreboard (RFC 2018, 6675), D-SACK (2883), RACK-TLP (8985), PRR (9937), NewReno (6582) without
//! SACK, limited transmit (3042), F-RTO (5682), undo by timestamps (Eifel, 3522) and by D-SACK, put together
//! as Linux does.

mod ack;
mod board;
mod cwnd;
mod persist;
mod quiet;
mod rack;
mod sack;
mod state;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::branch::unlikely;
use crate::config::{Config, Profile};
use crate::tcp::congestion::{Congestion, Losses, RateSample};
use crate::tcp::rtt::{RtoPolicy, RttEstimator};
use crate::tcp::{SeqNum, Why};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{SackBlock, SackList};
use board::{APP_LIMITED, BORDER, BY_DUPACK, BY_MTU, Board, LOST, PUSHED, RECORD, Run, SACKED};
pub use persist::Persist;
use persist::{DSACK_ROUND, HAS_RECOVER, RATE_APP_LIMITED, TLP_OUT, TLP_RETRANS};
pub use quiet::QuietAck;

/// Linux's congestion states; the numbers are those of TCP_INFO.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
#[repr(u8)]
pub enum CaState {
    /// Nothing is amiss.
    #[default]
    Open = 0,
    /// Duplicate ACKs or SACKs, nothing found lost yet.
    Disorder = 1,
    /// The window is being reduced without loss: ECN, or a loss that the tail loss probe repaired.
    Cwr = 2,
    /// Fast recovery.
    Recovery = 3,
    /// The retransmission timer ran out.
    Loss = 4,
}

impl CaState {
    /// The name, as views show it.
    pub const fn name(self) -> &'static str {
        match self {
            CaState::Open => "open",
            CaState::Disorder => "disorder",
            CaState::Cwr => "cwr",
            CaState::Recovery => "recovery",
            CaState::Loss => "loss",
        }
    }
}

/// What proved a reduction needless.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum UndoKind {
    /// The echoed timestamp is older than the first retransmission (Eifel, RFC 3522).
    Timestamp,
    /// Each retransmission was reported as a duplicate (D-SACK, RFC 3708).
    Dsack,
    /// The timeout was spurious by F-RTO (RFC 5682).
    Frto,
}

impl UndoKind {
    /// The name, as views show it.
    pub const fn name(self) -> &'static str {
        match self {
            UndoKind::Timestamp => "timestamp",
            UndoKind::Dsack => "D-SACK",
            UndoKind::Frto => "F-RTO",
        }
    }
}

/// TCP_TIMEOUT_MIN_US: so much longer than computed Linux waits for reordering and before a probe.
const TIMEOUT_MIN: Duration = Duration::from_millis(2);

/// The rules to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecoveryConfig {
    /// RACK finds losses (RFC 8985); else the rule of RFC 6675.
    pub rack: bool,
    /// Tail loss probes.
    pub tlp: bool,
    /// F-RTO.
    pub frto: bool,
    /// DupThresh (RFC 5681 3.2, `tcp_reordering`), segments.
    pub dup_thresh: u16,
    /// The most that DupThresh adapts to (`tcp_max_reordering`), segments.
    pub max_reordering: u16,
    /// A reduction starts from FlightSize (RFC 5681 (4)); else from cwnd, as on Linux.
    pub reduce_from_flight: bool,
    /// A retransmission lost in its turn reduces again (RFC 5681 4.3); Linux does not.
    pub reduce_again: bool,
    /// L of RFC 9406 in the initial slow start, segments; 0 is no limit (Linux).
    pub abc_limit: u8,
    /// L of RFC 3465 2.3 after a timeout, segments; 0 is no limit (Linux).
    pub abc_limit_after_rto: u8,
    /// Congestion window validation by pipeACK (RFC 7661).
    pub validate: bool,
    /// One rescue retransmission of the tail a recovery (RFC 6675 4 (4)); Linux has none.
    pub rescue: bool,
    /// Added to the probe timeout (Linux: two ticks).
    pub tlp_slack: Duration,
    /// The delayed ACK that a probe timeout allows for with one segment in flight (RFC 8985 7.2).
    pub max_ack_delay: Duration,
    /// The RTO's rules.
    pub rto: RtoPolicy,
}

impl From<&Config> for RecoveryConfig {
    #[inline(always)] // most callers need little of it
    fn from(config: &Config) -> Self {
        let linux = config.profile == Profile::Linux;
        RecoveryConfig {
            rack: config.rack,
            tlp: config.tlp,
            frto: config.frto,
            dup_thresh: config.reordering,
            max_reordering: config.max_reordering,
            reduce_from_flight: !linux,
            reduce_again: !linux,
            abc_limit: if linux { 0 } else { 8 },
            abc_limit_after_rto: if linux { 0 } else { 1 },
            validate: config.profile == Profile::Rfc,
            rescue: config.profile == Profile::Rfc,
            tlp_slack: if linux { TIMEOUT_MIN } else { Duration::ZERO },
            max_ack_delay: if linux { config.rto_min } else { Duration::from_millis(200) },
            rto: RtoPolicy::from(config),
        }
    }
}

impl RecoveryConfig {
    /// With the bounds that the connection's user has set. On Linux a tail loss probe waits for the least RTO longer.
    pub fn bound(&mut self, rto: RtoPolicy, profile: Profile) {
        if profile == Profile::Linux {
            self.max_ack_delay = rto.min;
        }
        self.rto = rto;
    }
}

/// One ACK, judged acceptable by RFC 9293 3.10.7.4 and RFC 5961 5.
#[derive(Clone, Debug)]
pub struct AckEvent<'a> {
    /// SEG.ACK.
    pub ack: SeqNum,
    /// SND.UNA before it.
    pub snd_una: SeqNum,
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// Its SACK blocks in the order of the wire.
    pub sack: &'a [SackBlock],
    /// SACK was agreed.
    pub sack_enabled: bool,
    /// Now less the time of the echoed TSval by our timestamp clock (milliseconds), if timestamps were
    /// agreed and TSecr is not zero.
    pub ts_echo: Option<Duration>,
    /// It carries no data, no SYN or FIN, repeats the window, and data is outstanding (RFC 5681 2); that
    /// SEG.ACK equals SND.UNA is seen here.
    pub duplicate: bool,
    /// How many ACKs of the wire it stands for (GRO), at least 1.
    pub segs: u16,
    /// It has ECE set, and ECN was agreed.
    pub ece: bool,
    /// Bytes that it says were marked, as far as that can be known; more than it delivers means all of them.
    pub marked: u32,
    /// Unsent data waits and the peer's window has room for it.
    pub new_data_ready: bool,
}

/// What an ACK, or a timer, changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct AckOutcome {
    /// Sequence numbers newly acknowledged cumulatively.
    pub acked: u32,
    /// Sequence numbers newly SACKed.
    pub newly_sacked: u32,
    /// Sequence numbers newly found lost.
    pub newly_lost: u32,
    /// The round trip that went into SRTT.
    pub rtt_sample: Option<Duration>,
    /// The congestion state left and entered.
    pub state_change: Option<(CaState, CaState)>,
    /// A reduction was undone.
    pub undone: Option<UndoKind>,
    /// Nothing is in flight any more.
    pub all_acked: bool,
    /// It reported a duplicate.
    pub dsack: bool,
    /// The receiver dropped what it had SACKed: [`Flight::rto_deadline`] comes sooner.
    pub reneging: bool,
    /// The tail loss probe proved to have repaired a loss (LINUX_MIB_TCPLOSSPROBERECOVERY).
    pub tlp_recovery: bool,
    /// A retransmission was lost in its turn.
    pub lost_retransmission: bool,
    /// A probe of the path MTU was lost, and nothing else: no reaction to congestion was taken (RFC 4821 4).
    pub mtu_probe_lost: bool,
    /// SND.UNA moved or something was delivered: retries start from zero, timers are set anew.
    pub progress: bool,
}

/// What to send again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retransmit {
    /// From here.
    pub seq: SeqNum,
    /// So many sequence numbers (a FIN counts).
    pub len: u32,
    /// Why.
    pub why: Why,
    /// It ended with PSH when it was sent first.
    pub pushed: bool,
}

/// What the tail loss probe shall be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// One segment of new data.
    NewData,
    /// The last segment again.
    Retransmit(Retransmit),
}

/// PRR's variables, bytes (RFC 9937 6).
#[derive(Clone, Copy, Debug, Default)]
struct Prr {
    delivered: u32,
    out: u32,
    recover_fs: u32,
}

/// RACK's variables (RFC 8985 6.1).
#[derive(Clone, Copy, Debug, Default)]
struct Rack {
    /// RACK.xmit_ts, RACK.end_seq: the segment sent last among those delivered.
    sent_at: Instant,
    end_seq: SeqNum,
    /// RACK.rtt, microseconds.
    rtt_us: u32,
    /// It moved: losses are to be looked for.
    advanced: bool,
    /// Something was delivered at all.
    valid: bool,
}

/// A retransmission.
#[derive(Clone, Copy, Debug)]
struct Resent {
    seq: SeqNum,
    end: SeqNum,
    at: Instant,
}

/// What is in flight.
#[derive(Debug)]
pub struct Flight {
    board: Board,
    /// Retransmissions in the order of time: where, and when. Those that no longer stand are skipped.
    resent: VecDeque<Resent>,
    state: CaState,
    /// RecoveryPoint, `high_seq`: SND.NXT when the state was entered.
    high_seq: SeqNum,
    prr: Prr,
    rack: Rack,
    /// Without SACK: segments that duplicate ACKs say have left the network.
    dup_acked: u32,
    /// The window before the reduction, and SND.UNA then: what may be undone.
    before: Option<Congestion>,
    undo_marker: Option<SeqNum>,
    /// Beyond this SND.UNA no D-SACK of the episode can still come.
    undo_until: SeqNum,
    /// Retransmitted segments since, not yet reported as duplicates; negative: unknown.
    undo_retrans: i32,
    /// When the first retransmission of this episode was sent.
    retrans_stamp: Option<Instant>,
    /// An F-RTO trial runs (RFC 5682).
    frto: bool,
    /// F-RTO 2b: new data goes out instead of retransmissions until the next ACK.
    frto_new_data: bool,
    /// The timer ran out before anything was acknowledged since.
    rto_repeated: bool,
    /// When the segment delivered last was sent, and when it was delivered (the delivery rate's interval).
    first_tx: Instant,
    delivered_at: Instant,
    /// When the last reduction began.
    reduced_at: Instant,
    /// A reduction has begun that the peer has not been told of (ECN's CWR).
    reduced: bool,
    /// The blocks of the last ACK: what they covered need not be looked at again.
    sack_cache: SackList,
    /// When the reordering timer is due.
    reo_deadline: Instant,
    /// From when the RTO counts.
    rto_base: Instant,
    /// When the timer ran out last.
    timed_out_at: Instant,
    /// When the receiver's reneging is answered by a timeout; never if it has not.
    renege_at: Instant,
    /// From when the probe timeout counts.
    tlp_base: Instant,
    /// A probe of the path MTU that is in flight: where, and how long.
    mtu_probe: Option<(SeqNum, u32)>,
    /// SACK was agreed, as far as the last ACK said.
    sack_enabled: bool,
    /// cwnd counts segments, however short, as on Linux; else bytes.
    by_segment: bool,
    /// The reduction for marks goes down to one segment.
    to_one: bool,
    /// The next retransmission is the first since recovery began.
    fast: bool,
    /// This recovery has had its rescue retransmission.
    rescued: bool,
}

impl Flight {
    /// Nothing is in flight yet.
    pub fn new() -> Self {
        Flight {
            board: Board::default(),
            resent: VecDeque::new(),
            state: CaState::Open,
            high_seq: SeqNum(0),
            prr: Prr::default(),
            rack: Rack::default(),
            dup_acked: 0,
            before: None,
            undo_marker: None,
            undo_until: SeqNum(0),
            undo_retrans: 0,
            retrans_stamp: None,
            frto: false,
            frto_new_data: false,
            rto_repeated: false,
            first_tx: Instant::ZERO,
            delivered_at: Instant::ZERO,
            reduced_at: Instant::ZERO,
            reduced: false,
            sack_cache: SackList::new(),
            reo_deadline: Instant::NEVER,
            rto_base: Instant::ZERO,
            timed_out_at: Instant::ZERO,
            renege_at: Instant::NEVER,
            tlp_base: Instant::ZERO,
            mtu_probe: None,
            sack_enabled: true,
            by_segment: false,
            to_one: false,
            fast: false,
            rescued: false,
        }
    }

    #[cold]
    #[inline(never)]
    fn boxed() -> Box<Flight> {
        Box::new(Flight::new())
    }

    /// As [`Flight::new`], in place and with the memory that it has.
    fn reset(&mut self) {
        // All fields by name, so that none is forgotten.
        let Flight {
            board,
            resent,
            state,
            high_seq,
            prr,
            rack,
            dup_acked,
            before,
            undo_marker,
            undo_until,
            undo_retrans,
            retrans_stamp,
            frto,
            frto_new_data,
            rto_repeated,
            first_tx,
            delivered_at,
            reduced_at,
            reduced,
            sack_cache,
            reo_deadline,
            rto_base,
            timed_out_at,
            renege_at,
            tlp_base,
            mtu_probe,
            sack_enabled,
            by_segment,
            to_one,
            fast,
            rescued,
        } = self;
        board.reset();
        resent.clear();
        *state = CaState::Open;
        *high_seq = SeqNum(0);
        *prr = Prr::default();
        *rack = Rack::default();
        *dup_acked = 0;
        if unlikely(before.is_some()) {
            *before = None;
        }
        *undo_marker = None;
        *undo_until = SeqNum(0);
        *undo_retrans = 0;
        *retrans_stamp = None;
        [*frto, *frto_new_data, *rto_repeated, *to_one, *fast, *rescued, *reduced] = [false; 7];
        *sack_enabled = true;
        *by_segment = false;
        [*first_tx, *delivered_at, *reduced_at, *rto_base, *timed_out_at, *tlp_base] = [Instant::ZERO; 6];
        sack_cache.truncate(0);
        [*reo_deadline, *renege_at] = [Instant::NEVER; 2];
        *mtu_probe = None;
    }

    /// `[seq, seq + len)` was sent, in segments of `mss` bytes. New data must follow what is in flight
    /// without a gap.
    #[allow(clippy::too_many_arguments)]
    pub fn on_sent(
        &mut self,
        now: Instant,
        seq: SeqNum,
        len: u32,
        mss: u16,
        retransmission: bool,
        p: &mut Persist,
        cc: &mut Congestion,
    ) {
        if len == 0 {
            return;
        }
        let mss = mss.max(1);
        if self.board.is_empty() {
            if retransmission {
                return;
            }
            self.first_tx = now;
            self.delivered_at = now;
            self.rto_base = now;
            cc.on_transmit_start(now, seq);
        }
        let run = self.run(now, (seq, len), mss, p);
        if retransmission {
            let sent = self.board.retransmitted(seq, len, mss, &run);
            if sent == 0 {
                return;
            }
            self.prr.out = self.prr.out.saturating_add(self.weight(sent, board::segs(sent, mss), cc));
            self.undo_retrans = self.undo_retrans.max(0).saturating_add(board::segs(sent, mss) as i32);
            self.retrans_stamp.get_or_insert(now);
            self.resent.push_back(Resent { seq, end: seq + len, at: now });
            self.fast = false;
            return;
        }
        self.board.push(run);
        self.prr.out = self.prr.out.saturating_add(self.weight(len, board::segs(len, mss), cc));
        self.tlp_base = now;
        if let Some(head) = self.board.head() {
            cc.on_sent(now, self.load_in_flight(cc), head.seq, seq + len);
        }
    }

    /// What is known of text that leaves now.
    fn run(&self, now: Instant, (seq, len): (SeqNum, u32), mss: u16, p: &Persist) -> Run {
        Run {
            seq,
            len,
            mss,
            flags: if p.app_limited != 0 { APP_LIMITED } else { 0 },
            sent_at: now,
            delivered: p.delivered as u32,
            delivered_at: self.delivered_at,
            first_tx: self.first_tx,
            tx_in_flight: self.bytes_in_flight() + len,
            lost: self.board.lost_ever(),
        }
    }

    /// The last segment went out again as a probe (RFC 8985 7.3). Linux does not count it as out twice: the state stays
    /// Open, and nothing is there to be undone.
    pub fn on_probed(
        &mut self,
        now: Instant,
        (seq, len): (SeqNum, u32),
        mss: u16,
        p: &mut Persist,
        cc: &mut Congestion,
    ) {
        if !self.by_segment {
            return self.on_sent(now, seq, len, mss, true, p, cc);
        }
        let run = self.run(now, (seq, len), mss.max(1), p);
        self.board.probed(seq, len, mss.max(1), &run);
    }

    /// [`Flight::on_sent`] of `[seq, seq + len)`, at most one segment, in a flight that has just begun.
    #[inline]
    pub fn on_first_sent(
        &mut self,
        now: Instant,
        (seq, len): (SeqNum, u32),
        mss: u16,
        p: &Persist,
        cc: &mut Congestion,
    ) {
        debug_assert!(self.is_empty() && 0 < len && len <= u32::from(mss));
        [self.first_tx, self.delivered_at, self.rto_base, self.tlp_base] = [now; 4];
        self.board.push_first(Run {
            seq,
            len,
            mss,
            flags: if p.app_limited != 0 { APP_LIMITED } else { 0 }
                | if self.by_segment { PUSHED } else { 0 },
            sent_at: now,
            delivered: p.delivered as u32,
            delivered_at: now,
            first_tx: now,
            tx_in_flight: len,
            lost: self.board.lost_ever(),
        });
        let load = self.weight(len, 1, cc);
        self.prr.out = self.prr.out.saturating_add(load);
        cc.on_transmit_start(now, seq);
        cc.on_sent(now, load, seq, seq + len);
    }

    /// When the first retransmission of the episode at hand was sent.
    pub fn resent_since(&self) -> Option<Instant> {
        self.retrans_stamp
    }

    /// What was sent last ends a super-segment, ends with PSH, or ends a record.
    #[inline]
    pub fn mark_end(&mut self, border: bool, pushed: bool, record: bool) {
        let flag = |on, flag| if on { flag } else { 0 };
        let flags = flag(border, BORDER) | flag(pushed, PUSHED) | flag(record, RECORD);
        if flags != 0 && self.by_segment {
            self.board.mark_end(flags);
        }
    }

    /// The next stretch to send again, at most `max_len` sequence numbers and no more than cwnd admits,
    /// cut at borders of segments.
    pub fn next_retransmit(&mut self, cc: &Congestion, max_len: u32) -> Option<Retransmit> {
        if self.frto_new_data {
            return None;
        }
        let budget = cc.cwnd().saturating_sub(self.load_in_flight(cc));
        let (state, fast) = (self.state, self.fast);
        let alone = self.bytes_in_flight() == 0;
        let mut run = self.board.next_lost()?;
        if self.by_segment && run.len < cc.mss().min(max_len) {
            let seq = run.seq;
            self.board.collapse(seq, cc.mss().min(max_len));
            run = self.board.next_lost()?;
        }
        let limit = max_len.min(budget);
        let mss = u32::from(run.mss);
        let len = if run.len <= limit {
            run.len
        } else if limit >= mss {
            limit / mss * mss
        } else if max_len < mss && budget >= max_len {
            max_len // the path takes less than when it was sent
        } else if alone {
            mss.min(max_len) // one segment may always be in flight
        } else {
            return None;
        };
        let why = if run.is(BY_MTU) {
            Why::RetransmitMtu
        } else if state == CaState::Loss {
            Why::RetransmitRto
        } else if run.is(BY_DUPACK) {
            if fast { Why::RetransmitFast } else { Why::RetransmitRecovery }
        } else {
            Why::RetransmitRack
        };
        let pushed = run.is(PUSHED) && len == run.len;
        (len > 0).then_some(Retransmit { seq: run.seq, len, why, pushed })
    }

    /// RFC 6675 4 (4): nothing lost and nothing new may be sent, so once a recovery the highest segment that was not
    /// SACKed goes again. `None` if it has gone again already, or cwnd has no room.
    pub fn next_rescue(&self, cc: &Congestion, cfg: &RecoveryConfig) -> Option<Retransmit> {
        if !cfg.rescue
            || !self.sack_enabled
            || self.rescued
            || self.state != CaState::Recovery
            || self.wants_retransmit()
        {
            return None;
        }
        let run = self.board.runs().rev().find(|r| !r.is(SACKED))?;
        let len = (run.len - 1) % u32::from(run.mss) + 1;
        let room = cc.cwnd().saturating_sub(self.load_in_flight(cc)) >= u32::from(run.mss);
        let why = Why::RetransmitRecovery;
        (room && !run.is(LOST | board::RETRANS)).then_some(Retransmit {
            seq: run.end() - len,
            len,
            why,
            pushed: run.is(PUSHED),
        })
    }

    /// The rescue retransmission was sent.
    pub fn on_rescued(&mut self) {
        self.rescued = true;
    }

    /// Whether something lost waits to be sent again.
    pub fn wants_retransmit(&self) -> bool {
        self.board.lost.bytes > 0 && self.board.lost.bytes > self.retrans_of_lost()
    }

    fn retrans_of_lost(&self) -> u32 {
        // A probe is in flight twice without being lost; it is at most one segment, and never with losses.
        self.board.retrans.bytes.min(self.board.lost.bytes)
    }

    /// Bytes of new data that cwnd admits now: what PRR, limited transmit and F-RTO allow is in cwnd and in
    /// what counts as in flight already. Lost data goes first ([`Flight::next_retransmit`]).
    pub fn can_send_new(&self, cc: &Congestion) -> u32 {
        cc.cwnd().saturating_sub(self.load_in_flight(cc))
    }

    /// What is believed to be in the network as cwnd counts it: bytes, or on Linux segments, each for a full one.
    #[inline]
    pub fn load_in_flight(&self, cc: &Congestion) -> u32 {
        if self.by_segment { self.segs_in_flight().saturating_mul(cc.mss()) } else { self.bytes_in_flight() }
    }

    /// What so many bytes in so many segments are to cwnd.
    #[inline]
    fn weight(&self, bytes: u32, segs: u32, cc: &Congestion) -> u32 {
        if self.by_segment { segs.saturating_mul(cc.mss()) } else { bytes }
    }

    /// Bytes believed to be in the network: sent, less SACKed and lost, plus retransmitted.
    pub fn bytes_in_flight(&self) -> u32 {
        let b = &self.board;
        (b.out.bytes + b.retrans.bytes)
            .saturating_sub(b.sacked.bytes + b.lost.bytes)
            .saturating_sub(self.dup_acked_bytes())
    }

    /// Segments believed to be in the network.
    pub fn segs_in_flight(&self) -> u32 {
        let b = &self.board;
        (b.out.segs + b.retrans.segs)
            .saturating_sub(b.sacked.segs + b.lost.segs)
            .saturating_sub(self.dup_acked)
    }

    fn dup_acked_bytes(&self) -> u32 {
        let mss = self.board.head().map_or(0, |r| u32::from(r.mss));
        self.dup_acked.saturating_mul(mss).min(self.board.out.bytes)
    }

    /// Bytes sent and not cumulatively acknowledged: FlightSize (RFC 5681).
    pub fn outstanding(&self) -> u32 {
        self.board.out.bytes
    }

    /// Segments sent and not cumulatively acknowledged (`tcpi_unacked`).
    pub fn segs_outstanding(&self) -> u32 {
        self.board.out.segs
    }

    /// Segments SACKed, or without SACK counted by duplicate ACKs (`tcpi_sacked`).
    pub fn sacked(&self) -> u32 {
        self.board.sacked.segs + self.dup_acked
    }

    /// Segments lost (`tcpi_lost`).
    pub fn lost(&self) -> u32 {
        self.board.lost.segs
    }

    /// Segments whose retransmission is in flight (`tcpi_retrans`).
    pub fn retrans_out(&self) -> u32 {
        self.board.retrans.segs
    }

    /// The congestion state.
    pub fn state(&self) -> CaState {
        self.state
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.board.is_empty()
    }

    /// Whether nothing is in flight and nothing is to be undone any more: it may be dropped.
    pub fn can_drop(&self) -> bool {
        self.board.is_empty() && self.undo_marker.is_none()
    }

    /// A probe was sent: it starts no time of another, on Linux.
    pub fn on_probe_sent(&mut self) {
        if self.by_segment {
            self.tlp_base = Instant::NEVER;
        }
    }

    /// Whether something was sent at this very instant, and enough is in flight that more of it moves neither
    /// the RTO nor the probe timeout.
    pub fn is_timed_from(&self, now: Instant) -> bool {
        self.tlp_base == now && self.board.out.segs > 1
    }

    /// When the last segment at the head was sent; `None` if nothing is in flight.
    pub fn head_sent_at(&self) -> Option<Instant> {
        self.board.head().map(|r| r.sent_at)
    }

    /// From when the RTO counts: the first send, the last ACK that moved SND.UNA, the last timeout or
    /// probe (RFC 6298 5).
    pub fn rto_base(&self) -> Instant {
        self.rto_base
    }

    /// When RACK's reordering timer is due (RFC 8985 6.2); [`Instant::NEVER`] if it does not run.
    pub fn reo_deadline(&self) -> Instant {
        self.reo_deadline
    }

    /// When the retransmission timer is due (RFC 6298 5); sooner once the receiver has reneged (RFC 2018 8, Linux's
    /// `tcp_check_sack_reneging`).
    #[inline]
    pub fn rto_deadline(&self, rtt: &RttEstimator, policy: &RtoPolicy) -> Instant {
        self.rto_base.after_nanos(rtt.rto_nanos(policy)).min(self.renege_at)
    }

    /// How long to wait for the receiver before its reneging is answered by a timeout.
    fn renege_delay(rtt: &RttEstimator) -> Duration {
        (rtt.srtt().unwrap_or_default() / 2).max(Duration::from_millis(10))
    }

    /// Bytes of heap.
    pub fn memory(&self) -> usize {
        self.board.memory() + self.resent.capacity() * size_of::<Resent>()
    }

    /// Tells congestion control what was found lost.
    #[inline]
    fn report_losses(&mut self, now: Instant, cc: &mut Congestion, p: &Persist) {
        let (bytes, too_many) = self.board.take_losses();
        if unlikely(bytes > 0) {
            cc.on_lost(&Losses { now, total_delivered: p.delivered as u32, bytes, too_many });
        }
    }

    /// Number of runs on the scoreboard: what an attack may not grow without bound.
    pub fn runs(&self) -> usize {
        self.board.len()
    }

    /// The sums are what the runs say; for tests and the simulator's invariants.
    pub(crate) fn is_consistent(&self) -> bool {
        let b = &self.board;
        b.recount() == [b.out, b.sacked, b.lost, b.retrans]
            && b.sacked.bytes + b.lost.bytes <= b.out.bytes
            && b.runs().zip(b.runs().skip(1)).all(|(a, b)| a.end() == b.seq)
            && b.runs().all(|r| r.len > 0 && !(r.is(SACKED) && r.is(LOST | board::RETRANS)))
    }
}

/// Flights that ended, with their queues, for those that begin: where requests and answers alternate, each
/// of them would allocate otherwise.
#[derive(Debug, Default)]
#[allow(clippy::vec_box)] // boxes go in and out as they are: unboxing would copy what they hold
pub struct SpareFlights(Vec<Box<Flight>>);

impl SpareFlights {
    /// How many are kept.
    const MAX: usize = 16;
    /// Longer queues are not kept, runs.
    const LONGEST: usize = 64;

    /// A new flight of a connection with SACK or without, whose cwnd counts segments or bytes.
    pub(crate) fn take_for(&mut self, sack: bool, by_segment: bool) -> Box<Flight> {
        let mut flight = self.0.pop().unwrap_or_else(Flight::boxed);
        // RFC 8985 4: without SACK there is no loss probe, from the first segment on.
        flight.sack_enabled = sack;
        flight.by_segment = by_segment;
        flight
    }

    /// Keeps a flight that ended, or frees it.
    pub(crate) fn put(&mut self, flight: Option<Box<Flight>>) {
        let Some(mut flight) = flight else { return };
        let longest = flight.board.capacity().max(flight.resent.capacity());
        if self.0.len() < Self::MAX && longest <= Self::LONGEST {
            flight.reset();
            self.0.push(flight);
        }
    }
}

impl Default for Flight {
    fn default() -> Self {
        Flight::new()
    }
}
