//! Streams whose every byte tells its place: what is lost, doubled, moved or mixed up shows at once.

/// A stream: the same number, the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stream(pub u64);

impl Stream {
    /// Writes the bytes from `offset` on.
    pub(super) fn fill(self, offset: u64, out: &mut [u8]) {
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = self.at(offset + i as u64);
        }
    }

    /// The offset of the first byte that is not the one of its place.
    pub(super) fn differs(self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let wrong = |(i, byte): (usize, &u8)| *byte != self.at(offset + i as u64);
        bytes.iter().enumerate().position(wrong).map(|i| offset + i as u64)
    }

    /// Finalizer of SplitMix64 over the place's number of eight.
    fn at(self, offset: u64) -> u8 {
        let mut z = (self.0 << 48 ^ offset >> 3).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z >> (8 * (offset & 7))) as u8
    }
}
