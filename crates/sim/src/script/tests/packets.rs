use std::net::IpAddr;

use sockeye_core::wire::tcp::Flags;

use super::super::ast::{
    Body, Direction, Ecn, Encapsulation, Icmp, IpInfo, MplsLabel, Quoted, SeqRange, TcpOption,
};
use super::super::icmp;
use super::{fails, packet, tcp};

fn seq(start: u32, end: u32) -> SeqRange {
    SeqRange { start, end, len: end.wrapping_sub(start) }
}

fn flags(letters: &str) -> (Flags, bool) {
    let tcp = tcp(&format!("> {letters} 0:0(0)"));
    (tcp.flags, tcp.ace)
}

#[test]
fn each_flag_has_its_letter() {
    assert_eq!(flags("F"), (Flags::FIN, false));
    assert_eq!(flags("S"), (Flags::SYN, false));
    assert_eq!(flags("R"), (Flags::RST, false));
    assert_eq!(flags("P"), (Flags::PSH, false));
    assert_eq!(flags("."), (Flags::ACK, false));
    assert_eq!(flags("U"), (Flags::URG, false));
    assert_eq!(flags("E"), (Flags::ECE, false));
    assert_eq!(flags("W"), (Flags::CWR, false));
    assert_eq!(flags("A"), (Flags::AE, false));
    assert_eq!(flags("-"), (Flags::empty(), false));
    assert_eq!(flags("FPU."), (Flags::FIN | Flags::PSH | Flags::URG | Flags::ACK, false));
    assert_eq!(flags("SEWA"), (Flags::SYN | Flags::ECE | Flags::CWR | Flags::AE, false));
    assert_eq!(flags("S.EW"), flags("SEW."));
}

#[test]
fn a_digit_stands_for_the_three_bits_of_ace() {
    assert_eq!(flags("P5."), (Flags::PSH | Flags::ACK | Flags::AE | Flags::ECE, true));
    assert_eq!(flags(".5"), (Flags::ACK | Flags::AE | Flags::ECE, true));
    assert_eq!(flags("6."), (Flags::ACK | Flags::AE | Flags::CWR, true));
    assert_eq!(flags("0."), (Flags::ACK, true));
    assert_eq!(flags("7"), (Flags::AE | Flags::CWR | Flags::ECE, true));
}

#[test]
fn a_segment_with_everything() {
    let p = packet(
        "< [ect0] 1111 > 2222 PU. 1:1001(1000) ack 4294967295 win 65535 urg 7 <nop,nop,TS val 9 ecr 8> gso 500",
    );
    assert_eq!(p.direction, Direction::Inbound);
    assert_eq!(p.ip, IpInfo { ecn: Some(Ecn::Ect0), ..IpInfo::default() });
    let Body::Tcp(tcp) = p.body else { panic!() };
    assert_eq!(tcp.ports, Some((1111, 2222)));
    assert_eq!(tcp.flags, Flags::PSH | Flags::URG | Flags::ACK);
    assert_eq!(tcp.seq, seq(1, 1001));
    assert_eq!((tcp.ack, tcp.window, tcp.urgent, tcp.gso), (Some(u32::MAX), Some(65535), Some(7), Some(500)));
    let ts = TcpOption::Timestamps { val: Some(9), ecr: Some(8) };
    assert_eq!(tcp.options, Some(vec![TcpOption::Nop, TcpOption::Nop, ts]));
}

#[test]
fn what_is_not_written_is_not_there() {
    let p = packet("> . 1:1(0) ack 1");
    assert_eq!(p.direction, Direction::Outbound);
    assert_eq!((p.ip, p.encapsulation.len()), (IpInfo::default(), 0));
    let Body::Tcp(tcp) = p.body else { panic!() };
    assert_eq!((tcp.ports, tcp.window, tcp.urgent, tcp.gso), (None, None, None, None));
    // No options written: there must be none. `<...>`: whatever they are.
    assert_eq!(tcp.options, Some(vec![]));
    assert_eq!(super::tcp("> . 1:1(0) ack 1 <...>").options, None);
    assert_eq!(super::tcp("> R 1:1(0)").ack, None);
    assert_eq!(super::tcp("< R 1:1(0)").window, None);
}

#[test]
fn sequence_numbers_may_wrap() {
    assert_eq!(tcp("> . 4294967290:4(10) ack 1").seq, SeqRange { start: 4_294_967_290, end: 4, len: 10 });
}

#[test]
fn ports_with_and_without_blanks() {
    assert_eq!(tcp("> 80>12345 S 0:0(0)").ports, Some((80, 12345)));
    assert_eq!(tcp("> 80 > 12345 5. 0:0(0) ack 1").ports, Some((80, 12345)));
}

#[test]
fn options_of_a_syn() {
    let options = tcp("> S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>").options;
    let expected = vec![
        TcpOption::Mss(1460),
        TcpOption::SackPermitted,
        TcpOption::Timestamps { val: Some(100), ecr: Some(0) },
        TcpOption::Nop,
        TcpOption::WindowScale(7),
    ];
    assert_eq!(options, Some(expected));
    assert_eq!(tcp("> S 0:0(0) <>").options, Some(vec![]));
}

#[test]
fn sack_blocks_stand_side_by_side() {
    let options = tcp("< . 1:1(0) ack 1 win 9 <nop,nop,sack 1001:2001 3001:4001>").options.unwrap();
    assert_eq!(options[2], TcpOption::Sack(vec![(1001, 2001), (3001, 4001)]));
}

#[test]
fn fast_open_cookies() {
    let first = |text: &str| tcp(text).options.unwrap().remove(0);
    assert_eq!(first("> S 0:0(0) <FO,nop,nop>"), TcpOption::FastOpen(vec![]));
    let cookie = vec![0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb];
    // Digits only, digits first and letters first make different tokens of the same kind of word.
    assert_eq!(first("> S 0:0(0) <FO 3021b9d889017eeb,nop,nop>"), TcpOption::FastOpen(cookie));
    assert_eq!(first("> S 0:0(0) <FO 0102030405060708,nop,nop>"), TcpOption::FastOpen((1..=8).collect()));
    assert_eq!(first("> S 0:0(0) <FO abcd,nop,nop,nop,nop>"), TcpOption::FastOpen(vec![0xab, 0xcd]));
    assert_eq!(first("> S 0:0(0) <FOEXP,>".replace(",>", ">").as_str()), TcpOption::FastOpenExp(vec![]));
    assert_eq!(first("> S 0:0(0) <FOEXP a1b2c3d4>"), TcpOption::FastOpenExp(vec![0xa1, 0xb2, 0xc3, 0xd4]));
}

#[test]
fn accecn_options_keep_the_order_they_are_written_in() {
    let option = |text: &str| tcp(&format!("> . 1:1(0) ack 1 <{text}>")).options.unwrap().remove(0);
    let accecn = |e1b_first, counters: &[u32]| TcpOption::AccEcn { e1b_first, counters: counters.to_vec() };
    assert_eq!(option("ECN e0b 1 ceb 2 e1b 3,nop"), accecn(false, &[1, 2, 3]));
    assert_eq!(option("ECN e1b 1 ceb 0 e0b 16777215,nop"), accecn(true, &[1, 0, 0xff_ffff]));
    assert_eq!(option("ECN e1b 5,nop,nop,nop"), accecn(true, &[5]));
    assert_eq!(option("ECN,nop,nop"), accecn(false, &[]));
    assert_eq!(fails("+0 > . 1:1(0) ack 1 <ECN e0b 1 e1b 1,nop>").expected, "'ceb'");
    assert!(fails("+0 > . 1:1(0) ack 1 <ECN e0b 16777216,nop,nop,nop>").expected.contains("16777215"));
}

#[test]
fn digests_and_raw_options() {
    let options = |text: &str| tcp(&format!("> . 1:1(0) ack 1 <{text}>")).options.unwrap();
    let digest = TcpOption::Md5(Some([0x5a; 16]));
    assert_eq!(options("md5 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a,nop,nop")[0], digest);
    assert_eq!(options("nop,nop,md5")[2], TcpOption::Md5(None));
    assert_eq!(options("raw 1e04ff00,eol,eol,eol,eol")[0], TcpOption::Raw(vec![0x1e, 4, 0xff, 0]));
    assert_eq!(options("mss 1460,eol,eol,eol,eol").len(), 5);
}

#[test]
fn timestamps_of_expected_segments_may_be_left_open() {
    let option = tcp("> . 1:1(0) ack 1 <nop,nop,TS val * ecr ...>").options.unwrap().remove(2);
    assert_eq!(option, TcpOption::Timestamps { val: None, ecr: None });
    assert!(fails("+0 < . 1:1(0) ack 1 win 1 <nop,nop,TS val * ecr 1>").expected.contains("timestamp"));
}

#[test]
fn ip_annotations() {
    let ip = |text: &str| packet(&format!("> {text} . 1:1(0) ack 1")).ip;
    let ecn = |ecn| IpInfo { ecn: Some(ecn), ..IpInfo::default() };
    assert_eq!(ip("[noecn]"), ecn(Ecn::NotEct));
    assert_eq!(ip("[ect0]"), ecn(Ecn::Ect0));
    assert_eq!(ip("[ect1]"), ecn(Ecn::Ect1));
    assert_eq!(ip("[ect01]"), ecn(Ecn::Ect01));
    assert_eq!(ip("[ce]"), ecn(Ecn::Ce));
    assert_eq!(ip("[tos 0x13]").tos, Some(0x13));
    assert_eq!(ip("(flowlabel 0xfffff)").flow_label, Some(0xf_ffff));
    let all = IpInfo { ecn: Some(Ecn::Ce), tos: None, ttl: Some(255), flow_label: Some(7) };
    assert_eq!(ip("(ce, ttl 255, flowlabel 0x7)"), all);
    assert_eq!(ip("[ce] [ttl 255] (flowlabel 7)"), all);
}

#[test]
fn headers_around() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let p = packet("> ipv4 192.0.2.1 > 192.0.2.2: ipv6 2001:db8::1 > 2001:db8::2: [ect0] P. 1:11(10) ack 1");
    let outer = Encapsulation::Ip { src: address("192.0.2.1"), dst: address("192.0.2.2") };
    let inner = Encapsulation::Ip { src: address("2001:db8::1"), dst: address("2001:db8::2") };
    assert_eq!(p.encapsulation, [outer.clone(), inner]);
    assert_eq!(p.ip.ecn, Some(Ecn::Ect0));

    let p = packet("< ipv6 fd00:: > fd00::1 : gre: . 1:1(0) ack 1 win 1");
    assert_eq!(p.encapsulation.len(), 2);
    assert_eq!(p.encapsulation[1], Encapsulation::Gre(vec![]));

    let p = packet("> ipv4 192.0.2.1 > 192.0.2.2: gre flags 0x2000, proto 0x800, key 0x1: . 1:1(0) ack 1");
    let fields = [("flags", 0x2000), ("proto", 0x800), ("key", 1)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(p.encapsulation, [outer, Encapsulation::Gre(fields.to_vec())]);

    let p = packet("> mpls (label 16, tc 1, ttl 3), (label 17, tc 0, [S], ttl 64): . 1:1(0) ack 1");
    let labels = vec![
        MplsLabel { label: 16, traffic_class: 1, bottom: false, ttl: 3 },
        MplsLabel { label: 17, traffic_class: 0, bottom: true, ttl: 64 },
    ];
    assert_eq!(p.encapsulation, [Encapsulation::Mpls(labels)]);
}

#[test]
fn udp() {
    assert_eq!(packet("> udp (1000)").body, Body::Udp { ports: None, len: 1000 });
    assert_eq!(packet("< 53 > 1234 udp (0)").body, Body::Udp { ports: Some((53, 1234)), len: 0 });
}

#[test]
fn icmp_messages() {
    let message = |kind: &str, code: Option<&str>, mtu, quoted| {
        Body::Icmp(Icmp { kind: kind.to_owned(), code: code.map(str::to_owned), mtu, quoted })
    };
    assert_eq!(
        packet("< icmp unreachable frag_needed mtu 1200 [1:1461(1460)]").body,
        message("unreachable", Some("frag_needed"), Some(1200), Some(Quoted::Tcp(seq(1, 1461))))
    );
    assert_eq!(packet("< icmp unreachable 1").body, message("unreachable", Some("1"), None, None));
    assert_eq!(
        packet("< icmp packet_too_big mtu 1280 [1:1461(1460)]").body,
        message("packet_too_big", None, Some(1280), Some(Quoted::Tcp(seq(1, 1461))))
    );
    assert_eq!(
        packet("< icmp time_exceeded [udp (10)]").body,
        message("time_exceeded", None, None, Some(Quoted::Udp(10)))
    );
    // The number that the next event starts with is no code.
    let script = super::script("0 < icmp source_quench\n1 < icmp source_quench\n");
    assert_eq!(script.events.len(), 2);
}

#[test]
fn icmp_numbers_depend_on_the_version() {
    assert_eq!(icmp::numbers("unreachable", Some("frag_needed"), false), Some((3, 4)));
    assert_eq!(icmp::numbers("unreachable", Some("frag_needed"), true), None);
    assert_eq!(icmp::numbers("unreachable", Some("port_unreachable"), false), Some((3, 3)));
    assert_eq!(icmp::numbers("unreachable", Some("port_unreachable"), true), Some((1, 4)));
    assert_eq!(icmp::numbers("packet_too_big", None, true), Some((2, 0)));
    assert_eq!(icmp::numbers("packet_too_big", None, false), None);
    assert_eq!(icmp::numbers("time_exceeded", None, true), Some((3, 0)));
    assert_eq!(icmp::numbers("unreachable", Some("13"), false), Some((3, 13)));
}
