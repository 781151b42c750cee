//! What a handshake agrees on: of the passive side, before there is a connection.

use crate::tcp::SeqNum;
use crate::tcp::segment::Tuple;

/// A connection request that was answered: all that the final ACK does not repeat.
///
/// A SYN queue entry holds one, and a SYN cookie restores one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HalfOpen {
    /// Between whom.
    pub tuple: Tuple,
    /// The peer's initial sequence number.
    pub irs: SeqNum,
    /// Ours.
    pub iss: SeqNum,
    /// SEG.WND of the SYN, unscaled.
    pub window: u16,
    /// The window we announced in the SYN-ACK, unscaled.
    pub our_window: u16,
    /// The peer's MSS option, or the default where it had none (MUST-15).
    pub peer_mss: u16,
    /// Both window scales if both sides offered: the peer's (at most 14) and ours.
    pub window_scale: Option<(u8, u8)>,
    /// SACK was agreed.
    pub sack: bool,
    /// Timestamps were agreed: TSval of the SYN.
    pub ts_recent: Option<u32>,
    /// What is added to our timestamp clock for this connection (RFC 7323 7.1).
    pub ts_offset: u32,
    /// How often the SYN-ACK was sent again: loss makes the initial window smaller (RFC 6928).
    pub retransmits: u8,
    /// When the SYN-ACK was first sent, for a first RTT sample; [`crate::Instant::NEVER`] if unknown (cookie).
    pub sent_at: crate::time::Instant,
    /// ECN was agreed (RFC 3168, or RFC 9768 if `accurate`).
    pub ecn: bool,
    /// Accurate ECN was agreed.
    pub accurate: bool,
    /// A SYN without it came later: marks are fed back, and none sent (RFC 9768 3.1.5).
    pub not_ect: bool,
    /// The traffic class of the SYN's packet.
    pub tos: u8,
}
