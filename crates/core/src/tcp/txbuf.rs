//! The send buffer: every octet from SND.UNA on, those in flight and those not sent yet.
//!
//! ```text
//!   offset 0 = SND.UNA                                          len
//!      |---- sent, not acknowledged ----|---- not sent yet ------|
//!      |  piece  |  piece  | ...  piece |     tail (being filled)|~~~ room ~~~
//! ```
//!
//! What is written is copied once, into chunks; segments refer to it. An octet never changes between
//! being written and being acknowledged, whatever the segments it is sent in (rfc2525-s2.4-a).
//! A few octets lie in the buffer itself, more in one small vector, and an empty buffer holds no memory.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::branch::cold;
use crate::packet::{MAX_SLICES, Payload, copy_short, extend_short};

/// Up to this many bytes a buffer is one plain vector, and slices of it are copies.
const SMALL_MAX: usize = 2048;
/// Up to this many bytes lie in the buffer itself: the messages of the shortest exchanges.
const IN_PLACE: usize = 16;
/// The least and the most bytes of a chunk.
const CHUNK_MIN: usize = 4 * 1024;
const CHUNK_MAX: usize = 64 * 1024;
/// Shorter data that is handed over is copied; adjacent shorter pieces are made one.
const PIECE_MIN: usize = 512;

/// The bytes from SND.UNA on. Offsets are counted from there.
pub struct TxBuf {
    repr: Repr,
    /// How many they are: asked for at every step.
    len: u32,
}

enum Repr {
    /// The bytes are the last of these, at most [`SMALL_MAX`]; none exactly if there are none of these.
    Small(SmallVec<[u8; IN_PLACE]>),
    /// Never empty.
    Large(Box<Large>),
}

/// A stretch of bytes that nobody writes to any more.
struct Piece {
    /// Where it begins, counted from when the [`Large`] came to be.
    at: u64,
    data: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.at + self.data.len() as u64
    }
}

/// Pieces in order, then the tail; positions are counted from when the value came to be.
struct Large {
    /// The position of SND.UNA. The first piece (or the tail, if there is none) may begin before it.
    front: u64,
    /// The position behind the last byte.
    end: u64,
    /// Adjacent, none of them empty.
    pieces: VecDeque<Piece>,
    /// How many pieces were dropped, and which (counting those) was used last.
    dropped: u64,
    cursor: u64,
    /// The bytes before `end` that no slice refers to yet, and room for more.
    tail: BytesMut,
}

impl TxBuf {
    /// An empty buffer; holds no memory.
    pub const fn new() -> Self {
        TxBuf { repr: Repr::Small(SmallVec::new_const()), len: 0 }
    }

    /// How many bytes it holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `data` at the end, copying it once.
    #[inline]
    pub fn write(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if let Repr::Small(small) = &mut self.repr
            && small.len() + data.len() <= SMALL_MAX
        {
            self.len += data.len() as u32;
            return extend_short(small, data);
        }
        self.write_long(data);
    }

    #[inline(never)]
    fn write_long(&mut self, data: &[u8]) {
        let held = self.len();
        match &mut self.repr {
            // Moving costs no more than what was acknowledged since the last time.
            Repr::Small(small) if small.len() >= 2 * held && held + data.len() <= SMALL_MAX => {
                small.drain(..small.len() - held);
                small.extend_from_slice(data);
            }
            _ => self.large().write(data),
        }
        self.len += data.len() as u32;
    }

    /// Adds `data` at the end, by reference unless it is short.
    pub fn push(&mut self, data: Bytes) {
        if data.len() < PIECE_MIN {
            return self.write(&data);
        }
        let more = data.len() as u32;
        self.large().push(data);
        self.len += more;
    }

    /// The bytes from `offset` on, at most `len` of them and as many as there are.
    ///
    /// They are handed out by reference; by copying if the buffer holds little or if there would be more than
    /// [`MAX_SLICES`] slices.
    pub fn slice(&mut self, offset: usize, len: usize) -> Payload {
        match &mut self.repr {
            Repr::Small(data) => {
                let held = &data[data.len() - self.len as usize..];
                let start = offset.min(held.len());
                let end = start + len.min(held.len() - start);
                Payload::from(Bytes::copy_from_slice(&held[start..end]))
            }
            Repr::Large(large) => large.slice(offset, len),
        }
    }

    /// Copies the bytes from `offset` on into `out`; returns how many there were.
    #[inline(always)]
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> usize {
        match &self.repr {
            Repr::Small(data) => {
                let held = &data[data.len() - self.len as usize..];
                let held = &held[offset.min(held.len())..];
                let n = held.len().min(out.len());
                copy_short(&mut out[..n], &held[..n]);
                n
            }
            Repr::Large(large) => {
                cold();
                large.copy_to(offset, out)
            }
        }
    }

    /// Drops the first `n` bytes, which were acknowledged (all of them if there are fewer).
    #[inline]
    pub fn advance(&mut self, n: usize) {
        if n >= self.len() {
            return self.clear();
        }
        cold();
        self.len -= n as u32;
        if let Repr::Large(large) = &mut self.repr {
            large.advance(n);
        }
    }

    /// Drops everything.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
        if let Repr::Small(data) = &mut self.repr
            && !data.spilled()
        {
            return data.clear();
        }
        cold();
        self.repr = Repr::Small(SmallVec::new_const());
    }

    /// Bytes held, on the heap but for the very first. An acknowledged part of the first chunk (less than 64 KiB) does not count, nor what
    /// lies around data that was handed over.
    pub fn memory(&self) -> usize {
        match &self.repr {
            Repr::Small(data) => {
                if data.spilled() {
                    data.capacity()
                } else {
                    data.len()
                }
            }
            Repr::Large(large) => large.memory(),
        }
    }

    fn large(&mut self) -> &mut Large {
        if let Repr::Small(data) = &mut self.repr {
            let head = (data.len() - self.len as usize) as u64;
            let data = Bytes::from(core::mem::take(data).into_vec());
            let mut large = Large {
                front: head,
                end: data.len() as u64,
                pieces: VecDeque::new(),
                dropped: 0,
                cursor: 0,
                tail: BytesMut::new(),
            };
            if !data.is_empty() {
                large.pieces.push_back(Piece { at: 0, data });
            }
            self.repr = Repr::Large(Box::new(large));
        }
        match &mut self.repr {
            Repr::Large(large) => large,
            Repr::Small(_) => unreachable!("made large above"),
        }
    }
}

impl Default for TxBuf {
    fn default() -> Self {
        TxBuf::new()
    }
}

impl core::fmt::Debug for TxBuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TxBuf").field("len", &self.len()).field("memory", &self.memory()).finish()
    }
}

impl Large {
    fn len(&self) -> usize {
        (self.end - self.front) as usize
    }

    /// The position of the tail's first byte.
    fn tail_at(&self) -> u64 {
        self.end - self.tail.len() as u64
    }

    fn write(&mut self, mut data: &[u8]) {
        loop {
            let room = self.tail.capacity() - self.tail.len();
            let (now, later) = data.split_at(room.min(data.len()));
            self.tail.extend_from_slice(now);
            self.end += now.len() as u64;
            if later.is_empty() {
                return;
            }
            data = later;
            self.seal();
            // A chunk for each doubling of what is held, within bounds.
            let size = data.len().max(self.len()).clamp(CHUNK_MIN, CHUNK_MAX);
            self.tail = BytesMut::with_capacity(size);
        }
    }

    fn push(&mut self, data: Bytes) {
        self.seal();
        let at = self.end;
        self.end += data.len() as u64;
        self.pieces.push_back(Piece { at, data });
    }

    /// Makes a piece of what the tail holds. The room behind it stays the tail's.
    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let at = self.tail_at();
        let full = self.tail.len() == self.tail.capacity();
        let data = if full { core::mem::take(&mut self.tail) } else { self.tail.split() }.freeze();
        match self.pieces.back_mut() {
            Some(last) if last.data.len() < PIECE_MIN && data.len() < PIECE_MIN => {
                let mut both = Vec::with_capacity(last.data.len() + data.len());
                both.extend_from_slice(&last.data);
                both.extend_from_slice(&data);
                last.data = Bytes::from(both);
            }
            _ => self.pieces.push_back(Piece { at, data }),
        }
    }

    /// The number (in `pieces`) of the piece that holds position `at`, which is before the tail.
    fn find(&self, at: u64) -> usize {
        let cursor = self.cursor.saturating_sub(self.dropped) as usize;
        for guess in [cursor, cursor + 1, 0] {
            if self.pieces.get(guess).is_some_and(|piece| piece.at <= at && at < piece.end()) {
                return guess;
            }
        }
        self.pieces.partition_point(|piece| piece.end() <= at)
    }

    fn slice(&mut self, offset: usize, len: usize) -> Payload {
        let mut out = Payload::new();
        let offset = offset.min(self.len());
        let len = len.min(self.len() - offset);
        if len == 0 {
            return out;
        }
        let at = self.front + offset as u64;
        let end = at + len as u64;
        if end > self.tail_at() {
            self.seal();
        }
        let first = self.find(at);
        let last_allowed = first + MAX_SLICES - 1;
        if self.pieces.get(last_allowed).is_some_and(|piece| piece.end() < end) {
            let mut gathered = alloc::vec![0; len];
            self.copy_to(offset, &mut gathered);
            self.cursor = self.dropped + self.find(end - 1) as u64;
            return Payload::from(Bytes::from(gathered));
        }
        let mut at = at;
        for (number, piece) in self.pieces.range(first..).enumerate() {
            let from = (at - piece.at) as usize;
            let to = (end.min(piece.end()) - piece.at) as usize;
            out.push(piece.data.slice(from..to));
            at = piece.at + to as u64;
            if at == end {
                self.cursor = self.dropped + (first + number) as u64;
                break;
            }
        }
        out
    }

    fn copy_to(&self, offset: usize, out: &mut [u8]) -> usize {
        let offset = offset.min(self.len());
        let total = out.len().min(self.len() - offset);
        let mut at = self.front + offset as u64;
        let mut done = 0;
        let tail_at = self.tail_at();
        if total > 0 && at < tail_at {
            for piece in self.pieces.range(self.find(at)..) {
                let held = &piece.data[(at - piece.at) as usize..];
                let n = held.len().min(total - done);
                out[done..done + n].copy_from_slice(&held[..n]);
                done += n;
                at += n as u64;
                if done == total {
                    return done;
                }
            }
        }
        if total > done {
            let from = (at - tail_at) as usize;
            let n = total - done;
            out[done..total].copy_from_slice(&self.tail[from..from + n]);
        }
        total
    }

    /// Drops `n` bytes, of which there are more. What the tail begins with goes with the
    /// piece that it becomes.
    fn advance(&mut self, n: usize) {
        self.front += n as u64;
        while self.pieces.front().is_some_and(|piece| piece.end() <= self.front) {
            self.pieces.pop_front();
            self.dropped += 1;
        }
    }

    fn memory(&self) -> usize {
        let pieces = self.tail_at().saturating_sub(self.pieces.front().map_or(self.end, |piece| piece.at));
        size_of::<Large>()
            + self.pieces.capacity() * size_of::<Piece>()
            + pieces as usize
            + self.tail.capacity()
    }
}

#[cfg(test)]
mod tests;
