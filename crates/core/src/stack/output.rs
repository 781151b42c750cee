//! The way out: whose turn it is, and from a segment to a packet on an interface.

use alloc::vec::Vec;

use super::*;
use crate::branch::{cold, unlikely};
use crate::packet::{HEAD_CAPACITY, Payload};
use crate::tcp::Why;
use crate::tcp::segment::segments;
use crate::trace::{DropReason, Record, What};
use crate::wire::ip::IpTemplate;
use crate::wire::tcp::{self, ChecksumMode, Header};
use crate::wire::{gso, lean, md5};
use signature::Md5Key;

/// Control packets that wait for `transmit`; beyond it they are dropped and counted (RFC 4987: a flood of
/// SYNs makes at most so many answers wait).
const CONTROL_MAX: usize = 8_192;
/// Packets to ourselves that wait.
const INSIDE_MAX: usize = 4_096;

/// The longest headers: IPv4 with options, or IPv6, and TCP with options.
const HEADERS_MAX: u32 = 120;

/// Where a connection's packets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// To ourselves.
    Inside,
    /// Over an interface.
    Interface(InterfaceId),
    /// There is no way.
    Nowhere,
}

impl From<&Result<Way, Errno>> for Link {
    fn from(way: &Result<Way, Errno>) -> Link {
        match way {
            Ok(way) => way.interface.map_or(Link::Inside, Link::Interface),
            Err(_) => Link::Nowhere,
        }
    }
}

/// Something to send that no connection holds.
#[derive(Debug)]
pub(super) enum Control {
    /// A segment without data.
    Segment(Box<ControlSegment>),
    /// A finished packet (ICMP).
    Packet {
        /// To whom.
        destination: IpAddr,
        /// The packet.
        packet: Box<Packet>,
    },
}

/// A segment without data and without a connection.
#[derive(Debug)]
pub(super) struct ControlSegment {
    tuple: Tuple,
    hdr: Header,
    tos: u8,
    ttl: Option<u8>,
    why: Why,
    /// Whose it is and in which state, for the record; `None` if a connection has counted and recorded it.
    uncounted: Option<(Option<SocketId>, State)>,
    ip_options: Option<Box<[u8]>>,
    /// What it is signed with.
    md5: Option<Md5Key>,
}

impl Control {
    /// A segment from nobody in particular.
    pub(super) fn segment(tuple: Tuple, hdr: Header, why: Why) -> Control {
        Control::Segment(Box::new(ControlSegment {
            tuple,
            hdr,
            tos: 0,
            ttl: None,
            why,
            uncounted: Some((None, State::Closed)),
            ip_options: None,
            md5: None,
        }))
    }

    /// The last segment of a connection: a RST.
    pub(super) fn outgoing(tuple: Tuple, out: &Outgoing, route: Option<Box<[u8]>>) -> Control {
        Control::Segment(Box::new(ControlSegment {
            tuple,
            hdr: out.hdr,
            tos: out.tos,
            ttl: Some(out.ttl),
            why: out.why,
            uncounted: None,
            ip_options: route,
            md5: None,
        }))
    }

    /// With a traffic class.
    pub(super) fn with_tos(mut self, tos: u8) -> Control {
        if let Control::Segment(segment) = &mut self {
            segment.tos = tos;
        }
        self
    }

    /// Signed with this key, if there is one (RFC 2385).
    pub(super) fn signed(mut self, key: Option<Md5Key>) -> Control {
        if let (Control::Segment(segment), Some(key)) = (&mut self, key) {
            segment.hdr.options.signature = Some([0; md5::DIGEST]);
            segment.md5 = Some(key);
        }
        self
    }

    /// On behalf of a half-open connection of this listener.
    pub(super) fn for_listener(
        mut self,
        listener: Key,
        options: &Options,
        route: Option<Box<[u8]>>,
    ) -> Control {
        if let Control::Segment(segment) = &mut self {
            segment.tos = options.tos;
            segment.ttl = options.ttl;
            segment.uncounted = Some((Some(id_of(listener)), State::SynReceived));
            segment.ip_options = route.or_else(|| options.ip_options.clone());
        }
        self
    }
}

impl Stack {
    /// Takes what is to be sent, at most about `max` packets: first control packets, then one
    /// (super-)segment of each connection that wants to send in turn. Returns how many packets that were; as
    /// long as they are `max` there may be more. Packets to ourselves are delivered here.
    #[inline]
    pub fn transmit(&mut self, now: Instant, out: &mut Vec<(InterfaceId, Packet)>, max: usize) -> usize {
        self.now = now;
        if !self.wants_transmit() {
            return 0;
        }
        self.transmit_some(now, out, max)
    }

    fn transmit_some(&mut self, now: Instant, out: &mut Vec<(InterfaceId, Packet)>, max: usize) -> usize {
        let mut done = 0;
        while done < max {
            if let Some(mut packet) = self.inside.pop_front() {
                self.input(now, None, &mut packet);
                done += 1;
            } else if let Some(control) = self.control.pop_front() {
                self.send_control(control, out);
                done += 1;
            } else if let Some(key) = self.tx_queue.pop_front() {
                done += self.send_segment(now, key, out, max - done);
            } else {
                break;
            }
        }
        done
    }

    /// Whether [`Stack::transmit`] has something to do.
    #[inline]
    pub fn wants_transmit(&self) -> bool {
        !(self.inside.is_empty() && self.control.is_empty() && self.tx_queue.is_empty())
    }

    pub(super) fn push_control(&mut self, control: Control) {
        if self.control.len() >= CONTROL_MAX {
            self.stats.ip_out_discards += 1;
            return;
        }
        self.control.push_back(control);
    }

    /// One turn of a connection, of about `most` packets; how many it had.
    fn send_segment(
        &mut self,
        now: Instant,
        key: Key,
        out: &mut Vec<(InterfaceId, Packet)>,
        most: usize,
    ) -> usize {
        // One look for all that a segment needs: this is the way of every packet out.
        let Stack {
            sockets,
            config,
            rules,
            stats,
            trace,
            rng,
            spare,
            memory,
            routes,
            wheel,
            tx_queue,
            hash,
            outgoing,
            ..
        } = self;
        let Some(socket) = sockets.get_mut(key) else { return 0 };
        socket.flags.remove(SocketFlags::TX_QUEUED);
        let Kind::Connection(conn) = &mut socket.kind else { return 0 };
        if unlikely(socket.route_generation != routes.generation()) {
            self.refresh_way(now, key); // then it is the same
            return self.send_segment(now, key, out, most);
        }
        let link = socket.link;
        let interface = usable(routes, link);
        let pressure = memory.is_short(config);
        let mut cx = Cx { now, config, rules, stats, trace, rng, spare, id: id_of(key), pressure };
        let max_text = interface.map_or(0, |interface| max_text(interface, most));
        let sent = conn.transmit_into(&mut cx, max_text, outgoing);
        if conn.wants_transmit() {
            cold(); // it has more than a segment
            socket.flags.insert(SocketFlags::TX_QUEUED);
            tx_queue.push_back(key);
        }
        schedule(wheel, now, key.index, conn.next_deadline());
        if !sent {
            cold();
            if conn.is_probing() {
                memory.charge(key, socket);
            }
            return 0;
        }
        if outgoing.lean
            && let (Link::Interface(id), Some(interface)) = (link, interface)
            && HEADERS_MAX + u32::from(outgoing.held) <= u32::from(interface.mtu)
            && let (SocketAddr::V4(local), SocketAddr::V4(remote)) =
                (&conn.tuple().local, &conn.tuple().remote)
            && socket.options.ip_options.is_none()
        {
            // A short segment with the usual headers, of which requests and answers are made.
            stats.ip_out_requests += 1;
            let addresses = (*local.ip(), *remote.ip());
            let template = template_of(conn, &socket.options, outgoing, hash);
            conn.ident = conn.ident.wrapping_add(1);
            // It is made where it stays: `push` would move it there.
            out.resize_with(out.len() + 1, || (id, Packet::EMPTY));
            let Some((_, packet)) = out.last_mut() else { return 0 };
            let (hdr, held) = (&outgoing.hdr, usize::from(outgoing.held));
            conn.copy_text(hdr.seq, lean::text_in(packet, hdr, held));
            lean::write(packet, addresses, (&template, hdr), held, checksum_mode(interface));
            return 1;
        }
        self.send_any(key, out)
    }

    /// Sends what the connection has just made, of whatever kind: returns how many packets.
    #[inline(never)]
    fn send_any(&mut self, key: Key, out: &mut Vec<(InterfaceId, Packet)>) -> usize {
        let Stack { sockets, routes, outgoing, hash, stats, .. } = self;
        let Some(socket) = sockets.get_mut(key) else { return 0 };
        let Kind::Connection(conn) = &mut socket.kind else { return 0 };
        let link = socket.link;
        let interface = usable(routes, link);
        let template = template_of(conn, &socket.options, outgoing, hash);
        pass_idents(conn, outgoing);
        if let (Link::Interface(id), Some(interface)) = (link, interface)
            && outgoing.hdr.options.signature.is_none()
            && fits(&template, outgoing, interface)
        {
            stats.ip_out_requests += 1;
            let mut packet = Packet::EMPTY;
            emit(conn, &template, outgoing, &mut packet, checksum_mode(interface));
            out.push((id, packet));
            return 1;
        }
        conn.fill(outgoing);
        let data = core::mem::take(&mut outgoing.data);
        let before = out.len();
        if outgoing.hdr.options.signature.is_some() {
            let Some(key) = conn.md5_key().cloned() else { return 0 };
            let (addresses, size) = ((template.src, template.dst), outgoing.gso_size);
            let packet = tcp::build(&template, &outgoing.hdr, data, size, ChecksumMode::Partial);
            self.put_signed(link, packet, (addresses, &key), out);
        } else {
            // What is cut gets its checksums then.
            let cut = outgoing.gso_size != 0;
            let mode = interface.filter(|_| !cut).map_or(ChecksumMode::Partial, checksum_mode);
            let packet = tcp::build(&template, &outgoing.hdr, data, outgoing.gso_size, mode);
            self.put(link, packet, out);
        }
        (out.len() - before).max(1)
    }

    /// Looks the way up again, and tells the connection its path.
    #[cold]
    #[inline(never)]
    pub(super) fn refresh_way(&mut self, now: Instant, key: Key) {
        let Some(socket) = self.sockets.get(key) else { return };
        let Kind::Connection(conn) = &socket.kind else { return };
        let way = self.routes.way(&self.config, conn.tuple().remote.ip());
        let generation = self.routes.generation();
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.route_generation = generation;
            socket.link = Link::from(&way);
        }
        if let Ok(way) = way {
            self.with_connection(now, key, |conn, cx| conn.set_path(cx, way.path));
        }
    }

    fn send_control(&mut self, control: Control, out: &mut Vec<(InterfaceId, Packet)>) {
        match control {
            Control::Segment(segment) => {
                let tuple = segment.tuple;
                let link = Link::from(&self.routes.way(&self.config, tuple.remote.ip()));
                let hdr = with_ports(segment.hdr, &tuple);
                if let Some((socket, state)) = segment.uncounted {
                    self.count_sent(&hdr, segment.why);
                    if self.trace.on() {
                        let what = What::Sent { header: hdr, len: 0, gso_size: 0, why: segment.why, state };
                        self.trace.push(Record { at: self.now, socket, tuple, what });
                    }
                }
                let template = IpTemplate {
                    hop_limit: segment.ttl.unwrap_or(self.config.default_ttl),
                    traffic_class: segment.tos,
                    flow_label: flow_label(&self.hash, &tuple),
                    ip_options: segment.ip_options.as_deref().unwrap_or(&[]),
                    ..IpTemplate::new(tuple.local.ip(), tuple.remote.ip())
                };
                let mode =
                    if segment.md5.is_some() { ChecksumMode::Partial } else { self.checksum_mode(link) };
                let packet = tcp::build(&template, &hdr, Payload::new(), 0, mode);
                match &segment.md5 {
                    Some(key) => self.put_signed(link, packet, ((template.src, template.dst), key), out),
                    None => self.put(link, packet, out),
                }
            }
            Control::Packet { destination, packet } => {
                let link = Link::from(&self.routes.way(&self.config, destination));
                self.stats.icmp_out_msgs += 1;
                self.put(link, *packet, out);
            }
        }
    }

    /// Hands a packet to its interface, in the form that the interface takes.
    pub(super) fn put(&mut self, link: Link, mut packet: Packet, out: &mut Vec<(InterfaceId, Packet)>) {
        self.stats.ip_out_requests += 1;
        let id = match link {
            Link::Interface(id) => id,
            Link::Inside if self.inside.len() < INSIDE_MAX => return self.inside.push_back(packet),
            Link::Inside => {
                self.stats.ip_out_discards += 1;
                return self.record_drop(None, None, DropReason::QueueFull, None);
            }
            Link::Nowhere => {
                self.stats.ip_out_no_routes += 1;
                return self.record_drop(None, None, DropReason::NoRoute, None);
            }
        };
        let Some(interface) = self.routes.interface(id).filter(|i| i.up) else {
            self.stats.ip_out_discards += 1;
            return self.record_drop(None, None, DropReason::NoRoute, None);
        };
        let mtu = usize::from(interface.mtu);
        let is_super = packet.gso_size != 0;
        let whole = if is_super { takes_super(interface, packet.len()) } else { packet.len() <= mtu };
        if whole {
            out.push((id, packet));
        } else if is_super {
            let mode =
                if interface.checksum_offload { ChecksumMode::Partial } else { ChecksumMode::Complete };
            let mut segments = gso::segment(packet, mode);
            let (first, count) = (out.len(), segments.count_left());
            // Each is made where it stays.
            out.resize_with(first + count, || (id, Packet::EMPTY));
            out[first..].iter_mut().for_each(|(_, packet)| _ = segments.next_into(packet));
        } else {
            gso::complete_checksum(&mut packet);
            self.ident = self.ident.wrapping_add(1);
            match fragments(&packet, mtu, self.ident) {
                Some(all) => out.extend(all.into_iter().map(|fragment| (id, fragment))),
                None => self.stats.ip_out_discards += 1,
            }
        }
    }

    pub(super) fn checksum_mode(&self, link: Link) -> ChecksumMode {
        match link {
            Link::Interface(id) => self.routes.interface(id).map_or(ChecksumMode::Partial, checksum_mode),
            _ => ChecksumMode::Partial,
        }
    }

    fn count_sent(&mut self, hdr: &Header, why: Why) {
        if why.is_retransmission() {
            self.stats.retrans_segs += 1;
        } else {
            self.stats.out_segs += 1;
        }
        if hdr.flags.contains(tcp::Flags::RST) {
            self.stats.out_rsts += 1;
        }
    }
}

/// Bytes of text that fit into one super-segment of a link. A link without offloads is given about so many `packets`, cut
/// from a super-segment at the last moment, so that all that is not per packet is done once for them.
fn max_text(interface: &Interface, packets: usize) -> u32 {
    let mtu = u32::from(interface.mtu);
    let cut = mtu.saturating_mul(u32::try_from(packets).unwrap_or(u32::MAX));
    let most = if interface.gso_max > mtu { interface.gso_max } else { cut };
    most.min(65_535).saturating_sub(HEADERS_MAX)
}

/// Makes the packet of a segment that a link takes as it is.
fn emit(
    conn: &mut Connection,
    template: &IpTemplate<'_>,
    outgoing: &mut Outgoing,
    packet: &mut Packet,
    mode: ChecksumMode,
) {
    let (hdr, held) = (&outgoing.hdr, usize::from(outgoing.held));
    if held > 0 && template.header_len() + hdr.wire_len() + held <= HEAD_CAPACITY {
        let copy = |to: &mut [u8]| conn.copy_text(hdr.seq, to);
        return tcp::build_short_into(packet, template, hdr, held, copy, mode);
    }
    conn.fill(outgoing);
    let data = core::mem::take(&mut outgoing.data);
    tcp::build_into(packet, template, &outgoing.hdr, data, outgoing.gso_size, mode);
}

/// The interface of a link, if packets can leave by it.
#[inline(always)]
fn usable(routes: &Routes, link: Link) -> Option<&Interface> {
    match link {
        Link::Interface(id) => routes.interface(id).filter(|interface| interface.up),
        _ => None,
    }
}

/// What the IP header of a segment of the connection's is made from.
#[inline(always)]
fn template_of<'a>(
    conn: &Connection,
    options: &'a Options,
    outgoing: &Outgoing,
    hash: &TupleHash,
) -> IpTemplate<'a> {
    let tuple = conn.tuple();
    IpTemplate {
        hop_limit: outgoing.ttl,
        traffic_class: outgoing.tos,
        ident: conn.ident,
        dont_fragment: outgoing.dont_fragment,
        flow_label: flow_label(hash, tuple),
        ip_options: options.ip_options.as_deref().unwrap_or(&[]),
        ..IpTemplate::new(tuple.local.ip(), tuple.remote.ip())
    }
}

/// The Identifications of a segment's packets are used.
#[inline(always)]
fn pass_idents(conn: &mut Connection, outgoing: &Outgoing) {
    conn.ident = conn.ident.wrapping_add(segments(outgoing.text_len(), outgoing.gso_size) as u16);
}

/// Whether the link takes a segment as it is, without cutting.
fn fits(ip: &IpTemplate<'_>, out: &Outgoing, interface: &Interface) -> bool {
    let len = ip.header_len() + out.hdr.wire_len() + out.text_len();
    let is_super = out.gso_size != 0 && out.text_len() > usize::from(out.gso_size);
    // A super-segment may be shorter than the MTU where the path takes less: it has to be cut all the same.
    if is_super { takes_super(interface, len) } else { len <= usize::from(interface.mtu) }
}

/// Whether a link takes a super-segment of `len` bytes whole.
fn takes_super(interface: &Interface, len: usize) -> bool {
    interface.gso_max > u32::from(interface.mtu) && len as u32 <= interface.gso_max
}

fn checksum_mode(interface: &Interface) -> ChecksumMode {
    if interface.checksum_offload { ChecksumMode::Partial } else { ChecksumMode::Complete }
}

/// A label for the flow, not to be guessed (RFC 6437 3); 0 for IPv4.
fn flow_label(hash: &TupleHash, tuple: &Tuple) -> u32 {
    if tuple.local.is_ipv4() {
        return 0;
    }
    ipv6_flow_label(hash, tuple)
}

#[inline(never)]
fn ipv6_flow_label(hash: &TupleHash, tuple: &Tuple) -> u32 {
    (hash.of(TupleKey::new(tuple).as_bytes()) >> 17) as u32 & 0xf_ffff
}

fn with_ports(mut hdr: Header, tuple: &Tuple) -> Header {
    hdr.src_port = tuple.local.port();
    hdr.dst_port = tuple.remote.port();
    hdr
}

/// Cuts a packet that may be fragmented (RFC 791 3.2, RFC 8200 4.5); `None` if it may not be.
fn fragments(packet: &Packet, mtu: usize, ident: u32) -> Option<Vec<Packet>> {
    let bytes = packet.to_vec();
    let ipv6 = *bytes.first()? >> 4 == 6;
    let header_len = if ipv6 { 40 } else { usize::from(bytes[0] & 0x0f) * 4 };
    let room = mtu.checked_sub(header_len + if ipv6 { 8 } else { 0 })? & !7;
    if room == 0 || (!ipv6 && bytes[6] & 0x40 != 0) {
        return None;
    }
    let (header, body) = bytes.split_at(header_len);
    let mut out = Vec::new();
    for (i, chunk) in body.chunks(room).enumerate() {
        let at = i * room;
        let more = at + chunk.len() < body.len();
        let mut fragment = header.to_vec();
        if ipv6 {
            fragment[4..6].copy_from_slice(&((chunk.len() + 8) as u16).to_be_bytes());
            let next = core::mem::replace(&mut fragment[6], 44);
            fragment.extend_from_slice(&[next, 0]);
            fragment.extend_from_slice(&(at as u16 | u16::from(more)).to_be_bytes());
            fragment.extend_from_slice(&ident.to_be_bytes());
        } else {
            fragment[2..4].copy_from_slice(&((header_len + chunk.len()) as u16).to_be_bytes());
            fragment[4..6].copy_from_slice(&(ident as u16).to_be_bytes());
            let place = (at / 8) as u16 | if more { 0x2000 } else { 0 };
            fragment[6..8].copy_from_slice(&place.to_be_bytes());
            fragment[10..12].fill(0);
            let sum = crate::wire::checksum::checksum(&fragment);
            fragment[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        fragment.extend_from_slice(chunk);
        out.push(Packet::from_bytes(fragment.into()));
    }
    Some(out)
}
