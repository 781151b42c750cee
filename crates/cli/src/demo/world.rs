//! Two stacks, a link in memory between them, and a clock that can be moved forward.
//!
//! One thread does everything, so that what is printed is what happened, in the order in which it happened. With a bad
//! link the time is not the machine's: it stands still while something is done, and moves on to what is due next.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sockeye::core::link::{Direction, Impairment, LinkSpec};
use sockeye::core::socket::{Domain, Protocol, SocketType};
use sockeye::core::stack::{Cidr, Interface, InterfaceId, Stack};
use sockeye::core::trace::Record;
use sockeye::core::{Config, Errno, Instant, Packet, Profile, SocketId};
use sockeye::device::{Capture, Device, Memory, MemoryOptions, Tap};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

impl Role {
    pub const BOTH: [Role; 2] = [Role::Client, Role::Server];

    pub fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }

    pub fn other(self) -> Role {
        match self {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }
}

/// A host: a stack with one interface.
pub struct Host {
    pub stack: Stack,
    pub address: IpAddr,
    interface: InterfaceId,
    device: Arc<dyn Device>,
    /// Packets that the link had no room for yet.
    waiting: VecDeque<Packet>,
}

/// Records that are kept between two looks at them; a look follows each packet.
const TRACE_RECORDS: usize = 4_096;
/// Packets taken from a stack or the link at once when nobody looks at each.
const BATCH: usize = 64;

/// Both hosts, the link and the clock.
pub struct World {
    hosts: [Host; 2],
    /// The bad link, if there is one: the client's way out first.
    link: Option<[Direction; 2]>,
    started: std::time::Instant,
    skipped: Duration,
}

impl World {
    /// Two hosts whose stacks follow `profile`, and a link of this MTU (`capture` sees the server's side of it), as bad
    /// as `spec` says.
    ///
    /// # Errors
    /// The system's: no random numbers, the capture cannot be written.
    pub fn new(
        profile: Profile,
        mtu: u16,
        spec: Option<&LinkSpec>,
        capture: Option<&Arc<Capture>>,
    ) -> io::Result<World> {
        let names = ["client".to_owned(), "server".to_owned()];
        let (client, server) = Memory::pair(MemoryOptions { mtu, names, ..MemoryOptions::default() });
        let server: Arc<dyn Device> = match capture {
            Some(capture) => Arc::new(Tap::new(server, capture.clone())?),
            None => Arc::new(server),
        };
        Ok(World {
            hosts: [
                Host::new(profile, Arc::new(client), [192, 0, 2, 2].into())?,
                Host::new(profile, server, [192, 0, 2, 1].into())?,
            ],
            link: spec.map(Impairment::new).map(|Impairment { up, down }| [up, down]),
            started: std::time::Instant::now(),
            skipped: Duration::ZERO,
        })
    }

    pub fn host(&mut self, role: Role) -> &mut Host {
        &mut self.hosts[role as usize]
    }

    /// The time of this world: the time that has passed, and what was skipped.
    pub fn now(&self) -> Instant {
        let passed = if self.is_virtual() { Duration::ZERO } else { self.started.elapsed() };
        Instant::ZERO + passed + self.skipped
    }

    /// Whether time moves only when nothing is left to do.
    pub fn is_virtual(&self) -> bool {
        self.link.is_some()
    }

    /// What the bad link has done, from the client and from the server.
    pub fn link(&self) -> Option<&[Direction; 2]> {
        self.link.as_ref()
    }

    /// Whether the stacks keep records.
    pub fn trace(&mut self, on: bool) {
        for host in &mut self.hosts {
            host.stack.trace_mut().enable(if on { TRACE_RECORDS } else { 0 });
        }
    }

    /// What one stack has recorded since the last look.
    pub fn records(&mut self, role: Role) -> Vec<Record> {
        let trace = self.host(role).stack.trace_mut();
        std::iter::from_fn(|| trace.next_record()).collect()
    }

    /// Fires what is due, then carries one packet of `from` across the link; false if it has none to send.
    ///
    /// # Errors
    /// The link's.
    pub fn carry_one(&mut self, from: Role) -> io::Result<bool> {
        Ok(self.carry(from, 1)? > 0)
    }

    /// Carries what `from` has to send, many packets at once; returns how many.
    ///
    /// # Errors
    /// The link's.
    pub fn carry_all(&mut self, from: Role) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let carried = self.carry(from, BATCH)?;
            total += carried;
            if carried == 0 {
                return Ok(total);
            }
        }
    }

    fn carry(&mut self, from: Role, max: usize) -> io::Result<usize> {
        let now = self.now();
        let Some(mut link) = self.link.take() else {
            self.host(from).send(now, max)?;
            return self.host(from.other()).receive(now, max);
        };
        let way = &mut link[from as usize];
        let mut moved = self.host(from).send_into(now, max, way);
        let arrived: VecDeque<Packet> = std::iter::from_fn(|| way.receive(now)).take(max).collect();
        self.link = Some(link);
        if !arrived.is_empty() {
            let mut arrived = arrived;
            self.host(from).device.send(&mut arrived)?;
            moved += self.host(from.other()).receive(now, max)?;
        }
        Ok(moved)
    }

    /// Lets timers fire that are due.
    pub fn advance(&mut self) {
        let now = self.now();
        for host in &mut self.hosts {
            host.stack.advance(now);
        }
    }

    /// How long until a timer of either stack falls due, or a packet arrives; `None` if there is nothing of both.
    pub fn until_next_timer(&self) -> Option<Duration> {
        let now = self.now();
        let timers = self.hosts.iter().filter_map(|host| host.stack.next_deadline());
        let arrivals = self.link.iter().flatten().map(Direction::next_deadline).filter(|at| !at.is_never());
        timers.chain(arrivals).map(|at| at.since(now)).min()
    }

    /// Lets this much time pass, and what falls due in it happen.
    pub fn wait(&mut self, time: Duration) {
        if self.is_virtual() {
            self.skip(time);
        } else {
            std::thread::sleep(time);
        }
        self.advance();
    }

    /// Waits until a timer falls due, unless `busy`; `None` if none runs.
    pub fn wait_unless(&mut self, busy: bool) -> Option<()> {
        if !busy {
            self.wait(self.until_next_timer()?);
        }
        Some(())
    }

    /// Moves the clock forward without waiting.
    pub fn skip(&mut self, time: Duration) {
        self.skipped += time;
    }
}

impl Host {
    fn new(profile: Profile, device: Arc<dyn Device>, address: IpAddr) -> io::Result<Host> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let mut config = Config::new(profile);
        config.name = device.name().to_owned();
        let mut stack = Stack::new(config, seed);
        let capabilities = device.capabilities();
        let mut interface = Interface::new(device.name(), capabilities.mtu, vec![Cidr::new(address, 24)]);
        interface.gso_max = capabilities.gso_max;
        interface.checksum_offload = capabilities.checksum_tx;
        let interface = stack.add_interface(interface);
        Ok(Host { stack, address, interface, device, waiting: VecDeque::new() })
    }

    /// `socket(AF_INET, SOCK_STREAM, 0)`.
    pub fn socket(&mut self) -> Result<SocketId, Errno> {
        self.stack.socket(Domain::INET, SocketType::STREAM.nonblocking(), Protocol::DEFAULT)
    }

    /// An address of this host.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    fn send(&mut self, now: Instant, max: usize) -> io::Result<()> {
        self.stack.advance(now);
        if self.waiting.is_empty() {
            let mut packets = Vec::new();
            self.stack.transmit(now, &mut packets, max);
            self.waiting.extend(packets.into_iter().map(|(_, packet)| packet));
        }
        self.device.send(&mut self.waiting).map(drop)
    }

    fn send_into(&mut self, now: Instant, max: usize, way: &mut Direction) -> usize {
        self.stack.advance(now);
        let mut packets = Vec::new();
        self.stack.transmit(now, &mut packets, max);
        let count = packets.len();
        packets.into_iter().for_each(|(_, packet)| way.send(now, packet));
        count
    }

    fn receive(&mut self, now: Instant, max: usize) -> io::Result<usize> {
        let mut packets = Vec::new();
        let count = self.device.recv(&mut packets, max)?;
        for packet in packets {
            self.stack.receive(now, self.interface, packet);
        }
        Ok(count)
    }
}
