//! Worlds in the usual shapes. Every link has a network of its own; the hosts know their way.
//!
//! ```text
//! pair      a ====== b
//! star      each host -- router, the last one by the impaired link
//! dumbbell  left hosts -- router ====== router -- right hosts
//! chain     a -- router ====== router ... router -- b
//! ```
//! The impaired link is the one drawn double; "up" is from left to right. The others are perfect wires with
//! [`ACCESS_DELAY`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sockeye_core::link::{DirectionSpec, LinkSpec};
use sockeye_core::stack::Cidr;
use sockeye_core::{Config, Duration};

use crate::world::{HostId, LinkId, RouterId, World};

/// One-way delay of the links that are not impaired.
pub const ACCESS_DELAY: Duration = Duration::from_micros(20);

/// How a world is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Two hosts and the link between them.
    Pair,
    /// So many hosts (at least 2) around one router; the last of them is behind the impaired link.
    Star(usize),
    /// So many hosts on each side of the impaired link.
    Dumbbell(usize),
    /// Two hosts and so many routers (at least 1) between them. The impaired link is the second one.
    Chain(usize),
}

/// What the hosts and links of a layout are like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How it is laid out.
    pub shape: Shape,
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// The longest packet on all links, bytes.
    pub mtu: u16,
    /// The longest packet on the impaired link, bytes, if there is a router in front of it.
    pub narrow_mtu: u16,
    /// The impaired link.
    pub link: LinkSpec,
    /// The settings of the hosts, those of the left side (clients) first.
    pub configs: [Config; 2],
}

/// A world laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The hosts of the left side and their addresses.
    pub left: Vec<(HostId, IpAddr)>,
    /// The hosts of the right side and their addresses.
    pub right: Vec<(HostId, IpAddr)>,
    /// The routers, left to right.
    pub routers: Vec<RouterId>,
    /// The impaired link.
    pub bottleneck: LinkId,
}

/// Lays out a world.
pub fn lay_out(world: &mut World, plan: &Plan) -> Layout {
    let mut build = Build { world, plan, networks: 0 };
    match plan.shape {
        Shape::Pair => build.pair(),
        Shape::Star(hosts) => build.star(hosts.max(2)),
        Shape::Dumbbell(each) => build.dumbbell(each.max(1), 2),
        Shape::Chain(routers) => build.dumbbell(1, routers.max(1)),
    }
}

struct Build<'a> {
    world: &'a mut World,
    plan: &'a Plan,
    networks: u16,
}

impl Build<'_> {
    fn pair(&mut self) -> Layout {
        let [left, right] = self.plan.configs.clone().map(|config| self.world.add_host(config));
        let (a, b, prefix) = self.network();
        let bottleneck =
            self.world.join((left, a, prefix), (right, b, prefix), self.plan.mtu, &self.plan.link);
        Layout { left: vec![(left, a)], right: vec![(right, b)], routers: Vec::new(), bottleneck }
    }

    fn star(&mut self, hosts: usize) -> Layout {
        let router = self.world.add_router();
        let left = (1..hosts).map(|_| self.host_at(router, 0).0).collect();
        let config = self.plan.configs[1].clone();
        let host = self.world.add_host(config);
        let (near, far, prefix) = self.network();
        let (a, b) = ((router, near, prefix), (host, far, prefix));
        let bottleneck = self.world.join(a, b, self.plan.narrow_mtu, &self.plan.link);
        self.world.set_gateway(host, bottleneck, near);
        Layout { left, right: vec![(host, far)], routers: vec![router], bottleneck }
    }

    /// Hosts at both ends of a row of routers.
    fn dumbbell(&mut self, each: usize, routers: usize) -> Layout {
        let routers: Vec<RouterId> = (0..routers).map(|_| self.world.add_router()).collect();
        let (first, last) = (routers[0], routers[routers.len() - 1]);
        let lefts: Vec<_> = (0..each).map(|_| self.host_at(first, 0)).collect();
        if routers.len() == 1 {
            // Nothing lies between two routers: the right host's own link is the impaired one.
            let host = self.world.add_host(self.plan.configs[1].clone());
            let (near, far, prefix) = self.network();
            let (a, b) = ((first, near, prefix), (host, far, prefix));
            let bottleneck = self.world.join(a, b, self.plan.narrow_mtu, &self.plan.link);
            self.world.set_gateway(host, bottleneck, near);
            let left = lefts.into_iter().map(|(host, _)| host).collect();
            return Layout { left, right: vec![(host, far)], routers, bottleneck };
        }
        let rights: Vec<_> = (0..each).map(|_| self.host_at(last, 1)).collect();
        let perfect = access();
        let mut links = Vec::new();
        for (i, pair) in routers.windows(2).enumerate() {
            let (a, b, prefix) = self.network();
            let (mtu, spec) =
                if i == 0 { (self.plan.narrow_mtu, &self.plan.link) } else { (self.plan.mtu, &perfect) };
            links.push(self.world.join((pair[0], a, prefix), (pair[1], b, prefix), mtu, spec));
        }
        for (i, &link) in links.iter().enumerate() {
            for (_, network) in &rights {
                self.world.add_way(routers[i], *network, link);
            }
            for (_, network) in &lefts {
                self.world.add_way(routers[i + 1], *network, link);
            }
        }
        let hosts = |side: Vec<((HostId, IpAddr), Cidr)>| side.into_iter().map(|(host, _)| host).collect();
        Layout { left: hosts(lefts), right: hosts(rights), routers, bottleneck: links[0] }
    }

    /// A host behind a perfect link to a router; its network too.
    fn host_at(&mut self, router: RouterId, side: usize) -> ((HostId, IpAddr), Cidr) {
        let host = self.world.add_host(self.plan.configs[side].clone());
        let (near, far, prefix) = self.network();
        let link = self.world.join((host, far, prefix), (router, near, prefix), self.plan.mtu, &access());
        self.world.set_gateway(host, link, near);
        ((host, far), Cidr::new(near, prefix))
    }

    /// Two addresses in a network that no other link has, and the length of its prefix.
    fn network(&mut self) -> (IpAddr, IpAddr, u8) {
        let n = self.networks;
        self.networks += 1;
        if self.plan.ipv6 {
            let at = |host| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, host));
            return (at(1), at(2), 64);
        }
        let [high, low] = n.to_be_bytes();
        let at = |host| IpAddr::V4(Ipv4Addr::new(10, high, low, host));
        (at(1), at(2), 24)
    }
}

fn access() -> LinkSpec {
    let direction = DirectionSpec { delay: ACCESS_DELAY, ..DirectionSpec::default() };
    LinkSpec { up: direction.clone(), down: direction, seed: 0 }
}
