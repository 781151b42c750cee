//! ICMP: errors to whose segment they quote, echo, and errors of our own.

use core::net::SocketAddr;

use super::*;
use crate::tcp::{IcmpError, IcmpKind};
use crate::trace::DropReason;
use crate::wire::icmp::{self, Error, Message, Quoted, unreachable_v4, unreachable_v6};
use crate::wire::ip::{IpTemplate, Problem, protocol};
use crate::wire::{IpHeader, ip};

impl Stack {
    pub(super) fn input_icmp(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        ip: &IpHeader,
        message: Message,
        packet: Packet,
    ) {
        self.stats.icmp_in_msgs += 1;
        // Multicast and broadcast pings are not answered (RFC 1122 3.2.2.6 leaves it open, smurf forbids it).
        if let Some(reason) = self.refuses(from, ip.src, ip.dst) {
            return self.record_drop(None, None, reason, None);
        }
        self.stats.ip_in_delivers += 1;
        match message {
            Message::EchoRequest(echo) => {
                let template = self.icmp_template(ip.dst, ip.src, false);
                let (at, len) = (ip.header_len + icmp::HEADER, ip.payload_len() - icmp::HEADER);
                let reply = icmp::echo_reply(&template, echo, packet, at, len);
                self.push_control(Control::Packet { destination: ip.src, packet: Box::new(reply) });
            }
            Message::Error { error, quoted } => self.on_icmp_error(now, error, &quoted),
            Message::EchoReply(_) | Message::Other { .. } => {}
        }
    }

    /// MUST-54: to the connection that the quoted header names. Source quench means nothing (MUST-55).
    fn on_icmp_error(&mut self, now: Instant, error: Error, quoted: &Quoted) {
        if error == Error::SourceQuench || quoted.protocol != protocol::TCP {
            return;
        }
        let tuple = Tuple {
            local: SocketAddr::new(quoted.src, quoted.src_port),
            remote: SocketAddr::new(quoted.dst, quoted.dst_port),
        };
        let key = TupleKey::new(&tuple);
        let hash = self.hash.of(key.as_bytes());
        if let Some(key) = self.find_connection(hash, &tuple) {
            let report = IcmpError { kind: kind_of(error, quoted.src.is_ipv6()), seq: quoted.seq };
            let outcome = self.with_connection(now, key, |conn, cx| conn.on_icmp(cx, &report));
            if let Some(outcome) = outcome {
                self.settle(now, key, outcome);
            }
        } else if let Some(index) = self.half_open.find(hash, key.as_bytes()) {
            self.icmp_to_half_open(now, index, error, quoted);
        } else {
            self.stats.icmp_in_errors += 1;
            self.record_drop(None, Some(tuple), DropReason::BadIcmp, Some(quoted.seq));
        }
    }

    /// A report about our SYN-ACK: a hard error ends the attempt (requirements of RFC 5927 4.1: the quoted
    /// number is the one we sent), and so does "host unreachable" as on Linux.
    fn icmp_to_half_open(&mut self, now: Instant, index: u32, error: Error, quoted: &Quoted) {
        let Some(entry) = self.half_open.get(index) else { return };
        if quoted.seq != entry.iss {
            self.stats.tcp_icmp_out_of_window += 1;
            return self.record_drop(None, Some(entry.tuple()), DropReason::BadIcmp, Some(quoted.seq));
        }
        match (error, quoted.src.is_ipv6()) {
            (Error::PacketTooBig { mtu }, _) => {
                let mtu = mtu.min(65_535) as u16;
                self.routes.lower_mtu(&self.config, now, quoted.dst, mtu);
            }
            (Error::Unreachable { code }, false) if code <= unreachable_v4::PORT => {
                self.drop_half_open(index, Errno::EHOSTUNREACH);
            }
            (Error::Unreachable { code }, true) if code != unreachable_v6::BEYOND_SCOPE => {
                self.drop_half_open(index, Errno::EHOSTUNREACH);
            }
            _ => {}
        }
    }

    /// RFC 1122 3.2.2.1, RFC 8200 4: a protocol that is not here.
    pub(super) fn input_unknown(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        ip: &IpHeader,
        packet: &Packet,
    ) {
        self.stats.ip_in_unknown_protos += 1;
        self.record_drop(None, None, DropReason::UnknownProtocol, None);
        let error = if ip.is_ipv6() {
            // The pointer names the byte that told the protocol.
            Error::ParameterProblem(Problem { code: 1, pointer: ip.protocol_at as u32 })
        } else {
            Error::Unreachable { code: unreachable_v4::PROTOCOL }
        };
        // No next header (59) is no error.
        if !(ip.is_ipv6() && ip.protocol == 59) {
            self.send_error(now, from, (ip.src, ip.dst), error, packet);
        }
    }

    /// The answer that a bad header asks for.
    pub(super) fn answer_problem(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        problem: Problem,
        addresses: (IpAddr, IpAddr),
        packet: &Packet,
    ) {
        self.send_error(now, from, addresses, Error::ParameterProblem(problem), packet);
    }

    /// Sends an ICMP error about a packet, unless RFC 1122 3.2.2 / RFC 4443 2.4 forbid it or the rate is used up.
    pub(super) fn send_error(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        (src, dst): (IpAddr, IpAddr),
        error: Error,
        packet: &Packet,
    ) {
        let to_group = self.routes.is_group(dst);
        let refused =
            if to_group { self.routes.is_group(src) } else { self.refuses(from, src, dst).is_some() };
        if refused || (to_group && dst.is_ipv4()) || !icmp::error_allowed(packet, error) {
            return;
        }
        if !self.icmp_limit.take(now, self.config.icmp_ratelimit, &mut self.rng) {
            self.stats.icmp_out_ratelimit += 1;
            return;
        }
        let own = if to_group { self.routes.source(&self.config, src) } else { Ok(dst) };
        let Ok(own) = own else { return };
        let template = self.icmp_template(own, src, true);
        if let Some(reply) = icmp::error(&template, error, packet) {
            self.push_control(Control::Packet { destination: src, packet: Box::new(reply) });
        }
    }

    pub(super) fn icmp_template(&mut self, src: IpAddr, dst: IpAddr, is_error: bool) -> IpTemplate<'static> {
        self.ident = self.ident.wrapping_add(1);
        ip::IpTemplate {
            ident: self.ident as u16,
            hop_limit: self.config.default_ttl,
            // Errors have internetwork control precedence (RFC 1812 4.3.2.5), as Linux sends them.
            traffic_class: if is_error && src.is_ipv4() { 0xc0 } else { 0 },
            dont_fragment: false,
            ..IpTemplate::new(src, dst)
        }
    }
}

/// Hard or soft, and which errno (RFC 1122 4.2.3.9, RFC 9293 3.9.2.2; Linux's `icmp_err_convert`).
fn kind_of(error: Error, ipv6: bool) -> IcmpKind {
    match (error, ipv6) {
        (Error::PacketTooBig { mtu }, _) => IcmpKind::PacketTooBig { mtu: mtu.min(65_535) as u16 },
        (Error::Unreachable { code }, false) => match code {
            unreachable_v4::PROTOCOL => IcmpKind::Hard(Errno::ENOPROTOOPT),
            unreachable_v4::PORT => IcmpKind::Hard(Errno::ECONNREFUSED),
            unreachable_v4::NET | 6 | 9 | 11 => IcmpKind::Soft(Errno::ENETUNREACH),
            7 => IcmpKind::Soft(Errno::EHOSTDOWN),
            _ => IcmpKind::Soft(Errno::EHOSTUNREACH),
        },
        (Error::Unreachable { code }, true) => match code {
            unreachable_v6::NO_ROUTE => IcmpKind::Soft(Errno::ENETUNREACH),
            unreachable_v6::PROHIBITED | 5 | 6 => IcmpKind::Hard(Errno::EACCES),
            unreachable_v6::PORT => IcmpKind::Hard(Errno::ECONNREFUSED),
            _ => IcmpKind::Soft(Errno::EHOSTUNREACH),
        },
        (Error::ParameterProblem(_) | Error::SourceQuench, _) => IcmpKind::Soft(Errno::EPROTO),
        (Error::TimeExceeded { .. }, _) => IcmpKind::Soft(Errno::EHOSTUNREACH),
    }
}
