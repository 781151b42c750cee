//! Sysctls, by Linux's names, as settings of a stack.

use sockeye_core::config::{CongestionKind, Ecn, FastOpenBits, FastOpenKeys, MtuProbing, SynCookies};
use sockeye_core::{Config, Duration};

type Result<T> = std::result::Result<T, String>;

/// Sysctls whose mechanism this stack does not have. A script may set them to a value at which Linux does not use it
/// either; `None` allows every value, because none shows in the segments of one
/// connection in virtual time: they limit queues, other hosts' metrics or what a busy machine does.
const ABSENT: [(&str, Option<&[&str]>); 34] = [
    ("tcp_comp_sack_nr", None),
    ("tcp_comp_sack_delay_ns", None),
    ("tcp_comp_sack_slack_ns", None),
    ("tcp_early_demux", None),
    ("tcp_mem", None),
    ("ip_nonlocal_bind", None),
    ("tcp_ecn_fallback", None),
    ("tcp_fack", Some(&["0"])),
    ("tcp_stdurg", Some(&["0"])),
    ("tcp_thin_dupack", Some(&["0"])),
    ("tcp_shrink_window", Some(&["0"])),
    ("tcp_reflect_tos", Some(&["0"])),
    ("tcp_migrate_req", Some(&["0"])),
    ("tcp_plb_enabled", Some(&["0"])),
    ("tcp_workaround_signed_windows", Some(&["0"])),
    ("tcp_pingpong_thresh", Some(&["1"])),
    ("tcp_fwmark_accept", Some(&["0"])),
    ("tcp_l3mdev_accept", Some(&["0"])),
    ("tcp_no_metrics_save", None),
    ("tcp_no_ssthresh_metrics_save", None),
    ("tcp_tso_win_divisor", Some(&["3"])),
    ("tcp_tso_rtt_log", None),
    ("tcp_limit_output_bytes", None),
    ("tcp_autocorking", None),
    ("tcp_min_rtt_wlen", None),
    ("tcp_challenge_ack_limit", None),
    ("tcp_low_latency", None),
    ("tcp_retrans_collapse", None),
    ("tcp_backlog_ack_defer", None),
    ("tcp_fastopen_blackhole_timeout_sec", None),
    ("tcp_available_congestion_control", None),
    ("tcp_allowed_congestion_control", None),
    ("tcp_adv_win_scale", None),
    ("tcp_app_win", Some(&["31"])),
];

/// Sets a sysctl by its dotted name; fails with the reason if the stack does not have it.
pub fn set(config: &mut Config, name: &str, value: &str) -> Result<()> {
    match name {
        "net.core.somaxconn" => config.somaxconn = number(value)?,
        "net.core.rmem_max" => config.rmem_max = number(value)?,
        "net.core.wmem_max" => config.wmem_max = number(value)?,
        "net.core.default_qdisc" | "net.core.optmem_max" | "net.core.netdev_max_backlog" => {}
        _ => {
            let Some(short) = name.strip_prefix("net.ipv4.").or_else(|| name.strip_prefix("net.ipv6."))
            else {
                return Err(format!("the sysctl {name} is not one of this stack's"));
            };
            if !handshake(config, short, value)?
                && !transfer(config, short, value)?
                && !ip(config, short, value)?
            {
                return absent(name, short, value);
            }
        }
    }
    Ok(())
}

fn absent(name: &str, short: &str, value: &str) -> Result<()> {
    match ABSENT.iter().find(|(known, _)| *known == short) {
        None => Err(format!("the sysctl {name} is not one of this stack's")),
        Some((_, None)) => Ok(()),
        Some((_, Some(values))) if values.contains(&value) => Ok(()),
        Some((_, Some(values))) => Err(format!(
            "this stack does not have what {name}={value} asks for, only {}",
            values.join(" or ")
        )),
    }
}

fn handshake(config: &mut Config, name: &str, value: &str) -> Result<bool> {
    match name {
        "tcp_syn_retries" => config.syn_retries = number(value)?,
        "tcp_syn_linear_timeouts" => config.syn_linear_timeouts = number(value)?,
        "tcp_synack_retries" => config.synack_retries = number(value)?,
        "tcp_max_syn_backlog" => config.max_syn_backlog = number(value)?,
        "tcp_syncookies" => {
            config.syncookies = match value {
                "0" => SynCookies::Off,
                "1" => SynCookies::WhenFull,
                "2" => SynCookies::Always,
                _ => return Err(format!("tcp_syncookies is 0, 1 or 2, not {value}")),
            }
        }
        "tcp_abort_on_overflow" => config.abort_on_overflow = flag(value)?,
        "tcp_window_scaling" => config.window_scaling = flag(value)?,
        // 2 is without a random offset, which no script can tell.
        "tcp_timestamps" => config.timestamps = number::<u8>(value)? != 0,
        "tcp_sack" => config.sack = flag(value)?,
        "tcp_dsack" => config.dsack = flag(value)?,
        "tcp_min_snd_mss" => config.min_snd_mss = number(value)?,
        "tcp_ecn" => {
            let ecn = Ecn::from_number(number(value)?);
            config.ecn = ecn.ok_or_else(|| format!("tcp_ecn is 0 to 5, not {value}"))?;
        }
        "tcp_ecn_option" => {
            config.ecn_option = number(value)?;
            if config.ecn_option > 3 {
                return Err(format!("tcp_ecn_option is 0 to 3, not {value}"));
            }
        }
        "tcp_ecn_option_beacon" => config.ecn_option_beacon = number(value)?,
        "tcp_mtu_probing" => {
            config.mtu_probing = match value {
                "0" => MtuProbing::Off,
                "1" => MtuProbing::BlackHole,
                "2" => MtuProbing::Always,
                _ => return Err(format!("tcp_mtu_probing is 0, 1 or 2, not {value}")),
            }
        }
        "tcp_base_mss" => config.base_mss = number(value)?,
        "tcp_mtu_probe_floor" => config.mtu_probe_floor = number(value)?,
        "tcp_probe_threshold" => config.probe_threshold = number(value)?,
        "tcp_probe_interval" => config.probe_interval = seconds(value)?,
        "tcp_fastopen" => config.fastopen = FastOpenBits::from_bits_truncate(number(value)?),
        "tcp_fastopen_key" => config.fastopen_key = Some(fast_open_keys(value)?),
        "tcp_fin_timeout" => config.fin_timeout = seconds(value)?,
        "tcp_max_tw_buckets" => config.max_tw_buckets = number(value)?,
        "tcp_tw_reuse" => config.tw_reuse = number::<u8>(value)? != 0,
        "tcp_rfc1337" => config.rfc1337 = flag(value)?,
        "tcp_max_orphans" => config.max_orphans = number(value)?,
        "tcp_orphan_retries" => config.orphan_retries = number(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn transfer(config: &mut Config, name: &str, value: &str) -> Result<bool> {
    match name {
        "tcp_rmem" => config.rmem = three(value)?,
        "tcp_wmem" => config.wmem = three(value)?,
        "tcp_congestion_control" => {
            config.congestion = CongestionKind::from_name(value)
                .ok_or_else(|| format!("this stack does not have the congestion control {value}"))?;
        }
        "tcp_min_tso_segs" => config.min_tso_segs = number(value)?,
        "tcp_notsent_lowat" if value == "-1" => config.notsent_lowat = u32::MAX,
        "tcp_notsent_lowat" => config.notsent_lowat = number(value)?,
        "tcp_pacing_ss_ratio" => config.pacing_ss_ratio = number(value)?,
        "tcp_pacing_ca_ratio" => config.pacing_ca_ratio = number(value)?,
        "tcp_moderate_rcvbuf" => config.moderate_rcvbuf = flag(value)?,
        "tcp_slow_start_after_idle" => config.slow_start_after_idle = flag(value)?,
        "tcp_rto_min_us" => config.rto_min = Duration::from_micros(number(value)?),
        "tcp_rto_max_ms" => config.rto_max = Duration::from_millis(number(value)?),
        "tcp_retries1" => config.retries1 = number(value)?,
        "tcp_retries2" => config.retries2 = number(value)?,
        "tcp_reordering" => config.reordering = number(value)?,
        "tcp_max_reordering" => config.max_reordering = number(value)?,
        "tcp_thin_linear_timeouts" => config.thin_linear_timeouts = flag(value)?,
        "tcp_recovery" => config.rack = number::<u8>(value)? & 1 != 0,
        // 3 and 4 are tail loss probes; below that is early retransmit, long gone from Linux.
        "tcp_early_retrans" => config.tlp = number::<u8>(value)? >= 3,
        "tcp_frto" => config.frto = number::<u8>(value)? != 0,
        "tcp_keepalive_time" => config.keepalive_time = seconds(value)?,
        "tcp_keepalive_intvl" => config.keepalive_interval = seconds(value)?,
        "tcp_keepalive_probes" => config.keepalive_probes = number(value)?,
        "tcp_invalid_ratelimit" => config.invalid_ratelimit = Duration::from_millis(number(value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn ip(config: &mut Config, name: &str, value: &str) -> Result<bool> {
    match name {
        "ip_no_pmtu_disc" => config.pmtu_discovery = number::<u8>(value)? == 0,
        "route.min_pmtu" => config.min_pmtu = number(value)?,
        "route.mtu_expires" => config.mtu_expires = seconds(value)?,
        "ip_default_ttl" => config.default_ttl = number(value)?,
        "ip_unprivileged_port_start" => config.unprivileged_port_start = number(value)?,
        "ip_local_port_range" => {
            let numbers: Vec<&str> = value.split_whitespace().collect();
            let [first, last] = numbers[..] else { return Err(format!("'{value}' is not two ports")) };
            let (first, last): (u16, u16) = (number(first)?, number(last)?);
            if first == 0 || first > last {
                return Err(format!("'{value}' is not a range of ports"));
            }
            config.local_port_range = first..=last;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A number, decimal or hexadecimal, that fits its setting.
fn number<T: TryFrom<i64>>(value: &str) -> Result<T> {
    let number = match value.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => value.parse(),
    };
    number
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("'{value}' is not a number in range"))
}

fn flag(value: &str) -> Result<bool> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(format!("'{value}' is neither 0 nor 1")),
    }
}

fn seconds(value: &str) -> Result<Duration> {
    number::<u32>(value).map(|seconds| Duration::from_secs(seconds.into()))
}

/// Minimum, initial and maximum, rising.
fn three(value: &str) -> Result<[u32; 3]> {
    let numbers: Result<Vec<u32>> = value.split_whitespace().map(number).collect();
    match numbers?[..] {
        [min, initial, max] if min <= max => Ok([min, initial, max]),
        _ => Err(format!("'{value}' is not minimum, initial size and maximum")),
    }
}

/// One key or two, each as four words in hexadecimal: `a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4[,...]`.
fn fast_open_keys(value: &str) -> Result<FastOpenKeys> {
    let key = |text: &str| -> Result<[u8; 16]> {
        let wrong = || format!("tcp_fastopen_key is four words of hexadecimal, not {text}");
        let mut key = [0; 16];
        let words: Vec<&str> = text.split('-').collect();
        if words.len() != 4 {
            return Err(wrong());
        }
        for (word, bytes) in words.into_iter().zip(key.chunks_exact_mut(4)) {
            let word = u32::from_str_radix(word, 16).map_err(|_| wrong())?;
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Ok(key)
    };
    let (primary, backup) = match value.split_once(',') {
        Some((primary, backup)) => (primary, Some(key(backup)?)),
        None => (value, None),
    };
    Ok(FastOpenKeys { primary: key(primary)?, backup })
}
