//! Entering, steering and leaving a reduction: PRR (RFC 9937), and undoing it.

use super::ack::Step;
use super::board::RETRANS;
use super::*;

impl Flight {
    /// Whether PRR sets the window.
    pub(super) fn is_reducing(&self) -> bool {
        matches!(self.state, CaState::Cwr | CaState::Recovery)
    }

    pub(super) fn snd_nxt(&self) -> SeqNum {
        self.board.runs().next_back().map_or(self.high_seq, Run::end)
    }

    /// What a reduction takes as the load: FlightSize without limited transmit (RFC 5681 (4)), or cwnd (Linux).
    fn load(&self, cc: &Congestion, cfg: &RecoveryConfig) -> u32 {
        if cfg.reduce_from_flight { cc.cwnd().min(self.board.out.bytes) } else { cc.cwnd() }
    }

    /// Starts a reduction (RFC 9937 6.1) from `load`.
    fn init_reduction(&mut self, now: Instant, s: &Step, cc: &mut Congestion, p: &mut Persist, load: u32) {
        self.high_seq = self.snd_nxt();
        self.reduced_at = now;
        self.reduced = true;
        p.put(TLP_OUT, false);
        let board = &self.board;
        let (bytes, segs) = (board.out.bytes - board.sacked.bytes, board.out.segs - board.sacked.segs);
        self.prr = Prr {
            delivered: 0,
            out: 0,
            recover_fs: self
                .weight(bytes, segs, cc)
                .saturating_add(s.out.newly_sacked + s.out.acked + s.weighed)
                .saturating_sub(s.delivered)
                .max(1),
        };
        cc.on_enter_recovery(load);
    }

    /// Whether a reduction has begun since this was asked.
    pub fn take_reduced(&mut self) -> bool {
        core::mem::take(&mut self.reduced)
    }

    /// Starts a reduction for a loss.
    pub(super) fn reduce(
        &mut self,
        now: Instant,
        s: &Step,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) {
        let load = self.load(cc, cfg);
        self.init_reduction(now, s, cc, p, load);
    }

    /// Remembers what may be undone (`tcp_init_undo`).
    fn init_undo(&mut self) {
        self.undo_marker = self.board.head().map(|r| r.seq);
        let out = self.board.retrans.segs as i32;
        self.undo_retrans = if out > 0 { out } else { -1 };
    }

    pub(super) fn enter_recovery(
        &mut self,
        now: Instant,
        s: &Step,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) {
        self.init_undo();
        if self.state != CaState::Cwr && self.state != CaState::Recovery {
            self.before = Some(cc.clone());
            self.reduce(now, s, cc, p, cfg);
        }
        self.state = CaState::Recovery;
        self.high_seq = self.snd_nxt();
        p.recover = self.high_seq;
        p.put(HAS_RECOVER, true);
        self.fast = true;
        self.rescued = false;
    }

    /// ECN's reaction, once a window (RFC 3168 6.1.2).
    pub(super) fn enter_cwr(
        &mut self,
        now: Instant,
        s: &Step,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) {
        self.before = None;
        cc.on_echo();
        if self.state < CaState::Cwr {
            self.undo_marker = None;
            // The echo may come with the acknowledgment of the whole flight.
            let flight = self.board.out.bytes.saturating_add(s.out.acked);
            let load = if cfg.reduce_from_flight { cc.cwnd().min(flight) } else { cc.cwnd() };
            self.to_one = cfg.reduce_from_flight && load <= 2 * cc.mss();
            cc.on_mark();
            self.init_reduction(now, s, cc, p, load);
            self.state = CaState::Cwr;
        }
    }

    /// PRR for one ACK (RFC 9937 6.2).
    pub(super) fn prr_update(&mut self, s: &Step, cc: &mut Congestion) {
        if s.weighed == 0 {
            return;
        }
        let (mss, ssthresh, in_flight) = (cc.mss(), cc.ssthresh(), self.load_in_flight(cc));
        let by_segment = self.by_segment;
        let prr = &mut self.prr;
        let mut delivered = s.weighed;
        if !self.sack_enabled {
            // Duplicate ACKs can be forged: no more than was in flight can have been delivered.
            delivered = delivered.min(prr.recover_fs.saturating_sub(prr.delivered));
        }
        prr.delivered = prr.delivered.saturating_add(delivered);
        let mut send = if in_flight > ssthresh {
            let due =
                (u64::from(prr.delivered) * u64::from(ssthresh)).div_ceil(u64::from(prr.recover_fs.max(1)));
            // Linux counts segments, and rounds up.
            let due = if by_segment { due.next_multiple_of(u64::from(mss.max(1))) } else { due };
            due.saturating_sub(u64::from(prr.out)).min(u64::from(u32::MAX)) as u32
        } else {
            let mut send = prr.delivered.saturating_sub(prr.out).max(delivered);
            if s.advanced && s.out.newly_lost == 0 {
                send = send.saturating_add(mss);
            }
            send.min(ssthresh - in_flight)
        };
        if prr.out == 0 {
            send = send.max(mss); // the first ACK always lets one retransmission go
        }
        let most = if self.is_to_one() { mss } else { u32::MAX };
        cc.set_recovery_cwnd(in_flight.saturating_add(send).min(most));
    }

    /// Marks take cwnd down to one segment where losses leave two (RFC 9438 4.6).
    fn is_to_one(&self) -> bool {
        self.to_one && self.state == CaState::Cwr
    }

    /// Leaves a reduction.
    pub(super) fn end_reduction(&mut self, cc: &mut Congestion) {
        if self.state == CaState::Cwr || self.undo_marker.is_some() {
            cc.on_exit_recovery();
        }
        if self.is_to_one() {
            cc.set_recovery_cwnd(cc.mss());
        }
    }

    /// What proves that the episode's retransmissions were needless, if anything does.
    pub(super) fn may_undo(&self, now: Instant, a: &AckEvent<'_>) -> Option<UndoKind> {
        self.undo_marker?;
        if self.undo_retrans == 0 {
            Some(UndoKind::Dsack)
        } else {
            self.packet_delayed(now, a).then_some(UndoKind::Timestamp)
        }
    }

    /// Eifel: the ACK echoes a timestamp from before the first retransmission.
    pub(super) fn packet_delayed(&self, now: Instant, a: &AckEvent<'_>) -> bool {
        self.retrans_stamp.is_some_and(|first| self.echo_precedes(now, a, first))
    }

    /// Takes the reduction back.
    pub(super) fn undo(&mut self, kind: UndoKind, unmark_lost: bool, s: &mut Step, cc: &mut Congestion) {
        if unmark_lost {
            for i in 0..self.board.len() {
                if self.board.get(i).is_some_and(|r| r.is(LOST)) {
                    self.board.set(i, LOST | BY_DUPACK | BY_MTU, 0);
                }
            }
        }
        if let Some(before) = self.before.take() {
            cc.undo(&before);
        }
        self.undo_marker = None;
        self.rack.advanced = self.rack.valid;
        s.out.undone.get_or_insert(kind);
    }

    /// The retransmission timer ran out (RFC 6298 5.4, RFC 8985 6.3, RFC 5681 3.1): everything is taken for
    /// lost but what was sent only just now; cwnd admits one segment, and the RTO is doubled.
    pub fn on_rto(
        &mut self,
        now: Instant,
        rtt: &mut RttEstimator,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) -> AckOutcome {
        let mut out = AckOutcome::default();
        let Some(head) = self.board.head() else { return out };
        rtt.back_off();
        let (una, state) = (head.seq, self.state);
        out.reneging = head.is(SACKED);
        let lost_before = self.total_lost();
        let fresh_event = state <= CaState::Disorder
            || !self.high_seq.gt(una)
            || (state == CaState::Loss && !self.rto_repeated);
        let load = self.load(cc, cfg);
        if !out.reneging && self.board.sacked.segs >= u32::from(cfg.dup_thresh) && state <= CaState::Disorder
        {
            p.reordering = p.reordering.min(cfg.dup_thresh); // it was over-estimated
        }
        self.mark_lost_by_timeout(now, rtt, p, cfg, out.reneging);
        out.newly_lost = self.total_lost().saturating_sub(lost_before);
        if fresh_event {
            self.before = Some(cc.clone());
            self.init_undo();
        }
        self.frto = cfg.frto && (state < CaState::Recovery || self.rto_repeated);
        self.frto_new_data = false;
        self.rto_repeated = true;
        p.put(TLP_OUT, false);
        self.report_losses(now, cc, p);
        let in_flight = self.load_in_flight(cc);
        cc.on_rto(fresh_event.then_some(load), in_flight);
        self.state = CaState::Loss;
        self.high_seq = self.snd_nxt();
        p.recover = self.high_seq;
        p.put(HAS_RECOVER, true);
        self.rto_base = now;
        self.timed_out_at = now;
        self.renege_at = Instant::NEVER;
        self.reo_deadline = Instant::NEVER;
        if state != self.state {
            out.state_change = Some((state, self.state));
        }
        out
    }

    /// RFC 8985 6.3; RFC 2018 5 (erratum 1610): SACK marks stay unless the receiver proves to have reneged.
    fn mark_lost_by_timeout(
        &mut self,
        now: Instant,
        rtt: &RttEstimator,
        p: &Persist,
        cfg: &RecoveryConfig,
        reneged: bool,
    ) {
        let patience = u64::from(self.rack.rtt_us) + u64::from(self.reo_wnd(rtt, p));
        let patience = Duration::from_micros(patience);
        let rack = cfg.rack && self.sack_enabled && self.rack.valid && !reneged;
        self.dup_acked = 0;
        self.sack_cache = SackList::new();
        for i in 0..self.board.len() {
            let Some(run) = self.board.get(i) else { break };
            if run.is(SACKED) && !reneged {
                continue;
            }
            if i > 0 && rack && run.sent_at + patience > now {
                continue;
            }
            self.board.set(i, SACKED | RETRANS | BY_DUPACK, LOST);
        }
    }

    /// A probe of the path MTU is in flight, or not any more.
    pub fn note_mtu_probe(&mut self, probe: Option<(SeqNum, u32)>) {
        self.mtu_probe = probe;
    }

    /// Whether what is lost is the probe at the head of the board, and nothing else, outside of a reduction.
    pub(super) fn is_only_probe_lost(&self) -> bool {
        let (Some((seq, len)), Some(head)) = (self.mtu_probe, self.board.head()) else { return false };
        self.state <= CaState::Disorder && head.seq == seq && head.is(LOST) && self.board.lost.bytes == len
    }

    /// The lost probe goes out again in segments of `mss`, without a reaction to congestion.
    pub fn forgive_probe(&mut self, mss: u16, p: &mut Persist) -> AckOutcome {
        self.board.set(0, LOST | BY_DUPACK, 0);
        self.resegment(mss, p)
    }

    /// The path takes only segments of `mss` bytes: what is in flight in longer ones is lost, and is sent again
    /// without a reaction to congestion (RFC 1191 6.4, Linux's `tcp_simple_retransmit`).
    pub fn resegment(&mut self, mss: u16, p: &mut Persist) -> AckOutcome {
        let mut out = AckOutcome::default();
        let state = self.state;
        let mss = mss.max(1);
        let lost_before = self.total_lost();
        for i in 0..self.board.len() {
            let Some(run) = self.board.get(i) else { break };
            if run.mss > mss && run.len > u32::from(mss) {
                let lost = !run.is(SACKED);
                self.board.resegment(i, mss);
                if lost {
                    self.board.set(i, RETRANS | BY_DUPACK, LOST | BY_MTU);
                }
            }
        }
        out.newly_lost = self.total_lost().saturating_sub(lost_before);
        if out.newly_lost > 0 && state != CaState::Loss {
            self.high_seq = self.snd_nxt();
            p.recover = self.high_seq;
            p.put(HAS_RECOVER, true);
            self.before = None;
            self.undo_marker = None;
            self.frto = false;
            self.dup_acked = 0;
            self.state = CaState::Loss;
            out.state_change = Some((state, self.state));
        }
        out
    }
}
