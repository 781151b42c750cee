//! Half-open connections: one bounded table for the whole stack, small entries (RFC 4987 3.5).
//!
//! An entry holds what the completing ACK does not repeat. The table has as many buckets as FreeBSD's
//! syncache, each a queue by age, so that a full bucket gives up its oldest entry.

use alloc::boxed::Box;
use alloc::vec;

use crate::config::Config;
use crate::stack::demux::{Demux, Pair, TupleHash};
use crate::stack::slab::{Key, Slab};
use crate::stack::wheel::Wheel;
use crate::tcp::{HalfOpen, SeqNum, Tuple};
use crate::time::{Duration, Instant};
use crate::wire::ip::SourceRoute;

/// Buckets of the table (FreeBSD's `net.inet.tcp.syncache.hashsize`).
pub(crate) const BUCKETS: usize = 512;
/// Entries of one bucket under the freebsd policy (`net.inet.tcp.syncache.bucketlimit`).
pub(crate) const BUCKET_LIMIT: u32 = 30;

const NONE: u32 = u32::MAX;

/// One half-open connection.
#[derive(Debug)]
pub(crate) struct SynEntry {
    pair: Pair,
    /// Whose it is.
    pub(crate) listener: Key,
    sent_at: Instant,
    pub(crate) irs: SeqNum,
    pub(crate) iss: SeqNum,
    ts_recent: u32,
    ts_offset: u32,
    /// When an ACK for something invalid was sent last, milliseconds; 0 never.
    acked_at: u32,
    older: u32,
    newer: u32,
    window: u16,
    pub(crate) our_window: u16,
    peer_mss: u16,
    bucket: u16,
    their_scale: u8,
    pub(crate) our_scale: u8,
    tos: u8,
    pub(crate) flags: SynFlags,
    /// How often the SYN-ACK was sent again.
    pub(crate) retransmits: u8,
    /// How often its timer fired.
    pub(crate) timeouts: u8,
}

bitflags::bitflags! {
    /// What is known of a half-open connection.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct SynFlags: u16 {
        /// Window scaling was agreed.
        const WINDOW_SCALE = 1;
        /// SACK was agreed.
        const SACK = 2;
        /// Timestamps were agreed.
        const TIMESTAMPS = 4;
        /// The completing ACK has come, but there was no room, or the acceptance is deferred.
        const ACKED = 8;
        /// ECN was agreed.
        const ECN = 16;
        /// Accurate ECN was.
        const ACCURATE = 32;
        /// No marks are to be sent.
        const NOT_ECT = 64;
        /// Nothing was sent yet: the owner has not said what becomes of it.
        const PARKED = 128;
    }
}

impl SynEntry {
    /// The entry of a SYN that was answered.
    pub(crate) fn new(half: &HalfOpen, listener: Key) -> SynEntry {
        let mut flags = SynFlags::empty();
        flags.set(SynFlags::WINDOW_SCALE, half.window_scale.is_some());
        flags.set(SynFlags::SACK, half.sack);
        flags.set(SynFlags::ECN, half.ecn);
        flags.set(SynFlags::ACCURATE, half.accurate);
        flags.set(SynFlags::NOT_ECT, half.not_ect);
        flags.set(SynFlags::TIMESTAMPS, half.ts_recent.is_some());
        let (their_scale, our_scale) = half.window_scale.unwrap_or((0, 0));
        SynEntry {
            pair: Pair::new(&half.tuple),
            listener,
            sent_at: half.sent_at,
            irs: half.irs,
            iss: half.iss,
            ts_recent: half.ts_recent.unwrap_or(0),
            ts_offset: half.ts_offset,
            acked_at: 0,
            older: NONE,
            newer: NONE,
            window: half.window,
            our_window: half.our_window,
            peer_mss: half.peer_mss,
            bucket: 0,
            their_scale,
            our_scale,
            tos: half.tos,
            flags,
            retransmits: half.retransmits,
            timeouts: 0,
        }
    }

    /// What a connection is made of.
    pub(crate) fn half_open(&self) -> HalfOpen {
        HalfOpen {
            tuple: self.pair.tuple(),
            irs: self.irs,
            iss: self.iss,
            window: self.window,
            our_window: self.our_window,
            peer_mss: self.peer_mss,
            window_scale: self
                .flags
                .contains(SynFlags::WINDOW_SCALE)
                .then_some((self.their_scale, self.our_scale)),
            sack: self.flags.contains(SynFlags::SACK),
            ecn: self.flags.contains(SynFlags::ECN),
            accurate: self.flags.contains(SynFlags::ACCURATE),
            not_ect: self.flags.contains(SynFlags::NOT_ECT),
            ts_recent: self.flags.contains(SynFlags::TIMESTAMPS).then_some(self.ts_recent),
            ts_offset: self.ts_offset,
            retransmits: self.retransmits,
            sent_at: self.sent_at,
            tos: self.tos,
        }
    }

    /// Its owner lets the handshake go on: the SYN-ACK leaves now.
    pub(crate) fn unpark(&mut self, now: Instant) {
        self.flags.remove(SynFlags::PARKED);
        self.sent_at = now;
    }

    /// Between whom.
    pub(crate) fn tuple(&self) -> Tuple {
        self.pair.tuple()
    }

    /// TS.Recent, if timestamps were agreed.
    pub(crate) fn ts_recent(&self) -> Option<u32> {
        self.flags.contains(SynFlags::TIMESTAMPS).then_some(self.ts_recent)
    }

    /// A duplicate of the SYN with a younger timestamp.
    pub(crate) fn set_ts_recent(&mut self, value: u32) {
        self.ts_recent = value;
    }

    /// Whether an ACK for something invalid may be sent now.
    pub(crate) fn may_ack(&mut self, config: &Config, now: Instant) -> bool {
        let millis = (now.as_millis() as u32).max(1);
        let since = millis.wrapping_sub(self.acked_at);
        if self.acked_at != 0 && u128::from(since) < config.invalid_ratelimit.as_millis() {
            return false;
        }
        self.acked_at = millis;
        true
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    oldest: u32,
    newest: u32,
    len: u32,
}

/// All half-open connections of a stack.
pub(crate) struct SynTable {
    entries: Slab<SynEntry>,
    demux: Demux,
    timers: Wheel,
    buckets: Box<[Bucket]>,
    /// Source routes that SYNs came with, where the stack honours them.
    routes: hashbrown::HashMap<u32, SourceRoute, core::hash::BuildHasherDefault<IndexHasher>>,
    /// Headers of SYNs whose listeners want them (TCP_SAVE_SYN).
    saved: hashbrown::HashMap<u32, Box<[u8]>, core::hash::BuildHasherDefault<IndexHasher>>,
}

impl SynTable {
    pub(crate) fn new() -> Self {
        SynTable {
            entries: Slab::new(),
            demux: Demux::default(),
            timers: Wheel::new(),
            buckets: Box::default(),
            routes: hashbrown::HashMap::default(),
            saved: hashbrown::HashMap::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, bytes: &[u8]) -> Option<u32> {
        self.demux.find(hash, |i| self.get(i).is_some_and(|e| e.pair.as_bytes() == bytes))
    }

    /// The full name of the entry at this place.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        self.entries.key_at(index)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&SynEntry> {
        self.entries.get(self.entries.key_at(index)?)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut SynEntry> {
        let key = self.entries.key_at(index)?;
        self.entries.get_mut(key)
    }

    /// The source route of an entry's SYN, to be used the other way.
    pub(crate) fn route(&self, index: u32) -> Option<&SourceRoute> {
        self.routes.get(&index)
    }

    /// Keeps a source route with an entry.
    pub(crate) fn set_route(&mut self, index: u32, route: SourceRoute) {
        self.routes.insert(index, route);
    }

    /// Keeps the headers of an entry's SYN.
    pub(crate) fn save(&mut self, index: u32, headers: Box<[u8]>) {
        self.saved.insert(index, headers);
    }

    /// The headers that were kept.
    pub(crate) fn take_saved(&mut self, index: u32) -> Option<Box<[u8]>> {
        self.saved.remove(&index)
    }

    /// How full the bucket of a hash is.
    pub(crate) fn bucket_len(&self, hash: u64) -> u32 {
        self.buckets.get(bucket_of(hash)).map_or(0, |b| b.len)
    }

    /// The oldest entry of the bucket of a hash, or else of the fullest one next to it.
    pub(crate) fn oldest(&self, hash: u64) -> Option<u32> {
        let start = bucket_of(hash);
        let order = (0..self.buckets.len()).map(|i| self.buckets[(start + i) % BUCKETS]);
        order.map(|bucket| bucket.oldest).find(|&oldest| oldest != NONE)
    }

    /// Adds an entry; the caller has seen to the bounds. Its timer is set to `first`.
    pub(crate) fn insert(&mut self, hash: &TupleHash, mut entry: SynEntry, first: Instant) -> u32 {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket { oldest: NONE, newest: NONE, len: 0 }; BUCKETS].into_boxed_slice();
        }
        let hashed = hash.of(entry.pair.as_bytes());
        let at = bucket_of(hashed);
        entry.bucket = at as u16;
        entry.older = self.buckets[at].newest;
        let index = self.entries.insert(entry).index;
        let newest = self.buckets[at].newest;
        match self.get_mut(newest) {
            Some(before) => before.newer = index,
            None => self.buckets[at].oldest = index,
        }
        self.buckets[at].newest = index;
        self.buckets[at].len += 1;
        let entries = &self.entries;
        let hash_of =
            |i| entries.key_at(i).and_then(|k| entries.get(k)).map_or(0, |e| hash.of(e.pair.as_bytes()));
        self.demux.insert(hashed, index, hash_of);
        self.timers.schedule(index, first);
        index
    }

    pub(crate) fn remove(&mut self, hash: &TupleHash, index: u32) -> Option<SynEntry> {
        let key = self.entries.key_at(index)?;
        let entry = self.entries.remove(key)?;
        self.timers.cancel(index);
        self.routes.remove(&index);
        self.saved.remove(&index);
        self.demux.remove(hash.of(entry.pair.as_bytes()), index);
        let at = usize::from(entry.bucket);
        match self.get_mut(entry.older) {
            Some(older) => older.newer = entry.newer,
            None => self.buckets[at].oldest = entry.newer,
        }
        match self.get_mut(entry.newer) {
            Some(newer) => newer.older = entry.older,
            None => self.buckets[at].newest = entry.older,
        }
        self.buckets[at].len -= 1;
        Some(entry)
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.timers.next_deadline().unwrap_or(Instant::NEVER)
    }

    /// An entry whose SYN-ACK timer is due.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<u32> {
        self.timers.pop_expired(now)
    }

    /// Starts an entry's timer again: exponential from `base` on, at most `max`.
    pub(crate) fn rearm(&mut self, now: Instant, index: u32, base: Duration, max: Duration) {
        let Some(entry) = self.get(index) else { return };
        let wait = base.saturating_mul(1 << u32::from(entry.timeouts).min(20)).min(max);
        self.timers.schedule(index, now + wait);
    }

    /// All entries with their next deadlines, for snapshots.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&SynEntry, Option<Instant>)> {
        self.entries.iter().map(|(key, entry)| (entry, self.timers.deadline(key.index)))
    }

    /// The entries of a listener that is closed.
    pub(crate) fn of_listener(&self, listener: Key) -> impl Iterator<Item = u32> {
        self.entries.iter().filter(move |(_, e)| e.listener == listener).map(|(key, _)| key.index)
    }
}

impl core::fmt::Debug for SynTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SynTable").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Indices are the table's own.
#[derive(Default)]
pub(crate) struct IndexHasher(u64);

impl core::hash::Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u32(u32::from(b));
        }
    }

    fn write_u32(&mut self, index: u32) {
        self.0 = (self.0 ^ u64::from(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

/// Bits of the hash that the index's own probe does not start from.
fn bucket_of(hash: u64) -> usize {
    (hash >> 40) as usize % BUCKETS
}
