//! Packets through bytes and back, each field that can differ, settings by their names.

use proptest::prelude::*;
use sockeye_core::config::{CongestionKind, SynCookies};
use sockeye_core::tcp::TcpInfo;
use sockeye_core::wire::{self, parse::Upper};
use sockeye_core::{Config, Duration, Profile};

use super::super::{
    Difference, Ends, Map, Seen, compare, decode, differences, encode, info, pattern, sysctl,
};
use crate::script::ast::{Action, Body, Ecn, Packet, Tcp, TcpOption};
use crate::script::shell::{Setting, defaults};
use crate::script::{Source, parse};

fn packet(text: &str) -> Packet {
    let script = parse(Source::new("t", format!("0 {text}")), &[]).unwrap_or_else(|error| panic!("{error}"));
    match &script.events[0].action {
        Action::Packet(packet) => (**packet).clone(),
        other => panic!("{other:?}"),
    }
}

fn segment(packet: &Packet) -> &Tcp {
    match &packet.body {
        Body::Tcp(tcp) => tcp,
        other => panic!("{other:?}"),
    }
}

fn v4() -> Ends {
    Ends { local: "192.168.0.1:8080".parse().unwrap(), remote: "192.0.2.1:40000".parse().unwrap() }
}

fn v6() -> Ends {
    Ends { local: "[fd3d::1]:8080".parse().unwrap(), remote: "[2001:db8::1]:40000".parse().unwrap() }
}

fn bytes(text: &str, ends: &Ends) -> Vec<u8> {
    encode(&packet(text), ends, &Map::new()).unwrap_or_else(|error| panic!("{error}"))
}

/// The stack's side of a conversation: the ends changed over, so that what is encoded is what it would send.
fn sent(text: &str, ends: &Ends) -> Seen {
    let other = Ends { local: ends.remote, remote: ends.local };
    decode(&bytes(text, &other)).unwrap_or_else(|error| panic!("{error}"))
}

/// The fields in which what is sent differs from what is expected.
fn fields(expected: &str, actual: &str) -> Vec<&'static str> {
    let seen = sent(actual, &v4());
    let ports = (seen.src.port(), seen.dst.port());
    differences(&packet(expected), &seen.packet, &v4(), ports).iter().map(|d| d.field).collect()
}

#[test]
fn the_stack_reads_what_is_injected() {
    let text = "< [ce, ttl 7] SPU. 1:1001(1000) ack 5 win 257 urg 3 <mss 1460,sackOK,TS val 100 ecr 200,nop,wscale 7>";
    for ends in [v4(), v6()] {
        let raw = sockeye_core::Packet::from_bytes(bytes(text, &ends).into());
        let parsed = wire::parse::parse(&raw).unwrap_or_else(|reject| panic!("{reject:?}"));
        assert_eq!((parsed.ip.src, parsed.ip.dst), (ends.remote.ip(), ends.local.ip()));
        let Upper::Tcp(tcp) = parsed.upper else { panic!() };
        assert_eq!((tcp.header.src_port, tcp.header.dst_port), (40000, 8080));
        assert_eq!((tcp.header.seq.0, tcp.header.ack.0), (1, 5));
        assert_eq!((tcp.header.window, tcp.header.urgent), (257, 3));
        assert_eq!(tcp.header.options.mss, Some(1460));
        assert_eq!(tcp.header.options.timestamps.map(|ts| (ts.val, ts.ecr)), Some((100, 200)));
        assert_eq!(tcp.take_payload(raw.clone()).len(), 1000);
    }
}

#[test]
fn what_is_injected_reads_back_the_same() {
    for text in [
        "< S 0:0(0) win 32792 <mss 1000,sackOK,TS val 1 ecr 0,nop,wscale 7>",
        "< PUEWA. 1:11(10) ack 1 win 5 urg 3 <nop,nop,sack 1:2 4294967295:4>",
        "< . 1:1(0) ack 1 win 9 <ECN e1b 1 ceb 0 e0b 16777215,nop>",
        "< . 1:1(0) ack 1 win 9 <ECN e0b 1,nop,nop,eol>",
        "< S 0:5(5) win 9 <FO 0102030405060708,nop,nop,FOEXP,nop,eol,eol,eol>",
        "< S 0:0(0) win 9 <FO,nop,nop,md5 000102030405060708090a0b0c0d0e0f,nop,nop>",
        "< . 1:1(0) ack 1 win 9 <raw 1e04abcd,raw fd02,eol,eol>",
    ] {
        for ends in [v4(), v6()] {
            let seen = decode(&bytes(text, &ends)).unwrap();
            assert_eq!(seen.faults, [] as [String; 0], "{text}");
            assert_eq!((seen.src, seen.dst), (ends.remote, ends.local));
            let mut expected = segment(&packet(text)).clone();
            expected.urgent = Some(expected.urgent.unwrap_or(0));
            assert_eq!(segment(&seen.packet), &expected, "{text}");
        }
    }
}

#[test]
fn payload_says_where_in_the_stream_it_stands() {
    let seen = decode(&bytes("< P. 1000:1300(300) ack 1 win 9", &v4())).unwrap();
    let expected: Vec<u8> = (1000..1300).map(pattern).collect();
    assert_eq!(seen.payload, expected);
    // Data on a SYN is the data that otherwise follows it.
    let seen = decode(&bytes("< S 0:10(10) win 9", &v4())).unwrap();
    assert_eq!(seen.payload, (1..11).map(pattern).collect::<Vec<u8>>());
}

#[test]
fn numbers_of_the_stack_are_relative_to_its_first() {
    let mut map = Map::new();
    assert!(!map.is_known());
    map.learn_seq(0, 0xffff_fff0);
    map.learn_seq(0, 7);
    map.learn_timestamp(100, 5_000);
    map.learn_timestamp(110, 5_013);
    assert_eq!((map.local_to_wire(0x20), map.local_to_script(0x10)), (0x10, 0x20));
    assert_eq!((map.echo_to_wire(110), map.echo_to_wire(120), map.echo_to_wire(0)), (5_013, 5_020, 0));

    let inbound = packet("< . 1:1(0) ack 33 win 9 <nop,nop,TS val 1 ecr 110,nop,nop,sack 33:43>");
    let seen = decode(&encode(&inbound, &v4(), &map).unwrap()).unwrap();
    let tcp = segment(&seen.packet);
    assert_eq!((tcp.seq.start, tcp.ack), (1, Some(0x11)));
    let options = tcp.options.as_ref().unwrap();
    assert_eq!(options[2], TcpOption::Timestamps { val: Some(1), ecr: Some(5_013) });
    assert_eq!(options[5], TcpOption::Sack(vec![(0x11, 0x1b)]));

    let outbound = map.to_script(&packet("> P. 17:27(10) ack 1 <nop,nop,TS val 5020 ecr 1>"));
    assert_eq!(outbound.to_string(), "> P. 33:43(10) ack 1 <nop,nop,TS val 120 ecr 1>");
}

#[test]
fn icmp_quotes_the_stacks_own_packet() {
    let mut map = Map::new();
    map.learn_seq(0, 1_000_000);
    let message = packet("< icmp unreachable frag_needed mtu 1200 [1:1461(1460)]");
    let raw = sockeye_core::Packet::from_bytes(encode(&message, &v4(), &map).unwrap().into());
    let parsed = wire::parse::parse(&raw).unwrap();
    let Upper::Icmp(wire::icmp::Message::Error { error, quoted }) = parsed.upper else {
        panic!("{parsed:?}")
    };
    assert_eq!(error, wire::icmp::Error::PacketTooBig { mtu: 1200 });
    assert_eq!((quoted.src, quoted.dst), (v4().local.ip(), v4().remote.ip()));

    let too_big = packet("< icmp packet_too_big mtu 1280 [1:1461(1460)]");
    assert!(encode(&too_big, &v4(), &map).unwrap_err().contains("ICMP"));
    let seen = decode(&encode(&too_big, &v6(), &map).unwrap()).unwrap();
    assert_eq!(seen.faults, [] as [String; 0]);
    assert!(matches!(&seen.packet.body, Body::Icmp(icmp) if icmp.mtu == Some(1280)), "{seen:?}");
}

#[test]
fn what_cannot_be_injected_is_refused() {
    let refused = |text: &str| encode(&packet(text), &v4(), &Map::new()).unwrap_err();
    assert!(refused("< ipv4 10.0.0.1 > 10.0.0.2: . 1:1(0) ack 1 win 1").contains("ipv4 10.0.0.1 > 10.0.0.2"));
    assert!(refused("< . 1:1(0) ack 1 win 1 <md5,nop,nop>").contains("digest"));
    assert!(refused("< . 0:65535(65535) ack 1 win 1").contains("do not fit"));
}

#[test]
fn damage_is_seen() {
    let good = bytes("< P. 1:11(10) ack 1 win 9 <nop,nop,TS val 1 ecr 2>", &v4());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        match decode(&bad) {
            Err(_) => {}
            // Every byte is under a checksum, the IPv4 header's or TCP's.
            Ok(seen) => assert!(!seen.faults.is_empty(), "byte {at}"),
        }
    }
    assert!(decode(&[]).is_err());
    assert!(decode(&good[..30]).is_err());
    let short = decode(&good[..good.len() - 1]).unwrap();
    assert!(short.faults[0].contains("total length"), "{:?}", short.faults);
}

#[test]
fn what_fits_has_no_differences() {
    let none: [&str; 0] = [];
    assert_eq!(fields("> P. 1:11(10) ack 1", "< P. 1:11(10) ack 1 win 77"), none);
    assert_eq!(
        fields("> P. 1:11(10) ack 1 win 77 <...>", "< P. 1:11(10) ack 1 win 77 <nop,nop,TS val 1 ecr 2>"),
        none
    );
    let open = "> . 1:1(0) ack 1 <nop,nop,TS val * ecr 2>";
    assert_eq!(fields(open, "< . 1:1(0) ack 1 win 7 <nop,nop,TS val 1 ecr 2>"), none);
    let md5 = "< . 1:1(0) ack 1 win 7 <md5 00112233445566778899aabbccddeeff,nop,nop>";
    assert_eq!(fields("> . 1:1(0) ack 1 <md5,nop,nop>", md5), none);
    assert_eq!(fields("> [ect01] . 1:1(0) ack 1", "< [ect1] . 1:1(0) ack 1 win 7"), none);
    assert_eq!(fields("> R 5:5(0)", "< R 5:5(0) win 0"), none);
    assert_eq!(fields("> icmp unreachable port_unreachable", "< icmp unreachable 3"), none);
}

#[test]
fn each_field_that_differs_is_named() {
    let sent = "< P. 1:11(10) ack 1 win 77";
    assert_eq!(fields("> . 1:11(10) ack 1", sent), ["flags"]);
    assert_eq!(fields("> P5. 1:11(10) ack 1", sent), ["flags"]);
    assert_eq!(fields("> P. 2:12(10) ack 1", sent), ["seq"]);
    assert_eq!(fields("> P. 1:12(11) ack 1", sent), ["seq"]);
    assert_eq!(fields("> P. 1:11(10) ack 2", sent), ["ack"]);
    assert_eq!(fields("> P. 1:11(10) ack 1 win 78", sent), ["win"]);
    assert_eq!(fields("> P. 1:11(10) ack 1 urg 1", sent), ["urg"]);
    assert_eq!(fields("> P. 1:11(10) ack 1 <nop,nop,sackOK>", sent), ["options"]);
    assert_eq!(fields("> 1 > 2 P. 1:11(10) ack 1", sent), ["source port", "destination port"]);
    assert_eq!(fields("> [ect0] P. 1:11(10) ack 1", sent), ["ecn"]);
    assert_eq!(fields("> [ect01] P. 1:11(10) ack 1", sent), ["ecn"]);
    assert_eq!(fields("> [ttl 64, tos 0x10] P. 1:11(10) ack 1", sent), ["tos", "ttl"]);
    assert_eq!(fields("> P. 1:11(10) ack 1 gso 5", sent), ["gso"]);
    assert_eq!(fields("> udp (10)", sent), ["protocol"]);
    assert_eq!(fields("> icmp unreachable 2", "< icmp unreachable 3"), ["type and code"]);
    assert_eq!(fields("> ipv4 1.2.3.4 > 1.2.3.5: P. 1:11(10) ack 1", sent), ["encapsulation"]);
}

#[test]
fn options_are_compared_in_order_and_to_the_last_byte_of_padding() {
    let sent = |text: &str| format!("< . 1:1(0) ack 1 win 7 <{text}>");
    let expected = |text: &str| format!("> . 1:1(0) ack 1 <{text}>");
    assert_eq!(fields(&expected("nop,nop,sackOK"), &sent("sackOK,nop,nop")), ["options"]);
    assert_eq!(fields(&expected("sackOK,nop,nop"), &sent("sackOK,eol,eol")), ["options"]);
    assert_eq!(fields(&expected("mss 1460"), &sent("mss 1461")), ["options"]);
    assert_eq!(fields(&expected("mss 1460"), &sent("mss 1460,nop,nop,sackOK")), ["options"]);

    let seen = self::sent(&sent("mss 1460,nop,wscale 8"), &v4());
    let wanted = packet(&expected("mss 1460,nop,wscale 7"));
    let found = differences(&wanted, &seen.packet, &v4(), (8080, 40000));
    let options = Difference {
        field: "options",
        expected: "<mss 1460,nop,>>wscale 7<<>".to_owned(),
        actual: "<mss 1460,nop,>>wscale 8<<>".to_owned(),
    };
    assert_eq!(found, [options]);
}

#[test]
fn a_long_segment_may_come_in_parts() {
    let whole = packet("> FP. 1:3001(3000) ack 1 win 9 <...>");
    let part = |from, len| Body::Tcp(compare::part(segment(&whole), from, len)).to_string();
    assert_eq!(part(0, 1000), ". 1:1001(1000) ack 1 win 9 <...>");
    assert_eq!(part(2000, 1000), "FP. 2001:3001(1000) ack 1 win 9 <...>");
}

#[test]
fn the_ip_header_is_told_whole() {
    let seen =
        decode(&bytes("< [ect0, tos 0x28, ttl 9, flowlabel 0x12345] . 1:1(0) ack 1 win 1", &v6())).unwrap();
    assert_eq!(seen.packet.ip.ecn, Some(Ecn::Ect0));
    assert_eq!((seen.packet.ip.tos, seen.packet.ip.ttl), (Some(0x2a), Some(9)));
    assert_eq!((seen.packet.ip.flow_label, seen.id, seen.dont_fragment), (Some(0x1_2345), None, None));
    let mut raw = bytes("< . 1:1(0) ack 1 win 1", &v4());
    raw[4..8].copy_from_slice(&[0x12, 0x34, 0x40, 0]);
    let seen = decode(&raw).unwrap();
    assert_eq!((seen.id, seen.dont_fragment), (Some(0x1234), Some(true)));
}

#[test]
fn statistics_have_linux_names_and_units() {
    let mut shown = TcpInfo::default();
    shown.snd_cwnd = 10;
    shown.rto = Duration::from_millis(204);
    shown.last_data_sent = Duration::from_millis(7);
    shown.min_rtt = Duration::from_micros(50);
    shown.bytes_acked = 1 << 40;
    let value = |name| info::value(&shown, name);
    assert_eq!(value("tcpi_snd_cwnd"), Some(10));
    assert_eq!(value("tcpi_rto"), Some(204_000));
    assert_eq!(value("tcpi_last_data_sent"), Some(7));
    assert_eq!(value("tcpi_min_rtt"), Some(50));
    assert_eq!(value("tcpi_bytes_acked"), Some(1 << 40));
    assert_eq!((value("tcpi_nothing"), value("snd_cwnd")), (None, None));
}

#[test]
fn sysctls_become_settings() {
    let mut config = Config::new(Profile::Linux);
    for (name, value) in [
        ("net.ipv4.tcp_rmem", "4096 540000 15728640"),
        ("net.ipv4.tcp_syncookies", "2"),
        ("net.ipv4.tcp_congestion_control", "reno"),
        ("net.ipv4.tcp_early_retrans", "0"),
        ("net.ipv4.tcp_fin_timeout", "5"),
        ("net.ipv4.ip_local_port_range", "1000 2000"),
        ("net.ipv4.tcp_fastopen", "0x70403"),
        ("net.ipv4.tcp_timestamps", "0"),
        ("net.core.somaxconn", "7"),
    ] {
        sysctl::set(&mut config, name, value).unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(config.rmem, [4096, 540_000, 15_728_640]);
    assert_eq!((config.syncookies, config.congestion), (SynCookies::Always, CongestionKind::Reno));
    assert_eq!(
        (config.tlp, config.timestamps, config.fastopen.bits(), config.somaxconn),
        (false, false, 0x403, 7)
    );
    assert_eq!((config.fin_timeout, config.local_port_range.clone()), (Duration::from_secs(5), 1000..=2000));
}

#[test]
fn sysctls_that_would_be_in_vain_are_refused() {
    let mut config = Config::new(Profile::Linux);
    let before = config.clone();
    let mut refused = |name: &str, value: &str| sysctl::set(&mut config, name, value).unwrap_err();
    assert!(refused("net.ipv4.tcp_no_such_thing", "1").contains("tcp_no_such_thing"));
    assert!(refused("vm.swappiness", "1").contains("vm.swappiness"));
    assert!(refused("net.ipv4.tcp_shrink_window", "1").contains("only 0"));
    assert!(refused("net.ipv4.tcp_congestion_control", "vegas").contains("vegas"));
    refused("net.ipv4.tcp_mtu_probing", "3");
    refused("net.ipv4.tcp_ecn", "6");
    refused("net.ipv4.tcp_fastopen_key", "a1a1a1a1-b2b2b2b2-c3c3c3c3");
    refused("net.ipv4.tcp_sack", "2");
    refused("net.ipv4.tcp_retries2", "300");
    refused("net.ipv4.tcp_rmem", "1 2");
    refused("net.ipv4.ip_local_port_range", "9 3");
    assert_eq!(config, before);
}

#[test]
fn the_suites_defaults_are_all_known() {
    let mut config = Config::new(Profile::Linux);
    for setting in defaults() {
        if let Setting::Sysctl { name, value } = setting {
            sysctl::set(&mut config, &name, &value).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    assert!(!config.slow_start_after_idle);
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), v6 in any::<bool>()) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = if v6 { 0x60 } else { 0x40 | *first & 7 };
        }
        if let Some(protocol) = bytes.get_mut(if v6 { 6 } else { 9 }) {
            *protocol = 6;
        }
        if let Some(offset) = bytes.get_mut(6).filter(|_| !v6) {
            *offset = 0x40;
        }
        if let Ok(seen) = decode(&bytes) {
            let _ = differences(&seen.packet, &seen.packet, &v4(), (0, 0));
            // Whatever was decoded can be written down and read again.
            prop_assert!(!seen.packet.to_string().is_empty());
        }
    }
}
