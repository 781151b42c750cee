//! TUN against the kernel, without a stack: every packet is written and read by hand.
#![cfg(target_os = "linux")]

mod common;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::in_namespace;
use sockeye::core::tcp::SeqNum;
use sockeye::core::wire::tcp::{ChecksumMode, Flags, Header, Options, build};
use sockeye::core::wire::{IpTemplate, Upper, parse, take_payload};
use sockeye::core::{Packet, Payload};
use sockeye::device::{Device, Tun, TunOptions, Wait};

const HOST4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 9, 1));
const OURS4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 9, 2));
const HOST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1));
const OURS6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2));

fn options(offload: bool) -> TunOptions {
    TunOptions {
        host_addresses: vec![(HOST4, 24), (HOST6, 64)],
        mtu: Some(1_400),
        offload,
        ..TunOptions::new("sky0")
    }
}

/// The next TCP packet that fits. What came with it and was not looked at stays in `pending`.
fn next(
    tun: &Tun,
    pending: &mut VecDeque<Packet>,
    what: &str,
    fits: impl Fn(&Header, usize) -> bool,
) -> (Packet, Header, usize, usize) {
    let (began, mut packets) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_secs(10) {
        while let Some(packet) = pending.pop_front() {
            let Ok(parsed) = parse(&packet) else { panic!("the kernel sent {packet:?}") };
            let Upper::Tcp(segment) = parsed.upper else { continue };
            if fits(&segment.header, segment.data_len) {
                return (packet, segment.header, segment.data_at, segment.data_len);
            }
        }
        tun.wait(Wait { readable: true, writable: false }, Some(Duration::from_millis(500))).unwrap();
        tun.recv(&mut packets, 64).unwrap();
        pending.extend(packets.drain(..));
    }
    panic!("no {what} within 10 s");
}

fn send(tun: &Tun, from: IpAddr, to: IpAddr, header: &Header, data: &[u8], gso: u16, mode: ChecksumMode) {
    let payload = Payload::from(Bytes::copy_from_slice(data));
    let packet = build(&IpTemplate::new(from, to), header, payload, gso, mode);
    let report = tun.send(&mut VecDeque::from([packet])).unwrap();
    assert_eq!((report.sent, report.dropped), (1, 0));
}

/// Accepts a connection of the kernel by hand, takes 100 kB from it and sends 50 kB, over `ours`.
fn converse(tun: &Tun, ours: IpAddr) {
    let offload = tun.capabilities().gso_max > 0;
    let mode = if offload { ChecksumMode::Partial } else { ChecksumMode::Complete };
    let mut pending = VecDeque::new();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(SocketAddr::new(ours, 80)).unwrap();
        stream.write_all(&[7; 100_000]).unwrap();
        let mut back = vec![0; 50_000];
        stream.read_exact(&mut back).unwrap();
        back
    });
    let (packet, syn, ..) = next(tun, &mut pending, "SYN", |header, _| header.flags == Flags::SYN);
    let host = parse(&packet).unwrap().ip.src;
    let mut header = Header {
        src_port: 80,
        dst_port: syn.src_port,
        seq: SeqNum(1_000),
        ack: syn.seq + 1,
        flags: Flags::SYN | Flags::ACK,
        window: 65_535,
        options: Options { mss: Some(1_340), window_scale: Some(4), ..Options::default() },
        ..Header::default()
    };
    let answer = header;
    send(tun, ours, host, &answer, &[], 0, mode);
    (header.seq, header.flags, header.options) = (SeqNum(1_001), Flags::ACK, Options::default());
    let (mut got, mut largest) = (0, 0);
    while got < 100_000 {
        let wanted = header.ack;
        let fits = |segment: &Header, len: usize| {
            (segment.seq == wanted && len > 0) || (segment.flags == Flags::SYN && segment.seq == syn.seq)
        };
        let (packet, segment, at, len) = next(tun, &mut pending, "data", fits);
        if segment.flags == Flags::SYN {
            // The answer was not taken in, as happens right after the interface got its IPv6 address: once more.
            send(tun, ours, host, &answer, &[], 0, mode);
            continue;
        }
        assert_eq!(packet.gso_size != 0, len > 1_340, "gso_size {} of {len} bytes", packet.gso_size);
        let data = take_payload(packet, at, len);
        assert!(data.slices().iter().all(|slice| slice.iter().all(|&byte| byte == 7)));
        (got, largest) = (got + len, largest.max(len));
        header.ack += len as u32;
        send(tun, ours, host, &header, &[], 0, mode);
    }
    assert_eq!(largest > 1_340, offload, "super-segments come with offloads and only then ({largest})");
    let data: Vec<u8> = (0..50_000u32).map(|n| n as u8).collect();
    // A client that has received nothing has a window of at least 64 kB.
    let gso = if offload { 1_340 } else { 0 };
    let piece = if offload { 12_500 } else { 1_250 };
    for part in data.chunks(piece) {
        send(tun, ours, host, &header, part, gso, mode);
        header.seq += part.len() as u32;
    }
    assert!(client.join().unwrap() == data, "what the client got is not what was sent");
}

#[test]
fn super_segments_and_open_checksums_pass_both_ways() {
    in_namespace("super_segments_and_open_checksums_pass_both_ways", || {
        let tun = Tun::open(&options(true)).unwrap();
        assert_eq!((tun.name(), tun.capabilities().mtu), ("sky0", 1_400));
        assert!(tun.capabilities().checksum_tx && tun.capabilities().checksum_rx);
        converse(&tun, OURS4);
        converse(&tun, OURS6);
        let stats = tun.stats();
        assert!(stats.rx_bytes > 200_000 && stats.tx_bytes > 100_000 && stats.tx_dropped == 0, "{stats:?}");
    });
}

#[test]
fn plain_packets_pass_without_offloads() {
    in_namespace("plain_packets_pass_without_offloads", || {
        let tun = Tun::open(&options(false)).unwrap();
        assert_eq!(tun.capabilities().gso_max, 0);
        converse(&tun, OURS4);
        converse(&tun, OURS6);
    });
}

#[test]
fn an_interface_in_use_is_busy_and_a_name_too_long_is_refused() {
    in_namespace("an_interface_in_use_is_busy_and_a_name_too_long_is_refused", || {
        let first = Tun::open(&options(true)).unwrap();
        let error = Tun::open(&options(true)).err().expect("it is in use");
        assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
        drop(first);
        Tun::open(&options(true)).expect("it is free again");
        let error = Tun::open(&TunOptions::new("a-name-that-is-too-long")).err().expect("16 bytes");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    });
}

#[test]
fn a_persistent_interface_stays_and_can_be_attached_to() {
    in_namespace("a_persistent_interface_stays_and_can_be_attached_to", || {
        drop(Tun::open(&TunOptions { persistent: true, ..options(true) }).unwrap());
        TcpListener::bind((HOST4, 4_444)).expect("the address is still there");
        let tun = Tun::open(&TunOptions::new("sky0")).unwrap();
        assert_eq!(tun.capabilities().mtu, 1_400);
        converse(&tun, OURS4);
    });
}

#[test]
fn what_is_written_to_a_downed_interface_is_dropped_and_counted() {
    in_namespace("what_is_written_to_a_downed_interface_is_dropped_and_counted", || {
        let tun = Tun::open(&TunOptions { up: false, ..options(true) }).unwrap();
        let header = Header { flags: Flags::SYN, ..Header::default() };
        let packet =
            build(&IpTemplate::new(OURS4, HOST4), &header, Payload::new(), 0, ChecksumMode::Complete);
        let report = tun.send(&mut VecDeque::from([packet])).unwrap();
        assert_eq!((report.sent, report.dropped, tun.stats().tx_dropped), (0, 1, 1));
    });
}

#[test]
fn waiting_ends_by_wake_and_by_time() {
    in_namespace("waiting_ends_by_wake_and_by_time", || {
        let tun = Tun::open(&TunOptions { up: false, host_addresses: vec![], ..options(true) }).unwrap();
        tun.wake();
        tun.wait(Wait { readable: true, writable: false }, None).unwrap();
        let began = Instant::now();
        tun.wait(Wait { readable: true, writable: false }, Some(Duration::from_millis(30))).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(30));
        thread::scope(|scope| {
            scope.spawn(|| tun.wait(Wait { readable: true, writable: false }, None).unwrap());
            thread::sleep(Duration::from_millis(20));
            tun.wake();
        });
    });
}
