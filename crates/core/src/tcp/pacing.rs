//! Pacing: what cwnd allows leaves over the round trip and not in one burst (draft-ietf-ccwg-bbr 5.6.2; as Linux's
//! internal pacing).
//!
//! Bursts of at most a pacing quantum leave together, then [`Timer::Send`] holds the flow until the time that they take
//! at the pacing rate is over. Loss probes and what carries no text are not held.

use super::congestion::pacing_quantum;
use super::timer::Timer;
use super::*;

/// Of a window, what leaves at once where queues mark early.
const MARKED_SHARE: u32 = 16;
/// So many segments of a connection leave unpaced (Linux): the initial window, while nothing is known of the path.
const UNPACED: u32 = 10;

impl Connection {
    /// Bytes a second: the algorithm's, or a window a round trip with the head room of Linux's
    /// `tcp_update_pacing_rate` (in slow start twice, later 1.2 times), within SO_MAX_PACING_RATE.
    pub(super) fn pacing_rate(&self, config: &Config) -> u64 {
        let most = self.options.max_pacing_rate;
        if let Some(rate) = self.cc.pacing_rate() {
            return rate.min(most);
        }
        let Some(srtt) = self.rtt.srtt() else { return most };
        let early = self.cc.cwnd() < self.cc.ssthresh() / 2;
        let percent = u128::from(if early { config.pacing_ss_ratio } else { config.pacing_ca_ratio });
        let window = u128::from(self.cc.cwnd()) * percent / 100;
        ((window * 1_000_000_000 / srtt.as_nanos().max(1)).min(u128::from(most)) as u64).max(1)
    }

    /// Whether what this flow sends is paced, as its algorithm, SO_MAX_PACING_RATE or the stack's settings say. DCTCP
    /// always is: a burst is marked where the load alone would not be. (Linux leaves that to the queueing discipline.)
    pub(super) fn decide_pacing(&mut self, config: &Config) {
        self.paced = config.pacing
            || self.options.max_pacing_rate != u64::MAX
            || self.cc.pacing_rate().is_some()
            || self.cc.kind().needs_ecn();
        if !self.paced {
            self.paced_until = Instant::ZERO;
        }
    }

    /// Whether the pace holds the flow now; the timer is set if so.
    pub(super) fn is_held(&mut self, cx: &Cx<'_>) -> bool {
        if self.paced_until <= cx.now {
            self.due.paced = false;
            self.decide_pacing(cx.config); // `hold_for_mark` is over
            return false;
        }
        if !self.due.paced {
            let rate = self.pacing_rate(cx.config);
            let burst = time_for(self.quantum(rate), rate);
            if cx.now + burst > self.paced_until {
                return false; // the burst is not full yet
            }
            self.due.paced = true;
        }
        self.timers.set(Timer::Send, self.paced_until);
        true
    }

    /// Bytes that leave at once at `rate`. A queue that marks early, whose threshold is a part of a round trip's worth, has
    /// no room for the millisecond's worth that others take.
    fn quantum(&self, rate: u64) -> u64 {
        let mss = u32::from(self.mss);
        let quantum = pacing_quantum(rate, mss);
        if !self.cc.kind().needs_ecn() {
            return quantum;
        }
        quantum.min(u64::from((self.cc.cwnd() / MARKED_SHARE).max(2 * mss)))
    }

    /// A mark was echoed while cwnd was one segment, which leaves only the time between segments to be reduced: the
    /// next one waits for as long as the retransmission timer would (RFC 3168 6.1.2, RFC 9438 4.6). Linux, whose
    /// least cwnd is two, does not.
    pub(super) fn hold_for_mark(&mut self, cx: &Cx<'_>) {
        self.paced = true;
        self.due.paced = true;
        self.paced_until = cx.now + self.rtt.rto(&self.rto_policy(cx.config));
    }

    /// The most text of one segment or super-segment, of `max_text` that the link takes: no more than a quantum.
    pub(super) fn paced_text(&self, cx: &Cx<'_>, max_text: u32) -> u32 {
        let quantum = self.quantum(self.pacing_rate(cx.config));
        max_text.min(quantum.min(u64::from(u32::MAX)) as u32)
    }

    /// `len` bytes of text have left: the next burst waits for as long as they take, less up to half of that for
    /// time that had passed unused (Linux's `tcp_update_skb_after_send`).
    pub(super) fn note_paced(&mut self, cx: &Cx<'_>, len: u32) {
        if self.counters.data_segs_out <= UNPACED {
            return;
        }
        let rate = self.pacing_rate(cx.config);
        let takes = time_for(u64::from(len), rate);
        self.paced_until = (self.paced_until + takes).max(cx.now + takes / 2);
    }
}

fn time_for(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(
        (u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1))).min(u128::from(u64::MAX)) as u64,
    )
}
