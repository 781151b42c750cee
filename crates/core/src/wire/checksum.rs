//! The Internet checksum (RFC 1071): sixteen-bit one's complement sums, over slices at any offset.

use core::net::IpAddr;

/// A running one's complement sum.
///
/// Slices are added one after the other as if they were one buffer: a slice that begins at an odd
/// offset is taken into account with its bytes swapped (RFC 1071 2 (B)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Sum of words in the machine's own byte order, not folded.
    acc: u64,
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Sum { acc: 0, odd: false }
    }

    /// Adds the bytes that follow those added before.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let sum = u64::from(native(bytes));
        self.acc += if self.odd { u64::from((sum as u16).swap_bytes()) } else { sum };
        self.odd ^= bytes.len() % 2 != 0;
    }

    /// Adds one sixteen-bit word that stands at an even offset of its own (a pseudo-header's field).
    #[inline]
    pub fn add_word(&mut self, word: u16) {
        self.acc += u64::from(word.to_be());
    }

    /// The sum folded to sixteen bits, not complemented: what a field that somebody else completes holds.
    #[inline]
    pub fn folded(self) -> u16 {
        u16::from_be(fold(self.acc))
    }

    /// The checksum: the complement of the folded sum, as it goes into a header.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.folded()
    }

    /// Whether the sum, checksum field included, is that of intact data.
    #[inline]
    pub fn is_valid(self) -> bool {
        fold(self.acc) == 0xffff
    }
}

/// The checksum of `bytes` standing alone (an IPv4 header, an ICMP message).
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add(bytes);
    sum.checksum()
}

/// The sum of the pseudo-header of IPv4 (RFC 9293 3.1) or IPv6 (RFC 8200 8.1).
///
/// `len` is the length of the transport header and its data in bytes. Addresses of different
/// families are summed as they are.
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Sum {
    let mut sum = Sum::new();
    for address in [src, dst] {
        match address {
            IpAddr::V4(a) => sum.add(&a.octets()),
            IpAddr::V6(a) => sum.add(&a.octets()),
        }
    }
    let len = len as u32;
    sum.add_word((len >> 16) as u16);
    sum.add_word(len as u16);
    sum.add_word(u16::from(protocol));
    sum
}

/// The sum in native byte order, folded to sixteen bits.
#[inline]
fn native(bytes: &[u8]) -> u16 {
    let (mut acc, rest) = if bytes.len() >= 64 { blocks(bytes) } else { (0, bytes) };
    let mut words = rest.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_ne_bytes(word.try_into().expect("chunks of eight"));
        acc += (word & 0xffff_ffff) + (word >> 32);
    }
    let mut rest = words.remainder();
    if let Some((word, tail)) = rest.split_first_chunk::<4>() {
        acc += u64::from(u32::from_ne_bytes(*word));
        rest = tail;
    }
    if let Some((word, tail)) = rest.split_first_chunk::<2>() {
        acc += u64::from(u16::from_ne_bytes(*word));
        rest = tail;
    }
    if let [last] = rest {
        acc += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    fold(acc)
}

/// Sums blocks of 64 bytes, in a form that compiles to vector instructions.
///
/// Each lane keeps the sum of its 64-bit words modulo 2^64, and that of their upper halves. The sum of
/// the lower halves is the difference: with fewer than 2^32 words no half's sum reaches 2^64.
fn blocks(bytes: &[u8]) -> (u64, &[u8]) {
    let mut whole = [0u64; 8];
    let mut upper = [0u64; 8];
    let mut chunks = bytes.chunks_exact(64);
    for chunk in &mut chunks {
        let chunk: &[u8; 64] = chunk.try_into().expect("chunks of 64");
        for lane in 0..8 {
            let mut word = [0; 8];
            word.copy_from_slice(&chunk[lane * 8..lane * 8 + 8]);
            let word = u64::from_ne_bytes(word);
            whole[lane] = whole[lane].wrapping_add(word);
            upper[lane] += word >> 32;
        }
    }
    let mut acc = 0;
    for lane in 0..8 {
        let lower = whole[lane].wrapping_sub(upper[lane] << 32);
        acc += u64::from(fold(lower)) + u64::from(fold(upper[lane]));
    }
    (acc, chunks.remainder())
}

#[inline]
fn fold(acc: u64) -> u16 {
    let acc = (acc & 0xffff_ffff) + (acc >> 32);
    let acc = (acc & 0xffff) + (acc >> 16);
    let acc = (acc & 0xffff) + (acc >> 16);
    ((acc & 0xffff) + (acc >> 16)) as u16
}

#[cfg(test)]
mod tests;
