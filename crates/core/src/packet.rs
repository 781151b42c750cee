//! Packets as owned values: an inline head, payload by reference, the state of the checksum.

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

/// How many bytes fit into a packet's inline head: the longest IP and TCP headers, or usual ones and small data.
pub const HEAD_CAPACITY: usize = 128;

/// The longest payload, in slices, that is handed on by reference; beyond it data is gathered by copying.
pub const MAX_SLICES: usize = 8;

/// The longest packet, super-segments included: what an IP length field holds.
pub const MAX_PACKET: usize = 65_535;

/// Copies `from` into `to`, which is as long: what is short without a call, which would cost more than the copy.
#[inline(always)]
pub(crate) fn copy_short(to: &mut [u8], from: &[u8]) {
    let n = from.len();
    if n != to.len() || n == 0 || n > 16 {
        to.copy_from_slice(from);
    } else if n < 4 {
        (to[0], to[n / 2], to[n - 1]) = (from[0], from[n / 2], from[n - 1]);
    } else if n < 8 {
        copy_ends::<4>(to, from);
    } else {
        copy_ends::<8>(to, from);
    }
}

/// Copies the first `N` bytes and the last `N`, which may overlap.
#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        let n = to.len();
        to[..N].copy_from_slice(first);
        to[n - N..].copy_from_slice(last);
    }
}

/// Adds `bytes` at the end: few of them one by one, the first ones where there is just room for them.
#[inline(always)]
pub(crate) fn extend_short<const N: usize>(to: &mut SmallVec<[u8; N]>, bytes: &[u8])
where
    [u8; N]: smallvec::Array<Item = u8>,
{
    if bytes.len() <= 4 && to.len() + bytes.len() <= N {
        bytes.iter().for_each(|byte| to.push(*byte));
    } else {
        extend_long(to, bytes);
    }
}

#[inline(never)]
fn extend_long<const N: usize>(to: &mut SmallVec<[u8; N]>, bytes: &[u8])
where
    [u8; N]: smallvec::Array<Item = u8>,
{
    if to.is_empty() && bytes.len() > N {
        to.reserve_exact(bytes.len());
    }
    to.extend_from_slice(bytes);
}

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
                slice.advance(left);
                break;
            }
            left -= slice.len();
            whole += 1;
        }
        if whole > 0 {
            self.slices.drain(..whole);
        }
    }

    /// Takes the first `n` bytes out (all of them if there are fewer).
    #[must_use]
    pub fn split_to(&mut self, n: usize) -> Payload {
        match self.slices.first_mut() {
            Some(first) if n < first.len() => {
                self.len -= n;
                return Payload { slices: smallvec::smallvec![first.split_to(n)], len: n };
            }
            _ if n >= self.len => return core::mem::take(self),
            _ => {}
        }
        let front = self.slice(0, n);
        self.advance(n);
        front
    }

    /// Adds what `other` has at the end; nothing is left of it there.
    pub fn append(&mut self, other: &mut Payload) {
        self.len += core::mem::take(&mut other.len);
        if other.slices.len() == 1 {
            self.slices.extend(other.slices.pop());
        } else {
            self.slices.append(&mut other.slices);
        }
    }

    /// Makes room for so many more slices.
    pub fn reserve(&mut self, slices: usize) {
        self.slices.reserve(slices);
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
#[repr(align(8))]
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
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The bytes, to be changed in place.
    #[inline]
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

    /// So long from now on; what was not written before is anything. Panics beyond [`HEAD_CAPACITY`].
    #[inline]
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(len <= HEAD_CAPACITY);
        self.len = len as u8;
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
    /// Nothing yet: copied from where it is to where a packet is to stand.
    pub(crate) const EMPTY: Packet =
        Packet { head: Head::new(), payload: Payload::new(), gso_size: 0, checksum: Checksum::Unverified };

    /// A packet as a device read it: one contiguous buffer.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Packet { payload: Payload::from(bytes), ..Packet::default() }
    }

    /// Length in bytes, headers included.
    #[inline]
    pub fn len(&self) -> usize {
        self.head.as_slice().len() + self.payload.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The contiguous bytes at the front, where the headers are.
    #[inline]
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
