//! What a connection tells of itself: Linux's `struct tcp_info`, by its names.

use crate::tcp::state::State;
use crate::time::Duration;

/// The fields of Linux's `struct tcp_info` in rich types (`linux/tcp.h`), and the addresses' MSS and windows.
///
/// Counts of segments are segments of the wire; a super-segment counts as what it stands for.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // the names and meanings are those of Linux's struct tcp_info
pub struct TcpInfo {
    pub state: State,
    /// Linux's number of the congestion state: Open 0, Disorder 1, CWR 2, Recovery 3, Loss 4.
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    /// Bits: timestamps 1, SACK 2, window scale 4, ECN 8, ECN seen 16, SYN data 32.
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub delivery_rate_app_limited: bool,
    pub fastopen_client_fail: u8,
    pub rto: Duration,
    pub ato: Duration,
    /// Bytes.
    pub snd_mss: u32,
    /// Bytes.
    pub rcv_mss: u32,
    /// Segments in flight; of a listener, connections waiting for `accept`.
    pub unacked: u32,
    /// Segments SACKed; of a listener, its backlog.
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub fackets: u32,
    pub last_data_sent: Duration,
    pub last_ack_sent: Duration,
    pub last_data_recv: Duration,
    pub last_ack_recv: Duration,
    pub pmtu: u32,
    /// Bytes.
    pub rcv_ssthresh: u32,
    pub rtt: Duration,
    pub rttvar: Duration,
    /// Segments.
    pub snd_ssthresh: u32,
    /// Segments.
    pub snd_cwnd: u32,
    /// Bytes.
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: Duration,
    /// Bytes.
    pub rcv_space: u32,
    /// Segments retransmitted over the connection's life.
    pub total_retrans: u32,
    /// Bytes a second.
    pub pacing_rate: u64,
    pub max_pacing_rate: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: Duration,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    /// Bytes a second.
    pub delivery_rate: u64,
    pub busy_time: Duration,
    pub rwnd_limited: Duration,
    pub sndbuf_limited: Duration,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    /// Bytes: the peer's window.
    pub snd_wnd: u32,
    /// Bytes: our window.
    pub rcv_wnd: u32,
    pub rehash: u32,
    pub total_rto: u16,
    pub total_rto_recoveries: u16,
    pub total_rto_time: Duration,
    /// Bytes free for `send` in the TX buffer, and its size.
    pub send_buffer: (u32, u32),
    /// Bytes to read in the RX buffer, and its size.
    pub receive_buffer: (u32, u32),
}
