//! smoltcp's side.
//!
//! Its device hands over the very buffers that the peer's device filled, from a pool: no copy, no
//! allocation. Congestion control is off, which is its default; its log, its other protocols and its other
//! sockets are compiled out. A listener is a pool of listening sockets, as its documentation tells to do.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::pair::{LINK_DEPTH, Pair, STEP_NANOS, Setup, Side, TimeWait};

const SERVER_PORT: u16 = 80;
/// Listening sockets kept ready.
const LISTENERS: usize = 4;

/// One direction of the link.
#[derive(Default)]
struct Pipe {
    queue: VecDeque<Vec<u8>>,
    pool: Vec<Vec<u8>>,
    segments: u64,
    mss: usize,
}

struct Link {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    capabilities: DeviceCapabilities,
}

struct Rx<'a>(&'a Rc<RefCell<Pipe>>, Vec<u8>);
struct Tx<'a>(&'a Rc<RefCell<Pipe>>);

impl phy::RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.1);
        self.0.borrow_mut().pool.push(self.1);
        result
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut pipe = self.0.borrow_mut();
        let mut packet = pipe.pool.pop().unwrap_or_default();
        // Buffers keep their largest length's capacity: only growth is zeroed, once.
        if packet.len() < len {
            packet.resize(len, 0);
        } else {
            packet.truncate(len);
        }
        let result = f(&mut packet);
        pipe.segments += len.div_ceil(pipe.mss).max(1) as u64;
        pipe.queue.push_back(packet);
        result
    }

    fn set_meta(&mut self, _meta: PacketMeta) {}
}

impl Device for Link {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let packet = self.incoming.borrow_mut().queue.pop_front()?;
        Some((Rx(&self.incoming, packet), Tx(&self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        (self.outgoing.borrow().queue.len() < LINK_DEPTH).then_some(Tx(&self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

struct Host {
    interface: Interface,
    sockets: SocketSet<'static>,
    link: Link,
    /// The program or the link has done something since the last poll.
    touched: bool,
}

impl Host {
    fn new(
        setup: &Setup,
        address: IpAddress,
        incoming: &Rc<RefCell<Pipe>>,
        outgoing: &Rc<RefCell<Pipe>>,
    ) -> Host {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(setup.mtu);
        if !setup.checksums {
            capabilities.checksum = ChecksumCapabilities::ignored();
        }
        capabilities.segmentation.tcpv4 = std::num::NonZeroUsize::new(setup.gso as usize);
        let mut link = Link { incoming: incoming.clone(), outgoing: outgoing.clone(), capabilities };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = 1;
        let mut interface = Interface::new(config, &mut link, Instant::ZERO);
        interface.update_ip_addrs(|list| list.push(IpCidr::new(address, 16)).expect("room for one address"));
        Host { interface, sockets: SocketSet::new(Vec::new()), link, touched: false }
    }

    fn poll(&mut self, now: Instant) -> bool {
        if !self.touched && self.link.incoming.borrow().queue.is_empty() {
            return false;
        }
        self.touched = false;
        self.interface.poll(now, &mut self.link, &mut self.sockets);
        // A full link may have left some unsent.
        self.touched = self.link.outgoing.borrow().queue.len() >= LINK_DEPTH;
        true
    }
}

/// Two smoltcp interfaces.
pub struct Smoltcp {
    hosts: [Host; 2],
    nanos: u64,
    setup: Setup,
    /// Server sockets that listen.
    listening: Vec<SocketHandle>,
    /// Sockets of either side that are on their way to CLOSED, in the order of closing.
    closing: [VecDeque<SocketHandle>; 2],
    /// Closed sockets, to be used again with their buffers.
    spare: [Vec<SocketHandle>; 2],
    next_port: u16,
}

const fn index(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

impl Smoltcp {
    fn now(&self) -> Instant {
        Instant::from_micros((self.nanos / 1_000) as i64)
    }

    fn socket(&mut self, side: Side, socket: SocketHandle) -> &mut Socket<'static> {
        self.hosts[index(side)].sockets.get_mut(socket)
    }

    fn touch(&mut self, side: Side) {
        self.hosts[index(side)].touched = true;
    }

    /// A closed socket: a used one if there is one.
    fn fresh(&mut self, side: Side) -> SocketHandle {
        let i = index(side);
        if let Some(socket) = self.spare[i].pop() {
            return socket;
        }
        let buffer = || SocketBuffer::new(vec![0; self.setup.buffer]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(self.setup.nagle);
        self.hosts[i].sockets.add(socket)
    }

    fn listen_more(&mut self) {
        while self.listening.len() < LISTENERS {
            let socket = self.fresh(Side::Server);
            self.socket(Side::Server, socket).listen(SERVER_PORT).expect("a closed socket");
            self.listening.push(socket);
        }
    }

    /// Takes back what has closed. Sockets close in order, so the fronts are enough.
    fn reap(&mut self) {
        for side in [Side::Client, Side::Server] {
            let i = index(side);
            while let Some(&socket) = self.closing[i].front() {
                match self.socket(side, socket).state() {
                    State::Closed => self.spare[i].push(socket),
                    State::TimeWait if self.setup.time_wait == TimeWait::Throw => {
                        self.hosts[i].sockets.remove(socket);
                    }
                    _ => break,
                }
                self.closing[i].pop_front();
            }
        }
    }
}

impl Pair for Smoltcp {
    type Socket = SocketHandle;
    const NAME: &'static str = "smoltcp";

    fn new(setup: &Setup) -> Self {
        let mss = usize::from(setup.mtu);
        let there = Rc::new(RefCell::new(Pipe { mss, ..Pipe::default() }));
        let back = Rc::new(RefCell::new(Pipe { mss, ..Pipe::default() }));
        let mut pair = Smoltcp {
            hosts: [
                Host::new(setup, IpAddress::v4(10, 0, 0, 1), &back, &there),
                Host::new(setup, IpAddress::v4(10, 0, 0, 2), &there, &back),
            ],
            nanos: 1_000_000,
            setup: *setup,
            listening: Vec::new(),
            closing: Default::default(),
            spare: Default::default(),
            next_port: 1_023,
        };
        pair.listen_more();
        pair
    }

    fn step(&mut self) -> bool {
        self.nanos += STEP_NANOS;
        let now = self.now();
        let client = self.hosts[0].poll(now);
        let server = self.hosts[1].poll(now);
        client || server
    }

    fn pass(&mut self, nanos: u64) {
        self.nanos += nanos;
        for host in &mut self.hosts {
            host.touched = true;
        }
        self.step();
        self.reap();
    }

    fn pass_to_deadline(&mut self) {
        let now = self.now();
        let due = self.hosts.iter_mut().filter_map(|host| host.interface.poll_at(now, &host.sockets)).min();
        if let Some(due) = due {
            self.pass((due.total_micros() as u64 * 1_000).saturating_sub(self.nanos));
        }
    }

    fn connect(&mut self) -> SocketHandle {
        self.reap();
        let socket = self.fresh(Side::Client);
        self.next_port = if self.next_port == u16::MAX { 1_024 } else { self.next_port + 1 };
        let host = &mut self.hosts[0];
        let remote = (IpAddress::v4(10, 0, 0, 2), SERVER_PORT);
        let client = host.sockets.get_mut::<Socket>(socket);
        client.connect(host.interface.context(), remote, self.next_port).expect("a closed socket and a port");
        host.touched = true;
        socket
    }

    fn connected(&mut self, socket: SocketHandle) -> bool {
        self.socket(Side::Client, socket).may_send()
    }

    fn accept(&mut self) -> Option<SocketHandle> {
        let ready = |socket: &SocketHandle| self.hosts[1].sockets.get::<Socket>(*socket).may_send();
        let at = self.listening.iter().position(ready)?;
        let socket = self.listening.swap_remove(at);
        self.listen_more();
        Some(socket)
    }

    fn send(&mut self, side: Side, socket: SocketHandle, data: &[u8]) -> usize {
        self.touch(side);
        self.socket(side, socket).send_slice(data).expect("an open connection")
    }

    fn recv(&mut self, side: Side, socket: SocketHandle, out: &mut [u8]) -> usize {
        let n = self.socket(side, socket).recv_slice(out).unwrap_or(0);
        if n > 0 {
            self.touch(side);
        }
        n
    }

    fn send_in_place(&mut self, side: Side, socket: SocketHandle, max: usize) -> usize {
        self.touch(side);
        let take = |room: &mut [u8]| (room.len().min(max), room.len().min(max));
        self.socket(side, socket).send(take).expect("an open connection")
    }

    fn recv_in_place(&mut self, side: Side, socket: SocketHandle, max: usize) -> usize {
        let n =
            self.socket(side, socket).recv(|data| (data.len().min(max), data.len().min(max))).unwrap_or(0);
        if n > 0 {
            self.touch(side);
        }
        n
    }

    fn at_end(&mut self, side: Side, socket: SocketHandle) -> bool {
        !self.socket(side, socket).may_recv()
    }

    fn close(&mut self, side: Side, socket: SocketHandle) {
        self.socket(side, socket).close();
        self.touch(side);
        self.closing[index(side)].push_back(socket);
    }

    fn client_segments(&self) -> u64 {
        self.hosts[0].link.outgoing.borrow().segments
    }

    fn time_waits(&self) -> usize {
        self.closing[0].len()
    }
}
