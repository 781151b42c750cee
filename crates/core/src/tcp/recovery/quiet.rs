//! The ordinary ACK, of which nearly all are: it moves SND.UNA, in the Open state, over data that was sent
//! once, and nothing in flight is in doubt. It does what [`Flight::on_ack`] would do, without its questions.

use super::ack::Latest;
use super::*;
use crate::branch::{cold, unlikely};
use crate::tcp::congestion::AckSample;
use crate::tcp::rtt::micros_between;

/// What may be said of a run that was sent once and is neither SACKed nor lost.
const QUIET: u16 = APP_LIMITED | BORDER | PUSHED | RECORD;

/// An ACK of new data: SND.UNA < SEG.ACK =< SND.NXT, without ECE and SACK blocks.
#[derive(Clone, Copy, Debug)]
pub struct QuietAck {
    /// SEG.ACK.
    pub ack: SeqNum,
    /// SND.UNA before it.
    pub snd_una: SeqNum,
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// SACK was agreed.
    pub sack_enabled: bool,
}

impl Flight {
    /// [`Flight::on_ack`] where nothing is in doubt; false, and nothing has changed, if something is.
    #[inline(always)]
    pub fn on_quiet_ack(
        &mut self,
        now: Instant,
        a: &QuietAck,
        rtt: &mut RttEstimator,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) -> bool {
        if !self.is_undoubted(p) || cc.owns_recovery() {
            cold();
            return false;
        }
        let (prior_in_flight, segs) = (self.load_in_flight(cc), self.board.out.segs);
        let ends = self.board.is_one_run(a.snd_una, a.ack);
        let taken = if ends {
            self.board.take_one()
        } else {
            cold();
            self.board.take_fresh(a.snd_una, a.ack)
        };
        let Some(taken) = taken else { return false };
        let last = &taken.last;
        let rtt_us = micros_between(last.sent_at, now);
        if ends {
            rtt.sample_us(now, rtt_us, &cfg.rto);
        } else {
            cold();
            self.sack_enabled = a.sack_enabled;
            self.frto_new_data = false;
            self.rack_advance_fresh(last, rtt_us);
            rtt.sample_us(now, micros_between(taken.first_sent, now), &cfg.rto);
            rtt.note_min(now, rtt_us);
        }
        p.delivered += u64::from(taken.bytes);
        self.delivered_at = now;
        let mut rate = self.take_rate(now, Some(last), rtt, p);
        rate.lost = self.board.lost_ever().wrapping_sub(last.lost);
        if p.reo_wnd_persist == 0 {
            p.reo_wnd_steps = 1;
        }
        self.report_losses(now, cc, p);
        cc.count_marks(taken.bytes, 0, a.ack, a.snd_nxt);
        if unlikely(!ends) {
            self.renege_at = Instant::NEVER;
            self.ack_advanced(now, a.ack);
        }
        if !cfg.validate && cc.on_unlimited_ack(now) {
            return true;
        }
        cold();
        cc.on_ack(&AckSample {
            now,
            snd_una: a.ack,
            snd_nxt: a.snd_nxt,
            delivered: self.weight(taken.bytes, segs - self.board.out.segs, cc),
            total_delivered: p.delivered as u32,
            prior_in_flight,
            in_flight: self.load_in_flight(cc),
            rtt_us: rtt_us.max(1),
            srtt_us: rtt.srtt_us(),
            min_rtt_us: rtt.min_rtt_us(),
            rate,
            abc_limit: cfg.abc_limit,
            abc_limit_after_rto: cfg.abc_limit_after_rto,
            reducing: false,
            may_raise: true,
            validate: cfg.validate,
            recovering: false,
        });
        true
    }

    /// The Open state, nothing SACKed, lost, out twice, probed or to be undone.
    #[inline]
    fn is_undoubted(&self, p: &Persist) -> bool {
        let b = &self.board;
        self.state == CaState::Open
            && (b.sacked.bytes | b.lost.bytes | b.retrans.bytes | self.dup_acked) == 0
            && self.undo_marker.is_none()
            && !p.is(TLP_OUT | DSACK_ROUND)
    }

    /// [`Flight::rack_advance`] of what was sent once.
    #[inline]
    fn rack_advance_fresh(&mut self, last: &Latest, rtt_us: u32) {
        let rack = &mut self.rack;
        rack.rtt_us = rtt_us;
        rack.advanced = true;
        let later =
            last.sent_at > rack.sent_at || (last.sent_at == rack.sent_at && last.end.gt(rack.end_seq));
        if !rack.valid || later {
            rack.sent_at = last.sent_at;
            rack.end_seq = last.end;
            rack.valid = true;
        }
    }
}

/// What [`Board::take_fresh`] took off.
pub(super) struct Fresh {
    /// Bytes, FIN included.
    pub bytes: u32,
    /// When the first of it was sent.
    pub first_sent: Instant,
    /// The last of it.
    pub last: Latest,
}

impl Board {
    /// Whether one run, sent once and neither SACKed nor lost, is all there is, from `una` to `ack`.
    #[inline(always)]
    fn is_one_run(&self, una: SeqNum, ack: SeqNum) -> bool {
        self.only().is_some_and(|run| run.seq == una && run.end() == ack && run.flags & !QUIET == 0)
    }

    /// [`Board::take_fresh`] of that run: the flight ends with it, and whatever else it knows is of no use any more.
    #[inline(always)]
    fn take_one(&mut self) -> Option<Fresh> {
        let run = self.only()?;
        let fresh = Fresh { bytes: run.len, first_sent: run.sent_at, last: latest(run, run.end()) };
        self.clear();
        Some(fresh)
    }

    /// Takes what lies below `ack` off the board if it begins at `una` and was sent once and is neither SACKed nor
    /// lost; `None`, and nothing is taken, if not. Such runs lie in the order of time: the last was sent last.
    #[inline(never)] // apart from the one run of which requests and answers are made
    pub(super) fn take_fresh(&mut self, una: SeqNum, ack: SeqNum) -> Option<Fresh> {
        let mut below = 0;
        for run in self.runs() {
            if !run.seq.lt(ack) {
                break;
            }
            if run.flags & !QUIET != 0 {
                return None;
            }
            below += 1;
        }
        let head = self.head()?;
        if below == 0 || head.seq != una {
            return None;
        }
        let first_sent = head.sent_at;
        for _ in 1..below {
            self.drop_head();
        }
        let last = self.head()?;
        let last = if last.end().gt(ack) {
            let latest = latest(last, ack);
            self.shorten_head(ack);
            latest
        } else {
            let latest = latest(last, last.end());
            self.drop_head();
            latest
        };
        self.advanced(ack);
        Some(Fresh { bytes: last.end.since(una), first_sent, last })
    }
}

/// What is known of a run that is delivered up to `end`.
#[inline(always)]
fn latest(run: &Run, end: SeqNum) -> Latest {
    Latest {
        delivered: run.delivered,
        delivered_at: run.delivered_at,
        sent_at: run.sent_at,
        first_tx: run.first_tx,
        end,
        app_limited: run.is(APP_LIMITED),
        tx_in_flight: run.tx_in_flight,
        lost: run.lost,
    }
}
