//! SYN cookies: a SYN queue of no length (RFC 4987 3.6).
//!
//! ```text
//!   28 bits: keyed hash of tuple, IRS, period and the low bits  |  period mod 2  |  3 bits: class of MSS
//! ```
//! The ISN that answers a SYN is such a number, its low bits masked by another keyed hash; the completing ACK brings
//! it back. Every bit is under the hash, and the IRS as well: a late ACK of the connection that was (one or two
//! sequence numbers on at each end) is no cookie, else it would open a connection that nobody uses. Window scale, SACK and ECN come back in
//! the low six bits of the timestamp, if the peer uses timestamps; else they are not agreed.

use siphasher::sip::SipHasher24;

use crate::rng::Rng;
use crate::stack::demux::Key;
use crate::tcp::{SeqNum, Tuple};
use crate::time::Instant;

/// The MSS classes of IPv4 (from 536, the default of MUST-15, to jumbo frames), ascending.
const MSS_V4: [u16; 8] = [64, 536, 1_024, 1_300, 1_400, 1_440, 1_460, 8_960];
/// The MSS classes of IPv6.
const MSS_V6: [u16; 8] = [64, 1_220, 1_280, 1_320, 1_380, 1_420, 1_440, 8_940];

/// How many bits of a timestamp carry options.
const TS_BITS: u32 = 6;
const TS_MASK: u32 = (1 << TS_BITS) - 1;
const TS_NO_SCALE: u32 = 0xf;
const TS_SACK: u32 = 1 << 4;
const TS_ECN: u32 = 1 << 5;

/// Seconds of one period; a cookie is good in the one it was made in and in the next.
const PERIOD: u64 = 64;
/// The bits beside the hash: the class of MSS, and whether the period is odd.
const CLASS_MASK: u32 = 7;
const ODD_SHIFT: u32 = 3;
const LOW: u32 = 0xf;

/// The options that a timestamp carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct CookieOptions {
    /// The peer's window scale, if it offered one (0 to 14).
    pub(crate) window_scale: Option<u8>,
    /// SACK permitted.
    pub(crate) sack: bool,
    /// ECN asked for.
    pub(crate) ecn: bool,
}

impl CookieOptions {
    /// The timestamp (without a connection's offset) that carries these options: at most `clock`, at
    /// most 64 ticks before it.
    pub(crate) fn encode(self, clock: u32) -> u32 {
        let mut low = self.window_scale.map_or(TS_NO_SCALE, |scale| u32::from(scale.min(14)));
        if self.sack {
            low |= TS_SACK;
        }
        if self.ecn {
            low |= TS_ECN;
        }
        let stamped = (clock & !TS_MASK) | low;
        if stamped > clock { stamped.wrapping_sub(1 << TS_BITS) } else { stamped }
    }

    /// The options in an echoed timestamp (without the offset).
    pub(crate) fn decode(stamp: u32) -> Self {
        let scale = stamp & 0xf;
        CookieOptions {
            // 15 is no scale; nothing encodes above it, four bits hold no more.
            window_scale: (scale != TS_NO_SCALE).then_some(scale as u8),
            sack: stamp & TS_SACK != 0,
            ecn: stamp & TS_ECN != 0,
        }
    }
}

/// The maker and checker of cookies.
pub(crate) struct Cookies {
    proof: SipHasher24,
    mask: SipHasher24,
}

impl Cookies {
    /// Under fresh keys.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Cookies { proof: SipHasher24::new_with_key(&rng.key()), mask: SipHasher24::new_with_key(&rng.key()) }
    }

    /// The ISS that answers the SYN of `tuple` with sequence number `irs` and MSS option `mss`.
    pub(crate) fn make(&self, now: Instant, tuple: &Tuple, irs: SeqNum, mss: u16) -> SeqNum {
        let period = period(now);
        // The greatest class that is not above the peer's MSS; the least if there is none.
        let class = table(tuple).iter().rposition(|&m| m <= mss).unwrap_or(0) as u32;
        SeqNum(self.cookie(tuple, irs, period, (period & 1) << ODD_SHIFT | class))
    }

    /// The MSS class that the cookie `iss` stands for, if it is one and of this period or the one before.
    pub(crate) fn check(&self, now: Instant, tuple: &Tuple, irs: SeqNum, iss: SeqNum) -> Option<u16> {
        let low = (iss.0 ^ hash(&self.mask, tuple, irs, 0)) & LOW;
        let now = period(now);
        let period = now.wrapping_sub((now ^ low >> ODD_SHIFT) & 1);
        let is_right = self.cookie(tuple, irs, period, low) == iss.0;
        is_right.then(|| table(tuple)[(low & CLASS_MASK) as usize])
    }

    fn cookie(&self, tuple: &Tuple, irs: SeqNum, period: u32, low: u32) -> u32 {
        let proof = hash(&self.proof, tuple, irs, u64::from(period) << 32 | u64::from(low)) & !LOW;
        proof | (low ^ hash(&self.mask, tuple, irs, 0)) & LOW
    }
}

fn hash(hasher: &SipHasher24, tuple: &Tuple, irs: SeqNum, more: u64) -> u32 {
    let key = Key::new(tuple);
    let mut bytes = [0; 48];
    let len = key.as_bytes().len();
    bytes[..len].copy_from_slice(key.as_bytes());
    bytes[len..len + 4].copy_from_slice(&irs.0.to_be_bytes());
    bytes[len + 4..len + 12].copy_from_slice(&more.to_be_bytes());
    hasher.hash(&bytes[..len + 12]) as u32
}

impl core::fmt::Debug for Cookies {
    /// Secrets are not shown.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Cookies")
    }
}

fn period(now: Instant) -> u32 {
    (now.as_secs() / PERIOD) as u32
}

fn table(tuple: &Tuple) -> &'static [u16; 8] {
    if tuple.local.is_ipv4() { &MSS_V4 } else { &MSS_V6 }
}
