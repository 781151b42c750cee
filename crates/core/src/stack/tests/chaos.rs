//! Two stacks, a bad link, and users who do anything: nothing panics, nothing leaks.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::harness::{A, B, addr};
use crate::config::{AcceptFilter, Config, Options, Profile, SynCookies};
use crate::packet::Packet;
use crate::rng::Rng;
use crate::socket::{Domain, Ready, SocketId};
use crate::stack::{Cidr, Interface, InterfaceId, SocketFlags, Stack, key_of};
use crate::tcp::Outcome;
use crate::time::{Duration, Instant};
use alloc::sync::Arc;

struct Node {
    stack: Stack,
    link: InterfaceId,
    sockets: Vec<SocketId>,
    peer: IpAddr,
}

struct World {
    nodes: [Node; 2],
    /// Packets under way: when, to whom.
    wire: Vec<(Instant, usize, Packet)>,
    now: Instant,
    rng: Rng,
    /// Permille of packets lost, doubled, or changed.
    bad: u32,
}

fn node(config: Config, own: IpAddr, peer: IpAddr, seed: u8) -> Node {
    let mut stack = Stack::new(config, [seed; 32]);
    let mut interface = Interface::new("eth0", 1_500, alloc::vec![Cidr::new(own, 24)]);
    interface.gso_max = 65_535;
    interface.checksum_offload = seed % 2 == 0;
    let link = stack.add_interface(interface);
    Node { stack, link, sockets: Vec::new(), peer }
}

impl World {
    fn new(seed: u8, bad: u32) -> World {
        let mut rng = Rng::new([seed; 32]);
        let profile = [Profile::Linux, Profile::FreeBsd, Profile::Rfc][rng.below(3) as usize];
        let cookies = [SynCookies::Off, SynCookies::WhenFull, SynCookies::Always][rng.below(3) as usize];
        let config = Config {
            syncookies: cookies,
            local_port_range: 40_000..=40_031,
            max_sockets: 64,
            max_orphans: 16,
            abort_on_overflow: seed % 2 == 0,
            ..Config::new(profile)
        };
        let nodes = [node(config.clone(), A, B, seed), node(config, B, A, seed.wrapping_add(100))];
        World { nodes, wire: Vec::new(), now: Instant::from_secs(1), rng, bad }
    }

    fn pick(&mut self, who: usize) -> Option<SocketId> {
        let n = self.nodes[who].sockets.len() as u32;
        (n > 0).then(|| self.nodes[who].sockets[self.rng.below(n) as usize])
    }

    fn act(&mut self) {
        let who = self.rng.below(2) as usize;
        let (now, what) = (self.now, self.rng.below(14));
        let chosen = self.pick(who);
        let port = 80 + self.rng.below(3) as u16;
        let size = self.rng.below(40_000) as usize;
        let backlog = self.rng.below(4) as i32 - 1;
        let node = &mut self.nodes[who];
        let stack = &mut node.stack;
        match (what, chosen) {
            (0 | 1, _) => {
                let domain = if size % 2 == 0 { Domain::INET } else { Domain::INET6 };
                node.sockets.extend(stack.new_socket(domain, SocketFlags::empty()).ok());
            }
            (2, Some(id)) => {
                let filter = [AcceptFilter::None, AcceptFilter::Data, AcceptFilter::Http][size % 3];
                let defer = (size % 5) as u32;
                let options = Options {
                    reuseaddr: true,
                    accept_filter: filter,
                    defer_accept: defer,
                    ..Options::default()
                };
                stack.replace_options(now, key_of(id), Arc::new(options));
                let _ = stack.bind_socket(id, SocketAddr::new(stack.wildcard(id).unwrap(), port));
                let _ = stack.listen_socket(id, backlog);
            }
            (3 | 4, Some(id)) => {
                let to = if size % 7 == 0 { addr("127.0.0.1:80").ip() } else { node.peer };
                let _ = stack.connect_socket(now, id, SocketAddr::new(to, port));
            }
            (5 | 6, Some(id)) => node.sockets.extend(stack.accept_socket(id).ok()),
            (7 | 8, Some(id)) => {
                let data = alloc::vec![1; size];
                let _ = stack.operate(now, id, |conn, cx| (conn.write(cx, &data), Outcome::default()));
            }
            (9 | 10, Some(id)) => {
                let mut out = alloc::vec![0; size];
                let _ = stack.operate(now, id, |conn, cx| (conn.read(cx, &mut out), Outcome::default()));
            }
            (11, Some(id)) => {
                let _ = stack.operate(now, id, |conn, cx| ((), conn.shutdown_write(cx)));
            }
            (12, Some(id)) if size % 3 == 0 => {
                let _ = stack.disconnect_socket(now, id);
                stack.set_interest(id, Ready::all());
            }
            (13, Some(id)) => {
                node.sockets.retain(|other| *other != id);
                let abort = size % 4 == 0;
                let closed = if abort { stack.abort_socket(now, id) } else { stack.close_socket(now, id) };
                assert_eq!(closed, Ok(()));
                assert!(stack.entry(id).is_err());
            }
            _ => {}
        }
    }

    fn exchange(&mut self) {
        for who in 0..2 {
            let mut out = Vec::new();
            let node = &mut self.nodes[who];
            node.stack.transmit(self.now, &mut out, 32);
            while node.stack.next_event().is_some() {}
            for (_, packet) in out {
                let dice = self.rng.below(1_000);
                let delay = Duration::from_micros(u64::from(self.rng.below(20_000)));
                let at = self.now + delay;
                if dice < self.bad {
                    continue;
                }
                if dice < 2 * self.bad {
                    self.wire.push((at + delay, 1 - who, packet.clone()));
                } else if dice < 3 * self.bad {
                    let mut bytes = packet.to_vec();
                    let at_byte = self.rng.below(bytes.len() as u32) as usize;
                    bytes[at_byte] ^= 1 << self.rng.below(8);
                    let mut changed = Packet::from_bytes(bytes.into());
                    // Half of them pass for good.
                    changed.checksum =
                        if dice % 2 == 0 { crate::Checksum::Verified } else { packet.checksum };
                    changed.gso_size = packet.gso_size;
                    self.wire.push((at, 1 - who, changed));
                    continue;
                }
                self.wire.push((at, 1 - who, packet));
            }
        }
    }

    fn tick(&mut self, end: Instant) {
        let deadlines = self.nodes.iter().filter_map(|node| node.stack.next_deadline());
        let next = deadlines.chain(self.wire.iter().map(|(at, ..)| *at)).min().unwrap_or(end);
        self.now = next.min(end).max(self.now);
        for node in &mut self.nodes {
            node.stack.advance(self.now);
        }
        let mut due = Vec::new();
        let now = self.now;
        self.wire.retain_mut(|(at, to, packet)| {
            let is_due = *at <= now;
            if is_due {
                due.push((*to, core::mem::take(packet)));
            }
            !is_due
        });
        for (to, packet) in due {
            let node = &mut self.nodes[to];
            node.stack.receive(now, node.link, packet);
        }
    }

    /// Everybody closes, the link is silent at the end: in an hour nothing may be left.
    fn end(&mut self) {
        for who in 0..2 {
            for id in core::mem::take(&mut self.nodes[who].sockets) {
                self.nodes[who].stack.close_socket(self.now, id).unwrap();
            }
        }
        let end = self.now + Duration::from_secs(3_600);
        while self.now < end {
            self.exchange();
            self.tick(end);
        }
    }
}

/// Shows: rfc9293-MUST-11, cve-2015-5358-lastack, ack-storm
#[test]
fn whatever_happens_nothing_is_left() {
    let (mut opened, mut resent, mut waited) = (0, 0, 0);
    for seed in 0..=255_u8 {
        let mut world = World::new(seed, u32::from(seed % 4) * 40);
        for _ in 0..600 {
            world.act();
            world.exchange();
            let end = world.now + Duration::from_millis(u64::from(world.rng.below(50)));
            while world.now < end {
                world.tick(end);
                world.exchange();
            }
        }
        world.end();
        for node in &world.nodes {
            assert_eq!(node.stack.population(), Default::default(), "seed {seed} {:?}", node.stack.ports);
            assert_eq!(node.stack.stats().curr_estab, 0, "seed {seed}");
            assert_eq!(node.stack.next_deadline(), None, "seed {seed}");
            assert!(!node.stack.wants_transmit(), "seed {seed}");
            opened += node.stack.stats().passive_opens;
            resent += node.stack.stats().retrans_segs;
            waited += node.stack.stats().tw;
        }
    }
    assert!(opened > 500 && resent > 500 && waited > 50, "too quiet: {opened} {resent} {waited}");
}

/// Packets of noise, and real ones with a few bits changed that pass for valid: no panic, bounded state.
#[test]
fn noise_does_no_harm() {
    let mut rng = Rng::new([11; 32]);
    let mut world = World::new(3, 0);
    let node = &mut world.nodes[0];
    let id = node.stack.new_socket(Domain::INET, SocketFlags::empty()).unwrap();
    node.stack.bind_socket(id, SocketAddr::new(A, 80)).unwrap();
    node.stack.listen_socket(id, 16).unwrap();
    for i in 0..20_000_u64 {
        let seg = super::harness::Seg::new(
            crate::wire::tcp::Flags::from_bits_truncate(rng.u32() as u16),
            rng.below(8),
            rng.u32(),
        );
        let mut bytes = seg.data(&alloc::vec![9; rng.below(30) as usize]).packet().to_vec();
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len() as u32) as usize;
            bytes[at] = rng.u32() as u8;
        }
        let mut packet = Packet::from_bytes(bytes.into());
        packet.checksum = crate::Checksum::Verified;
        let now = Instant::from_millis(i);
        node.stack.advance(now);
        node.stack.receive(now, node.link, packet);
        let mut out = Vec::new();
        node.stack.transmit(now, &mut out, 64);
        assert!(out.len() <= 4, "{} answers to one packet", out.len());
    }
    assert!(node.stack.population().half_open <= 17);
}
