//! Ports: who may share one, and which comes next.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};

use super::harness::{A, B, Net, addr};
use crate::config::{Config, Options, Profile};
use crate::errno::Errno;
use crate::rng::Rng;
use crate::stack::ports::{BindFlags, Binding, Ports};
use crate::time::{Duration, Instant};

fn binding(addr: &str, port: u16, flags: BindFlags) -> Binding {
    Binding { addr: addr.parse().unwrap(), port, flags, device: 0 }
}

fn table() -> (Ports, Config) {
    (Ports::new(&mut Rng::new([7; 32])), Config::default())
}

const NONE: BindFlags = BindFlags::empty();

/// Shows: posix-bind-b
#[test]
fn an_address_and_port_in_use_is_refused() {
    let (mut ports, config) = table();
    ports.bind(&config, binding("10.0.0.1", 80, NONE)).unwrap();
    for (addr, free) in
        [("10.0.0.1", false), ("0.0.0.0", false), ("::", false), ("10.0.0.2", true), ("fd00::1", true)]
    {
        let result = ports.bind(&config, binding(addr, 80, NONE));
        assert_eq!(result.is_ok(), free, "{addr}");
        if free {
            ports.release(&binding(addr, 80, NONE));
        }
    }
    ports.release(&binding("10.0.0.1", 80, NONE));
    assert_eq!(ports.len(), 0);
    ports.bind(&config, binding("0.0.0.0", 80, NONE)).unwrap();
}

/// IPV6_V6ONLY keeps `::` out of IPv4's ports.
/// Shows: posix-bind-b
#[test]
fn v6only_separates_the_families() {
    let (mut ports, config) = table();
    ports.bind(&config, binding("0.0.0.0", 80, NONE)).unwrap();
    assert_eq!(ports.bind(&config, binding("::", 80, NONE)), Err(Errno::EADDRINUSE));
    ports.bind(&config, binding("::", 80, BindFlags::V6ONLY)).unwrap();
    assert_eq!(ports.bind(&config, binding("fd00::1", 80, NONE)), Err(Errno::EADDRINUSE));
}

/// Shows: posix-reuseaddr-a
#[test]
fn reuseaddr_passes_time_wait_and_connections_but_no_live_listener() {
    let (mut ports, config) = table();
    let reuse = BindFlags::REUSEADDR;
    ports.hold(binding("10.0.0.1", 80, BindFlags::TIME_WAIT | reuse));
    ports.hold(binding("10.0.0.1", 80, reuse));
    assert_eq!(ports.bind(&config, binding("0.0.0.0", 80, NONE)), Err(Errno::EADDRINUSE));
    let server = binding("0.0.0.0", 80, reuse);
    ports.bind(&config, server).unwrap();
    ports.listen(&config, 1, &server).unwrap();
    assert_eq!(ports.bind(&config, server), Err(Errno::EADDRINUSE));
}

/// Two bound before either listens: the second listen fails.
/// Shows: posix-reuseaddr-a
#[test]
fn the_second_of_two_listeners_is_refused() {
    let (mut ports, config) = table();
    let server = binding("0.0.0.0", 80, BindFlags::REUSEADDR);
    ports.bind(&config, server).unwrap();
    ports.bind(&config, server).unwrap();
    ports.listen(&config, 1, &server).unwrap();
    assert_eq!(ports.listen(&config, 2, &server), Err(Errno::EADDRINUSE));
}

/// A specific address beside the wildcard: refused by Linux while the other listens, else allowed with
/// SO_REUSEADDR; the most specific listener gets the SYN.
/// Shows: posix-reuseaddr-b
#[test]
fn a_specific_listener_comes_before_the_wildcard() {
    let mut ports = Ports::new(&mut Rng::new([7; 32]));
    let linux = Config::default();
    let rfc = Config::new(Profile::Rfc);
    let (any, one) =
        (binding("0.0.0.0", 80, BindFlags::REUSEADDR), binding("10.0.0.1", 80, BindFlags::REUSEADDR));
    ports.bind(&linux, any).unwrap();
    ports.listen(&linux, 1, &any).unwrap();
    assert_eq!(ports.bind(&linux, one), Err(Errno::EADDRINUSE));
    ports.bind(&rfc, one).unwrap();
    ports.listen(&rfc, 2, &one).unwrap();
    let to = |ip: &str| ports.listener(ip.parse().unwrap(), 80, 0, 5);
    assert_eq!(to("10.0.0.1"), Some(2));
    assert_eq!(to("10.0.0.2"), Some(1));
    assert_eq!(to("fd00::1"), None);
}

/// SO_REUSEPORT: all of the group listen, flows are spread evenly and each stays with one listener.
#[test]
fn reuseport_spreads_flows() {
    let (mut ports, config) = table();
    let shared = binding("0.0.0.0", 80, BindFlags::REUSEPORT);
    for index in 0..4 {
        ports.bind(&config, shared).unwrap();
        ports.listen(&config, index, &shared).unwrap();
    }
    assert_eq!(ports.bind(&config, binding("0.0.0.0", 80, NONE)), Err(Errno::EADDRINUSE));
    let mut rng = Rng::new([9; 32]);
    let mut counts = [0; 4];
    for _ in 0..10_000 {
        let hash = rng.u64();
        let chosen = ports.listener(A, 80, 0, hash).unwrap();
        assert_eq!(ports.listener(A, 80, 0, hash), Some(chosen));
        counts[chosen as usize] += 1;
    }
    assert!(counts.iter().all(|&n| (2_200..2_800).contains(&n)), "{counts:?}");
}

/// Shows: posix-bind-d, rfc6056-s3.2-a
#[test]
fn port_0_gives_a_free_port_of_the_range() {
    let (mut ports, mut config) = table();
    config.local_port_range = 50_000..=50_099;
    config.local_reserved_ports = (50_010..50_020).collect();
    let mut rng = Rng::new([1; 32]);
    let mut seen = BTreeSet::new();
    for _ in 0..90 {
        let got = ports.bind_any(&config, &mut rng, binding("0.0.0.0", 0, NONE)).unwrap();
        assert!(
            config.local_port_range.contains(&got.port) && !config.local_reserved_ports.contains(&got.port)
        );
        assert!(seen.insert(got.port));
    }
    assert_eq!(ports.bind_any(&config, &mut rng, binding("0.0.0.0", 0, NONE)), Err(Errno::EADDRINUSE));
}

/// The ports for successive connections to one peer are neither in order nor in a pattern; every port of the
/// range is reached.
/// Shows: rfc6056-s3.3-a, rfc6056-s3.2-a, cve-2022-32296-ports
#[test]
fn ephemeral_ports_are_not_predictable() {
    let (mut ports, mut config) = table();
    config.local_port_range = 40_000..=41_023;
    let mut rng = Rng::new([3; 32]);
    let mut now = Instant::ZERO;
    let mut gaps: BTreeMap<u32, u32> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut last = 0_u16;
    for i in 0..20_000_u32 {
        now += Duration::from_millis(5);
        let port = ports.choose(&config, &mut rng, now, b"one peer", |_| true).unwrap();
        assert!(config.local_port_range.contains(&port));
        seen.insert(port);
        if i > 0 {
            *gaps.entry(u32::from(port.wrapping_sub(last))).or_default() += 1;
        }
        last = port;
    }
    assert_eq!(seen.len(), 1_024);
    let most = gaps.values().max().unwrap();
    assert!(*most < 4_000, "one step makes up {most} of 20,000");
    // What one peer sees tells nothing of another's: their ports agree about as often as by chance.
    let mut equal = 0;
    for i in 0..1_000_u32 {
        let mine = ports.choose(&config, &mut rng, now, &i.to_be_bytes(), |_| true).unwrap();
        let theirs = ports.choose(&config, &mut rng, now, &(i + 1_000_000).to_be_bytes(), |_| true).unwrap();
        equal += u32::from(mine == theirs);
    }
    assert!(equal < 10, "{equal} of 1,000 equal");
}

/// Shows: rfc6056-s3.1-a
#[test]
fn exhaustion_is_toward_one_destination_only() {
    let mut net = Net::with_config(Config { local_port_range: 50_000..=50_063, ..Config::default() });
    let mut used = BTreeSet::new();
    for _ in 0..64 {
        let id = net.socket();
        net.stack.connect_socket(net.now, id, SocketAddr::new(B, 80)).unwrap();
        assert!(used.insert(net.stack.connection(id).unwrap().tuple().local.port()));
    }
    let id = net.socket();
    assert_eq!(net.stack.connect_socket(net.now, id, SocketAddr::new(B, 80)), Err(Errno::EADDRNOTAVAIL));
    // Another port, another host: the same 64 ports again.
    for remote in [SocketAddr::new(B, 81), addr("10.0.0.3:80")] {
        let id = net.socket();
        net.stack.connect_socket(net.now, id, remote).unwrap();
    }
}

/// An attempt that fails gives its port back; what the user named stays.
#[test]
fn ports_are_given_back() {
    let mut net = Net::new();
    let auto = net.socket();
    net.stack.connect_socket(net.now, auto, SocketAddr::new(B, 80)).unwrap();
    let named = net.socket();
    net.stack.bind_socket(named, SocketAddr::new(A, 4_000)).unwrap();
    net.stack.connect_socket(net.now, named, SocketAddr::new(B, 80)).unwrap();
    assert_eq!(net.stack.population().ports, 2);
    for syn in net.take() {
        net.reply_rst(&syn);
    }
    assert_eq!(net.stack.population().ports, 1);
    let taken = net.socket();
    assert_eq!(net.stack.bind_socket(taken, SocketAddr::new(A, 4_000)), Err(Errno::EADDRINUSE));
    net.stack.close_socket(net.now, named).unwrap();
    net.stack.bind_socket(taken, SocketAddr::new(A, 4_000)).unwrap();
    net.stack.close_socket(net.now, auto).unwrap();
    net.stack.close_socket(net.now, taken).unwrap();
    assert_eq!(net.stack.population(), Default::default());
}

/// Shows: posix-bind-a, posix-bind-c
#[test]
fn bind_refuses_foreign_addresses_and_second_bindings() {
    let mut net = Net::new();
    let id = net.socket();
    let foreign: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(net.stack.bind_socket(id, SocketAddr::new(foreign, 80)), Err(Errno::EADDRNOTAVAIL));
    net.stack.bind_socket(id, SocketAddr::new(A, 80)).unwrap();
    assert_eq!(net.stack.bind_socket(id, SocketAddr::new(A, 81)), Err(Errno::EINVAL));
    assert_eq!(net.stack.entry(id).unwrap().binding.unwrap().port, 80);
}

/// The bind rules follow the options of the socket.
#[test]
fn flags_of_options() {
    let options = Options { reuseaddr: true, v6only: true, ..Options::default() };
    assert_eq!(BindFlags::of(&options), BindFlags::REUSEADDR | BindFlags::V6ONLY);
    let all: Vec<_> = BindFlags::all().iter_names().collect();
    assert_eq!(all.len(), 8);
}
