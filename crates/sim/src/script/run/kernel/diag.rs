//! `tcp_info` of the host's connections, asked through netlink (`NETLINK_SOCK_DIAG`): a half-open or closing connection has
//! no socket to ask.

use std::io;
use std::net::IpAddr;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::script::run::Ends;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const INET_DIAG_INFO: u16 = 2;
const NETLINK_HEADER: usize = 16;
const DIAG_MESSAGE: usize = 72;

/// The host's `struct tcp_info` as it lies in memory.
pub struct HostInfo(Vec<u8>);

/// Members of four bytes, by their place; those of other sizes are in [`HostInfo::value`].
const FOUR: [(&str, usize); 39] = [
    ("rto", 8),
    ("ato", 12),
    ("snd_mss", 16),
    ("rcv_mss", 20),
    ("unacked", 24),
    ("sacked", 28),
    ("lost", 32),
    ("retrans", 36),
    ("fackets", 40),
    ("last_data_sent", 44),
    ("last_ack_sent", 48),
    ("last_data_recv", 52),
    ("last_ack_recv", 56),
    ("pmtu", 60),
    ("rcv_ssthresh", 64),
    ("rtt", 68),
    ("rttvar", 72),
    ("snd_ssthresh", 76),
    ("snd_cwnd", 80),
    ("advmss", 84),
    ("reordering", 88),
    ("rcv_rtt", 92),
    ("rcv_space", 96),
    ("total_retrans", 100),
    ("segs_out", 136),
    ("segs_in", 140),
    ("notsent_bytes", 144),
    ("min_rtt", 148),
    ("data_segs_in", 152),
    ("data_segs_out", 156),
    ("delivered", 192),
    ("delivered_ce", 196),
    ("dsack_dups", 216),
    ("reord_seen", 220),
    ("rcv_ooopack", 224),
    ("snd_wnd", 228),
    ("rcv_wnd", 232),
    ("rehash", 236),
    ("total_rto_time", 244),
];

/// Members of eight bytes.
const EIGHT: [(&str, usize); 10] = [
    ("pacing_rate", 104),
    ("max_pacing_rate", 112),
    ("bytes_acked", 120),
    ("bytes_received", 128),
    ("delivery_rate", 160),
    ("busy_time", 168),
    ("rwnd_limited", 176),
    ("sndbuf_limited", 184),
    ("bytes_sent", 200),
    ("bytes_retrans", 208),
];

impl HostInfo {
    /// What `getsockopt(TCP_INFO)` brought.
    pub fn new(bytes: Vec<u8>) -> HostInfo {
        HostInfo(bytes)
    }

    /// Asks for the connection between these ends; none if there is none.
    pub fn ask(ends: &Ends) -> io::Result<Option<HostInfo>> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        rustix::net::send(&socket, &request(ends), SendFlags::empty())?;
        let mut answer = vec![0; 8192];
        let (len, _) = rustix::net::recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
        answer.truncate(len);
        Ok(info_in(&answer).map(HostInfo))
    }

    /// The member of that name (`tcpi_snd_cwnd`), in Linux's unit.
    pub fn value(&self, name: &str) -> Option<i128> {
        let byte = |at: usize| self.0.get(at).copied().map(i128::from);
        let name = name.strip_prefix("tcpi_")?;
        match name {
            "state" => byte(0),
            "ca_state" => byte(1),
            "retransmits" => byte(2),
            "probes" => byte(3),
            "backoff" => byte(4),
            "options" => byte(5),
            "snd_wscale" => byte(6).map(|both| both & 15),
            "rcv_wscale" => byte(6).map(|both| both >> 4),
            "delivery_rate_app_limited" => byte(7).map(|bits| bits & 1),
            "fastopen_client_fail" => byte(7).map(|bits| bits >> 1 & 3),
            "total_rto" => self.number(240, 2),
            "total_rto_recoveries" => self.number(242, 2),
            _ => {
                let four = FOUR.iter().find(|(known, _)| *known == name).map(|&(_, at)| (at, 4));
                let eight = EIGHT.iter().find(|(known, _)| *known == name).map(|&(_, at)| (at, 8));
                let (at, len) = four.or(eight)?;
                self.number(at, len)
            }
        }
    }

    fn number(&self, at: usize, len: usize) -> Option<i128> {
        let bytes = self.0.get(at..at + len)?;
        let mut whole = [0; 8];
        // struct tcp_info is in the host's order; the hosts that this runs on are little-endian or say so here.
        if cfg!(target_endian = "little") {
            whole[..len].copy_from_slice(bytes);
        } else {
            whole[8 - len..].copy_from_slice(bytes);
        }
        Some(i128::from(u64::from_ne_bytes(whole)))
    }
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`.
fn request(ends: &Ends) -> Vec<u8> {
    const REQUEST: u16 = 1;
    let mut out = Vec::with_capacity(NETLINK_HEADER + 56);
    out.extend_from_slice(&72u32.to_ne_bytes());
    out.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend_from_slice(&REQUEST.to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    let family = if ends.local.is_ipv4() { 2 } else { 10 };
    out.extend_from_slice(&[family, super::super::TCP, 1 << (INET_DIAG_INFO - 1), 0]);
    out.extend_from_slice(&u32::MAX.to_ne_bytes());
    out.extend_from_slice(&ends.local.port().to_be_bytes());
    out.extend_from_slice(&ends.remote.port().to_be_bytes());
    for ip in [ends.local.ip(), ends.remote.ip()] {
        let mut field = [0; 16];
        match ip {
            IpAddr::V4(v4) => field[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => field.copy_from_slice(&v6.octets()),
        }
        out.extend_from_slice(&field);
    }
    out.extend_from_slice(&0u32.to_ne_bytes());
    out.extend_from_slice(&[0xff; 8]);
    out
}

/// The attribute INET_DIAG_INFO of an answer.
fn info_in(answer: &[u8]) -> Option<Vec<u8>> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind == NLMSG_ERROR {
        return None;
    }
    let mut rest = answer.get(NETLINK_HEADER + DIAG_MESSAGE..)?;
    while rest.len() >= 4 {
        let len = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]);
        if kind == INET_DIAG_INFO {
            return Some(rest.get(4..len)?.to_vec());
        }
        rest = rest.get(len.max(4).next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_attribute_and_its_members() {
        let mut answer = vec![0; NETLINK_HEADER + DIAG_MESSAGE];
        answer.extend_from_slice(&[5, 0, 8, 0, 1, 0, 0, 0]);
        let mut info = vec![0; 248];
        info[0] = 4;
        info[6] = 0x73;
        info[80..84].copy_from_slice(&10u32.to_ne_bytes());
        info[120..128].copy_from_slice(&(1u64 << 33).to_ne_bytes());
        info[240..242].copy_from_slice(&9u16.to_ne_bytes());
        answer.extend_from_slice(&[252, 0, 2, 0]);
        answer.extend_from_slice(&info);
        let info = HostInfo(info_in(&answer).expect("there is one"));
        for (name, value) in [
            ("tcpi_state", 4),
            ("tcpi_snd_wscale", 3),
            ("tcpi_rcv_wscale", 7),
            ("tcpi_snd_cwnd", 10),
            ("tcpi_bytes_acked", 1 << 33),
            ("tcpi_total_rto", 9),
        ] {
            assert_eq!(info.value(name), Some(value), "{name}");
        }
        assert_eq!(info.value("tcpi_nonsense"), None);
        assert_eq!(info_in(&answer[..30]), None);
    }
}
