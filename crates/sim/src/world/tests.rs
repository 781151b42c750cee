//! Worlds by themselves: routers, silence, what counts as the same run.

use sockeye_core::link::LinkSpec;
use sockeye_core::packet::Packet;
use sockeye_core::socket::{Domain, MsgFlags, Protocol, SocketType};
use sockeye_core::stack::InterfaceId;
use sockeye_core::wire::icmp::{Error, Message};
use sockeye_core::wire::ip::IpTemplate;
use sockeye_core::wire::parse::{Upper, parse};
use sockeye_core::wire::tcp::{ChecksumMode, Header, build_inline};
use sockeye_core::{Config, Errno, SocketId};

use super::*;
use crate::topology::{Plan, Shape, lay_out};

fn plan(shape: Shape, link: &str) -> Plan {
    Plan {
        shape,
        ipv6: false,
        mtu: 1_500,
        narrow_mtu: 1_500,
        link: link.parse().unwrap(),
        configs: [Config::default(), Config::default()],
    }
}

/// A connection over the world; the client's socket, and the server's once it is accepted.
fn connect(world: &mut World, plan: &Plan) -> (HostId, SocketId, HostId, SocketId) {
    let layout = lay_out(world, plan);
    let ((client, _), (server, at)) = (layout.left[0], layout.right[0]);
    let to = std::net::SocketAddr::new(at, 80);
    let domain = if at.is_ipv4() { Domain::INET } else { Domain::INET6 };
    let listener = world.host(server, |s, now| {
        let id = s.socket(domain, SocketType::STREAM, Protocol::TCP).unwrap();
        s.bind(id, to).unwrap();
        s.listen(now, id, 8).unwrap();
        id
    });
    let a = world.host(client, |s, now| {
        let id = s.socket(domain, SocketType::STREAM, Protocol::TCP).unwrap();
        assert_eq!(s.connect(now, id, to), Err(Errno::EINPROGRESS));
        id
    });
    let end = world.now() + Duration::from_secs(10);
    let mut b = None;
    world.run(end, &mut [], |world| {
        b = world.host(server, |s, now| s.accept(now, listener).ok()).map(|(id, _)| id);
        b.is_some()
    });
    (client, a, server, b.expect("accepted"))
}

fn transfer(world: &mut World, from: (HostId, SocketId), to: (HostId, SocketId), len: usize) {
    let data = vec![7; len];
    let (mut sent, mut got) = (0, 0);
    let end = world.now() + Duration::from_secs(600);
    let done = world.run(end, &mut [], |world| {
        sent +=
            world.host(from.0, |s, now| s.send(now, from.1, &data[sent..], MsgFlags::DONTWAIT).unwrap_or(0));
        got +=
            world.host(to.0, |s, now| s.recv(now, to.1, &mut [0; 65_536], MsgFlags::DONTWAIT).unwrap_or(0));
        got == len
    });
    assert!(done, "{got} of {len} bytes arrived");
}

#[test]
fn every_shape_carries_a_stream() {
    for shape in [Shape::Pair, Shape::Star(4), Shape::Dumbbell(2), Shape::Chain(1), Shape::Chain(5)] {
        for ipv6 in [false, true] {
            let mut world = World::new(3);
            world.check();
            let plan = Plan { ipv6, ..plan(shape, "delay=5ms,rate=20mbit,loss=1%") };
            let (client, a, server, b) = connect(&mut world, &plan);
            transfer(&mut world, (client, a), (server, b), 200_000);
            assert_eq!(world.violation(), None, "{shape:?}");
        }
    }
}

#[test]
fn a_narrow_link_behind_a_router_is_found_by_icmp() {
    let mut world = World::new(5);
    let plan = Plan { narrow_mtu: 1_300, ..plan(Shape::Dumbbell(1), "delay=1ms") };
    let (client, a, server, b) = connect(&mut world, &plan);
    transfer(&mut world, (client, a), (server, b), 100_000);
    let info = world.host(client, |s, now| s.tcp_info(now, a)).unwrap();
    assert_eq!(info.pmtu, 1_300);
    assert!(world.router(RouterId(0)).counters().too_big > 0);
}

#[test]
fn a_full_queue_is_marked_where_ecn_is_spoken() {
    let mut config = Config::default();
    config.ecn = sockeye_core::config::Ecn::Request;
    let mut world = World::new(5);
    let link = "delay=10ms,rate=5mbit,queue=100kb";
    let plan = Plan { configs: [config.clone(), config], ..plan(Shape::Dumbbell(1), link) };
    let (client, a, server, b) = connect(&mut world, &plan);
    world.router(RouterId(0)).mark_above(Some(15_000));
    transfer(&mut world, (client, a), (server, b), 1_000_000);
    assert!(world.router(RouterId(0)).counters().marked > 0);
    let dropped: u64 = world.link_counters().flatten().map(|c| c.queue_drops).sum();
    assert_eq!(dropped, 0, "the senders heard of the queue before it was full");
}

#[test]
fn a_silent_host_is_waited_for() {
    let mut world = World::new(5);
    let (client, a, server, b) = connect(&mut world, &plan(Shape::Pair, "delay=10ms"));
    world.set_silent(server, true);
    world.host(client, |s, now| s.send(now, a, b"hello?", MsgFlags::empty())).unwrap();
    world.sleep(Duration::from_secs(5));
    let info = world.host(client, |s, now| s.tcp_info(now, a)).unwrap();
    assert!(info.total_retrans >= 2 && info.bytes_acked == 0, "{info:?}");
    world.set_silent(server, false);
    world.sleep(Duration::from_secs(30));
    let got = world.host(server, |s, now| s.recv(now, b, &mut [0; 16], MsgFlags::DONTWAIT));
    assert_eq!(got, Ok(6));
}

#[test]
fn a_host_started_anew_resets_what_it_does_not_know() {
    let mut world = World::new(5);
    let (client, a, server, b) = connect(&mut world, &plan(Shape::Dumbbell(1), "delay=10ms"));
    world.reboot(server);
    assert_eq!(world.host(server, |s, _| s.getsockname(b)), Err(Errno::EBADF));
    world.host(client, |s, now| s.send(now, a, b"hello?", MsgFlags::empty())).unwrap();
    world.sleep(Duration::from_secs(2));
    let got = world.host(client, |s, now| s.recv(now, a, &mut [0; 16], MsgFlags::DONTWAIT));
    assert_eq!(got, Err(Errno::ECONNRESET));
}

#[test]
fn the_same_seed_draws_the_same_run_and_another_one_does_not() {
    let run = |seed| {
        let mut world = World::new(seed);
        let plan = plan(Shape::Dumbbell(1), "delay=5ms,loss=5%,jitter=1ms,rate=10mbit");
        let (client, a, server, b) = connect(&mut world, &plan);
        transfer(&mut world, (client, a), (server, b), 100_000);
        (world.digest(), world.counters(), world.now())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

fn packet(ttl: u8, dont_fragment: bool, len: usize) -> Packet {
    let ends = (IpAddr::from([192, 0, 2, 2]), IpAddr::from([198, 51, 100, 2]));
    let ip = IpTemplate { hop_limit: ttl, dont_fragment, ident: 9, ..IpTemplate::new(ends.0, ends.1) };
    let small = build_inline(&ip, &Header::default(), &[], ChecksumMode::Complete);
    if len == 0 {
        return small;
    }
    let data = Packet::from_bytes(vec![5; len].into()).payload;
    sockeye_core::wire::tcp::build(&ip, &Header::default(), data, 0, ChecksumMode::Complete)
}

fn forward(mtu: u16, packet: Packet) -> (Vec<(InterfaceId, Packet)>, RouterCounters) {
    let mut router = Router::new();
    router.add_port(Cidr::new([192, 0, 2, 1].into(), 24), 1_500);
    router.add_port(Cidr::new([198, 51, 100, 1].into(), 24), mtu);
    let mut out = Vec::new();
    router.forward(InterfaceId(0), packet, &mut out);
    (out, router.counters())
}

#[test]
fn a_router_ages_packets_and_keeps_their_checksums_right() {
    let (out, counters) = forward(1_500, packet(64, true, 0));
    assert_eq!((out.len(), out[0].0, counters.forwarded), (1, InterfaceId(1), 1));
    let parsed = parse(&out[0].1).expect("still valid");
    assert_eq!(parsed.ip.hop_limit, 63);
}

#[test]
fn a_router_answers_what_it_cannot_carry_on() {
    let answer = |out: &[(InterfaceId, Packet)]| {
        assert_eq!((out.len(), out[0].0), (1, InterfaceId(0)));
        match parse(&out[0].1).expect("valid").upper {
            Upper::Icmp(Message::Error { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    };
    let (out, _) = forward(1_500, packet(1, true, 0));
    assert_eq!(answer(&out), Error::TimeExceeded { code: 0 });
    let (out, _) = forward(1_300, packet(64, true, 1_400));
    assert_eq!(answer(&out), Error::PacketTooBig { mtu: 1_300 });
    let mut stranger = packet(64, true, 0).to_vec();
    stranger[18] = 77;
    router::fix_header_checksum(&mut stranger);
    let (out, counters) = forward(1_500, Packet::from_bytes(stranger.into()));
    assert_eq!((answer(&out), counters.dropped), (Error::Unreachable { code: 0 }, 1));
}

#[test]
fn a_router_cuts_what_may_be_cut_into_pieces_that_make_the_whole() {
    let whole = packet(64, false, 1_400);
    let (out, counters) = forward(600, whole.clone());
    assert_eq!((out.len(), counters.fragmented), (3, 1));
    let mut body = Vec::new();
    for (i, (_, piece)) in out.iter().enumerate() {
        let parsed = parse(piece).expect("valid");
        let fragment = parsed.ip.fragment.expect("a fragment");
        assert_eq!((usize::from(fragment.offset), fragment.more), (body.len(), i < 2));
        assert!(piece.len() <= 600);
        body.extend_from_slice(&piece.to_vec()[parsed.ip.header_len..]);
    }
    assert_eq!(body, whole.to_vec()[20..]);
}

#[test]
fn unknown_links_are_no_links() {
    let mut world = World::new(1);
    let plan = plan(Shape::Pair, "delay=1ms");
    lay_out(&mut world, &plan);
    assert_eq!(world.hosts().count(), 2);
    assert!(world.is_quiet());
    assert_eq!(world.leaks(), None);
    assert_eq!(world.link(LinkId(0)).up.spec(), &"delay=1ms".parse::<LinkSpec>().unwrap().up);
}
