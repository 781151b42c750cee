//! The link does what was asked of it, measured.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::*;
use crate::packet::Packet;
use crate::time::{Duration, Instant};

fn spec(text: &str) -> LinkSpec {
    text.parse().unwrap_or_else(|e: SpecError| panic!("{e}"))
}

fn packet(n: u32, len: usize) -> Packet {
    let mut bytes = alloc::vec![0u8; len];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    Packet::from_bytes(bytes.into())
}

fn number(packet: &Packet) -> u32 {
    u32::from_be_bytes(packet.to_vec()[..4].try_into().unwrap())
}

/// Sends `n` packets of `len` bytes, one each `gap`; returns what arrives, and when.
fn run(link: &mut Direction, n: u32, len: usize, gap: Duration) -> Vec<(Instant, Packet)> {
    let mut out = Vec::new();
    let mut now = Instant::ZERO;
    for i in 0..n {
        link.send(now, packet(i, len));
        now += gap;
    }
    while !link.next_deadline().is_never() {
        let at = link.next_deadline();
        while let Some(packet) = link.receive(at) {
            out.push((at, packet));
        }
    }
    out
}

#[test]
fn delay_and_rate_are_what_was_asked_for() {
    let mut link = Impairment::new(&spec("delay=40ms,rate=100mbit,queue=10mb")).up;
    let got = run(&mut link, 1_000, 1_250, Duration::ZERO);
    // 1,250 bytes at 100 Mbit/s take 100 us.
    assert_eq!(got[0].0, Instant::from_micros(40_100));
    assert_eq!(got[999].0, Instant::from_micros(40_000 + 100 * 1_000));
}

#[test]
fn each_direction_is_by_itself() {
    let spec = spec("delay=10ms,up:delay=5ms,down:loss=3%,seed=9");
    assert_eq!((spec.up.delay.as_millis(), spec.down.delay.as_millis()), (5, 10));
    assert_eq!((spec.up.loss, spec.down.loss, spec.seed), (0.0, 0.03, 9));
}

#[test]
fn a_full_queue_drops_the_tail_and_counts_it() {
    let mut link = Impairment::new(&spec("rate=8mbit,queue=10p")).up;
    let got = run(&mut link, 20, 1_000, Duration::ZERO);
    assert_eq!(got.len(), 10);
    assert!(got.iter().enumerate().all(|(i, (_, p))| number(p) == i as u32));
    assert_eq!(link.counters().queue_drops, 10);
    let mut link = Impairment::new(&spec("rate=8mbit,queue=5kb")).up;
    assert_eq!(run(&mut link, 20, 1_000, Duration::ZERO).len(), 5);
}

#[test]
fn loss_is_as_asked_alone_and_in_bursts() {
    for (text, mean) in [("loss=3%", 1.0), ("loss=3%,burst=4", 4.0)] {
        let mut link = Impairment::new(&spec(text)).up;
        let got: Vec<u32> =
            run(&mut link, 200_000, 100, Duration::ZERO).iter().map(|(_, p)| number(p)).collect();
        let lost = 200_000 - got.len();
        assert!((5_000..7_000).contains(&lost), "{text}: {lost}");
        let runs = got.windows(2).filter(|w| w[1] != w[0] + 1).count();
        let length = lost as f64 / runs as f64;
        assert!((length / mean - 1.0).abs() < 0.15, "{text}: bursts of {length}");
    }
}

#[test]
fn reorders_duplicates_and_corrupts_its_share() {
    let mut link = Impairment::new(&spec("delay=1ms,reorder=10%/5ms,duplicate=5%,corrupt=1%")).up;
    let got = run(&mut link, 10_000, 100, Duration::from_millis(1));
    let c = *link.counters();
    assert!((900..1_100).contains(&c.reordered), "{c:?}");
    assert!((400..600).contains(&c.duplicated), "{c:?}");
    assert!((60..140).contains(&c.corrupted), "{c:?}");
    assert_eq!(got.len() as u64, 10_000 + c.duplicated);
    assert!(got.windows(2).any(|w| number(&w[1].1) < number(&w[0].1)));
}

#[test]
fn jitter_keeps_the_order() {
    let mut link = Impairment::new(&spec("delay=5ms,jitter=20ms")).up;
    let got = run(&mut link, 1_000, 100, Duration::from_millis(1));
    assert!(got.windows(2).all(|w| number(&w[1].1) == number(&w[0].1) + 1));
    assert!(got.iter().enumerate().all(|(i, (at, _))| at.as_millis() >= i as u64 + 5));
}

#[test]
fn nothing_passes_in_an_outage_or_above_the_mtu() {
    let mut link = Impairment::new(&spec("outage=10s+2s/60s")).up;
    let got: Vec<u32> =
        run(&mut link, 100, 50, Duration::from_secs(1)).iter().map(|(_, p)| number(p)).collect();
    let down: Vec<u32> = (0..100).filter(|n| !got.contains(n)).collect();
    assert_eq!(down, [10, 11, 70, 71]);
    let mut link = Impairment::new(&spec("mtu=1400")).up;
    link.send(Instant::ZERO, packet(0, 1_400));
    link.send(Instant::ZERO, packet(1, 1_401));
    assert_eq!((link.in_flight(), link.counters().too_long), (1, 1));
}

#[test]
fn the_same_seed_draws_the_same() {
    let text = "delay=10ms,jitter=5ms,loss=5%,burst=3,reorder=2%/3ms,duplicate=1%,corrupt=1%,seed=";
    let once = |seed: u64| {
        let mut link = Impairment::new(&spec(&(text.to_string() + &seed.to_string()))).up;
        run(&mut link, 2_000, 100, Duration::from_micros(100))
            .into_iter()
            .map(|(at, p)| (at, p.to_vec()))
            .collect::<Vec<_>>()
    };
    assert!(once(1) == once(1));
    assert!(once(1) != once(2));
}

#[test]
fn errors_point_at_the_bad_part() {
    for (text, at, problem) in [
        ("delay=40", 6..8, "delay takes a time"),
        ("delay=40ms,lost=1%", 11..15, "no such key"),
        ("loss=101%", 5..9, "loss takes a share"),
        ("left:loss=1%", 0..4, "a direction is up or down"),
        ("delay", 0..5, "key=value"),
        ("rate=0mbit", 5..10, "rate takes a rate"),
        ("outage=1s+2s/1s", 7..15, "outage takes times"),
    ] {
        let error = text.parse::<LinkSpec>().unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.problem.contains(problem), "{text}: {error}");
    }
    let error = "delay=1ms,loss=x".parse::<LinkSpec>().unwrap_err();
    assert!(error.to_string().ends_with("  delay=1ms,loss=x\n                 ^"), "{error}");
}

/// A delay without a rate could hold any number of packets: what is on the way has a bound and a counter.
#[test]
fn what_is_on_its_way_is_bounded() {
    let mut link = Impairment::new(&spec("delay=1s")).up;
    let big = Packet::from_bytes(alloc::vec![0u8; 65_535].into());
    for _ in 0..5_000 {
        link.send(Instant::ZERO, big.clone());
    }
    let c = *link.counters();
    assert!((4_000..4_100).contains(&link.in_flight()), "{}", link.in_flight());
    assert_eq!((c.overflow_drops, c.dropped()), (5_000 - link.in_flight() as u64, c.overflow_drops));
    while link.receive(Instant::from_secs(1)).is_some() {}
    link.send(Instant::from_secs(1), big);
    assert_eq!(link.in_flight(), 1, "what has arrived takes no room");
}

/// Packets of an ECN-capable transport that meet a long queue are marked, the others are not, and the header's checksum
/// still fits (RFC 3168 5).
#[test]
fn a_long_queue_marks_what_may_be_marked() {
    use crate::wire::checksum::checksum;
    let ip = |tos: u8| {
        let mut bytes = alloc::vec![0u8; 1_000];
        bytes[..4].copy_from_slice(&[0x45, tos, 0x03, 0xe8]);
        let sum = checksum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        Packet::from_bytes(bytes.into())
    };
    let mut link = Impairment::new(&spec("rate=8mbit,queue=100kb,mark=2kb")).up;
    for tos in [2, 2, 2, 2, 1, 0, 3, 0xfe] {
        link.send(Instant::ZERO, ip(tos));
    }
    let got: Vec<Vec<u8>> =
        core::iter::from_fn(|| link.receive(Instant::from_secs(1))).map(|p| p.to_vec()).collect();
    assert_eq!(got.iter().map(|p| p[1]).collect::<Vec<_>>(), [2, 2, 2, 3, 3, 0, 3, 0xff]);
    assert!(got.iter().all(|p| checksum(&p[..20]) == 0), "checksums fit");
    assert_eq!(link.counters().marked, 3);
}
