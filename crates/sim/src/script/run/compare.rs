//! What a script expects against what the stack sent, field by field.

use std::fmt;

use sockeye_core::wire::tcp::Flags;

use super::Ends;
use crate::script::FlagLetters;
use crate::script::ast::{Body, Direction, Ecn, IpInfo, Packet, Tcp, TcpOption};
use crate::script::icmp;

/// A field in which two packets differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field.
    pub field: &'static str,
    /// What the script says.
    pub expected: String,
    /// What the stack sent.
    pub actual: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, actual {}", self.field, self.expected, self.actual)
    }
}

/// All fields in which `actual`, in the script's numbers, is not what `expected` says. What `expected` leaves open
/// is not compared. `ports` are source and destination of `actual`, 0 for ICMP.
pub fn differences(expected: &Packet, actual: &Packet, ends: &Ends, ports: (u16, u16)) -> Vec<Difference> {
    let mut out = Differences(Vec::new());
    if let Some(header) = expected.encapsulation.first() {
        out.add("encapsulation", header.to_string(), "none".to_owned());
    }
    out.ip(&expected.ip, &actual.ip);
    match (&expected.body, &actual.body) {
        (Body::Tcp(e), Body::Tcp(a)) => {
            out.ports(e.ports, ends, ports);
            out.tcp(e, a);
        }
        (Body::Udp { ports: e, len }, Body::Udp { len: a, .. }) => {
            out.ports(*e, ends, ports);
            out.field("length", len, a);
        }
        (Body::Icmp(e), Body::Icmp(a)) => {
            let v6 = ends.local.is_ipv6();
            let wanted = icmp::numbers(&e.kind, e.code.as_deref(), v6);
            if wanted.is_none() || wanted != icmp::numbers(&a.kind, a.code.as_deref(), v6) {
                out.add("type and code", e.to_string(), a.to_string());
            }
            if e.mtu.is_some() {
                out.field("mtu", &star(e.mtu), &star(a.mtu));
            }
        }
        (e, a) => out.add("protocol", e.to_string(), a.to_string()),
    }
    out.0
}

/// `expected` with what it says about a run of segments that came instead of one: as segment `index` of them it has
/// those sequence numbers, and PSH and FIN only on the last.
pub fn part(expected: &Tcp, from: u32, len: u32) -> Tcp {
    let mut part = expected.clone();
    let start = expected.seq.start.wrapping_add(from);
    part.seq.start = start;
    part.seq.len = len;
    part.seq.end = start.wrapping_add(len);
    if from + len < expected.seq.len {
        part.flags -= Flags::PSH | Flags::FIN;
    }
    part
}

struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, field: &'static str, expected: String, actual: String) {
        self.0.push(Difference { field, expected, actual });
    }

    fn field<T: PartialEq + fmt::Display>(&mut self, field: &'static str, expected: &T, actual: &T) {
        if expected != actual {
            self.add(field, expected.to_string(), actual.to_string());
        }
    }

    fn ip(&mut self, expected: &IpInfo, actual: &IpInfo) {
        if let (Some(e), Some(a)) = (expected.ecn, actual.ecn) {
            let fits = e == a || (e == Ecn::Ect01 && matches!(a, Ecn::Ect0 | Ecn::Ect1));
            if !fits {
                self.add("ecn", e.to_string(), a.to_string());
            }
        }
        if let (Some(e), Some(a)) = (expected.tos, actual.tos) {
            if e != a {
                self.add("tos", format!("{e:#x}"), format!("{a:#x}"));
            }
        }
        if expected.ttl.is_some() {
            self.field("ttl", &star(expected.ttl), &star(actual.ttl));
        }
        if expected.flow_label.is_some() {
            self.field("flowlabel", &star(expected.flow_label), &star(actual.flow_label));
        }
    }

    fn ports(&mut self, expected: Option<(u16, u16)>, ends: &Ends, actual: (u16, u16)) {
        let (src, dst) = expected.unwrap_or(ends.ports(Direction::Outbound));
        self.field("source port", &src, &actual.0);
        self.field("destination port", &dst, &actual.1);
    }

    fn tcp(&mut self, expected: &Tcp, actual: &Tcp) {
        if expected.flags != actual.flags {
            let letters = |flags| FlagLetters { flags, ace: expected.ace }.to_string();
            self.add("flags", letters(expected.flags), letters(actual.flags));
        }
        self.field("seq", &expected.seq, &actual.seq);
        // A segment written without `ack` has 0 in that field.
        self.field("ack", &expected.ack.unwrap_or(0), &actual.ack.unwrap_or(0));
        if expected.window.is_some() {
            self.field("win", &star(expected.window), &star(actual.window));
        }
        self.field("urg", &expected.urgent.unwrap_or(0), &actual.urgent.unwrap_or(0));
        if expected.gso.is_some() {
            self.field("gso", &star(expected.gso), &star(actual.gso));
        }
        if let (Some(e), Some(a)) = (&expected.options, &actual.options) {
            self.options(e, a);
        }
    }

    /// Each option at its place; the first place that differs is shown between its neighbours.
    fn options(&mut self, expected: &[TcpOption], actual: &[TcpOption]) {
        let same =
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(e, a)| option_fits(e, a));
        if same {
            return;
        }
        let wrong = expected.iter().zip(actual).take_while(|(e, a)| option_fits(e, a)).count();
        let show = |list: &[TcpOption]| {
            let words: Vec<String> = list
                .iter()
                .enumerate()
                .map(|(i, option)| if i == wrong { format!(">>{option}<<") } else { option.to_string() })
                .collect();
            format!("<{}>", words.join(","))
        };
        self.add("options", show(expected), show(actual));
    }
}

/// Whether an option is what the script wrote, wildcards allowed.
fn option_fits(expected: &TcpOption, actual: &TcpOption) -> bool {
    match (expected, actual) {
        (TcpOption::Timestamps { val: ev, ecr: ee }, TcpOption::Timestamps { val: av, ecr: ae }) => {
            (ev.is_none() || ev == av) && (ee.is_none() || ee == ae)
        }
        (TcpOption::Md5(None), TcpOption::Md5(_)) => true,
        (e, a) => e == a,
    }
}

fn star<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}
