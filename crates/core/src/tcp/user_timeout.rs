//! The user timeout, ours and the peer's wish (RFC 9293 3.8.3 MUST-21, RFC 5482).

use super::*;
use crate::wire::tcp::Options as SegmentOptions;

/// L_LIMIT and U_LIMIT of RFC 5482 3.1: what a peer can bring us to.
const LOWER: Duration = Duration::from_secs(100);
const UPPER: Duration = Duration::from_secs(7_200);

/// The user timeout when nobody said anything, as far as the option is concerned (RFC 5482's ADV_UTO default).
const DEFAULT: Duration = Duration::from_secs(300);

/// Bit 15: the value is in minutes.
const MINUTES: u16 = 0x8000;

/// The 16 bits of the option for `timeout`, never zero (RFC 5482 3.3, 3.4): seconds as far as they reach,
/// then minutes, rounded up.
pub fn encode(timeout: Duration) -> u16 {
    let secs = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    match secs.max(1) {
        secs @ ..0x8000 => secs as u16,
        secs => MINUTES | secs.div_ceil(60).min(0x7fff) as u16,
    }
}

/// What the option says; `None` for zero (RFC 5482 3.4).
pub fn decode(bits: u16) -> Option<Duration> {
    let value = u64::from(bits & !MINUTES);
    let secs = if bits & MINUTES != 0 { value * 60 } else { value };
    (secs > 0).then(|| Duration::from_secs(secs))
}

impl Connection {
    /// The user timeout in force: the application's (which nothing overrides), or one adopted from the peer.
    pub(super) fn user_timeout(&self) -> Option<Duration> {
        let adopted =
            (self.snd.adopted_timeout > 0).then(|| Duration::from_secs(self.snd.adopted_timeout.into()));
        self.options.user_timeout.or(adopted)
    }

    /// What we announce: the application's timeout, or the usual one.
    pub(super) fn announced_timeout(&self) -> Option<u16> {
        let wish = self.options.user_timeout.unwrap_or(DEFAULT);
        (self.options.user_timeout_option && self.due.user_timeout).then(|| encode(wish))
    }

    /// RFC 5482 3.1: min(U_LIMIT, max(ADV_UTO, REMOTE_UTO, L_LIMIT)), if the option is in use and the
    /// application has set none (CHANGEABLE).
    pub(super) fn hear_user_timeout(&mut self, options: &SegmentOptions) {
        let Some(remote) = options.user_timeout.and_then(decode) else { return };
        if !self.options.user_timeout_option || self.options.user_timeout.is_some() {
            return;
        }
        self.snd.adopted_timeout = DEFAULT.max(remote).max(LOWER).min(UPPER).as_secs() as u32;
    }
}
