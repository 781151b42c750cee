//! Packets as owned values: an inline head, payload by reference, the state of the checksum.

use bytes::Bytes;
use smallvec::SmallVec;

/// How many bytes fit into a packet's inline head: the longest IP and TCP headers, and small data.
pub const HEAD_CAPACITY: usize = 192;

/// The longest payload, in slices, that is handed on by reference; beyond it data is gathered by copying.
pub const MAX_SLICES: usize = 8;

/// The longest packet, super-segments included: what an IP length field holds.
pub const MAX_PACKET: usize = 65_535;

/// A stretch of bytes as reference-counted slices.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    slices: SmallVec<[Bytes; 2]>,
    len: usize,
}

impl Payload {
    /// Nothing.
    pub const fn new() -> Self {
        Payload { slices: SmallVec::new_const(), len: 0 }
    }

    /// Adds a slice at the end; empty slices are not kept.
    pub fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.len += slice.len();
            self.slices.push(slice);
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slices in order, none of them empty.
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// The slices in order, handed over.
    pub fn into_slices(self) -> SmallVec<[Bytes; 2]> {
        self.slices
    }

    /// Drops the first `n` bytes (all of them if there are fewer).
    pub fn advance(&mut self, n: usize) {
        let mut left = n.min(self.len);
        self.len -= left;
        let mut whole = 0;
        for slice in &mut self.slices {
            if slice.len() > left {
                let _ = slice.split_to(left);
                break;
            }
            left -= slice.len();
            whole += 1;
        }
        if whole > 0 {
            self.slices.drain(..whole);
        }
    }

    /// Keeps the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        if n >= self.len {
            return;
        }
        self.len = n;
        let mut left = n;
        let mut keep = 0;
        for slice in &mut self.slices {
            if left == 0 {
                break;
            }
            slice.truncate(left);
            left -= slice.len();
            keep += 1;
        }
        self.slices.truncate(keep);
    }

    /// The bytes from `start` on, at most `len` of them, by reference.
    pub fn slice(&self, start: usize, len: usize) -> Payload {
        let mut out = Payload::new();
        let (mut skip, mut left) = (start, len);
        for slice in &self.slices {
            if left == 0 {
                break;
            }
            if skip >= slice.len() {
                skip -= slice.len();
                continue;
            }
            let take = left.min(slice.len() - skip);
            out.push(slice.slice(skip..skip + take));
            left -= take;
            skip = 0;
        }
        out
    }

    /// Copies the bytes from `start` on into `out`; returns how many there were.
    pub fn copy_to(&self, start: usize, out: &mut [u8]) -> usize {
        let (mut skip, mut done) = (start, 0);
        for slice in &self.slices {
            if skip >= slice.len() {
                skip -= slice.len();
                continue;
            }
            let take = (slice.len() - skip).min(out.len() - done);
            out[done..done + take].copy_from_slice(&slice[skip..skip + take]);
            done += take;
            skip = 0;
            if done == out.len() {
                break;
            }
        }
        done
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let mut payload = Payload::new();
        payload.push(bytes);
        payload
    }
}

/// Bytes held in place: the headers of a packet, and data too small to be worth a reference.
#[derive(Clone)]
pub struct Head {
    bytes: [u8; HEAD_CAPACITY],
    len: u8,
}

impl Head {
    /// An empty head.
    pub const fn new() -> Self {
        Head { bytes: [0; HEAD_CAPACITY], len: 0 }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The bytes, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }

    /// How many bytes can still be added.
    pub fn room(&self) -> usize {
        HEAD_CAPACITY - usize::from(self.len)
    }

    /// Adds `bytes` at the end. Panics if they do not fit: callers ask [`Head::room`] where the length is not fixed.
    pub fn extend(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len = (at + bytes.len()) as u8;
    }

    /// Adds `n` zero bytes and returns them. Panics if they do not fit.
    pub fn grow(&mut self, n: usize) -> &mut [u8] {
        let at = usize::from(self.len);
        self.bytes[at..at + n].fill(0);
        self.len = (at + n) as u8;
        &mut self.bytes[at..at + n]
    }
}

impl Default for Head {
    fn default() -> Self {
        Head::new()
    }
}

impl core::fmt::Debug for Head {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Head").field(&self.as_slice()).finish()
    }
}

/// What is known of a packet's transport checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checksum {
    /// The field is filled in, and nobody has checked it.
    #[default]
    Unverified,
    /// A device or the sender in the same memory vouches for the payload (virtio's DATA_VALID).
    Verified,
    /// The field holds the sum of the pseudo-header only; whoever puts the packet on a wire completes it
    /// (virtio's NEEDS_CSUM). A receiver takes it as verified.
    Partial,
}

/// One IP packet, or one super-segment that stands for several.
///
/// Its bytes are `head` followed by `payload`. The IP and TCP headers are contiguous: either all of
/// them are in `head` (and small data may follow them there), or `head` is empty and they are at the
/// front of the payload's first slice, as a device that reads into one buffer delivers them.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    /// The front of the packet.
    pub head: Head,
    /// What follows, by reference.
    pub payload: Payload,
    /// TCP payload bytes of each segment that this super-segment stands for, the last may have fewer;
    /// 0 if the packet is what it seems.
    pub gso_size: u16,
    /// The state of the transport checksum.
    pub checksum: Checksum,
}

impl Packet {
    /// A packet as a device read it: one contiguous buffer.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Packet { payload: Payload::from(bytes), ..Packet::default() }
    }

    /// Length in bytes, headers included.
    pub fn len(&self) -> usize {
        self.head.as_slice().len() + self.payload.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The contiguous bytes at the front, where the headers are.
    pub fn front(&self) -> &[u8] {
        if !self.head.as_slice().is_empty() {
            return self.head.as_slice();
        }
        self.payload.slices().first().map_or(&[], |slice| slice)
    }

    /// All bytes, copied into one buffer (captures, tests, devices without vectored writes).
    pub fn to_vec(&self) -> alloc::vec::Vec<u8> {
        let mut out = alloc::vec::Vec::with_capacity(self.len());
        out.extend_from_slice(self.head.as_slice());
        for slice in self.payload.slices() {
            out.extend_from_slice(slice);
        }
        out
    }
}
