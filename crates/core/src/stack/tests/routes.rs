//! Routes, gateways, source addresses, and traffic to ourselves.

use super::harness::{A, B, Net, addr};
use crate::config::Config;
use crate::errno::Errno;
use crate::socket::Domain;
use crate::stack::{Cidr, Interface, InterfaceId, Route, SocketFlags, Stack};
use crate::tcp::State;
use crate::time::{Duration, Instant};
use core::net::{IpAddr, SocketAddr};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    let (address, prefix) = text.split_once('/').unwrap();
    Cidr::new(ip(address), prefix.parse().unwrap())
}

fn route(to: &str, gateway: Option<&str>, interface: InterfaceId, metric: u32) -> Route {
    Route { destination: cidr(to), gateway: gateway.map(ip), interface, metric, mtu: None }
}

/// Two interfaces, a default gateway on each.
fn two_links() -> (Stack, InterfaceId, InterfaceId) {
    let mut stack = Stack::new(Config::default(), [1; 32]);
    let one = stack.add_interface(Interface::new(
        "one",
        1_500,
        alloc::vec![cidr("10.1.0.1/24"), cidr("fd01::1/64")],
    ));
    let two = stack.add_interface(Interface::new("two", 1_400, alloc::vec![cidr("10.2.0.1/24")]));
    stack.add_route(route("0.0.0.0/0", Some("10.1.0.254"), one, 10)).unwrap();
    stack.add_route(route("0.0.0.0/0", Some("10.2.0.254"), two, 20)).unwrap();
    stack.add_route(route("192.0.2.0/24", Some("10.2.0.9"), two, 5)).unwrap();
    (stack, one, two)
}

/// On the link directly, else by the longest prefix, else by the least metric.
/// Shows: rfc1122-s3.3.1-a
#[test]
fn the_longest_prefix_wins() {
    let (mut stack, one, two) = two_links();
    let cases = [
        ("10.1.0.7", one, "10.1.0.7"),
        ("10.2.0.7", two, "10.2.0.7"),
        ("192.0.2.7", two, "10.2.0.9"),
        ("198.51.100.7", one, "10.1.0.254"),
        ("fd01::7", one, "fd01::7"),
    ];
    for (to, interface, hop) in cases {
        let way = stack.way(ip(to)).unwrap();
        assert_eq!((way.interface, way.next_hop), (Some(interface), ip(hop)), "{to}");
    }
    assert_eq!(stack.way(ip("fd09::1")), Err(Errno::ENETUNREACH));
    stack.set_interface_up(one, false).unwrap();
    assert_eq!(stack.way(ip("fd01::7")), Err(Errno::ENETDOWN));
    assert_eq!(stack.way(ip("198.51.100.7")).unwrap().interface, Some(two));
}

/// A connection without answers makes the other gateway be used.
/// Shows: rfc1122-s3.3.1-a, rfc9293-MUST-20
#[test]
fn negative_advice_moves_traffic_to_the_second_gateway() {
    let (mut stack, one, two) = two_links();
    let to = ip("198.51.100.7");
    let config = stack.config.clone();
    stack.routes.negative_advice(&config, Instant::from_secs(5), to);
    assert_eq!(stack.way(to).unwrap().interface, Some(two));
    stack.routes.negative_advice(&config, Instant::from_secs(6), to);
    assert_eq!(stack.way(to).unwrap().interface, Some(one), "the one that failed longest ago");
    // With one gateway there is nothing to change.
    let only = ip("192.0.2.7");
    stack.routes.negative_advice(&config, Instant::from_secs(7), only);
    assert_eq!(stack.way(only).unwrap().next_hop, ip("10.2.0.9"));
}

/// Shows: rfc9293-MUST-44
#[test]
fn the_source_is_of_the_interface_that_the_route_uses() {
    let (stack, ..) = two_links();
    for (to, from) in [
        ("198.51.100.7", "10.1.0.1"),
        ("192.0.2.7", "10.2.0.1"),
        ("fd01::9", "fd01::1"),
        ("127.0.0.5", "127.0.0.5"),
    ] {
        assert_eq!(stack.routes.source(&stack.config, ip(to)), Ok(ip(from)), "{to}");
    }
}

/// Shows: rfc8201-s4-a
#[test]
fn path_mtus_only_fall_and_only_so_far() {
    let (mut stack, one, _) = two_links();
    let config = stack.config.clone();
    stack.add_route(route("::/0", Some("fd01::fe"), one, 0)).unwrap();
    let (v6, v4) = (ip("2001:db8::1"), ip("198.51.100.7"));
    let now = Instant::from_secs(1);
    assert!(stack.routes.lower_mtu(&config, now, v6, 1_400));
    assert!(!stack.routes.lower_mtu(&config, now, v6, 9_000));
    assert!(stack.routes.lower_mtu(&config, now, v6, 1_000));
    assert_eq!(stack.way(v6).unwrap().path.pmtu, 1_280);
    assert!(stack.routes.lower_mtu(&config, now, v4, 100));
    assert_eq!(stack.way(v4).unwrap().path.pmtu, 552);
}

/// The memory of paths is bounded.
#[test]
fn path_mtus_are_bounded() {
    let (mut stack, ..) = two_links();
    let config = stack.config.clone();
    for i in 0..10_000_u32 {
        let to = IpAddr::V4((0xc633_0000 + i).into());
        stack.routes.lower_mtu(&config, Instant::from_micros(u64::from(i)), to, 1_000);
    }
    let known = (0..10_000_u32)
        .filter(|i| stack.way(IpAddr::V4((0xc633_0000 + i).into())).unwrap().path.pmtu == 1_000);
    assert_eq!(known.count(), 4_096);
}

/// Client and server in one stack: over 127.0.0.1, ::1 and an address of ours, without a packet outside.
#[test]
fn a_stack_talks_to_itself() {
    for (domain, host) in [(Domain::INET, "127.0.0.1"), (Domain::INET6, "::1"), (Domain::INET, "10.0.0.1")] {
        let mut net = Net::new();
        let listener = net.listen(80, 8);
        let id = net.stack.new_socket(domain, SocketFlags::empty()).unwrap();
        net.stack.connect_socket(net.now, id, SocketAddr::new(ip(host), 80)).unwrap();
        net.nothing();
        let child = net.stack.accept_socket(listener).unwrap();
        let data = alloc::vec![7; 100_000];
        let mut sent =
            net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, &data), Default::default())).unwrap();
        let mut got = 0;
        let mut out = alloc::vec![0; 65_536];
        while got < data.len() {
            net.nothing();
            let n = net
                .stack
                .operate(net.now, child, |conn, cx| (conn.read(cx, &mut out), Default::default()))
                .unwrap();
            if n == 0 {
                net.advance(Duration::from_millis(10));
            }
            got += n;
            sent += net
                .stack
                .operate(net.now, id, |conn, cx| (conn.write(cx, &data[sent..]), Default::default()))
                .unwrap();
        }
        net.stack.close_socket(net.now, id).unwrap();
        net.nothing();
        assert_eq!(net.state(child), State::CloseWait);
        net.stack.close_socket(net.now, child).unwrap();
        net.nothing();
        assert_eq!(net.stack.population().time_wait, 1);
    }
}

/// Loopback traffic goes over a link where there is one for it.
#[test]
fn loopback_can_be_seen_on_a_link() {
    let mut net = Net::new();
    let mut lo = Interface::new("lo", 65_535, alloc::vec![cidr("127.0.0.1/8")]);
    lo.loopback = true;
    let lo = net.stack.add_interface(lo);
    let listener = net.listen(80, 8);
    let id = net.socket();
    net.stack.connect_socket(net.now, id, addr("127.0.0.1:80")).unwrap();
    let mut seen = 0;
    loop {
        let packets = net.packets();
        if packets.is_empty() {
            break;
        }
        for packet in packets {
            seen += 1;
            net.stack.receive(net.now, lo, packet);
        }
    }
    assert_eq!(seen, 3);
    assert!(net.stack.accept_socket(listener).is_ok());
    let _ = (A, B);
}

/// The interface goes down and comes back: nothing is lost but time.
#[test]
fn connections_survive_an_interface_that_is_down() {
    let mut net = Net::new();
    let id = net.socket();
    net.stack.connect_socket(net.now, id, SocketAddr::new(B, 80)).unwrap();
    net.take();
    net.stack.set_interface_up(net.link, false).unwrap();
    net.advance(Duration::from_secs(5));
    assert_eq!(net.state(id), State::SynSent);
    net.stack.set_interface_up(net.link, true).unwrap();
    let mut seen = 0;
    net.advance_with(net.now + Duration::from_secs(10), |_, _| seen += 1);
    assert!(seen > 0);
}
