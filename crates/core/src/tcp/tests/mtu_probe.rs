//! The path MTU by probes, and black holes (RFC 4821, RFC 2923).

use alloc::collections::BTreeMap;

use super::kit::*;
use super::*;
use crate::config::MtuProbing;

fn always() -> Config {
    let mut config = Config { mtu_probing: MtuProbing::Always, ..Config::new(Profile::Linux) };
    config.timestamps = false;
    config.window_scaling = false;
    config
}

/// A connection with SACK and a peer whose path swallows packets longer than `carries`.
struct Path4821 {
    h: Host,
    carries: usize,
    nxt: u32,
    /// What came out of order: begin and end.
    held: BTreeMap<u32, u32>,
    /// Packets that were swallowed, with their time.
    swallowed: Vec<(Instant, usize)>,
    /// Lengths of packets that passed.
    passed: Vec<usize>,
}

const RTT: Duration = Duration::from_millis(20);

impl Path4821 {
    fn new(config: Config, carries: usize) -> Self {
        let h = Host::established_with(config, Options::default(), |o| o.sack_permitted = true);
        let (held, swallowed, passed) = (BTreeMap::new(), Vec::new(), Vec::new());
        Path4821 { h, carries, nxt: 1_001, held, swallowed, passed }
    }

    /// What leaves now goes its way; the ACKs come after a round trip. False if nothing left.
    fn round(&mut self, drop: impl Fn(&Outgoing) -> bool) -> bool {
        let out = self.h.recv_all();
        if out.is_empty() {
            return false;
        }
        let end = self.h.now + RTT;
        let mut acks = Vec::new();
        for o in out {
            let len = o.data.len() + 40;
            if len > self.carries || drop(&o) {
                self.swallowed.push((self.h.now, len));
                continue;
            }
            self.passed.push(len);
            let (from, to) = (o.hdr.seq.0, o.hdr.seq.0 + o.data.len() as u32);
            let mut newest = None;
            if from <= self.nxt {
                self.nxt = self.nxt.max(to);
                while let Some((&begin, &end)) = self.held.first_key_value()
                    && begin <= self.nxt
                {
                    self.nxt = self.nxt.max(end);
                    self.held.remove(&begin);
                }
            } else {
                self.held.insert(from, to);
                newest = Some((from, to));
            }
            let blocks: Vec<_> = newest.into_iter().collect();
            acks.push(Seg::new(ACK, 5_001, self.nxt).sack(&blocks));
        }
        if self.h.now < end {
            self.h.now = end;
        }
        for ack in acks {
            self.h.send(ack);
        }
        true
    }

    /// Sends `rounds` round trips of bulk data.
    fn bulk(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.h.write(&[5; 60_000]);
            if !self.round(|_| false) {
                self.h.advance(secs(300));
            }
        }
    }

    fn probes(&self) -> (u64, u64) {
        (self.h.stats.tcp_mtup_success, self.h.stats.tcp_mtup_fail)
    }
}

/// The first segments have the size to start from, the first probe is within interface and peer's MSS, and
/// a path that carries it is found at once.
/// Shows: rfc4821-s7.2-a
#[test]
fn starts_low_and_finds_the_whole_path() {
    let mut p = Path4821::new(always(), 1_500);
    assert_eq!(p.h.info().snd_mss, 1_024);
    p.bulk(20);
    assert_eq!((p.h.info().snd_mss, p.probes()), (1_460, (1, 0)));
    assert!(p.passed.iter().all(|len| matches!(len, 1_064 | 1_500) || *len < 1_064), "{:?}", p.passed);
    // The start is configurable; the peer's MSS bounds the end, whatever the interface takes.
    let mut config = always();
    config.base_mss = 512;
    let mut p = Path4821::new(config, 1_500);
    p.h.conn.peer_mss = 1_200;
    if let Some(search) = &mut p.h.conn.search {
        search.high = 1_240;
    }
    assert_eq!(p.h.info().snd_mss, 512);
    p.bulk(30);
    assert_eq!(p.h.info().snd_mss, 1_200);
    assert!(p.swallowed.is_empty() && p.passed.iter().max() == Some(&1_240));
    assert!(Path4821::new(plain(), 1_500).h.conn.search.is_none());
}

/// The range narrows around what the path carries, then probing rests for ten minutes; a path that carries
/// more by then is found.
/// Shows: rfc4821-s7.3-a, rfc1191-s3-c
#[test]
fn converges_rests_and_searches_again() {
    let mut p = Path4821::new(always(), 1_420);
    p.bulk(600);
    let mtu = p.h.info().snd_mss as usize + 40;
    assert!((1_420 - 8..=1_420).contains(&mtu), "{mtu}");
    let before = p.probes();
    let until = p.h.now + secs(300);
    while p.h.now < until {
        p.bulk(5);
        p.h.now += secs(1);
    }
    assert_eq!(p.probes(), before, "no probe for five minutes");
    p.carries = 1_500;
    p.h.now += secs(301);
    p.bulk(20);
    assert_eq!(p.h.info().snd_mss, 1_460);
}

/// A lost probe is no congestion, and its text arrives in smaller segments; a neighbour lost with it is. A larger
/// MSS leaves the window in bytes as it was.
/// Shows: rfc4821-s4-a, rfc8201-s5.4-a
#[test]
fn only_the_loss_of_more_than_the_probe_is_congestion() {
    for neighbour in [false, true] {
        let mut p = Path4821::new(always(), 1_500);
        let mut probe = None;
        for _ in 0..30 {
            p.h.write(&[5; 60_000]);
            let (before, threshold) = p.h.cwnd();
            let fails = p.probes();
            let at = core::cell::Cell::new(probe);
            p.round(|o| {
                if o.why == Why::MtuProbe && at.get().is_none() {
                    at.set(Some(o.hdr.seq + o.data.len() as u32));
                    return true;
                }
                neighbour && at.get() == Some(o.hdr.seq) && !o.why.is_retransmission()
            });
            if probe.is_none() {
                probe = at.get();
            }
            if p.probes() != fails || p.h.cwnd().1 != threshold {
                let (cwnd, ssthresh) = p.h.cwnd();
                if neighbour {
                    assert!(ssthresh < before, "a reduction");
                    assert_eq!(p.probes().1, 0, "the probe says nothing");
                } else {
                    assert_eq!((p.probes(), ssthresh), ((0, 1), threshold));
                    assert!(cwnd >= before);
                    assert_eq!(p.h.info().snd_mss, 1_024);
                }
                break;
            }
        }
        assert!(probe.is_some());
        for _ in 0..50 {
            if !p.round(|_| false) {
                p.h.advance(secs(2));
            }
        }
        assert!(p.held.is_empty() && p.nxt == p.h.conn.snd.end().0, "all has arrived");
        p.h.check_invariants();
    }
    let mut p = Path4821::new(always(), 1_500);
    while p.probes().0 == 0 {
        p.h.write(&[5; 60_000]);
        let before = p.h.cwnd().0;
        let acked = p.nxt;
        let passed = p.passed.len();
        p.round(|_| false);
        assert!(p.nxt > acked);
        // As Linux counts: a segment for each that is acknowledged, short or long.
        let segs = (p.passed.len() - passed) as u32;
        assert!(p.h.cwnd().0 <= before + segs * p.h.info().snd_mss, "no more than slow start adds");
    }
}

/// After a failed probe the next is smaller, and as many round trips away as the window has segments.
/// Shows: rfc4821-s7.6-a
#[test]
fn failed_probes_are_rare_and_narrow_the_range() {
    let mut p = Path4821::new(always(), 1_100);
    p.bulk(400);
    let lost: Vec<_> = p.swallowed.iter().filter(|(_, len)| *len > 1_100).copied().collect();
    assert!(lost.len() >= 3, "{lost:?}");
    for pair in lost.windows(2) {
        assert!(pair[1].1 < pair[0].1, "{pair:?}");
        assert!(pair[1].0.since(pair[0].0) >= RTT * 10, "{pair:?}");
    }
    assert_eq!(p.probes().1 as usize, lost.len());
}

/// "Too big" for a probe: no congestion, and no probe goes there again.
/// Shows: rfc8201-s5.4-a
#[test]
fn a_report_about_a_probe_bounds_the_search() {
    let mut p = Path4821::new(always(), 1_500);
    let probe = loop {
        p.h.write(&[5; 60_000]);
        let out = p.h.recv_all();
        if let Some(probe) = out.iter().find(|o| o.why == Why::MtuProbe) {
            break probe.hdr.seq.0;
        }
        let end = p.h.conn.snd.nxt.0;
        p.h.now += RTT;
        p.h.ack(end);
    };
    let before = p.h.cwnd();
    let outcome = p.h.icmp(too_big(1_400), probe);
    assert_eq!(outcome.pmtu, Some(1_400));
    assert_eq!((p.h.cwnd().1, p.h.info().snd_mss), (before.1, 1_024));
    assert!(p.h.cwnd().0 >= before.0);
    let again = p.h.recv_all();
    assert!(again.iter().any(|o| o.hdr.seq.0 == probe && o.data.len() <= 1_024));
    p.h.now += RTT;
    let end = p.h.conn.snd.nxt.0;
    p.h.ack(end);
    p.nxt = end;
    p.bulk(40);
    assert_eq!(p.h.info().snd_mss, 1_360);
    assert_eq!(p.passed.iter().max(), Some(&1_400));
}

/// Full segments vanish without a word: time-outs make them smaller, and the transfer goes on long before R2.
/// Shows: rfc2923-s2.1-a, rfc4821-s7.7-a
#[test]
fn a_black_hole_is_noticed() {
    let mut config = always();
    config.mtu_probing = MtuProbing::BlackHole;
    for (carries, want) in [(1_300, 1_024), (600, 512), (300, 256), (150, 64)] {
        let mut p = Path4821::new(config.clone(), carries);
        let data = 20_000;
        assert_eq!(p.h.write(&pattern(data)), data);
        let start = p.h.now;
        let mut sizes = Vec::new();
        while p.nxt < 1_001 + data as u32 {
            p.round(|_| false);
            if sizes.last() != Some(&p.h.info().snd_mss) {
                sizes.push(p.h.info().snd_mss);
            }
            if !p.h.conn.wants_transmit() && p.nxt < 1_001 + data as u32 {
                p.h.advance(secs(200));
            }
            assert!(p.h.done.is_none(), "R2 at {:?}", p.h.now.since(start));
        }
        assert!(sizes.windows(2).all(|pair| pair[1] < pair[0]), "stepwise: {sizes:?}");
        assert_eq!(sizes.last(), Some(&want), "{sizes:?}");
    }
    // Without it the connection dies, as Linux's does by default.
    config.mtu_probing = MtuProbing::Off;
    let mut p = Path4821::new(config, 1_300);
    p.h.write(&pattern(20_000));
    for _ in 0..60 {
        p.round(|_| false);
        p.h.advance(secs(200));
    }
    assert_eq!((p.h.done, p.nxt), (Some(Done::Closed), 1_001));
}

/// Where full segments did get through, losses do not make them smaller at once, as they would for good on a link that
/// loses many; a path that swallows them from now on is noticed still.
/// Shows: rfc2923-s2.1-a, rfc4821-s7.7-a
#[test]
fn full_segments_that_got_through_speak_against_a_black_hole() {
    let mut config = always();
    config.mtu_probing = MtuProbing::BlackHole;
    let mut p = Path4821::new(config, 1_500);
    p.bulk(5);
    for _ in 0..3 {
        p.h.write(&[5; 60_000]);
        p.round(|_| true);
        for _ in 0..4 {
            p.h.wait(secs(200)).expect("again");
        }
        assert!(p.h.info().retransmits >= 3);
        assert_eq!(p.h.info().snd_mss, 1_460);
        p.h.advance(secs(200));
        p.bulk(5);
        assert_eq!((p.h.info().retransmits, p.h.info().snd_mss), (0, 1_460));
    }
    p.carries = 1_300;
    let before = p.nxt;
    for _ in 0..60 {
        p.h.write(&[5; 60_000]);
        if !p.round(|_| false) {
            p.h.advance(secs(200));
        }
    }
    assert!(p.nxt - before > 20_000 && p.h.done.is_none(), "{} bytes more", p.nxt - before);
    assert!((512..=1_260).contains(&p.h.info().snd_mss), "{}", p.h.info().snd_mss);
}

/// Segments made smaller vanish as well: it is not their size, and once something is heard of the peer they are as long as
/// those that got through before. (Small ones for good would make a link that loses much a useless one.)
/// Shows: rfc4821-s7.7-a
#[test]
fn smaller_segments_that_vanish_too_speak_against_a_black_hole() {
    let mut config = always();
    config.mtu_probing = MtuProbing::BlackHole;
    let mut p = Path4821::new(config, 1_500);
    p.bulk(5);
    p.h.write(&[5; 60_000]);
    p.round(|_| true);
    let mut sizes = Vec::new();
    for _ in 0..10 {
        p.h.advance(secs(200));
        p.round(|_| true);
        sizes.push(p.h.info().snd_mss);
    }
    assert!(sizes.contains(&1_460) && sizes.contains(&1_024), "{sizes:?}");
    assert!(sizes.iter().all(|&size| size >= 512), "not smaller and smaller: {sizes:?}");
    p.h.advance(secs(200));
    p.bulk(3);
    assert_eq!((p.h.info().retransmits, p.h.info().snd_mss), (0, 1_460));
}

/// Never below what every link of the family carries; short segments that vanish are no sign of a black hole.
/// Shows: rfc4821-s7.7-a
#[test]
fn a_black_hole_search_has_a_floor() {
    let mut config = plain();
    config.tlp = false;
    for ipv6 in [false, true] {
        let mut h = if ipv6 {
            Host::established_on(config.clone(), tuple_v6(), 1_500, |o| o.mss = Some(1_440))
        } else {
            Host::established(config.clone(), Options::default())
        };
        h.write(&pattern(10_000));
        h.recv_all();
        for _ in 0..12 {
            h.wait(secs(200)).expect("again");
        }
        let least = if ipv6 { 1_220 } else { 48 };
        assert_eq!(h.info().snd_mss, least);
        assert_eq!(h.conn.searched_mtu(), if ipv6 { 1_280 } else { 88 });
    }
    let mut h = Host::established(config, Options::default());
    h.write(&pattern(100));
    h.recv_all();
    for _ in 0..8 {
        assert_eq!(h.wait(secs(200)).expect("again").data.len(), 100);
    }
    assert!(h.info().snd_mss >= 1_024);
}
