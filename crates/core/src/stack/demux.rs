//! From a packet's addresses and ports to whose it is: one keyed hash, one probe.
//!
//! Each table holds places (`u32`) in a slab and compares through it, so that an entry costs about
//! eight bytes. The hash is SipHash-1-3 under a secret key: a peer that chooses its ports cannot
//! make chains grow.

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::rng::Rng;
use crate::tcp::Tuple;

/// A tuple as bytes: local address, remote address, local port, remote port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Pair {
    /// IPv4, in place.
    V4([u8; 12]),
    /// IPv6, elsewhere, so that tables full of IPv4 stay small.
    V6(Box<[u8; 36]>),
}

impl Pair {
    /// The compact form of a tuple.
    pub(crate) fn new(tuple: &Tuple) -> Pair {
        match Key::new(tuple) {
            Key::V4(bytes) => Pair::V4(bytes),
            Key::V6(bytes) => Pair::V6(Box::new(bytes)),
        }
    }

    /// The tuple again.
    pub(crate) fn tuple(&self) -> Tuple {
        let bytes = self.as_bytes();
        let ports = &bytes[bytes.len() - 4..];
        let local_port = u16::from_be_bytes([ports[0], ports[1]]);
        let remote_port = u16::from_be_bytes([ports[2], ports[3]]);
        let (local, remote) = match self {
            Pair::V4(b) => (
                IpAddr::V4(Ipv4Addr::new(b[0], b[1], b[2], b[3])),
                IpAddr::V4(Ipv4Addr::new(b[4], b[5], b[6], b[7])),
            ),
            Pair::V6(b) => (v6(&b[..16]), v6(&b[16..32])),
        };
        Tuple { local: SocketAddr::new(local, local_port), remote: SocketAddr::new(remote, remote_port) }
    }

    /// The bytes that are hashed and compared.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Pair::V4(b) => b,
            Pair::V6(b) => &b[..],
        }
    }

    /// Our port.
    pub(crate) fn local_port(&self) -> u16 {
        let bytes = self.as_bytes();
        u16::from_be_bytes([bytes[bytes.len() - 4], bytes[bytes.len() - 3]])
    }
}

fn v6(bytes: &[u8]) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(bytes);
    IpAddr::V6(Ipv6Addr::from(octets))
}

/// A tuple as bytes on the caller's stack, to look something up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// IPv4.
    V4([u8; 12]),
    /// IPv6.
    V6([u8; 36]),
}

impl Key {
    /// The bytes of a tuple; scope and flow label are no part of it.
    #[inline]
    pub(crate) fn new(tuple: &Tuple) -> Key {
        let (local_port, remote_port) = (tuple.local.port().to_be_bytes(), tuple.remote.port().to_be_bytes());
        if let (IpAddr::V4(local), IpAddr::V4(remote)) = (tuple.local.ip(), tuple.remote.ip()) {
            let mut key = [0; 12];
            key[..4].copy_from_slice(&local.octets());
            key[4..8].copy_from_slice(&remote.octets());
            key[8..10].copy_from_slice(&local_port);
            key[10..].copy_from_slice(&remote_port);
            return Key::V4(key);
        }
        let mut key = [0; 36];
        key[..16].copy_from_slice(&octets16(tuple.local.ip()));
        key[16..32].copy_from_slice(&octets16(tuple.remote.ip()));
        key[32..34].copy_from_slice(&local_port);
        key[34..].copy_from_slice(&remote_port);
        Key::V6(key)
    }

    /// The bytes.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Key::V4(b) => b,
            Key::V6(b) => b,
        }
    }
}

fn octets16(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

/// The keyed hash of tuples; one key for all tables of a stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TupleHash(SipHasher13);

impl TupleHash {
    /// A hash under a fresh key.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        TupleHash(SipHasher13::new_with_key(&rng.key()))
    }

    /// The hash of a tuple's bytes.
    #[inline]
    pub(crate) fn of(&self, bytes: &[u8]) -> u64 {
        self.0.hash(bytes)
    }
}

/// Places by tuple. `bytes_of` tells the tuple of a place, in the form of [`Key::as_bytes`].
#[derive(Debug, Default)]
pub(crate) struct Demux {
    table: HashTable<u32>,
}

impl Demux {
    /// How many places there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The place for which `same` holds among those with this hash.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        }
        self.table.find(hash, |&index| same(index)).copied()
    }

    /// Adds a place; the caller knows that its tuple is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, index: u32, hash_of: impl Fn(u32) -> u64) {
        self.table.insert_unique(hash, index, |&other| hash_of(other));
    }

    /// Takes a place out; false if it was not there.
    pub(crate) fn remove(&mut self, hash: u64, index: u32) -> bool {
        match self.table.find_entry(hash, |&other| other == index) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }
}
