//! `tcp_info` under the names and in the units that assertions use.

use sockeye_core::tcp::TcpInfo;
use std::time::Duration;

fn micros(time: Duration) -> i128 {
    time.as_micros() as i128
}

fn millis(time: Duration) -> i128 {
    time.as_millis() as i128
}

/// The member of Linux's `struct tcp_info` of that name (`tcpi_snd_cwnd`), in Linux's unit.
pub fn value(info: &TcpInfo, name: &str) -> Option<i128> {
    let number = match name.strip_prefix("tcpi_")? {
        "state" => info.state.linux_number().into(),
        "ca_state" => info.ca_state.into(),
        "retransmits" => info.retransmits.into(),
        "probes" => info.probes.into(),
        "backoff" => info.backoff.into(),
        "options" => info.options.into(),
        "snd_wscale" => info.snd_wscale.into(),
        "rcv_wscale" => info.rcv_wscale.into(),
        "delivery_rate_app_limited" => info.delivery_rate_app_limited.into(),
        "fastopen_client_fail" => info.fastopen_client_fail.into(),
        "rto" => micros(info.rto),
        "ato" => micros(info.ato),
        "snd_mss" => info.snd_mss.into(),
        "rcv_mss" => info.rcv_mss.into(),
        "unacked" => info.unacked.into(),
        "sacked" => info.sacked.into(),
        "lost" => info.lost.into(),
        "retrans" => info.retrans.into(),
        "fackets" => info.fackets.into(),
        "last_data_sent" => millis(info.last_data_sent),
        "last_ack_sent" => millis(info.last_ack_sent),
        "last_data_recv" => millis(info.last_data_recv),
        "last_ack_recv" => millis(info.last_ack_recv),
        "pmtu" => info.pmtu.into(),
        "rcv_ssthresh" => info.rcv_ssthresh.into(),
        "rtt" => micros(info.rtt),
        "rttvar" => micros(info.rttvar),
        "snd_ssthresh" => info.snd_ssthresh.into(),
        "snd_cwnd" => info.snd_cwnd.into(),
        "advmss" => info.advmss.into(),
        "reordering" => info.reordering.into(),
        "rcv_rtt" => micros(info.rcv_rtt),
        "rcv_space" => info.rcv_space.into(),
        "total_retrans" => info.total_retrans.into(),
        other => return newer(info, other),
    };
    Some(number)
}

/// The members that were added to the struct later.
fn newer(info: &TcpInfo, name: &str) -> Option<i128> {
    let number = match name {
        "pacing_rate" => info.pacing_rate.into(),
        "max_pacing_rate" => info.max_pacing_rate.into(),
        "bytes_acked" => info.bytes_acked.into(),
        "bytes_received" => info.bytes_received.into(),
        "segs_out" => info.segs_out.into(),
        "segs_in" => info.segs_in.into(),
        "notsent_bytes" => info.notsent_bytes.into(),
        "min_rtt" => micros(info.min_rtt),
        "data_segs_in" => info.data_segs_in.into(),
        "data_segs_out" => info.data_segs_out.into(),
        "delivery_rate" => info.delivery_rate.into(),
        "busy_time" => micros(info.busy_time),
        "rwnd_limited" => micros(info.rwnd_limited),
        "sndbuf_limited" => micros(info.sndbuf_limited),
        "delivered" => info.delivered.into(),
        "delivered_ce" => info.delivered_ce.into(),
        "bytes_sent" => info.bytes_sent.into(),
        "bytes_retrans" => info.bytes_retrans.into(),
        "dsack_dups" => info.dsack_dups.into(),
        "reord_seen" => info.reord_seen.into(),
        "rcv_ooopack" => info.rcv_ooopack.into(),
        "snd_wnd" => info.snd_wnd.into(),
        "rcv_wnd" => info.rcv_wnd.into(),
        "rehash" => info.rehash.into(),
        "total_rto" => info.total_rto.into(),
        "total_rto_recoveries" => info.total_rto_recoveries.into(),
        "total_rto_time" => millis(info.total_rto_time),
        _ => return None,
    };
    Some(number)
}
