//! The keys of TCP MD5 signatures (RFC 2385, TCP_MD5SIG): whose segments are signed, and with what.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::config::Options;
use crate::errno::Errno;

/// TCP_MD5SIG_MAXKEYLEN: bytes of a key.
pub const MAX_KEY: usize = 80;
/// Keys of one socket: as many as Linux's `optmem_max` of 128 KiB has room for.
pub const MAX_KEYS: usize = 963;

/// Keys by peers.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Md5Keys(Vec<Entry>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    network: IpAddr,
    prefix: u8,
    key: Arc<[u8]>,
}

impl core::fmt::Debug for Md5Keys {
    /// How many, not which: they are secrets.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Md5Keys").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

impl Md5Keys {
    /// The only key of a connection.
    pub fn only(peer: IpAddr, key: Arc<[u8]>) -> Md5Keys {
        Md5Keys(alloc::vec![Entry { network: peer, prefix: width(peer), key }])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds or replaces the key of a network. ENOMEM above [`MAX_KEYS`].
    pub fn set(&mut self, network: IpAddr, prefix: u8, key: &[u8]) -> Result<(), Errno> {
        if let Some(entry) =
            self.0.iter_mut().find(|entry| (entry.network, entry.prefix) == (network, prefix))
        {
            entry.key = key.into();
            return Ok(());
        }
        if self.0.len() >= MAX_KEYS {
            return Err(Errno::ENOMEM);
        }
        self.0.push(Entry { network, prefix, key: key.into() });
        Ok(())
    }

    /// Takes the key of a network away. ENOENT if it has none.
    pub fn remove(&mut self, network: IpAddr, prefix: u8) -> Result<(), Errno> {
        let found = self.0.iter().position(|entry| (entry.network, entry.prefix) == (network, prefix));
        self.0.swap_remove(found.ok_or(Errno::ENOENT)?);
        Ok(())
    }

    /// The key for a peer: that of the smallest network it is in.
    pub fn of(&self, peer: IpAddr) -> Option<&Arc<[u8]>> {
        let holds = self.0.iter().filter(|entry| is_in(peer, entry.network, entry.prefix));
        holds.max_by_key(|entry| entry.prefix).map(|entry| &entry.key)
    }
}

impl Options {
    /// The key that segments from and to this peer are signed with (RFC 2385).
    #[inline]
    pub fn md5_key(&self, peer: IpAddr) -> Option<&Arc<[u8]>> {
        self.md5.as_ref()?.of(peer)
    }
}

/// Bits of an address.
pub const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_in(peer: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (peer, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.leading_zeros() >= u32::from(prefix)
        }
        _ => false,
    }
}
