//! A queue of contiguous bytes: what is in order, and each block of what is not.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use crate::branch::cold;
use crate::packet::{MAX_SLICES, Payload, copy_short, extend_short};

/// Up to this many bytes a slice is copied: a reference would cost more, and would keep a whole packet buffer.
pub(super) const COPY_MAX: usize = 256;
/// Up to this many bytes a queue of short slices is one plain vector.
const SMALL_MAX: usize = 2048;
/// Bytes that lie in the queue itself while they are at most 24.
type Few = SmallVec<[u8; IN_PLACE]>;
const IN_PLACE: usize = 24;
/// The most bytes of a chunk that gathers short slices.
pub(super) const CHUNK_MAX: usize = 16 * 1024;
/// The least room of such a chunk behind the first.
const CHUNK_MIN: usize = 512;
/// What a slice counts beyond its length: its place in the queue and its reference count.
pub(super) const SLICE_OVERHEAD: usize = 64;

/// Contiguous bytes that grow at both ends and are read from the front. An empty queue holds no memory.
pub(super) enum Queue {
    /// The bytes are the last `len` of `data`, at most [`SMALL_MAX`]; empty exactly if `data` is.
    Small { data: Few, len: u32 },
    /// One slice, by reference; not empty.
    One(Bytes),
    /// Never empty.
    Many(Box<Many>),
}

#[derive(Default)]
pub(super) struct Many {
    len: usize,
    /// None of them empty.
    slices: VecDeque<Bytes>,
    /// What follows the slices: short slices gathered.
    tail: Vec<u8>,
}

impl Default for Queue {
    fn default() -> Self {
        Queue::new()
    }
}

impl Queue {
    pub(super) const fn new() -> Self {
        Queue::Small { data: SmallVec::new_const(), len: 0 }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Queue::Small { len, .. } => *len as usize,
            Queue::One(slice) => {
                cold();
                slice.len()
            }
            Queue::Many(many) => {
                cold();
                many.len
            }
        }
    }

    /// Bytes of heap held, as far as it is known: a slice counts its length and [`SLICE_OVERHEAD`].
    pub(super) fn memory(&self) -> usize {
        match self {
            Queue::Small { data, .. } => {
                if data.spilled() {
                    data.capacity()
                } else {
                    data.len()
                }
            }
            Queue::One(slice) => slice.len() + SLICE_OVERHEAD,
            Queue::Many(many) => {
                size_of::<Many>() + many.len - many.tail.len()
                    + many.tail.capacity()
                    + many.slices.capacity() * size_of::<Bytes>()
                    + many.slices.len() * (SLICE_OVERHEAD - size_of::<Bytes>())
            }
        }
    }

    /// Into how many parts the bytes are divided.
    pub(super) fn parts(&self) -> usize {
        match self {
            Queue::Small { .. } | Queue::One(_) => 1,
            Queue::Many(many) => many.slices.len() + 1,
        }
    }

    /// Adds a slice at the end: a copy of it if it is short.
    pub(super) fn push(&mut self, slice: Bytes) {
        work(1);
        match self {
            _ if slice.is_empty() => {}
            Queue::Small { data, len }
                if slice.len() <= COPY_MAX && data.len() + slice.len() <= SMALL_MAX =>
            {
                if data.is_empty() && slice.len() > IN_PLACE {
                    data.reserve_exact(slice.len());
                }
                data.extend_from_slice(&slice);
                *len += slice.len() as u32;
            }
            Queue::Small { data, .. } if data.is_empty() => *self = Queue::One(slice),
            _ => self.many().push(slice),
        }
    }

    /// Adds the slices of a segment at the end: copies of short ones.
    #[inline]
    pub(super) fn push_all(&mut self, data: Payload) {
        if data.slices().len() > 1 {
            self.many().slices.reserve(data.slices().len());
        }
        data.into_slices().into_iter().for_each(|slice| self.push(slice));
    }

    /// Adds a copy of `bytes` at the end.
    #[inline]
    pub(super) fn push_copy(&mut self, bytes: &[u8]) {
        work(1);
        match self {
            Queue::Small { data, len }
                if bytes.len() <= COPY_MAX && data.len() + bytes.len() <= SMALL_MAX =>
            {
                extend_short(data, bytes);
                *len += bytes.len() as u32;
            }
            _ => {
                cold();
                self.push(Bytes::copy_from_slice(bytes));
            }
        }
    }

    /// Adds another queue's bytes at the end. Costs no more than the smaller of the two queues' parts, and the
    /// copying of at most [`SMALL_MAX`] bytes.
    pub(super) fn append(&mut self, mut other: Queue) {
        if other.len() == 0 {
            return;
        }
        if self.len() == 0 {
            *self = other;
            return;
        }
        if let (Queue::Small { data, len }, Queue::Small { data: more, len: more_len }) =
            (&mut *self, &mut other)
        {
            let (mine, its) = (last(data, *len), last(more, *more_len));
            if mine.len() + its.len() <= SMALL_MAX {
                if mine.len() < its.len() {
                    work(mine.len());
                    prepend(more, more_len, mine);
                    *self = other;
                } else {
                    work(its.len());
                    data.extend_from_slice(its);
                    *len += *more_len;
                }
                return;
            }
        }
        if self.parts() < other.parts() {
            let front = core::mem::replace(self, other);
            self.many().prepend(front);
        } else {
            self.many().append(other);
        }
    }

    /// Drops the last part and returns its length.
    pub(super) fn drop_back(&mut self) -> usize {
        let before = self.len();
        match self {
            Queue::Many(many) if !many.slices.is_empty() => {
                let tail = core::mem::take(&mut many.tail);
                let dropped =
                    if tail.is_empty() { many.slices.pop_back().map_or(0, |s| s.len()) } else { tail.len() };
                many.len -= dropped;
                if many.len == 0 {
                    *self = Queue::new();
                }
            }
            _ => *self = Queue::new(),
        }
        before - self.len()
    }

    /// Copies everything into parts of exactly the size needed.
    pub(super) fn collapse(&mut self) {
        let len = self.len();
        let mut many = Many { len, ..Many::default() };
        many.slices.reserve_exact(len.div_ceil(CHUNK_MAX));
        let mut done = 0;
        while done < len {
            let mut chunk = alloc::vec![0; CHUNK_MAX.min(len - done)];
            done += self.read(&mut chunk);
            many.slices.push_back(Bytes::from(chunk));
        }
        *self = match many.slices.pop_front() {
            Some(only) if many.slices.is_empty() => Queue::One(only),
            Some(first) => {
                many.slices.push_front(first);
                Queue::Many(Box::new(many))
            }
            None => Queue::new(),
        };
        work(len);
    }

    /// Copies the bytes behind the first `skip` into `out`; returns how many there were.
    pub(super) fn peek(&self, skip: usize, out: &mut [u8]) -> usize {
        match self {
            Queue::Small { data, len } => copy(last(data, *len), skip, out),
            Queue::One(slice) => copy(slice, skip, out),
            Queue::Many(many) => many.peek(skip, out),
        }
    }

    /// Copies the first bytes into `out` and drops them; returns how many there were.
    #[inline]
    pub(super) fn read(&mut self, out: &mut [u8]) -> usize {
        if let Queue::Small { data, len } = self
            && !data.spilled()
        {
            let held = last(data, *len);
            let n = held.len().min(out.len());
            copy_short(&mut out[..n], &held[..n]);
            *len -= n as u32;
            if *len == 0 {
                data.clear();
            }
            return n;
        }
        self.read_long(out)
    }

    #[inline(never)]
    fn read_long(&mut self, out: &mut [u8]) -> usize {
        if let Queue::Many(many) = self {
            let mut done = 0;
            while done < out.len() {
                let Some(front) = many.front() else { break };
                let n = front.len().min(out.len() - done);
                out[done..done + n].copy_from_slice(&front[..n]);
                many.consume(n);
                done += n;
            }
            if many.len == 0 {
                *self = Queue::new();
            }
            return done;
        }
        let n = self.peek(0, out);
        self.skip(n);
        n
    }

    /// Drops the first `n` bytes, or all; returns how many.
    pub(super) fn skip(&mut self, n: usize) -> usize {
        let n = n.min(self.len());
        let rest = self.len() - n;
        match self {
            Queue::Small { data, len } if rest == 0 && !data.spilled() => {
                data.clear();
                *len = 0;
            }
            _ if rest == 0 => *self = Queue::new(),
            Queue::Small { len, .. } => *len = rest as u32,
            Queue::One(slice) => slice.advance(n),
            Queue::Many(many) => {
                let mut left = n;
                while left > 0 {
                    let Some(front) = many.front() else { break };
                    let step = front.len().min(left);
                    many.consume(step);
                    left -= step;
                }
            }
        }
        n
    }

    /// Takes the first slice, at most `max` bytes of it, without copying if it is long.
    pub(super) fn take_slice(&mut self, max: usize) -> Bytes {
        let n = max.min(self.len());
        let slice = match self {
            _ if n == 0 => return Bytes::new(),
            Queue::Small { data, len } => {
                if n == data.len() {
                    *len = 0;
                    whole(core::mem::take(data), n as u32)
                } else {
                    let slice = Bytes::copy_from_slice(&last(data, *len)[..n]);
                    *len -= n as u32;
                    slice
                }
            }
            Queue::One(slice) => slice.split_to(n),
            Queue::Many(many) => {
                let slice = match many.front() {
                    Some(front) if front.len() > n => front.split_to(n),
                    _ => many.slices.pop_front().unwrap_or_default(),
                };
                many.len -= slice.len();
                slice
            }
        };
        if self.len() == 0 {
            *self = Queue::new();
        }
        slice
    }

    /// Takes the first bytes without copying, at most `max` of them in at most [`MAX_SLICES`] slices.
    pub(super) fn take(&mut self, max: usize) -> Payload {
        let mut out = Payload::new();
        if let Queue::Many(many) = self {
            out.reserve(many.slices.len().min(MAX_SLICES));
        }
        while out.len() < max && out.slices().len() < MAX_SLICES && self.len() > 0 {
            out.push(self.take_slice(max - out.len()));
        }
        out
    }

    fn many(&mut self) -> &mut Many {
        if !matches!(self, Queue::Many(_)) {
            let mut many = Box::new(Many::default());
            many.len = self.len();
            match core::mem::take(self) {
                Queue::Small { mut data, len } => {
                    data.drain(..data.len() - len as usize);
                    many.tail = data.into_vec();
                }
                Queue::One(slice) => many.slices.push_back(slice),
                Queue::Many(_) => unreachable!("excluded above"),
            }
            *self = Queue::Many(many);
        }
        match self {
            Queue::Many(many) => many,
            _ => unreachable!("made so above"),
        }
    }
}

impl Many {
    fn push(&mut self, slice: Bytes) {
        self.len += slice.len();
        if slice.len() > COPY_MAX {
            self.seal();
            self.slices.push_back(slice);
            return;
        }
        if self.tail.len() + slice.len() > CHUNK_MAX {
            self.seal();
        }
        if self.tail.capacity() == 0 {
            self.tail.reserve_exact(CHUNK_MIN);
        }
        self.tail.extend_from_slice(&slice);
    }

    /// Makes a slice of the tail.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let mut tail = core::mem::take(&mut self.tail);
            tail.shrink_to_fit();
            self.slices.push_back(Bytes::from(tail));
        }
    }

    fn append(&mut self, other: Queue) {
        work(other.parts());
        match other {
            Queue::One(slice) => self.push(slice),
            Queue::Small { data, len } => self.push(whole(data, len)),
            Queue::Many(mut other) => {
                other.seal();
                for slice in other.slices.drain(..) {
                    self.push(slice);
                }
            }
        }
    }

    fn prepend(&mut self, other: Queue) {
        work(other.parts());
        match other {
            Queue::One(slice) => self.push_front(slice),
            Queue::Small { data, len } => self.push_front(whole(data, len)),
            Queue::Many(mut other) => {
                other.seal();
                while let Some(slice) = other.slices.pop_back() {
                    self.push_front(slice);
                }
            }
        }
    }

    /// Adds a slice before all others. Two short ones become one.
    fn push_front(&mut self, slice: Bytes) {
        self.len += slice.len();
        match self.slices.front_mut() {
            Some(first) if first.len() + slice.len() <= CHUNK_MIN => {
                work(first.len());
                let mut both = Vec::with_capacity(first.len() + slice.len());
                both.extend_from_slice(&slice);
                both.extend_from_slice(first);
                *first = Bytes::from(both);
            }
            _ if slice.len() <= COPY_MAX => self.slices.push_front(Bytes::copy_from_slice(&slice)),
            _ => self.slices.push_front(slice),
        }
    }

    /// The first part, as a slice; `None` if there are no bytes.
    fn front(&mut self) -> Option<&mut Bytes> {
        if self.slices.is_empty() {
            self.seal();
        }
        self.slices.front_mut()
    }

    /// Drops the first `n` bytes, all of them in the first slice.
    fn consume(&mut self, n: usize) {
        self.len -= n;
        if let Some(front) = self.slices.front_mut() {
            if n < front.len() {
                front.advance(n);
            } else {
                self.slices.pop_front();
            }
        }
    }

    fn peek(&self, mut skip: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        for part in self.slices.iter().map(|slice| &slice[..]).chain([&self.tail[..]]) {
            if done == out.len() {
                break;
            }
            done += copy(part, skip, &mut out[done..]);
            skip = skip.saturating_sub(part.len());
        }
        done
    }
}

/// The last `len` bytes.
#[inline]
fn last(data: &Few, len: u32) -> &[u8] {
    &data[data.len() - len as usize..]
}

/// Puts `more` before the last `len` bytes of `data`; when there is no room there, as much room is made as there are bytes.
fn prepend(data: &mut Few, len: &mut u32, more: &[u8]) {
    if data.len() - (*len as usize) < more.len() {
        let held = last(data, *len);
        work(held.len());
        let room = more.len() + held.len();
        let mut moved = Few::with_capacity(room + held.len());
        moved.resize(room, 0);
        moved.extend_from_slice(held);
        *data = moved;
    }
    let end = data.len() - *len as usize;
    data[end - more.len()..end].copy_from_slice(more);
    *len += more.len() as u32;
}

/// The last `len` bytes of `data` as a slice that holds no more than them.
fn whole(data: Few, len: u32) -> Bytes {
    if data.spilled() && data.capacity() == len as usize {
        Bytes::from(data.into_vec())
    } else {
        Bytes::copy_from_slice(last(&data, len))
    }
}

/// Copies what `from` holds behind the first `skip` bytes to the front of `out`; returns how much.
fn copy(from: &[u8], skip: usize, out: &mut [u8]) -> usize {
    let from = &from[skip.min(from.len())..];
    let n = from.len().min(out.len());
    out[..n].copy_from_slice(&from[..n]);
    n
}

/// Counts steps (parts and bytes moved inside the buffer), for the tests that bound them.
#[cfg(not(test))]
pub(super) fn work(_steps: usize) {}
#[cfg(test)]
pub(super) use super::tests::work;
