//! TIME-WAIT: what is left of a connection for 2 MSL (RFC 9293 3.3.2, 3.6.1).
//!
//! An entry takes 64 bytes, plus 4 of its slab's generation and about 8 of the index; IPv6 36 bytes
//! more. All last equally long: a queue, not a timer each. At the cap (`tcp_max_tw_buckets`) no entry is
//! made, the connection is closed at once and counted, as Linux does.

use alloc::sync::Arc;

use crate::config::{Config, Profile};
use crate::stack::demux::{Demux, Pair, TupleHash};
use crate::stack::ports::{BindFlags, Binding};
use crate::stack::slab::{Key, Slab};
use crate::stack::syn::IndexHasher;
use crate::stack::wheel::Wheel;
use crate::tcp::{SeqNum, TimeWaitInfo, Tuple};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header};

const NONE: u32 = u32::MAX;
/// Milliseconds between ACKs of one entry when it never sent one.
const NEVER_SENT: u32 = 0;

/// One entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pair: Pair,
    deadline: Instant,
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    ts_recent: u32,
    ts_offset: u32,
    /// When `ts_recent` was set, seconds.
    ts_at: u32,
    /// When an ACK for something invalid was sent last, milliseconds.
    acked_at: u32,
    prev: u32,
    next: u32,
    window: u16,
    rcv_wscale: u8,
    tos: u8,
    flags: EntryFlags,
}

bitflags::bitflags! {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct EntryFlags: u8 {
        /// Timestamps were agreed.
        const TIMESTAMPS = 1;
        /// The deadline is in the wheel, not in the queue.
        const ODD = 2;
        /// The holder of the port had SO_REUSEADDR.
        const REUSEADDR = 4;
        /// ... SO_REUSEPORT.
        const REUSEPORT = 8;
        /// The port had been chosen by `connect`.
        const AUTO = 16;
    }
}

/// What a segment that arrives in TIME-WAIT leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing more; dropped for this reason or none.
    Drop,
    /// Dropped by RFC 6191.
    OldSyn,
    /// Answered with `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`.
    Ack,
    /// The SYN may open a new incarnation whose ISS is after this number.
    Reopen(SeqNum),
    /// An acceptable RST: the entry ends.
    End,
}

/// What an answer from TIME-WAIT is built of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// SND.NXT.
    pub(crate) seq: SeqNum,
    /// RCV.NXT.
    pub(crate) ack: SeqNum,
    /// As on the wire.
    pub(crate) window: u16,
    /// TS.Recent, if timestamps were agreed.
    pub(crate) ts_recent: Option<u32>,
    /// To be added to the clock.
    pub(crate) ts_offset: u32,
    /// Traffic class.
    pub(crate) tos: u8,
}

/// All entries of a stack.
pub(crate) struct TimeWaits {
    entries: Slab<Entry>,
    demux: Demux,
    head: u32,
    tail: u32,
    odd: Wheel,
    /// Keys of those that sign (RFC 2385).
    md5: hashbrown::HashMap<u32, Arc<[u8]>, core::hash::BuildHasherDefault<IndexHasher>>,
}

impl TimeWaits {
    /// None.
    pub(crate) fn new() -> Self {
        TimeWaits {
            entries: Slab::new(),
            demux: Demux::default(),
            head: NONE,
            tail: NONE,
            odd: Wheel::new(),
            md5: hashbrown::HashMap::default(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Makes an entry; false at the cap. The caller holds the port for it under `binding`.
    pub(crate) fn insert(
        &mut self,
        hash: &TupleHash,
        config: &Config,
        now: Instant,
        tuple: &Tuple,
        info: &TimeWaitInfo,
        binding: &Binding,
    ) -> bool {
        if self.entries.len() >= config.max_tw_buckets as usize {
            return false;
        }
        let mut flags = EntryFlags::empty();
        flags.set(EntryFlags::TIMESTAMPS, info.ts_recent.is_some());
        flags.set(EntryFlags::ODD, info.lasts.is_some());
        flags.set(EntryFlags::REUSEADDR, binding.flags.contains(BindFlags::REUSEADDR));
        flags.set(EntryFlags::REUSEPORT, binding.flags.contains(BindFlags::REUSEPORT));
        flags.set(EntryFlags::AUTO, binding.flags.contains(BindFlags::AUTO));
        let deadline = now + info.lasts.unwrap_or(config.time_wait);
        let key = self.entries.insert(Entry {
            pair: Pair::new(tuple),
            deadline,
            snd_nxt: info.snd_nxt,
            rcv_nxt: info.rcv_nxt,
            ts_recent: info.ts_recent.unwrap_or(0),
            ts_offset: info.ts_offset,
            ts_at: seconds(now),
            acked_at: NEVER_SENT,
            prev: NONE,
            next: NONE,
            window: info.window,
            rcv_wscale: info.rcv_wscale,
            tos: info.tos,
            flags,
        });
        if info.lasts.is_some() {
            self.odd.schedule(key.index, deadline);
        } else {
            self.push_back(key.index);
        }
        let entries = &self.entries;
        let hash_of = |index| entry_at(entries, index).map_or(0, |e| hash.of(e.pair.as_bytes()));
        self.demux.insert(hash_of(key.index), key.index, hash_of);
        true
    }

    /// The entry of a tuple.
    #[inline]
    pub(crate) fn find(&self, hash: u64, bytes: &[u8]) -> Option<u32> {
        self.demux.find(hash, |i| entry_at(&self.entries, i).is_some_and(|e| e.pair.as_bytes() == bytes))
    }

    /// The binding under which an entry holds its port.
    pub(crate) fn binding(&self, index: u32) -> Option<Binding> {
        Some(entry_at(&self.entries, index)?.binding())
    }

    /// Keeps the key that an entry's answers are signed with.
    pub(crate) fn set_md5_key(&mut self, index: u32, key: Arc<[u8]>) {
        self.md5.insert(index, key);
    }

    /// The key that an entry's answers are signed with.
    pub(crate) fn md5_key(&self, index: u32) -> Option<Arc<[u8]>> {
        self.md5.get(&index).cloned()
    }

    /// Ends an entry; returns the binding that it held.
    pub(crate) fn remove(&mut self, hash: &TupleHash, index: u32) -> Option<Binding> {
        let key = self.entries.key_at(index)?;
        self.unlink(index);
        self.odd.cancel(index);
        self.md5.remove(&index);
        let entry = self.entries.remove(key)?;
        self.demux.remove(hash.of(entry.pair.as_bytes()), index);
        Some(entry.binding())
    }

    /// When the next entry ends.
    pub(crate) fn next_deadline(&self) -> Instant {
        let queue = entry_at(&self.entries, self.head).map_or(Instant::NEVER, |e| e.deadline);
        queue.min(self.odd.next_deadline().unwrap_or(Instant::NEVER))
    }

    /// An entry whose time is over; the caller removes it.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<u32> {
        if let Some(index) = self.odd.pop_expired(now) {
            return Some(index);
        }
        let head = entry_at(&self.entries, self.head)?;
        (head.deadline <= now).then_some(self.head)
    }

    /// RFC 9293 3.10.7.4 for TIME-WAIT, RFC 6191 and RFC 1337. `len` is SEG.LEN.
    pub(crate) fn on_segment(
        &mut self,
        config: &Config,
        now: Instant,
        index: u32,
        hdr: &Header,
        len: u32,
    ) -> Verdict {
        let Some(key) = self.entries.key_at(index) else { return Verdict::Drop };
        let Some(entry) = self.entries.get_mut(key) else { return Verdict::Drop };
        let flags = hdr.flags;
        if flags.contains(Flags::SYN) && !flags.intersects(Flags::ACK | Flags::RST) {
            if entry.admits_syn(hdr, now) {
                return Verdict::Reopen(entry.snd_nxt + 65_537);
            }
            // RFC 6191 2: silently; Linux answers with an ACK.
            let answer = config.profile == Profile::Linux && entry.may_ack(config, now);
            return if answer { Verdict::Ack } else { Verdict::OldSyn };
        }
        if flags.contains(Flags::RST) {
            // RFC 1337 3: ignored. Else an exact RST ends it (RFC 5961 3.2).
            let ends = !config.rfc1337 && hdr.seq == entry.rcv_nxt && !entry.paws_rejects(hdr, now);
            return if ends { Verdict::End } else { Verdict::Drop };
        }
        if entry.paws_rejects(hdr, now) {
            return if entry.may_ack(config, now) { Verdict::Ack } else { Verdict::Drop };
        }
        // The window is small from now on: only a repeat of the FIN (or what lies before it) is expected.
        if !flags.contains(Flags::ACK) {
            return Verdict::Drop;
        }
        let window = u32::from(entry.window) << entry.rcv_wscale;
        let in_window = len == 0 && hdr.seq.within(entry.rcv_nxt, window.max(1));
        if flags.contains(Flags::FIN) && hdr.seq + len == entry.rcv_nxt {
            // The peer's FIN again: acknowledge and restart 2 MSL.
            entry.note_timestamp(hdr, now);
            self.restart(config, now, index);
            return Verdict::Ack;
        }
        if in_window {
            // Nothing to do for an acknowledgment of what we sent.
            entry.note_timestamp(hdr, now);
            return Verdict::Drop;
        }
        if entry.may_ack(config, now) { Verdict::Ack } else { Verdict::Drop }
    }

    /// What an ACK from this entry says.
    pub(crate) fn answer(&self, index: u32) -> Option<(Tuple, Answer)> {
        let entry = entry_at(&self.entries, index)?;
        let answer = Answer {
            seq: entry.snd_nxt,
            ack: entry.rcv_nxt,
            window: entry.window,
            ts_recent: entry.flags.contains(EntryFlags::TIMESTAMPS).then_some(entry.ts_recent),
            ts_offset: entry.ts_offset,
            tos: entry.tos,
        };
        Some((entry.pair.tuple(), answer))
    }

    /// Whether an active open may take the tuple over (`tcp_tw_reuse`): timestamps make old segments
    /// recognizable, and a second has passed. Returns the sequence number that the ISS has to be after.
    pub(crate) fn reusable(&self, index: u32, now: Instant) -> Option<SeqNum> {
        let entry = entry_at(&self.entries, index)?;
        let old = entry.flags.contains(EntryFlags::TIMESTAMPS) && seconds(now).wrapping_sub(entry.ts_at) >= 1;
        old.then_some(entry.snd_nxt + 65_537)
    }

    /// All entries, for a snapshot: tuple and deadline.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Tuple, Instant)> {
        self.entries.iter().map(|(_, entry)| (entry.pair.tuple(), entry.deadline))
    }

    /// Starts 2 MSL again.
    fn restart(&mut self, config: &Config, now: Instant, index: u32) {
        self.odd.cancel(index);
        self.unlink(index);
        if let Some(entry) = entry_at_mut(&mut self.entries, index) {
            entry.deadline = now + config.time_wait;
            entry.flags.remove(EntryFlags::ODD);
        }
        self.push_back(index);
    }

    fn push_back(&mut self, index: u32) {
        let tail = self.tail;
        if let Some(entry) = entry_at_mut(&mut self.entries, index) {
            (entry.prev, entry.next) = (tail, NONE);
        }
        match entry_at_mut(&mut self.entries, tail) {
            Some(last) => last.next = index,
            None => self.head = index,
        }
        self.tail = index;
    }

    fn unlink(&mut self, index: u32) {
        let Some(entry) = entry_at_mut(&mut self.entries, index) else { return };
        let (prev, next) = (entry.prev, entry.next);
        if prev == NONE && self.head != index {
            return; // not in the queue
        }
        (entry.prev, entry.next) = (NONE, NONE);
        match entry_at_mut(&mut self.entries, prev) {
            Some(before) => before.next = next,
            None => self.head = next,
        }
        match entry_at_mut(&mut self.entries, next) {
            Some(after) => after.prev = prev,
            None => self.tail = prev,
        }
    }
}

fn entry_at(entries: &Slab<Entry>, index: u32) -> Option<&Entry> {
    entries.get(entries.key_at(index)?)
}

fn entry_at_mut(entries: &mut Slab<Entry>, index: u32) -> Option<&mut Entry> {
    let key: Key = entries.key_at(index)?;
    entries.get_mut(key)
}

fn seconds(now: Instant) -> u32 {
    now.as_secs() as u32
}

impl Entry {
    /// RFC 6191 2, all eight cases: may this SYN open a new incarnation?
    fn admits_syn(&self, hdr: &Header, now: Instant) -> bool {
        let newer_seq = hdr.seq.gt(self.rcv_nxt);
        if !self.flags.contains(EntryFlags::TIMESTAMPS) || self.timestamp_is_stale(now) {
            return newer_seq || hdr.options.timestamps.is_some();
        }
        match hdr.options.timestamps {
            None => newer_seq,
            Some(ts) if ts.val == self.ts_recent => newer_seq,
            Some(ts) => !older(ts.val, self.ts_recent),
        }
    }

    /// RFC 7323 5.3.
    fn paws_rejects(&self, hdr: &Header, now: Instant) -> bool {
        let agreed = self.flags.contains(EntryFlags::TIMESTAMPS) && !self.timestamp_is_stale(now);
        agreed && hdr.options.timestamps.is_some_and(|ts| older(ts.val, self.ts_recent))
    }

    /// RFC 7323 5.5: after 24 days the comparison says nothing.
    fn timestamp_is_stale(&self, now: Instant) -> bool {
        seconds(now).wrapping_sub(self.ts_at) > 24 * 86_400
    }

    fn note_timestamp(&mut self, hdr: &Header, now: Instant) {
        if let (Some(ts), true) = (hdr.options.timestamps, self.flags.contains(EntryFlags::TIMESTAMPS)) {
            if !older(ts.val, self.ts_recent) {
                self.ts_recent = ts.val;
                self.ts_at = seconds(now);
            }
        }
    }

    /// ACKs for invalid segments are few, so that two confused ends do not keep each other busy.
    fn may_ack(&mut self, config: &Config, now: Instant) -> bool {
        let millis = (now.as_millis() as u32).max(1);
        let since = millis.wrapping_sub(self.acked_at);
        if self.acked_at != NEVER_SENT && u128::from(since) < config.invalid_ratelimit.as_millis() {
            return false;
        }
        self.acked_at = millis;
        true
    }

    fn binding(&self) -> Binding {
        let tuple = self.pair.tuple();
        let mut flags = BindFlags::TIME_WAIT;
        flags.set(BindFlags::REUSEADDR, self.flags.contains(EntryFlags::REUSEADDR));
        flags.set(BindFlags::REUSEPORT, self.flags.contains(EntryFlags::REUSEPORT));
        flags.set(BindFlags::AUTO, self.flags.contains(EntryFlags::AUTO));
        Binding { addr: tuple.local.ip(), port: self.pair.local_port(), flags, device: 0 }
    }
}

/// `a` was sent before `b`, by the clock that wraps (RFC 7323 5.2).
pub(crate) fn older(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
