//! The little that outlives a flight: kept in each connection, idle or not.

use super::sack;
use crate::tcp::SeqNum;
use crate::wire::tcp::SackBlock;

/// What outlives a flight.
#[derive(Clone, Debug)]
pub struct Persist {
    /// Bytes delivered in all: acknowledged or SACKed.
    pub(super) delivered: u64,
    /// The application was the limit until `delivered` passes this, modulo 2^32; 0 is not.
    pub(super) app_limited: u32,
    /// The last rate sample: bytes, microseconds.
    pub(super) rate_delivered: u32,
    pub(super) rate_interval_us: u32,
    /// RFC 6582 `recover`: no fast retransmit without SACK at or below it.
    pub(super) recover: SeqNum,
    /// RFC 8985 7: TLP.end_seq.
    pub(super) tlp_end: SeqNum,
    /// `delivered` when the reordering window was last widened, modulo 2^32.
    pub(super) dsack_delivered: u32,
    /// DupThresh as adapted, segments.
    pub(super) reordering: u16,
    /// How often reordering was seen (`tcpi_reord_seen`), saturating.
    pub(super) reord_seen: u16,
    /// RACK.reo_wnd_mult.
    pub(super) reo_wnd_steps: u8,
    /// RACK.reo_wnd_persist: recoveries until the multiplier falls back.
    pub(super) reo_wnd_persist: u8,
    pub(super) flags: u8,
}

/// `recover` is meaningful.
pub(super) const HAS_RECOVER: u8 = 1;
/// A probe is outstanding: `tlp_end` is meaningful.
pub(super) const TLP_OUT: u8 = 2;
/// The probe was a retransmission.
pub(super) const TLP_RETRANS: u8 = 4;
/// A D-SACK came in this round trip.
pub(super) const DSACK_ROUND: u8 = 8;
/// The last rate sample was limited by the application.
pub(super) const RATE_APP_LIMITED: u8 = 16;

impl Default for Persist {
    fn default() -> Self {
        Persist {
            delivered: 0,
            app_limited: 0,
            rate_delivered: 0,
            rate_interval_us: 0,
            recover: SeqNum(0),
            tlp_end: SeqNum(0),
            dsack_delivered: 0,
            reordering: 3,
            reord_seen: 0,
            reo_wnd_steps: 1,
            reo_wnd_persist: 0,
            flags: 0,
        }
    }
}

impl Persist {
    /// Of a connection that takes so many duplicate ACKs for a loss.
    pub fn new(reordering: u16) -> Self {
        Persist { reordering, ..Persist::default() }
    }

    /// Bytes delivered in all.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// DupThresh as adapted to the path (`tcpi_reordering`), segments.
    pub fn reordering(&self) -> u16 {
        self.reordering
    }

    /// How often reordering was seen (`tcpi_reord_seen`).
    pub fn reord_seen(&self) -> u16 {
        self.reord_seen
    }

    /// The delivery rate last measured, bytes a second; 0 is none.
    pub fn delivery_rate(&self) -> u64 {
        u64::from(self.rate_delivered) * 1_000_000 / u64::from(self.rate_interval_us.max(1))
    }

    /// Whether the application limited that rate.
    pub fn delivery_rate_app_limited(&self) -> bool {
        self.is(RATE_APP_LIMITED)
    }

    /// The sender has nothing more to send though the window would allow it: rate samples from here on
    /// say nothing of the path. `in_flight` bytes are.
    pub fn note_app_limited(&mut self, in_flight: u32) {
        self.app_limited = (self.delivered as u32).wrapping_add(in_flight).max(1);
    }

    /// An ACK arrived while there is no flight: true if it reports a duplicate (RFC 2883), from which the
    /// reordering window learns.
    pub fn note_dsack(&mut self, ack: SeqNum, blocks: &[SackBlock]) -> bool {
        let Some((first, rest)) = blocks.split_first() else { return false };
        let len = first.right.since(first.left);
        let dsack =
            sack::is_dsack(first, rest.first(), ack) && first.right.le(ack) && (1..1 << 30).contains(&len);
        if dsack {
            self.put(DSACK_ROUND, true);
        }
        dsack
    }

    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn put(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }
}
