//! A stack with one interface, and a peer that speaks by hand, in virtual time.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

use crate::config::{Config, Profile};
use crate::packet::{Packet, Payload};
use crate::socket::{Domain, SocketId};
use crate::stack::{Cidr, Interface, InterfaceId, SocketFlags, Stack};
use crate::tcp::{SeqNum, State, Tuple};
use crate::time::{Duration, Instant};
use crate::wire::ip::IpTemplate;
use crate::wire::tcp::{self, ChecksumMode, Flags, Header, Timestamps};
use crate::wire::{IpHeader, Upper};

/// The stack's address.
pub const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// The peer's.
pub const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn tuple(local: &str, remote: &str) -> Tuple {
    Tuple { local: addr(local), remote: addr(remote) }
}

/// A segment of the scripted peer.
#[derive(Clone)]
pub struct Seg {
    pub from: SocketAddr,
    pub at: SocketAddr,
    pub hdr: Header,
    pub data: Vec<u8>,
    pub ttl: u8,
    pub tos: u8,
    pub ip_options: Vec<u8>,
}

impl Seg {
    pub fn new(flags: Flags, seq: u32, ack: u32) -> Seg {
        let hdr = Header { seq: SeqNum(seq), ack: SeqNum(ack), flags, window: 65_535, ..Header::default() };
        Seg {
            from: SocketAddr::new(B, 4_000),
            at: SocketAddr::new(A, 80),
            hdr,
            data: Vec::new(),
            ttl: 64,
            tos: 0,
            ip_options: Vec::new(),
        }
    }

    pub fn syn(seq: u32) -> Seg {
        Seg::new(Flags::SYN, seq, 0)
    }

    pub fn ack(seq: u32, ack: u32) -> Seg {
        Seg::new(Flags::ACK, seq, ack)
    }

    pub fn from(mut self, from: SocketAddr) -> Seg {
        self.from = from;
        self
    }

    /// To this port of the stack's address in the family of the source.
    pub fn to(mut self, port: u16) -> Seg {
        let ip = if self.from.is_ipv4() { A } else { "fd00::1".parse().unwrap() };
        self.at = SocketAddr::new(ip, port);
        self
    }

    pub fn at(mut self, at: SocketAddr) -> Seg {
        self.at = at;
        self
    }

    pub fn mss(mut self, mss: u16) -> Seg {
        self.hdr.options.mss = Some(mss);
        self
    }

    pub fn scale(mut self, scale: u8) -> Seg {
        self.hdr.options.window_scale = Some(scale);
        self
    }

    pub fn sack(mut self) -> Seg {
        self.hdr.options.sack_permitted = true;
        self
    }

    pub fn ts(mut self, val: u32, ecr: u32) -> Seg {
        self.hdr.options.timestamps = Some(Timestamps { val, ecr });
        self
    }

    pub fn data(mut self, data: &[u8]) -> Seg {
        self.data = data.to_vec();
        self
    }

    pub fn packet(&self) -> Packet {
        let template = IpTemplate {
            hop_limit: self.ttl,
            traffic_class: self.tos,
            ip_options: &self.ip_options,
            ..IpTemplate::new(self.from.ip(), self.at.ip())
        };
        let hdr = Header { src_port: self.from.port(), dst_port: self.at.port(), ..self.hdr };
        let data = Payload::from(Bytes::from(self.data.clone()));
        tcp::build(&template, &hdr, data, 0, ChecksumMode::Complete)
    }
}

/// A segment that the stack sent.
#[derive(Clone, Debug)]
pub struct Got {
    pub ip: IpHeader,
    pub hdr: Header,
    pub data: Vec<u8>,
}

impl Got {
    pub fn src(&self) -> SocketAddr {
        SocketAddr::new(self.ip.src, self.hdr.src_port)
    }

    pub fn dst(&self) -> SocketAddr {
        SocketAddr::new(self.ip.dst, self.hdr.dst_port)
    }
}

pub struct Net {
    pub stack: Stack,
    pub link: InterfaceId,
    pub now: Instant,
    /// Packets that are no TCP segments.
    pub others: VecDeque<Packet>,
}

impl Net {
    pub fn new() -> Net {
        Net::with_config(Config::default())
    }

    pub fn profile(profile: Profile) -> Net {
        Net::with_config(Config::new(profile))
    }

    pub fn with_config(config: Config) -> Net {
        let mut stack = Stack::new(config, [42; 32]);
        let addresses = alloc::vec![Cidr::new(A, 24), Cidr::new("fd00::1".parse().unwrap(), 64)];
        let link = stack.add_interface(Interface::new("eth0", 1_500, addresses));
        let default = crate::stack::Route {
            destination: Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            gateway: Some(B),
            interface: link,
            metric: 0,
            mtu: None,
        };
        stack.add_route(default).unwrap();
        Net { stack, link, now: Instant::from_secs(1_000), others: VecDeque::new() }
    }

    pub fn socket(&mut self) -> SocketId {
        self.stack.new_socket(Domain::INET, SocketFlags::empty()).unwrap()
    }

    pub fn listen(&mut self, port: u16, backlog: i32) -> SocketId {
        let id = self.stack.new_socket(Domain::INET6, SocketFlags::empty()).unwrap();
        self.stack.bind_socket(id, SocketAddr::new("::".parse().unwrap(), port)).unwrap();
        self.stack.listen_socket(id, backlog).unwrap();
        id
    }

    pub fn inject(&mut self, seg: &Seg) {
        self.receive(seg.packet());
    }

    pub fn receive(&mut self, packet: Packet) {
        self.stack.receive(self.now, self.link, packet);
    }

    /// All packets that the stack sends now.
    pub fn packets(&mut self) -> Vec<Packet> {
        let mut out = Vec::new();
        while self.stack.transmit(self.now, &mut out, 64) == 64 {}
        out.into_iter().map(|(_, packet)| packet).collect()
    }

    /// All segments that the stack sends now; other packets are kept in `others`.
    pub fn take(&mut self) -> Vec<Got> {
        let mut got = Vec::new();
        for packet in self.packets() {
            let parsed = crate::wire::parse(&packet).expect("what the stack sends is well-formed");
            match parsed.upper {
                Upper::Tcp(seg) => {
                    let mut data = alloc::vec![0; seg.data_len];
                    seg.take_payload(packet).copy_to(0, &mut data);
                    got.push(Got { ip: parsed.ip, hdr: seg.header, data });
                }
                _ => self.others.push_back(packet),
            }
        }
        got
    }

    /// The one segment that the stack sends now.
    pub fn one(&mut self) -> Got {
        let mut got = self.take();
        assert_eq!(got.len(), 1, "{got:#?}");
        got.remove(0)
    }

    pub fn nothing(&mut self) {
        let got = self.take();
        assert!(got.is_empty(), "{got:#?}");
    }

    /// The peer resets what it got.
    pub fn reply_rst(&mut self, got: &Got) {
        let len = u32::from(got.hdr.flags.contains(Flags::SYN));
        let rst = Seg::new(Flags::RST | Flags::ACK, 0, (got.hdr.seq + len).0).from(got.dst()).at(got.src());
        self.inject(&rst);
    }

    /// Lets time pass, from one deadline to the next; what is sent meanwhile is dropped.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        self.advance_with(end, |_, _| {});
    }

    /// Lets time pass until `end`, showing each segment and its time to `see`.
    pub fn advance_with(&mut self, end: Instant, mut see: impl FnMut(Instant, Got)) {
        loop {
            let next = self.stack.next_deadline().filter(|&at| at <= end);
            self.now = next.map_or(end, |at| at.max(self.now));
            self.stack.advance(self.now);
            for got in self.take() {
                see(self.now, got);
            }
            if next.is_none() {
                return;
            }
        }
    }

    /// A client of the scripted peer connects from `from` to `port`; its first data byte is 1,001. Returns
    /// the stack's first number.
    pub fn connect_peer(&mut self, from: SocketAddr, port: u16) -> u32 {
        self.inject(&Seg::syn(1_000).from(from).to(port).mss(1_460));
        let mut sent = self.take().into_iter();
        let answer = sent.find(|got| got.dst() == from && got.hdr.flags == Flags::SYN | Flags::ACK);
        let answer = answer.expect("a SYN-ACK");
        let next = answer.hdr.seq.0.wrapping_add(1);
        self.inject(&Seg::ack(1_001, next).from(from).to(port));
        next
    }

    pub fn state(&self, id: SocketId) -> State {
        self.stack.connection(id).unwrap().state()
    }
}
