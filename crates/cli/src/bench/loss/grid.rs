//! What is measured: paths, algorithms, mixes of flows; and what Linux does there.

use sockeye::core::config::CongestionKind::{self, Bbr, Cubic, Dctcp, Reno};

pub const KINDS: [CongestionKind; 3] = [Cubic, Reno, Bbr];

/// A path, and what Linux 6.18 carries over it with cubic, reno and bbr (version 1), Mbit/s.
///
/// The figures of Linux were measured on a Linux 6.18 kernel: one flow, a drop-tail queue of one round trip's worth, medians
/// of three seeds, most of them at 100 Mbit/s and 50 ms. That is too few seeds to tell differences of less than a tenth where chance decides:
/// cubic with losses in bursts spreads from 4.9 to 10 Mbit/s over forty seeds here, and from 4.7 to 12.4 over thirty on Linux
/// (`--live`, whose median was 6.4 there).
///
/// BBR with losses is not held to what Linux carries. Linux's version 1 does not look at loss at all; version 3 takes a round
/// trip that lost more than 2 % for a sign that it is too fast, and lowers what it lets be in flight. At 3 % nearly all are
/// above that. At 1 % and 430 segments a round trip one of thirty is, one of six where losses come four at a time: what a
/// probe for more bandwidth learns then is that there is none, and it cruises at 85 % of that (its headroom) for seconds.
pub struct Path {
    pub link: &'static str,
    pub seconds: u64,
    pub linux: Option<[f64; 3]>,
}

const fn path(link: &'static str, seconds: u64, linux: Option<[f64; 3]>) -> Path {
    Path { link, seconds, linux }
}

/// Round trips of 10 us to 1 s, rates, losses alone and in bursts, reordering; the queue holds one round trip's worth.
pub const PATHS: [Path; 13] = [
    path("delay=25ms,rate=100mbit,queue=625kb", 30, Some([95.6, 95.6, 93.9])),
    path("delay=25ms,rate=100mbit,queue=625kb,up:loss=0.1%", 30, Some([11.3, 10.4, 93.4])),
    path("delay=25ms,rate=100mbit,queue=625kb,up:loss=1%", 30, Some([2.5, 2.6, 92.2])),
    path("delay=25ms,rate=100mbit,queue=625kb,up:loss=3%", 30, Some([1.15, 1.35, 90.3])),
    path("delay=25ms,rate=100mbit,queue=625kb,up:loss=1%,up:burst=4", 30, Some([7.0, 5.4, 92.2])),
    path("delay=25ms,rate=100mbit,queue=625kb,up:reorder=1%/5ms", 30, Some([95.5, 88.1, 94.0])),
    path("delay=100ms,rate=20mbit,queue=500kb,up:loss=1%", 30, Some([0.9, 0.7, 17.5])),
    path("delay=5ms,rate=500mbit,queue=625kb,up:loss=0.01%", 30, Some([132.2, 128.6, 472.4])),
    path("delay=5us,rate=10gbit,queue=1mb", 1, None),
    path("delay=50us,rate=1gbit,queue=256kb", 2, None),
    path("delay=5ms,rate=100mbit,queue=125kb", 10, None),
    path("delay=50ms,rate=1gbit,queue=12500kb", 10, None),
    path("delay=500ms,rate=100mbit,queue=12mb", 60, None),
];

/// A queue that marks early, as in a data centre, with ECN on both sides: where DCTCP belongs.
pub const MARKING_PATH: &str = "delay=500us,rate=1gbit,queue=500kb,mark=60kb";
pub const MARKING_KINDS: [CongestionKind; 4] = [Cubic, Reno, Bbr, Dctcp];
pub const MARKING_SECONDS: u64 = 3;

/// 100 KB over a fresh connection, from connect() to the last byte.
pub const SHORT_BYTES: u64 = 100_000;
pub const SHORT_PATHS: [&str; 2] =
    ["delay=25ms,rate=100mbit,queue=625kb", "delay=25ms,rate=100mbit,queue=625kb,loss=2%"];

/// Linux 6.18 with cubic, measured likewise, ms: median, 90th and 99th of a hundred; `None` where it was not measured.
pub fn linux_short(lossy: bool, kind: CongestionKind) -> Option<[Option<f64>; 3]> {
    match (lossy, kind) {
        (false, Cubic) => Some([Some(207.0), None, None]),
        (false, Bbr) => Some([Some(257.0), None, None]),
        (true, Cubic) => Some([Some(257.0), Some(531.0), Some(1_276.0)]),
        (true, Bbr) => Some([Some(286.0), None, Some(1_386.0)]),
        _ => None,
    }
}

const MIX_PATH: &str = "delay=25ms,rate=100mbit,queue=625kb";
/// Flows that share a link, the first named first; they start within a second of each other.
pub const MIXES: [(&str, &[CongestionKind], &str); 15] = [
    ("2 cubic", &[Cubic; 2], MIX_PATH),
    ("4 cubic", &[Cubic; 4], MIX_PATH),
    ("8 cubic", &[Cubic; 8], MIX_PATH),
    ("2 reno", &[Reno; 2], MIX_PATH),
    ("4 reno", &[Reno; 4], MIX_PATH),
    ("8 reno", &[Reno; 8], MIX_PATH),
    ("2 bbr", &[Bbr; 2], MIX_PATH),
    ("4 bbr", &[Bbr; 4], MIX_PATH),
    ("8 bbr", &[Bbr; 8], MIX_PATH),
    ("reno, cubic", &[Reno, Cubic], MIX_PATH),
    ("bbr, cubic", &[Bbr, Cubic], MIX_PATH),
    ("bbr, 3 cubic", &[Bbr, Cubic, Cubic, Cubic], MIX_PATH),
    ("2 bbr, 2 cubic", &[Bbr, Bbr, Cubic, Cubic], MIX_PATH),
    ("2 dctcp", &[Dctcp; 2], MARKING_PATH),
    ("8 dctcp", &[Dctcp; 8], MARKING_PATH),
];
