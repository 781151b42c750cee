//! What is remembered of hosts between connections (Linux's `tcp_metrics`): Fast Open cookies, and what
//! got no answer.

use alloc::collections::VecDeque;
use core::net::IpAddr;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use crate::rng::Rng;
use crate::tcp::{FastOpenPlan, FastOpenResult};
use crate::time::{Duration, Instant};
use crate::wire::tcp::FastOpen;

/// How many hosts are remembered; who was met first is forgotten first.
const MAX_HOSTS: usize = 4_096;
/// So many losses in a row switch Fast Open off toward a server (Linux: more than one).
const LOSSES: u8 = 2;
/// For this long, doubled by each loss.
const PENALTY: Duration = Duration::from_secs(60);
/// How long accurate ECN is not asked for after that was in vain.
const SHY: Duration = Duration::from_secs(600);
/// Doublings of the penalty at most (about 17 hours).
const MAX_DOUBLINGS: u8 = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Host {
    cookie: Option<FastOpen>,
    mss: u16,
    /// SYNs with data lost in a row.
    losses: u8,
    lost_at: Instant,
    /// When asking for accurate ECN was in vain (RFC 9768 3.1.4).
    shy_since: Option<Instant>,
}

/// The table.
pub(crate) struct Hosts {
    entries: HashMap<IpAddr, Host, HostHasher>,
    order: VecDeque<IpAddr>,
}

/// Addresses may be chosen by an attacker: a keyed hash.
#[derive(Clone)]
pub(crate) struct HostHasher(SipHasher13);

impl core::hash::BuildHasher for HostHasher {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}

impl Hosts {
    pub(crate) fn new(rng: &mut Rng) -> Hosts {
        let hasher = HostHasher(SipHasher13::new_with_key(&rng.key()));
        Hosts { entries: HashMap::with_hasher(hasher), order: VecDeque::new() }
    }

    /// How to open Fast toward a server; `None`: not for now, it loses such SYNs (RFC 7413 4.1.3).
    pub(crate) fn plan(&self, now: Instant, server: IpAddr, without_cookie: bool) -> Option<FastOpenPlan> {
        let host = self.entries.get(&server).copied().unwrap_or_default();
        let penalty = PENALTY * (1 << host.losses.min(MAX_DOUBLINGS));
        if host.losses >= LOSSES && now.since(host.lost_at) < penalty {
            return None;
        }
        let option = if without_cookie { None } else { Some(host.cookie.unwrap_or(FastOpen::REQUEST)) };
        Some(FastOpenPlan { option, mss: host.mss })
    }

    /// What became of it; true if that switches Fast Open off for a time.
    pub(crate) fn learn(&mut self, now: Instant, server: IpAddr, result: &FastOpenResult) -> bool {
        let host = self.host(server);
        if result.mss != 0 {
            host.mss = result.mss;
        }
        if result.cookie.is_some() {
            host.cookie = result.cookie;
        }
        host.losses = if result.lost { host.losses.saturating_add(1) } else { 0 };
        host.lost_at = now;
        host.losses >= LOSSES
    }

    /// Asking for accurate ECN got no answer, or not: remembered for a time.
    pub(crate) fn note_shy(&mut self, now: Instant, address: IpAddr) {
        self.host(address).shy_since = Some(now);
    }

    /// Whether that was so lately.
    pub(crate) fn is_shy(&self, now: Instant, address: IpAddr) -> bool {
        let since = self.entries.get(&address).and_then(|host| host.shy_since);
        since.is_some_and(|since| now.since(since) < SHY)
    }

    fn host(&mut self, address: IpAddr) -> &mut Host {
        if !self.entries.contains_key(&address) {
            if self.entries.len() >= MAX_HOSTS
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(address);
        }
        self.entries.entry(address).or_default()
    }
}

impl core::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Hosts").field("len", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// The table stays bounded, and the oldest goes first.
    /// Shows: rfc7413-s4.1.3-a
    #[test]
    fn as_many_as_fit() {
        let mut hosts = Hosts::new(&mut Rng::new([3; 32]));
        let at = |n: usize| IpAddr::V4(Ipv4Addr::from_bits(n as u32));
        let cookie = FastOpen::cookie(&[7; 8]);
        let result = FastOpenResult { cookie, mss: 1_400, lost: false };
        for n in 0..=MAX_HOSTS {
            hosts.learn(Instant::ZERO, at(n), &result);
        }
        assert_eq!((hosts.entries.len(), hosts.order.len()), (MAX_HOSTS, MAX_HOSTS));
        let option = |n| hosts.plan(Instant::ZERO, at(n), false).unwrap().option;
        assert_eq!((option(0), option(1)), (Some(FastOpen::REQUEST), cookie));
    }
}
