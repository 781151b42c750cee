//! The TCP header and its options (RFC 9293 3.1, RFC 7323, RFC 2018, RFC 7413, RFC 5482).

use bitflags::bitflags;

use crate::tcp::SeqNum;

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
}

impl FastOpen {
    /// Asks for a cookie.
    pub const REQUEST: FastOpen = FastOpen { bytes: [0; 16], len: 0 };

    /// A cookie; none if the length is not 4 to 16 and even.
    pub fn cookie(cookie: &[u8]) -> Option<FastOpen> {
        if !(4..=16).contains(&cookie.len()) || cookie.len() % 2 != 0 {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..cookie.len()].copy_from_slice(cookie);
        Some(FastOpen { bytes, len: cookie.len() as u8 })
    }

    /// The cookie, empty if this is a request.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
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
