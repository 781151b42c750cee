//! Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 7.1).

use siphasher::sip::SipHasher24;

use crate::rng::Rng;
use crate::stack::demux::Key;
use crate::tcp::{SeqNum, Tuple};
use crate::time::Instant;

/// The two secrets. They come from the stack's generator and leave this module only as hashes (MUST-9).
pub(crate) struct Secrets {
    isn: SipHasher24,
    timestamps: SipHasher24,
}

impl Secrets {
    /// Fresh secrets.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Secrets {
            isn: SipHasher24::new_with_key(&rng.key()),
            timestamps: SipHasher24::new_with_key(&rng.key()),
        }
    }

    /// `ISN = M + F(localip, localport, remoteip, remoteport, secret)`, where M ticks every 4
    /// microseconds (RFC 9293 3.4.1, MUST-8, SHLD-1). One tuple's numbers grow with time, so that a
    /// reopened connection starts ahead of its last incarnation.
    pub(crate) fn iss(&self, now: Instant, tuple: &Tuple) -> SeqNum {
        let clock = (now.as_micros() / 4) as u32;
        SeqNum(clock.wrapping_add(self.isn.hash(Key::new(tuple).as_bytes()) as u32))
    }

    /// What is added to the timestamp clock toward this peer. By address pair, not by port, so that the
    /// timestamps of successive connections between two hosts grow (RFC 6191).
    pub(crate) fn ts_offset(&self, tuple: &Tuple) -> u32 {
        let key = Key::new(tuple);
        let bytes = key.as_bytes();
        self.timestamps.hash(&bytes[..bytes.len() - 4]) as u32
    }
}

impl core::fmt::Debug for Secrets {
    /// Secrets are not shown.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secrets")
    }
}
