//! The Internet checksum (RFC 1071): sixteen-bit one's complement sums, over slices at any offset.

use core::net::IpAddr;

use pulp::{Arch, Simd, WithSimd};

/// From so many bytes on vectors are looked for.
const WIDE_MIN: usize = 256;

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

    /// Adds what was summed apart, of an even number of bytes.
    #[inline]
    pub fn add_sum(&mut self, other: Sum) {
        self.acc += other.acc;
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
    if bytes.len() < 64 { native_short(bytes) } else { native_long(bytes) }
}

/// Headers: at most fifteen words of 32 bits, whose sum does not overflow.
#[inline]
fn native_short(bytes: &[u8]) -> u16 {
    let mut sum = 0;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        sum += u64::from(u32::from_ne_bytes(word.try_into().expect("chunks of four")));
    }
    let rest = match *words.remainder() {
        [a, b, c] => u32::from_ne_bytes([a, b, c, 0]),
        [a, b] => u32::from_ne_bytes([a, b, 0, 0]),
        [a] => u32::from_ne_bytes([a, 0, 0, 0]),
        _ => 0,
    };
    fold(sum + u64::from(rest))
}

/// Data, with the widest vectors that the machine has: finding out which is worth it from [`WIDE_MIN`] on.
fn native_long(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.split_at(bytes.len() & !3);
    let sum = if words.len() < WIDE_MIN { sum_words(words) } else { Arch::new().dispatch(Words(words)) };
    fold(sum + u64::from(native_short(rest)))
}

struct Words<'a>(&'a [u8]);

impl WithSimd for Words<'_> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> u64 {
        sum_words(self.0)
    }
}

/// The sum of words of 32 bits: of a packet's, or of 4 GiB, it does not overflow.
#[inline(always)]
fn sum_words(words: &[u8]) -> u64 {
    let word = |word: &[u8]| u64::from(u32::from_ne_bytes(word.try_into().expect("chunks of four")));
    words.chunks_exact(4).map(word).sum()
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
