//! Socket options: typed and raw.

use super::*;
use crate::socket::options::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET};

fn raw_set(net: &mut Net, id: SocketId, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    net.a.setsockopt_raw(net.now, id, level, name, value)
}

fn raw_get(net: &mut Net, id: SocketId, level: i32, name: i32, room: usize) -> Result<Vec<u8>, Errno> {
    let mut out = vec![0xee; room];
    let n = net.a.getsockopt_raw(net.now, id, level, name, &mut out)?;
    assert!(out[n..].iter().all(|&byte| byte == 0xee), "no more is written than is said");
    out.truncate(n);
    Ok(out)
}

fn int(n: i32) -> Vec<u8> {
    n.to_ne_bytes().to_vec()
}

/// Shows: posix-sockopt-a
#[test]
fn unknown_levels_and_names_are_enoprotoopt() {
    let mut net = Net::new();
    let id = net.socket(Side::A);
    for (level, name) in [(SOL_SOCKET, 9_999), (IPPROTO_TCP, -1), (IPPROTO_IP, 77), (999, 1), (17, 1)] {
        assert_eq!(raw_set(&mut net, id, level, name, &int(1)), Err(Errno::ENOPROTOOPT));
        assert_eq!(raw_get(&mut net, id, level, name, 4), Err(Errno::ENOPROTOOPT));
    }
    // IPv6's level on an IPv4 socket; what is read only.
    assert_eq!(raw_set(&mut net, id, IPPROTO_IPV6, 26, &int(1)), Err(Errno::ENOPROTOOPT));
    assert_eq!(raw_get(&mut net, id, IPPROTO_IPV6, 26, 4), Err(Errno::ENOPROTOOPT));
    for name in [3, 4, 19, 30, 38, 39] {
        assert_eq!(raw_set(&mut net, id, SOL_SOCKET, name, &int(1)), Err(Errno::ENOPROTOOPT), "{name}");
    }
}

/// Shows: posix-sockopt-a
#[test]
fn values_that_are_too_short_are_einval_and_results_are_cut() {
    let mut net = Net::new();
    let id = net.socket(Side::A);
    for (level, name) in [(SOL_SOCKET, 9), (IPPROTO_TCP, 1), (SOL_SOCKET, 13), (SOL_SOCKET, 20)] {
        for len in 0..4 {
            assert_eq!(raw_set(&mut net, id, level, name, &vec![0; len]), Err(Errno::EINVAL));
        }
    }
    assert_eq!(raw_set(&mut net, id, SOL_SOCKET, 13, &[0; 7]), Err(Errno::EINVAL));
    assert_eq!(raw_set(&mut net, id, SOL_SOCKET, 20, &[0; 15]), Err(Errno::EINVAL));
    raw_set(&mut net, id, IPPROTO_TCP, 4, &int(0x0102)).unwrap();
    for room in 0..8 {
        let full = int(0x0102);
        assert_eq!(raw_get(&mut net, id, IPPROTO_TCP, 4, room).unwrap(), full[..room.min(4)]);
    }
    // The IP level takes and gives single bytes.
    assert_eq!(raw_set(&mut net, id, IPPROTO_IP, 1, &[0x10]), Ok(()));
    assert_eq!(raw_get(&mut net, id, IPPROTO_IP, 1, 1).unwrap(), [0x10]);
    assert_eq!(raw_get(&mut net, id, IPPROTO_IP, 1, 3).unwrap(), [0x10]);
    assert_eq!(raw_get(&mut net, id, IPPROTO_IP, 1, 4).unwrap(), int(0x10));
}

/// Shows: posix-sockopt-a
#[test]
fn any_level_name_and_length_gives_a_documented_errno() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    let fresh = net.socket(Side::A);
    let v6 = socket6(&mut net.a);
    let documented = [
        Errno::ENOPROTOOPT,
        Errno::EINVAL,
        Errno::EDOM,
        Errno::ENOENT,
        Errno::ENODEV,
        Errno::EPERM,
        Errno::EACCES,
        Errno::ENOTCONN,
    ];
    for id in [client, fresh, v6] {
        for level in [-1, IPPROTO_IP, SOL_SOCKET, 2, IPPROTO_TCP, IPPROTO_IPV6, 255] {
            for name in -1..100 {
                for len in [0, 1, 3, 4, 8, 15, 16, 40, 300] {
                    for fill in [0, 1, 0xff] {
                        if let Err(error) = raw_set(&mut net, id, level, name, &vec![fill; len]) {
                            assert!(documented.contains(&error), "{level} {name}: {error:?}");
                        }
                    }
                    if let Err(error) = raw_get(&mut net, id, level, name, len) {
                        assert!(documented.contains(&error), "{level} {name}: {error:?}");
                    }
                }
            }
        }
    }
}

/// Shows: posix-sockopt-c
#[test]
fn what_was_set_is_read_back() {
    let mut net = Net::new();
    let id = socket6(&mut net.a);
    let options = [
        SockOpt::Debug(true),
        SockOpt::ReuseAddr(true),
        SockOpt::DontRoute(true),
        SockOpt::Broadcast(true),
        SockOpt::KeepAlive(true),
        SockOpt::OobInline(true),
        SockOpt::Priority(6),
        SockOpt::Linger(Some(secs(5))),
        SockOpt::ReusePort(true),
        SockOpt::RcvLowat(77),
        SockOpt::RcvTimeo(Some(millis(1_500))),
        SockOpt::SndTimeo(Some(millis(2_500))),
        SockOpt::Mark(7),
        SockOpt::Tos(0xb8),
        SockOpt::Ttl(9),
        SockOpt::IpOptions([1, 1, 1, 1].into()),
        SockOpt::MtuDiscover(2),
        SockOpt::RecvErr(true),
        SockOpt::FreeBind(true),
        SockOpt::Transparent(true),
        SockOpt::MinTtl(200),
        SockOpt::BindAddressNoPort(true),
        SockOpt::UnicastHops(33),
        SockOpt::MtuDiscover6(0),
        SockOpt::RecvErr6(false),
        SockOpt::V6Only(true),
        SockOpt::TClass(0x48),
        SockOpt::AutoFlowLabel(true),
        SockOpt::MinHopCount(3),
        SockOpt::Transparent6(false),
        SockOpt::FreeBind6(false),
        SockOpt::NoDelay(true),
        SockOpt::MaxSeg(1_000),
        SockOpt::Cork(true),
        SockOpt::KeepIdle(secs(10)),
        SockOpt::KeepIntvl(secs(11)),
        SockOpt::KeepCnt(12),
        SockOpt::SynCnt(3),
        SockOpt::Linger2(14),
        SockOpt::DeferAccept(15),
        SockOpt::WindowClamp(20_000),
        SockOpt::QuickAck(false),
        SockOpt::Congestion("reno".into()),
        SockOpt::ThinLinearTimeouts(true),
        SockOpt::ThinDupack(true),
        SockOpt::UserTimeout(millis(12_345)),
        SockOpt::RtoMax(millis(90_000)),
        SockOpt::RtoMin(millis(8)),
        SockOpt::DelackMax(millis(12)),
        SockOpt::FastOpen(16),
        SockOpt::NotSentLowat(16_384),
        SockOpt::SaveSyn(1),
        SockOpt::Inq(true),
        SockOpt::BindToDevice("eth0".into()),
        SockOpt::BindToIfIndex(0),
    ];
    for option in options {
        net.set(Side::A, id, option.clone());
        assert_eq!(net.a.getsockopt(net.now, id, option.name()), Ok(option.clone()));
        // ... and by Linux's numbers: what is read as bytes can be set as bytes, and changes nothing.
        let (level, name) = option.name().number();
        let bytes = raw_get(&mut net, id, level, name, 64).unwrap();
        assert_eq!(raw_set(&mut net, id, level, name, &bytes), Ok(()), "{option:?}");
        assert_eq!(net.a.getsockopt(net.now, id, option.name()), Ok(option));
    }
}

/// Shows: posix-sockopt-c
#[test]
fn names_and_numbers_are_one_to_one() {
    for &name in SockOptName::ALL {
        let (level, number) = name.number();
        assert_eq!(SockOptName::from_number(level, number), Some(name));
    }
    assert_eq!(SockOptName::from_number(SOL_SOCKET, 66), Some(SockOptName::RcvTimeo), "SO_RCVTIMEO_NEW");
}

/// Shows: posix-sockopt-c
#[test]
fn what_a_socket_is() {
    let mut net = Net::new();
    let (v4, v6) = (net.socket(Side::A), socket6(&mut net.a));
    assert_eq!(raw_get(&mut net, v4, SOL_SOCKET, 3, 4).unwrap(), int(1)); // SO_TYPE: SOCK_STREAM
    assert_eq!(raw_get(&mut net, v4, SOL_SOCKET, 38, 4).unwrap(), int(6)); // SO_PROTOCOL
    assert_eq!(raw_get(&mut net, v4, SOL_SOCKET, 39, 4).unwrap(), int(2)); // SO_DOMAIN
    assert_eq!(raw_get(&mut net, v6, SOL_SOCKET, 39, 4).unwrap(), int(10));
    assert_eq!(raw_get(&mut net, v4, SOL_SOCKET, 30, 4).unwrap(), int(0)); // SO_ACCEPTCONN
    net.a.listen(net.now, v4, 5).unwrap();
    assert_eq!(raw_get(&mut net, v4, SOL_SOCKET, 30, 4).unwrap(), int(1));
    let cookies = [v4, v6].map(|id| raw_get(&mut net, id, SOL_SOCKET, 57, 8).unwrap());
    assert_ne!(cookies[0], cookies[1]);
}

/// Shows: posix-soerror-a
#[test]
fn so_error_reads_and_clears() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(raw_get(&mut net, client, SOL_SOCKET, 4, 4).unwrap(), int(111));
    assert_eq!(raw_get(&mut net, client, SOL_SOCKET, 4, 4).unwrap(), int(0));
    assert_eq!(net.recv(Side::A, client, 1).unwrap(), b"", "told already");
}

/// Shows: posix-sockopt-a
#[test]
fn values_out_of_range_change_nothing() {
    let mut net = Net::new();
    let id = socket6(&mut net.a);
    let bad = [
        (SockOpt::MaxSeg(87), Errno::EINVAL),
        (SockOpt::MaxSeg(32_768), Errno::EINVAL),
        (SockOpt::KeepIdle(secs(0)), Errno::EINVAL),
        (SockOpt::KeepIdle(secs(32_768)), Errno::EINVAL),
        (SockOpt::KeepIntvl(secs(0)), Errno::EINVAL),
        (SockOpt::KeepCnt(0), Errno::EINVAL),
        (SockOpt::KeepCnt(128), Errno::EINVAL),
        (SockOpt::SynCnt(0), Errno::EINVAL),
        (SockOpt::SynCnt(128), Errno::EINVAL),
        (SockOpt::Congestion("vegas9".into()), Errno::ENOENT),
        (SockOpt::FastOpen(-1), Errno::EINVAL),
        (SockOpt::SaveSyn(3), Errno::EINVAL),
        (SockOpt::Ttl(0), Errno::EINVAL),
        (SockOpt::Ttl(256), Errno::EINVAL),
        (SockOpt::UnicastHops(256), Errno::EINVAL),
        (SockOpt::TClass(256), Errno::EINVAL),
        (SockOpt::MinTtl(256), Errno::EINVAL),
        (SockOpt::MtuDiscover(6), Errno::EINVAL),
        (SockOpt::IpOptions([1; 41].into()), Errno::EINVAL),
        (SockOpt::IpOptions([1, 7, 1].into()), Errno::EINVAL),
        (SockOpt::IpOptions([7, 4, 4].into()), Errno::EINVAL),
        (SockOpt::IpOptions([131, 7, 8, 10, 0, 0, 9].into()), Errno::EINVAL),
        (SockOpt::IpOptions([131, 6, 4, 10, 0, 0].into()), Errno::EINVAL),
        (SockOpt::BindToDevice("nowhere0".into()), Errno::ENODEV),
        (SockOpt::BindToIfIndex(99), Errno::ENODEV),
        (SockOpt::BindToIfIndex(-1), Errno::EINVAL),
    ];
    for (option, error) in bad {
        let before = net.a.getsockopt(net.now, id, option.name());
        assert_eq!(net.a.setsockopt(net.now, id, &option), Err(error), "{option:?}");
        assert_eq!(net.a.getsockopt(net.now, id, option.name()), before);
    }
    let negative = (-1_i64).to_ne_bytes();
    let million = 1_000_000_i64.to_ne_bytes();
    let zero = [0; 8];
    assert_eq!(raw_set(&mut net, id, SOL_SOCKET, 20, &[zero, million].concat()), Err(Errno::EDOM));
    assert_eq!(raw_set(&mut net, id, SOL_SOCKET, 20, &[zero, negative].concat()), Err(Errno::EDOM));
    assert_eq!(raw_set(&mut net, id, SOL_SOCKET, 20, &[negative, zero].concat()), Ok(()));
    let at_once = net.a.getsockopt(net.now, id, SockOptName::RcvTimeo);
    assert_eq!(at_once, Ok(SockOpt::RcvTimeo(Some(Duration::ZERO))), "Linux: does not wait");
    assert_eq!(raw_set(&mut net, id, SOL_SOCKET, 20, &[0; 16]), Ok(()));
    assert_eq!(net.a.getsockopt(net.now, id, SockOptName::RcvTimeo), Ok(SockOpt::RcvTimeo(None)));
}

/// Shows: posix-sockopt-c
#[test]
fn linuxs_roundings() {
    let mut net = Net::new();
    let id = net.socket(Side::A);
    let after = [
        (SockOpt::DeferAccept(4), SockOpt::DeferAccept(7)),
        (SockOpt::DeferAccept(1), SockOpt::DeferAccept(1)),
        (SockOpt::DeferAccept(0), SockOpt::DeferAccept(0)),
        (SockOpt::Linger2(-5), SockOpt::Linger2(-1)),
        (SockOpt::Linger2(500), SockOpt::Linger2(120)),
        (SockOpt::Linger2(0), SockOpt::Linger2(60)),
        (SockOpt::WindowClamp(1), SockOpt::WindowClamp(1_152)),
        (SockOpt::RcvLowat(0), SockOpt::RcvLowat(1)),
        (SockOpt::RcvLowat(-1), SockOpt::RcvLowat(33_554_432 / 2)),
        (SockOpt::Tos(0xff), SockOpt::Tos(0xfc)),
        (SockOpt::Ttl(-1), SockOpt::Ttl(64)),
    ];
    for (set, read) in after {
        net.set(Side::A, id, set);
        assert_eq!(net.a.getsockopt(net.now, id, read.name()), Ok(read));
    }
}

/// Shows: posix-sockopt-b
#[test]
fn buffer_sizes_are_doubled_and_bounded_as_on_linux() {
    let config = Config { wmem_max: 100_000, rmem_max: 200_000, ..Config::default() };
    let mut net = Net::with(config, Config::default());
    let id = net.socket(Side::A);
    let rows =
        [(10_000, 20_000, 20_000), (1, 4_608, 2_304), (900_000, 200_000, 400_000), (-1, 200_000, 400_000)];
    for (set, snd, rcv) in rows {
        net.set(Side::A, id, SockOpt::SndBuf(set));
        net.set(Side::A, id, SockOpt::RcvBuf(set));
        assert_eq!(net.a.getsockopt(net.now, id, SockOptName::SndBuf), Ok(SockOpt::SndBuf(snd)));
        assert_eq!(net.a.getsockopt(net.now, id, SockOptName::RcvBuf), Ok(SockOpt::RcvBuf(rcv)));
    }
    net.set(Side::A, id, SockOpt::SndBufForce(900_000));
    assert_eq!(net.a.getsockopt(net.now, id, SockOptName::SndBuf), Ok(SockOpt::SndBuf(1_800_000)));
}

/// Shows: posix-sockopt-a
#[test]
fn some_options_need_the_privilege() {
    let config = Config { privileged: false, ..Config::default() };
    let mut net = Net::with(config, Config::default());
    let id = net.socket(Side::A);
    let eperm = [
        SockOpt::Mark(1),
        SockOpt::Priority(7),
        SockOpt::SndBufForce(1),
        SockOpt::RcvBufForce(1),
        SockOpt::Transparent(true),
    ];
    for option in eperm {
        assert_eq!(net.a.setsockopt(net.now, id, &option), Err(Errno::EPERM), "{option:?}");
    }
    assert_eq!(net.a.setsockopt(net.now, id, &SockOpt::Debug(true)), Err(Errno::EACCES));
    assert_eq!(net.a.setsockopt(net.now, id, &SockOpt::Priority(6)), Ok(()));
}

/// Shows: posix-sockopt-a
#[test]
fn some_options_depend_on_the_state() {
    let mut net = Net::new();
    let v6 = socket6(&mut net.a);
    net.a.bind(v6, any6(4_000)).unwrap();
    assert_eq!(net.a.setsockopt(net.now, v6, &SockOpt::V6Only(true)), Err(Errno::EINVAL));
    let (client, _) = net.pair();
    assert_eq!(net.a.setsockopt(net.now, client, &SockOpt::FastOpen(1)), Err(Errno::EINVAL));
    assert_eq!(net.a.setsockopt(net.now, client, &SockOpt::WindowClamp(0)), Err(Errno::EINVAL));
    assert_eq!(net.a.getsockopt(net.now, v6, SockOptName::Mtu), Err(Errno::ENOTCONN));
    assert_eq!(net.a.getsockopt(net.now, client, SockOptName::Mtu), Ok(SockOpt::Mtu(1_500)));
    assert_eq!(net.a.getsockopt(net.now, v6, SockOptName::MaxSeg), Ok(SockOpt::MaxSeg(536)));
    let mss = net.a.getsockopt(net.now, client, SockOptName::MaxSeg);
    assert_eq!(mss, Ok(SockOpt::MaxSeg(1_448)), "1,500 less headers and timestamps");
    let peer = net.a.getsockopt(net.now, client, SockOptName::PeerName);
    assert_eq!(peer, Ok(SockOpt::PeerName(at(B, PORT))));
}

/// Shows: rfc9293-MUST-48, rfc9293-SHLD-21, rfc9293-SHLD-23
#[test]
fn the_traffic_class_is_on_every_segment_and_may_change() {
    let mut net = Net::new();
    let listener = net.listen();
    let client = net.socket(Side::A);
    net.set(Side::A, client, SockOpt::Tos(46 << 2 | 1));
    let _ = net.a.connect(net.now, client, at(B, PORT));
    let classes = |net: &mut Net| {
        let mut out = Vec::new();
        net.a.transmit(net.now, &mut out, usize::MAX);
        let classes: Vec<u8> = out.iter().map(|(_, packet)| packet.front()[1]).collect();
        for (_, packet) in out {
            net.b.receive(net.now, net.if_b, packet);
        }
        net.run();
        classes
    };
    assert_eq!(classes(&mut net), [46 << 2], "the ECN bits are not taken");
    let (server, _) = net.b.accept(net.now, listener).unwrap();
    net.a.send(net.now, client, b"x", NONE).unwrap();
    assert_eq!(classes(&mut net), [46 << 2]);
    net.set(Side::A, client, SockOpt::Tos(10 << 2));
    net.a.send(net.now, client, b"y", NONE).unwrap();
    net.pass(secs(1));
    net.a.send(net.now, client, b"z", NONE).unwrap();
    assert_eq!(classes(&mut net), [10 << 2]);
    assert_eq!(net.recv(Side::B, server, 9).unwrap(), b"xyz");
}

/// Shows: rfc9293-MUST-17
#[test]
fn tcp_nodelay_is_a_matter_of_one_connection() {
    let mut net = Net::new();
    let listener = net.listen();
    let (nagle, one) = net.join(listener);
    let (quick, two) = net.join(listener);
    net.set(Side::A, quick, SockOpt::NoDelay(true));
    net.hold_b = true;
    for (client, server, arrived) in [(nagle, one, b"1".as_slice()), (quick, two, b"12")] {
        net.send(Side::A, client, b"1").unwrap();
        net.send(Side::A, client, b"2").unwrap();
        assert_eq!(net.recv(Side::B, server, 9).unwrap(), arrived);
    }
}

/// Shows: rfc9293-MUST-21
#[test]
fn the_user_timeout_is_a_matter_of_one_connection() {
    let mut net = Net::new();
    let listener = net.listen();
    let (short, _) = net.join(listener);
    let (long, _) = net.join(listener);
    net.set(Side::A, short, SockOpt::UserTimeout(secs(10)));
    net.lose_a = true;
    net.send(Side::A, short, b"x").unwrap();
    net.send(Side::A, long, b"x").unwrap();
    net.pass(millis(9_900));
    assert_eq!(net.error(Side::A, short), None);
    net.pass(secs(10));
    assert_eq!(net.error(Side::A, short), Some(Errno::ETIMEDOUT));
    assert_eq!(net.error(Side::A, long), None);
    assert_eq!(net.state(Side::A, long), State::Established);
}

/// Shows: posix-tcpinfo-a
#[test]
fn tcp_info_lies_as_linux_lays_it() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.send(Side::A, client, &[0; 1_000]).unwrap();
    net.pass(secs(1));
    net.recv(Side::B, server, 9_999).unwrap();
    let info = net.a.tcp_info(net.now, client).unwrap();
    let bytes = raw_get(&mut net, client, IPPROTO_TCP, 11, 999).unwrap();
    assert_eq!(bytes.len(), 248);
    let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(bytes[0], 1, "TCP_ESTABLISHED");
    assert_eq!(bytes[5] & 7, 7, "timestamps, SACK, window scaling");
    assert_eq!(bytes[6], info.snd_wscale | info.rcv_wscale << 4);
    assert_eq!(u128::from(u32_at(8)), info.rto.as_micros());
    assert_eq!((u32_at(16), u32_at(80)), (1_448, info.snd_cwnd));
    assert_eq!(u32_at(60), 1_500, "pmtu");
    assert_eq!(u64_at(120), info.bytes_acked);
    assert!((1_000..=1_001).contains(&info.bytes_acked));
    assert_eq!(u64_at(200), 1_000, "bytes_sent");
    assert_eq!((u32_at(228), u32_at(232)), (info.snd_wnd, info.rcv_wnd));
    assert_eq!(
        raw_get(&mut net, client, IPPROTO_TCP, 11, 104).unwrap(),
        bytes[..104],
        "an old, short struct"
    );
    let fresh = net.socket(Side::A);
    assert_eq!(raw_get(&mut net, fresh, IPPROTO_TCP, 11, 1).unwrap(), [7], "TCP_CLOSE");
    net.a.listen(net.now, fresh, 3).unwrap();
    let listening = raw_get(&mut net, fresh, IPPROTO_TCP, 11, 248).unwrap();
    assert_eq!((listening[0], listening[28]), (10, 3), "TCP_LISTEN, backlog in tcpi_sacked");
}

/// Shows: posix-sockopt-c
#[test]
fn ip_bind_address_no_port_leaves_the_port_to_connect() {
    let mut net = Net::new();
    net.listen();
    let client = net.socket(Side::A);
    net.set(Side::A, client, SockOpt::BindAddressNoPort(true));
    net.a.bind(client, at(A2, 0)).unwrap();
    assert_eq!(net.a.getsockname(client), Ok(at(A2, 0)));
    assert_eq!(net.a.bind(client, at(A, 0)), Err(Errno::EINVAL));
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Ok(()));
    let name = net.a.getsockname(client).unwrap();
    assert_eq!(name.ip(), A2);
    assert!(net.a.config().local_port_range.contains(&name.port()));
}

/// Shows: posix-sockopt-c, rfc9293-MAY-18
#[test]
fn a_congestion_control_has_a_name() {
    let mut net = Net::new();
    let id = net.socket(Side::A);
    let mut name = *b"cubic\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(raw_get(&mut net, id, IPPROTO_TCP, 13, 16).unwrap(), name);
    assert_eq!(raw_set(&mut net, id, IPPROTO_TCP, 13, b"reno"), Ok(()));
    name = *b"reno\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(raw_get(&mut net, id, IPPROTO_TCP, 13, 64).unwrap(), name);
    assert_eq!(raw_set(&mut net, id, IPPROTO_TCP, 13, b"bbr\0"), Ok(()));
    assert_eq!(&raw_get(&mut net, id, IPPROTO_TCP, 13, 4).unwrap()[..], b"bbr\0");
    assert_eq!(raw_set(&mut net, id, IPPROTO_TCP, 13, b"\xff\xfe"), Err(Errno::ENOENT));
    assert_eq!(raw_set(&mut net, id, IPPROTO_TCP, 13, b""), Err(Errno::EINVAL));
}

/// Shows: posix-sockopt-c, posix-accept-a
#[test]
fn an_accept_filter_holds_connections_until_they_have_sent() {
    use crate::config::AcceptFilter;

    let mut net = Net::new();
    let listener = net.listen();
    let fresh = net.socket(Side::B);
    let option = SockOpt::AcceptFilter(AcceptFilter::Data);
    assert_eq!(net.b.setsockopt(net.now, fresh, &option), Err(Errno::EINVAL));
    let mut set = |name: &[u8]| net.b.setsockopt_raw(net.now, listener, SOL_SOCKET, 0x1000, name);
    assert_eq!(set(b"nosuchfilter"), Err(Errno::ENOENT));
    assert_eq!(set(b"dataready\0"), Ok(()));
    assert_eq!(net.b.getsockopt(net.now, listener, SockOptName::AcceptFilter), Ok(option));
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.b.accept(net.now, listener), Err(Errno::EAGAIN));
    net.send(Side::A, client, b"GET").unwrap();
    let (server, _) = net.b.accept(net.now, listener).unwrap();
    assert_eq!(net.recv(Side::B, server, 9).unwrap(), b"GET");
}

/// SO_MAX_PACING_RATE: an int or 64 bits, all ones is without limit.
///
/// Shows: posix-sockopt-c
#[test]
fn a_pacing_rate_is_set_and_read() {
    let mut net = Net::new();
    let id = net.socket(Side::A);
    let read = |net: &mut Net| raw_get(net, id, SOL_SOCKET, 47, 8).unwrap();
    assert_eq!(read(&mut net), u64::MAX.to_ne_bytes());
    assert_eq!(raw_set(&mut net, id, SOL_SOCKET, 47, &1_000_000_u32.to_ne_bytes()), Ok(()));
    assert_eq!(read(&mut net), 1_000_000_u64.to_ne_bytes());
    assert_eq!(raw_set(&mut net, id, SOL_SOCKET, 47, &10_000_000_000_u64.to_ne_bytes()), Ok(()));
    assert_eq!(read(&mut net), 10_000_000_000_u64.to_ne_bytes());
    assert_eq!(raw_set(&mut net, id, SOL_SOCKET, 47, &u32::MAX.to_ne_bytes()), Ok(()));
    assert_eq!(read(&mut net), u64::MAX.to_ne_bytes());
}
