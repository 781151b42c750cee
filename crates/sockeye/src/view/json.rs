//! Records and `tcp_info` as JSON: one object each, numbers as numbers, times in seconds.

use serde_json::{Map, Value, json};
use sockeye_core::tcp::TcpInfo;
use sockeye_core::trace::{Record, What};
use sockeye_core::wire::tcp::Header;
use sockeye_core::{Duration, Instant};

use super::ladder::flags_text;

/// One record. `event` says which kind: `state`, `sent`, `received`, `dropped`, `timer`, `congestion`, `ended`.
pub fn record_to_json(record: &Record) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("time", json!(seconds(record.at)));
    put("event", json!(kind(&record.what)));
    put("socket", json!(record.socket.map(|id| id.to_u64())));
    put("local", json!(record.tuple.local.to_string()));
    put("remote", json!(record.tuple.remote.to_string()));
    match &record.what {
        What::State { from, to, why } => {
            put("from", json!(from.name()));
            put("to", json!(to.name()));
            put("why", json!(why.name()));
        }
        What::Sent { header, len, gso_size, why, state } => {
            put("segment", segment(header, *len, *gso_size));
            put("why", json!(why.text()));
            put("state", json!(state.name()));
        }
        What::Received { header, len, gso_size, state } => {
            put("segment", segment(header, *len, *gso_size));
            put("state", json!(state.name()));
        }
        What::Dropped { reason, seq } => {
            put("reason", json!(format!("{reason:?}")));
            put("text", json!(reason.text()));
            put("seq", json!(seq.map(|seq| seq.0)));
        }
        What::Timer(timer) => {
            put("timer", json!(timer.name()));
        }
        What::Congestion { cwnd, ssthresh, srtt, min_rtt, pacing_rate, delivery_rate, undone, state } => {
            put("cwnd", json!(cwnd));
            put("ssthresh", json!(ssthresh));
            put("srtt", json!(srtt.as_secs_f64()));
            put("min_rtt", json!(min_rtt.as_secs_f64()));
            put("pacing_rate", json!(pacing_rate));
            put("delivery_rate", json!(delivery_rate));
            put("undone", json!(undone.map(|undone| undone.name())));
            put("state", json!(state));
        }
        What::Ended { error } => {
            put("error", json!(error.map(|error| error.name())));
        }
        _ => {}
    }
    Value::Object(object)
}

fn kind(what: &What) -> &'static str {
    match what {
        What::State { .. } => "state",
        What::Sent { .. } => "sent",
        What::Received { .. } => "received",
        What::Dropped { .. } => "dropped",
        What::Timer(_) => "timer",
        What::Congestion { .. } => "congestion",
        What::Ended { .. } => "ended",
        _ => "other",
    }
}

fn seconds(at: Instant) -> f64 {
    at.since(Instant::ZERO).as_secs_f64()
}

fn segment(header: &Header, len: u32, gso_size: u16) -> Value {
    let options = &header.options;
    let mut out = json!({
        "flags": flags_text(header.flags),
        "seq": header.seq.0,
        "ack": header.ack.0,
        "len": len,
        "win": header.window,
    });
    let mut put = |name: &str, value: Value| out[name] = value;
    if gso_size != 0 {
        put("gso_size", json!(gso_size));
    }
    if header.urgent != 0 {
        put("urgent", json!(header.urgent));
    }
    if let Some(mss) = options.mss {
        put("mss", json!(mss));
    }
    if let Some(scale) = options.window_scale {
        put("wscale", json!(scale));
    }
    if options.sack_permitted {
        put("sack_permitted", json!(true));
    }
    if let Some(stamps) = options.timestamps {
        put("ts", json!({ "val": stamps.val, "ecr": stamps.ecr }));
    }
    if !options.sack.is_empty() {
        let blocks = options.sack.as_slice().iter().map(|block| json!([block.left.0, block.right.0]));
        put("sack", blocks.collect());
    }
    out
}

/// `tcp_info` under the names of Linux's `struct tcp_info`; times in seconds.
pub fn tcp_info_to_json(info: &TcpInfo) -> Value {
    let secs = |duration: Duration| json!(duration.as_secs_f64());
    let rows = [
        ("state", json!(info.state.name())),
        ("ca_state", json!(info.ca_state)),
        ("retransmits", json!(info.retransmits)),
        ("probes", json!(info.probes)),
        ("backoff", json!(info.backoff)),
        ("options", json!(info.options)),
        ("snd_wscale", json!(info.snd_wscale)),
        ("rcv_wscale", json!(info.rcv_wscale)),
        ("rto", secs(info.rto)),
        ("ato", secs(info.ato)),
        ("snd_mss", json!(info.snd_mss)),
        ("rcv_mss", json!(info.rcv_mss)),
        ("unacked", json!(info.unacked)),
        ("sacked", json!(info.sacked)),
        ("lost", json!(info.lost)),
        ("retrans", json!(info.retrans)),
        ("last_data_sent", secs(info.last_data_sent)),
        ("last_data_recv", secs(info.last_data_recv)),
        ("last_ack_recv", secs(info.last_ack_recv)),
        ("pmtu", json!(info.pmtu)),
        ("rcv_ssthresh", json!(info.rcv_ssthresh)),
        ("rtt", secs(info.rtt)),
        ("rttvar", secs(info.rttvar)),
        ("min_rtt", secs(info.min_rtt)),
        ("snd_ssthresh", json!(info.snd_ssthresh)),
        ("snd_cwnd", json!(info.snd_cwnd)),
        ("advmss", json!(info.advmss)),
        ("reordering", json!(info.reordering)),
        ("rcv_rtt", secs(info.rcv_rtt)),
        ("rcv_space", json!(info.rcv_space)),
        ("total_retrans", json!(info.total_retrans)),
        ("pacing_rate", json!(info.pacing_rate)),
        ("bytes_acked", json!(info.bytes_acked)),
        ("bytes_received", json!(info.bytes_received)),
        ("bytes_sent", json!(info.bytes_sent)),
        ("bytes_retrans", json!(info.bytes_retrans)),
        ("segs_out", json!(info.segs_out)),
        ("segs_in", json!(info.segs_in)),
        ("data_segs_in", json!(info.data_segs_in)),
        ("data_segs_out", json!(info.data_segs_out)),
        ("notsent_bytes", json!(info.notsent_bytes)),
        ("delivery_rate", json!(info.delivery_rate)),
        ("delivered", json!(info.delivered)),
        ("dsack_dups", json!(info.dsack_dups)),
        ("reord_seen", json!(info.reord_seen)),
        ("rcv_ooopack", json!(info.rcv_ooopack)),
        ("snd_wnd", json!(info.snd_wnd)),
        ("rcv_wnd", json!(info.rcv_wnd)),
        ("total_rto", json!(info.total_rto)),
    ];
    Value::Object(rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
