//! Body of the connection's fuzz target: a peer that sends anything, a user who calls anything, and time.
//! Nothing panics, every answer is well-formed, and what a stack holds and says stays within bounds.

use bytes::Bytes;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use sockeye_core::socket::{Domain, How, Ioctl, MsgFlags, Protocol, SockOpt, SockOptName, SocketType};
use sockeye_core::stack::{Cidr, Interface, InterfaceId, Stack};
use sockeye_core::tcp::SeqNum;
use sockeye_core::wire::ip::IpTemplate;
use sockeye_core::wire::tcp::{ChecksumMode, Flags, Header, Options, SackBlock, Timestamps, build};
use sockeye_core::wire::{Malformed, Upper, icmp, parse};
use sockeye_core::{Config, Instant, Packet, Payload, Profile, Ready, SocketId};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
/// Our listener's port, and the one that we connect to.
const PORT: u16 = 80;
/// No socket may queue more than this in either direction, bytes.
const BUFFER: u32 = 65_536;

/// What the input still says.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }
    /// A number near zero, near the window's edge, or anywhere.
    fn offset(&mut self) -> u32 {
        match self.u8() {
            near @ 0..=199 => u32::from(near / 2).wrapping_sub(50),
            200..=229 => u32::from(self.u16()),
            230..=244 => 64_240u32.wrapping_add(u32::from(self.u8())).wrapping_sub(100),
            _ => u32::from(self.u16()) << 16 | u32::from(self.u16()),
        }
    }
    fn done(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the peer knows of one connection.
#[derive(Clone, Copy)]
struct Flow {
    ours: u16,
    theirs: u16,
    /// The next number that we expect of the peer, as we said; and our next.
    peer_nxt: SeqNum,
    our_nxt: SeqNum,
    our_una: SeqNum,
    tsval: u32,
}

struct World {
    stack: Stack,
    interface: InterfaceId,
    now: Instant,
    sockets: Vec<SocketId>,
    flows: Vec<Flow>,
    established: u32,
    read: usize,
}

/// A run of operations; returns how many connections were established, and how many bytes the user read.
pub fn connection(input: &[u8]) -> (u32, usize) {
    let mut input = Input(input);
    let mut world = World::new(input.u8());
    let mut operations = 0;
    while !input.done() && operations < 400 {
        operations += 1;
        match input.u8() % 16 {
            0..=6 => world.segment(&mut input),
            7 => world.handshake(&mut input),
            8..=11 => world.call(&mut input),
            12 => world.option(&mut input),
            13 => world.pass(Duration::from_millis(1 << (input.u8() % 22))),
            14 => world.icmp(&mut input),
            _ => world.raw(&mut input),
        }
        world.exchange();
    }
    world.end()
}

impl World {
    fn new(how: u8) -> World {
        let profile = [Profile::Linux, Profile::FreeBsd, Profile::Rfc][usize::from(how % 3)];
        let mut config = Config::new(profile);
        config.rmem = [4_096, 65_536, BUFFER];
        config.wmem = [4_096, 16_384, BUFFER];
        config.timestamps = how & 4 != 0;
        config.sack = how & 8 != 0;
        config.window_scaling = how & 16 != 0;
        config.max_sockets = 64;
        config.max_syn_backlog = 16;
        let mut stack = Stack::new(config, [how; 32]);
        let interface = stack.add_interface(Interface::new("eth0", 1_500, vec![Cidr::new(OURS, 24)]));
        let mut world = World {
            stack,
            interface,
            now: Instant::from_secs(1),
            sockets: Vec::new(),
            flows: Vec::new(),
            established: 0,
            read: 0,
        };
        let listener =
            world.stack.socket(Domain::INET, SocketType::STREAM, Protocol::TCP).expect("the first");
        world.stack.bind(listener, SocketAddr::new(OURS, PORT)).expect("free");
        world.stack.listen(world.now, listener, 8).expect("bound");
        world.sockets.push(listener);
        world.connect();
        world.exchange();
        world
    }

    fn socket(&self, input: &mut Input<'_>) -> SocketId {
        self.sockets[usize::from(input.u8()) % self.sockets.len()]
    }

    fn connect(&mut self) {
        let Ok(id) = self.stack.socket(Domain::INET, SocketType::STREAM, Protocol::TCP) else { return };
        let _ = self.stack.connect(self.now, id, SocketAddr::new(PEER, PORT));
        self.stack.set_interest(id, Ready::IN | Ready::OUT);
        self.sockets.push(id);
    }

    fn inject(&mut self, header: &Header, text: Vec<u8>, gso: u16) {
        let ip = IpTemplate::new(PEER, OURS);
        let packet = build(&ip, header, Payload::from(Bytes::from(text)), gso, ChecksumMode::Complete);
        self.stack.receive(self.now, self.interface, packet);
    }

    /// A segment for a connection: each field as it should be, or not.
    fn segment(&mut self, input: &mut Input<'_>) {
        if self.flows.is_empty() {
            return self.handshake(input);
        }
        let flow = self.flows[usize::from(input.u8()) % self.flows.len()];
        let how = input.u8();
        let flags = match how % 8 {
            0..=3 => Flags::ACK,
            4 => Flags::ACK | Flags::FIN,
            5 => Flags::SYN | Flags::ACK,
            6 => Flags::ACK | Flags::PSH,
            _ => Flags::from_bits_truncate(input.u16() & 0x1ff),
        };
        let seq = if how & 8 != 0 { flow.peer_nxt } else { flow.peer_nxt + input.offset() };
        let ack = if how & 16 != 0 { flow.our_nxt } else { flow.our_una + input.offset() };
        let len = match how >> 5 {
            0 | 1 => 0,
            2..=5 => usize::from(input.u8()) * 6,
            _ => usize::from(input.u16() % 9_000),
        };
        let header = Header {
            src_port: flow.theirs,
            dst_port: flow.ours,
            seq,
            ack,
            flags,
            window: if how & 32 != 0 { 65_535 } else { input.u16() },
            urgent: if flags.contains(Flags::URG) { input.u16() } else { 0 },
            options: self.options(input, flow),
        };
        let gso = if len > 1_460 { 1_460 } else { 0 };
        self.inject(&header, vec![how; len], gso);
    }

    fn options(&self, input: &mut Input<'_>, flow: Flow) -> Options {
        let mut options = Options::default();
        let how = input.u8();
        if how & 1 != 0 {
            let clock = 1_000_000u32.wrapping_add(self.now.as_millis() as u32);
            let val = clock.wrapping_add(if how & 2 != 0 { input.offset() } else { 0 });
            options.timestamps = Some(Timestamps { val, ecr: flow.tsval.wrapping_sub(u32::from(how >> 4)) });
        }
        if how & 4 != 0 {
            for _ in 0..1 + how % 3 {
                let left = flow.our_una + input.offset();
                options.sack.push(SackBlock { left, right: left + input.offset() });
            }
        }
        if how & 8 != 0 {
            options.mss = Some(input.u16());
            options.window_scale = Some(input.u8() % 20);
            options.sack_permitted = how & 16 != 0;
            options.user_timeout = (how & 32 != 0).then(|| input.u16());
        }
        options
    }

    /// The next step of a peer that means well: a new SYN, or the answer to ours.
    fn handshake(&mut self, input: &mut Input<'_>) {
        let how = input.u8();
        let mut header = Header { window: 65_535, ..Header::default() };
        header.options.mss = Some(if how & 1 != 0 { 1_460 } else { input.u16() });
        header.options.sack_permitted = how & 2 != 0;
        header.options.window_scale = (how & 4 != 0).then_some(how >> 5);
        if how & 8 != 0 {
            header.options.timestamps =
                Some(Timestamps { val: 1_000_000u32.wrapping_add(self.now.as_millis() as u32), ecr: 0 });
        }
        let flow = self.flows.iter().find(|f| f.theirs == PORT && f.peer_nxt == SeqNum(0)).copied();
        if let (Some(flow), true) = (flow, how & 16 != 0) {
            (header.src_port, header.dst_port) = (flow.theirs, flow.ours);
            (header.seq, header.ack) = (SeqNum(u32::from(input.u16()) << 16), flow.our_nxt);
            header.flags = Flags::SYN | Flags::ACK;
        } else {
            (header.src_port, header.dst_port) = (2_000 + u16::from(input.u8() % 16), PORT);
            (header.seq, header.flags) = (SeqNum(u32::from(input.u16()) << 16), Flags::SYN);
        }
        self.inject(&header, Vec::new(), 0);
    }

    fn call(&mut self, input: &mut Input<'_>) {
        let (id, now) = (self.socket(input), self.now);
        let flags = MsgFlags::from_bits_retain(u32::from(input.u16()) & 0x41e3);
        let mut buffer = vec![0; usize::from(input.u16() % 20_000)];
        let stack = &mut self.stack;
        match input.u8() % 16 {
            0..=3 => drop(stack.send(now, id, &buffer, MsgFlags::empty())),
            4 => drop(stack.send(now, id, &buffer, flags)),
            5..=7 => self.read += stack.recv(now, id, &mut buffer, MsgFlags::empty()).unwrap_or(0),
            8 => drop(stack.recv(now, id, &mut buffer, flags)),
            9 => drop(stack.send_bytes(now, id, Bytes::from(buffer), flags)),
            10 => self.read += stack.recv_bytes(now, id, buffer.len(), flags).map_or(0, |p| p.len()),
            11 => {
                if let Ok((accepted, _)) = stack.accept(now, self.sockets[0]) {
                    self.established += 1;
                    self.sockets.push(accepted);
                }
            }
            12 => {
                let _ =
                    stack.shutdown(now, id, [How::Read, How::Write, How::Both][usize::from(input.u8() % 3)]);
            }
            13 if id != self.sockets[0] => {
                let closed = if input.u8() % 4 == 0 { stack.abort(now, id) } else { stack.close(now, id) };
                if closed.is_ok() {
                    self.sockets.retain(|s| *s != id);
                }
            }
            14 => {
                let _ = (stack.getsockname(id), stack.getpeername(id), stack.soft_error(id), stack.poll(id));
                let _ =
                    (stack.tcp_info(now, id), stack.ioctl(id, Ioctl::Inq), stack.ioctl(id, Ioctl::AtMark));
                let _ = stack.connect(now, id, SocketAddr::new(PEER, u16::from(input.u8())));
            }
            _ => self.connect(),
        }
    }

    fn option(&mut self, input: &mut Input<'_>) {
        let (id, now) = (self.socket(input), self.now);
        let name = SockOptName::ALL[usize::from(input.u8()) % SockOptName::ALL.len()];
        let (level, number) = name.number();
        let value: Vec<u8> = (0..input.u8() % 20).map(|_| input.u8()).collect();
        let _ = self.stack.setsockopt_raw(now, id, level, number, &value);
        let mut out = [0; 300];
        let room = usize::from(input.u8());
        if let Ok(n) = self.stack.getsockopt_raw(now, id, level, number, &mut out[..room]) {
            assert!(n <= room);
        }
        if name == SockOptName::UserTimeout {
            // It may be as long as 49 days; that all comes to an end is to be seen sooner.
            let hour = SockOpt::UserTimeout(Duration::from_secs(3_600));
            let _ = self.stack.setsockopt(now, id, &hour);
        }
        // A program may ask for large buffers; the bounds checked here are for small ones.
        for small in [SockOpt::SndBuf(16_384), SockOpt::RcvBuf(16_384)] {
            if matches!(
                name,
                SockOptName::SndBuf
                    | SockOptName::RcvBuf
                    | SockOptName::SndBufForce
                    | SockOptName::RcvBufForce
                    | SockOptName::RcvLowat
            ) {
                let _ = self.stack.setsockopt(now, id, &small);
            }
        }
    }

    fn icmp(&mut self, input: &mut Input<'_>) {
        let Some(flow) = self.flows.get(usize::from(input.u8()) % self.flows.len().max(1)).copied() else {
            return;
        };
        let quoted = Header {
            src_port: flow.ours,
            dst_port: flow.theirs,
            seq: flow.our_una + input.offset(),
            flags: Flags::ACK,
            ..Header::default()
        };
        let offending =
            build(&IpTemplate::new(OURS, PEER), &quoted, Payload::new(), 0, ChecksumMode::Complete);
        let error = match input.u8() % 4 {
            0 => icmp::Error::Unreachable { code: input.u8() % 16 },
            1 => icmp::Error::TimeExceeded { code: input.u8() % 2 },
            _ => icmp::Error::PacketTooBig { mtu: u32::from(input.u16() % 2_000) },
        };
        if let Some(packet) = icmp::error(&IpTemplate::new(PEER, OURS), error, &offending) {
            self.stack.receive(self.now, self.interface, packet);
        }
    }

    /// Bytes that may be no TCP at all.
    fn raw(&mut self, input: &mut Input<'_>) {
        let len = usize::from(input.u8());
        let bytes: Vec<u8> = (0..len).map(|_| input.u8()).collect();
        self.stack.receive(self.now, self.interface, Packet::from_bytes(Bytes::from(bytes)));
    }

    /// Time passes, each timer at its own moment.
    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        for _ in 0..2_000 {
            let Some(at) = self.stack.next_deadline().filter(|at| *at <= end) else { break };
            self.now = at.max(self.now);
            self.stack.advance(self.now);
            self.exchange();
        }
        self.now = end.max(self.now);
        self.stack.advance(self.now);
    }

    /// What the stack sends, checked; the peer learns from it.
    fn exchange(&mut self) {
        let mut out = Vec::new();
        self.stack.transmit(self.now, &mut out, 10_000);
        // At worst two buffers of every socket, in the smallest segments.
        assert!(out.len() < 5_000, "bounded output: {}", out.len());
        assert_eq!(self.stack.transmit(self.now, &mut Vec::new(), 10), 0, "it said all");
        for (_, packet) in &out {
            match parse(packet).map(|parsed| parsed.upper) {
                Ok(Upper::Tcp(segment)) => self.learn(&segment.header, segment.data_len as u32),
                Ok(_) => {}
                // The user may have asked for a source route.
                Err(reject) => {
                    assert_eq!(reject.reason(), Malformed::SourceRouted, "what is sent is well-formed")
                }
            }
        }
        while self.stack.next_event().is_some() {}
        let population = self.stack.population();
        assert!(population.sockets <= 64 && population.half_open <= 64, "{population:?}");
        for row in self.stack.snapshot() {
            assert!(row.recv_q <= 4 * BUFFER && row.send_q <= 4 * BUFFER, "{row:?}");
        }
    }

    fn learn(&mut self, header: &Header, len: u32) {
        let (ours, theirs) = (header.src_port, header.dst_port);
        let taken =
            len + u32::from(header.flags.contains(Flags::SYN)) + u32::from(header.flags.contains(Flags::FIN));
        let known = self.flows.iter_mut().find(|f| (f.ours, f.theirs) == (ours, theirs));
        let end = header.seq + taken;
        let flow = match known {
            Some(flow) => flow,
            None => {
                if header.flags.contains(Flags::RST) || self.flows.len() >= 64 {
                    return;
                }
                let new =
                    Flow { ours, theirs, peer_nxt: SeqNum(0), our_nxt: end, our_una: header.seq, tsval: 0 };
                self.flows.push(new);
                self.flows.last_mut().expect("just pushed")
            }
        };
        if header.flags.contains(Flags::SYN) {
            (flow.our_nxt, flow.our_una) = (end, header.seq);
        } else if end.gt(flow.our_nxt) {
            flow.our_nxt = end;
        }
        if header.flags.contains(Flags::ACK) {
            flow.peer_nxt = header.ack;
        }
        if let Some(ts) = header.options.timestamps {
            flow.tsval = ts.val;
        }
    }

    /// Everything is closed, and a day passes: nothing is left.
    fn end(mut self) -> (u32, usize) {
        for id in core::mem::take(&mut self.sockets) {
            let _ = self.stack.close(self.now, id);
            self.exchange();
        }
        for _ in 0..40 {
            self.pass(Duration::from_secs(3_600));
        }
        let left = self.stack.population();
        assert_eq!(
            (left.sockets, left.connections, left.half_open, left.time_wait),
            (0, 0, 0, 0),
            "{:?}",
            self.stack.snapshot().collect::<Vec<_>>()
        );
        (self.established, self.read)
    }
}
