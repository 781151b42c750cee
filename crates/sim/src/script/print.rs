//! A script's values as the language writes them: for messages, and to compare like with like.

use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

use sockeye_core::wire::tcp::Flags;

use super::ast::{
    Action, Body, Call, Direction, Ecn, Encapsulation, Event, EventTime, Expr, Field, Icmp, IpInfo,
    OptionLine, Packet, Quoted, Script, SeqRange, Tcp, TcpOption,
};

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for option in &self.options {
            writeln!(f, "{option}")?;
        }
        for command in &self.init {
            writeln!(f, "`{}`", command.text)?;
        }
        for event in &self.events {
            writeln!(f, "{event}")?;
        }
        for command in &self.cleanup {
            writeln!(f, "`{}`", command.text)?;
        }
        Ok(())
    }
}

impl Display for OptionLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "--{}", self.name)?;
        match &self.value {
            Some(value) if value.is_empty() || value.contains([' ', '\t', '\n']) => write!(f, "=\"{value}\""),
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time)?;
        if let Action::Call(Call { end: Some(end), .. }) = &self.action {
            write!(f, "...{}", Seconds(*end))?;
        }
        match &self.action {
            Action::Packet(packet) => write!(f, " {packet}"),
            Action::Call(call) => write!(f, " {call}"),
            Action::Shell(command) => write!(f, " `{}`", command.text),
            Action::Code(code) => write!(f, " %{{{}}}%", code.text),
        }
    }
}

impl Display for EventTime {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            EventTime::Absolute(at) => write!(f, "{}", Seconds(at)),
            EventTime::Relative(at) => write!(f, "+{}", Seconds(at)),
            EventTime::AbsoluteRange(from, to) => write!(f, "{}~{}", Seconds(from), Seconds(to)),
            EventTime::RelativeRange(from, to) => write!(f, "+{}~+{}", Seconds(from), Seconds(to)),
            EventTime::Any => f.write_str("*"),
        }
    }
}

/// A duration in seconds, with as many decimals as it has.
pub(crate) struct Seconds(pub Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos());
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}) = {}", self.name, Commas(&self.args), self.result)?;
        if let Some(errno) = &self.errno {
            write!(f, " {errno}")?;
        }
        match &self.note {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

/// Values with `, ` between them.
struct Commas<'a, T>(&'a [T]);

impl<T: Display> Display for Commas<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Any => f.write_str("..."),
            Expr::Int { value, hex: true } => write!(f, "{value:#x}"),
            Expr::Int { value, hex: false } => write!(f, "{value}"),
            Expr::Str { bytes, open } => {
                write!(f, "\"{}\"{}", bytes.escape_ascii(), if *open { "..." } else { "" })
            }
            Expr::Symbol(name) => f.write_str(name),
            Expr::Unary(op, a) => write!(f, "{op}{}", Operand(a)),
            Expr::Binary('|', a, b) if !nested(b) => write!(f, "{a}|{}", Operand(b)),
            Expr::Binary(op, a, b) => write!(f, "({} {op} {})", Operand(a), Operand(b)),
            Expr::List(items) => write!(f, "[{}]", Commas(items)),
            Expr::Struct(fields) => write!(f, "{{{}}}", Commas(fields)),
            Expr::Call(name, args) => write!(f, "{name}({})", Commas(args)),
        }
    }
}

fn nested(expr: &Expr) -> bool {
    matches!(expr, Expr::Binary('|', ..))
}

/// An operand: in parentheses where it has an operator of its own.
struct Operand<'a>(&'a Expr);

impl Display for Operand<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            inner if nested(inner) => write!(f, "({inner})"),
            inner => write!(f, "{inner}"),
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            f.write_str(name)?;
            if let Some(arg) = &self.arg {
                write!(f, "({arg})")?;
            }
            f.write_char('=')?;
        }
        write!(f, "{}", self.value)
    }
}

impl Display for Packet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.direction {
            Direction::Inbound => "<",
            Direction::Outbound => ">",
        })?;
        for header in &self.encapsulation {
            write!(f, " {header}:")?;
        }
        write!(f, "{} {}", self.ip, self.body)
    }
}

impl Display for Encapsulation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Encapsulation::Ip { src, dst } => {
                write!(f, "{} {src} > {dst}", if src.is_ipv4() { "ipv4" } else { "ipv6" })
            }
            Encapsulation::Gre(fields) => {
                f.write_str("gre")?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{} {name} {value:#x}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Encapsulation::Mpls(labels) => {
                f.write_str("mpls")?;
                for (i, label) in labels.iter().enumerate() {
                    let bottom = if label.bottom { " [S]," } else { "" };
                    let comma = if i == 0 { "" } else { "," };
                    write!(
                        f,
                        "{comma} (label {}, tc {},{bottom} ttl {})",
                        label.label, label.traffic_class, label.ttl
                    )?;
                }
                Ok(())
            }
        }
    }
}

impl Display for IpInfo {
    /// A blank and brackets, or nothing at all.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(ecn) = self.ecn {
            parts.push(ecn.to_string());
        }
        if let Some(tos) = self.tos {
            parts.push(format!("tos {tos:#x}"));
        }
        if let Some(ttl) = self.ttl {
            parts.push(format!("ttl {ttl}"));
        }
        if let Some(label) = self.flow_label {
            parts.push(format!("flowlabel {label:#x}"));
        }
        if parts.is_empty() { Ok(()) } else { write!(f, " [{}]", Commas(&parts)) }
    }
}

impl Display for Ecn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ecn::NotEct => "noecn",
            Ecn::Ect0 => "ect0",
            Ecn::Ect1 => "ect1",
            Ecn::Ect01 => "ect01",
            Ecn::Ce => "ce",
        })
    }
}

impl Display for Body {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Body::Tcp(tcp) => write!(f, "{tcp}"),
            Body::Udp { ports, len } => {
                write_ports(*ports, f)?;
                write!(f, "udp ({len})")
            }
            Body::Icmp(icmp) => write!(f, "{icmp}"),
        }
    }
}

fn write_ports(ports: Option<(u16, u16)>, f: &mut Formatter<'_>) -> fmt::Result {
    match ports {
        Some((src, dst)) => write!(f, "{src} > {dst} "),
        None => Ok(()),
    }
}

impl Display for Tcp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_ports(self.ports, f)?;
        write!(f, "{} {}", FlagLetters { flags: self.flags, ace: self.ace }, self.seq)?;
        if let Some(ack) = self.ack {
            write!(f, " ack {ack}")?;
        }
        if let Some(window) = self.window {
            write!(f, " win {window}")?;
        }
        if let Some(urgent) = self.urgent {
            write!(f, " urg {urgent}")?;
        }
        match &self.options {
            None => f.write_str(" <...>")?,
            Some(options) if options.is_empty() => {}
            Some(options) => write!(f, " <{}>", OptionList(options))?,
        }
        match self.gso {
            Some(gso) => write!(f, " gso {gso}"),
            None => Ok(()),
        }
    }
}

/// The control bits as letters: `SEWA`, `FP.`; `-` if there are none.
#[derive(Clone, Copy, Debug)]
pub struct FlagLetters {
    /// The bits.
    pub flags: Flags,
    /// Write the three ECN bits as one number.
    pub ace: bool,
}

impl FlagLetters {
    /// Each letter with its bit, in the order they are printed.
    pub const LETTERS: [(char, Flags); 9] = [
        ('F', Flags::FIN),
        ('S', Flags::SYN),
        ('R', Flags::RST),
        ('P', Flags::PSH),
        ('U', Flags::URG),
        ('E', Flags::ECE),
        ('W', Flags::CWR),
        ('A', Flags::AE),
        ('.', Flags::ACK),
    ];

    /// The three bits that the ACE field is made of, lowest first.
    pub const ACE: [Flags; 3] = [Flags::ECE, Flags::CWR, Flags::AE];
}

impl Display for FlagLetters {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.flags.is_empty() && !self.ace {
            return f.write_char('-');
        }
        for (letter, flag) in Self::LETTERS {
            if letter == '.' && self.ace {
                let bits = Self::ACE.iter().enumerate();
                let number: u32 = bits.map(|(i, &bit)| u32::from(self.flags.contains(bit)) << i).sum();
                write!(f, "{number}")?;
            }
            if self.flags.contains(flag) && !(self.ace && Self::ACE.contains(&flag)) {
                f.write_char(letter)?;
            }
        }
        Ok(())
    }
}

impl Display for SeqRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}({})", self.start, self.end, self.len)
    }
}

/// Options with commas and no blanks between them.
pub(crate) struct OptionList<'a>(pub &'a [TcpOption]);

impl Display for OptionList<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, option) in self.0.iter().enumerate() {
            write!(f, "{}{option}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Display for TcpOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TcpOption::Eol => f.write_str("eol"),
            TcpOption::Nop => f.write_str("nop"),
            TcpOption::Mss(mss) => write!(f, "mss {mss}"),
            TcpOption::WindowScale(shift) => write!(f, "wscale {shift}"),
            TcpOption::SackPermitted => f.write_str("sackOK"),
            TcpOption::Sack(blocks) => {
                f.write_str("sack")?;
                blocks.iter().try_for_each(|(left, right)| write!(f, " {left}:{right}"))
            }
            TcpOption::Timestamps { val, ecr } => write!(f, "TS val {} ecr {}", star(*val), star(*ecr)),
            TcpOption::Md5(digest) => {
                f.write_str("md5")?;
                write_hex(digest.as_ref().map_or(&[], |digest| &digest[..]), f)
            }
            TcpOption::FastOpen(cookie) => {
                f.write_str("FO")?;
                write_hex(cookie, f)
            }
            TcpOption::FastOpenExp(cookie) => {
                f.write_str("FOEXP")?;
                write_hex(cookie, f)
            }
            TcpOption::AccEcn { e1b_first, counters } => {
                f.write_str("ECN")?;
                let names = if *e1b_first { ["e1b", "ceb", "e0b"] } else { ["e0b", "ceb", "e1b"] };
                names.iter().zip(counters).try_for_each(|(name, n)| write!(f, " {name} {n}"))
            }
            TcpOption::Raw(bytes) => {
                f.write_str("raw")?;
                write_hex(bytes, f)
            }
        }
    }
}

fn star(value: Option<u32>) -> String {
    value.map_or_else(|| "*".to_owned(), |value| value.to_string())
}

fn write_hex(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    for (i, byte) in bytes.iter().enumerate() {
        write!(f, "{}{byte:02x}", if i == 0 { " " } else { "" })?;
    }
    Ok(())
}

impl Display for Icmp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "icmp {}", self.kind)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        match self.quoted {
            None => Ok(()),
            Some(Quoted::Tcp(seq)) => write!(f, " [{seq}]"),
            Some(Quoted::Udp(len)) => write!(f, " [udp ({len})]"),
        }
    }
}
