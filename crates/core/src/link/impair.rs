//! An impaired link: packets in at one moment, out at a later one, or not at all.
//!
//! The way of a packet: outage and MTU, then loss, then the queue in front of the rate, then the delay. A
//! super-segment is cut first: the segments of the wire are judged, never a super-segment whole. Chances are
//! drawn one for each segment of the wire and from each direction's own generator, so that the same seed
//! meets the same segments, whatever the other direction does.

use alloc::collections::{BTreeMap, VecDeque};

use super::spec::{DirectionSpec, LinkSpec};
use crate::packet::{Checksum, Packet};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::gso;
use crate::wire::tcp::ChecksumMode;

/// Bytes on their way in one direction at most, whatever the specification says: 2 s at 1 Gbit/s.
const IN_FLIGHT_MAX: usize = 256 << 20;

/// What one direction has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Segments offered.
    pub offered: u64,
    /// Segments delivered, copies included.
    pub delivered: u64,
    /// Bytes of IP packets delivered.
    pub delivered_bytes: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub queue_drops: u64,
    /// Dropped because 256 MiB were on their way: a long delay without a rate.
    pub overflow_drops: u64,
    /// Lost in an outage.
    pub outage_drops: u64,
    /// Longer than the MTU.
    pub too_long: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Delivered with a bit turned over.
    pub corrupted: u64,
    /// Held back to be overtaken.
    pub reordered: u64,
    /// Marked CE because the queue was long.
    pub marked: u64,
}

impl LinkCounters {
    /// Segments that do not arrive, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.lost + self.queue_drops + self.overflow_drops + self.outage_drops + self.too_long
    }

    /// Each counter under its name.
    pub fn rows(&self) -> [(&'static str, u64); 12] {
        [
            ("offered", self.offered),
            ("delivered", self.delivered),
            ("delivered_bytes", self.delivered_bytes),
            ("lost", self.lost),
            ("queue_drops", self.queue_drops),
            ("overflow_drops", self.overflow_drops),
            ("outage_drops", self.outage_drops),
            ("too_long", self.too_long),
            ("duplicated", self.duplicated),
            ("corrupted", self.corrupted),
            ("reordered", self.reordered),
            ("marked", self.marked),
        ]
    }
}

/// One direction of an impaired link.
#[derive(Debug)]
pub struct Direction {
    spec: DirectionSpec,
    rng: Rng,
    start: Option<Instant>,
    /// Gilbert-Elliott: in the bad state.
    bad: bool,
    /// When the last bit of what is queued has left.
    busy_until: Instant,
    /// Packets in the queue: when each has left it, and its length.
    queue: VecDeque<(Instant, u32)>,
    queued_bytes: u64,
    /// Jitter keeps the order: nothing arrives before this but what is reordered.
    last_arrival: Instant,
    /// On their way, by arrival and the order of sending.
    flying: BTreeMap<(Instant, u64), Packet>,
    /// What they take of [`IN_FLIGHT_MAX`].
    flying_bytes: usize,
    serial: u64,
    counters: LinkCounters,
}

impl Direction {
    /// A direction as `spec` says, its chances from `seed`.
    pub fn new(spec: DirectionSpec, seed: u64, which: u8) -> Direction {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8] = which;
        Direction {
            spec,
            rng: Rng::new(key),
            start: None,
            bad: false,
            busy_until: Instant::ZERO,
            queue: VecDeque::new(),
            queued_bytes: 0,
            last_arrival: Instant::ZERO,
            flying: BTreeMap::new(),
            flying_bytes: 0,
            serial: 0,
            counters: LinkCounters::default(),
        }
    }

    /// What it has done.
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// What it is.
    pub fn spec(&self) -> &DirectionSpec {
        &self.spec
    }

    /// Another quality from now on; what is on its way arrives as it would have.
    pub fn set_spec(&mut self, spec: DirectionSpec) {
        self.spec = spec;
    }

    /// A packet is sent into the link.
    pub fn send(&mut self, now: Instant, packet: Packet) {
        self.start.get_or_insert(now);
        if packet.gso_size != 0 {
            for segment in gso::segment(packet, ChecksumMode::Complete) {
                self.send_one(now, segment);
            }
        } else {
            self.send_one(now, packet);
        }
    }

    /// The next packet that has arrived by `now`.
    pub fn receive(&mut self, now: Instant) -> Option<Packet> {
        let entry = self.flying.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let packet = entry.remove();
        self.flying_bytes -= cost(&packet);
        self.counters.delivered += 1;
        self.counters.delivered_bytes += packet.len() as u64;
        Some(packet)
    }

    /// When the next packet arrives; [`Instant::NEVER`] if none is on its way.
    pub fn next_deadline(&self) -> Instant {
        self.flying.first_key_value().map_or(Instant::NEVER, |(key, _)| key.0)
    }

    /// Packets on their way, those in the queue included.
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// Bytes waiting for their turn at the rate.
    pub fn queued_bytes(&mut self, now: Instant) -> u64 {
        self.drain_queue(now);
        self.queued_bytes
    }

    fn send_one(&mut self, now: Instant, mut packet: Packet) {
        self.counters.offered += 1;
        // Every chance is drawn for every segment, so that one setting does not shift the others' luck.
        let lost = self.draw_loss();
        let duplicate = self.chance(self.spec.duplicate);
        let corrupt = self.chance(self.spec.corrupt);
        let held = self.spec.reorder.is_some_and(|r| self.chance(r.share));
        let jitter = self.draw_jitter();
        if self.is_down(now) {
            self.counters.outage_drops += 1;
        } else if self.spec.mtu.is_some_and(|mtu| packet.len() > usize::from(mtu)) {
            self.counters.too_long += 1;
        } else if lost {
            self.counters.lost += 1;
        } else {
            let marks = self.marks(now);
            let Some(leaves) = self.enqueue(now, packet.len() as u32) else {
                self.counters.queue_drops += 1;
                return;
            };
            if marks {
                self.counters.marked += u64::from(gso::mark_ce(&mut packet));
            }
            if corrupt {
                self.counters.corrupted += 1;
                self.turn_a_bit(&mut packet);
            }
            let mut arrives = leaves + self.spec.delay + jitter;
            if let (true, Some(reorder)) = (held, self.spec.reorder) {
                self.counters.reordered += 1;
                arrives += reorder.by;
            } else {
                arrives = arrives.max(self.last_arrival);
                self.last_arrival = arrives;
            }
            if duplicate {
                self.counters.duplicated += 1;
                self.fly(arrives, packet.clone());
            }
            self.fly(arrives, packet);
        }
    }

    fn fly(&mut self, arrives: Instant, packet: Packet) {
        if self.flying_bytes + cost(&packet) > IN_FLIGHT_MAX {
            self.counters.overflow_drops += 1;
            return;
        }
        self.flying_bytes += cost(&packet);
        self.serial += 1;
        self.flying.insert((arrives, self.serial), packet);
    }

    /// A place in the queue; `None` if it is full, else when the last bit has left it.
    fn enqueue(&mut self, now: Instant, len: u32) -> Option<Instant> {
        let Some(rate) = self.spec.rate else { return Some(now) };
        self.drain_queue(now);
        let (bytes, packets) = self.spec.queue_limit();
        let busy = self.busy_until > now;
        if busy && (self.queued_bytes + u64::from(len) > bytes || self.queue.len() >= packets as usize) {
            return None;
        }
        let nanos = u128::from(len) * 8_000_000_000 / u128::from(rate);
        self.busy_until = self.busy_until.max(now) + Duration::from_nanos(nanos as u64);
        self.queued_bytes += u64::from(len);
        self.queue.push_back((self.busy_until, len));
        Some(self.busy_until)
    }

    /// Whether what comes now finds a queue that marks.
    fn marks(&mut self, now: Instant) -> bool {
        let Some((bytes, packets)) = self.spec.mark_limit() else { return false };
        self.drain_queue(now);
        self.queued_bytes > bytes || self.queue.len() > packets as usize
    }

    fn drain_queue(&mut self, now: Instant) {
        while self.queue.front().is_some_and(|&(left, _)| left <= now) {
            if let Some((_, len)) = self.queue.pop_front() {
                self.queued_bytes -= u64::from(len);
            }
        }
    }

    fn is_down(&self, now: Instant) -> bool {
        let Some(outage) = self.spec.outage else { return false };
        let since = now.since(self.start.unwrap_or(now));
        let Some(at) = since.checked_sub(outage.from) else { return false };
        match outage.every {
            Some(every) => at.as_nanos() % every.as_nanos().max(1) < outage.lasts.as_nanos(),
            None => at < outage.lasts,
        }
    }

    /// Loss by itself, or by Gilbert-Elliott: from good to bad with p, back with 1 / mean burst length, p such
    /// that the mean loss is what was asked for.
    fn draw_loss(&mut self) -> bool {
        let loss = self.spec.loss;
        let Some(bursts) = self.spec.bursts else { return self.chance(loss) };
        let back = 1.0 / bursts.mean;
        let into = if loss >= 1.0 { 1.0 } else { (back * loss / (1.0 - loss)).min(1.0) };
        let turn = self.chance(if self.bad { back } else { into });
        self.bad ^= turn;
        self.bad
    }

    fn draw_jitter(&mut self) -> Duration {
        let jitter = self.spec.jitter.as_nanos().min(u128::from(u64::MAX)) as u64;
        let share = u128::from(self.rng.u32());
        Duration::from_nanos(((u128::from(jitter) * share) >> 32) as u64)
    }

    fn chance(&mut self, share: f64) -> bool {
        let drawn = f64::from(self.rng.u32()) / 4_294_967_296.0;
        drawn < share
    }

    /// One bit of the packet, anywhere; a checksum left to the link was made before.
    fn turn_a_bit(&mut self, packet: &mut Packet) {
        if packet.checksum == Checksum::Partial {
            gso::complete_checksum(packet);
        }
        let mut bytes = packet.to_vec();
        if bytes.is_empty() {
            return;
        }
        let bit = self.rng.below(bytes.len() as u32 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        *packet = Packet::from_bytes(bytes.into());
    }
}

/// Memory that a packet takes on its way, bytes.
fn cost(packet: &Packet) -> usize {
    packet.len() + core::mem::size_of::<Packet>()
}

/// Both directions.
#[derive(Debug)]
pub struct Impairment {
    /// From the first end to the second.
    pub up: Direction,
    /// Back.
    pub down: Direction,
}

impl Impairment {
    /// A link as `spec` says.
    pub fn new(spec: &LinkSpec) -> Impairment {
        Impairment {
            up: Direction::new(spec.up.clone(), spec.seed, 0),
            down: Direction::new(spec.down.clone(), spec.seed, 1),
        }
    }

    /// When the next packet arrives at either end.
    pub fn next_deadline(&self) -> Instant {
        self.up.next_deadline().min(self.down.next_deadline())
    }
}
