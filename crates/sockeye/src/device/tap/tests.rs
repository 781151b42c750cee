//! What a capture writes reads back as it was.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use pcap_file::pcapng::{Block, PcapNgReader};
use sockeye_core::tcp::state::Event;
use sockeye_core::wire::tcp::{ChecksumMode, Flags, Header, build};
use sockeye_core::wire::{IpTemplate, parse};
use sockeye_core::{Checksum, Instant, Payload};

use super::*;
use crate::device::{Memory, MemoryOptions};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const A: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4_000);
const B: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 80);

fn segment(len: usize, gso_size: u16) -> Packet {
    let header = Header { src_port: 4_000, dst_port: 80, flags: Flags::ACK, ..Header::default() };
    let payload = Payload::from(Bytes::from(vec![7; len]));
    build(&IpTemplate::new(A.ip(), B.ip()), &header, payload, gso_size, ChecksumMode::Partial)
}

/// Interface names, and (data, time, direction, comment, original length) of each packet.
type Read = (Vec<String>, Vec<(Vec<u8>, Duration, u32, Option<String>, u32)>);

fn read_back(file: &Shared) -> Read {
    let bytes = file.0.lock().unwrap().clone();
    let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
    let (mut names, mut packets) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, DataLink::RAW);
                assert!(interface.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                names.extend(interface.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                }));
            }
            Block::EnhancedPacket(packet) => {
                let flags = packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Flags(flags) => Some(*flags),
                    _ => None,
                });
                let comment = packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(comment) => Some(comment.to_string()),
                    _ => None,
                });
                packets.push((
                    packet.data.to_vec(),
                    packet.timestamp,
                    flags.unwrap(),
                    comment,
                    packet.original_len,
                ));
            }
            other => panic!("unexpected block {other:?}"),
        }
    }
    (names, packets)
}

fn capture(options: CaptureOptions) -> (Shared, Arc<Capture>) {
    let file = Shared::default();
    (file.clone(), Capture::to_writer(Box::new(file), options).unwrap())
}

#[test]
fn both_directions_are_captured_with_names_times_and_finished_checksums() {
    let (file, capture) = capture(CaptureOptions::default());
    let (a, b) = Memory::pair(MemoryOptions::default());
    let (a, b) = (Tap::new(a, capture.clone()).unwrap(), Tap::new(b, capture.clone()).unwrap());
    let before = since_1970();
    a.send(&mut VecDeque::from([segment(300, 0)])).unwrap();
    let mut out = Vec::new();
    assert_eq!(b.recv(&mut out, 9).unwrap(), 1);
    assert_eq!(out[0].checksum, Checksum::Partial, "the traffic itself is not touched");
    capture.flush().unwrap();
    let (names, packets) = read_back(&file);
    assert_eq!(names, ["mem0", "mem1"]);
    assert_eq!(packets.iter().map(|packet| packet.2).collect::<Vec<_>>(), [OUTBOUND, INBOUND]);
    for (data, at, ..) in packets {
        assert!(at >= before && at <= since_1970());
        assert_eq!(data.len(), 340);
        parse(&Packet::from_bytes(Bytes::from(data))).expect("the checksum holds");
    }
}

#[test]
fn comments_name_the_state_on_this_side() {
    let (file, capture) = capture(CaptureOptions::default());
    let interface = capture.add_interface("x").unwrap();
    let tuple = Tuple { local: A, remote: B };
    let change = |from, to| Record {
        at: Instant::ZERO,
        socket: None,
        tuple,
        what: What::State { from, to, why: Event::Close },
    };
    capture.packet(interface, Direction::Out, Duration::ZERO, &segment(1, 0));
    capture.observe(&change(State::Established, State::FinWait1));
    capture.packet(interface, Direction::Out, Duration::ZERO, &segment(1, 0));
    capture.packet(interface, Direction::In, Duration::ZERO, &segment(1, 0)); // another tuple, seen from B
    capture.observe(&change(State::FinWait1, State::Closed));
    capture.packet(interface, Direction::Out, Duration::ZERO, &segment(1, 0));
    capture.flush().unwrap();
    let comments: Vec<_> = read_back(&file).1.into_iter().map(|packet| packet.3).collect();
    assert_eq!(comments, [None, Some("FIN-WAIT-1".into()), None, None]);
}

#[test]
fn super_segments_are_kept_whole_or_cut_as_asked() {
    for (whole, lengths) in [(true, vec![40 + 3_500]), (false, vec![1_500, 1_500, 620])] {
        let (file, capture) = capture(CaptureOptions { super_segments: whole, ..CaptureOptions::default() });
        let interface = capture.add_interface("x").unwrap();
        capture.packet(
            interface,
            Direction::Out,
            Duration::from_nanos(1_234_567_890_123),
            &segment(3_500, 1_460),
        );
        capture.flush().unwrap();
        let packets = read_back(&file).1;
        assert_eq!(packets.iter().map(|packet| packet.0.len()).collect::<Vec<_>>(), lengths);
        for packet in packets {
            assert_eq!(packet.1, Duration::from_nanos(1_234_567_890_123));
        }
    }
}

#[test]
fn the_file_is_bounded_and_snapping_keeps_the_true_length() {
    let options = CaptureOptions { snap_len: 60, max_bytes: 250, ..CaptureOptions::default() };
    let (file, capture) = capture(options);
    let interface = capture.add_interface("x").unwrap();
    for _ in 0..10 {
        capture.packet(interface, Direction::In, Duration::ZERO, &segment(500, 0));
    }
    capture.flush().unwrap();
    let packets = read_back(&file).1;
    assert!(packets.iter().all(|packet| packet.0.len() == 60 && packet.4 == 540));
    let (written, skipped) = capture.counts();
    assert_eq!((written as usize, written + skipped), (packets.len(), 10));
    assert!((1..5).contains(&packets.len()));
}

#[test]
fn a_writer_that_fails_is_reported_and_stops_no_traffic() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let capture = Capture::to_writer(Box::new(Full), CaptureOptions::default()).unwrap();
    let (a, b) = Memory::pair(MemoryOptions::default());
    let a = Tap::new(a, capture.clone()).unwrap();
    for _ in 0..200 {
        a.send(&mut VecDeque::from([segment(1_400, 0)])).unwrap();
    }
    assert_eq!(b.recv(&mut Vec::new(), 1_000).unwrap(), 200);
    assert_eq!(capture.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(capture.counts().1 > 0);
}
