//! The ladder draws a handshake, data and an end as people draw them.

use std::net::{IpAddr, Ipv4Addr};

use sockeye_core::SocketId;
use sockeye_core::tcp::Why;
use sockeye_core::tcp::state::Event;
use sockeye_core::trace::DropReason;
use sockeye_core::wire::tcp::{Options, Timestamps};

use super::*;
use crate::view::record_to_json;

fn tuple() -> Tuple {
    let ip = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    Tuple { local: SocketAddr::new(ip(1), 4_000), remote: SocketAddr::new(ip(2), 80) }
}

fn record(side: Side, what: What) -> Record {
    let tuple = if side == Side::Left { tuple() } else { tuple().reversed() };
    Record { at: Instant::from_micros(1_250), socket: Some(SocketId::from_u64(7)), tuple, what }
}

fn header(flags: Flags, seq: u32, ack: u32) -> Header {
    Header { flags, seq: SeqNum(seq), ack: SeqNum(ack), window: 500, ..Header::default() }
}

fn sent(header: Header, len: u32, why: Why, state: State) -> What {
    What::Sent { header, len, gso_size: 0, why, state }
}

fn ladder(options: LadderOptions) -> Ladder {
    Ladder::new(LadderOptions { width: 60, ..options })
}

const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);

#[test]
fn a_handshake_is_drawn_with_relative_numbers_on_both_sides() {
    let mut ladder = ladder(LadderOptions::default());
    let mut syn = header(Flags::SYN, 9_000, 0);
    syn.options =
        Options { mss: Some(1_460), window_scale: Some(7), sack_permitted: true, ..Options::default() };
    let line = ladder.line(Side::Left, &record(Side::Left, sent(syn, 0, Why::Syn, State::SynSent))).unwrap();
    let expected = format!(
        "    0.001250     SYN-SENT | SYN seq 0 win 500 <mss 1460,sackOK,wscale 7> {}>| CLOSED       connect",
        "-".repeat(60 - 3 - "SYN seq 0 win 500 <mss 1460,sackOK,wscale 7>".len())
    );
    assert_eq!(line, expected);
    let state = What::State { from: State::Listen, to: State::SynReceived, why: Event::RcvSyn };
    let line = ladder.line(Side::Right, &record(Side::Right, state)).unwrap();
    assert!(line.contains("LISTEN -> SYN-RECEIVED |"), "{line}");
    let answer = sent(header(SYN_ACK, 70_000, 9_001), 0, Why::SynAck, State::SynReceived);
    let line = ladder.line(Side::Right, &record(Side::Right, answer)).unwrap();
    assert!(line.contains("SYN-SENT |<---") && line.contains("SYN,ACK seq 0 ack 1 win 500"), "{line}");
    assert!(line.contains("| SYN-RECEIVED answer to SYN"), "{line}");
    let received =
        What::Received { header: header(SYN_ACK, 70_000, 9_001), len: 0, gso_size: 0, state: State::SynSent };
    assert_eq!(ladder.line(Side::Left, &record(Side::Left, received)), None, "it was drawn when it was sent");
    let data = sent(header(Flags::ACK, 9_001, 70_001), 100, Why::Data, State::Established);
    let line = ladder.line(Side::Left, &record(Side::Left, data)).unwrap();
    assert!(line.contains("ACK seq 1:101 (100) ack 1 win 500"), "{line}");
}

#[test]
fn every_line_has_the_same_columns() {
    let mut ladder = ladder(LadderOptions::default());
    let mut long = header(Flags::ACK | Flags::PSH, 1, 1);
    long.options.timestamps = Some(Timestamps { val: u32::MAX, ecr: u32::MAX });
    for _ in 0..4 {
        long.options
            .sack
            .push(sockeye_core::wire::tcp::SackBlock { left: SeqNum(1), right: SeqNum(u32::MAX) });
    }
    let whats = [
        sent(long, u32::MAX, Why::RetransmitRack, State::SynReceived),
        sent(header(Flags::empty(), 1, 1), 0, Why::Ack, State::Established),
        What::State { from: State::Established, to: State::FinWait1, why: Event::Close },
        What::Dropped { reason: DropReason::OutOfWindow, seq: None },
        What::Ended { error: Some(sockeye_core::Errno::ECONNRESET) },
    ];
    for what in whats {
        for side in [Side::Left, Side::Right] {
            let line = ladder.line(side, &record(side, what.clone())).unwrap();
            let bars: Vec<_> = line.char_indices().filter(|(_, c)| *c == '|').map(|(at, _)| at).collect();
            assert_eq!(bars, [26, 87], "{line}");
        }
    }
}

#[test]
fn one_end_alone_draws_what_it_receives() {
    let mut ladder = ladder(LadderOptions { both_ends: false, ..LadderOptions::default() });
    let received =
        What::Received { header: header(Flags::SYN, 5, 0), len: 0, gso_size: 0, state: State::Listen };
    let line = ladder.line(Side::Left, &record(Side::Left, received)).unwrap();
    assert!(line.contains("|<---") && line.contains("SYN seq 0"), "{line}");
}

#[test]
fn events_can_be_left_out_and_ended_connections_are_forgotten() {
    let mut ladder = ladder(LadderOptions { both_ends: false, events: false, ..LadderOptions::default() });
    let dropped = record(Side::Left, What::Dropped { reason: DropReason::Paws, seq: None });
    assert_eq!(ladder.line(Side::Left, &dropped), None);
    let open = What::State { from: State::Closed, to: State::SynSent, why: Event::ActiveOpen };
    ladder.line(Side::Left, &record(Side::Left, open));
    assert_eq!(ladder.open().count(), 1);
    let over = What::State { from: State::TimeWait, to: State::Closed, why: Event::TimeWaitOver };
    ladder.line(Side::Left, &record(Side::Left, over)).unwrap();
    assert_eq!(ladder.open().count(), 0);
}

#[test]
fn colours_are_only_used_when_asked_for() {
    let what = sent(header(Flags::RST, 1, 1), 0, Why::Rst, State::Closed);
    let plain = ladder(LadderOptions::default()).line(Side::Left, &record(Side::Left, what.clone())).unwrap();
    assert!(!plain.contains('\x1b'));
    let options = LadderOptions { color: true, ..LadderOptions::default() };
    let line = ladder(options).line(Side::Left, &record(Side::Left, what)).unwrap();
    assert!(line.contains("\x1b[31m") && line.contains("\x1b[0m"));
}

#[test]
fn what_it_remembers_is_bounded() {
    let mut ladder = ladder(LadderOptions::default());
    for port in 0..u16::MAX {
        let mut one = record(Side::Left, sent(header(Flags::SYN, 1, 0), 0, Why::Syn, State::SynSent));
        one.tuple.local.set_port(port);
        ladder.line(Side::Left, &one).unwrap();
        assert!(ladder.open().count() <= MAX_CONNECTIONS);
    }
}

#[test]
fn json_has_every_field_of_a_segment() {
    let mut one = header(SYN_ACK, 5, 6);
    one.options.mss = Some(1_460);
    one.options.timestamps = Some(Timestamps { val: 1, ecr: 2 });
    let value = record_to_json(&record(Side::Left, sent(one, 0, Why::SynAck, State::SynReceived)));
    assert_eq!(
        value,
        serde_json::json!({
            "time": 0.00125, "event": "sent", "socket": 7,
            "local": "192.0.2.1:4000", "remote": "192.0.2.2:80",
            "segment": {
                "flags": "SYN,ACK", "seq": 5, "ack": 6, "len": 0, "win": 500, "mss": 1460,
                "ts": { "val": 1, "ecr": 2 }
            },
            "why": "answer to SYN", "state": "SYN-RECEIVED"
        })
    );
}
