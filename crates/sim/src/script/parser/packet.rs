//! Packets: direction, headers around, IP, then TCP, UDP or ICMP.

use std::net::IpAddr;

use sockeye_core::wire::tcp::Flags;

use super::super::ast::{
    Body, Direction, Ecn, Encapsulation, Icmp, IpInfo, MplsLabel, Packet, Quoted, SeqRange, Tcp, TcpOption,
};
use super::super::error::Result;
use super::super::icmp;
use super::super::lexer::Kind;
use super::super::print::FlagLetters;
use super::Parser;

impl Parser<'_> {
    /// `< ...` or `> ...`.
    pub(super) fn packet(&mut self) -> Result<Packet> {
        let sign = self.next()?;
        let direction = if sign.is('<') { Direction::Inbound } else { Direction::Outbound };
        let encapsulation = self.encapsulation()?;
        let ip = self.ip_info(direction)?;
        let ports = self.ports()?;
        let token = self.peek()?;
        let body = if token.is_word("udp") {
            self.next()?;
            Body::Udp { ports, len: self.udp_len()? }
        } else if token.is_word("icmp") || token.is_word("icmpv6") {
            if ports.is_some() {
                return Err(self.unexpected(&token, "control bits: an ICMP message has no ports"));
            }
            self.next()?;
            Body::Icmp(self.icmp()?)
        } else {
            Body::Tcp(self.tcp(direction, ports)?)
        };
        Ok(Packet { direction, encapsulation, ip, body })
    }

    fn encapsulation(&mut self) -> Result<Vec<Encapsulation>> {
        let mut headers = Vec::new();
        loop {
            let token = self.peek()?;
            let word = if token.kind == Kind::Word { token.text } else { "" };
            let header = match word {
                "ipv4" | "ipv6" => self.ip_header()?,
                "gre" => self.gre()?,
                "mpls" => self.mpls()?,
                _ => return Ok(headers),
            };
            headers.push(header);
            let colon = self.next()?;
            if !colon.is(':') {
                return Err(self.unexpected(&colon, "':' after this header"));
            }
        }
    }

    fn ip_header(&mut self) -> Result<Encapsulation> {
        let v4 = self.next()?.text == "ipv4";
        let src = self.address(v4)?;
        self.expect('>')?;
        let dst = self.address(v4)?;
        Ok(Encapsulation::Ip { src, dst })
    }

    /// An address; the colon that closes the header may stand right behind it.
    fn address(&mut self, v4: bool) -> Result<IpAddr> {
        self.lex.skip_blank()?;
        let start = self.lex.pos;
        let text = self.lex.take_while(|c| c.is_ascii_hexdigit() || c == '.' || c == ':');
        let fits = |text: &str| text.parse().ok().filter(|addr: &IpAddr| addr.is_ipv4() == v4);
        if let Some(addr) = fits(text) {
            return Ok(addr);
        }
        if let Some(addr) = text.strip_suffix(':').and_then(fits) {
            self.lex.pos -= 1;
            return Ok(addr);
        }
        let expected = if v4 { "an IPv4 address" } else { "an IPv6 address" };
        Err(self.lex.source.error(start, format!("'{text}'"), expected))
    }

    fn gre(&mut self) -> Result<Encapsulation> {
        self.next()?;
        let mut fields = Vec::new();
        while !self.peek()?.is(':') {
            let name = self.next()?;
            if name.kind != Kind::Word || !["flags", "proto", "sum", "off", "key", "seq"].contains(&name.text)
            {
                return Err(self.unexpected(&name, "':' or one of flags, proto, sum, off, key, seq"));
            }
            let max = if ["key", "seq"].contains(&name.text) { u32::MAX } else { 0xffff };
            let value = self.number(max.into(), "the value of this field")?;
            fields.push((name.text.to_owned(), value as u32));
            if !self.accept(',')? {
                break;
            }
        }
        Ok(Encapsulation::Gre(fields))
    }

    fn mpls(&mut self) -> Result<Encapsulation> {
        self.next()?;
        let mut labels = Vec::new();
        while labels.is_empty() || self.accept(',')? || self.peek()?.is('(') {
            self.expect('(')?;
            let mut entry = MplsLabel { label: 0, traffic_class: 0, bottom: false, ttl: 0 };
            loop {
                let token = self.next()?;
                match (token.kind, token.text) {
                    (Kind::Word, "label") => entry.label = self.number((1 << 20) - 1, "a label")? as u32,
                    (Kind::Word, "tc") => entry.traffic_class = self.number(7, "a traffic class")? as u8,
                    (Kind::Word, "ttl") => entry.ttl = self.number_u8("a time to live")?,
                    (Kind::Punct('['), _) if self.accept_word("S")? => {
                        self.expect(']')?;
                        entry.bottom = true;
                    }
                    _ => return Err(self.unexpected(&token, "label, tc, [S] or ttl")),
                }
                let sep = self.next()?;
                if sep.is(')') {
                    break;
                }
                if !sep.is(',') {
                    return Err(self.unexpected(&sep, "',' or ')'"));
                }
            }
            labels.push(entry);
        }
        Ok(Encapsulation::Mpls(labels))
    }

    /// `[ect0]`, `(tos 0x10, ttl 64)`, `[flowlabel 0x1]`, or nothing.
    fn ip_info(&mut self, direction: Direction) -> Result<IpInfo> {
        let mut info = IpInfo::default();
        while let Kind::Punct(open @ ('[' | '(')) = self.peek()?.kind {
            self.next()?;
            let close = if open == '[' { ']' } else { ')' };
            while !self.accept(close)? {
                self.ip_item(direction, &mut info)?;
                self.accept(',')?;
            }
        }
        Ok(info)
    }

    fn ip_item(&mut self, direction: Direction, info: &mut IpInfo) -> Result<()> {
        let token = self.next()?;
        let word = if token.kind == Kind::Word { token.text } else { "" };
        let ecn = match word {
            "noecn" => Ecn::NotEct,
            "ect0" => Ecn::Ect0,
            "ect1" => Ecn::Ect1,
            "ect01" if direction == Direction::Outbound => Ecn::Ect01,
            "ect01" => return Err(self.unexpected(&token, "ect0 or ect1 in a packet that is injected")),
            "ce" => Ecn::Ce,
            "tos" | "tclass" => {
                info.tos = Some(self.number_u8("the octet")?);
                return Ok(());
            }
            "ttl" | "hoplimit" | "hlim" => {
                info.ttl = Some(self.number_u8("a time to live")?);
                return Ok(());
            }
            "flowlabel" => {
                info.flow_label = Some(self.number(0xf_ffff, "a flow label")? as u32);
                return Ok(());
            }
            _ => {
                let known = "noecn, ect0, ect1, ect01, ce, tos N, ttl N or flowlabel N";
                return Err(self.unexpected(&token, known));
            }
        };
        info.ecn = Some(ecn);
        Ok(())
    }

    /// `8080 > 80`, or nothing: digits that are followed by `>` and not by letters.
    fn ports(&mut self) -> Result<Option<(u16, u16)>> {
        let mut ahead = self.lex;
        if ahead.next()?.kind != Kind::Int || !ahead.next()?.is('>') {
            return Ok(None);
        }
        let src = self.number_u16("a port")?;
        self.expect('>')?;
        let dst = self.number_u16("a port")?;
        Ok(Some((src, dst)))
    }

    fn udp_len(&mut self) -> Result<u32> {
        self.expect('(')?;
        let len = self.number(65_535 - 8, "the length of the payload")? as u32;
        self.expect(')')?;
        Ok(len)
    }

    fn tcp(&mut self, direction: Direction, ports: Option<(u16, u16)>) -> Result<Tcp> {
        let start = self.peek_start()?;
        let (flags, ace) = self.flags()?;
        let seq = self.seq_range()?;
        let mut tcp = Tcp {
            ports,
            flags,
            ace,
            seq,
            ack: None,
            window: None,
            urgent: None,
            options: Some(Vec::new()),
            gso: None,
        };
        let mut has_options = false;
        loop {
            let token = self.peek()?;
            match (token.kind, token.text) {
                (Kind::Word, "ack") if tcp.ack.is_none() => {
                    self.next()?;
                    tcp.ack = Some(self.number_u32("an acknowledgment number")?);
                }
                (Kind::Word, "win") if tcp.window.is_none() => {
                    self.next()?;
                    tcp.window = Some(self.number_u16("a window")?);
                }
                (Kind::Word, "urg") if tcp.urgent.is_none() => {
                    self.next()?;
                    tcp.urgent = Some(self.number_u16("an urgent pointer")?);
                }
                (Kind::Word, "gso" | "gro") if tcp.gso.is_none() => {
                    self.next()?;
                    tcp.gso = Some(self.number_u16("a segment size")?);
                }
                (Kind::Punct('<'), _) if !has_options => {
                    has_options = true;
                    tcp.options = self.options_of(direction)?;
                }
                _ => break,
            }
        }
        self.check_tcp(start, direction, &tcp)?;
        Ok(tcp)
    }

    /// What the words of a segment must say together.
    fn check_tcp(&self, start: usize, direction: Direction, tcp: &Tcp) -> Result<()> {
        // A reset's window means nothing; any other segment's is part of what is injected.
        if direction == Direction::Inbound && tcp.window.is_none() && !tcp.flags.contains(Flags::RST) {
            let found = "a segment to inject without a window";
            return Err(self.lex.source.error(start, found, "'win N'"));
        }
        let options = tcp.options.as_deref().unwrap_or(&[]);
        let room: usize = options.iter().map(TcpOption::wire_len).sum();
        if room > 40 || room % 4 != 0 {
            let found = format!("{room} bytes of TCP options");
            return Err(self.lex.source.error(
                start,
                found,
                "a multiple of 4, at most 40 (RFC 9293 3.1): nop or eol fill up",
            ));
        }
        Ok(())
    }

    /// Where what comes next starts.
    fn peek_start(&self) -> Result<usize> {
        let mut ahead = self.lex;
        ahead.skip_blank()?;
        Ok(ahead.pos)
    }

    /// `S`, `FP.`, `SEWA`, `P5.`, `-`.
    fn flags(&mut self) -> Result<(Flags, bool)> {
        let start = self.peek_start()?;
        self.lex.skip_blank()?;
        let text = self.lex.take_while(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_');
        let wrong = |at: usize, found: String| {
            let expected = "control bits, some of FSRP.UEWA or a digit for the three ECN bits, or '-'";
            self.lex.source.error(start + at, found, expected)
        };
        if text.is_empty() {
            let token = self.peek()?;
            return Err(wrong(0, token.describe()));
        }
        let mut flags = Flags::empty();
        let mut ace = None;
        for (at, c) in text.char_indices() {
            if let Some(digit) = c.to_digit(8).filter(|_| ace.is_none()) {
                ace = Some(digit);
                continue;
            }
            let flag = FlagLetters::LETTERS.iter().find(|(letter, _)| *letter == c);
            match flag {
                Some(&(_, flag)) if !flags.contains(flag) => flags |= flag,
                None if text == "-" => {}
                _ => return Err(wrong(at, format!("'{c}' in '{text}'"))),
            }
        }
        let Some(number) = ace else { return Ok((flags, false)) };
        for (i, bit) in FlagLetters::ACE.into_iter().enumerate() {
            if flags.contains(bit) {
                return Err(wrong(0, format!("'{text}': a digit and a letter for the same bits")));
            }
            flags.set(bit, number >> i & 1 != 0);
        }
        Ok((flags, true))
    }

    /// `1:1001(1000)`.
    pub(super) fn seq_range(&mut self) -> Result<SeqRange> {
        let token = self.peek()?;
        let start = self.number_u32("the first sequence number")?;
        self.expect(':')?;
        let end = self.number_u32("the last sequence number")?;
        self.expect('(')?;
        let len = self.number_u32("the length of the payload")?;
        self.expect(')')?;
        if end.wrapping_sub(start) != len {
            let found = format!("{start}:{end}({len})");
            let expected = format!("({}): the length of that range", end.wrapping_sub(start));
            return Err(self.lex.source.error(token.span.start, found, expected));
        }
        if len > 65_535 {
            return Err(self.unexpected(&token, "at most 65535 bytes of payload"));
        }
        Ok(SeqRange { start, end, len })
    }

    fn icmp(&mut self) -> Result<Icmp> {
        let token = self.next()?;
        if token.kind != Kind::Word || !icmp::is_type(token.text) {
            return Err(self.unexpected(&token, "the type of an ICMP message"));
        }
        let mut message = Icmp { kind: token.text.to_owned(), code: None, mtu: None, quoted: None };
        let token = self.peek()?;
        let names_code = token.kind == Kind::Word && token.text != "mtu";
        // A number is a code only on the same line: the next event may start with one.
        let gap = &self.lex.source.text[self.lex.pos..token.span.start];
        if names_code || (token.kind == Kind::Int && !gap.contains('\n')) {
            self.next()?;
            if !icmp::is_code(&message.kind, token.text) {
                return Err(self.unexpected(&token, format!("a code of ICMP {}", message.kind)));
            }
            message.code = Some(token.text.to_owned());
        }
        if self.accept_word("mtu")? {
            message.mtu = Some(self.number_u32("an MTU")?);
        }
        if self.accept('[')? {
            let quoted = if self.accept_word("udp")? {
                Quoted::Udp(self.udp_len()?)
            } else {
                self.accept_word("tcp")?;
                Quoted::Tcp(self.seq_range()?)
            };
            self.expect(']')?;
            message.quoted = Some(quoted);
        }
        Ok(message)
    }
}
