//! What a script says, as values.
//!
//! Two scripts that say the same are equal as far as these values go; only [`Event`] and [`Command`] know where
//! they stand. Everything prints as the language writes it (see `print.rs`).

use std::net::IpAddr;
use std::time::Duration;

use sockeye_core::wire::tcp::Flags;

use super::config::Config;
use super::error::{Result, Source, Span};
use super::python::Program;
use super::shell::Setting;

/// A whole script.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// The text, for messages.
    pub source: Source,
    /// The `--name=value` lines at its top, in order.
    pub options: Vec<OptionLine>,
    /// Shell commands before the first event.
    pub init: Vec<Command>,
    /// The events, in order.
    pub events: Vec<Event>,
    /// Shell commands after the last event, run whatever happened.
    pub cleanup: Vec<Command>,
}

impl Script {
    /// The configuration of a run: `base` with this script's option lines on top.
    pub fn config(&self, base: &Config) -> Result<Config> {
        base.with(&self.options)
            .map_err(|(line, expected)| self.source.error(line.span.start, format!("'{line}'"), expected))
    }
}

/// `--name=value`, or `--name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionLine {
    /// Without the dashes.
    pub name: String,
    /// What follows the `=`, unquoted.
    pub value: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its line, from 1.
    pub line: u32,
    /// Where it stands, its time included.
    pub span: Span,
    /// When.
    pub time: EventTime,
    /// What.
    pub action: Action,
}

/// When an event happens. "Relative" counts from the time of the event before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTime {
    /// `0.1`: that long after the start.
    Absolute(Duration),
    /// `+0.1`.
    Relative(Duration),
    /// `0.1~0.2`: not before the first, not after the second.
    AbsoluteRange(Duration, Duration),
    /// `+0.1~+0.2`.
    RelativeRange(Duration, Duration),
    /// `*`: whenever.
    Any,
}

/// What an event does or expects.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A packet that is injected, or expected.
    Packet(Box<Packet>),
    /// A call.
    Call(Call),
    /// A shell command.
    Shell(Command),
    /// Assertions.
    Code(CodeBlock),
}

/// A backquoted shell command, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// As written.
    pub text: String,
    /// What it does to the stack.
    pub settings: Vec<Setting>,
    /// Where it stands.
    pub span: Span,
}

/// A `%{ }%` block.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeBlock {
    /// As written.
    pub text: String,
    /// Parsed.
    pub program: Program,
}

/// A call and what it returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name: `socket`, `read` ...
    pub name: String,
    /// For a call that blocks: when it returns, on the same clock as the event's time. None: at once.
    pub end: Option<Duration>,
    /// Its arguments; results that come back through pointers stand among them.
    pub args: Vec<Expr>,
    /// What it returns.
    pub result: Expr,
    /// The symbolic errno, if it fails.
    pub errno: Option<String>,
    /// The remark in parentheses: an error's message or a meaning of the result. Says nothing.
    pub note: Option<String>,
}

/// A value in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// `...`: do not care, or choose something fitting.
    Any,
    /// A number.
    Int {
        /// Its value; numbers above `i64::MAX` wrap, as they do in a C `long`.
        value: i64,
        /// Whether it is written in hexadecimal.
        hex: bool,
    },
    /// A string, escapes resolved; `open` if `...` follows it directly: more bytes come after.
    Str {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether it is only the beginning.
        open: bool,
    },
    /// A constant by name.
    Symbol(String),
    /// `-a`, `~a`.
    Unary(char, Box<Expr>),
    /// `a | b`, and in parentheses or arguments also `& ^ + - * /`.
    Binary(char, Box<Expr>, Box<Expr>),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `{a = 1, b = 2}`, `{..., 1000}`.
    Struct(Vec<Field>),
    /// `htons(80)`, `inet_addr("10.0.0.1")`.
    Call(String, Vec<Expr>),
}

/// One member of a struct literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name; members of an iovec have none.
    pub name: Option<String>,
    /// What stands in parentheses after the name: the length in `msg_iov(2)=[...]`.
    pub arg: Option<Expr>,
    /// Its value.
    pub value: Expr,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `<`: injected.
    Inbound,
    /// `>`: expected from the stack.
    Outbound,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which way.
    pub direction: Direction,
    /// Headers outside the innermost IP header, outermost first.
    pub encapsulation: Vec<Encapsulation>,
    /// What is said of the innermost IP header.
    pub ip: IpInfo,
    /// What the packet carries.
    pub body: Body,
}

/// A header around the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// `ipv4 A > B:` or `ipv6 A > B:`.
    Ip {
        /// Source.
        src: IpAddr,
        /// Destination, of the same family.
        dst: IpAddr,
    },
    /// `gre:` or `gre flags 0x2000, proto 0x800, key 0x1:`, fields in the order written.
    Gre(Vec<(String, u32)>),
    /// `mpls (label 16, tc 0, [S], ttl 64):`, outermost first.
    Mpls(Vec<MplsLabel>),
}

/// One entry of an MPLS label stack (RFC 3032).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MplsLabel {
    /// 20 bits.
    pub label: u32,
    /// 3 bits.
    pub traffic_class: u8,
    /// Whether it is the last.
    pub bottom: bool,
    /// Time to live.
    pub ttl: u8,
}

/// What is said of the IP header; what is not said is chosen (inbound) or not checked (outbound).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct IpInfo {
    /// The ECN bits.
    pub ecn: Option<Ecn>,
    /// `tos 0x10`: the whole octet, ECN bits included.
    pub tos: Option<u8>,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: Option<u8>,
    /// IPv6 flow label, 20 bits.
    pub flow_label: Option<u32>,
}

/// The ECN field (RFC 3168 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// `noecn`: 00.
    NotEct,
    /// `ect0`: 10.
    Ect0,
    /// `ect1`: 01.
    Ect1,
    /// `ect01`: 10 or 01, for expected packets only.
    Ect01,
    /// `ce`: 11.
    Ce,
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Tcp),
    /// `udp (1000)`.
    Udp {
        /// Source and destination port.
        ports: Option<(u16, u16)>,
        /// Payload bytes.
        len: u32,
    },
    /// An ICMP message.
    Icmp(Icmp),
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source and destination port, where it is not those of the connection.
    pub ports: Option<(u16, u16)>,
    /// The control bits.
    pub flags: Flags,
    /// Whether the three ECN bits are written as a number (the ACE field, RFC 9768).
    pub ace: bool,
    /// Sequence numbers.
    pub seq: SeqRange,
    /// The acknowledgment number, relative to the peer's initial sequence number.
    pub ack: Option<u32>,
    /// The window as it stands on the wire.
    pub window: Option<u16>,
    /// The urgent pointer as it stands on the wire.
    pub urgent: Option<u16>,
    /// The options in order; none for `<...>`, whatever they are.
    pub options: Option<Vec<TcpOption>>,
    /// `gso 1000`: payload bytes of each segment of the super-segment that this is.
    pub gso: Option<u16>,
}

/// `start:end(len)`, relative to the sender's initial sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SeqRange {
    /// First sequence number.
    pub start: u32,
    /// The one after the last byte of payload; SYN and FIN do not count.
    pub end: u32,
    /// Payload bytes.
    pub len: u32,
}

/// A TCP option, as it is written and laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// `eol`
    Eol,
    /// `nop`
    Nop,
    /// `mss 1460`
    Mss(u16),
    /// `wscale 7`
    WindowScale(u8),
    /// `sackOK`
    SackPermitted,
    /// `sack 1:1001 2001:3001`, relative to the initial sequence number of the data's sender.
    Sack(Vec<(u32, u32)>),
    /// `TS val 100 ecr 0`
    Timestamps {
        /// TSval; none for `*`.
        val: Option<u32>,
        /// TSecr; none for `*`.
        ecr: Option<u32>,
    },
    /// `md5`, `md5 0011...`: RFC 2385; none: whatever digest is right.
    Md5(Option<[u8; 16]>),
    /// `FO`, `FO 0123456789abcdef`: RFC 7413.
    FastOpen(Vec<u8>),
    /// `FOEXP`: the same under the experimental kind 254 with its magic number.
    FastOpenExp(Vec<u8>),
    /// `ECN e0b 1 ceb 0 e1b 1`: AccECN (RFC 9768 3.2.3).
    AccEcn {
        /// Whether the counter of ECT(1) comes first: kind 174, else 172.
        e1b_first: bool,
        /// The counters in the order of the wire, 24 bits each; the tail may be missing.
        counters: Vec<u32>,
    },
    /// `raw 1e04...`: these bytes, whatever they are (a word of ours, for options that are unknown or broken).
    Raw(Vec<u8>),
}

impl TcpOption {
    /// Bytes that the option takes in a header.
    pub fn wire_len(&self) -> usize {
        match self {
            TcpOption::Eol | TcpOption::Nop => 1,
            TcpOption::Mss(_) => 4,
            TcpOption::WindowScale(_) => 3,
            TcpOption::SackPermitted => 2,
            TcpOption::Sack(blocks) => 2 + 8 * blocks.len(),
            TcpOption::Timestamps { .. } => 10,
            TcpOption::Md5(_) => 18,
            TcpOption::FastOpen(cookie) => 2 + cookie.len(),
            TcpOption::FastOpenExp(cookie) => 4 + cookie.len(),
            TcpOption::AccEcn { counters, .. } => 2 + 3 * counters.len(),
            TcpOption::Raw(bytes) => bytes.len(),
        }
    }
}

/// An ICMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Its type by name; what number that is depends on the IP version.
    pub kind: String,
    /// Its code by name or number.
    pub code: Option<String>,
    /// `mtu 1200`.
    pub mtu: Option<u32>,
    /// The packet of the stack that it is about; the last one sent if not said.
    pub quoted: Option<Quoted>,
}

/// The packet that an ICMP error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoted {
    /// `[1:1461(1460)]`: a TCP segment of the connection.
    Tcp(SeqRange),
    /// `[udp (1000)]`.
    Udp(u32),
}
