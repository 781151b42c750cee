//! The packets of a script: those it injects and those it expects.

use std::time::Duration;

use sockeye_core::wire::tcp::Flags;
use sockeye_core::{Instant, Packet as Raw, Profile};

use super::compare::{Difference, part};
use super::runner::{Due, Runner, Sent, Step};
use super::{Ends, Seen, differences, encode, pattern};
use crate::script::ast::{Body, IpInfo, Packet, Tcp, TcpOption};

impl Runner<'_> {
    /// Injects a packet.
    pub fn inject(&mut self, packet: &Packet) -> Step<()> {
        let ports = match &packet.body {
            Body::Tcp(tcp) => tcp.ports,
            Body::Udp { ports, .. } => *ports,
            Body::Icmp(_) => None,
        };
        let flow = self.flows.inbound(ports);
        if let Body::Tcp(tcp) = &packet.body {
            if tcp.flags.contains(Flags::SYN) {
                flow.fresh = true;
                flow.remote_start = tcp.seq.start;
            }
            self.setup.urgent |= tcp.flags.contains(Flags::URG);
        }
        let bytes = encode(packet, &flow.ends, &flow.map).map_err(|what| self.fail(what))?;
        // What is longer than --mss comes as the super-segment that a receiver's GRO would have made of it.
        let gso_size = match &packet.body {
            Body::Tcp(Tcp { gso: Some(size), .. }) => *size,
            Body::Tcp(tcp) if self.config.mss > 0 && tcp.seq.len > u32::from(self.config.mss) => {
                self.config.mss
            }
            _ => 0,
        };
        #[cfg(target_os = "linux")]
        if let Some(kernel) = &mut self.kernel {
            let sent = kernel.send(bytes, gso_size);
            self.note(self.now, Some(self.line()), packet.to_string());
            return sent.map_err(|error| self.fail(format!("the interface: {error}")));
        }
        let mut raw = Raw::from_bytes(bytes.into());
        raw.gso_size = gso_size;
        self.note(self.now, Some(self.line()), packet.to_string());
        self.stack.receive(self.now, self.interface, raw);
        Ok(())
    }

    /// Waits for a packet and compares it; when it came, since the script's start.
    pub fn expect(&mut self, expected: &Packet, due: Due) -> Step<Duration> {
        let limit = self.instant(due.to + self.tolerance(&due));
        let Body::Tcp(tcp) = &expected.body else {
            let sent = self.wait_for(expected, limit)?;
            return self.compare(expected, sent, due);
        };
        let mut whole = tcp.clone();
        let gso = whole.gso.take();
        let mut done = 0;
        let mut at;
        loop {
            let sent = self.wait_for(expected, limit)?;
            // One segment of the script may be several on the wire, as a kernel sends them whole to be cut later.
            let len = match &sent.seen.packet.body {
                Body::Tcp(actual) if done + actual.seq.len < whole.seq.len && actual.seq.len > 0 => {
                    actual.seq.len
                }
                _ => whole.seq.len - done,
            };
            if gso.is_some_and(|gso| len != u32::from(gso) && done + len < whole.seq.len) {
                return Err(self.fail(format!(
                    "a segment of {len} bytes where gso {} says another size",
                    gso.unwrap_or(0)
                )));
            }
            let mut segment = part(&whole, done, len);
            if len < whole.seq.len && self.profile == Profile::Linux {
                leave_push_open(&mut segment, &sent.seen);
            }
            let wanted = Packet { body: Body::Tcp(segment), ..expected.clone() };
            at = self.compare(&wanted, sent, due)?;
            done += len;
            if done >= whole.seq.len {
                return Ok(at);
            }
        }
    }

    fn wait_for(&mut self, expected: &Packet, limit: Instant) -> Step<Sent> {
        match self.next_sent(limit)? {
            Some(sent) => Ok(sent),
            None => {
                self.now = self.now.max(limit);
                Err(self.fail(format!("no packet came; expected {expected}")))
            }
        }
    }

    /// Compares one packet with what is expected, to the field and the time.
    fn compare(&mut self, expected: &Packet, sent: Sent, due: Due) -> Step<Duration> {
        let at = sent.at.since(self.instant(Duration::ZERO));
        let actual = self.in_script_numbers(expected, &sent.seen);
        let ends = Ends { local: sent.seen.src, remote: sent.seen.dst };
        let flow = self.flows.outbound(ports_of(expected), ends).ends;
        let mut found = differences(expected, &actual, &flow, (ends.local.port(), ends.remote.port()));
        if (ends.local.ip(), ends.remote.ip()) != (flow.local.ip(), flow.remote.ip()) {
            found.push(Difference {
                field: "addresses",
                expected: format!("{} > {}", flow.local.ip(), flow.remote.ip()),
                actual: format!("{} > {}", ends.local.ip(), ends.remote.ip()),
            });
        }
        let tolerance = self.tolerance(&due);
        let wrong_time = !due.any && (at + tolerance < due.from || at > due.to + tolerance);
        let mut faults = self.faults(&sent.seen);
        faults.extend(self.wrong_payload(&actual, &sent.seen.payload));
        if found.is_empty() && !wrong_time && faults.is_empty() {
            self.note(sent.at, Some(self.line()), brief(&actual, expected).to_string());
            return Ok(at);
        }
        let mut failure = self.fail(match (faults.first(), found.is_empty()) {
            (Some(fault), _) => format!("a packet that none may be like: {fault}"),
            (None, false) => "not the packet that is expected".to_owned(),
            (None, true) => "the packet came at the wrong time".to_owned(),
        });
        if wrong_time {
            let seconds = |time: Duration| format!("{:.6}", time.as_secs_f64());
            let expected = if due.exact {
                seconds(due.from)
            } else {
                format!("{} to {}", seconds(due.from), seconds(due.to))
            };
            found.push(Difference { field: "time", expected, actual: seconds(at) });
        }
        failure.at = at;
        failure.packets = Some((expected.to_string(), brief(&actual, expected).to_string()));
        failure.differences = found;
        Err(failure)
    }

    /// What no packet of this stack may be like.
    fn faults(&mut self, seen: &Seen) -> Vec<String> {
        let mut faults = seen.faults.clone();
        if let (Some(id), Some(false), true) = (seen.id, seen.dont_fragment, self.setup.last_id.is_some()) {
            // RFC 6864 4.1: what may be fragmented needs an identification of its own.
            if self.setup.last_id == Some(id) {
                faults.push(format!("IPv4 identification {id} twice in a row without DF"));
            }
        }
        if seen.dont_fragment == Some(false) {
            self.setup.last_id = seen.id;
            let is_tcp = matches!(seen.packet.body, Body::Tcp(_));
            if is_tcp && self.stack.config().pmtu_discovery && !self.setup.may_fragment {
                faults.push("DF is not set, though path MTU discovery is on".to_owned());
            }
        }
        faults
    }

    /// Whether a segment's data is not what the program wrote at that place of the stream.
    fn wrong_payload(&self, actual: &Packet, payload: &[u8]) -> Option<String> {
        let flow = self.flows.current()?;
        let Body::Tcp(tcp) = &actual.body else { return None };
        if self.setup.own_data || flow.fresh {
            return None;
        }
        let syn = u32::from(tcp.flags.contains(Flags::SYN));
        let first = tcp.seq.start.wrapping_sub(flow.local_start).wrapping_add(syn);
        let wrong =
            payload.iter().zip(0u32..).position(|(&byte, i)| byte != pattern(first.wrapping_add(i)))?;
        Some(format!("byte {wrong} of its data is not what was written there"))
    }

    /// A packet of the stack in the script's numbers, which it may be the first to tell.
    fn in_script_numbers(&mut self, expected: &Packet, seen: &Seen) -> Packet {
        let check_ticks = !self.config.tcp_ts_tick.is_zero();
        let tick = self.config.tcp_ts_tick;
        let tolerance = self.config.tolerance;
        let ends = Ends { local: seen.src, remote: seen.dst };
        let flow = self.flows.outbound(ports_of(expected), ends);
        let (Body::Tcp(wanted), Body::Tcp(actual)) = (&expected.body, &seen.packet.body) else {
            return seen.packet.clone();
        };
        let both_syn = wanted.flags.contains(Flags::SYN) && actual.flags.contains(Flags::SYN);
        if both_syn && flow.fresh {
            flow.map.restart();
            flow.map.learn_seq(wanted.seq.start, actual.seq.start);
            flow.local_start = wanted.seq.start;
            flow.fresh = false;
        }
        if let (Some(wanted), Some(actual)) = (timestamp(wanted), timestamp(actual)) {
            let told = flow.map.timestamp_to_script(actual);
            let off = told.abs_diff(wanted).min(wanted.abs_diff(told));
            if !check_ticks || !flow.map.has_timestamp() || tick.saturating_mul(off) <= tolerance {
                flow.map.learn_timestamp(wanted, actual);
                let mut packet = flow.map.to_script(&seen.packet);
                set_timestamp(&mut packet, wanted);
                return packet;
            }
        }
        flow.map.to_script(&seen.packet)
    }

    /// A packet of the stack as a message shows it.
    pub fn shown(&self, seen: &Seen) -> String {
        match self.flows.current() {
            Some(flow) if flow.ends.local == seen.src && flow.ends.remote == seen.dst => {
                let packet = flow.map.to_script(&seen.packet);
                brief(&packet, &Packet { ip: IpInfo::default(), ..packet.clone() }).to_string()
            }
            _ => format!("{} ({} to {})", seen.packet, seen.src, seen.dst),
        }
    }
}

/// A packet with no more of its IP header than the other one tells, and without an urgent pointer that is 0.
fn brief(packet: &Packet, like: &Packet) -> Packet {
    let mut packet = packet.clone();
    let ip = &mut packet.ip;
    ip.ecn = ip.ecn.filter(|_| like.ip.ecn.is_some());
    ip.tos = ip.tos.filter(|_| like.ip.tos.is_some());
    ip.ttl = ip.ttl.filter(|_| like.ip.ttl.is_some());
    ip.flow_label = ip.flow_label.filter(|_| like.ip.flow_label.is_some());
    if let Body::Tcp(tcp) = &mut packet.body {
        tcp.urgent = tcp.urgent.filter(|&urgent| urgent != 0);
    }
    packet
}

/// Linux marks the end of each super-segment with PSH, and how many segments one is made of depends on rate and
/// round trip: within a run of segments that the script writes as one, PSH is not compared.
fn leave_push_open(segment: &mut Tcp, seen: &Seen) {
    if let Body::Tcp(actual) = &seen.packet.body {
        segment.flags.set(Flags::PSH, actual.flags.contains(Flags::PSH));
    }
}

fn ports_of(packet: &Packet) -> Option<(u16, u16)> {
    match &packet.body {
        Body::Tcp(tcp) => tcp.ports,
        Body::Udp { ports, .. } => *ports,
        Body::Icmp(_) => None,
    }
}

fn timestamp(tcp: &Tcp) -> Option<u32> {
    tcp.options.iter().flatten().find_map(|option| match option {
        TcpOption::Timestamps { val, .. } => *val,
        _ => None,
    })
}

fn set_timestamp(packet: &mut Packet, to: u32) {
    let Body::Tcp(tcp) = &mut packet.body else { return };
    for option in tcp.options.iter_mut().flatten() {
        if let TcpOption::Timestamps { val: Some(val), .. } = option {
            *val = to;
        }
    }
}
