//! Reassembly of IPv4 and IPv6 fragments (RFC 791 3.2, RFC 1122 3.3.2, RFC 8200 4.5), bounded in memory and time.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::net::IpAddr;

use bytes::Bytes;
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use crate::packet::{Head, MAX_PACKET, MAX_SLICES, Packet, Payload};
use crate::time::{Duration, Instant};
use crate::wire::checksum::checksum;
use crate::wire::ip::{Fragment, IpHeader};
use crate::wire::take_payload;

/// What is charged for each fragment and each set besides their bytes.
const OVERHEAD: usize = 256;

/// Fragments up to this many bytes are copied, so that they do not hold on to a whole receive buffer.
const COPY_BELOW: usize = 512;

/// The bounds of a [`Reassembler`] (CVE-2018-5391). At a bound the oldest set gives way to the new fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes in all sets, bookkeeping included (Linux: `net.ipv4.ipfrag_high_thresh`).
    pub bytes: usize,
    /// Sets.
    pub sets: usize,
    /// Bytes in the sets of one source address.
    pub source_bytes: usize,
    /// Sets of one source address.
    pub source_sets: usize,
    /// Fragments of one set; a set with more is discarded.
    pub fragments: usize,
    /// How long a set waits for its last fragment, counted from its first (RFC 8200 4.5, RFC 1122 3.3.2: 60 s;
    /// Linux: `net.ipv4.ipfrag_time`).
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 4 << 20,
            sets: 1_024,
            source_bytes: 1 << 20,
            source_sets: 64,
            fragments: 256,
            timeout: Duration::from_secs(60),
        }
    }
}

/// What became of fragments, under the names of Linux's SNMP counters where it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Fragments that came in (ReasmReqds).
    pub received: u64,
    /// Packets put together (ReasmOKs).
    pub reassembled: u64,
    /// Sets that were given up, for whatever reason (ReasmFails).
    pub failed: u64,
    /// Sets given up because their time was over (ReasmTimeout).
    pub timed_out: u64,
    /// Sets given up because fragments overlapped or contradicted each other (ReasmOverlaps).
    pub overlapped: u64,
    /// Fragments that came a second time and were dropped.
    pub duplicates: u64,
    /// Sets given up because the whole would exceed 65,535 bytes.
    pub too_long: u64,
    /// Sets given up because they held too many fragments.
    pub too_many: u64,
    /// Packets dropped because CE and not-ECT fragments were mixed (RFC 3168 5.3).
    pub bad_ecn: u64,
    /// Sets that gave way to newer ones at a bound of memory.
    pub evicted: u64,
    /// Fragments dropped because their set had been discarded before.
    pub of_discarded: u64,
}

/// Puts fragments together.
///
/// A set is the fragments of one packet. One whose fragments overlap or contradict each other is emptied and stays
/// until its time is over, so that the rest of it is discarded too (RFC 5722 3, RFC 8200 4.5); exact duplicates are
/// dropped alone. All sets last equally long, so the oldest is first in a queue.
#[derive(Debug)]
pub struct Reassembler {
    limits: Limits,
    sets: HashMap<Key, Set, Seed>,
    sources: HashMap<IpAddr, Source, Seed>,
    /// Every set in the order of coming, and some that are gone.
    order: VecDeque<(u64, Key)>,
    next_id: u64,
    bytes: usize,
    counters: Counters,
}

/// RFC 791 3.2: source, destination, protocol, identification; RFC 8200 4.5: without the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    ident: u32,
}

#[derive(Debug, Default)]
struct Source {
    bytes: usize,
    sets: usize,
    /// Its sets in the order of coming, and some that are gone.
    order: VecDeque<(u64, Key)>,
}

#[derive(Debug)]
struct Set {
    id: u64,
    deadline: Instant,
    /// Sorted, not overlapping.
    pieces: Vec<Piece>,
    /// Length of the whole payload, known from the last fragment.
    total: Option<usize>,
    /// The headers of the first fragment.
    first: Option<First>,
    /// Bytes in `pieces`.
    held: usize,
    /// What is charged for it.
    charged: usize,
    /// One bit for each ECN codepoint seen.
    ecn: u8,
    /// All that comes is dropped.
    discarded: bool,
}

#[derive(Debug)]
struct Piece {
    start: usize,
    end: usize,
    data: Payload,
}

#[derive(Debug)]
struct First {
    header: Bytes,
    ip: IpHeader,
}

/// Why a set is discarded.
enum Fault {
    Overlap,
    TooLong,
    TooMany,
}

#[derive(Clone, Copy, Debug)]
struct Seed(u64, u64);

impl BuildHasher for Seed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl Reassembler {
    /// An empty one. `seed` keys its tables, so that nobody outside can make keys collide.
    pub fn new(limits: Limits, seed: (u64, u64)) -> Self {
        let seed = Seed(seed.0, seed.1);
        Reassembler {
            limits,
            sets: HashMap::with_hasher(seed),
            sources: HashMap::with_hasher(seed),
            order: VecDeque::new(),
            next_id: 0,
            bytes: 0,
            counters: Counters::default(),
        }
    }

    /// Takes a fragment: a packet whose parsed header `ip` has [`IpHeader::fragment`] set, as
    /// [`crate::wire::parse()`] accepted it (multiples of eight, not tiny). Other packets come back as they are.
    ///
    /// Returns the whole packet if this was the one missing: to be parsed anew, its headers contiguous in front.
    /// None if the fragment is kept, or dropped and counted.
    #[must_use]
    pub fn push(&mut self, now: Instant, ip: &IpHeader, packet: Packet) -> Option<Packet> {
        let Some(fragment) = ip.fragment else {
            return Some(packet);
        };
        self.counters.received += 1;
        let protocol = if ip.is_ipv6() { 0 } else { ip.protocol };
        let key = Key { src: ip.src, dst: ip.dst, protocol, ident: fragment.ident };
        if !self.sets.contains_key(&key) {
            self.open(now, key);
        }
        let set = self.sets.get_mut(&key)?;
        if set.discarded {
            self.counters.of_discarded += 1;
            return None;
        }
        let before = set.charged;
        match set.insert(ip, fragment, packet, self.limits.fragments) {
            Ok(true) => {}
            Ok(false) => {
                self.counters.duplicates += 1;
                return None;
            }
            Err(fault) => {
                self.discard(key, fault);
                return None;
            }
        }
        let (more, complete) = (set.charged - before, set.is_complete());
        self.charge(key.src, more);
        if complete {
            return self.complete(key);
        }
        self.make_room(key.src);
        None
    }

    /// When [`Reassembler::expire`] has something to do; [`Instant::NEVER`] if nothing waits.
    pub fn next_deadline(&self) -> Instant {
        // The front is no set that is gone: `remove` sees to it.
        let oldest = self.order.front().and_then(|(id, key)| self.live(*id, key));
        oldest.map_or(Instant::NEVER, |set| set.deadline)
    }

    /// Gives up the sets whose time is over. Returns the first fragment of each that had come: its source is to be told
    /// with ICMP Time Exceeded code 1 (RFC 1122 3.3.2, RFC 8200 4.5).
    pub fn expire(&mut self, now: Instant) -> Vec<Packet> {
        let mut first_fragments = Vec::new();
        while let Some((id, key)) = self.order.front().copied() {
            if self.live(id, &key).is_some_and(|set| set.deadline > now) {
                break;
            }
            self.order.pop_front();
            if let Some(set) = self.remove(&key) {
                self.counters.timed_out += 1;
                // A discarded one has been counted as failed, and is silent (RFC 5722 3).
                self.counters.failed += u64::from(!set.discarded);
                first_fragments.extend(set.into_first_fragment());
            }
        }
        first_fragments
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes held, bookkeeping included; at most [`Limits::bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets held; at most [`Limits::sets`].
    pub fn sets(&self) -> usize {
        self.sets.len()
    }

    fn live(&self, id: u64, key: &Key) -> Option<&Set> {
        self.sets.get(key).filter(|set| set.id == id)
    }

    fn open(&mut self, now: Instant, key: Key) {
        let id = self.next_id;
        self.next_id += 1;
        let set = Set {
            id,
            deadline: now + self.limits.timeout,
            pieces: Vec::new(),
            total: None,
            first: None,
            held: 0,
            charged: OVERHEAD,
            ecn: 0,
            discarded: false,
        };
        self.sets.insert(key, set);
        self.order.push_back((id, key));
        let source = self.sources.entry(key.src).or_default();
        source.sets += 1;
        source.order.push_back((id, key));
        self.charge(key.src, OVERHEAD);
        self.make_room(key.src);
    }

    fn charge(&mut self, src: IpAddr, bytes: usize) {
        self.bytes += bytes;
        if let Some(source) = self.sources.get_mut(&src) {
            source.bytes += bytes;
        }
    }

    /// Evicts the oldest sets, of the source first, until the bounds hold.
    fn make_room(&mut self, src: IpAddr) {
        while self.sources.get(&src).is_some_and(|source| {
            source.sets > self.limits.source_sets || source.bytes > self.limits.source_bytes
        }) {
            let Some(source) = self.sources.get_mut(&src) else { break };
            let Some((id, oldest)) = source.order.pop_front() else { break };
            self.evict(id, &oldest);
        }
        while self.sets.len() > self.limits.sets || self.bytes > self.limits.bytes {
            let Some((id, oldest)) = self.order.pop_front() else { break };
            self.evict(id, &oldest);
        }
    }

    fn evict(&mut self, id: u64, key: &Key) {
        if let Some(discarded) = self.live(id, key).map(|set| set.discarded) {
            self.remove(key);
            self.counters.evicted += 1;
            self.counters.failed += u64::from(!discarded);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Set> {
        let set = self.sets.remove(key)?;
        self.bytes -= set.charged;
        if let Some(source) = self.sources.get_mut(&key.src) {
            source.bytes -= set.charged;
            source.sets -= 1;
            if source.sets == 0 {
                self.sources.remove(&key.src);
            } else if source.order.len() > 2 * source.sets + 16 {
                source.order.retain(|(id, key)| self.sets.get(key).is_some_and(|set| set.id == *id));
            }
        }
        // Entries of sets that are gone never outnumber the others: each is cleared once, after as many removals.
        if self.order.len() > 2 * self.sets.len() + 16 {
            self.order.retain(|(id, key)| self.sets.get(key).is_some_and(|set| set.id == *id));
        }
        while self.order.front().is_some_and(|(id, key)| self.live(*id, key).is_none()) {
            self.order.pop_front();
        }
        Some(set)
    }

    fn discard(&mut self, key: Key, fault: Fault) {
        self.counters.failed += 1;
        match fault {
            Fault::Overlap => self.counters.overlapped += 1,
            Fault::TooLong => self.counters.too_long += 1,
            Fault::TooMany => self.counters.too_many += 1,
        }
        let Some(set) = self.sets.get_mut(&key) else { return };
        set.discarded = true;
        set.pieces = Vec::new();
        set.first = None;
        let back = set.charged - OVERHEAD;
        set.charged = OVERHEAD;
        self.bytes -= back;
        if let Some(source) = self.sources.get_mut(&key.src) {
            source.bytes -= back;
        }
    }

    fn complete(&mut self, key: Key) -> Option<Packet> {
        let set = self.remove(&key)?;
        match set.into_packet() {
            Ok(packet) => {
                self.counters.reassembled += 1;
                Some(packet)
            }
            Err(unusable) => {
                self.counters.failed += 1;
                match unusable {
                    Unusable::Ecn => self.counters.bad_ecn += 1,
                    Unusable::TooLong => self.counters.too_long += 1,
                }
                None
            }
        }
    }
}

/// Why a complete set makes no packet.
enum Unusable {
    Ecn,
    TooLong,
}

impl Set {
    /// Adds a fragment; false if it is a duplicate.
    fn insert(
        &mut self,
        ip: &IpHeader,
        fragment: Fragment,
        packet: Packet,
        most: usize,
    ) -> Result<bool, Fault> {
        let start = usize::from(fragment.offset);
        let end = start + ip.payload_len();
        if end > MAX_PACKET {
            return Err(Fault::TooLong);
        }
        let at = self.pieces.partition_point(|piece| piece.end <= start);
        if let Some(next) = self.pieces.get(at)
            && next.start < end
        {
            let same = next.start == start && next.end == end;
            // The last one again, or one in the middle again: not one turned into the other.
            let consistent = fragment.more == (self.total != Some(end));
            return if same && consistent { Ok(false) } else { Err(Fault::Overlap) };
        }
        let beyond = self.total.is_some_and(|total| end > total || !fragment.more);
        let short = !fragment.more && self.pieces.last().is_some_and(|piece| piece.end > end);
        if beyond || short {
            return Err(Fault::Overlap);
        }
        if self.pieces.len() >= most {
            return Err(Fault::TooMany);
        }
        if !fragment.more {
            self.total = Some(end);
        }
        self.ecn |= 1 << (ip.traffic_class & 3);
        if start == 0 {
            let front = packet.front();
            let header = Bytes::copy_from_slice(front.get(..ip.header_len).unwrap_or(front));
            self.charged += header.len();
            self.first = Some(First { header, ip: *ip });
        }
        let mut data = take_payload(packet, ip.header_len, end - start);
        if data.len() <= COPY_BELOW {
            let mut copy = alloc::vec![0; data.len()];
            data.copy_to(0, &mut copy);
            data = Payload::from(Bytes::from(copy));
        }
        self.held += end - start;
        self.charged += end - start + OVERHEAD;
        self.pieces.insert(at, Piece { start, end, data });
        Ok(true)
    }

    fn is_complete(&self) -> bool {
        self.first.is_some() && self.total == Some(self.held)
    }

    fn into_packet(self) -> Result<Packet, Unusable> {
        const NOT_ECT: u8 = 1 << 0;
        const CE: u8 = 1 << 3;
        let (Some(First { header, ip }), Some(total)) = (self.first, self.total) else {
            return Err(Unusable::TooLong);
        };
        let congested = self.ecn & CE != 0;
        if congested && self.ecn & NOT_ECT != 0 {
            return Err(Unusable::Ecn);
        }
        let header = whole_header(&header, &ip, total, congested).ok_or(Unusable::TooLong)?;
        let mut data = Payload::new();
        for piece in self.pieces {
            for slice in piece.data.into_slices() {
                data.push(slice);
            }
        }
        Ok(with_contiguous_headers(&header, data))
    }

    fn into_first_fragment(self) -> Option<Packet> {
        let First { header, .. } = self.first?;
        let mut payload = Payload::from(header);
        for slice in self.pieces.into_iter().next()?.data.into_slices() {
            payload.push(slice);
        }
        // One buffer, as an ICMP error looks for ports at the front.
        let mut all = alloc::vec![0; payload.len()];
        payload.copy_to(0, &mut all);
        Some(Packet::from_bytes(Bytes::from(all)))
    }
}

/// The first fragment's header as that of the whole packet; none if that is too long for its length field.
fn whole_header(first: &[u8], ip: &IpHeader, total: usize, congested: bool) -> Option<Vec<u8>> {
    let mut header = first.to_vec();
    if ip.is_ipv6() {
        // RFC 8200 4.5: the fragment header goes, and what it named is named by the header before it.
        header.truncate(ip.header_len - 8);
        header[usize::from(ip.fragment?.named_at)] = ip.protocol;
        let payload_len = u16::try_from(header.len() - 40 + total).ok()?;
        header[4..6].copy_from_slice(&payload_len.to_be_bytes());
        if congested {
            header[1] |= 0x30;
        }
    } else {
        let total_len = u16::try_from(header.len() + total).ok()?;
        header[2..4].copy_from_slice(&total_len.to_be_bytes());
        header[6..8].fill(0);
        if congested {
            header[1] |= 3;
        }
        header[10..12].fill(0);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    Some(header)
}

/// Headers and as much data as fits into the head, so that the transport's header (60 bytes at most) follows the IP
/// header without a gap; a longer chain of IPv6 extension headers, or too many slices, go into one buffer with the data.
fn with_contiguous_headers(header: &[u8], mut data: Payload) -> Packet {
    const LONGEST_TRANSPORT_HEADER: usize = 60;
    let mut head = Head::new();
    if header.len() + LONGEST_TRANSPORT_HEADER <= head.room() && data.slices().len() <= MAX_SLICES {
        head.extend(header);
        let inline = head.room().min(data.len());
        let at = head.grow(inline);
        data.copy_to(0, at);
        data.advance(inline);
        return Packet { head, payload: data, ..Packet::default() };
    }
    let mut all = alloc::vec![0; header.len() + data.len()];
    all[..header.len()].copy_from_slice(header);
    data.copy_to(0, &mut all[header.len()..]);
    Packet::from_bytes(Bytes::from(all))
}

#[cfg(test)]
mod tests;
