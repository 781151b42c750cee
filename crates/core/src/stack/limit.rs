//! How often something may be sent.

use crate::rng::Rng;
use crate::time::Instant;

/// A token bucket that fills at a rate and holds one second's worth of it.
///
/// What one answer takes is random, between half a token and one and a half, so that counting answers
/// does not tell exactly how many others were sent (CVE-2016-5696, CVE-2020-25705).
#[derive(Debug, Default)]
pub(crate) struct Limit {
    /// In units of 2^-10 tokens.
    level: u64,
    at: Option<Instant>,
}

const UNIT: u64 = 1 << 10;

impl Limit {
    /// Whether one more may be sent at this rate (a second).
    pub(crate) fn take(&mut self, now: Instant, rate: u32, rng: &mut Rng) -> bool {
        let full = u64::from(rate) * UNIT;
        let since = self.at.map_or(u64::MAX, |at| now.since(at).as_micros() as u64);
        let gained = since.saturating_mul(full) / 1_000_000;
        self.level = self.level.saturating_add(gained).min(full);
        if gained > 0 || self.at.is_none() {
            self.at = Some(now);
        }
        // Between half a token and one and a half, one on average; enough for the dearest has to be there.
        if self.level < UNIT + UNIT / 2 {
            return false;
        }
        self.level -= UNIT / 2 + u64::from(rng.below(UNIT as u32 + 1));
        true
    }
}
