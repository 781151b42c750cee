//! The way in: IP's checks, then to the connection, the half-open entry, TIME-WAIT, the listener or nobody.

use core::net::{IpAddr, SocketAddr, SocketAddrV4};

use super::*;
use crate::branch::cold;
use crate::packet::{Checksum, Payload};
use crate::tcp::Segment;
use crate::tcp::predict::{Arriving, Text};
use crate::tcp::segment::segments;
use crate::trace::{DropReason, Record, What};
use crate::wire::gro::Merger;
use crate::wire::ip::SourceRoute;
use crate::wire::lean;
use crate::wire::tcp::{Flags, Header};
use crate::wire::{IpHeader, Malformed, Reject, Upper};
use timewait::Verdict;

/// A segment on its way to whom it may concern.
pub(super) struct Arrival {
    pub(super) tuple: Tuple,
    pub(super) hash: u64,
    pub(super) seg: Segment,
    /// The source route it came by, if the stack honours those.
    pub(super) route: Option<SourceRoute>,
    /// IP and TCP header, of a SYN that somebody may want to save.
    pub(super) headers: Option<Box<[u8]>>,
    /// The interface it came by; `None`: from inside.
    pub(super) from: Option<InterfaceId>,
}

impl Stack {
    /// Takes a packet that arrived at an interface.
    pub fn receive(&mut self, now: Instant, interface: InterfaceId, mut packet: Packet) {
        self.now = now;
        if self.routes.interface(interface).is_some_and(|i| i.up) {
            self.input(now, Some(interface), &mut packet);
            self.relieve(now);
        } else {
            self.stats.ip_in_discards += 1;
        }
    }

    /// Takes packets that arrived together at an interface, in order; what is left of them is of no use. To the same
    /// effect as [`Stack::receive`] of one after another, but that segments of one connection which follow one another
    /// are made one before TCP sees them (generic receive offload): each still counts as a segment.
    pub fn receive_batch<'a>(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        packets: impl IntoIterator<Item = &'a mut Packet>,
    ) {
        self.now = now;
        if !self.routes.interface(interface).is_some_and(|i| i.up) {
            self.stats.ip_in_discards += packets.into_iter().count() as u64;
            return;
        }
        let mut deliver = |packet: &mut Packet| {
            self.input(now, Some(interface), packet);
            self.relieve(now);
        };
        let mut packets = packets.into_iter();
        let Some(first) = packets.next() else { return };
        let Some(second) = packets.next() else { return deliver(first) };
        let mut merger = Merger::default();
        for packet in [first, second].into_iter().chain(packets) {
            merger.push(packet, &mut deliver);
        }
        merger.finish(&mut deliver);
    }

    pub(super) fn input(&mut self, now: Instant, from: Option<InterfaceId>, packet: &mut Packet) {
        self.stats.ip_in_receives += 1;
        if !self.input_quickly(now, from, packet) {
            self.input_any(now, from, packet);
        }
    }

    #[inline(never)] // it lies apart from what nearly every packet runs through
    fn input_any(&mut self, now: Instant, from: Option<InterfaceId>, packet: &mut Packet) {
        // Borrowed all the way, so that headers and packet are not moved from step to step.
        let parsed = crate::wire::parse(packet);
        let parsed = match &parsed {
            Ok(parsed) => parsed,
            Err(reject) => return self.reject(now, from, *reject, packet),
        };
        match &parsed.upper {
            Upper::Tcp(seg) => self.input_tcp(now, from, &parsed.ip, seg, packet),
            Upper::Icmp(message) => {
                self.input_icmp(now, from, &parsed.ip, *message, core::mem::take(packet));
            }
            Upper::Fragment => self.input_fragment(now, from, &parsed.ip, core::mem::take(packet)),
            Upper::Other { .. } => self.input_unknown(now, from, &parsed.ip, packet),
        }
    }

    /// What nearly every packet is: a segment with the usual headers for a connection that has expected just this one. One
    /// look for all that it needs. False, and nothing has changed, if it is another one.
    #[inline]
    fn input_quickly(&mut self, now: Instant, from: Option<InterfaceId>, packet: &mut Packet) -> bool {
        let Some(seg) = lean::read(packet, &mut self.arriving) else {
            cold();
            return false;
        };
        packet.checksum = Checksum::Verified;
        if let Some(taken) = self.input_to_last(now, from, packet, &seg) {
            return taken;
        }
        cold();
        self.input_to_other(now, from, packet, &seg)
    }

    /// The same where the segment before was not for this connection.
    #[inline(never)]
    fn input_to_other(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        packet: &mut Packet,
        seg: &lean::Read,
    ) -> bool {
        let local = SocketAddrV4::new(seg.dst, self.arriving.dst_port).into();
        let remote = SocketAddrV4::new(seg.src, self.arriving.src_port).into();
        self.connection_of(&Tuple { local, remote }).is_some()
            && self.input_to_last(now, from, packet, seg).unwrap_or(false)
    }

    /// Gives a segment to the connection that had the one before; `None` if it is not for that one.
    #[inline(always)]
    fn input_to_last(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        packet: &mut Packet,
        seg: &lean::Read,
    ) -> Option<bool> {
        let Stack {
            sockets,
            config,
            rules,
            stats,
            trace,
            rng,
            spare,
            memory,
            wheel,
            tx_queue,
            events,
            arriving,
            last,
            ..
        } = self;
        let key = *last;
        let socket = sockets.get_mut(key)?;
        let Kind::Connection(conn) = &mut socket.kind else { return None };
        if !is_between(conn.tuple(), seg, arriving) || !socket.flags.contains(SocketFlags::IN_DEMUX) {
            return None;
        }
        let options = &socket.options;
        if (from.is_some() && socket.link == Link::Inside)
            || seg.ttl < options.min_ttl
            || options.md5.is_some()
        {
            return Some(false);
        }
        let gso_size = packet.gso_size;
        let pressure = memory.is_short(config);
        let mut cx = Cx { now, config, rules, stats, trace, rng, spare, id: id_of(key), pressure };
        let text = Text::Packet(packet, seg.data_at, seg.data_len);
        let arriving = Arriving { hdr: arriving, text, gso_size, tos: seg.tos, ttl: seg.ttl };
        let Some(ready) = conn.predict(&mut cx, arriving) else { return Some(false) };
        stats.ip_in_delivers += 1;
        stats.in_segs += u64::from(segments(seg.data_len, gso_size));
        settle_connection(now, key, socket, ready, (memory, wheel, tx_queue, events));
        if socket.flags.intersects(SocketFlags::SETTLES_SLOWLY) {
            self.settle_unaccepted(key);
        }
        Some(true)
    }

    /// A packet that does not parse: counted, and answered only if its header says so.
    fn reject(&mut self, now: Instant, from: Option<InterfaceId>, reject: Reject, packet: &Packet) {
        let reason = match reject.reason() {
            Malformed::BadTcpChecksum => {
                self.stats.in_csum_errors += 1;
                self.stats.in_errs += 1;
                DropReason::BadChecksum
            }
            Malformed::BadIcmpChecksum => {
                self.stats.icmp_in_errors += 1;
                DropReason::BadChecksum
            }
            _ => {
                self.stats.ip_in_hdr_errors += 1;
                DropReason::Malformed
            }
        };
        self.record_drop(None, None, reason, None);
        if let Reject::Answer { problem, addresses: (src, dst), .. } = reject {
            self.answer_problem(now, from, problem, (src, dst), packet);
        }
    }

    #[inline]
    fn input_tcp(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        ip: &IpHeader,
        seg: &crate::wire::parse::Segment,
        packet: &mut Packet,
    ) {
        let hdr = &seg.header;
        let tuple = Tuple {
            local: SocketAddr::new(ip.dst, hdr.dst_port),
            remote: SocketAddr::new(ip.src, hdr.src_port),
        };
        self.stats.ip_in_delivers += 1;
        self.stats.in_segs += u64::from(segments(seg.data_len, packet.gso_size));
        if hdr.options.malformed {
            self.stats.tcp_bad_options += 1;
        }
        if (self.signs || hdr.options.signature.is_some())
            && let Some(reason) = self.refuses_signature(from, &tuple, (ip, seg), packet)
        {
            return self.record_drop(None, Some(tuple), reason, Some(hdr.seq));
        }
        let mut route = None;
        if ip.source_route_at.is_some() {
            if !self.config.accept_source_route {
                return self.record_drop(None, Some(tuple), DropReason::BadSource, Some(hdr.seq));
            }
            route = SourceRoute::read(ip, packet.front());
        }
        let save = self.saves_syns && hdr.flags.contains(Flags::SYN);
        let headers = save.then(|| packet.front()[..headers_len(ip, packet.front())].into());
        let gso_size = packet.gso_size;
        let (tos, ttl) = (ip.traffic_class, ip.hop_limit);
        let Some(key) = self.connection_of(&tuple) else {
            let data = seg.move_payload(packet);
            let hash = self.hash.of(TupleKey::new(&tuple).as_bytes());
            let seg = Segment { hdr: *hdr, data, gso_size, tos, ttl };
            return self.arrive_elsewhere(now, Arrival { tuple, hash, seg, route, headers, from });
        };
        if let Some(reason) = self.refuses_connected(key, from, ttl) {
            return self.record_drop(Some(key), Some(tuple), reason, Some(hdr.seq));
        }
        if let Some(route) = route {
            self.follow_route(now, key, &route);
        }
        let mut data = Payload::new();
        let text = match seg.inline(packet) {
            Some(text) => Text::Inline(text),
            None => {
                data = seg.move_payload(packet);
                Text::Slices(&mut data)
            }
        };
        let inline = matches!(text, Text::Inline(_));
        let arriving = Arriving { hdr, text, gso_size, tos, ttl };
        if let Some(ready) = self.with_connection(now, key, |conn, cx| conn.predict(cx, arriving)).flatten() {
            return self.settle_quickly(now, key, ready);
        }
        if inline {
            data = seg.move_payload(packet);
        }
        let mut seg = Segment { hdr: *hdr, data, gso_size, tos, ttl };
        let outcome = self.with_connection(now, key, |conn, cx| conn.on_segment_at(cx, &mut seg));
        if let Some(outcome) = outcome {
            self.settle(now, key, outcome);
        }
    }

    /// A part of a packet: kept until the others are there (RFC 1122 3.3.2, RFC 8200 4.5).
    fn input_fragment(&mut self, now: Instant, from: Option<InterfaceId>, ip: &IpHeader, packet: Packet) {
        if let Some(reason) = self.refuses(from, ip.src, ip.dst) {
            return self.record_drop(None, None, reason, None);
        }
        self.stats.ip_reasm_reqds += 1;
        if let Some(mut whole) = self.reassembler.push(now, ip, packet) {
            // It is no fragment any more: the recursion ends here.
            self.input(now, from, &mut whole);
        }
        self.count_reassembly();
    }

    /// Sets of fragments whose time is over; whoever sent the first one is told (RFC 1122 3.3.2).
    pub(super) fn expire_fragments(&mut self, now: Instant) {
        for first in self.reassembler.expire(now) {
            let Ok(ip) = IpHeader::parse(first.front(), first.len(), false) else { continue };
            let error = crate::wire::icmp::Error::TimeExceeded { code: 1 };
            self.send_error(now, None, (ip.src, ip.dst), error, &first);
        }
        self.count_reassembly();
    }

    fn count_reassembly(&mut self) {
        let counters = *self.reassembler.counters();
        self.stats.ip_reasm_oks = counters.reassembled;
        self.stats.ip_reasm_fails = counters.failed;
        self.stats.ip_reasm_timeout = counters.timed_out;
    }

    /// What a connection's segments have to pass before TCP sees them.
    #[inline]
    fn refuses_connected(&mut self, key: Key, from: Option<InterfaceId>, ttl: u8) -> Option<DropReason> {
        let socket = self.sockets.get(key)?;
        if from.is_some() && socket.link == Link::Inside {
            // Spoofed: connections to ourselves do not come by a wire.
            return Some(DropReason::BadSource);
        }
        if ttl < socket.options.min_ttl {
            self.stats.tcp_min_ttl_drop += 1;
            return Some(DropReason::LowTtl);
        }
        None
    }

    /// A source route on a later segment replaces the one of a passive open (SHLD-24), unless the user set
    /// one (MUST-52). Only with `accept_source_route`.
    fn follow_route(&mut self, now: Instant, key: Key, route: &SourceRoute) {
        let Some(socket) = self.sockets.get(key) else { return };
        let passive = matches!(&socket.kind, Kind::Connection(conn) if conn.is_passive());
        if passive && !socket.flags.contains(SocketFlags::OWN_ROUTE) {
            let options = Arc::new(with_route(&socket.options, route));
            self.replace_options(now, key, options);
        }
    }

    fn arrive_elsewhere(&mut self, now: Instant, arrival: Arrival) {
        let Arrival { tuple, hash, ref seg, from, .. } = arrival;
        if let Some(reason) = self.refuses(from, tuple.remote.ip(), tuple.local.ip()) {
            return self.record_drop(None, Some(tuple), reason, Some(seg.hdr.seq));
        }
        let key = TupleKey::new(&tuple);
        if let Some(index) = self.half_open.find(hash, key.as_bytes()) {
            return self.arrive_half_open(now, index, arrival);
        }
        if let Some(index) = self.time_waits.find(hash, key.as_bytes()) {
            return self.arrive_time_wait(now, index, arrival);
        }
        match self.find_listener(&arrival) {
            Some(listener) => self.arrive_listening(now, listener, arrival, None),
            None => {
                self.record_drop(None, Some(tuple), DropReason::NoSocket, Some(seg.hdr.seq));
                self.reset(now, &tuple, &seg.hdr, seg.seg_len());
            }
        }
    }

    pub(super) fn find_listener(&self, arrival: &Arrival) -> Option<Key> {
        self.listener_at(arrival.tuple.local, arrival.from, arrival.hash)
    }

    pub(super) fn listener_at(&self, local: SocketAddr, from: Option<InterfaceId>, hash: u64) -> Option<Key> {
        let device = from.map_or(0, |id| id.0 as u16 + 1);
        match self.ports.listener(local.ip(), local.port(), device, hash) {
            Some(index) => self.sockets.key_at(index),
            None => self.parking_for(local.ip()),
        }
    }

    /// Whether IP refuses a packet between these: not ours (RFC 1122 3.2.1.3), for a group (MUST-57), from
    /// nobody that could be answered (MUST-63), from ourselves by a wire (LAND).
    pub(super) fn refuses(
        &mut self,
        from: Option<InterfaceId>,
        src: IpAddr,
        dst: IpAddr,
    ) -> Option<DropReason> {
        let wire = from.and_then(|id| self.routes.interface(id)).is_some_and(|i| !i.loopback);
        if self.routes.is_group(dst) {
            self.stats.ip_in_discards += 1;
            return Some(DropReason::BadSource);
        }
        if !self.routes.accepts(from, dst) || (wire && dst.is_loopback()) {
            self.stats.ip_in_addr_errors += 1;
            return Some(DropReason::NotOurs);
        }
        if route::is_invalid_source(src) || self.routes.is_group(src) || (wire && self.routes.is_ours(src)) {
            self.stats.ip_in_addr_errors += 1;
            return Some(DropReason::BadSource);
        }
        None
    }

    fn arrive_time_wait(&mut self, now: Instant, index: u32, arrival: Arrival) {
        let (tuple, hdr) = (arrival.tuple, arrival.seg.hdr);
        let verdict = self.time_waits.on_segment(&self.config, now, index, &hdr, arrival.seg.seg_len());
        match verdict {
            Verdict::Drop => self.record_drop(None, Some(tuple), DropReason::WrongState, Some(hdr.seq)),
            Verdict::OldSyn => {
                self.stats.paws_active_rejected += 1;
                self.record_drop(None, Some(tuple), DropReason::OldSyn, Some(hdr.seq));
            }
            Verdict::Ack => self.answer_time_wait(now, index),
            Verdict::Reopen(after) => match self.find_listener(&arrival) {
                Some(listener) => {
                    self.end_time_wait(index);
                    self.stats.tw_recycled += 1;
                    self.arrive_listening(now, listener, arrival, Some(after));
                }
                None => self.answer_time_wait(now, index),
            },
            Verdict::End => {
                self.trace_time_wait_over(now, index, crate::tcp::state::Event::RcvRst);
                self.end_time_wait(index);
            }
        }
    }

    fn answer_time_wait(&mut self, now: Instant, index: u32) {
        let Some((tuple, answer)) = self.time_waits.answer(index) else { return };
        let mut hdr = Header {
            seq: answer.seq,
            ack: answer.ack,
            flags: Flags::ACK,
            window: answer.window,
            ..Header::default()
        };
        hdr.options.timestamps = answer.ts_recent.map(|ecr| timestamps(now, answer.ts_offset, ecr));
        let control = Control::segment(tuple, hdr, crate::tcp::Why::Ack).with_tos(answer.tos);
        self.push_control(control.signed(self.time_waits.md5_key(index)));
    }

    /// RFC 9293 3.10.7.1: whoever sent a segment to nobody is told so, within a rate.
    pub(super) fn reset(&mut self, now: Instant, tuple: &Tuple, hdr: &Header, len: u32) {
        if hdr.flags.contains(Flags::RST) {
            return;
        }
        if !self.rst_limit.take(now, self.config.icmp_ratelimit, &mut self.rng) {
            self.stats.tcp_rst_ratelimit += 1;
            return;
        }
        let hdr = if hdr.flags.contains(Flags::ACK) {
            Header { seq: hdr.ack, flags: Flags::RST, ..Header::default() }
        } else {
            Header { ack: hdr.seq + len, flags: Flags::RST | Flags::ACK, ..Header::default() }
        };
        let key = self.answer_key(tuple);
        self.push_control(Control::segment(*tuple, hdr, crate::tcp::Why::Rst).signed(key));
    }

    /// The record of an arriving segment. Callers ask [`Trace::on`] first.
    pub(super) fn trace_received(&mut self, key: Option<Key>, tuple: &Tuple, seg: &Segment, state: State) {
        let what =
            What::Received { header: seg.hdr, len: seg.data.len() as u32, gso_size: seg.gso_size, state };
        self.trace.push(Record { at: self.now, socket: key.map(id_of), tuple: *tuple, what });
    }

    /// The record of a drop, if anybody listens.
    pub(super) fn record_drop(
        &mut self,
        key: Option<Key>,
        tuple: Option<Tuple>,
        reason: DropReason,
        seq: Option<SeqNum>,
    ) {
        if self.trace.on() {
            let nobody = SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 0);
            let tuple = tuple.unwrap_or(Tuple { local: nobody, remote: nobody });
            let what = What::Dropped { reason, seq };
            self.trace.push(Record { at: self.now, socket: key.map(id_of), tuple, what });
        }
    }
}

/// How long both headers are.
fn headers_len(ip: &IpHeader, front: &[u8]) -> usize {
    let tcp = front.get(ip.header_len + 12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    (ip.header_len + tcp).min(front.len())
}

/// Options with the source route that leads back (MUST-53).
pub(super) fn with_route(options: &Options, route: &SourceRoute) -> Options {
    let (bytes, len) = route.reversed().to_option();
    Options { ip_options: Some(bytes[..len].into()), ..options.clone() }
}

/// The Timestamps option of a segment that no connection builds: a clock of milliseconds (RFC 7323 5.4).
pub(super) fn timestamps(now: Instant, offset: u32, ecr: u32) -> crate::wire::tcp::Timestamps {
    crate::wire::tcp::Timestamps { val: (now.as_millis() as u32).wrapping_add(offset), ecr }
}

/// Whether an arriving segment is for the connection between these.
#[inline(always)]
fn is_between(tuple: &Tuple, seg: &lean::Read, hdr: &Header) -> bool {
    match (&tuple.local, &tuple.remote) {
        (SocketAddr::V4(local), SocketAddr::V4(remote)) => {
            (local.port(), remote.port()) == (hdr.dst_port, hdr.src_port)
                && (*local.ip(), *remote.ip()) == (seg.dst, seg.src)
        }
        _ => false,
    }
}
