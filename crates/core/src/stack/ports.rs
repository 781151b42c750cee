//! Who holds which port, and which port comes next.
//!
//! The holders of a port are kept as classes with a count (address, flags, listening), never as a list
//! of sockets: a bind looks at a handful of classes even where 100,000 connections share the port.

use alloc::boxed::Box;
use alloc::vec;
use core::hash::{BuildHasherDefault, Hasher};
use core::net::IpAddr;

use hashbrown::HashMap;
use siphasher::sip::SipHasher24;
use smallvec::SmallVec;

use crate::config::{Config, Options, Profile};
use crate::errno::Errno;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Entries of the table of algorithm 4's counters: large, so that few destinations share one
/// (CVE-2022-32296).
const PERTURB: usize = 1 << 14;
/// How long one secret of the port hash is used.
const REKEY: Duration = Duration::from_secs(10);

/// How a socket, a connection or a TIME-WAIT entry holds its port. Equal holders are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Binding {
    /// The local address; unspecified is a wildcard (`::` with `v6only` unset covers IPv4 too).
    pub(crate) addr: IpAddr,
    /// The port, not 0.
    pub(crate) port: u16,
    /// SO_REUSEADDR, SO_REUSEPORT, IPV6_V6ONLY ...
    pub(crate) flags: BindFlags,
    /// SO_BINDTODEVICE, 0 is none.
    pub(crate) device: u16,
}

bitflags::bitflags! {
    /// What decides whether two holders of a port go together.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub(crate) struct BindFlags: u8 {
        /// SO_REUSEADDR.
        const REUSEADDR = 1;
        /// SO_REUSEPORT.
        const REUSEPORT = 2;
        /// IPV6_V6ONLY.
        const V6ONLY = 4;
        /// The holder listens.
        const LISTENING = 8;
        /// The port was chosen by `connect`, and may be shared by connections to other peers.
        const AUTO = 16;
        /// The holder is in TIME-WAIT.
        const TIME_WAIT = 32;
        /// The user named the port (it outlives a failed connection).
        const EXPLICIT = 64;
        /// Bound to the wildcard; `connect` made the address specific.
        const WAS_WILDCARD = 128;
    }
}

impl BindFlags {
    /// The flags that a socket's options set.
    pub(crate) fn of(options: &Options) -> BindFlags {
        let mut flags = BindFlags::empty();
        flags.set(BindFlags::REUSEADDR, options.reuseaddr);
        flags.set(BindFlags::REUSEPORT, options.reuseport);
        flags.set(BindFlags::V6ONLY, options.v6only);
        flags
    }
}

impl Binding {
    /// Linux's `inet_csk_bind_conflict`: may `self` not join `other` on the same port? `lenient` is what
    /// the other systems do: with SO_REUSEADDR a wildcard and a specific address go together.
    fn conflicts(&self, other: &Binding, lenient: bool) -> bool {
        if self.device != 0 && other.device != 0 && self.device != other.device {
            return false;
        }
        let both = self.flags & other.flags;
        if both.contains(BindFlags::REUSEPORT) {
            return false;
        }
        if both.contains(BindFlags::REUSEADDR) {
            let listening = other.flags.contains(BindFlags::LISTENING);
            if !listening || (lenient && self.addr != other.addr) {
                return false;
            }
        }
        self.overlaps(other)
    }

    /// Whether some destination address reaches both.
    fn overlaps(&self, other: &Binding) -> bool {
        match (self.addr, other.addr) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V6(a), IpAddr::V6(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V6(a), IpAddr::V4(_)) => a.is_unspecified() && !self.flags.contains(BindFlags::V6ONLY),
            (IpAddr::V4(_), IpAddr::V6(b)) => b.is_unspecified() && !other.flags.contains(BindFlags::V6ONLY),
        }
    }

    /// How well a listener fits a destination: `None` not at all, else the more specific the higher.
    fn score(&self, addr: IpAddr, device: u16) -> Option<u8> {
        let by_device = match self.device {
            0 => 0,
            d if d == device => 1,
            _ => return None,
        };
        let by_addr = match (self.addr, addr) {
            (a, b) if a == b => 4,
            (IpAddr::V4(a), IpAddr::V4(_)) if a.is_unspecified() => 2,
            (IpAddr::V6(a), IpAddr::V6(_)) if a.is_unspecified() => 2,
            (IpAddr::V6(a), IpAddr::V4(_))
                if a.is_unspecified() && !self.flags.contains(BindFlags::V6ONLY) =>
            {
                0
            }
            _ => return None,
        };
        Some(by_addr + by_device)
    }
}

/// All holders of one port.
#[derive(Debug, Default)]
struct Port {
    classes: SmallVec<[(Binding, u32); 1]>,
    listeners: SmallVec<[(u32, Binding); 1]>,
}

/// Ports are few and not chosen by peers: a multiplication is hash enough.
#[derive(Default)]
struct PortHasher(u64);

impl Hasher for PortHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u16(u16::from(b));
        }
    }

    fn write_u16(&mut self, port: u16) {
        self.0 = (self.0 ^ u64::from(port)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

/// The table of ports.
#[derive(Debug)]
pub(crate) struct Ports {
    ports: HashMap<u16, Port, BuildHasherDefault<PortHasher>>,
    select: Selector,
}

impl Ports {
    /// No port is held.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Ports { ports: HashMap::default(), select: Selector::new(rng) }
    }

    /// How many ports are held.
    pub(crate) fn len(&self) -> usize {
        self.ports.len()
    }

    /// Whether `binding` could be had; `own` is what the asker holds already.
    fn is_free(&self, config: &Config, binding: &Binding, own: Option<&Binding>) -> bool {
        let lenient = config.profile != Profile::Linux;
        let Some(port) = self.ports.get(&binding.port) else { return true };
        port.classes.iter().all(|(class, count)| {
            let others = if own == Some(class) { count - 1 } else { *count };
            others == 0 || !binding.conflicts(class, lenient)
        })
    }

    /// Takes a port, by `bind`. EADDRINUSE by Linux's rules.
    pub(crate) fn bind(&mut self, config: &Config, binding: Binding) -> Result<(), Errno> {
        if !self.is_free(config, &binding, None) {
            return Err(Errno::EADDRINUSE);
        }
        self.hold(binding);
        Ok(())
    }

    /// Takes any port, by `bind` to port 0 (or an implicit bind at `listen`): evenly at random among the
    /// free ones (RFC 6056 algorithm 1). EADDRINUSE if there is none.
    pub(crate) fn bind_any(
        &mut self,
        config: &Config,
        rng: &mut Rng,
        mut binding: Binding,
    ) -> Result<Binding, Errno> {
        let range = Range::new(config);
        let start = rng.below(range.count);
        for unheld in [true, false] {
            for i in 0..range.count {
                binding.port = range.port(start, i);
                if config.local_reserved_ports.contains(&binding.port) {
                    continue;
                }
                let held = self.ports.contains_key(&binding.port);
                if !held || (!unheld && self.is_free(config, &binding, None)) {
                    self.hold(binding);
                    return Ok(binding);
                }
            }
        }
        Err(Errno::EADDRINUSE)
    }

    /// Chooses a port for `connect` from an unbound socket by RFC 6056 algorithm 4 (double hash) with
    /// random steps: `is_unique` says whether the tuple with that port is not in use. Ports that somebody
    /// bound are passed over, ports of other connections are shared. EADDRNOTAVAIL if there is none.
    /// `peer` is what identifies the destination: local and remote address and remote port.
    pub(crate) fn choose(
        &mut self,
        config: &Config,
        rng: &mut Rng,
        now: Instant,
        peer: &[u8],
        mut is_unique: impl FnMut(u16) -> bool,
    ) -> Result<u16, Errno> {
        let range = Range::new(config);
        let (start, slot) = self.select.start(rng, now, peer, range.count);
        for i in 0..range.count {
            let port = range.port(start, i);
            if config.local_reserved_ports.contains(&port) {
                continue;
            }
            let shared = self.ports.get(&port).is_none_or(|held| {
                held.classes.iter().all(|(class, _)| class.flags.contains(BindFlags::AUTO))
            });
            if shared && is_unique(port) {
                self.select.advance(rng, slot, i);
                return Ok(port);
            }
        }
        Err(Errno::EADDRNOTAVAIL)
    }

    /// Counts a holder in, without asking: accepted connections, TIME-WAIT, what `choose` chose.
    pub(crate) fn hold(&mut self, binding: Binding) {
        let port = self.ports.entry(binding.port).or_default();
        match port.classes.iter_mut().find(|(class, _)| *class == binding) {
            Some((_, count)) => *count += 1,
            None => port.classes.push((binding, 1)),
        }
    }

    /// Counts a holder out.
    pub(crate) fn release(&mut self, binding: &Binding) {
        let Some(port) = self.ports.get_mut(&binding.port) else { return };
        if let Some(at) = port.classes.iter().position(|(class, _)| class == binding) {
            port.classes[at].1 -= 1;
            if port.classes[at].1 == 0 {
                port.classes.swap_remove(at);
            }
        }
        if port.classes.is_empty() && port.listeners.is_empty() {
            self.ports.remove(&binding.port);
        }
    }

    /// Makes a holder a listener; EADDRINUSE if another live listener stands against it. Returns the new
    /// binding, which replaces the old one.
    pub(crate) fn listen(
        &mut self,
        config: &Config,
        index: u32,
        binding: &Binding,
    ) -> Result<Binding, Errno> {
        let mut new = *binding;
        new.flags.insert(BindFlags::LISTENING);
        new.flags.remove(BindFlags::AUTO);
        if !self.is_free(config, &new, Some(binding)) {
            return Err(Errno::EADDRINUSE);
        }
        self.release(binding);
        self.hold(new);
        if let Some(port) = self.ports.get_mut(&new.port) {
            port.listeners.push((index, new));
        }
        Ok(new)
    }

    /// The listener goes; it still holds the port, as the returned binding.
    pub(crate) fn unlisten(&mut self, index: u32, binding: &Binding) -> Binding {
        if let Some(port) = self.ports.get_mut(&binding.port) {
            port.listeners.retain(|(other, _)| *other != index);
        }
        let mut new = *binding;
        new.flags.remove(BindFlags::LISTENING);
        self.release(binding);
        self.hold(new);
        new
    }

    /// Replaces a holder's binding after its options or its address changed.
    pub(crate) fn change(&mut self, old: &Binding, new: Binding) {
        self.hold(new);
        self.release(old);
    }

    /// The listener that a SYN to `addr`:`port` reaches: the most specific one; among equals of a
    /// SO_REUSEPORT group the one that `hash` points at.
    pub(crate) fn listener(&self, addr: IpAddr, port: u16, device: u16, hash: u64) -> Option<u32> {
        let listeners = &self.ports.get(&port)?.listeners;
        let mut best: Option<u8> = None;
        let mut equals: u32 = 0;
        let mut found = None;
        for (index, binding) in listeners {
            let Some(score) = binding.score(addr, device) else { continue };
            match best {
                Some(b) if score < b => continue,
                Some(b) if score == b => equals += 1,
                _ => {
                    best = Some(score);
                    equals = 1;
                }
            }
            // Each of the n equals wins with the same share of the hash space, the same flow always alike.
            if equals == 1 || spread(hash, equals) == 0 {
                found = Some(*index);
            }
        }
        found
    }
}

/// A number in `0..n` that depends on the flow and on `n`.
fn spread(hash: u64, n: u32) -> u32 {
    let mut mixed = hash.wrapping_add(u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (((mixed >> 32) * u64::from(n)) >> 32) as u32
}

/// The ephemeral range as numbers.
struct Range {
    low: u16,
    count: u32,
}

impl Range {
    fn new(config: &Config) -> Range {
        let low = (*config.local_port_range.start()).max(1);
        let high = (*config.local_port_range.end()).max(low);
        Range { low, count: u32::from(high - low) + 1 }
    }

    fn port(&self, start: u32, i: u32) -> u16 {
        // low + something below count is at most `high`, a u16.
        self.low + ((start + i) % self.count) as u16
    }
}

/// RFC 6056 3.3.4, algorithm 4: `offset = F(peer)`, `table[G(peer)]` counts; with the counter moved by
/// random steps and the keys renewed, so that an observer of its own ports learns of no others.
#[derive(Debug)]
struct Selector {
    offset: SipHasher24,
    index: SipHasher24,
    keyed_at: Option<Instant>,
    table: Box<[u16]>,
}

impl Selector {
    fn new(rng: &mut Rng) -> Self {
        Selector {
            offset: SipHasher24::new_with_key(&rng.key()),
            index: SipHasher24::new_with_key(&rng.key()),
            keyed_at: None,
            table: Box::default(),
        }
    }

    fn start(&mut self, rng: &mut Rng, now: Instant, peer: &[u8], count: u32) -> (u32, usize) {
        if self.table.is_empty() {
            let mut table = vec![0; PERTURB].into_boxed_slice();
            table.fill_with(|| rng.u32() as u16);
            self.table = table;
        }
        let keyed_at = *self.keyed_at.get_or_insert(now);
        if now.since(keyed_at) >= REKEY {
            self.keyed_at = Some(now);
            self.offset = SipHasher24::new_with_key(&rng.key());
        }
        let slot = self.index.hash(peer) as usize % PERTURB;
        let offset = self.offset.hash(peer) as u32;
        (offset.wrapping_add(u32::from(self.table[slot])) % count, slot)
    }

    fn advance(&mut self, rng: &mut Rng, slot: usize, tried: u32) {
        let step = tried + 1 + rng.below(8);
        self.table[slot] = self.table[slot].wrapping_add(step as u16);
    }
}
