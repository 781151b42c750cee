//! Sockeye's side: packets go from the `transmit` of one stack to the `receive` of the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use sockeye_core::packet::Packet;
use sockeye_core::socket::{Domain, MsgFlags, Protocol, SockOpt, SocketType};
use sockeye_core::stack::{Cidr, Interface, InterfaceId, Stack};
use sockeye_core::{Config, Duration, Errno, Instant, SocketId};

use crate::pair::{LINK_DEPTH, Pair, STEP_NANOS, Setup, Side, TimeWait};
use crate::work::TIME_WAIT_NANOS;

const SERVER_PORT: u16 = 80;
/// Addresses of the server that the client connects to in turn, so that local ports never run out.
const ADDRESSES: u8 = 250;

struct Host {
    stack: Stack,
    interface: InterfaceId,
}

/// Two stacks.
pub struct Sockeye {
    hosts: [Host; 2],
    now: Instant,
    batch: Vec<(InterfaceId, Packet)>,
    listener: SocketId,
    /// Data for sending without a copy.
    shared: Bytes,
    next_address: u8,
    next_network: u8,
    networks: u8,
    client_segments: u64,
    nagle: bool,
    steps: u32,
}

const fn index(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

fn server_address(network: u8, host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 1, network, host))
}

impl Host {
    fn new(setup: &Setup, addresses: Vec<Cidr>, seed: u8) -> Host {
        let mut config = Config::default();
        let buffer = setup.buffer as u32;
        config.wmem = [buffer; 3];
        // As on Linux half of it is for data, the other half for what holding it takes.
        config.rmem = [2 * buffer; 3];
        config.time_wait = Duration::from_nanos(TIME_WAIT_NANOS);
        config.max_tw_buckets = if setup.time_wait == TimeWait::Keep { u32::MAX } else { 0 };
        config.local_port_range = 1_024..=65_535;
        config.max_orphans = u32::MAX;
        config.mem_limit = u64::MAX;
        let mut stack = Stack::new(config, [seed; 32]);
        let mut interface = Interface::new("link0", setup.mtu, addresses);
        interface.gso_max = setup.gso;
        interface.checksum_offload = !setup.checksums;
        let interface = stack.add_interface(interface);
        Host { stack, interface }
    }
}

impl Sockeye {
    fn stack(&mut self, side: Side) -> &mut Stack {
        &mut self.hosts[index(side)].stack
    }

    /// Carries what one side has to send to the other.
    fn carry(&mut self, from: Side, to: Side) -> bool {
        let moved = self.hosts[index(from)].stack.transmit(self.now, &mut self.batch, LINK_DEPTH);
        let host = &mut self.hosts[index(to)];
        if from == Side::Client {
            let segments = |packet: &Packet| match usize::from(packet.gso_size) {
                0 => 1,
                size => packet.len().saturating_sub(52).div_ceil(size) as u64,
            };
            self.client_segments += self.batch.iter().map(|(_, packet)| segments(packet)).sum::<u64>();
        }
        host.stack.receive_batch(self.now, host.interface, self.batch.iter_mut().map(|(_, packet)| packet));
        self.batch.clear();
        moved > 0
    }

    fn fire(&mut self) {
        for host in &mut self.hosts {
            if host.stack.next_deadline().is_some_and(|at| at <= self.now) {
                host.stack.advance(self.now);
            }
        }
    }
}

/// How much a call has done; nothing if it would have waited.
fn count(result: Result<usize, Errno>) -> usize {
    match result {
        Ok(n) => n,
        Err(Errno::EAGAIN) => 0,
        Err(error) => panic!("a call that fails in no bench: {error:?}"),
    }
}

impl Pair for Sockeye {
    type Socket = SocketId;
    const NAME: &'static str = "sockeye";

    fn new(setup: &Setup) -> Self {
        let client = vec![Cidr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 255, 1)), 16)];
        let networks = 4;
        let server = (0..networks).flat_map(|network| {
            (1..=ADDRESSES).map(move |host| Cidr::new(server_address(network, host), 16))
        });
        let mut hosts = [Host::new(setup, client, 1), Host::new(setup, server.collect(), 2)];
        let now = Instant::from_millis(1);
        let stack = &mut hosts[1].stack;
        let listener =
            stack.socket(Domain::INET, SocketType::STREAM, Protocol::TCP).expect("room for a socket");
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SERVER_PORT);
        stack.bind(listener, any).expect("a free port");
        stack.listen(now, listener, 128).expect("a bound socket");
        Sockeye {
            hosts,
            now,
            batch: Vec::with_capacity(2 * LINK_DEPTH),
            listener,
            shared: Bytes::from(vec![7; 65_536]),
            next_address: 0,
            next_network: 0,
            networks,
            client_segments: 0,
            nagle: setup.nagle,
            steps: 0,
        }
    }

    fn step(&mut self) -> bool {
        self.now += Duration::from_nanos(STEP_NANOS);
        let there = self.carry(Side::Client, Side::Server);
        let back = self.carry(Side::Server, Side::Client);
        // As a driver does: timers after packets, at the latest 16 us late.
        self.steps = self.steps.wrapping_add(1);
        if self.steps % 16 == 0 || !(there || back) {
            self.fire();
        }
        there || back
    }

    fn pass(&mut self, nanos: u64) {
        self.now += Duration::from_nanos(nanos);
        self.step();
    }

    fn pass_to_deadline(&mut self) {
        let due = self.hosts.iter().filter_map(|host| host.stack.next_deadline()).min();
        if let Some(due) = due {
            let nanos = due.since(self.now).as_nanos() as u64;
            self.pass(nanos);
        }
    }

    fn connect(&mut self) -> SocketId {
        self.next_address += 1;
        if self.next_address > ADDRESSES {
            self.next_address = 1;
            self.next_network = (self.next_network + 1) % self.networks;
        }
        let remote = SocketAddr::new(server_address(self.next_network, self.next_address), SERVER_PORT);
        let (now, nagle) = (self.now, self.nagle);
        let stack = self.stack(Side::Client);
        let id = stack.socket(Domain::INET, SocketType::STREAM, Protocol::TCP).expect("room for a socket");
        if !nagle {
            stack.setsockopt(now, id, &SockOpt::NoDelay(true)).expect("an option of TCP");
        }
        assert_eq!(stack.connect(now, id, remote), Err(Errno::EINPROGRESS));
        id
    }

    fn connected(&mut self, socket: SocketId) -> bool {
        self.stack(Side::Client).getpeername(socket).is_ok()
    }

    fn accept(&mut self) -> Option<SocketId> {
        let (now, listener) = (self.now, self.listener);
        match self.stack(Side::Server).accept(now, listener) {
            Ok((id, _)) => Some(id),
            Err(Errno::EAGAIN) => None,
            Err(error) => panic!("accept: {error:?}"),
        }
    }

    fn send(&mut self, side: Side, socket: SocketId, data: &[u8]) -> usize {
        let now = self.now;
        count(self.stack(side).send(now, socket, data, MsgFlags::empty()))
    }

    fn recv(&mut self, side: Side, socket: SocketId, out: &mut [u8]) -> usize {
        let now = self.now;
        count(self.stack(side).recv(now, socket, out, MsgFlags::empty()))
    }

    fn send_in_place(&mut self, side: Side, socket: SocketId, max: usize) -> usize {
        let (now, data) = (self.now, self.shared.slice(..max.min(self.shared.len())));
        count(self.stack(side).send_bytes(now, socket, data, MsgFlags::empty()))
    }

    fn recv_in_place(&mut self, side: Side, socket: SocketId, max: usize) -> usize {
        let now = self.now;
        count(self.stack(side).recv_bytes(now, socket, max, MsgFlags::empty()).map(|data| data.len()))
    }

    fn at_end(&mut self, side: Side, socket: SocketId) -> bool {
        let now = self.now;
        self.stack(side).recv(now, socket, &mut [0], MsgFlags::empty()) == Ok(0)
    }

    fn close(&mut self, side: Side, socket: SocketId) {
        let now = self.now;
        self.stack(side).close(now, socket).expect("an open socket");
    }

    fn client_segments(&self) -> u64 {
        self.client_segments
    }

    fn time_waits(&self) -> usize {
        self.hosts[0].stack.stats().time_wait as usize
    }
}
