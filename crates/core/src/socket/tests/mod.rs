//! The calls, shown on two stacks joined by a wire in virtual time.

mod any_order;
mod bind;
mod connect;
mod fastopen;
mod fd;
mod listen_accept;
mod open;
mod ops;
mod options;
mod readiness;
mod send_recv;
mod shutdown_close;
mod urgent;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::vec;
use std::vec::Vec;

use crate::packet::Packet;
use crate::socket::{Domain, MsgFlags, Protocol, SockOpt, SockOptName, SocketId, SocketType};
use crate::stack::{Cidr, Event, Interface, InterfaceId, Stack};
use crate::tcp::State;
use crate::time::{Duration, Instant};
use crate::wire::parse::{Upper, parse};
use crate::wire::tcp::{Flags, Header};
use crate::{Config, Errno, Profile};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// A's second address.
const A2: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const A6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const B6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
const PORT: u16 = 80;
const NONE: MsgFlags = MsgFlags::empty();

/// Which stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// The client's, by custom.
    A,
    /// The server's.
    B,
}

/// Two stacks, a wire without delay between them, and the time.
struct Net {
    a: Stack,
    b: Stack,
    now: Instant,
    if_a: InterfaceId,
    if_b: InterfaceId,
    /// Packets from B are held back.
    hold_b: bool,
    held: VecDeque<Packet>,
    /// Packets from A are lost.
    lose_a: bool,
    /// Headers and text lengths of all TCP segments sent, with their sender.
    log: Vec<(Side, Header, usize)>,
}

impl Net {
    fn new() -> Net {
        Net::with(Config::default(), Config::default())
    }

    fn of_profile(profile: Profile) -> Net {
        Net::with(Config::new(profile), Config::new(profile))
    }

    fn with(config_a: Config, config_b: Config) -> Net {
        let mut a = Stack::new(config_a, [1; 32]);
        let mut b = Stack::new(config_b, [2; 32]);
        let on_a = vec![Cidr::new(A, 24), Cidr::new(A2, 24), Cidr::new(A6, 64)];
        let on_b = vec![Cidr::new(B, 24), Cidr::new(B6, 64)];
        let if_a = a.add_interface(Interface::new("eth0", 1_500, on_a));
        let if_b = b.add_interface(Interface::new("eth0", 1_500, on_b));
        Net {
            a,
            b,
            now: Instant::from_secs(1),
            if_a,
            if_b,
            hold_b: false,
            held: VecDeque::new(),
            lose_a: false,
            log: Vec::new(),
        }
    }

    /// Moves packets until there are none, without time passing.
    fn run(&mut self) {
        loop {
            let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
            self.a.transmit(self.now, &mut from_a, usize::MAX);
            self.b.transmit(self.now, &mut from_b, usize::MAX);
            if from_a.is_empty() && from_b.is_empty() {
                return;
            }
            for (_, packet) in from_a {
                self.note(Side::A, &packet);
                if !self.lose_a {
                    self.b.receive(self.now, self.if_b, packet);
                }
            }
            for (_, packet) in from_b {
                self.note(Side::B, &packet);
                if self.hold_b {
                    self.held.push_back(packet);
                } else {
                    self.a.receive(self.now, self.if_a, packet);
                }
            }
        }
    }

    /// Lets what B sent arrive.
    fn release(&mut self) {
        self.hold_b = false;
        for packet in core::mem::take(&mut self.held) {
            self.a.receive(self.now, self.if_a, packet);
        }
        self.run();
    }

    fn note(&mut self, side: Side, packet: &Packet) {
        if let Ok(parsed) = parse(packet)
            && let Upper::Tcp(segment) = parsed.upper
        {
            self.log.push((side, segment.header, segment.data_len));
        }
    }

    /// Lets time pass, with all that is due in it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let next = [self.a.next_deadline(), self.b.next_deadline()].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.now = self.now.max(next);
            self.a.advance(self.now);
            self.b.advance(self.now);
            self.run();
        }
        self.now = end;
    }

    fn stack(&mut self, side: Side) -> &mut Stack {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    fn socket(&mut self, side: Side) -> SocketId {
        socket(self.stack(side))
    }

    /// B listens at its port on all addresses, with SO_REUSEADDR.
    fn listen(&mut self) -> SocketId {
        let id = self.socket(Side::B);
        self.set(Side::B, id, SockOpt::ReuseAddr(true));
        self.b.bind(id, any(PORT)).unwrap();
        self.b.listen(self.now, id, 16).unwrap();
        id
    }

    /// A is connected to B; the client's and the server's socket.
    fn pair(&mut self) -> (SocketId, SocketId) {
        let listener = self.listen();
        let pair = self.join(listener);
        self.b.close(self.now, listener).unwrap();
        pair
    }

    /// One more connection to a listener of B.
    fn join(&mut self, listener: SocketId) -> (SocketId, SocketId) {
        let client = self.socket(Side::A);
        assert_eq!(self.a.connect(self.now, client, at(B, PORT)), Err(Errno::EINPROGRESS));
        self.run();
        assert_eq!(self.a.connect(self.now, client, at(B, PORT)), Ok(()));
        let (server, _) = self.b.accept(self.now, listener).unwrap();
        (client, server)
    }

    fn send(&mut self, side: Side, id: SocketId, data: &[u8]) -> Result<usize, Errno> {
        let now = self.now;
        let sent = self.stack(side).send(now, id, data, NONE);
        self.run();
        sent
    }

    fn recv(&mut self, side: Side, id: SocketId, max: usize) -> Result<Vec<u8>, Errno> {
        self.recv_with(side, id, max, NONE)
    }

    fn recv_with(&mut self, side: Side, id: SocketId, max: usize, flags: MsgFlags) -> Result<Vec<u8>, Errno> {
        let now = self.now;
        let mut out = vec![0; max];
        let n = self.stack(side).recv(now, id, &mut out, flags)?;
        self.run();
        out.truncate(n);
        Ok(out)
    }

    /// Ends B's side by a RST.
    fn reset_by_b(&mut self, server: SocketId) {
        self.b.abort(self.now, server).unwrap();
        self.run();
    }

    fn set(&mut self, side: Side, id: SocketId, option: SockOpt) {
        let now = self.now;
        self.stack(side).setsockopt(now, id, &option).unwrap();
    }

    fn error(&mut self, side: Side, id: SocketId) -> Option<Errno> {
        let now = self.now;
        match self.stack(side).getsockopt(now, id, SockOptName::Error).unwrap() {
            SockOpt::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, side: Side, id: SocketId) -> State {
        let now = self.now;
        self.stack(side).tcp_info(now, id).unwrap().state
    }

    /// How many segments that side sent with all of those flags.
    fn count(&self, side: Side, flags: Flags) -> usize {
        self.log.iter().filter(|(from, hdr, _)| *from == side && hdr.flags.contains(flags)).count()
    }

    /// Events of a side since the last call.
    fn events(&mut self, side: Side) -> Vec<Event> {
        let stack = self.stack(side);
        core::iter::from_fn(|| stack.next_event()).collect()
    }
}

fn socket(stack: &mut Stack) -> SocketId {
    stack.socket(Domain::INET, SocketType::STREAM, Protocol::DEFAULT).unwrap()
}

fn socket6(stack: &mut Stack) -> SocketId {
    stack.socket(Domain::INET6, SocketType::STREAM, Protocol::DEFAULT).unwrap()
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

fn any(port: u16) -> SocketAddr {
    at(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

fn any6(port: u16) -> SocketAddr {
    at(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
