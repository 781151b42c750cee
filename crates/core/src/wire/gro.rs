//! Segments of one connection that follow one another, made one super-segment: what Linux calls generic receive
//! offload. What is not per packet is then done once for them. The counterpart of [`super::gso`].
//!
//! As in Linux's `tcp_gro_receive`, nothing is lost by it: whatever the segments do not have in common, but for their
//! sequence numbers, lengths and checksums, keeps them apart, and PSH ends a super-segment.

use smallvec::SmallVec;

use super::checksum::{Sum, checksum};
use super::ip::protocol;
use super::tcp::{Flags, MAX_INLINE, MIN_HEADER};
use super::{ipv4, ipv6};
use crate::packet::{Checksum, HEAD_CAPACITY, MAX_PACKET, Packet};

/// Connections whose segments may wait at a time; who comes after that makes the oldest go.
const FLOWS: usize = 8;

const PSH: u8 = Flags::PSH.bits() as u8;

/// Packets of one batch, in order: those of one connection stay in order, whatever is made of them.
#[derive(Default)]
pub(crate) struct Merger<'a> {
    held: SmallVec<[Held<'a>; FLOWS]>,
}

/// What others may follow.
struct Held<'a> {
    /// The first of them; it has the text of all.
    packet: &'a mut Packet,
    at: Place,
    /// SEG.SEQ of what would follow.
    next: u32,
    /// Bytes of text in each.
    size: usize,
}

/// Where things stand in a segment that may be one of several.
#[derive(Clone, Copy)]
struct Place {
    tcp_at: usize,
    data_at: usize,
    text: usize,
}

impl<'a> Merger<'a> {
    /// Takes the next packet; what is not kept goes to `deliver`.
    #[inline]
    pub(crate) fn push(&mut self, packet: &'a mut Packet, deliver: &mut impl FnMut(&mut Packet)) {
        if self.held.is_empty() && packet.payload.is_empty() {
            return deliver(packet); // all of it in its head: nothing to merge, nothing to overtake
        }
        let place = place(packet);
        let flow = flow(packet.front());
        let mut found = None;
        if !self.held.is_empty() {
            if flow.is_none() {
                self.finish(deliver);
            }
            found = self.held.iter().position(|held| self::flow(held.packet.front()) == flow);
        }
        if let Some(number) = found {
            let held = &mut self.held[number];
            if let Some(at) = place
                && held.is_followed_by(packet, at)
                && is_intact(packet, at.tcp_at)
            {
                let ended = held.take(packet, at);
                if ended {
                    deliver(self.held.remove(number).packet);
                }
                return;
            }
            deliver(self.held.remove(number).packet);
        }
        let waits = place.filter(|at| packet.front()[at.tcp_at + 13] & PSH == 0);
        match waits {
            Some(at) if is_intact(packet, at.tcp_at) => {
                packet.checksum = Checksum::Verified;
                if self.held.len() == FLOWS {
                    deliver(self.held.remove(0).packet);
                }
                let next = seq(packet.front(), at.tcp_at).wrapping_add(at.text as u32);
                self.held.push(Held { packet, at, next, size: at.text });
            }
            _ => deliver(packet),
        }
    }

    /// No more come.
    #[inline]
    pub(crate) fn finish(&mut self, deliver: &mut impl FnMut(&mut Packet)) {
        self.held.drain(..).for_each(|held| deliver(held.packet));
    }
}

impl Held<'_> {
    /// Whether `other`, whose flow this is, is the next segment and says nothing else.
    #[inline]
    fn is_followed_by(&self, other: &Packet, at: Place) -> bool {
        let (a, b) = (self.packet.front(), other.front());
        let tcp = self.at.tcp_at;
        let same_ip = if tcp == ipv6::HEADER {
            a[..4] == b[..4] && a[6..8] == b[6..8]
        } else {
            // Traffic class; DF, TTL and protocol.
            a[..2] == b[..2] && a[6..10] == b[6..10]
        };
        let (a, b) = (&a[tcp..self.at.data_at], &b[tcp..at.data_at]);
        same_ip
            && a.len() == b.len()
            && seq(b, 0) == self.next
            && a[8..13] == b[8..13]
            && (a[13] | PSH) == (b[13] | PSH)
            && a[14..16] == b[14..16]
            && a[18..20] == b[18..20]
            && same_options(&a[MIN_HEADER..], &b[MIN_HEADER..])
            && at.text <= self.size
            && self.packet.len() + at.text <= MAX_PACKET
    }

    /// Adds the text of the next segment, which is left empty; whether none may follow.
    fn take(&mut self, other: &mut Packet, at: Place) -> bool {
        let packet = &mut *self.packet;
        if packet.head.as_slice().is_empty() {
            packet.head.extend(&packet.payload.slices()[0][..self.at.data_at]);
            packet.payload.advance(self.at.data_at);
        }
        if packet.gso_size == 0 {
            packet.gso_size = self.size as u16;
            packet.payload.reserve(15);
        }
        let push = other.front()[at.tcp_at + 13] & PSH;
        if other.head.as_slice().is_empty() {
            other.payload.advance(at.data_at);
        }
        packet.payload.append(&mut other.payload);
        self.next = self.next.wrapping_add(at.text as u32);
        let ended = push != 0 || at.text < self.size || packet.len() + self.size > MAX_PACKET;
        let len = packet.len();
        let header = packet.head.as_mut_slice();
        header[at.tcp_at + 13] |= push;
        set_len(header, len);
        ended
    }
}

/// The length of a packet of ours in its IP header.
fn set_len(header: &mut [u8], len: usize) {
    if header[0] >> 4 == 6 {
        return header[4..6].copy_from_slice(&((len - ipv6::HEADER) as u16).to_be_bytes());
    }
    header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    header[10..12].fill(0);
    let sum = checksum(&header[..ipv4::MIN_HEADER]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// What tells connections apart: addresses and ports, where they stand without options and extension headers. `None`: nobody's
/// or not to be told so simply.
#[inline]
fn flow(front: &[u8]) -> Option<&[u8]> {
    match front {
        [0x45, _, _, _, _, _, place, low, _, protocol::TCP, _, _, rest @ ..]
            if place & 0x3f == 0 && *low == 0 =>
        {
            rest.get(..12)
        }
        [first, _, _, _, _, _, protocol::TCP, _, rest @ ..] if first >> 4 == 6 => rest.get(..36),
        _ => None,
    }
}

/// Whether a packet may be part of a super-segment: text and an ACK, perhaps with PSH, and no more than that.
#[inline]
fn place(packet: &Packet) -> Option<Place> {
    let front = packet.front();
    flow(front)?;
    let half = |at: usize| usize::from(u16::from_be_bytes([front[at], front[at + 1]]));
    let (tcp_at, len) =
        if front[0] >> 4 == 6 { (ipv6::HEADER, half(4) + ipv6::HEADER) } else { (ipv4::MIN_HEADER, half(2)) };
    let tcp = front.get(tcp_at..)?;
    if tcp.len() < MIN_HEADER || len != packet.len() || packet.gso_size != 0 {
        return None;
    }
    let data_at = tcp_at + usize::from(tcp[12] >> 4) * 4;
    let plain = tcp[12] & 1 == 0 && tcp[13] & !PSH == Flags::ACK.bits() as u8;
    let fits = data_at >= tcp_at + MIN_HEADER && data_at <= front.len().min(HEAD_CAPACITY);
    // Short text stands behind the headers, and is as well copied.
    let apart = packet.head.as_slice().is_empty() || packet.head.as_slice().len() == data_at;
    if !plain || !fits || !apart || len <= data_at + MAX_INLINE {
        return None;
    }
    Some(Place { tcp_at, data_at, text: len - data_at })
}

/// Whether the checksums hold, which those of a super-segment do not tell any more.
fn is_intact(packet: &Packet, tcp_at: usize) -> bool {
    let front = packet.front();
    if tcp_at == ipv4::MIN_HEADER {
        let mut sum = Sum::new();
        sum.add(&front[..ipv4::MIN_HEADER]);
        if !sum.is_valid() {
            return false;
        }
    }
    if packet.checksum != Checksum::Unverified {
        return true;
    }
    let mut sum = Sum::new();
    sum.add(if tcp_at == ipv6::HEADER { &front[8..40] } else { &front[12..20] });
    sum.add_word((packet.len() - tcp_at) as u16);
    sum.add_word(u16::from(protocol::TCP));
    sum.add(&front[tcp_at..]);
    let behind = usize::from(packet.head.as_slice().is_empty());
    packet.payload.slices()[behind..].iter().for_each(|slice| sum.add(slice));
    sum.is_valid()
}

/// Nearly always timestamps and padding.
#[inline]
fn same_options(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<12>(), b.first_chunk::<12>()) {
        (Some(first), Some(second)) if a.len() == 12 => first == second,
        _ => a == b,
    }
}

/// SEG.SEQ.
#[inline]
fn seq(bytes: &[u8], tcp_at: usize) -> u32 {
    u32::from_be_bytes([bytes[tcp_at + 4], bytes[tcp_at + 5], bytes[tcp_at + 6], bytes[tcp_at + 7]])
}

#[cfg(test)]
mod tests;
