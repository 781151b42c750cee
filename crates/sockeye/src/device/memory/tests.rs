//! The in-memory link keeps its bounds and its order, and loses no wake-up.

use std::collections::VecDeque;
use std::thread;

use bytes::Bytes;
use sockeye_core::Checksum;

use super::*;

fn packet(tag: u8, len: usize) -> Packet {
    Packet::from_bytes(Bytes::from(vec![tag; len]))
}

fn queue(packets: impl IntoIterator<Item = Packet>) -> VecDeque<Packet> {
    packets.into_iter().collect()
}

#[test]
fn packets_arrive_whole_and_in_order() {
    let (a, b) = Memory::pair(MemoryOptions::default());
    let mut big = packet(2, 60_000);
    (big.gso_size, big.checksum) = (1_460, Checksum::Partial);
    let report = a.send(&mut queue([packet(1, 40), big, packet(3, 50)])).unwrap();
    assert_eq!(report, SendReport { sent: 3, dropped: 0, full: false });
    let mut out = Vec::new();
    assert_eq!(b.recv(&mut out, 2).unwrap(), 2);
    assert_eq!(b.recv(&mut out, 2).unwrap(), 1);
    assert_eq!(b.recv(&mut out, 2).unwrap(), 0);
    let seen: Vec<_> = out.iter().map(|p| (p.front()[0], p.len(), p.gso_size, p.checksum)).collect();
    assert_eq!(
        seen,
        [
            (1, 40, 0, Checksum::Unverified),
            (2, 60_000, 1_460, Checksum::Partial),
            (3, 50, 0, Checksum::Unverified)
        ]
    );
    assert_eq!(a.stats().tx_bytes, 60_090);
    assert_eq!((b.stats().rx_packets, b.stats().rx_bytes), (3, 60_090));
    assert_eq!(a.recv(&mut out, 9).unwrap(), 0, "what a end sends does not come back to it");
}

#[test]
fn a_full_queue_drops_and_counts_where_it_shall() {
    let options = MemoryOptions { queue_packets: 2, when_full: WhenFull::Drop, ..MemoryOptions::default() };
    let (a, b) = Memory::pair(options);
    let mut packets = queue([packet(1, 40), packet(2, 40), packet(3, 40), packet(4, 40)]);
    assert_eq!(a.send(&mut packets).unwrap(), SendReport { sent: 2, dropped: 2, full: false });
    assert!(packets.is_empty());
    assert_eq!((a.stats().tx_packets, a.stats().tx_dropped), (2, 2));
    let mut out = Vec::new();
    assert_eq!(b.recv(&mut out, 9).unwrap(), 2);
    assert_eq!(out.iter().map(|p| p.front()[0]).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_full_queue_keeps_the_rest_in_order_and_tells_when_there_is_room() {
    let options = MemoryOptions { queue_bytes: 100, ..MemoryOptions::default() };
    let (a, b) = Memory::pair(options);
    let mut packets = queue([packet(1, 60), packet(2, 40), packet(3, 1), packet(4, 200)]);
    assert_eq!(a.send(&mut packets).unwrap(), SendReport { sent: 2, dropped: 0, full: true });
    let reader = thread::spawn(move || {
        let mut out = Vec::new();
        while out.len() < 4 {
            b.wait(Wait { readable: true, writable: false }, None).unwrap();
            b.recv(&mut out, 1).unwrap();
        }
        out.iter().map(|p| p.front()[0]).collect::<Vec<_>>()
    });
    while !packets.is_empty() {
        a.wait(Wait { readable: false, writable: true }, Some(Duration::from_secs(10))).unwrap();
        a.send(&mut packets).unwrap();
    }
    assert_eq!(reader.join().unwrap(), [1, 2, 3, 4]);
    assert_eq!(a.stats().tx_dropped, 0);
}

#[test]
fn waiting_ends_by_wake_by_time_and_by_the_other_ends_end() {
    let (a, b) = Memory::pair(MemoryOptions::default());
    b.wake();
    let readable = Wait { readable: true, writable: false };
    b.wait(readable, None).unwrap(); // a wake before the wait is not lost
    let began = Instant::now();
    b.wait(readable, Some(Duration::from_millis(20))).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(20));
    a.send(&mut queue([packet(1, 40)])).unwrap();
    let sleeper = thread::spawn(move || {
        let mut out = Vec::new();
        b.wait(readable, None).unwrap();
        assert_eq!(b.recv(&mut out, 9).unwrap(), 1, "what was sent before the end is still there");
        b.wait(readable, None).unwrap();
        b.recv(&mut out, 9).unwrap_err().kind()
    });
    drop(a);
    assert_eq!(sleeper.join().unwrap(), io::ErrorKind::BrokenPipe);
}

#[test]
fn sending_to_an_end_that_is_gone_fails() {
    let (a, b) = Memory::pair(MemoryOptions::default());
    drop(b);
    assert_eq!(a.send(&mut queue([packet(1, 40)])).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
