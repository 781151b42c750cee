//! How large a super-segment is, and when a short one waits, as Linux has it (`tcp_tso_autosize`,
//! `tcp_tso_should_defer`, `tcp_cwnd_test`): about a millisecond's worth at the pacing rate, more on short paths, at
//! most half of cwnd.

use super::recovery::CaState;
use super::*;

/// `sk_pacing_shift`: 1/1024 s of the pacing rate.
const PACING_SHIFT: u32 = 10;
/// `tcp_tso_rtt_log`: each 512 microseconds of the least round trip halve what short paths get on top.
const RTT_LOG: u32 = 9;
/// `sk_gso_max_size`.
const GSO_MAX: u64 = 65_536;
/// `tcp_tso_win_divisor`: a third of the window is worth sending.
const WIN_DIVISOR: u32 = 3;

/// How recent the last segment must be for the next to wait.
const RECENT: Duration = Duration::from_millis(1);

impl Connection {
    /// The most text of one super-segment, of `max_text` that the link takes.
    pub(super) fn tso_text(&self, cx: &Cx<'_>, max_text: u32) -> u32 {
        if !cx.config.tso_autosizing {
            return max_text;
        }
        let halvings = self.rtt.min_rtt_us() >> RTT_LOG;
        let mut bytes = if halvings < u32::BITS { GSO_MAX >> halvings } else { 0 };
        if bytes >= GSO_MAX {
            return max_text;
        }
        bytes = bytes.saturating_add(self.pacing_rate(cx.config) >> PACING_SHIFT);
        let least = u32::from(cx.config.min_tso_segs).max(1);
        let mss = u32::from(self.mss.max(1));
        let segments = (bytes.min(GSO_MAX) as u32 / mss).max(least);
        max_text.min(segments.saturating_mul(mss))
    }

    /// The same for new text, of which `room` bytes fit into cwnd: at most half of cwnd at once.
    pub(super) fn tso_quota(&self, cx: &Cx<'_>, room: u32, each: u32) -> u32 {
        if !cx.config.tso_autosizing {
            return room;
        }
        let half = (self.cc.cwnd() / each / 2).max(1);
        room.min(half.saturating_mul(each))
    }

    /// Whether text waits for the next ACK to make more room: the window cuts it short, by more than is worth it,
    /// and that ACK is near. `allowed` of `unsent` bytes fit into both windows; `most` would fill a super-segment.
    pub(super) fn tso_defers(&self, cx: &Cx<'_>, allowed: u32, unsent: u32, most: u32) -> bool {
        let mss = u32::from(self.mss.max(1));
        if !cx.config.tso_autosizing || self.ca_state() >= CaState::Recovery || unsent <= mss {
            return false;
        }
        let window = self.snd.wnd.min(self.cc.cwnd());
        if allowed >= most || allowed >= unsent || allowed >= window / WIN_DIVISOR {
            return false;
        }
        // Only in a burst: the last write was within the last millisecond.
        if cx.now.since(self.counters.last_data_sent) >= RECENT {
            return false;
        }
        let Some(head) = self.flight.as_ref().and_then(|flight| flight.head_sent_at()) else { return false };
        // Not where that ACK is still further away than a millisecond or half a round trip (Linux 6.18).
        let srtt = self.rtt.srtt().unwrap_or_default();
        cx.now + (srtt / 2).min(RECENT) >= head + srtt
    }
}
