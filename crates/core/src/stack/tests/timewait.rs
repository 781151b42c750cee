//! TIME-WAIT entries, by themselves.

use super::harness::tuple;
use crate::config::{Config, Profile};
use crate::rng::Rng;
use crate::stack::demux::{Key, TupleHash};
use crate::stack::ports::{BindFlags, Binding};
use crate::stack::timewait::{TimeWaits, Verdict};
use crate::tcp::{SeqNum, TimeWaitInfo};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, Header, Timestamps};

const OLD_TS: u32 = 1_000;
const RCV_NXT: u32 = 5_000;

struct Bench {
    table: TimeWaits,
    hash: TupleHash,
    config: Config,
    index: u32,
}

fn bench(profile: Profile, ts_recent: Option<u32>) -> Bench {
    let hash = TupleHash::new(&mut Rng::new([5; 32]));
    let mut table = TimeWaits::new();
    let config = Config::new(profile);
    let t = tuple("10.0.0.1:80", "10.0.0.2:4000");
    assert!(table.insert(&hash, &config, at(10), &t, &info(ts_recent), &held()));
    let key = Key::new(&t);
    let index = table.find(hash.of(key.as_bytes()), key.as_bytes()).unwrap();
    Bench { table, hash, config, index }
}

fn held() -> Binding {
    Binding { addr: "10.0.0.1".parse().unwrap(), port: 80, flags: BindFlags::REUSEADDR, device: 0 }
}

fn info(ts_recent: Option<u32>) -> TimeWaitInfo {
    TimeWaitInfo {
        snd_nxt: SeqNum(100),
        rcv_nxt: SeqNum(RCV_NXT),
        window: 500,
        rcv_wscale: 2,
        ts_recent,
        ts_offset: 0,
        tos: 0,
        lasts: None,
    }
}

fn at(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

fn segment(flags: Flags, seq: u32, ts: Option<u32>) -> Header {
    let mut hdr = Header { seq: SeqNum(seq), ack: SeqNum(100), flags, ..Header::default() };
    hdr.options.timestamps = ts.map(|val| Timestamps { val, ecr: 0 });
    hdr
}

impl Bench {
    fn on(&mut self, now: Instant, hdr: &Header, len: u32) -> Verdict {
        self.table.on_segment(&self.config, now, self.index, hdr, len)
    }
}

/// The table of RFC 6191 2: old and new timestamps, TSval and SEQ relations.
/// Shows: rfc6191-s2-a, rfc9293-SHLD-4, rfc9293-MAY-2
#[test]
fn a_newer_syn_reopens() {
    let (newer, older) = (RCV_NXT + 1, RCV_NXT - 1);
    let cases = [
        (Some(OLD_TS), Some(OLD_TS + 1), older, true),
        (Some(OLD_TS), Some(OLD_TS), newer, true),
        (Some(OLD_TS), Some(OLD_TS), older, false),
        (Some(OLD_TS), Some(OLD_TS - 1), newer, false),
        (Some(OLD_TS), None, newer, true),
        (Some(OLD_TS), None, older, false),
        (None, Some(1), older, true),
        (None, None, newer, true),
        (None, None, older, false),
    ];
    for (old, new, seq, reopens) in cases {
        let mut bench = bench(Profile::Rfc, old);
        let verdict = bench.on(at(11), &segment(Flags::SYN, seq, new), 1);
        let expected = if reopens { Verdict::Reopen(SeqNum(100 + 65_537)) } else { Verdict::OldSyn };
        assert_eq!(verdict, expected, "old {old:?} new {new:?} seq {seq}");
    }
}

/// A refused SYN changes nothing; a FIN sent again is still acknowledged. Linux answers the SYN, not too often.
/// Shows: rfc6191-s2-b, ack-storm
#[test]
fn an_old_syn_is_dropped() {
    let old = segment(Flags::SYN, RCV_NXT - 1, None);
    let mut rfc = bench(Profile::Rfc, None);
    assert_eq!(rfc.on(at(11), &old, 1), Verdict::OldSyn);
    assert_eq!(rfc.on(at(12), &segment(Flags::FIN | Flags::ACK, RCV_NXT - 1, None), 1), Verdict::Ack);
    let mut linux = bench(Profile::Linux, None);
    assert_eq!(linux.on(at(11), &old, 1), Verdict::Ack);
    assert_eq!(linux.on(at(11), &old, 1), Verdict::OldSyn);
}

/// Shows: rfc9293-MUST-13, rfc9293-s3.10.7.4-h
#[test]
fn a_repeated_fin_restarts_2_msl() {
    let mut bench = bench(Profile::Linux, None);
    assert_eq!(bench.table.next_deadline(), at(70));
    assert_eq!(bench.on(at(40), &segment(Flags::FIN | Flags::ACK, RCV_NXT - 1, None), 1), Verdict::Ack);
    assert_eq!(bench.table.next_deadline(), at(100));
    assert_eq!(bench.table.expired(at(99)), None);
    assert_eq!(bench.table.expired(at(100)), Some(bench.index));
    bench.table.remove(&bench.hash, bench.index).unwrap();
    assert_eq!(bench.table.len(), 0);
}

/// Shows: rfc1337-s3-a
#[test]
fn rst_is_ignored_with_rfc1337() {
    let rst = segment(Flags::RST, RCV_NXT, None);
    assert_eq!(bench(Profile::Rfc, None).on(at(11), &rst, 0), Verdict::Drop);
    assert_eq!(bench(Profile::Linux, None).on(at(11), &rst, 0), Verdict::End);
    let blind = segment(Flags::RST, RCV_NXT + 1, None);
    assert_eq!(bench(Profile::Linux, None).on(at(11), &blind, 0), Verdict::Drop);
}

/// An old duplicate draws an ACK, at most one in a while.
/// Shows: ack-storm
#[test]
fn old_duplicates_are_acknowledged_seldom() {
    let mut bench = bench(Profile::Linux, Some(OLD_TS));
    let old = segment(Flags::ACK, RCV_NXT - 1_000, Some(OLD_TS - 5));
    assert_eq!(bench.on(at(11), &old, 100), Verdict::Ack);
    let mut acks = 0;
    for ms in 0..2_000 {
        acks += u32::from(bench.on(at(12) + Duration::from_millis(ms), &old, 100) == Verdict::Ack);
    }
    assert_eq!(acks, 4);
}

/// All last equally long, whatever order they are ended in.
#[test]
fn entries_end_in_order_of_their_last_start() {
    let hash = TupleHash::new(&mut Rng::new([5; 32]));
    let mut table = TimeWaits::new();
    let config = Config::default();
    let tuples: alloc::vec::Vec<_> =
        (0..100_u16).map(|i| tuple("10.0.0.1:80", &alloc::format!("10.0.0.2:{}", 4_000 + i))).collect();
    for (i, t) in tuples.iter().enumerate() {
        assert!(table.insert(&hash, &config, at(i as u64), t, &info(None), &held()));
    }
    let find = |table: &TimeWaits, i: usize| {
        let key = Key::new(&tuples[i]);
        table.find(hash.of(key.as_bytes()), key.as_bytes())
    };
    // 7 goes to the back, 50 goes away, the rest in order.
    let seven = find(&table, 7).unwrap();
    let fin = segment(Flags::FIN | Flags::ACK, RCV_NXT - 1, None);
    assert_eq!(table.on_segment(&config, at(100), seven, &fin, 1), Verdict::Ack);
    let fifty = find(&table, 50).unwrap();
    table.remove(&hash, fifty).unwrap();
    let mut ended = alloc::vec::Vec::new();
    while !table.next_deadline().is_never() {
        let now = table.next_deadline();
        let index = table.expired(now).unwrap();
        ended.push((now.as_millis() / 1_000, (0..100).find(|&i| find(&table, i) == Some(index)).unwrap()));
        table.remove(&hash, index).unwrap();
    }
    let expected: alloc::vec::Vec<_> =
        (0..100).filter(|&i| i != 7 && i != 50).map(|i| (60 + i as u64, i)).chain([(160, 7)]).collect();
    assert_eq!(ended, expected);
}

/// At the cap there is no entry.
#[test]
fn the_cap_holds() {
    let hash = TupleHash::new(&mut Rng::new([5; 32]));
    let mut table = TimeWaits::new();
    let config = Config { max_tw_buckets: 1, ..Config::default() };
    assert!(table.insert(&hash, &config, at(0), &tuple("10.0.0.1:80", "10.0.0.2:1"), &info(None), &held()));
    assert!(!table.insert(&hash, &config, at(0), &tuple("10.0.0.1:80", "10.0.0.2:2"), &info(None), &held()));
}

/// tcp_tw_reuse wants timestamps and a second.
#[test]
fn an_active_open_may_take_an_entry_over_after_a_second() {
    let with = bench(Profile::Linux, Some(OLD_TS));
    assert_eq!(with.table.reusable(with.index, at(10)), None);
    assert_eq!(with.table.reusable(with.index, at(11)), Some(SeqNum(100 + 65_537)));
    let without = bench(Profile::Linux, None);
    assert_eq!(without.table.reusable(without.index, at(20)), None);
}
