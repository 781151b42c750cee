//! A world in virtual time: stacks joined by impaired links. The same seed draws the same run.

use std::net::IpAddr;

use sockeye_core::link::{Impairment, LinkSpec};
use sockeye_core::stack::{Cidr, Interface, InterfaceId, Stack};
use sockeye_core::{Config, Duration, Instant, Packet};

/// A host in a [`World`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostId(usize);

/// A link in a [`World`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkId(usize);

struct Wire {
    ends: [(HostId, InterfaceId); 2],
    impairment: Impairment,
}

/// Stacks, the links between them, and the time.
pub struct World {
    now: Instant,
    seed: u64,
    hosts: Vec<Stack>,
    wires: Vec<Wire>,
    out: Vec<(InterfaceId, Packet)>,
}

/// What a host has to do on its own, asked after everything that happened.
pub type Program<'a> = Box<dyn FnMut(&mut World) + 'a>;

impl World {
    /// An empty world; all chance in it comes from `seed`.
    pub fn new(seed: u64) -> World {
        World { now: Instant::from_secs(1), seed, hosts: Vec::new(), wires: Vec::new(), out: Vec::new() }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Adds a host.
    pub fn add_host(&mut self, config: Config) -> HostId {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&(self.hosts.len() as u64 + 1).to_le_bytes());
        self.hosts.push(Stack::new(config, seed));
        HostId(self.hosts.len() - 1)
    }

    /// Joins two hosts by a link, each with its address and prefix there. "Up" is from `a` to `b`.
    pub fn join(
        &mut self,
        a: (HostId, IpAddr, u8),
        b: (HostId, IpAddr, u8),
        mtu: u16,
        spec: &LinkSpec,
    ) -> LinkId {
        let name = format!("link{}", self.wires.len());
        let mut end = |(host, address, prefix): (HostId, IpAddr, u8)| {
            let addresses = vec![Cidr::new(address, prefix)];
            (host, self.hosts[host.0].add_interface(Interface::new(&name, mtu, addresses)))
        };
        let ends = [end(a), end(b)];
        let seed = self.seed ^ (self.wires.len() as u64) << 32;
        let spec = LinkSpec { seed: spec.seed ^ seed, ..spec.clone() };
        self.wires.push(Wire { ends, impairment: Impairment::new(&spec) });
        LinkId(self.wires.len() - 1)
    }

    /// A host's stack, for its calls: `f` gets the time too. What it caused is sent at the next step.
    pub fn host<R>(&mut self, host: HostId, f: impl FnOnce(&mut Stack, Instant) -> R) -> R {
        f(&mut self.hosts[host.0], self.now)
    }

    /// A link's two directions.
    pub fn link(&mut self, link: LinkId) -> &mut Impairment {
        &mut self.wires[link.0].impairment
    }

    /// Runs until `end`, or until `done` says so; the programs are asked after every moment in which
    /// something happened. True if `done` did.
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
            let next = self.next_deadline();
            if next > end {
                self.now = end;
                return false;
            }
            self.now = next.max(self.now);
            self.deliver();
            for host in &mut self.hosts {
                if host.next_deadline().is_some_and(|at| at <= self.now) {
                    host.advance(self.now);
                }
            }
        }
    }

    /// Lets time pass.
    pub fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        self.run(end, &mut [], |_| false);
    }

    fn next_deadline(&self) -> Instant {
        let hosts = self.hosts.iter().filter_map(|h| h.next_deadline()).min().unwrap_or(Instant::NEVER);
        self.wires.iter().map(|w| w.impairment.next_deadline()).fold(hosts, Instant::min)
    }

    fn deliver(&mut self) {
        for wire in &mut self.wires {
            let [(a, at_a), (b, at_b)] = wire.ends;
            while let Some(packet) = wire.impairment.up.receive(self.now) {
                self.hosts[b.0].receive(self.now, at_b, packet);
            }
            while let Some(packet) = wire.impairment.down.receive(self.now) {
                self.hosts[a.0].receive(self.now, at_a, packet);
            }
        }
    }

    fn flush(&mut self) {
        for host in 0..self.hosts.len() {
            loop {
                let work = self.hosts[host].transmit(self.now, &mut self.out, 64);
                for (interface, packet) in self.out.drain(..) {
                    for wire in &mut self.wires {
                        if wire.ends[0] == (HostId(host), interface) {
                            wire.impairment.up.send(self.now, packet);
                            break;
                        } else if wire.ends[1] == (HostId(host), interface) {
                            wire.impairment.down.send(self.now, packet);
                            break;
                        }
                    }
                }
                if work < 64 {
                    break;
                }
            }
        }
    }
}
