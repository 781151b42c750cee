//! What a connection tells of itself: Linux's `struct tcp_info`, by its names.

use crate::tcp::congestion::INFINITE;
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

impl super::Connection {
    /// Fills in [`TcpInfo`] from the connection's variables; nothing is changed by asking.
    pub(super) fn make_info(&self, now: crate::Instant, config: &crate::Config) -> TcpInfo {
        let policy = self.rto_policy(config);
        let mss = u32::from(self.mss).max(1);
        let since =
            |at: crate::Instant| if at == crate::Instant::ZERO { Duration::ZERO } else { now.since(at) };
        let c = &self.counters;
        let flight = self.flight.as_deref();
        let segs = |bytes: u32| bytes.div_ceil(mss);
        let [busy_time, rwnd_limited, sndbuf_limited] = self.waited(now);
        TcpInfo {
            state: self.state,
            ca_state: self.ca_state() as u8,
            retransmits: if self.persisting { 0 } else { self.retries },
            probes: if self.persisting { self.retries } else { self.keepalive_probes },
            backoff: self.rtt.backoff(),
            options: u8::from(self.agreed.timestamps)
                | u8::from(self.agreed.sack) << 1
                | u8::from(self.agreed.window_scaling) << 2
                | u8::from(self.ecn.agreed || self.ecn.accurate.is_some()) << 3
                | u8::from(self.ecn.seen) << 4
                | u8::from(self.facts.syn_data_acked) << 5,
            snd_wscale: self.snd.wscale,
            rcv_wscale: self.rcv.wscale,
            fastopen_client_fail: self.facts.client_fail,
            delivery_rate_app_limited: self.persist.delivery_rate_app_limited(),
            rto: self.rtt.rto(&policy),
            ato: Duration::from_micros(u64::from(self.rcv.ack.ato)),
            snd_mss: mss,
            rcv_mss: u32::from(self.rcv.mss),
            unacked: flight.map_or(0, |f| f.segs_outstanding()),
            sacked: flight.map_or(0, |f| f.sacked()),
            lost: flight.map_or(0, |f| f.lost()),
            retrans: flight.map_or(0, |f| f.retrans_out()),
            last_data_sent: since(c.last_data_sent),
            last_data_recv: since(self.rcv.ack.last_data),
            last_ack_recv: since(c.last_ack_recv),
            pmtu: u32::from(self.path.pmtu),
            rcv_ssthresh: self.rcv.ssthresh(),
            rtt: self.rtt.srtt().unwrap_or_default(),
            rttvar: self.rtt.rttvar(),
            snd_ssthresh: if self.cc.ssthresh() == INFINITE { INFINITE } else { segs(self.cc.ssthresh()) },
            snd_cwnd: segs(self.cc.cwnd()),
            advmss: self.rcv.own_mss(),
            reordering: u32::from(self.persist.reordering()),
            rcv_rtt: Duration::from_micros(u64::from(self.rcv.drs.rtt)),
            rcv_space: self.rcv.drs.space,
            total_retrans: c.total_retrans,
            pacing_rate: self.pacing_rate(config),
            max_pacing_rate: self.options.max_pacing_rate,
            bytes_acked: c.bytes_acked,
            bytes_received: c.bytes_received,
            segs_out: c.segs_out,
            segs_in: c.segs_in,
            notsent_bytes: self.snd.unsent(),
            min_rtt: self.rtt.min_rtt().unwrap_or_default(),
            data_segs_in: c.data_segs_in,
            data_segs_out: c.data_segs_out,
            delivery_rate: self.persist.delivery_rate(),
            busy_time,
            rwnd_limited,
            sndbuf_limited,
            delivered: self.persist.delivered().div_ceil(u64::from(mss)) as u32,
            delivered_ce: self.ecn.accurate.as_ref().map_or(0, |a| a.delivered_ce()),
            bytes_sent: c.bytes_sent,
            bytes_retrans: c.bytes_retrans,
            dsack_dups: c.dsack_dups,
            reord_seen: u32::from(self.persist.reord_seen()),
            rcv_ooopack: c.rcv_ooopack,
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.wnd_announced(),
            send_buffer: (self.send_room() as u32, self.snd.capacity),
            receive_buffer: (self.readable() as u32, self.receive_capacity()),
            ..TcpInfo::default()
        }
    }
}
