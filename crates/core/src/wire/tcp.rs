//! The TCP header and its options (RFC 9293 3.1, RFC 7323, RFC 2018, RFC 7413, RFC 5482).

use bitflags::bitflags;

use super::Malformed;
use super::checksum::{self, Sum};
use super::ip::{IpTemplate, protocol};
use super::{ipv4, lean};
use crate::packet::{Checksum, Head, MAX_PACKET, Packet, Payload};
use crate::tcp::SeqNum;

/// A TCP header without options.
pub const MIN_HEADER: usize = 20;

/// Where the checksum stands in a TCP header.
pub const CHECKSUM_AT: usize = 16;

/// Payloads up to this many bytes are copied behind the headers, so that no reference is kept.
pub const MAX_INLINE: usize = 64;

bitflags! {
    /// The control bits (RFC 9293 3.1; AE: RFC 9768).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub struct Flags: u16 {
        /// No more data from the sender.
        const FIN = 0x001;
        /// Synchronize sequence numbers.
        const SYN = 0x002;
        /// Reset the connection.
        const RST = 0x004;
        /// Push.
        const PSH = 0x008;
        /// The acknowledgment field is significant.
        const ACK = 0x010;
        /// The urgent pointer is significant.
        const URG = 0x020;
        /// ECN echo.
        const ECE = 0x040;
        /// Congestion window reduced.
        const CWR = 0x080;
        /// Accurate ECN (once the nonce sum bit).
        const AE = 0x100;
    }
}

/// A SACK block: `left` is its first byte, `right` the byte after its last (RFC 2018 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SackBlock {
    /// First sequence number of the block.
    pub left: SeqNum,
    /// The sequence number right after the block.
    pub right: SeqNum,
}

/// Up to four SACK blocks, in the order of the wire.
#[derive(Clone, Copy, Default)]
pub struct SackList {
    blocks: [SackBlock; 4],
    len: u8,
}

impl SackList {
    /// No blocks.
    pub const fn new() -> Self {
        SackList { blocks: [SackBlock { left: SeqNum(0), right: SeqNum(0) }; 4], len: 0 }
    }

    /// Adds a block at the end; false if four are there already.
    pub fn push(&mut self, block: SackBlock) -> bool {
        if usize::from(self.len) == self.blocks.len() {
            return false;
        }
        self.blocks[usize::from(self.len)] = block;
        self.len += 1;
        true
    }

    /// The blocks.
    pub fn as_slice(&self) -> &[SackBlock] {
        &self.blocks[..usize::from(self.len)]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n as u8);
    }
}

impl PartialEq for SackList {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for SackList {}

impl core::fmt::Debug for SackList {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// The Timestamps option (RFC 7323 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub val: u32,
    /// TSecr: the echo.
    pub ecr: u32,
}

/// The Fast Open option (RFC 7413 4.1.1): a request (no bytes) or a cookie of 4 to 16 bytes, even.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FastOpen {
    bytes: [u8; 16],
    len: u8,
    /// It stands under the experimental kind 254 with its magic number, as before RFC 7413 (and on Linux still).
    experimental: bool,
}

impl FastOpen {
    /// Asks for a cookie.
    pub const REQUEST: FastOpen = FastOpen { bytes: [0; 16], len: 0, experimental: false };

    /// A cookie; none if the length is not 4 to 16 and even.
    pub fn cookie(cookie: &[u8]) -> Option<FastOpen> {
        if !(4..=16).contains(&cookie.len()) || cookie.len() % 2 != 0 {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..cookie.len()].copy_from_slice(cookie);
        Some(FastOpen { bytes, len: cookie.len() as u8, experimental: false })
    }

    /// The same under the experimental kind, or under its own.
    pub const fn under_experimental_kind(self, experimental: bool) -> FastOpen {
        FastOpen { experimental, ..self }
    }

    /// Whether it stands under the experimental kind.
    pub const fn is_experimental(&self) -> bool {
        self.experimental
    }

    /// Bytes of the option with what fills it up.
    pub(super) fn padded_len(&self) -> usize {
        let head = if self.experimental { 4 } else { 2 };
        (head + usize::from(self.len)).next_multiple_of(4)
    }

    /// The cookie, empty if this is a request.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The Accurate ECN option (RFC 9768 3.2.3): up to three counters of 24 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccEcn {
    /// Kind 174: EE1B, ECEB, EE0B; else 172: EE0B, ECEB, EE1B.
    pub order1: bool,
    len: u8,
    bytes: [u8; 9],
}

impl AccEcn {
    /// With these counters, of which the lower 24 bits count, at most three.
    pub fn new(order1: bool, counters: &[u32]) -> AccEcn {
        let mut option = AccEcn { order1, len: counters.len().min(3) as u8, bytes: [0; 9] };
        for (counter, bytes) in counters.iter().zip(option.bytes.chunks_exact_mut(3)) {
            bytes.copy_from_slice(&counter.to_be_bytes()[1..]);
        }
        option
    }

    /// From an option's body: what is no whole counter is ignored (RFC 9768 3.2.3.1).
    pub(super) fn parse(order1: bool, body: &[u8]) -> AccEcn {
        let mut option = AccEcn { order1, len: (body.len() / 3).min(3) as u8, bytes: [0; 9] };
        let len = usize::from(option.len) * 3;
        option.bytes[..len].copy_from_slice(&body[..len]);
        option
    }

    /// Its counters in the order of the wire.
    pub fn counters(&self) -> impl Iterator<Item = u32> + '_ {
        self.as_slice().chunks_exact(3).map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]]))
    }

    /// ECEB: bytes that arrived with CE, modulo 2^24.
    pub fn ceb(&self) -> Option<u32> {
        self.counters().nth(1)
    }

    /// The counters' bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len) * 3]
    }
}

/// The options of one segment that the stack knows; unknown ones are skipped by their length (MUST-6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size (kind 2), as it stands on the wire.
    pub mss: Option<u16>,
    /// Window scale (kind 3), as it stands on the wire: may be above 14.
    pub window_scale: Option<u8>,
    /// SACK permitted (kind 4).
    pub sack_permitted: bool,
    /// SACK blocks (kind 5).
    pub sack: SackList,
    /// Timestamps (kind 8).
    pub timestamps: Option<Timestamps>,
    /// User timeout (kind 28), the 16 bits as they stand on the wire: granularity bit and value.
    pub user_timeout: Option<u16>,
    /// Fast Open (kind 34).
    pub fast_open: Option<FastOpen>,
    /// Accurate ECN (kinds 172 and 174).
    pub accurate_ecn: Option<AccEcn>,
    /// The digest of an MD5 signature (kind 19, RFC 2385).
    pub signature: Option<[u8; 16]>,
    /// Set by parsing when an option's length was 0, 1 or beyond the header, so that it stopped there (MUST-7).
    pub malformed: bool,
}

/// A TCP header, options included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// SEG.ACK; zero on the wire unless ACK is set.
    pub ack: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as it stands on the wire, unscaled.
    pub window: u16,
    /// SEG.UP.
    pub urgent: u16,
    /// Options.
    pub options: Options,
}

impl Header {
    /// Parses the header at the front of a segment. `bytes` may end anywhere after the header.
    ///
    /// Returns it with its length in bytes (20 to 60). Reserved bits are ignored (RFC 9293 3.1); what is
    /// wrong inside the options never fails, see [`Options::parse`]. The checksum is not looked at.
    ///
    /// # Errors
    /// [`Malformed::TooShort`] below 20 bytes; [`Malformed::BadDataOffset`] if the data offset is below 5
    /// or the options run over `bytes`.
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Result<(Header, usize), Malformed> {
        let Some((fixed, _)) = bytes.split_first_chunk::<MIN_HEADER>() else {
            return Err(Malformed::TooShort);
        };
        let header_len = usize::from(fixed[12] >> 4) * 4;
        if header_len < MIN_HEADER || header_len > bytes.len() {
            return Err(Malformed::BadDataOffset);
        }
        let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let flags = Flags::from_bits_truncate(half(12) & 0x1ff);
        let options = Options::parse(&bytes[MIN_HEADER..header_len], flags.contains(Flags::SYN));
        let header = Header {
            src_port: half(0),
            dst_port: half(2),
            seq: SeqNum(word(4)),
            ack: SeqNum(word(8)),
            flags,
            window: half(14),
            urgent: half(18),
            options,
        };
        Ok((header, header_len))
    }

    /// Length of the options as [`Header::emit`] writes them, padding included (0 to 40, a multiple of four).
    pub fn options_len(&self) -> usize {
        self.options.wire_len()
    }

    /// Length of the header as [`Header::emit`] writes it (20 to 60).
    pub fn wire_len(&self) -> usize {
        MIN_HEADER + self.options_len()
    }

    /// Adds the header to `head`, with a checksum field of zero and reserved bits of zero.
    /// SEG.ACK and SEG.UP are written as zero unless their control bit is set.
    #[inline]
    pub fn emit(&self, head: &mut Head) {
        let len = self.wire_len();
        let out = head.grow(len);
        out[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        out[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        out[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        if self.flags.contains(Flags::ACK) {
            out[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        }
        let offset_and_flags = ((len as u16 / 4) << 12) | self.flags.bits();
        out[12..14].copy_from_slice(&offset_and_flags.to_be_bytes());
        out[14..16].copy_from_slice(&self.window.to_be_bytes());
        if self.flags.contains(Flags::URG) {
            out[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        }
        if len > MIN_HEADER {
            self.options.emit(&mut out[MIN_HEADER..]);
        }
    }
}

/// Who computes the checksum of a segment that is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ChecksumMode {
    /// It is computed here, over all slices; the packet's state is [`Checksum::Unverified`].
    #[default]
    Complete,
    /// It is left to whoever puts the packet on a wire; the packet's state is [`Checksum::Partial`].
    ///
    /// The field then holds the folded sum of the pseudo-header over the packet's whole TCP length (of a
    /// super-segment: all of it), **not** complemented, as virtio's NEEDS_CSUM and Linux's CHECKSUM_PARTIAL
    /// want it: summing from the TCP header to the end, field included, and complementing gives the checksum.
    Partial,
}

/// Builds a segment: headers inline, the payload by reference, or inline if it has at most [`MAX_INLINE`] bytes.
///
/// `gso_size` is the payload of each wire segment, if the packet is a super-segment; it is dropped where the
/// payload does not exceed it. The payload must leave the packet within [`MAX_PACKET`].
pub fn build(
    ip: &IpTemplate<'_>,
    tcp: &Header,
    payload: Payload,
    gso_size: u16,
    mode: ChecksumMode,
) -> Packet {
    let mut packet = Packet::default();
    build_into(&mut packet, ip, tcp, payload, gso_size, mode);
    packet
}

/// [`build`] where the packet is to stand: `packet` is empty.
#[inline]
pub fn build_into(
    packet: &mut Packet,
    ip: &IpTemplate<'_>,
    tcp: &Header,
    payload: Payload,
    gso_size: u16,
    mode: ChecksumMode,
) {
    let (lean, text) = (lean::addresses(ip, tcp), payload.len());
    let tcp_at = match lean {
        Some(_) => {
            _ = lean::text_in(packet, tcp, 0);
            ipv4::MIN_HEADER
        }
        None => emit_headers(&mut packet.head, ip, tcp, payload.len()),
    };
    let gso = gso_size != 0 && payload.len() > usize::from(gso_size);
    packet.gso_size = if gso { gso_size } else { 0 };
    if payload.len() <= MAX_INLINE && payload.len() <= packet.head.room() {
        for slice in payload.slices() {
            packet.head.extend(slice);
        }
    } else {
        packet.payload = payload;
    }
    match lean {
        Some(addresses) => lean::write(packet, addresses, (ip, tcp), text, mode),
        None => finish(packet, ip, tcp_at, mode),
    }
}

/// [`build_into`] of `len` bytes of payload, which `copy` writes behind the headers, where there is room for them.
#[inline]
pub(crate) fn build_short_into(
    packet: &mut Packet,
    ip: &IpTemplate<'_>,
    tcp: &Header,
    len: usize,
    copy: impl FnOnce(&mut [u8]),
    mode: ChecksumMode,
) {
    let tcp_at = emit_headers(&mut packet.head, ip, tcp, len);
    copy(packet.head.grow(len));
    finish(packet, ip, tcp_at, mode);
}

/// Builds a segment whose payload, at most [`MAX_INLINE`] bytes, is copied inline.
pub fn build_inline(ip: &IpTemplate<'_>, tcp: &Header, payload: &[u8], mode: ChecksumMode) -> Packet {
    let mut packet = Packet::default();
    let tcp_at = emit_headers(&mut packet.head, ip, tcp, payload.len());
    if payload.len() <= packet.head.room() {
        packet.head.extend(payload);
    } else {
        packet.payload = Payload::from(bytes::Bytes::copy_from_slice(payload));
    }
    finish(&mut packet, ip, tcp_at, mode);
    packet
}

/// Writes both headers; returns where the TCP header begins.
fn emit_headers(head: &mut Head, ip: &IpTemplate<'_>, tcp: &Header, payload_len: usize) -> usize {
    let tcp_len = tcp.wire_len() + payload_len;
    debug_assert!(ip.header_len() + tcp_len <= MAX_PACKET, "a packet of {tcp_len} TCP bytes");
    ip.emit(head, protocol::TCP, tcp_len);
    let tcp_at = head.as_slice().len();
    tcp.emit(head);
    tcp_at
}

fn finish(packet: &mut Packet, ip: &IpTemplate<'_>, tcp_at: usize, mode: ChecksumMode) {
    let mut sum = checksum::pseudo_header(ip.src, ip.dst, protocol::TCP, packet.len() - tcp_at);
    let field = match mode {
        ChecksumMode::Partial => {
            packet.checksum = Checksum::Partial;
            sum.folded()
        }
        ChecksumMode::Complete => {
            add_all(&mut sum, packet, tcp_at);
            sum.checksum()
        }
    };
    let at = tcp_at + CHECKSUM_AT;
    packet.head.as_mut_slice()[at..at + 2].copy_from_slice(&field.to_be_bytes());
}

/// Adds the packet's bytes from `at`, which lies in its head, to the end.
fn add_all(sum: &mut Sum, packet: &Packet, at: usize) {
    sum.add(&packet.head.as_slice()[at..]);
    for slice in packet.payload.slices() {
        sum.add(slice);
    }
}

#[cfg(test)]
mod tests;
