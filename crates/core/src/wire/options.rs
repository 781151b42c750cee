//! TCP options: parsing at any alignment, writing in Linux's order.

use super::tcp::{AccEcn, FastOpen, Options, SackBlock, SackList, Timestamps};
use crate::tcp::SeqNum;

/// The longest options area: data offset 15 (RFC 9293 3.1).
pub const MAX_OPTIONS: usize = 40;

const END: u8 = 0;
const NOP: u8 = 1;
const PADDING: [u8; 2] = [NOP; 2];
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const MD5: u8 = 19;
const USER_TIMEOUT: u8 = 28;
const FAST_OPEN: u8 = 34;
/// RFC 6994 with the magic number of Fast Open.
const EXPERIMENT: u8 = 254;
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];
const ACC_ECN_0: u8 = 172;
const ACC_ECN_1: u8 = 174;

impl Options {
    /// Parses an options area. Of several options of one kind the last counts, as on Linux.
    ///
    /// Never fails (MUST-7): at a length of 0 or 1, or one that runs over the area, parsing stops,
    /// what was found so far is kept and [`Options::malformed`] is set. Kinds that only mean something on a
    /// SYN (MSS, window scale, SACK-permitted, Fast Open) are ignored elsewhere
    /// (RFC 9293 3.7.1, RFC 7323 2.2, RFC 2018 2, RFC 7413 4.1.1).
    #[inline(always)]
    pub fn parse(area: &[u8], syn: bool) -> Options {
        if area.is_empty() {
            return Options::default();
        }
        // By far the most common area: NOP, NOP, Timestamps (RFC 7323 appendix A).
        if let [NOP, NOP, TIMESTAMPS, 10, body @ ..] = area
            && body.len() == 8
        {
            return Options { timestamps: timestamps(body), ..Options::default() };
        }
        Options::walk(area, syn)
    }

    #[inline(never)]
    fn walk(area: &[u8], syn: bool) -> Options {
        let mut options = Options::default();
        let mut rest = area;
        while let [kind, tail @ ..] = rest {
            match *kind {
                END => break,
                NOP => {
                    rest = tail;
                    continue;
                }
                _ => {}
            }
            let len = tail.first().map_or(0, |len| usize::from(*len));
            if len < 2 || len > rest.len() {
                options.malformed = true;
                break;
            }
            options.take(*kind, &rest[2..len], syn);
            rest = &rest[len..];
        }
        options
    }

    /// One option; a body of a length that its kind does not have is ignored.
    fn take(&mut self, kind: u8, body: &[u8], syn: bool) {
        match (kind, body) {
            (MSS, [high, low]) if syn => {
                let mss = u16::from_be_bytes([*high, *low]);
                if mss != 0 {
                    self.mss = Some(mss);
                }
            }
            (WINDOW_SCALE, [shift]) if syn => self.window_scale = Some(*shift),
            (SACK_PERMITTED, []) if syn => self.sack_permitted = true,
            (SACK, blocks) if !blocks.is_empty() && blocks.len() % 8 == 0 => {
                self.sack = SackList::new();
                for block in blocks.chunks_exact(8) {
                    self.sack.push(SackBlock { left: SeqNum(word(block, 0)), right: SeqNum(word(block, 4)) });
                }
            }
            (TIMESTAMPS, body) if body.len() == 8 => self.timestamps = timestamps(body),
            (MD5, digest) if digest.len() == 16 => self.signature = digest.try_into().ok(),
            // RFC 5482 3.4: a value of zero is ignored.
            (USER_TIMEOUT, [high, low]) => {
                let value = u16::from_be_bytes([*high, *low]);
                if value & 0x7fff != 0 {
                    self.user_timeout = Some(value);
                }
            }
            (ACC_ECN_0 | ACC_ECN_1, body) => self.accurate_ecn = Some(AccEcn::parse(kind == ACC_ECN_1, body)),
            (FAST_OPEN, []) if syn => self.fast_open = Some(FastOpen::REQUEST),
            (FAST_OPEN, cookie) if syn => {
                if let Some(cookie) = FastOpen::cookie(cookie) {
                    self.fast_open = Some(cookie);
                }
            }
            (EXPERIMENT, [0xf9, 0x89, cookie @ ..]) if syn => {
                let plain =
                    if cookie.is_empty() { Some(FastOpen::REQUEST) } else { FastOpen::cookie(cookie) };
                if let Some(option) = plain {
                    self.fast_open = Some(option.under_experimental_kind(true));
                }
            }
            _ => {}
        }
    }

    /// Back to none, in place.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.mss = None;
        self.window_scale = None;
        self.sack_permitted = false;
        self.sack.truncate(0);
        self.timestamps = None;
        self.user_timeout = None;
        self.fast_open = None;
        self.accurate_ecn = None;
        self.signature = None;
        self.malformed = false;
    }

    /// How many bytes [`Options::emit`] writes: a multiple of four, at most 40.
    #[inline]
    pub fn wire_len(&self) -> usize {
        if self.at_most_timestamps() {
            return if self.timestamps.is_some() { 12 } else { 0 };
        }
        self.layout().len
    }

    /// Writes the options into `area`, which is [`Options::wire_len`] bytes of zero.
    ///
    /// Order and padding are Linux's: `nop, nop, md5` first; `mss, sackOK, TS, nop, wscale` on a SYN with timestamps,
    /// `mss, nop, nop, sackOK, nop, wscale` without; `nop, nop, TS` and `nop, nop, sack` on data.
    /// As many SACK blocks as fit are written; a user timeout or a Fast Open option that does not fit
    /// is left out (RFC 7413 4.2.2), as is a user timeout of zero (RFC 5482 3.4).
    #[inline]
    pub fn emit(&self, area: &mut [u8]) {
        match (self.timestamps, area.first_chunk_mut::<12>()) {
            (Some(timestamps), Some(area)) if self.at_most_timestamps() => {
                // What nearly every segment has, in one piece.
                area[..4].copy_from_slice(&[NOP, NOP, TIMESTAMPS, 10]);
                area[4..8].copy_from_slice(&timestamps.val.to_be_bytes());
                area[8..].copy_from_slice(&timestamps.ecr.to_be_bytes());
            }
            _ => self.emit_all(area),
        }
    }

    /// Whether there is nothing, or nothing but timestamps.
    #[inline(always)]
    pub(crate) fn at_most_timestamps(&self) -> bool {
        self.sack.is_empty()
            && self.mss.is_none()
            && self.window_scale.is_none()
            && !self.sack_permitted
            && self.user_timeout.is_none()
            && self.fast_open.is_none()
            && self.accurate_ecn.is_none()
            && self.signature.is_none()
    }

    #[inline(never)]
    fn emit_all(&self, area: &mut [u8]) {
        let layout = self.layout();
        let mut out = Writer { area, at: 0 };
        if let Some(digest) = self.signature {
            out.put(&[NOP, NOP, MD5, 18]);
            out.put(&digest);
        }
        if let Some(mss) = self.mss {
            out.put(&[MSS, 4]);
            out.put(&mss.to_be_bytes());
        }
        if let Some(timestamps) = self.timestamps {
            out.put(if self.sack_permitted { &[SACK_PERMITTED, 2] } else { &[NOP, NOP] });
            out.put(&[TIMESTAMPS, 10]);
            out.put(&timestamps.val.to_be_bytes());
            out.put(&timestamps.ecr.to_be_bytes());
        }
        // What is left of accurate ECN's option stands where padding would.
        // A counter's last byte may look like padding.
        let mut left = self.emit_accurate_ecn(&mut out, &layout);
        if self.sack_permitted && self.timestamps.is_none() {
            out.put(&left.take().unwrap_or(PADDING));
            out.put(&[SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            let one = left.filter(|left| left[1] == NOP);
            if one.is_some() {
                left = None;
            }
            out.put(&[one.map_or(NOP, |one| one[0]), WINDOW_SCALE, 3, shift]);
        }
        if layout.sack_blocks == 0
            && let Some(left) = left.take()
        {
            out.put(&left);
            out.put(&PADDING);
        }
        if layout.sack_blocks > 0 {
            out.put(&left.unwrap_or(PADDING));
            out.put(&[SACK, (2 + 8 * layout.sack_blocks) as u8]);
            for block in &self.sack.as_slice()[..layout.sack_blocks] {
                out.put(&block.left.0.to_be_bytes());
                out.put(&block.right.0.to_be_bytes());
            }
        }
        if let Some(timeout) = self.user_timeout.filter(|_| layout.user_timeout) {
            out.put(&[USER_TIMEOUT, 4]);
            out.put(&timeout.to_be_bytes());
        }
        if let Some(cookie) = self.fast_open.filter(|_| layout.fast_open) {
            let bytes = cookie.as_slice();
            let mut len = 2 + bytes.len();
            if cookie.is_experimental() {
                len += FAST_OPEN_MAGIC.len();
                out.put(&[EXPERIMENT, len as u8]);
                out.put(&FAST_OPEN_MAGIC);
            } else {
                out.put(&[FAST_OPEN, len as u8]);
            }
            out.put(bytes);
            if len % 4 == 2 {
                out.put(&[NOP, NOP]);
            }
        }
    }

    /// Accurate ECN's option but for what does not fill a word; that is returned, padded.
    fn emit_accurate_ecn(&self, out: &mut Writer<'_>, layout: &Layout) -> Option<[u8; 2]> {
        let (option, counters) = (self.accurate_ecn?, layout.acc_ecn?);
        let kind = if option.order1 { ACC_ECN_1 } else { ACC_ECN_0 };
        let bytes = &option.as_slice()[..3 * counters];
        let len = (2 + bytes.len()) as u8;
        match *bytes {
            [] => return Some([kind, len]),
            [high, middle, low] => {
                out.put(&[kind, len, high, middle]);
                return Some([low, NOP]);
            }
            _ => {}
        }
        out.put(&[kind, len]);
        out.put(bytes);
        out.put(&PADDING[..usize::from(counters == 3)]);
        None
    }

    /// What accurate ECN's option with so many counters adds to the options: of one counter or none a part stands where
    /// padding would (Linux's `tcp_options_fit_accecn`).
    pub(crate) fn accurate_ecn_len(&self, counters: usize, sack_blocks: usize) -> usize {
        let instead_of_padding = if (self.sack_permitted && self.timestamps.is_none()) || sack_blocks > 0 {
            2
        } else {
            usize::from(self.window_scale.is_some())
        };
        let len = 2 + 3 * counters.min(3);
        if len % 4 > instead_of_padding { len.next_multiple_of(4) } else { len / 4 * 4 }
    }

    /// How many bytes all the options but accurate ECN's take.
    pub(crate) fn len_without_accurate_ecn(&self) -> usize {
        Options { accurate_ecn: None, ..*self }.wire_len()
    }

    fn layout(&self) -> Layout {
        let mut len = if self.signature.is_some() { 20 } else { 0 };
        if self.mss.is_some() {
            len += 4;
        }
        if self.timestamps.is_some() {
            len += 12;
        } else if self.sack_permitted {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        // At most 40 bytes until here.
        let user_timeout = len < MAX_OPTIONS && self.user_timeout.is_some_and(|value| value & 0x7fff != 0);
        if user_timeout {
            len += 4;
        }
        let mut sack_blocks = 0;
        if !self.sack.is_empty() {
            sack_blocks = self.sack.as_slice().len().min((MAX_OPTIONS - len).saturating_sub(4) / 8);
            if sack_blocks > 0 {
                len += 4 + 8 * sack_blocks;
            }
        }
        let mut fast_open = false;
        if let Some(cookie) = &self.fast_open {
            let padded = cookie.padded_len();
            fast_open = len + padded <= MAX_OPTIONS;
            if fast_open {
                len += padded;
            }
        }
        // As many counters as there is room for, the first ones (RFC 9768 3.2.3).
        let mut acc_ecn = None;
        if let Some(option) = &self.accurate_ecn {
            let most = option.as_slice().len() / 3;
            let added = |n| self.accurate_ecn_len(n, sack_blocks);
            acc_ecn = (most.min(1)..=most).rev().find(|&n| len + added(n) <= MAX_OPTIONS);
            len += acc_ecn.map_or(0, added);
        }
        Layout { len, user_timeout, sack_blocks, fast_open, acc_ecn }
    }
}

/// What is written, and how long it is.
struct Layout {
    len: usize,
    user_timeout: bool,
    sack_blocks: usize,
    fast_open: bool,
    /// Counters of accurate ECN's option, if it fits.
    acc_ecn: Option<usize>,
}

struct Writer<'a> {
    area: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.area[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

fn timestamps(body: &[u8]) -> Option<Timestamps> {
    Some(Timestamps { val: word(body, 0), ecr: word(body, 4) })
}

/// The big-endian word at `at`; `bytes` holds it, as the callers' lengths say.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
