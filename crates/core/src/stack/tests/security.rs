//! Numbers that nobody may guess, floods, and packets that must not be answered.

use alloc::vec::Vec;
use std::collections::BTreeSet;

use super::harness::{A, B, Net, Seg, addr, tuple};
use crate::config::{Config, SynCookies};
use crate::rng::Rng;
use crate::stack::cookie::{CookieOptions, Cookies};
use crate::stack::isn::Secrets;
use crate::stack::limit::Limit;
use crate::tcp::SeqNum;
use crate::time::{Duration, Instant};
use crate::wire::tcp::Flags;

fn secrets(seed: u8) -> Secrets {
    Secrets::new(&mut Rng::new([seed; 32]))
}

/// One tuple's numbers follow a clock of 4 microseconds; other tuples, other secrets: unrelated.
/// Shows: rfc9293-SHLD-1, rfc9293-MUST-9, rfc6528-s3-a
#[test]
fn the_isn_is_a_clock_and_a_keyed_hash() {
    let one = tuple("10.0.0.1:80", "10.0.0.2:4000");
    let s = secrets(1);
    let start = s.iss(Instant::ZERO, &one);
    let mut last = start;
    for i in 1..100_u64 {
        let later = s.iss(Instant::from_millis(i), &one);
        assert_eq!(later.since(start), (i * 250) as u32);
        assert!(later.gt(last));
        last = later;
    }
    assert_ne!(s.iss(Instant::ZERO, &tuple("10.0.0.1:80", "10.0.0.2:4001")), start);
    assert_ne!(secrets(2).iss(Instant::ZERO, &one), start);
}

/// A frozen clock: 1,000 restarts and 10,000 tuples give different numbers without a common step.
/// Shows: number-jack, rfc6528-s3-b
#[test]
fn isns_have_no_pattern() {
    let one = tuple("10.0.0.1:80", "10.0.0.2:4000");
    let mut rng = Rng::new([1; 32]);
    let restarts: BTreeSet<u32> =
        (0..1_000).map(|_| Secrets::new(&mut rng).iss(Instant::ZERO, &one).0).collect();
    assert_eq!(restarts.len(), 1_000);
    let s = secrets(1);
    let isns: Vec<u32> = (1..=10_000_u16)
        .map(|port| s.iss(Instant::ZERO, &tuple("10.0.0.1:80", &alloc::format!("10.0.0.2:{port}"))).0)
        .collect();
    let steps: BTreeSet<u32> = isns.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    assert!(steps.len() > 9_990);
    // The lag-1 correlation of the upper halves is that of noise (about 1/sqrt(n)).
    let x: Vec<f64> = isns.iter().map(|&n| f64::from(n) / f64::from(u32::MAX) - 0.5).collect();
    let variance: f64 = x.iter().map(|v| v * v).sum();
    let lagged: f64 = x.windows(2).map(|w| w[0] * w[1]).sum();
    assert!((lagged / variance).abs() < 0.05);
}

/// Shows: rfc7323-s7.1-a
#[test]
fn timestamps_toward_different_peers_are_unrelated() {
    let s = secrets(1);
    let one = s.ts_offset(&tuple("10.0.0.1:80", "10.0.0.2:4000"));
    let same_host = s.ts_offset(&tuple("10.0.0.1:81", "10.0.0.2:4001"));
    let other = s.ts_offset(&tuple("10.0.0.1:80", "10.0.0.3:4000"));
    assert_eq!(one, same_host);
    assert_ne!(one, other);
}

/// Shows: rfc4987-s3.6-a
#[test]
fn a_cookie_brings_its_mss_back_for_two_periods() {
    let cookies = Cookies::new(&mut Rng::new([1; 32]));
    let t = tuple("10.0.0.1:80", "10.0.0.2:4000");
    let made = Instant::from_secs(1_000);
    for (mss, class) in [(20, 64), (536, 536), (1_459, 1_440), (1_460, 1_460), (9_000, 8_960)] {
        let iss = cookies.make(made, &t, SeqNum(77), mss);
        assert_eq!(cookies.check(made, &t, SeqNum(77), iss), Some(class));
        assert_eq!(cookies.check(made + Duration::from_secs(64), &t, SeqNum(77), iss), Some(class));
        assert_eq!(cookies.check(made + Duration::from_secs(128), &t, SeqNum(77), iss), None);
        let other = tuple("10.0.0.1:80", "10.0.0.2:4001");
        assert_eq!(cookies.check(made, &other, SeqNum(77), iss), None);
    }
}

/// What a connection of a cookie sends later, at its end above all, is no cookie: it may arrive late and twice.
/// Shows: cve-1999-0077
#[test]
fn later_acks_of_a_connection_are_no_cookies() {
    let cookies = Cookies::new(&mut Rng::new([1; 32]));
    let t = tuple("10.0.0.1:80", "10.0.0.2:4000");
    let now = Instant::from_secs(1_000);
    for mss in [20, 536, 1_460, 9_000] {
        let iss = cookies.make(now, &t, SeqNum(77), mss);
        for (there, back) in (0..20).flat_map(|there| (0..20).map(move |back| (there, back))) {
            let is_cookie = cookies.check(now, &t, SeqNum(77 + there), iss + back).is_some();
            assert_eq!(is_cookie, (there, back) == (0, 0), "{there} {back}");
        }
    }
}

/// 2^20 guesses: about 2^20 / 2^28 = 0.004 would be right by chance.
/// Shows: cve-1999-0077
#[test]
fn cookies_are_not_guessed() {
    let cookies = Cookies::new(&mut Rng::new([1; 32]));
    let mut rng = Rng::new([2; 32]);
    let t = tuple("10.0.0.1:80", "10.0.0.2:4000");
    let right =
        (0..1 << 20).filter(|_| cookies.check(Instant::ZERO, &t, SeqNum(0), SeqNum(rng.u32())).is_some());
    assert!(right.count() <= 1);
}

/// Shows: rfc4987-s3.6-b
#[test]
fn options_come_back_in_the_timestamp() {
    for clock in [0_u32, 1, 63, 64, 12_345_678, u32::MAX] {
        for scale in (0..=14).map(Some).chain([None]) {
            for sack in [false, true] {
                let kept = CookieOptions { window_scale: scale, sack, ecn: false };
                let stamp = kept.encode(clock);
                assert_eq!(CookieOptions::decode(stamp), kept);
                assert!(clock.wrapping_sub(stamp) < 64, "never later than the clock");
            }
        }
    }
}

/// The rate holds, and how many are left cannot be counted exactly.
/// Shows: rfc4443-s2.4-a, cve-2016-5696
#[test]
fn the_limit_is_a_rate_with_noise() {
    let mut rng = Rng::new([4; 32]);
    let count = |rng: &mut Rng| {
        let mut limit = Limit::default();
        (0..10_000).filter(|i| limit.take(Instant::from_micros(i * 100), 1_000, rng)).count()
    };
    let runs: BTreeSet<usize> = (0..20).map(|_| count(&mut rng)).collect();
    assert!(runs.iter().all(|n| (1_900..=2_100).contains(n)), "{runs:?}");
    assert!(runs.len() > 5, "{runs:?}");
}

/// 100,000 SYNs from everywhere: memory stays bounded, an honest client gets in by a cookie and its options
/// survive; who guesses the last ACK is reset.
/// Shows: cve-1999-0116-synflood, rfc4987-s3.5-a, rfc4987-s3.6-a, rfc4987-s3.6-b, cve-1999-0077
#[test]
fn a_syn_flood_lets_an_honest_client_through() {
    let mut net = Net::new();
    let listener = net.listen(80, 128);
    for i in 0..100_000_u32 {
        let [_, a, b, c] = i.to_be_bytes();
        let src = alloc::format!("172.{}.{}.{}:{}", 16 + a, b, c, 1_024 + i % 60_000);
        net.inject(&Seg::syn(i).from(addr(&src)).to(80));
        if i % 100 == 0 {
            net.take();
        }
    }
    net.take();
    let population = net.stack.population();
    assert!(population.half_open <= 129, "{population:?}");
    assert_eq!(population.sockets, 1);
    assert!(net.stack.stats().syncookies_sent > 90_000);

    let client = addr("10.0.0.2:5000");
    net.inject(&Seg::syn(900).from(client).to(80).mss(1_460).scale(7).sack().ts(5_000, 0));
    let answer = net.take().pop().unwrap();
    assert_eq!(answer.hdr.flags, Flags::SYN | Flags::ACK);
    let ts = answer.hdr.options.timestamps.unwrap();
    let last = Seg::ack(901, answer.hdr.seq.0 + 1).from(client).to(80).ts(5_001, ts.val).data(b"hello");
    net.inject(&last);
    let child = net.stack.accept_socket(listener).unwrap();
    assert_eq!(net.stack.connection(child).unwrap().readable(), 5);
    let info = net.stack.connection(child).unwrap().info(net.now, net.stack.config());
    assert_eq!((info.snd_wscale, info.options & 7), (7, 7));
    assert_eq!(net.stack.stats().syncookies_recv, 1);

    net.take();
    net.inject(&Seg::ack(901, 12_345).from(addr("10.0.0.9:5000")).to(80));
    let rst = net.take().pop().unwrap();
    assert_eq!((rst.hdr.flags, rst.hdr.seq), (Flags::RST, SeqNum(12_345)));
    assert_eq!(net.stack.stats().syncookies_failed, 1);
}

/// With cookies off the SYN queue fills, SYNs are dropped and counted, and after a while there is room again.
/// Shows: cve-1999-0116-synflood, rfc4987-s3.3-a
#[test]
fn without_cookies_the_syn_queue_empties_by_itself() {
    let mut net = Net::with_config(Config { syncookies: SynCookies::Off, ..Config::default() });
    net.listen(80, 8);
    for port in 1_000..1_050 {
        net.inject(&Seg::syn(1).from(addr(&alloc::format!("10.0.0.2:{port}"))).to(80));
    }
    assert_eq!(net.stack.population().half_open, 9);
    assert_eq!(net.stack.stats().tcp_req_q_full_drop, 41);
    net.advance(Duration::from_secs(64));
    assert_eq!(net.stack.population().half_open, 0);
    net.take();
    net.inject(&Seg::syn(1).from(addr("10.0.0.3:1000")).to(80));
    assert_eq!(net.take().len(), 1);
}

/// Shows: cve-1999-0016-land
#[test]
fn land_is_dropped() {
    for port in [80, 81] {
        let mut net = Net::new();
        net.listen(80, 8);
        net.inject(&Seg::syn(1).from((A, port).into()).to(port));
        let v6 = addr(&alloc::format!("[fd00::1]:{port}"));
        net.inject(&Seg::syn(1).from(v6).at(v6));
        assert!(net.take().is_empty());
        assert_eq!(net.stack.population().half_open, 0);
    }
}

/// Shows: rfc9293-MUST-57, rfc9293-MUST-63
#[test]
fn syns_to_groups_and_from_nobody_are_ignored() {
    let mut net = Net::new();
    net.listen(80, 8);
    for dst in ["10.0.0.255:80", "255.255.255.255:80", "224.0.0.1:80"] {
        net.inject(&Seg::syn(1).from((B, 1_000).into()).at(addr(dst)));
    }
    net.inject(&Seg::syn(1).from(addr("[fd00::2]:1000")).at(addr("[ff02::1]:80")));
    for src in ["0.0.0.0:9", "127.0.0.1:9", "224.1.1.1:9", "255.255.255.255:9", "10.0.0.255:9", "10.0.0.1:9"]
    {
        net.inject(&Seg::syn(1).from(addr(src)).to(80));
    }
    for src in ["[::]:9", "[ff02::1]:9", "[::1]:9"] {
        net.inject(&Seg::syn(1).from(addr(src)).at(addr("[fd00::1]:80")));
    }
    assert!(net.take().is_empty());
    assert_eq!(net.stack.population().half_open, 0);
}
