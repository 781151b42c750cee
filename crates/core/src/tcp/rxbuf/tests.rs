use core::cell::Cell;
use std::collections::BTreeMap;
use std::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Inserted, RxBuf};
use crate::packet::{MAX_SLICES, Payload};

std::thread_local! {
    static WORK: Cell<usize> = const { Cell::new(0) };
}

/// Counts steps, in the place of the empty function of other builds.
pub(super) fn work(steps: usize) {
    WORK.with(|work| work.set(work.get() + steps));
}

/// An idle connection's receive buffer is small and holds no heap.
#[test]
fn an_empty_buffer_is_small() {
    assert!(size_of::<RxBuf>() <= 56);
    let mut buf = RxBuf::new();
    assert_eq!(buf.memory(), 0);
    let inserted = buf.insert(0, Payload::from(Bytes::from(std::vec![1; 1000])), 0);
    assert_eq!(inserted.advanced, 1000);
    assert!(buf.memory() >= 1000);
    assert_eq!(buf.skip(2000), 1000);
    assert_eq!((buf.len(), buf.memory()), (0, 0));
}

/// Enough for everything.
const ALL: usize = usize::MAX;

/// The byte at `position` of a stream.
fn byte(position: usize) -> u8 {
    (position.wrapping_mul(0x9E37_79B1) >> 11) as u8
}

/// The bytes from `at` on, cut into slices of at most `cut` bytes.
fn text(at: usize, len: usize, cut: usize) -> Payload {
    let mut out = Payload::new();
    for start in (at..at + len).step_by(cut.max(1)) {
        out.push((start..(start + cut).min(at + len)).map(byte).collect());
    }
    out
}

fn sack(buf: &RxBuf, max: usize) -> Vec<(u32, u32)> {
    buf.sack_blocks(max).to_vec()
}

fn blocks(buf: &RxBuf) -> Vec<(u32, u32)> {
    buf.blocks().collect()
}

/// A receive buffer as one byte per position: a simple statement of what is to be held.
#[derive(Default)]
struct Model {
    /// The position of the first byte that was not read, and RCV.NXT.
    read: usize,
    next: usize,
    /// What is held out of order.
    ooo: BTreeMap<usize, u8>,
    in_order: Vec<u8>,
}

impl Model {
    fn insert(&mut self, offset: usize, data: &[u8]) -> Inserted {
        let mut out = Inserted::default();
        let (start, end) = (self.next + offset, self.next + offset + data.len());
        out.filled_gap = offset == 0 && !self.ooo.is_empty() && !data.is_empty();
        let first = (start..end).find(|at| self.ooo.contains_key(at));
        out.duplicate = first.map(|first| {
            let last = (first..end).find(|at| !self.ooo.contains_key(at)).unwrap_or(end);
            ((first - self.next) as u32, (last - self.next) as u32)
        });
        for (at, byte) in (start..).zip(data) {
            self.ooo.entry(at).or_insert_with(|| {
                out.accepted += 1;
                *byte
            });
        }
        while let Some(byte) = self.ooo.remove(&self.next) {
            self.in_order.push(byte);
            self.next += 1;
            out.advanced += 1;
        }
        out
    }

    fn blocks(&self) -> Vec<(u32, u32)> {
        let mut out: Vec<(u32, u32)> = Vec::new();
        for at in self.ooo.keys().map(|at| (at - self.next) as u32) {
            match out.last_mut() {
                Some((_, end)) if *end == at => *end += 1,
                _ => out.push((at, at + 1)),
            }
        }
        out
    }

    fn consume(&mut self, n: usize) -> Vec<u8> {
        self.read += n;
        self.in_order.drain(..n).collect()
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Offset, length, length of the slices.
    Insert(usize, usize, usize),
    /// The same with other bytes than the first copy had.
    InsertOther(usize, usize),
    /// The text that fills the first hole, or part of it.
    Fill(usize),
    Read(usize),
    Peek(usize, usize),
    Take(usize),
    ReadBytes(usize),
    Skip(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let len = || prop_oneof![4 => 1..4usize, 4 => 1..300usize, 3 => 1..1500usize, 1 => 0..20_000usize];
    let offset = || prop_oneof![3 => Just(0usize), 3 => 0..40usize, 4 => 0..3_000usize, 2 => 0..60_000usize];
    let op = prop_oneof![
        10 => (offset(), len(), prop_oneof![1..300usize, 200..2_000usize])
            .prop_map(|(offset, len, cut)| Op::Insert(offset, len, cut)),
        2 => (offset(), len()).prop_map(|(offset, len)| Op::InsertOther(offset, len)),
        3 => len().prop_map(Op::Fill),
        2 => len().prop_map(Op::Read),
        2 => (len(), len()).prop_map(|(skip, len)| Op::Peek(skip, len)),
        1 => len().prop_map(Op::Take),
        1 => len().prop_map(Op::ReadBytes),
        1 => len().prop_map(Op::Skip),
    ];
    prop::collection::vec(op, 0..80)
}

/// Puts the same text into both; they must agree on what happened.
fn insert_both(
    buf: &mut RxBuf,
    model: &mut Model,
    offset: usize,
    data: Payload,
) -> Result<(), TestCaseError> {
    let expected = model.insert(offset, &data.slices().concat());
    prop_assert_eq!(buf.insert(offset as u32, data, ALL), expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any arrivals and reads leave what one byte per position would leave: the bytes, the blocks, the
    /// duplicates. Of bytes that arrive twice the first stay.
    #[test]
    fn it_does_what_a_map_of_bytes_does(ops in ops()) {
        let mut buf = RxBuf::new();
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Insert(offset, len, cut) => {
                    let data = text(model.next + offset, len, cut);
                    insert_both(&mut buf, &mut model, offset, data)?;
                }
                Op::InsertOther(offset, len) => {
                    let data = Payload::from(Bytes::from(std::vec![0xEE; len]));
                    insert_both(&mut buf, &mut model, offset, data)?;
                }
                Op::Fill(len) => {
                    let hole = model.blocks().first().map_or(len, |(start, _)| *start as usize);
                    let data = text(model.next, len.min(hole), len);
                    insert_both(&mut buf, &mut model, 0, data)?;
                }
                Op::Read(len) => {
                    let mut out = std::vec![0; len];
                    let n = buf.read(&mut out);
                    prop_assert_eq!(n, len.min(model.in_order.len()));
                    prop_assert_eq!(&out[..n], &model.consume(n)[..]);
                }
                Op::Peek(skip, len) => {
                    let mut out = std::vec![0; len];
                    let n = buf.peek(skip, &mut out);
                    let expected: Vec<u8> = model.in_order.iter().skip(skip).take(len).copied().collect();
                    prop_assert_eq!(&out[..n], &expected[..]);
                }
                Op::Take(max) => {
                    let taken = buf.take(max);
                    prop_assert!(taken.len() <= max && taken.slices().len() <= MAX_SLICES);
                    prop_assert_eq!(taken.is_empty(), max == 0 || model.in_order.is_empty());
                    prop_assert_eq!(taken.slices().concat(), model.consume(taken.len()));
                }
                Op::ReadBytes(max) => {
                    let taken = buf.read_bytes(max);
                    prop_assert!(taken.len() <= max);
                    prop_assert_eq!(taken.is_empty(), max == 0 || model.in_order.is_empty());
                    prop_assert_eq!(taken.to_vec(), model.consume(taken.len()));
                }
                Op::Skip(n) => {
                    let n = buf.skip(n);
                    model.consume(n);
                }
            }
            prop_assert_eq!(buf.len(), model.in_order.len());
            prop_assert_eq!(blocks(&buf), model.blocks());
            prop_assert_eq!(buf.ooo_len(), model.ooo.len());
            prop_assert_eq!(buf.ooo_end(), model.blocks().last().map_or(0, |(_, end)| *end));
            prop_assert_eq!(buf.has_ooo(), !model.ooo.is_empty());
            prop_assert_eq!(buf.memory() == 0, model.in_order.is_empty() && model.ooo.is_empty());
        }
        prop_assert_eq!(buf.discard_in_order(), model.in_order.len());
        prop_assert_eq!(buf.discard_ooo(), model.ooo.len());
        prop_assert_eq!(buf.memory(), 0);
    }

    /// Under any limit the memory for what is out of order stays within it, what goes is what is furthest away, and
    /// what is in order is never dropped.
    ///
    /// Shows: cve-2018-5390
    #[test]
    fn it_keeps_to_its_limit(
        arrivals in prop::collection::vec((0..50_000usize, prop_oneof![1..4usize, 1..3_000usize]), 1..150),
        limit in 0..100_000usize,
    ) {
        let mut buf = RxBuf::new();
        let mut next = 0;
        let mut held = 0;
        for (offset, len) in arrivals {
            let offset = if offset < 1_000 { 0 } else { offset };
            let inserted = buf.insert(offset as u32, text(next + offset, len, 1460), limit);
            next += inserted.advanced as usize;
            held = held + inserted.accepted as usize - inserted.pruned as usize;
            prop_assert!(buf.ooo_memory() <= limit);
            prop_assert_eq!(buf.len(), next);
            prop_assert_eq!(buf.len() + buf.ooo_len(), held);
            let reported = sack(&buf, 4);
            prop_assert_eq!(reported.len(), blocks(&buf).len().min(4));
            prop_assert!(reported.iter().all(|block| blocks(&buf).contains(block)));
        }
        let end = buf.ooo_end() as usize;
        let _ = buf.insert(0, text(next, end, 1460), ALL);
        let mut out = std::vec![0; next + end];
        prop_assert_eq!(buf.read(&mut out), next + end);
        prop_assert!(out.into_iter().eq((0..next + end).map(byte)));
    }
}

/// The orders in which 100,000 one-byte segments do the most harm.
///
/// With each: how many blocks there are in the end.
fn adverse_orders() -> Vec<(&'static str, usize, Vec<usize>)> {
    const N: usize = 100_000;
    let odd_even = (1..N).step_by(2).chain((2..N).step_by(2)).collect();
    let both_ends = (1..=N / 2).flat_map(|at| [at, N + 1 - at]).collect();
    // 7,919 is prime and no divisor of 100,003, so that every position from 1 on comes once.
    let scattered = (1..=N).map(|k| 1 + k * 7_919 % 100_003).collect();
    let fifty_backwards = (0..N / 50).rev().flat_map(|at| (0..50).map(move |block| 1 + 4_000 * block + at));
    std::vec![
        ("forwards", 1, (1..=N).collect()),
        ("backwards", 1, (1..=N).rev().collect()),
        ("every other", N, (1..=N).map(|at| 2 * at).collect()),
        ("every other backwards", N, (1..=N).rev().map(|at| 2 * at).collect()),
        ("odd, then even", 1, odd_even),
        ("both ends", 1, both_ends),
        ("scattered", 3, scattered),
        ("fifty blocks backwards", 50, fifty_backwards.collect()),
        ("the same again", 1, (0..N).map(|at| 1 + at % 2).collect()),
    ]
}

/// 100,000 one-byte segments out of order, in any order: a few hundred steps each at most, however many are held,
/// and never more memory than the limit.
///
/// Shows: cve-2018-5390
#[test]
fn tiny_segments_cost_neither_time_nor_memory() {
    for limit in [1 << 20, 16 << 20] {
        for (name, blocks_left, order) in adverse_orders() {
            let mut buf = RxBuf::new();
            let before = WORK.with(Cell::get);
            let mut most = 0;
            for (number, at) in order.iter().enumerate() {
                let _ = buf.insert(*at as u32, text(*at, 1, 1), limit);
                most = most.max(buf.ooo_memory());
                if number % 1024 == 0 {
                    assert!(sack(&buf, 4).len() <= 4);
                }
            }
            let steps = (WORK.with(Cell::get) - before) / order.len();
            assert!(steps <= 300, "{name}: {steps} steps a segment");
            assert!(most <= limit, "{name}: {most} bytes of {limit}");
            if limit == 16 << 20 {
                assert_eq!(buf.blocks().count(), blocks_left, "{name}");
                let cost = buf.ooo_memory();
                assert!(cost <= 2 * buf.ooo_len() + 136 * blocks_left, "{name}: {cost} bytes");
            }
        }
    }
}

/// Large segments that tiny ones overlap, under a tight limit: the steps for each stay flat.
///
/// Shows: cve-2018-5390
#[test]
fn collapsing_and_pruning_are_paid_for() {
    let mut buf = RxBuf::new();
    let before = WORK.with(Cell::get);
    let mut bytes = 0;
    for k in 0..20_000usize {
        let (at, len) = (1 + k * 7_919 % 1_000_003, 1 + k * 31 % 400);
        bytes += len;
        let _ = buf.insert(at as u32, text(at, len, 300), 256 << 10);
        assert!(buf.ooo_memory() <= 256 << 10);
    }
    let steps = WORK.with(Cell::get) - before;
    assert!(steps <= 20 * bytes, "{steps} steps for {bytes} bytes");

    // One block, of which the far end never finds room.
    let mut buf = RxBuf::new();
    let before = WORK.with(Cell::get);
    for k in 0..5_000usize {
        let _ = buf.insert(1 + k as u32 * 300, text(1 + k * 300, 300, 300), 256 << 10);
    }
    let steps = WORK.with(Cell::get) - before;
    assert!(steps <= 20 * 5_000 * 300, "{steps} steps");
}

/// Before anything is dropped, what is held is copied together if that is enough.
///
/// Shows: cve-2018-5390
#[test]
fn copying_together_comes_before_dropping() {
    let mut buf = RxBuf::new();
    let mut pruned = 0;
    for k in 0..1_000usize {
        pruned += buf.insert(1 + k as u32 * 300, text(1 + k * 300, 300, 300), 340_000).pruned;
        assert!(buf.ooo_memory() <= 340_000);
    }
    assert_eq!((pruned, buf.ooo_len()), (0, 300_000));
    // Without enough room the far end goes.
    let inserted = buf.insert(1, text(1, 1, 1), 200_000);
    assert_eq!(buf.ooo_len() + inserted.pruned as usize, 300_000);
    assert!(buf.ooo_len() > 150_000 && buf.blocks().eq([(1, 1 + buf.ooo_len() as u32)]));
}

/// What joins a long queue is moved, not the queue.
///
/// Shows: cve-2018-5390
#[test]
fn filling_holes_costs_what_fills_them() {
    let mut buf = RxBuf::new();
    let before = WORK.with(Cell::get);
    for k in 0..10_000 {
        let _ = buf.insert(1000, text(2000 * k + 1000, 1000, 1000), ALL);
        assert_eq!(buf.insert(0, text(2000 * k, 1000, 1000), ALL).advanced, 2000);
    }
    let steps = (WORK.with(Cell::get) - before) / 20_000;
    assert!(steps <= 5, "{steps} steps a segment");
    assert_eq!(buf.len(), 20_000_000);
}

/// RFC 2018 section 7: left window edge 5000, segments of 500 bytes; the published tables.
///
/// Shows: rfc2018-s4-a, rfc2018-s4-b
#[test]
fn blocks_come_in_the_order_of_rfc_2018_section_7() {
    // The sequence number that offset 0 stands for moves with RCV.NXT.
    let arrive = |buf: &mut RxBuf, next: &mut u32, seq: u32| {
        *next += buf.insert(seq - *next, text(seq as usize, 500, 500), ALL).advanced;
        let blocks = sack(buf, 3).into_iter().map(|(left, right)| (left + *next, right + *next));
        (*next, blocks.collect::<Vec<_>>())
    };
    // Case 2: the first segment is lost, the next seven arrive.
    let (mut buf, mut next) = (RxBuf::new(), 5000);
    for k in 1..8 {
        let ack = arrive(&mut buf, &mut next, 5000 + 500 * k);
        assert_eq!(ack, (5000, std::vec![(5500, 6000 + 500 * (k - 1))]));
    }
    // Case 3: the second, fourth, sixth and last are lost.
    let (mut buf, mut next) = (RxBuf::new(), 5000);
    assert_eq!(arrive(&mut buf, &mut next, 5000), (5500, std::vec![]));
    assert_eq!(arrive(&mut buf, &mut next, 6000), (5500, std::vec![(6000, 6500)]));
    assert_eq!(arrive(&mut buf, &mut next, 7000), (5500, std::vec![(7000, 7500), (6000, 6500)]));
    assert_eq!(
        arrive(&mut buf, &mut next, 8000),
        (5500, std::vec![(8000, 8500), (7000, 7500), (6000, 6500)])
    );
    // Then the fourth arrives, and then the second.
    assert_eq!(arrive(&mut buf, &mut next, 6500), (5500, std::vec![(6000, 7500), (8000, 8500)]));
    assert_eq!(arrive(&mut buf, &mut next, 5500), (7500, std::vec![(8000, 8500)]));
}

/// Six blocks: each is among the first three reported at least three times.
///
/// Shows: rfc2018-s4-b
#[test]
fn each_block_is_reported_three_times() {
    let mut buf = RxBuf::new();
    let mut times = BTreeMap::new();
    for at in [1000, 3000, 5000, 7000, 9000, 11_000, 13_000, 15_000] {
        let _ = buf.insert(at, text(at as usize, 500, 500), ALL);
        for block in sack(&buf, 3) {
            *times.entry(block).or_insert(0) += 1;
        }
    }
    assert_eq!(times.len(), 8);
    assert!(times.iter().filter(|((left, _), _)| *left <= 11_000).all(|(_, times)| *times >= 3), "{times:?}");
    // More than are remembered: all are known nevertheless.
    for at in (17_000..60_000).step_by(2000) {
        let _ = buf.insert(at, text(at as usize, 500, 500), ALL);
    }
    assert_eq!(sack(&buf, 100).len(), blocks(&buf).len());
}

/// Blocks that came into order or were dropped leave the others in their order.
///
/// Shows: rfc2018-s4-b
#[test]
fn blocks_that_are_gone_are_not_remembered() {
    let hold = |buf: &mut RxBuf, order: &[u32]| {
        for at in order {
            let _ = buf.insert(*at, text(0, 500, 500), ALL);
        }
    };
    // The five that changed last come into order; then two more arrive.
    let mut buf = RxBuf::new();
    hold(&mut buf, &[10_000, 11_000, 12_000, 5000, 4000, 3000, 2000, 1000]);
    assert_eq!(buf.insert(0, text(0, 5000, 500), ALL).advanced, 5500);
    assert_eq!(sack(&buf, 3), [(6500, 7000), (5500, 6000), (4500, 5000)]);
    hold(&mut buf, &[8000, 9000]);
    assert_eq!(sack(&buf, 4), [(9000, 9500), (8000, 8500), (6500, 7000), (5500, 6000)]);

    // The same with five that are dropped.
    let mut buf = RxBuf::new();
    hold(&mut buf, &[1000, 2000, 3000, 10_000, 11_000, 12_000, 13_000, 14_000]);
    let limit = buf.ooo_memory() / 8 * 3;
    assert_eq!(buf.insert(3000, text(0, 500, 500), limit).pruned, 2500);
    assert_eq!(sack(&buf, 3), [(3000, 3500), (2000, 2500), (1000, 1500)]);
    hold(&mut buf, &[4000, 5000]);
    assert_eq!(sack(&buf, 4), [(5000, 5500), (4000, 4500), (3000, 3500), (2000, 2500)]);
}

/// Duplicates of data out of order are named exactly, the first part only, and the block that holds them
/// is reported first (RFC 2883 section 4.1.3).
///
/// Shows: rfc2883-s4-c
#[test]
fn duplicates_are_named() {
    let mut buf = RxBuf::new();
    let mut insert = |at: u32, len: usize| {
        let inserted = buf.insert(at, text(at as usize, len, 1460), ALL);
        (inserted.duplicate, inserted.accepted, sack(&buf, 2))
    };
    // RCV.NXT is 4000; 4500-5499 is held, and 6000-6499.
    assert_eq!(insert(2000, 500), (None, 500, std::vec![(2000, 2500)]));
    assert_eq!(insert(500, 1000), (None, 1000, std::vec![(500, 1500), (2000, 2500)]));
    // 5000-5499 again: inside of a larger block.
    assert_eq!(insert(1000, 500), (Some((1000, 1500)), 0, std::vec![(500, 1500), (2000, 2500)]));
    // Two parts of one segment are duplicates: the first is named.
    assert_eq!(insert(1200, 1300), (Some((1200, 1500)), 500, std::vec![(500, 2500)]));
    // In order, and partly held already.
    let inserted = buf.insert(0, text(0, 1000, 1460), ALL);
    assert_eq!(inserted.duplicate, Some((500, 1000)));
    assert_eq!((inserted.advanced, inserted.accepted, inserted.filled_gap), (2500, 500, true));
    assert!(!buf.has_ooo());
}

/// What is short is copied together, what is long is kept as it came and handed out so.
#[test]
fn short_data_is_gathered_and_long_data_is_not_copied() {
    let mut buf = RxBuf::new();
    let long = Bytes::from(std::vec![5; 1460]);
    let _ = buf.insert(0, Payload::from(long.clone()), ALL);
    assert_eq!(buf.read_bytes(ALL).as_ptr(), long.as_ptr());
    let _ = buf.insert(0, text(0, 100, 100), ALL);
    let _ = buf.insert(0, Payload::from(long.clone()), ALL);
    for (len, kept) in [(256, false), (257, true)] {
        let mut buf = RxBuf::new();
        let data = long.slice(..len);
        let _ = buf.insert(0, Payload::from(data.clone()), ALL);
        assert_eq!(buf.read_bytes(ALL).as_ptr() == data.as_ptr(), kept);
    }
    let taken = buf.take(1000);
    assert_eq!(taken.slices()[1].as_ptr(), long.as_ptr());
    assert_eq!((taken.len(), buf.len()), (1000, 560));
    buf.discard_all();
    for _ in 0..10_000 {
        let _ = buf.insert(0, text(0, 10, 10), ALL);
    }
    assert!(buf.memory() < 150_000, "{}", buf.memory());
}
