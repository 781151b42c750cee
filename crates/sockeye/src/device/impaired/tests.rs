//! The link in front of a device keeps what it promises, and loses nothing but what it was told to lose.

use std::thread;

use bytes::Bytes;

use super::super::{Memory, MemoryOptions};
use super::*;

const READABLE: Wait = Wait { readable: true, writable: false };

fn impaired(text: &str) -> (Impaired<Memory>, Memory) {
    let (a, b) = Memory::pair(MemoryOptions::default());
    (Impaired::new(a, &text.parse().unwrap()), b)
}

fn packet(tag: u8, len: usize) -> Packet {
    Packet::from_bytes(Bytes::from(vec![tag; len]))
}

fn send(device: &impl Device, packets: impl IntoIterator<Item = Packet>) {
    let mut queue: VecDeque<Packet> = packets.into_iter().collect();
    device.send(&mut queue).unwrap();
    assert!(queue.is_empty());
}

/// Receives until there are `count`, as a driver's thread does.
fn receive(device: &impl Device, count: usize) -> Vec<Packet> {
    let mut out = Vec::new();
    while out.len() < count {
        device.wait(READABLE, Some(Duration::from_secs(10))).unwrap();
        device.recv(&mut out, 100).unwrap();
    }
    out
}

#[test]
fn what_is_received_is_late_by_the_delay_of_its_direction() {
    let (a, b) = impaired("up:delay=10s,down:delay=30ms");
    let begun = std::time::Instant::now();
    send(&b, [packet(1, 40), packet(2, 40)]);
    let got = receive(&a, 2);
    assert!(begun.elapsed() >= Duration::from_millis(30), "{:?}", begun.elapsed());
    assert_eq!(got.iter().map(|p| p.front()[0]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(a.counters().1.delivered, 2);
}

/// A packet sent by one thread leaves though another one sleeps in `wait` for something else.
#[test]
fn what_is_sent_leaves_while_another_thread_waits() {
    let (a, b) = impaired("up:delay=20ms");
    let a = std::sync::Arc::new(a);
    let keeper = a.clone();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Acquire) {
            keeper.wait(READABLE, None).unwrap();
            keeper.recv(&mut Vec::new(), 9).unwrap();
        }
    });
    thread::sleep(Duration::from_millis(5));
    for tag in 0..5 {
        let begun = std::time::Instant::now();
        send(&*a, [packet(tag, 100)]);
        assert_eq!(receive(&b, 1)[0].front()[0], tag);
        assert!(begun.elapsed() >= Duration::from_millis(20), "{:?}", begun.elapsed());
    }
    stop.store(true, std::sync::atomic::Ordering::Release);
    a.wake();
    thread.join().unwrap();
}

#[test]
fn losses_and_full_queues_are_counted() {
    let (a, b) = impaired("up:rate=8mbit,up:queue=2p,down:loss=100%");
    send(&a, (0..10).map(|tag| packet(tag, 1_000)));
    send(&b, (0..7).map(|tag| packet(tag, 40)));
    a.drain(Duration::from_secs(10)).unwrap();
    let mut out = Vec::new();
    assert_eq!(a.recv(&mut out, 99).unwrap(), 0);
    assert_eq!(b.recv(&mut out, 99).unwrap(), 2);
    let (up, down) = a.counters();
    assert_eq!((up.queue_drops, down.lost), (8, 7));
    assert_eq!((a.stats().tx_dropped, a.stats().rx_dropped), (8, 7));
}

/// A device without room keeps what arrives at it waiting, in order; nothing is lost.
#[test]
fn a_full_device_loses_nothing() {
    let options = MemoryOptions { queue_packets: 2, ..MemoryOptions::default() };
    let (a, b) = Memory::pair(options);
    let a = Impaired::new(a, &"up:delay=1ms".parse().unwrap());
    send(&a, (0..50).map(|tag| packet(tag, 100)));
    let drained = thread::scope(|scope| {
        let thread = scope.spawn(|| a.drain(Duration::from_secs(10)));
        let got: Vec<u8> = receive(&b, 50).iter().map(|p| p.front()[0]).collect();
        assert_eq!(got, (0..50).collect::<Vec<_>>());
        thread.join().unwrap()
    });
    drained.unwrap();
}

/// What was on its way when the other end went arrives before the end is told.
#[test]
fn the_end_of_the_device_is_told_last() {
    let (a, b) = impaired("down:delay=20ms");
    send(&b, [packet(1, 40)]);
    drop(b);
    assert_eq!(receive(&a, 1).len(), 1);
    a.wait(READABLE, Some(Duration::from_secs(10))).unwrap();
    assert_eq!(a.recv(&mut Vec::new(), 9).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
