//! The congestion states and the steps between them (Linux's `tcp_fastretrans_alert`).

use super::ack::Step;
use super::board::RETRANS;
use super::*;

impl Flight {
    /// What an ACK that is not quite ordinary means for the state.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn alert(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        s: &mut Step,
        rtt: &RttEstimator,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) {
        if a.ece {
            self.before = None; // congestion is certain: nothing to undo
        }
        if s.out.reneging && s.advanced {
            return; // the timer will clear the board
        }
        let una = a.snd_una.max(a.ack);
        self.try_exit(now, a, una, s, cc, p);
        match self.state {
            CaState::Recovery => {
                if !s.advanced {
                    self.add_dup_acks(s, cc.mss(), p, cfg);
                } else if self.try_undo_partial(now, a, s, cc, p, cfg) {
                    return;
                }
                if self.try_undo_dsack(s, cc, p) {
                    self.try_to_open(now, a, s, cc, p, cfg);
                }
                self.identify_loss(now, s, rtt, p, cc.mss(), cfg);
                if self.state != CaState::Recovery {
                    if self.board.lost.bytes > 0 {
                        self.enter_recovery(now, s, cc, p, cfg);
                    }
                } else if cfg.reduce_again && s.out.lost_retransmission {
                    self.reduce_again(now, s, cc, p, cfg);
                }
            }
            CaState::Loss => {
                self.process_loss(now, a, una, s, cc, p, cfg);
                self.identify_loss(now, s, rtt, p, cc.mss(), cfg);
                if self.state == CaState::Open || s.out.lost_retransmission {
                    self.recover_or_open(now, a, s, cc, p, cfg);
                }
            }
            CaState::Open | CaState::Disorder | CaState::Cwr => {
                if s.advanced {
                    self.dup_acked = 0;
                }
                self.add_dup_acks(s, cc.mss(), p, cfg);
                if self.state <= CaState::Disorder {
                    self.try_undo_dsack(s, cc, p);
                }
                self.identify_loss(now, s, rtt, p, cc.mss(), cfg);
                self.recover_or_open(now, a, s, cc, p, cfg);
            }
        }
    }

    /// A retransmission was lost: that is a second congestion event (RFC 5681 4.3), once a round trip.
    fn reduce_again(
        &mut self,
        now: Instant,
        s: &Step,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) {
        if now.since(self.reduced_at) >= Duration::from_micros(u64::from(self.rack.rtt_us)) {
            self.reduce(now, s, cc, p, cfg);
        }
    }

    fn recover_or_open(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        s: &mut Step,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) {
        if self.board.lost.bytes > 0 && self.is_only_probe_lost() {
            s.out.mtu_probe_lost = true;
        } else if self.board.lost.bytes > 0 {
            self.enter_recovery(now, s, cc, p, cfg);
        } else {
            self.try_to_open(now, a, s, cc, p, cfg);
        }
    }

    /// Leaves CWR and recovery once everything sent before is acknowledged (RFC 6675 5 A, RFC 6582 3.2).
    fn try_exit(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        una: SeqNum,
        s: &mut Step,
        cc: &mut Congestion,
        p: &mut Persist,
    ) {
        if self.state == CaState::Open {
            if self.undo_marker.is_none() || !self.any_retrans() {
                self.retrans_stamp = None;
            }
            if self.undo_marker.is_some() && una.gt(self.undo_until) {
                self.undo_marker = None;
                self.before = None;
            }
            return;
        }
        if una.lt(self.high_seq) {
            return;
        }
        match self.state {
            CaState::Cwr if una != self.high_seq || self.board.is_empty() => {
                self.end_reduction(cc);
                self.state = CaState::Open;
            }
            CaState::Recovery => {
                self.dup_acked = 0;
                self.try_undo_recovery(now, a, s, cc, p);
                self.end_reduction(cc);
                if !a.sack_enabled {
                    let in_flight = self.load_in_flight(cc);
                    cc.moderate(in_flight);
                }
            }
            _ => {}
        }
    }

    /// The episode is over; if it was needless, undo it.
    fn try_undo_recovery(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        s: &mut Step,
        cc: &mut Congestion,
        p: &mut Persist,
    ) {
        if let Some(kind) = self.may_undo(now, a) {
            self.undo(kind, false, s, cc);
        } else {
            p.reo_wnd_persist = p.reo_wnd_persist.saturating_sub(1);
        }
        self.undo_until = a.snd_nxt;
        self.state = CaState::Open;
    }

    /// A partial ACK in recovery that was caused by the original: not lost, but late. That it was sent again before it
    /// came must not hide the reordering (Linux's `tcp_try_undo_partial`), or RACK would never learn to wait.
    fn try_undo_partial(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        s: &mut Step,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) -> bool {
        if self.undo_marker.is_none() || !self.packet_delayed(now, a) {
            return false;
        }
        let fack = if self.board.sacked.bytes > 0 { self.board.fack } else { a.ack.max(a.snd_una) };
        if a.sack_enabled && a.snd_una.lt(fack) {
            self.was_reordered(a.snd_una, fack, p, cc.mss(), cfg);
        }
        if self.any_retrans() {
            return true; // more of the episode is out: wait for what it tells
        }
        self.undo(UndoKind::Timestamp, true, s, cc);
        self.keep_open();
        false
    }

    fn try_undo_dsack(&mut self, s: &mut Step, cc: &mut Congestion, p: &mut Persist) -> bool {
        if self.undo_marker.is_none() || self.undo_retrans != 0 {
            return false;
        }
        p.reo_wnd_persist = p.reo_wnd_persist.saturating_add(1).min(16);
        self.undo(UndoKind::Dsack, false, s, cc);
        true
    }

    fn try_to_open(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        s: &Step,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) {
        if a.ece {
            self.enter_cwr(now, s, cc, p, cfg);
        }
        if self.state != CaState::Cwr {
            self.keep_open();
        }
    }

    /// Open, or Disorder while something is SACKed, lost or out twice.
    fn keep_open(&mut self) {
        let b = &self.board;
        let disorder = b.sacked.bytes > 0 || b.lost.bytes > 0 || self.dup_acked > 0 || self.any_retrans();
        let state = if disorder { CaState::Disorder } else { CaState::Open };
        if state != self.state {
            self.state = state;
            self.high_seq = self.snd_nxt();
        }
    }

    /// RFC 5682 and the way out of Loss (Linux's `tcp_process_loss`).
    #[allow(clippy::too_many_arguments)]
    fn process_loss(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        una: SeqNum,
        s: &mut Step,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) {
        let recovered = una.ge(self.high_seq);
        if s.advanced {
            if let Some(kind) = self.may_undo(now, a) {
                self.undo(kind, true, s, cc);
                self.leave_loss(a);
                return;
            }
        }
        if self.frto {
            if s.orig_delivered && self.undo_marker.is_some() {
                // RFC 5682 3.1 (3) b: what was never sent again has arrived.
                self.undo(UndoKind::Frto, true, s, cc);
                self.leave_loss(a);
                return;
            }
            if a.snd_nxt.gt(self.high_seq) {
                if s.sacked_new || s.dup_acks > 0 {
                    self.frto = false; // (3) a: the loss was real
                }
            } else if s.advanced && !recovered {
                self.high_seq = a.snd_nxt;
                if a.new_data_ready {
                    self.frto_new_data = true; // (2) b: two new segments instead of retransmissions
                    return;
                }
                self.frto = false;
            }
        }
        if recovered {
            // (2) a, or the usual end.
            self.try_undo_recovery(now, a, s, cc, p);
            return;
        }
        if !a.sack_enabled {
            if a.snd_nxt.gt(self.high_seq) && s.dup_acks > 0 {
                self.add_dup_acks(s, cc.mss(), p, cfg);
            } else if s.advanced {
                self.dup_acked = 0;
            }
        }
    }

    fn leave_loss(&mut self, a: &AckEvent<'_>) {
        self.frto = false;
        self.frto_new_data = false;
        self.rto_repeated = false;
        self.undo_until = a.snd_nxt;
        self.state = CaState::Open;
        self.keep_open();
    }

    /// Finds what is lost by the rule in force.
    fn identify_loss(
        &mut self,
        now: Instant,
        s: &mut Step,
        rtt: &RttEstimator,
        p: &Persist,
        mss: u32,
        cfg: &RecoveryConfig,
    ) {
        if !self.sack_enabled {
            self.mark_lost_newreno(s.advanced, p);
        } else if !cfg.rack {
            self.mark_lost_6675(p, mss);
        } else if self.rack.advanced {
            self.rack.advanced = false;
            self.rack_detect(now, rtt, p, &mut s.out);
        }
    }

    /// RFC 6582 3.2: the first segment, at the third duplicate ACK and at each partial ACK.
    fn mark_lost_newreno(&mut self, advanced: bool, p: &Persist) {
        let Some(head) = self.board.head() else { return };
        let may_enter = self.state < CaState::Recovery
            && self.dup_acked >= u32::from(p.reordering)
            && (!p.is(HAS_RECOVER) || head.seq.gt(p.recover));
        let partial = self.state == CaState::Recovery && advanced;
        if (may_enter || partial) && !head.is(LOST) {
            let mss = u32::from(head.mss);
            self.board.split(0, mss);
            self.board.set(0, RETRANS, LOST | BY_DUPACK);
        }
    }

    /// Without SACK each duplicate ACK is a segment that has left the network (RFC 5681 3.2, RFC 9937 6);
    /// never more of them than could have.
    fn add_dup_acks(&mut self, s: &mut Step, mss: u32, p: &mut Persist, cfg: &RecoveryConfig) {
        if self.sack_enabled || s.dup_acks == 0 {
            return;
        }
        let before = self.dup_acked;
        let most = self.board.out.segs - self.board.lost.segs.max(1).min(self.board.out.segs);
        if before + s.dup_acks > most {
            // More than were lost can explain: reordering (Linux's tcp_check_reno_reordering).
            if self.by_segment {
                let out = u16::try_from(self.board.out.segs).unwrap_or(u16::MAX);
                p.reordering = out.min(cfg.max_reordering);
                p.reord_seen = p.reord_seen.saturating_add(1);
            } else if self.state < CaState::Recovery && p.reordering < cfg.max_reordering {
                p.reord_seen = p.reord_seen.saturating_add(1);
            }
        }
        self.dup_acked = (before + s.dup_acks).min(most).max(before.min(most));
        let delivered = self.dup_acked.saturating_sub(before).saturating_mul(mss);
        s.delivered += delivered;
        s.weighed += delivered;
        p.delivered += u64::from(delivered);
    }
}
