//! Round-trip time and retransmission timeout (RFC 6298), and the windowed minimum RTT (RFC 8985 6.2).

use crate::branch::unlikely;
use crate::config::{Config, Profile};
use crate::time::{Duration, Instant};

/// How the RTO follows from the estimate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtoPolicy {
    /// The least RTO. RFC 6298 (2.4) says 1 s; Linux has 200 ms (a documented deviation).
    pub min: Duration,
    /// The greatest RTO, at least 60 s (RFC 6298 (2.5)).
    pub max: Duration,
    /// The RTO before any sample (RFC 6298 (2.1)).
    pub initial: Duration,
    /// Linux's form: `min` is a floor of the variance term, which follows the largest deviation of the
    /// last round trip. Otherwise `min` is a floor of the RTO, as in RFC 6298.
    pub linux_style: bool,
}

impl From<&Config> for RtoPolicy {
    #[inline(always)]
    fn from(config: &Config) -> Self {
        RtoPolicy {
            min: config.rto_min,
            max: config.rto_max,
            initial: config.rto_initial,
            linux_style: config.profile == Profile::Linux,
        }
    }
}

/// How long a minimum RTT is believed, seconds (Linux's `tcp_min_rtt_wlen`).
const MIN_RTT_WINDOW: u16 = 300;
/// Clock granularity G of RFC 6298, microseconds.
const GRANULARITY: u32 = 1;
/// Samples above this are cut, microseconds.
const LONGEST: u32 = 120_000_000;

/// SRTT, RTTVAR, back-off and minimum RTT of a connection. All times are microseconds.
#[derive(Clone, Debug)]
pub struct RttEstimator {
    /// SRTT, scaled by 8; 0 before the first sample.
    srtt8: u32,
    /// Mean deviation, scaled by 4.
    mdev4: u32,
    /// Linux's form: the largest `mdev4` in this round trip.
    mdev4_max: u32,
    /// RTTVAR, scaled by 4.
    rttvar4: u32,
    /// When this round trip ends, wrapping microseconds.
    round_end: u32,
    /// The minimum RTT, and the minimum since half a window after `min_since`; `u32::MAX` is none.
    min: u32,
    next_min: u32,
    /// When the window of `min` began, wrapping seconds.
    min_since: u16,
    /// How often the RTO is doubled.
    backoff: u8,
    /// The SYN timed out, and there is no sample yet (RFC 6298 (5.7)).
    syn_timed_out: bool,
}

impl RttEstimator {
    /// Knows nothing yet.
    pub const fn new() -> Self {
        RttEstimator {
            srtt8: 0,
            mdev4: 0,
            mdev4_max: 0,
            rttvar4: 0,
            round_end: 0,
            min: u32::MAX,
            next_min: u32::MAX,
            min_since: 0,
            backoff: 0,
            syn_timed_out: false,
        }
    }

    /// Takes a measured round trip, which must not be ambiguous (Karn), and ends the back-off.
    pub fn sample(&mut self, now: Instant, sample: Duration, policy: &RtoPolicy) {
        self.sample_us(now, micros(sample), policy);
    }

    /// [`RttEstimator::sample`] in microseconds.
    #[inline(always)]
    pub(crate) fn sample_us(&mut self, now: Instant, sample: u32, policy: &RtoPolicy) {
        let sample = sample.clamp(1, LONGEST);
        self.update_min(now, sample);
        if policy.linux_style {
            self.update_linux(now, sample, micros(policy.min));
        } else {
            self.update_rfc(sample);
        }
        self.backoff = 0;
        self.syn_timed_out = false;
    }

    /// RFC 6298 (2.2), (2.3).
    fn update_rfc(&mut self, r: u32) {
        if self.srtt8 == 0 {
            self.srtt8 = r * 8;
            self.rttvar4 = r * 2;
        } else {
            // RTTVAR is computed with the SRTT from before the sample.
            let deviation = (self.srtt8 / 8).abs_diff(r);
            self.rttvar4 = self.rttvar4 - self.rttvar4 / 4 + deviation;
            self.srtt8 = self.srtt8 - self.srtt8 / 8 + r;
        }
        self.mdev4 = self.rttvar4;
    }

    /// As Linux's `tcp_rtt_estimator`: the deviation sinks slowly when it is the RTT that sinks, and
    /// RTTVAR is the largest deviation of the round trip, never below the floor.
    fn update_linux(&mut self, now: Instant, r: u32, floor: u32) {
        let clock = now.as_micros() as u32;
        if unlikely(self.srtt8 == 0) {
            self.srtt8 = r * 8;
            self.mdev4 = r * 2;
            self.rttvar4 = self.mdev4.max(floor);
            self.mdev4_max = self.rttvar4;
            self.round_end = clock.wrapping_add(r);
            return;
        }
        let error = i64::from(r) - i64::from(self.srtt8 >> 3);
        self.srtt8 = (i64::from(self.srtt8) + error).max(1) as u32;
        let mut change = error.abs() - i64::from(self.mdev4 >> 2);
        if error < 0 && change > 0 {
            change >>= 3;
        }
        self.mdev4 = (i64::from(self.mdev4) + change).max(0) as u32;
        if self.mdev4 > self.mdev4_max {
            self.mdev4_max = self.mdev4;
            self.rttvar4 = self.rttvar4.max(self.mdev4_max);
        }
        if clock.wrapping_sub(self.round_end) as i32 >= 0 {
            if self.mdev4_max < self.rttvar4 {
                self.rttvar4 -= (self.rttvar4 - self.mdev4_max) >> 2;
            }
            self.round_end = clock.wrapping_add(self.srtt8 >> 3);
            self.mdev4_max = floor;
        }
    }

    fn update_min(&mut self, now: Instant, r: u32) {
        let clock = now.as_secs() as u16;
        let age = clock.wrapping_sub(self.min_since);
        if r <= self.min || age > MIN_RTT_WINDOW + MIN_RTT_WINDOW / 2 {
            self.min = r;
            self.next_min = u32::MAX;
            self.min_since = clock;
        } else if age > MIN_RTT_WINDOW {
            self.min = self.next_min.min(r);
            self.next_min = u32::MAX;
            self.min_since = self.min_since.wrapping_add(MIN_RTT_WINDOW / 2);
        } else if age > MIN_RTT_WINDOW / 2 {
            self.next_min = self.next_min.min(r);
        }
    }

    /// Notes a delivery time for the minimum only: of a segment whose sample does not go into SRTT.
    pub(crate) fn note_min(&mut self, now: Instant, sample: u32) {
        if sample < self.min {
            self.update_min(now, sample.clamp(1, LONGEST));
        }
    }

    /// RFC 6298 (5.7): the SYN timed out, so the RTO is 3 s until there is a sample.
    pub fn after_syn_timeout(&mut self) {
        self.backoff = 0;
        self.syn_timed_out = self.srtt8 == 0;
    }

    /// The RTO, backed off.
    #[inline]
    pub fn rto(&self, policy: &RtoPolicy) -> Duration {
        let base = self.rto_without_backoff(policy);
        if self.backoff == 0 {
            return base;
        }
        base.saturating_mul(1 << self.backoff.min(20)).min(policy.max)
    }

    /// [`RttEstimator::rto`] in nanoseconds.
    #[inline(always)]
    pub(crate) fn rto_nanos(&self, policy: &RtoPolicy) -> u64 {
        if self.srtt8 != 0 && self.backoff == 0 && policy.linux_style {
            let rto = (u64::from(self.srtt8 >> 3) + u64::from(self.rttvar4)) * 1_000;
            return rto.min(nanos(policy.max));
        }
        self.rto_nanos_of_any(policy)
    }

    #[inline(never)]
    fn rto_nanos_of_any(&self, policy: &RtoPolicy) -> u64 {
        nanos(self.rto(policy))
    }

    /// The RTO as if nothing had timed out.
    #[inline]
    pub fn rto_without_backoff(&self, policy: &RtoPolicy) -> Duration {
        let rto = if self.srtt8 == 0 {
            if self.syn_timed_out { policy.initial.max(Duration::from_secs(3)) } else { policy.initial }
        } else if policy.linux_style {
            Duration::from_micros(u64::from((self.srtt8 >> 3) + self.rttvar4))
        } else {
            Duration::from_micros(u64::from(self.srtt8 / 8 + self.rttvar4.max(GRANULARITY))).max(policy.min)
        };
        rto.min(policy.max)
    }

    /// RFC 6298 (5.5): doubles the RTO; it stays doubled until a valid sample.
    pub fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    /// The RTO is as before it was doubled.
    pub fn forget_back_off(&mut self) {
        self.backoff = 0;
    }

    /// How often the RTO was doubled since the last sample.
    pub fn backoff(&self) -> u8 {
        self.backoff
    }

    /// Ends the back-off without a sample: the timeout proved spurious, or (as on Linux) the ACK moved.
    pub fn clear_backoff(&mut self) {
        self.backoff = 0;
    }

    /// SRTT; `None` before the first sample.
    pub fn srtt(&self) -> Option<Duration> {
        (self.srtt8 != 0).then(|| Duration::from_micros(u64::from((self.srtt8 >> 3).max(1))))
    }

    /// RTTVAR.
    pub fn rttvar(&self) -> Duration {
        Duration::from_micros(u64::from(self.rttvar4 >> 2))
    }

    /// The least RTT of the last 300 s; `None` before the first sample.
    pub fn min_rtt(&self) -> Option<Duration> {
        (self.min != u32::MAX).then(|| Duration::from_micros(u64::from(self.min)))
    }

    /// Whether there was a sample.
    pub(crate) fn has_sample(&self) -> bool {
        self.srtt8 != 0
    }

    /// SRTT in microseconds, 0 before the first sample.
    pub(crate) fn srtt_us(&self) -> u32 {
        self.srtt8 >> 3
    }

    /// The least RTT in microseconds, `u32::MAX` before the first sample.
    pub(crate) fn min_rtt_us(&self) -> u32 {
        self.min
    }
}

impl Default for RttEstimator {
    fn default() -> Self {
        RttEstimator::new()
    }
}

/// Whole microseconds from `earlier` to `now`, at most what 32 bits hold.
pub(crate) fn micros_between(earlier: Instant, now: Instant) -> u32 {
    (now.as_nanos().saturating_sub(earlier.as_nanos()) / 1_000).min(u64::from(u32::MAX)) as u32
}

/// Nanoseconds, at most what 64 bits hold.
pub(crate) const fn nanos(d: Duration) -> u64 {
    d.as_secs().saturating_mul(1_000_000_000).saturating_add(d.subsec_nanos() as u64)
}

/// Whole microseconds, at most what 32 bits hold.
pub(crate) fn micros(d: Duration) -> u32 {
    const MOST: u64 = (u32::MAX / 1_000_000) as u64;
    if unlikely(d.as_secs() >= MOST) {
        return u32::try_from(d.as_micros()).unwrap_or(u32::MAX);
    }
    d.as_secs() as u32 * 1_000_000 + d.subsec_micros()
}

#[cfg(test)]
mod tests;
