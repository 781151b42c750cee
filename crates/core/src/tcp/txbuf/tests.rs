use std::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::TxBuf;
use crate::packet::{MAX_SLICES, Payload};

/// An idle connection's send buffer is small and holds no heap.
#[test]
fn an_empty_buffer_is_small() {
    assert!(size_of::<TxBuf>() <= 48);
    let mut buf = TxBuf::new();
    assert_eq!(buf.memory(), 0);
    buf.write(&[1; 100_000]);
    assert!(buf.memory() >= 100_000);
    buf.advance(100_000);
    assert_eq!((buf.len(), buf.memory()), (0, 0));
}

/// The byte at `position` of a stream whose neighbouring bytes and chunks differ.
fn byte(position: usize) -> u8 {
    (position.wrapping_mul(0x9E37_79B1) >> 11) as u8
}

fn stream(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

fn flat(payload: &Payload) -> Vec<u8> {
    payload.slices().concat()
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize),
    Push(usize),
    Slice(usize, usize),
    Copy(usize, usize),
    Advance(usize),
    Clear,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let size = || prop_oneof![4 => 0..8usize, 4 => 0..600usize, 3 => 0..5_000usize, 1 => 0..150_000usize];
    // Positions and lengths in 1/1000 of what is held.
    let op = prop_oneof![
        6 => size().prop_map(Op::Write),
        2 => size().prop_map(Op::Push),
        6 => (0..1010usize, 0..1010usize).prop_map(|(offset, len)| Op::Slice(offset, len)),
        3 => (0..1010usize, 0..1010usize).prop_map(|(offset, len)| Op::Copy(offset, len)),
        4 => (0..1010usize).prop_map(Op::Advance),
        1 => Just(Op::Clear),
    ];
    prop::collection::vec(op, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any operations leave what a plain vector would hold, and every slice ever handed out keeps the octets of its
    /// place in the stream, however the stream is cut.
    ///
    /// Shows: rfc2525-s2.4-a
    #[test]
    fn it_does_what_a_vector_does(ops in ops()) {
        let mut buf = TxBuf::new();
        let mut model: Vec<u8> = Vec::new();
        let mut front = 0;
        let mut handed_out: Vec<(usize, Payload)> = Vec::new();
        for op in ops {
            let share = |thousandths: usize| model.len() * thousandths / 1000;
            match op {
                Op::Write(len) => {
                    let data = stream(front + model.len(), len);
                    buf.write(&data);
                    model.extend(data);
                }
                Op::Push(len) => {
                    let data = stream(front + model.len(), len);
                    model.extend(&data);
                    buf.push(Bytes::from(data));
                }
                Op::Slice(offset, len) => {
                    let (offset, len) = (share(offset), share(len));
                    let expected = model.iter().skip(offset).take(len).copied().collect::<Vec<_>>();
                    let payload = buf.slice(offset, len);
                    prop_assert!(payload.slices().len() <= MAX_SLICES);
                    prop_assert_eq!(flat(&payload), expected);
                    handed_out.push((front + offset, payload));
                }
                Op::Copy(offset, len) => {
                    let (offset, len) = (share(offset), share(len));
                    let mut out = std::vec![0; len];
                    let n = buf.copy_to(offset, &mut out);
                    let expected = model.iter().skip(offset).take(len).copied().collect::<Vec<_>>();
                    prop_assert_eq!(&out[..n], &expected[..]);
                }
                Op::Advance(n) => {
                    let n = share(n);
                    buf.advance(n);
                    let n = n.min(model.len());
                    model.drain(..n);
                    front += n;
                }
                Op::Clear => {
                    buf.clear();
                    front += model.len();
                    model.clear();
                }
            }
            prop_assert_eq!(buf.len(), model.len());
            prop_assert_eq!(buf.is_empty(), model.is_empty());
            prop_assert_eq!(buf.memory() == 0, model.is_empty());
        }
        for (at, payload) in handed_out {
            prop_assert_eq!(flat(&payload), stream(at, payload.len()));
        }
    }
}

/// Long data is handed out by reference: twice the same bytes are the same memory, also while later writes
/// fill the same chunk.
///
/// Shows: rfc2525-s2.4-a
#[test]
fn long_data_is_handed_out_by_reference() {
    let mut buf = TxBuf::new();
    buf.write(&stream(0, 10_000));
    let first = buf.slice(0, 1460);
    buf.write(&stream(10_000, 500));
    let again = buf.slice(0, 1460);
    assert_eq!(first.slices().len(), 1);
    assert_eq!(first.slices()[0].as_ptr(), again.slices()[0].as_ptr());
    assert_eq!(flat(&buf.slice(9_000, 1_500)), stream(9_000, 1_500));
}

/// As many slices as a packet takes are references; one more and the data is gathered.
#[test]
fn many_slices_are_gathered() {
    let mut buf = TxBuf::new();
    for k in 0..20 {
        buf.push(Bytes::from(stream(600 * k, 600)));
    }
    for (len, slices) in [(600 * MAX_SLICES, MAX_SLICES), (600 * MAX_SLICES + 1, 1)] {
        let payload = buf.slice(600, len);
        assert_eq!(payload.slices().len(), slices);
        assert_eq!(flat(&payload), stream(600, len));
    }
}

/// A retransmission that is cut otherwise carries the same octets.
///
/// Shows: rfc2525-s2.4-a
#[test]
fn a_resegmented_retransmission_carries_the_same_octets() {
    let mut buf = TxBuf::new();
    for at in (0..300_000).step_by(1_000) {
        buf.write(&stream(at, 1_000));
        let _ = buf.slice(at, 1_000);
    }
    for mss in [1, 536, 1_459, 9_001, 65_000] {
        for offset in (0..300_000).step_by(mss.max(977)) {
            let payload = buf.slice(offset, mss);
            assert_eq!(flat(&payload), stream(offset, payload.len()));
            assert_eq!(payload.len(), mss.min(300_000 - offset));
            assert!(payload.slices().len() <= MAX_SLICES);
        }
    }
}

/// A byte at a time costs a byte at a time: neither a chunk for each nor a piece for each.
#[test]
fn tiny_writes_do_not_cost_chunks() {
    let mut buf = TxBuf::new();
    buf.write(&[7]);
    assert!(buf.memory() <= 64);
    for at in 1..20_000 {
        buf.write(&[7]);
        let _ = buf.slice(at, 1);
    }
    assert!(buf.memory() <= 3 * 20_000, "{}", buf.memory());
    // Acknowledged and written by turns, never empty: it does not grow.
    let mut buf = TxBuf::new();
    buf.write(&[7; 100]);
    for _ in 0..10_000 {
        buf.write(&[7; 100]);
        buf.advance(100);
        assert!(buf.memory() <= 4_096);
    }
}
