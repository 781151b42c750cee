//! When small segments leave (RFC 9293 3.7.4, 3.8.6.2.1, A.3; TCP_NODELAY, TCP_CORK, MSG_MORE).

use super::kit::*;
use super::*;

/// The lengths of what leaves now.
fn lens(h: &mut Host) -> Vec<usize> {
    h.recv_all().iter().map(|o| o.data.len()).collect()
}

/// Shows: rfc9293-SHLD-7
#[test]
fn second_small_write_waits_for_the_acknowledgment() {
    for config in [plain(), rfc()] {
        let mut h = Host::established(config, Options::default());
        h.write(&[1; 10]);
        assert_eq!(lens(&mut h), [10]);
        h.write(&[2; 10]);
        h.write(&[3; 20]);
        h.quiet();
        h.ack(1_011);
        assert_eq!(lens(&mut h), [30], "coalesced");
    }
}

/// Shows: rfc9293-MUST-17
#[test]
fn nodelay_lets_small_writes_go_at_once() {
    let mut h = Host::established(plain(), socket(|o| o.nodelay = true));
    for _ in 0..3 {
        h.write(&[1; 1]);
        assert_eq!(lens(&mut h), [1]);
    }
    let mut h = Host::established(plain(), Options::default());
    h.write(&[1; 1]);
    assert_eq!(lens(&mut h), [1]);
    h.write(&[2; 1]);
    h.quiet();
    h.set(|o| o.nodelay = true);
    assert_eq!(lens(&mut h), [1], "switched on, it lets go what is held");
    h.set(|o| o.nodelay = false);
    h.write(&[3; 1]);
    h.quiet();
}

/// Shows: rfc9293-sA.3-a, rfc9293-SHLD-7
#[test]
fn minshall_holds_only_behind_another_small_segment() {
    let mut h = Host::established(plain(), Options::default());
    h.write(&[1; 1_470]);
    assert_eq!(lens(&mut h), [1_460, 10], "nothing small is outstanding");
    h.write(&[2; 10]);
    h.quiet();
    h.ack(1_001 + 1_470);
    assert_eq!(lens(&mut h), [10]);
    // The letter of RFC 9293 3.7.4: any unacknowledged data holds.
    let mut h = Host::established(rfc(), Options::default());
    h.write(&[1; 1_470]);
    assert_eq!(lens(&mut h), [1_460]);
    h.ack(1_001 + 1_460);
    assert_eq!(lens(&mut h), [10]);
}

/// Shows: rfc9293-SHLD-7, rfc9293-SHLD-28
#[test]
fn full_segment_is_never_held() {
    let mut h = Host::established(rfc(), Options::default());
    h.write(&[1; 10]);
    assert_eq!(lens(&mut h), [10]);
    h.write(&[2; 1_459]);
    h.quiet();
    h.write(&[2; 1]);
    assert_eq!(lens(&mut h), [1_460]);
}

/// Shows: rfc9293-MUST-60
#[test]
fn data_is_not_held_back_indefinitely() {
    let mut h = Host::established(plain(), Options::default());
    h.write(&[1; 1]);
    assert_eq!(lens(&mut h), [1], "nothing outstanding: at once");
    h.write(&[2; 1]);
    h.quiet();
    h.ack(1_002);
    assert_eq!(lens(&mut h), [1], "at latest when all is acknowledged");
}

/// Shows: rfc9293-MAY-16, rfc9293-MUST-60
#[test]
fn cork_gathers_full_segments_and_gives_way_after_a_time() {
    let mut h = Host::established(plain(), socket(|o| o.cork = true));
    let mut all = Vec::new();
    for _ in 0..30 {
        h.write(&[1; 100]);
        all.extend(lens(&mut h));
    }
    assert_eq!(all, [1_460, 1_460]);
    h.ack(1_001 + 2_920);
    h.quiet();
    let start = h.now;
    let out = h.wait(secs(1)).expect("the cork's timer");
    assert_eq!(out.data.len(), 80);
    assert!(h.now.since(start) <= ms(250), "{:?}", h.now.since(start));
}

/// Shows: rfc9293-MAY-16
#[test]
fn uncorking_sends_what_is_held() {
    let mut h = Host::established(plain(), socket(|o| o.cork = true));
    h.write(&[1; 100]);
    h.quiet();
    h.set(|o| o.cork = false);
    assert_eq!(lens(&mut h), [100]);
}

/// Shows: rfc9293-MAY-16, rfc9293-MUST-61
#[test]
fn more_to_come_holds_a_short_segment_and_its_push() {
    let mut h = Host::established(plain(), socket(|o| o.nodelay = true));
    h.conn.set_more(true);
    h.write(&[1; 1_500]);
    let out = h.recv_all();
    assert_eq!(out.len(), 1);
    assert_eq!(brief(&out[0]), (ACK, 1_001, 5_001, 1_460));
    h.conn.set_more(false);
    h.write(&[2; 10]);
    assert_eq!(brief(&h.one()), (PSH_ACK, 2_461, 5_001, 50));
}

/// Shows: rfc9293-MUST-61
#[test]
fn push_stands_on_the_segment_that_empties_the_queue() {
    let mut h = Host::established(rfc(), Options::default());
    h.write(&pattern(3_000));
    h.set(|o| o.nodelay = true);
    let psh: Vec<_> = h.recv_all().iter().map(|o| (o.data.len(), o.hdr.flags.contains(Flags::PSH))).collect();
    assert_eq!(psh, [(1_460, false), (1_460, false), (80, true)]);
}

/// Shows: rfc9293-MAY-17
#[test]
fn received_push_changes_nothing_of_the_stream() {
    let read = |flags: Flags| {
        let mut h = Host::established(plain(), Options::default());
        h.send(Seg::new(ACK.union(flags), 5_001, 1_001).data(b"one"));
        h.send(Seg::new(ACK.union(flags), 5_004, 1_001).data(b"two"));
        (h.read(4), h.read(4), h.conn.readiness())
    };
    assert_eq!(read(Flags::PSH), read(Flags::empty()));
}

/// Shows: rfc2525-s2.15-a
#[test]
fn end_of_the_stream_is_not_held() {
    let mut h = Host::established(rfc(), Options::default());
    h.write(&[1; 10]);
    assert_eq!(lens(&mut h), [10]);
    h.write(&[2; 10]);
    h.shutdown();
    assert_eq!(lens(&mut h), [10]);
}
