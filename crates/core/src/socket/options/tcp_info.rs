//! TCP_INFO as Linux's `struct tcp_info` lays it out (`linux/tcp.h`, as of Linux 6.7: 248 bytes).

use alloc::vec::Vec;

use crate::Errno;
use crate::socket::SocketId;
use crate::stack::Stack;
use crate::tcp::{State, TcpInfo};
use crate::time::{Duration, Instant};

/// `sizeof(struct tcp_info)`.
pub(super) const SIZE: usize = 248;

impl Stack {
    /// TCP_INFO (posix-tcpinfo-a): of a connection all of it; of a listener how many connections wait in
    /// `unacked` and how many may in `sacked`; of other sockets the state alone.
    pub fn tcp_info(&self, now: Instant, id: SocketId) -> Result<TcpInfo, Errno> {
        let socket = self.entry(id)?;
        if let Some(connection) = socket.connection() {
            let mut info = connection.info(now, self.config());
            if info.state == State::TimeWait {
                info.state = State::Closed; // Linux: the socket itself is closed by then
            }
            return Ok(info);
        }
        let mut info = TcpInfo { state: socket.state(), ..TcpInfo::default() };
        if let Some((waiting, limit)) = self.accept_queue(id)? {
            info.unacked = waiting;
            info.sacked = limit;
        }
        Ok(info)
    }
}

/// The struct's bytes.
pub(super) fn encode(info: &TcpInfo) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(SIZE));
    out.bytes(&[
        info.state.linux_number(),
        info.ca_state,
        info.retransmits,
        info.probes,
        info.backoff,
        info.options,
        (info.snd_wscale & 15) | info.rcv_wscale << 4,
        u8::from(info.delivery_rate_app_limited) | (info.fastopen_client_fail & 3) << 1,
    ]);
    out.micros32(&[info.rto, info.ato]);
    out.u32s(&[info.snd_mss, info.rcv_mss]);
    out.u32s(&[info.unacked, info.sacked, info.lost, info.retrans, info.fackets]);
    for time in [info.last_data_sent, info.last_ack_sent, info.last_data_recv, info.last_ack_recv] {
        out.u32s(&[millis(time)]);
    }
    out.u32s(&[info.pmtu, info.rcv_ssthresh]);
    out.micros32(&[info.rtt, info.rttvar]);
    out.u32s(&[info.snd_ssthresh, info.snd_cwnd, info.advmss, info.reordering]);
    out.micros32(&[info.rcv_rtt]);
    out.u32s(&[info.rcv_space, info.total_retrans]);
    out.u64s(&[info.pacing_rate, info.max_pacing_rate, info.bytes_acked, info.bytes_received]);
    out.u32s(&[info.segs_out, info.segs_in, info.notsent_bytes]);
    out.micros32(&[info.min_rtt]);
    out.u32s(&[info.data_segs_in, info.data_segs_out]);
    out.u64s(&[info.delivery_rate]);
    for time in [info.busy_time, info.rwnd_limited, info.sndbuf_limited] {
        out.u64s(&[u64::try_from(time.as_micros()).unwrap_or(u64::MAX)]);
    }
    out.u32s(&[info.delivered, info.delivered_ce]);
    out.u64s(&[info.bytes_sent, info.bytes_retrans]);
    out.u32s(&[info.dsack_dups, info.reord_seen, info.rcv_ooopack, info.snd_wnd, info.rcv_wnd, info.rehash]);
    out.bytes(&info.total_rto.to_ne_bytes());
    out.bytes(&info.total_rto_recoveries.to_ne_bytes());
    out.u32s(&[millis(info.total_rto_time)]);
    out.0
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

struct Out(Vec<u8>);

impl Out {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn u32s(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|n| self.bytes(&n.to_ne_bytes()));
    }

    fn u64s(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|n| self.bytes(&n.to_ne_bytes()));
    }

    fn micros32(&mut self, times: &[Duration]) {
        times.iter().for_each(|t| self.u32s(&[u32::try_from(t.as_micros()).unwrap_or(u32::MAX)]));
    }
}
