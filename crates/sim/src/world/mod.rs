//! A world in virtual time: hosts, routers, and the impaired links between them. The same seed draws the same run.
//!
//! ```text
//!   host -- interface == link == interface -- router == link == host
//! ```
//! Nothing happens between two moments of the agenda: packets that arrive, timers that fall due. A host's
//! packets leave at the moment in which it was touched. [`World::digest`] sums up every packet that ever
//! arrived, with its time and its place: two runs that agree in it are the same run.

mod agenda;
mod router;
#[cfg(test)]
mod tests;

pub use router::{Router, RouterCounters};

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;
use sockeye_core::link::{Impairment, LinkCounters, LinkSpec};
use sockeye_core::stack::{Cidr, Event, Interface, InterfaceId, Route, Stack};
use sockeye_core::{Config, Duration, Instant, Packet};

use crate::check::{Checker, Violation};
use agenda::{Agenda, Item};

/// Moments without any time passing after which the world is said to be stuck.
const MOMENTS_AT_ONCE: u32 = 200_000;

/// A host in a [`World`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub(crate) usize);

/// A router in a [`World`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouterId(pub(crate) usize);

/// A link in a [`World`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub(crate) usize);

/// A host or a router.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub(crate) usize);

impl From<HostId> for NodeId {
    fn from(host: HostId) -> NodeId {
        NodeId(host.0)
    }
}

impl From<RouterId> for NodeId {
    fn from(router: RouterId) -> NodeId {
        NodeId(router.0)
    }
}

enum Kind {
    Host(Box<Stack>),
    Router(Box<Router>),
}

/// An end of a link: its number, and whether this end sends "up".
#[derive(Clone, Copy)]
struct Port {
    wire: usize,
    up: bool,
}

struct Node {
    kind: Kind,
    /// By the number of the interface.
    ports: Vec<Port>,
    /// It was touched and is to be flushed.
    touched: bool,
    /// It was touched and is to be asked for events.
    noisy: bool,
    /// Nothing it sends leaves, nothing that is sent to it arrives.
    silent: bool,
    /// How often it was started.
    boots: u32,
}

struct Wire {
    ends: [(NodeId, InterfaceId); 2],
    impairment: Impairment,
}

/// What a host has to do on its own, asked after everything that happened.
pub type Program<'a> = Box<dyn FnMut(&mut World) + 'a>;

/// What a world has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WorldCounters {
    /// Moments in which something happened.
    pub moments: u64,
    /// Packets (segments of the wire) that arrived at the end of a link.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Hosts, routers, the links between them, and the time.
pub struct World {
    now: Instant,
    seed: u64,
    nodes: Vec<Node>,
    wires: Vec<Wire>,
    agenda: Agenda,
    /// Nodes to be flushed, in the order in which they were touched.
    touched: Vec<usize>,
    /// Nodes to be asked for events, likewise.
    noisy: Vec<usize>,
    out: Vec<(InterfaceId, Packet)>,
    digest: SipHasher13,
    counters: WorldCounters,
    at_once: u32,
    checker: Option<Box<Checker>>,
    violation: Option<Violation>,
    log: Option<Vec<String>>,
}

impl World {
    /// An empty world; all chance in it comes from `seed`.
    pub fn new(seed: u64) -> World {
        World {
            now: Instant::from_secs(1),
            seed,
            nodes: Vec::new(),
            wires: Vec::new(),
            agenda: Agenda::default(),
            touched: Vec::new(),
            noisy: Vec::new(),
            out: Vec::new(),
            digest: SipHasher13::new_with_keys(0, 0),
            counters: WorldCounters::default(),
            at_once: 0,
            checker: None,
            violation: None,
            log: None,
        }
    }

    // ---- what there is ----

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The seed of all chance in it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What it has done so far.
    pub fn counters(&self) -> WorldCounters {
        self.counters
    }

    /// A number that stands for every packet that arrived so far: its time, its link and direction, its bytes.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// From now on every moment is checked against what must hold whatever happens (see [`crate::check`]); the
    /// first violation ends [`World::run`] and is kept.
    pub fn check(&mut self) {
        self.checker.get_or_insert_default();
    }

    /// The first violation of an invariant.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// From now on every packet that a host sends or receives is noted as a line of text.
    pub fn log_packets(&mut self) {
        self.log.get_or_insert_default();
    }

    /// The lines noted since the last time.
    pub fn take_log(&mut self) -> Vec<String> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        let is_host: Vec<bool> = self.nodes.iter().map(|n| matches!(n.kind, Kind::Host(_))).collect();
        (0..is_host.len()).filter(move |&i| is_host[i]).map(HostId)
    }

    /// Both directions' counters of all links, "up" first.
    pub fn link_counters(&self) -> impl Iterator<Item = [LinkCounters; 2]> {
        self.wires.iter().map(|w| [*w.impairment.up.counters(), *w.impairment.down.counters()])
    }

    // ---- making it ----

    /// Adds a host.
    pub fn add_host(&mut self, config: Config) -> HostId {
        let stack = Stack::new(config, self.key_of_host(self.nodes.len(), 0));
        HostId(self.add_node(Kind::Host(Box::new(stack))))
    }

    /// Adds a router without any link. The queues in front of its links are those of the links.
    pub fn add_router(&mut self) -> RouterId {
        RouterId(self.add_node(Kind::Router(Box::new(Router::new()))))
    }

    /// Joins two hosts or routers by a link, each with its address and prefix there. "Up" is from `a` to `b`.
    pub fn join(
        &mut self,
        a: (impl Into<NodeId>, IpAddr, u8),
        b: (impl Into<NodeId>, IpAddr, u8),
        mtu: u16,
        spec: &LinkSpec,
    ) -> LinkId {
        let wire = self.wires.len();
        let name = format!("link{wire}");
        let ends = [(a.0.into(), a.1, a.2, true), (b.0.into(), b.1, b.2, false)].map(
            |(node, address, prefix, up): (NodeId, IpAddr, u8, bool)| {
                let node_ref = &mut self.nodes[node.0];
                let address = Cidr::new(address, prefix);
                let interface = match &mut node_ref.kind {
                    Kind::Host(stack) => stack.add_interface(Interface::new(&name, mtu, vec![address])),
                    Kind::Router(router) => router.add_port(address, mtu),
                };
                node_ref.ports.push(Port { wire, up });
                (node, interface)
            },
        );
        let spec = LinkSpec { seed: spec.seed ^ self.seed ^ (wire as u64) << 32, ..spec.clone() };
        self.wires.push(Wire { ends, impairment: Impairment::new(&spec) });
        LinkId(wire)
    }

    /// Gives a host a default route, by way of a gateway on one of its links. Panics if it is on none of them.
    pub fn set_gateway(&mut self, host: HostId, link: LinkId, gateway: IpAddr) {
        let any: IpAddr = if gateway.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        let end = self.wires[link.0].ends.iter().find(|(node, _)| *node == host.into());
        let interface = end.expect("the host is at one end of the link").1;
        let destination = Cidr::new(any, 0);
        let route = Route { destination, gateway: Some(gateway), interface, metric: 0, mtu: None };
        self.host(host, |stack, _| stack.add_route(route)).expect("the interface exists");
    }

    /// Tells a router the way to a network. Panics if the link is not one of its own.
    pub fn add_way(&mut self, router: RouterId, destination: Cidr, link: LinkId) {
        let end = self.wires[link.0].ends.iter().find(|(node, _)| *node == router.into());
        let interface = end.expect("the router is at one end of the link").1;
        self.router(router).add_way(destination, interface);
    }

    // ---- what happens in it ----

    /// A host's stack, for its calls: `f` gets the time too. What it caused is sent at the next step.
    pub fn host<R>(&mut self, host: HostId, f: impl FnOnce(&mut Stack, Instant) -> R) -> R {
        self.touch(host.0);
        match &mut self.nodes[host.0].kind {
            Kind::Host(stack) => f(stack, self.now),
            Kind::Router(_) => unreachable!("a HostId is only ever made for a host"),
        }
    }

    /// A router.
    pub fn router(&mut self, router: RouterId) -> &mut Router {
        match &mut self.nodes[router.0].kind {
            Kind::Router(router) => router,
            Kind::Host(_) => unreachable!("a RouterId is only ever made for a router"),
        }
    }

    /// A link's two directions.
    pub fn link(&mut self, link: LinkId) -> &mut Impairment {
        &mut self.wires[link.0].impairment
    }

    /// A host or router falls silent or is heard again: while silent nothing leaves it and nothing reaches it.
    pub fn set_silent(&mut self, node: impl Into<NodeId>, silent: bool) {
        self.nodes[node.into().0].silent = silent;
    }

    /// A host starts anew, with its interfaces and routes but without any memory of connections.
    pub fn reboot(&mut self, host: HostId) {
        let boots = self.nodes[host.0].boots + 1;
        let key = self.key_of_host(host.0, boots);
        let (routes, ports) = (self.gateways_of(host), self.nodes[host.0].ports.len());
        self.nodes[host.0].boots = boots;
        self.host(host, |stack, _| {
            let mut fresh = Stack::new(stack.config().clone(), key);
            for (_, interface) in stack.interfaces().take(ports) {
                fresh.add_interface(interface.clone());
            }
            for route in routes {
                fresh.add_route(route).expect("the interfaces are the same");
            }
            *stack = fresh;
        });
        if let Some(checker) = &mut self.checker {
            checker.forget(host);
        }
    }

    /// How often a host was started anew.
    pub fn boots(&self, host: HostId) -> u32 {
        self.nodes[host.0].boots
    }

    /// Runs until `end`, until `done` says so, or to the first violation; the programs are asked after every
    /// moment in which something happened. True if `done` did.
    pub fn run(
        &mut self,
        end: Instant,
        programs: &mut [Program<'_>],
        mut done: impl FnMut(&mut World) -> bool,
    ) -> bool {
        loop {
            for program in programs.iter_mut() {
                program(self);
            }
            self.flush();
            if done(self) {
                return true;
            }
            if self.violation.is_some() {
                return false;
            }
            let next = self.next_moment();
            if next > end {
                self.now = end;
                return false;
            }
            self.step(next);
        }
    }

    /// Lets time pass.
    pub fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        self.run(end, &mut [], |_| false);
    }

    /// When something happens next; [`Instant::NEVER`] if nothing will. What was touched is to be flushed before.
    pub(crate) fn next_moment(&self) -> Instant {
        self.agenda.next()
    }

    /// Goes to `at`, which is not after [`World::next_moment`], and lets happen what is due.
    pub(crate) fn step(&mut self, at: Instant) {
        self.at_once = if at > self.now { 0 } else { self.at_once + 1 };
        if self.at_once > MOMENTS_AT_ONCE {
            self.fail(Violation::new(self.now, None, "time stands still: the same moment again and again"));
            return;
        }
        self.now = at.max(self.now);
        self.counters.moments += 1;
        while let Some(item) = self.agenda.pop(self.now) {
            match item {
                Item::Node(node) => self.advance(node),
                Item::Wire(wire, up) => self.deliver(wire, up),
            }
        }
    }

    /// Sends what the touched hosts have to send, and checks them.
    pub(crate) fn flush(&mut self) {
        let mut i = 0;
        while i < self.touched.len() {
            let node = self.touched[i];
            i += 1;
            self.transmit(node);
            self.nodes[node].touched = false;
            if let Kind::Host(stack) = &self.nodes[node].kind {
                let deadline = stack.next_deadline().unwrap_or(Instant::NEVER);
                self.agenda.schedule(Item::Node(node), deadline);
            }
        }
        let touched = std::mem::take(&mut self.touched);
        if let Some(mut checker) = self.checker.take() {
            for &node in &touched {
                if let Kind::Host(stack) = &self.nodes[node].kind
                    && let Err(violation) = checker.after(self.now, HostId(node), stack)
                {
                    self.fail(violation);
                }
            }
            self.checker = Some(checker);
        }
        self.touched = touched;
        self.touched.clear();
    }

    /// Hands out the events of the touched hosts. True if there were any.
    pub(crate) fn take_events(&mut self, mut each: impl FnMut(HostId, Event)) -> bool {
        let mut any = false;
        for node in std::mem::take(&mut self.noisy) {
            self.nodes[node].noisy = false;
            let Kind::Host(stack) = &mut self.nodes[node].kind else { continue };
            while let Some(event) = stack.next_event() {
                any = true;
                each(HostId(node), event);
            }
        }
        any
    }

    /// Whether nothing is on its way and no host has anything to do, ever.
    pub fn is_quiet(&self) -> bool {
        let on_the_way = |w: &Wire| w.impairment.up.in_flight() + w.impairment.down.in_flight() > 0;
        let busy = |n: &Node| match &n.kind {
            Kind::Host(stack) => stack.wants_transmit() || stack.next_deadline().is_some(),
            Kind::Router(_) => false,
        };
        !self.wires.iter().any(on_the_way) && !self.nodes.iter().any(busy)
    }

    /// What a quiet world still holds though all programs have ended.
    pub fn leaks(&self) -> Option<Violation> {
        self.nodes.iter().enumerate().find_map(|(i, node)| match &node.kind {
            Kind::Host(stack) => crate::check::leak(self.now, HostId(i), stack).err(),
            Kind::Router(_) => None,
        })
    }

    pub(crate) fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    fn add_node(&mut self, kind: Kind) -> usize {
        let ports = Vec::new();
        self.nodes.push(Node { kind, ports, touched: false, noisy: false, silent: false, boots: 0 });
        self.nodes.len() - 1
    }

    fn key_of_host(&self, host: usize, boots: u32) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&(host as u64 + 1).to_le_bytes());
        key[16..20].copy_from_slice(&boots.to_le_bytes());
        key
    }

    /// The routes of a host that go through a gateway.
    fn gateways_of(&self, host: HostId) -> Vec<Route> {
        let Kind::Host(stack) = &self.nodes[host.0].kind else { return Vec::new() };
        let elsewhere: [IpAddr; 2] =
            [[198, 51, 100, 1].into(), [0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1].into()];
        let ways = elsewhere.into_iter().filter_map(|to| Some((to, stack.way(to).ok()?)));
        ways.filter_map(|(to, way)| {
            let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
            Some(Route {
                destination: Cidr::new(any, 0),
                gateway: Some(way.next_hop),
                interface: way.interface?,
                metric: 0,
                mtu: None,
            })
        })
        .collect()
    }

    fn touch(&mut self, node: usize) {
        if !self.nodes[node].touched {
            self.nodes[node].touched = true;
            self.touched.push(node);
        }
        if !self.nodes[node].noisy {
            self.nodes[node].noisy = true;
            self.noisy.push(node);
        }
    }

    fn advance(&mut self, node: usize) {
        let Kind::Host(stack) = &mut self.nodes[node].kind else { return };
        let deadline = stack.next_deadline().unwrap_or(Instant::NEVER);
        if deadline <= self.now {
            stack.advance(self.now);
            self.touch(node);
        } else {
            self.agenda.schedule(Item::Node(node), deadline);
        }
    }

    fn deliver(&mut self, wire: usize, up: bool) {
        loop {
            let Wire { ends, impairment } = &mut self.wires[wire];
            let direction = if up { &mut impairment.up } else { &mut impairment.down };
            let Some(packet) = direction.receive(self.now) else { break };
            let (to, at) = ends[usize::from(up)];
            self.account(wire, up, &packet);
            let node = &mut self.nodes[to.0];
            if node.silent {
                continue;
            }
            match &mut node.kind {
                Kind::Host(stack) => {
                    if let Some(checker) = &mut self.checker {
                        checker.received(HostId(to.0), &packet);
                    }
                    if let Some(log) = &mut self.log {
                        log.push(crate::check::line(self.now, HostId(to.0), "gets", &packet));
                    }
                    stack.receive(self.now, at, packet);
                    self.touch(to.0);
                }
                Kind::Router(router) => {
                    let mut out = std::mem::take(&mut self.out);
                    router.forward(at, packet, &mut out);
                    self.send_all(to.0, &mut out);
                    self.out = out;
                }
            }
        }
        self.reschedule(wire, up);
    }

    fn reschedule(&mut self, wire: usize, up: bool) {
        let impairment = &self.wires[wire].impairment;
        let next = if up { impairment.up.next_deadline() } else { impairment.down.next_deadline() };
        self.agenda.schedule(Item::Wire(wire, up), next);
    }

    fn account(&mut self, wire: usize, up: bool, packet: &Packet) {
        self.counters.packets += 1;
        self.counters.bytes += packet.len() as u64;
        self.digest.write_u64(self.now.as_nanos());
        self.digest.write_u64((wire as u64) << 1 | u64::from(up));
        self.digest.write(packet.head.as_slice());
        for slice in packet.payload.slices() {
            self.digest.write(slice);
        }
    }

    fn transmit(&mut self, node: usize) {
        let mut out = std::mem::take(&mut self.out);
        while let Kind::Host(stack) = &mut self.nodes[node].kind {
            let work = stack.transmit(self.now, &mut out, 64);
            if let Some(log) = &mut self.log {
                log.extend(out.iter().map(|(_, p)| crate::check::line(self.now, HostId(node), "sends", p)));
            }
            if let Some(checker) = &mut self.checker {
                for (_, packet) in &out {
                    if let Err(violation) = checker.sent(self.now, HostId(node), packet) {
                        self.violation.get_or_insert(violation);
                    }
                }
            }
            self.send_all(node, &mut out);
            if work < 64 {
                break;
            }
        }
        self.out = out;
    }

    /// Puts packets into the links of a node's interfaces.
    fn send_all(&mut self, node: usize, out: &mut Vec<(InterfaceId, Packet)>) {
        for (interface, mut packet) in out.drain(..) {
            let from = &self.nodes[node];
            let Some(&Port { wire, up }) = from.ports.get(interface.0 as usize) else { continue };
            if from.silent {
                continue;
            }
            let impairment = &mut self.wires[wire].impairment;
            let direction = if up { &mut impairment.up } else { &mut impairment.down };
            if let Kind::Router(router) = &mut self.nodes[node].kind {
                router.mark(direction.queued_bytes(self.now), &mut packet);
            }
            direction.send(self.now, packet);
            self.reschedule(wire, up);
        }
    }
}
