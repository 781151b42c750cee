//! Interfaces, addresses, routes, and what is known of paths.
//!
//! Connections keep what they looked up beside the table's generation; when that has moved (a route, an
//! address or a path MTU changed) they look again at their next transmit. Nothing walks them.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashTable;

use crate::config::Config;
use crate::errno::Errno;
use crate::tcp::Path;
use crate::time::Instant;

/// How many destinations' path MTUs are remembered; the oldest is forgotten first.
const MAX_PATHS: usize = 4_096;
/// The MTU inside the stack.
const LOCAL_MTU: u16 = 65_535;

/// The name of an interface in its stack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterfaceId(pub u32);

/// An address and the length of its prefix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cidr {
    /// The address, host part included.
    pub address: IpAddr,
    /// Bits of the network part: at most 32 or 128; more is taken as that.
    pub prefix: u8,
}

impl Cidr {
    /// An address and its prefix.
    pub const fn new(address: IpAddr, prefix: u8) -> Cidr {
        Cidr { address, prefix }
    }

    /// Whether `other` lies in this network.
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                (u64::from(a.to_bits()) ^ u64::from(b.to_bits())) >> shift == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                common_bits(&a.octets(), &b.octets()) >= u32::from(self.prefix.min(128))
            }
            _ => false,
        }
    }

    /// The network's own address: the host part zero.
    fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask))
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask))
            }
        }
    }

    /// The directed broadcast address, where the prefix leaves room for one.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(a) if self.prefix <= 30 => {
                Some(Ipv4Addr::from_bits(a.to_bits() | (u32::MAX >> self.prefix)))
            }
            _ => None,
        }
    }
}

/// An interface: where packets come from and go to. What carries them is no business of the stack's.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name, as views show it.
    pub name: String,
    /// The longest packet, bytes.
    pub mtu: u16,
    /// Our addresses on it.
    pub addresses: Vec<Cidr>,
    /// The longest super-segment that the link takes, bytes of IP packet; 0 or at most the MTU: none.
    pub gso_max: u32,
    /// Transport checksums are left to the link.
    pub checksum_offload: bool,
    /// Whether packets pass.
    pub up: bool,
    /// Traffic to our own addresses goes over this link instead of staying inside.
    pub loopback: bool,
    /// Packets to any address are ours (what forwarders need).
    pub accept_any: bool,
}

impl Interface {
    /// An interface that is up, without offloads.
    pub fn new(name: &str, mtu: u16, addresses: Vec<Cidr>) -> Interface {
        Interface {
            name: name.into(),
            mtu,
            addresses,
            gso_max: 0,
            checksum_offload: false,
            up: true,
            loopback: false,
            accept_any: false,
        }
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: Cidr,
    /// Through whom; `None`: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Over which interface.
    pub interface: InterfaceId,
    /// Among equally long prefixes the least metric wins.
    pub metric: u32,
    /// The path's MTU, if it is known to be less than the interface's.
    pub mtu: Option<u16>,
}

/// Where packets to a destination go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// The interface; `None`: they stay inside the stack.
    pub interface: Option<InterfaceId>,
    /// Whom the link hands them to: the gateway, or the destination itself.
    pub next_hop: IpAddr,
    /// What a connection needs to know.
    pub path: Path,
}

#[derive(Debug)]
struct Entry {
    route: Route,
    /// It comes from an interface's address.
    on_link: bool,
    /// When connections last complained (RFC 1122 3.3.1.4).
    failed: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct PathMtu {
    mtu: u16,
    expires: Instant,
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    interfaces: Vec<Option<Interface>>,
    /// Longest prefix first, then least metric.
    entries: Vec<Entry>,
    ours: HashTable<IpAddr>,
    /// The directed broadcast addresses of our networks.
    broadcasts: BTreeSet<Ipv4Addr>,
    mtus: BTreeMap<IpAddr, PathMtu>,
    expiry: VecDeque<(Instant, IpAddr)>,
    generation: u32,
}

impl Routes {
    /// Moves whenever an answer of [`Routes::way`] may have changed.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn add_interface(&mut self, interface: Interface) -> InterfaceId {
        let id = InterfaceId(self.interfaces.len() as u32);
        self.interfaces.push(Some(interface));
        self.rebuild();
        id
    }

    pub(crate) fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(id.0 as usize)?.as_ref()
    }

    /// Changes an interface; its routes follow.
    pub(crate) fn change(
        &mut self,
        id: InterfaceId,
        change: impl FnOnce(&mut Interface),
    ) -> Result<(), Errno> {
        let interface =
            self.interfaces.get_mut(id.0 as usize).and_then(Option::as_mut).ok_or(Errno::ENODEV)?;
        change(interface);
        self.rebuild();
        Ok(())
    }

    pub(crate) fn remove_interface(&mut self, id: InterfaceId) -> Result<(), Errno> {
        let slot = self.interfaces.get_mut(id.0 as usize).ok_or(Errno::ENODEV)?;
        slot.take().ok_or(Errno::ENODEV)?;
        self.entries.retain(|entry| entry.route.interface != id);
        self.rebuild();
        Ok(())
    }

    pub(crate) fn interfaces(&self) -> impl Iterator<Item = (InterfaceId, &Interface)> {
        self.interfaces
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((InterfaceId(i as u32), slot.as_ref()?)))
    }

    /// Adds a route. ENODEV without its interface, EINVAL if the gateway is of another family.
    pub(crate) fn add_route(&mut self, route: Route) -> Result<(), Errno> {
        self.interface(route.interface).ok_or(Errno::ENODEV)?;
        if route.gateway.is_some_and(|g| g.is_ipv4() != route.destination.address.is_ipv4()) {
            return Err(Errno::EINVAL);
        }
        self.entries.push(Entry { route, on_link: false, failed: None });
        self.sort();
        Ok(())
    }

    /// Removes a route added before; false if there is none like it.
    pub(crate) fn remove_route(&mut self, route: &Route) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.on_link || entry.route != *route);
        self.generation = self.generation.wrapping_add(1);
        self.entries.len() != before
    }

    fn rebuild(&mut self) {
        self.entries.retain(|entry| !entry.on_link);
        self.ours.clear();
        self.broadcasts.clear();
        let mut networks = BTreeSet::new();
        for (i, interface) in self.interfaces.iter().enumerate() {
            let Some(interface) = interface else { continue };
            let id = InterfaceId(i as u32);
            for cidr in &interface.addresses {
                if !self.is_ours(cidr.address) {
                    self.ours.insert_unique(hash_of(cidr.address), cidr.address, |other| hash_of(*other));
                }
                self.broadcasts.extend(cidr.broadcast());
                // Any number of addresses in one network are one route.
                if !networks.insert((id, cidr.network(), cidr.prefix)) {
                    continue;
                }
                let route = Route { destination: *cidr, gateway: None, interface: id, metric: 0, mtu: None };
                self.entries.push(Entry { route, on_link: true, failed: None });
            }
        }
        self.sort();
    }

    fn sort(&mut self) {
        let key = |e: &Entry| (core::cmp::Reverse(e.route.destination.prefix), e.route.metric);
        self.entries.sort_by_key(key);
        self.generation = self.generation.wrapping_add(1);
    }

    /// Whether the address is one of ours, loopback included.
    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.ours.find(hash_of(address), |other| *other == address).is_some()
    }

    /// Whether a packet to this address that came in over `interface` is for us, and for nobody else.
    pub(crate) fn accepts(&self, interface: Option<InterfaceId>, address: IpAddr) -> bool {
        self.is_ours(address) || interface.and_then(|id| self.interface(id)).is_some_and(|i| i.accept_any)
    }

    /// Broadcast (limited or of one of our networks) or multicast: more than one host is meant.
    pub(crate) fn is_group(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V6(a) => a.is_multicast(),
            IpAddr::V4(a) => a.is_multicast() || a.is_broadcast() || self.broadcasts.contains(&a),
        }
    }

    /// Where packets to `destination` go. ENETUNREACH without a route, ENETDOWN if all its interfaces are down.
    pub(crate) fn way(&self, config: &Config, destination: IpAddr) -> Result<Way, Errno> {
        if self.is_ours(destination) {
            return Ok(self.inside(destination));
        }
        let mut error = Errno::ENETUNREACH;
        let mut best: Option<(&Entry, &Interface)> = None;
        for entry in self.entries.iter().filter(|e| e.route.destination.contains(destination)) {
            let Some(interface) = self.interface(entry.route.interface) else { continue };
            if !interface.up {
                error = Errno::ENETDOWN;
                continue;
            }
            match best {
                None => best = Some((entry, interface)),
                Some((b, _)) if b.route.destination.prefix != entry.route.destination.prefix => break,
                // The one that never failed, or failed longest ago (RFC 1122 3.3.1.5).
                Some((b, _)) if entry.failed < b.failed => best = Some((entry, interface)),
                Some(_) => {}
            }
        }
        let (entry, interface) = best.ok_or(error)?;
        let mtu = interface.mtu;
        let known = self.mtus.get(&destination).map_or(mtu, |m| m.mtu);
        let pmtu = known.min(entry.route.mtu.unwrap_or(mtu)).min(mtu);
        // RFC 1191 / 8201 off: never above what every host takes whole.
        let pmtu = if config.pmtu_discovery { pmtu } else { pmtu.min(entry.route.mtu.unwrap_or(mtu)) };
        let gso_max = if interface.gso_max > u32::from(mtu) { interface.gso_max.min(65_535) } else { 0 };
        Ok(Way {
            interface: Some(entry.route.interface),
            next_hop: entry.route.gateway.unwrap_or(destination),
            path: Path { mtu, pmtu, gso_max },
        })
    }

    fn inside(&self, destination: IpAddr) -> Way {
        match self.interfaces().find(|(_, i)| i.loopback && i.up) {
            Some((id, i)) => {
                let gso_max = if i.gso_max > u32::from(i.mtu) { i.gso_max.min(65_535) } else { 0 };
                let path = Path { mtu: i.mtu, pmtu: i.mtu, gso_max };
                Way { interface: Some(id), next_hop: destination, path }
            }
            None => {
                let path = Path { mtu: LOCAL_MTU, pmtu: LOCAL_MTU, gso_max: 0 };
                Way { interface: None, next_hop: destination, path }
            }
        }
    }

    /// Our address for packets to `destination` (MUST-44): of the interface the route uses, by the first
    /// rules of RFC 6724 5 (same address, scope, longest common prefix). EADDRNOTAVAIL if there is none.
    pub(crate) fn source(&self, config: &Config, destination: IpAddr) -> Result<IpAddr, Errno> {
        if self.is_ours(destination) {
            return Ok(destination); // rule 1; for 127/8 and ::1 as well
        }
        let way = self.way(config, destination)?;
        let candidates = |id: InterfaceId| self.interface(id).into_iter().flat_map(|i| i.addresses.iter());
        let on_it = way.interface.into_iter().flat_map(candidates);
        let best = on_it.filter_map(|c| rank(c.address, destination)).max_by_key(|(rank, _)| *rank);
        let anywhere = || {
            let all = self.interfaces().flat_map(|(_, i)| i.addresses.iter());
            all.filter_map(|c| rank(c.address, destination)).max_by_key(|(rank, _)| *rank)
        };
        best.or_else(anywhere).map(|(_, address)| address).ok_or(Errno::EADDRNOTAVAIL)
    }

    /// A connection learned that the path MTU is at most `mtu`. Values below the family's least are not
    /// believed, greater ones than known say nothing (RFC 8201 4).
    pub(crate) fn lower_mtu(&mut self, config: &Config, now: Instant, destination: IpAddr, mtu: u16) -> bool {
        let least = if destination.is_ipv6() { 1_280 } else { config.min_pmtu.max(68) };
        let Ok(way) = self.way(config, destination) else { return false };
        let mtu = mtu.max(least);
        if mtu >= way.path.pmtu {
            return false;
        }
        while self.mtus.len() >= MAX_PATHS {
            let Some((_, oldest)) = self.expiry.pop_front() else { break };
            self.mtus.remove(&oldest);
        }
        let expires = now + config.mtu_expires;
        self.mtus.insert(destination, PathMtu { mtu, expires });
        self.expiry.push_back((expires, destination));
        self.generation = self.generation.wrapping_add(1);
        true
    }

    /// When the next path MTU is forgotten.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.expiry.front().map_or(Instant::NEVER, |(at, _)| *at)
    }

    /// Forgets path MTUs that are too old, so that larger ones are tried again (RFC 8201 4, RFC 1191 6.3).
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(&(at, destination)) = self.expiry.front() {
            if at > now {
                break;
            }
            self.expiry.pop_front();
            // A younger entry of this destination has a place of its own in the queue.
            if self.mtus.get(&destination).is_some_and(|m| m.expires <= now) {
                self.mtus.remove(&destination);
                self.generation = self.generation.wrapping_add(1);
            }
        }
    }

    /// Connections to `destination` get no answers (R1, MUST-20): other gateways are tried first from now on.
    pub(crate) fn negative_advice(&mut self, config: &Config, now: Instant, destination: IpAddr) {
        let Ok(way) = self.way(config, destination) else { return };
        let used =
            |e: &Entry| e.route.gateway == Some(way.next_hop) && Some(e.route.interface) == way.interface;
        let prefix = self.entries.iter().find(|e| used(e)).map(|e| e.route.destination);
        let Some(prefix) = prefix else { return }; // on the link: there is no other way
        if self.entries.iter().filter(|e| e.route.destination == prefix).count() < 2 {
            return;
        }
        for entry in self.entries.iter_mut().filter(|e| used(e)) {
            entry.failed = Some(now);
        }
        self.generation = self.generation.wrapping_add(1);
    }
}

/// For the table of our own addresses: whoever asks for others, it is only these that lie in it.
fn hash_of(address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(a) => u64::from(a.to_bits()),
        IpAddr::V6(a) => (a.to_bits() >> 64) as u64 ^ (a.to_bits() as u64).rotate_left(32),
    };
    // Fibonacci hashing (Knuth 6.4).
    bits.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// How well a source fits a destination; `None` if it is of another family.
fn rank(source: IpAddr, destination: IpAddr) -> Option<((bool, u32), IpAddr)> {
    let bits = match (source, destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => common_bits(&a.octets(), &b.octets()),
        (IpAddr::V6(a), IpAddr::V6(b)) => common_bits(&a.octets(), &b.octets()),
        _ => return None,
    };
    Some(((is_link_local(source) == is_link_local(destination), bits), source))
}

fn common_bits(a: &[u8], b: &[u8]) -> u32 {
    let mut bits = 0;
    for (x, y) in a.iter().zip(b) {
        if x == y {
            bits += 8;
        } else {
            return bits + (x ^ y).leading_zeros();
        }
    }
    bits
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    }
}

/// A source address that no answer can go to (MUST-63, RFC 1122 3.2.1.3).
pub(crate) fn is_invalid_source(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.octets()[0] == 0 || a.is_multicast() || a.octets()[0] >= 240,
        IpAddr::V6(a) => a.is_unspecified() || a.is_multicast() || is_v4_mapped(a),
    }
}

/// IPv4-mapped addresses do not belong on a wire.
fn is_v4_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}
