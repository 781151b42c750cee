//! What must hold whatever happens.
//!
//! After every moment, for each host in which something happened: its stack's own account of itself
//! ([`Stack::check_invariants`]: SND.UNA <= SND.NXT <= the end of the buffer, what is in flight is what the
//! scoreboard's runs sum up to, no timer in the past, somebody will move on everything that is held). From
//! outside, by the segments alone: nothing is ever sent beyond the right edge that the peer has announced.
//! At the end: nothing is left.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use sockeye_core::stack::{Population, Stack};
use sockeye_core::tcp::SeqNum;
use sockeye_core::wire::parse::{Parsed, Upper, parse};
use sockeye_core::wire::tcp::{Flags, Header};
use sockeye_core::{Instant, Packet};

use crate::world::HostId;

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// When it was seen.
    pub at: Instant,
    /// At which host; `None`: of the world.
    pub host: Option<HostId>,
    /// What is wrong.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(at: Instant, host: Option<HostId>, what: impl Into<String>) -> Violation {
        Violation { at, host, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}", self.at)?;
        if let Some(host) = self.host {
            write!(f, ", host {}", host.0)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What one host's side of a connection has shown on the wire.
#[derive(Clone, Copy, Debug)]
struct Flow {
    iss: SeqNum,
    /// Window scale in the SYN that we sent.
    own_scale: Option<u8>,
    /// Window scale in the peer's SYN that ours belongs to.
    peer_scale: Option<u8>,
    /// After the last sequence number sent.
    nxt: SeqNum,
    /// The rightmost edge that the peer has announced since the handshake.
    edge: Option<SeqNum>,
}

/// Watches the segments of all hosts.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    flows: HashMap<(HostId, SocketAddr, SocketAddr), Flow>,
    /// SYNs received and not yet answered: sequence number and window scale.
    syns: HashMap<(HostId, SocketAddr, SocketAddr), (SeqNum, Option<u8>)>,
}

impl Checker {
    /// A host lost its memory.
    pub(crate) fn forget(&mut self, host: HostId) {
        self.flows.retain(|key, _| key.0 != host);
        self.syns.retain(|key, _| key.0 != host);
    }

    /// Something happened in a host.
    pub(crate) fn after(&mut self, now: Instant, host: HostId, stack: &Stack) -> Result<(), Violation> {
        stack.check_invariants().map_err(|what| Violation::new(now, Some(host), what))
    }

    /// A host sends a packet.
    pub(crate) fn sent(&mut self, now: Instant, host: HostId, packet: &Packet) -> Result<(), Violation> {
        let Some((src, dst, hdr, len)) = tcp_of(packet) else { return Ok(()) };
        if hdr.flags.contains(Flags::RST) {
            return Ok(());
        }
        let key = (host, src, dst);
        if hdr.flags.contains(Flags::SYN) {
            // What the SYN carried may be acknowledged too.
            let answered = self.syns.get(&key).filter(|(irs, _)| {
                hdr.flags.contains(Flags::ACK) && (1..1 << 16).contains(&hdr.ack.since(*irs))
            });
            let peer_scale = answered.and_then(|(_, scale)| *scale);
            let fresh = Flow {
                iss: hdr.seq,
                own_scale: hdr.options.window_scale,
                peer_scale,
                nxt: hdr.seq + len,
                edge: None,
            };
            let flow = self.flows.entry(key).or_insert(fresh);
            if flow.iss != hdr.seq {
                *flow = fresh;
            }
            if answered.is_some() {
                (flow.peer_scale, flow.own_scale) = (peer_scale, hdr.options.window_scale);
            }
            return Ok(());
        }
        let Some(flow) = self.flows.get_mut(&key) else { return Ok(()) };
        let end = hdr.seq + len;
        if len > 0 && flow.edge.is_some_and(|edge| end.gt(edge)) {
            let what = format!(
                "{src} > {dst}: sent up to {end:?}, beyond the peer's window, whose edge is {:?}",
                flow.edge
            );
            return Err(Violation::new(now, Some(host), what));
        }
        flow.nxt = flow.nxt.max(end);
        Ok(())
    }

    /// A packet has reached a host.
    pub(crate) fn received(&mut self, host: HostId, packet: &Packet) {
        let Some((src, dst, hdr, _)) = tcp_of(packet) else { return };
        let key = (host, dst, src);
        if hdr.flags.contains(Flags::RST) {
            return;
        }
        let is_syn = hdr.flags.contains(Flags::SYN);
        if is_syn && !hdr.flags.contains(Flags::ACK) {
            self.syns.insert(key, (hdr.seq, hdr.options.window_scale));
            return;
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        if !hdr.flags.contains(Flags::ACK) || !hdr.ack.gt(flow.iss) || hdr.ack.gt(flow.nxt) {
            return;
        }
        if is_syn && flow.edge.is_none() {
            flow.peer_scale = hdr.options.window_scale;
        }
        let shift = match (flow.own_scale, flow.peer_scale) {
            (Some(_), Some(shift)) if !is_syn => shift.min(14),
            _ => 0,
        };
        let edge = hdr.ack + (u32::from(hdr.window) << shift);
        flow.edge = Some(flow.edge.map_or(edge, |before| before.max(edge)));
    }
}

/// Whether a host still holds something though all is over.
pub(crate) fn leak(now: Instant, host: HostId, stack: &Stack) -> Result<(), Violation> {
    let fail = |what: String| Err(Violation::new(now, Some(host), what));
    let left = stack.population();
    if left != Population::default() {
        let rows: Vec<_> = stack.snapshot().take(4).collect();
        return fail(format!("left at the end: {left:?}, such as {rows:?}"));
    }
    if stack.buffered() != 0 {
        return fail(format!("{} bytes are left in buffers at the end", stack.buffered()));
    }
    if stack.stats().curr_estab != 0 {
        return fail(format!(
            "{} connections are counted as established at the end",
            stack.stats().curr_estab
        ));
    }
    if stack.wants_transmit() {
        return fail("something is still to be sent at the end".into());
    }
    match stack.next_deadline() {
        Some(at) => fail(format!("a timer still runs at the end, to {at}")),
        None => Ok(()),
    }
}

/// A packet for people, on one line.
pub(crate) fn line(now: Instant, host: HostId, verb: &str, packet: &Packet) -> String {
    let Some((src, dst, hdr, _)) = tcp_of(packet) else {
        return format!("{now} host {} {verb} {} bytes: {:?}", host.0, packet.len(), parse(packet));
    };
    let (at, Header { seq, ack, flags, window, options, .. }) = (host.0, hdr);
    let len = match parse(packet) {
        Ok(Parsed { upper: Upper::Tcp(segment), .. }) => segment.data_len,
        _ => 0,
    };
    let mut line =
        format!("{now} host {at} {verb} {src} > {dst} {flags:?} {seq}:+{len} ack {ack} win {window}");
    for block in options.sack.as_slice() {
        line.push_str(&format!(" sack {:?}", block));
    }
    if flags.contains(Flags::SYN) {
        line.push_str(&format!(" {options:?}"));
    }
    line
}

/// Between whom, the header, and the sequence numbers it takes; `None` for all that no host would look at.
fn tcp_of(packet: &Packet) -> Option<(SocketAddr, SocketAddr, Header, u32)> {
    let Ok(Parsed { ip, upper: Upper::Tcp(segment) }) = parse(packet) else { return None };
    let hdr = segment.header;
    let flags = u32::from(hdr.flags.contains(Flags::SYN)) + u32::from(hdr.flags.contains(Flags::FIN));
    let src = SocketAddr::new(ip.src, hdr.src_port);
    Some((src, SocketAddr::new(ip.dst, hdr.dst_port), hdr, segment.data_len as u32 + flags))
}
