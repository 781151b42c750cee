//! The forwarder between a program's stack and real sockets of the host on loopback.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sockeye::core::tcp::SeqNum;
use sockeye::core::wire::ip::IpTemplate;
use sockeye::core::wire::tcp::{ChecksumMode, Flags, Header};
use sockeye::core::{Errno, Packet, wire};
use sockeye::device::{Device, Memory, MemoryOptions};
use sockeye::forward::{self, Direction, Ending, Forwarder, ForwarderBuilder, Publish, Record, Target};
use sockeye::net::{AsSocket, TcpListener as StackListener, TcpStream as StackStream};
use sockeye::{Host, net};

const LONG: Duration = Duration::from_secs(30);
/// The program's addresses, and those that stand for the host's loopback.
const PROGRAM: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 18, 2, 15), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 15));
const GATEWAY: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 18, 2, 2), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

/// A program's host and the forwarder behind it.
struct World {
    program: Host,
    forwarder: Forwarder,
    outer: Host,
}

fn to_loopback(destination: SocketAddr) -> Target {
    match destination.ip() {
        IpAddr::V4(ip) if ip == GATEWAY.0 => {
            Target::Connect((Ipv4Addr::LOCALHOST, destination.port()).into())
        }
        IpAddr::V6(ip) if ip == GATEWAY.1 => {
            Target::Connect((Ipv6Addr::LOCALHOST, destination.port()).into())
        }
        _ => Target::Connect(destination),
    }
}

fn world() -> World {
    world_with(|builder| builder.decide(|_, destination| to_loopback(destination)))
}

fn world_with(change: impl FnOnce(ForwarderBuilder) -> ForwarderBuilder) -> World {
    let (inner, outer) = Memory::pair(MemoryOptions::default());
    let program = Host::builder()
        .device(inner)
        .address(PROGRAM.0, 24)
        .address(PROGRAM.1, 64)
        .gateway(GATEWAY.0)
        .gateway(GATEWAY.1)
        .build()
        .unwrap();
    let outer = forward::host(outer).build().unwrap();
    let forwarder = change(Forwarder::builder()).build(&outer).unwrap();
    World { program, forwarder, outer }
}

impl World {
    /// The record of the connection that has ended, the `n`-th one.
    fn record(&self, n: usize) -> Record {
        eventually("a connection has ended", || self.forwarder.records().len() > n);
        self.forwarder.records()[n].clone()
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "not within 30 s: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn errno(error: &std::io::Error) -> Option<Errno> {
    error.raw_os_error().and_then(Errno::from_number)
}

/// A server on each loopback, and where the program finds it.
fn servers() -> [(TcpListener, SocketAddr); 2] {
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let v6 = TcpListener::bind("[::1]:0").unwrap();
    let at = [
        SocketAddr::new(GATEWAY.0.into(), v4.local_addr().unwrap().port()),
        SocketAddr::new(GATEWAY.1.into(), v6.local_addr().unwrap().port()),
    ];
    [(v4, at[0]), (v6, at[1])]
}

/// One connection through the forwarder: the program's end and the host's.
fn joined(world: &World, server: &(TcpListener, SocketAddr)) -> (StackStream, TcpStream) {
    let client = world.program.connect(server.1).unwrap();
    let (served, _) = server.0.accept().unwrap();
    served.set_read_timeout(Some(LONG)).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    (client, served)
}

/// Bytes that differ everywhere, and a digest of a stream of them.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

fn read_all(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    all
}

/// 32 MiB each way at once, over IPv4 and IPv6: every byte at its place, a FIN each way, and the record says so.
/// Shows: forward-carry-a
#[test]
fn streams_are_carried_whole_both_ways() {
    let world = world();
    for (n, server) in servers().iter().enumerate() {
        let (client, served) = joined(&world, server);
        let (up, down) = (pattern(32 << 20, 7), pattern(32 << 20, 8));
        thread::scope(|scope| {
            scope.spawn(|| {
                (&client).write_all(&up).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(|| {
                (&served).write_all(&down).unwrap();
                served.shutdown(Shutdown::Write).unwrap();
            });
            let back = scope.spawn(|| read_all(&client));
            assert!(read_all(&served) == up);
            assert!(back.join().unwrap() == down);
        });
        let record = world.record(n);
        assert_eq!((record.ending, record.direction), (Ending::Closed, Direction::Outward));
        assert_eq!((record.sent, record.received), (32 << 20, 32 << 20));
        assert_eq!(record.destination, server.1);
        assert_eq!(record.peer, client.local_addr().unwrap());
        assert!(record.opened_after.is_some());
    }
    let totals = world.forwarder.totals();
    assert_eq!((totals.outward, totals.opened, totals.closed, totals.current), (2, 2, 2, 0));
    assert_eq!((totals.bytes_out, totals.bytes_in), (64 << 20, 64 << 20));
}

/// Shows: forward-errors-a
#[test]
fn what_the_far_side_says_is_what_the_program_sees() {
    let world = world_with(|builder| {
        builder.decide(|_, destination| match destination.port() {
            1 => Target::Refuse,
            2 => Target::Unreachable,
            3 => Target::Drop,
            // Linux connects to no broadcast address: ENETUNREACH.
            4 => Target::Connect("255.255.255.255:4".parse().unwrap()),
            _ => to_loopback(destination),
        })
    });
    let nobody = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap().port()
    };
    let mut n = 0;
    for ip in [IpAddr::from(GATEWAY.0), IpAddr::from(GATEWAY.1)] {
        let cases = [
            (nobody, Errno::ECONNREFUSED, Ending::Refused),
            (1, Errno::ECONNREFUSED, Ending::Refused),
            (2, Errno::EHOSTUNREACH, Ending::Unreachable),
            (4, Errno::ENETUNREACH, Ending::Unreachable),
        ];
        for (port, error, ending) in cases {
            let began = Instant::now();
            let refused = world.program.connect((ip, port)).unwrap_err();
            assert_eq!(errno(&refused), Some(error), "{ip} {port}");
            assert!(began.elapsed() < Duration::from_secs(5), "at once, not by a time-out");
            assert_eq!(world.record(n).ending, ending);
            n += 1;
        }
    }
    let dropped = net::TcpStream::connect_timeout(
        &world.program,
        &SocketAddr::new(GATEWAY.0.into(), 3),
        Duration::from_millis(300),
    );
    assert_eq!(dropped.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(world.record(n).ending, Ending::Dropped);
    assert!(world.outer.stats().parked_refused >= 4);
}

/// The far listener's backlog is full: the kernel does not answer, and neither does the forwarder, until there is room.
/// Shows: forward-park-a
#[test]
fn a_syn_waits_as_long_as_the_far_side_does() {
    let world = world();
    let server =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&server, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&server, 0).unwrap();
    let server = TcpListener::from(server);
    let port = server.local_addr().unwrap().port();
    let first = world.program.connect((GATEWAY.0, port)).unwrap();
    let program = world.program.clone();
    let second = thread::spawn(move || program.connect((GATEWAY.0, port)));
    thread::sleep(Duration::from_millis(500));
    assert!(!second.is_finished(), "nobody has answered it");
    assert_eq!(world.forwarder.drain(Duration::ZERO), 1, "the first; the second has nothing to deliver");
    let (_kept, _) = server.accept().unwrap();
    // The kernel's SYN is sent again after a second.
    assert!(second.join().unwrap().is_ok());
    drop(first);
}

/// Each side may go on after the other's FIN.
/// Shows: forward-carry-b
#[test]
fn half_closes_pass_both_ways() {
    let world = world();
    for server in servers() {
        let (client, served) = joined(&world, &server);
        (&client).write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&served), b"question");
        thread::sleep(Duration::from_millis(50));
        (&served).write_all(b"answer").unwrap();
        drop(served);
        assert_eq!(read_all(&client), b"answer");

        let (client, served) = joined(&world, &server);
        (&served).write_all(b"banner").unwrap();
        served.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&client), b"banner");
        thread::sleep(Duration::from_millis(50));
        (&client).write_all(b"late").unwrap();
        drop(client);
        assert_eq!(read_all(&served), b"late");
    }
    eventually("all have ended in order", || world.forwarder.totals().closed == 4);
}

/// A RST is a RST on the other side, with data before it and without, and while the other side's buffers are full.
/// Shows: forward-carry-b
#[test]
fn resets_pass_both_ways() {
    let world = world();
    let reset = |mut at: Box<dyn Read>| {
        let error = std::io::copy(&mut at, &mut std::io::sink()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    };
    for server in servers() {
        for data in [&b""[..], b"some"] {
            let (client, served) = joined(&world, &server);
            (&client).write_all(data).unwrap();
            eventually("it is there", || {
                data.is_empty() || served.peek(&mut [0; 9]).is_ok_and(|n| n == data.len())
            });
            client.as_socket().abort();
            reset(Box::new(served));

            let (client, served) = joined(&world, &server);
            (&served).write_all(data).unwrap();
            let served = socket_with_linger(served);
            eventually("it is there", || {
                client.as_socket().ready().contains(sockeye::core::Ready::IN) || data.is_empty()
            });
            drop(served);
            reset(Box::new(client));
        }
        let (client, served) = joined(&world, &server);
        fill(|bytes| (&client).write(bytes), || client.set_nonblocking(true).unwrap());
        client.as_socket().abort();
        reset(Box::new(served));

        let (client, served) = joined(&world, &server);
        fill(|bytes| (&served).write(bytes), || served.set_nonblocking(true).unwrap());
        drop(socket_with_linger(served));
        reset(Box::new(client));
    }
    eventually("all are counted", || {
        let totals = world.forwarder.totals();
        (totals.reset_by_peer, totals.reset_by_destination, totals.current) == (6, 6, 0)
    });
}

fn socket_with_linger(stream: TcpStream) -> TcpStream {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    stream
}

/// Writes until nothing fits any more for a while.
fn fill(mut write: impl FnMut(&[u8]) -> std::io::Result<usize>, nonblocking: impl FnOnce()) -> u64 {
    nonblocking();
    let (mut written, mut refused) = (0, 0);
    while refused < 20 {
        match write(&[7; 65_536]) {
            Ok(n) => (written, refused) = (written + n as u64, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refused += 1;
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    written
}

/// A reader that does not read stops the writer, on either side; what is between is bounded, and nothing is lost.
/// Shows: forward-carry-c
#[test]
fn a_slow_reader_stops_the_writer() {
    let world = world();
    let [server, _] = servers();
    let bound = |config: sockeye::core::Config| u64::from(config.rmem[2]) + u64::from(config.wmem[2]);
    // Both stacks' buffers, the kernel's, and what the forwarder holds.
    let most = bound(world.program.config()) + bound(world.outer.config()) + (32 << 20);

    let (client, served) = joined(&world, &server);
    let written = fill(|bytes| (&client).write(bytes), || client.set_nonblocking(true).unwrap());
    assert!(written > 0 && written < most, "{written} of {most}");
    assert!(world.outer.with_stack(|stack, _| stack.check_invariants()).is_ok());
    client.set_nonblocking(false).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&served).len() as u64, written);

    let (client, served) = joined(&world, &server);
    let written = fill(|bytes| (&served).write(bytes), || served.set_nonblocking(true).unwrap());
    assert!(written > 0 && written < most, "{written} of {most}");
    served.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client).len() as u64, written);
}

/// 1,000 at once, each with bytes of its own both ways.
/// Shows: forward-carry-a
#[test]
fn a_thousand_connections_at_once() {
    const CONNECTIONS: usize = 1_000;
    let world = world();
    let [(server, at), _] = servers();
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| server.accept().unwrap().0).collect();
            for stream in &mut streams {
                let mut bytes = [0; 2_000];
                stream.read_exact(&mut bytes).unwrap();
                stream.write_all(&bytes).unwrap();
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| world.program.connect(at).unwrap()).collect();
        eventually("all are open", || world.forwarder.totals().opened == CONNECTIONS as u64);
        for (n, mut client) in clients.iter().enumerate() {
            client.write_all(&pattern(2_000, n as u64)).unwrap();
        }
        for (n, mut client) in clients.iter().enumerate() {
            let mut bytes = vec![0; 2_000];
            client.read_exact(&mut bytes).unwrap();
            assert!(bytes == pattern(2_000, n as u64), "connection {n}");
        }
    });
    eventually("all have ended", || world.forwarder.totals().current == 0);
    assert_eq!(world.forwarder.totals().closed, CONNECTIONS as u64);
    eventually("no socket is left in the stack", || {
        world.outer.with_stack(|stack, _| stack.population().sockets) == 1
    });
}

/// Urgent data, both ways: its byte arrives at its place in the stream.
/// Shows: forward-carry-a
#[test]
fn an_urgent_byte_stays_in_the_stream() {
    use sockeye::core::socket::MsgFlags;
    let world = world();
    let [server, _] = servers();
    let (client, served) = joined(&world, &server);
    (&client).write_all(b"before").unwrap();
    assert_eq!(client.as_socket().send(b"!", MsgFlags::OOB).unwrap(), 1);
    (&client).write_all(b"after").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&served), b"before!after");
    client.as_socket().set_option(&sockeye::core::socket::SockOpt::OobInline(true)).unwrap();
    (&served).write_all(b"before").unwrap();
    rustix::net::send(&served, b"!", rustix::net::SendFlags::OOB).unwrap();
    (&served).write_all(b"after").unwrap();
    drop(served);
    assert_eq!(read_all(&client), b"before!after");
}

/// The bound on connections: one more waits, and comes in once another has ended.
/// Shows: forward-park-c
#[test]
fn no_more_connections_than_may_be() {
    let world =
        world_with(|builder| builder.decide(|_, destination| to_loopback(destination)).max_connections(3));
    let [server, _] = servers();
    let mut held: Vec<_> = (0..3).map(|_| joined(&world, &server)).collect();
    let more = |timeout| net::TcpStream::connect_timeout(&world.program, &server.1, timeout);
    assert_eq!(more(Duration::from_millis(200)).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(world.outer.stats().syns_park_full > 0);
    drop(held.pop());
    eventually("one has ended", || world.forwarder.totals().closed == 1);
    assert!(more(LONG).is_ok());
}

/// Shows: forward-carry-b
#[test]
fn drain_waits_until_the_kernel_has_it_all() {
    let world = world();
    let [server, _] = servers();
    let (client, served) = joined(&world, &server);
    let sent = pattern(3 << 20, 5);
    (&client).write_all(&sent).unwrap();
    assert_eq!(world.forwarder.drain(Duration::from_millis(50)), 1, "there is no FIN yet");
    drop(client);
    let reader = thread::spawn(move || read_all(&served));
    assert_eq!(world.forwarder.drain(LONG), 0);
    world.forwarder.stop();
    assert!(reader.join().unwrap() == sent);
}

/// Stopping resets what is open and closes what is published.
/// Shows: forward-carry-b
#[test]
fn stopping_leaves_nothing() {
    let world = world();
    let [server, _] = servers();
    let (_client, mut served) = joined(&world, &server);
    let door = world.forwarder.publish(publish(80)).unwrap();
    world.forwarder.stop();
    assert_eq!(served.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(TcpStream::connect(door.local_addr()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(world.record(0).ending, Ending::Stopped);
    assert_eq!(errno(&world.program.connect(server.1).unwrap_err()), Some(Errno::ECONNREFUSED));
}

fn publish(port: u16) -> Publish {
    Publish {
        listen: "127.0.0.1:0".parse().unwrap(),
        to: vec![(PROGRAM.0, port).into(), (PROGRAM.1, port).into()],
        stand_ins: vec![GATEWAY.0.into(), GATEWAY.1.into()],
    }
}

/// A program's listener is reached by a port of the host; the peer's port is its own. Refused, reset, half-closed.
/// Shows: forward-publish-a
#[test]
fn a_published_port_leads_into_the_stack() {
    let world = world();
    let listener = StackListener::bind(&world.program, (Ipv6Addr::UNSPECIFIED, 80)).unwrap();
    let v6 = Publish { listen: "[::1]:0".parse().unwrap(), ..publish(80) };
    for (door, stand_in) in [(publish(80), IpAddr::from(GATEWAY.0)), (v6, IpAddr::from(GATEWAY.1))] {
        let door = world.forwarder.publish(door).unwrap();
        let client = TcpStream::connect(door.local_addr()).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        let (served, peer) = listener.accept().unwrap();
        assert_eq!((peer.ip().to_canonical(), peer.port()), (stand_in, client.local_addr().unwrap().port()));
        (&client).write_all(b"GET").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&served), b"GET");
        (&served).write_all(b"200").unwrap();
        drop(served);
        assert_eq!(read_all(&client), b"200");

        let mut client = TcpStream::connect(door.local_addr()).unwrap();
        listener.accept().unwrap().0.as_socket().abort();
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);

        let client = TcpStream::connect(door.local_addr()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        drop(socket_with_linger(client));
        assert_eq!(served.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let door = world.forwarder.publish(publish(81)).unwrap();
    let at = door.local_addr();
    let mut refused = TcpStream::connect(at).unwrap();
    assert_eq!(refused.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let record = world.forwarder.records().pop().unwrap();
    assert_eq!((record.ending, record.direction), (Ending::Refused, Direction::Inward));
    drop(door);
    assert_eq!(TcpStream::connect(at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Shows: forward-publish-b
#[test]
fn a_port_that_cannot_be_published_says_why() {
    let world = world();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let cases = [
        (at, format!("port {at} cannot be published: another program listens there; choose another port")),
        (
            "192.0.2.77:8080".parse().unwrap(),
            "port 192.0.2.77:8080 cannot be published: it is no address of this host".into(),
        ),
    ];
    for (listen, text) in cases {
        let error = world.forwarder.publish(Publish { listen, ..publish(80) }).err().unwrap();
        assert_eq!(error.to_string(), text);
    }
    let nowhere = Publish { to: Vec::new(), ..publish(80) };
    assert!(world.forwarder.publish(nowhere).err().unwrap().to_string().contains("no address in the stack"));
}

/// The caller's own loop instead of the thread.
/// Shows: forward-carry-a
#[test]
fn a_caller_can_drive_it() {
    let world = world_with(|builder| builder.decide(|_, at| to_loopback(at)).driven_by_caller());
    let [server, _] = servers();
    let (mut client, mut served) = joined(&world, &server);
    client.write_all(b"ping").unwrap();
    let mut bytes = [0; 4];
    served.read_exact(&mut bytes).unwrap();
    served.write_all(b"pong").unwrap();
    let mut fds = [rustix::event::PollFd::new(&world.forwarder, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, None).unwrap(), 1);
    world.forwarder.turn(Some(Duration::ZERO)).unwrap();
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"pong");
}

/// Who waits for edges of its descriptor (as tokio does) and turns once an edge misses nothing, however much is ready at once.
/// Shows: forward-carry-a
#[test]
fn edges_are_enough_to_drive_it() {
    use rustix::event::epoll;
    const CONNECTIONS: usize = 300;
    let world = world_with(ForwarderBuilder::driven_by_caller);
    let listener = StackListener::bind(&world.program, (PROGRAM.0, 80)).unwrap();
    let door = world.forwarder.publish(publish(80)).unwrap();
    // All of them are ready before the first turn.
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = TcpStream::connect(door.local_addr()).unwrap();
            client.write_all(b"x").unwrap();
            client
        })
        .collect();
    let server = thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
        }
    });
    let outer = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&outer, &world.forwarder, epoll::EventData::new_u64(0), edges).unwrap();
    let until = Instant::now() + LONG;
    while !server.is_finished() {
        assert!(Instant::now() < until, "{:?}", world.forwarder.totals());
        let mut events = Vec::with_capacity(4);
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        epoll::wait(&outer, rustix::buffer::spare_capacity(&mut events), Some(&timeout)).unwrap();
        if !events.is_empty() {
            world.forwarder.turn(Some(Duration::ZERO)).unwrap();
        }
    }
    server.join().unwrap();
    for mut client in clients {
        client.read_exact(&mut [0]).unwrap();
    }
}

/// A peer that is not on loopback keeps its address and port. In a network namespace of its own, where the
/// loopback interface has another address.
/// Shows: forward-publish-a
#[test]
fn the_peers_address_is_kept() {
    const INSIDE: &str = "SOCKEYE_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        let script = "ip link set lo up && ip address add 192.0.2.1/24 dev lo && \
                      ip -6 address add 2001:db8:1::1/64 dev lo nodad && exec \"$0\" \"$@\"";
        let test = std::env::current_exe().unwrap();
        let made = Command::new("unshare").args(["--user", "--map-root-user", "--net", "true"]).status();
        if !made.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("SOCKEYE_REQUIRE_PEERS").is_none(), "unshare makes no namespaces");
            return eprintln!("skipped: unshare makes no namespaces here");
        }
        let status = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", script])
            .arg(test)
            .args(["--exact", "the_peers_address_is_kept", "--nocapture"])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        return assert!(status.success());
    }
    let world = world();
    let listener = StackListener::bind(&world.program, (Ipv6Addr::UNSPECIFIED, 80)).unwrap();
    for host in ["192.0.2.1:0", "[2001:db8:1::1]:0"] {
        let listen: SocketAddr = host.parse().unwrap();
        // A kernel under load takes its time to make a new address usable.
        eventually("the namespace's addresses can be reached", || {
            TcpListener::bind(listen)
                .is_ok_and(|probe| TcpStream::connect(probe.local_addr().unwrap()).is_ok())
        });
        let door = world.forwarder.publish(Publish { listen, ..publish(80) }).unwrap();
        let mut client = TcpStream::connect(door.local_addr()).unwrap();
        let (mut served, peer) = listener.accept().unwrap();
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(peer.ip(), listen.ip());
        client.write_all(b"hello").unwrap();
        let mut hello = [0; 5];
        served.read_exact(&mut hello).unwrap();
    }
}

/// Hooks are told of every connection, whatever became of it.
/// Shows: forward-carry-c
#[test]
fn the_hook_hears_of_every_end() {
    let (ends, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let told = (ends.clone(), bytes.clone());
    let world = world_with(|builder| {
        builder.decide(|_, at| to_loopback(at)).keep_records(2).on_end(move |record| {
            told.0.fetch_add(1, Ordering::Relaxed);
            told.1.fetch_add(record.sent, Ordering::Relaxed);
        })
    });
    let [server, _] = servers();
    for _ in 0..5 {
        let (client, served) = joined(&world, &server);
        (&client).write_all(b"12345").unwrap();
        drop(client);
        assert_eq!(read_all(&served), b"12345");
    }
    eventually("all are told", || ends.load(Ordering::Relaxed) == 5);
    assert_eq!(bytes.load(Ordering::Relaxed), 25);
    assert_eq!(world.forwarder.records().len(), 2);
}

/// A segment without data from 198.18.2.15 to 198.18.2.2.
fn segment(ports: (u16, u16), seq: u32, flags: Flags) -> Packet {
    let hdr = Header {
        src_port: ports.0,
        dst_port: ports.1,
        seq: SeqNum(seq),
        flags,
        window: 8_192,
        ..Header::default()
    };
    let template = IpTemplate::new(IpAddr::from([198, 18, 2, 15]), IpAddr::from([198, 18, 2, 2]));
    wire::tcp::build_inline(&template, &hdr, &[], ChecksumMode::Complete)
}

/// Where many connections begin a thread of its own opens them; a SYN whose peer gives up while that thread is at it, or
/// before it comes to it, is abandoned, and every one is on record.
#[test]
fn many_that_begin_at_once_are_opened_by_a_thread_of_its_own() {
    let (device, outer) = Memory::pair(MemoryOptions::default());
    let host = forward::host(outer).build().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    // The thread waits in its first decision until the gate opens.
    let (decided, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new((Mutex::new(false), Condvar::new())));
    let decide = {
        let (decided, gate) = (decided.clone(), gate.clone());
        move |peer: SocketAddr, _: SocketAddr| {
            let helps = thread::current().name() == Some("forward/open");
            decided.lock().unwrap().push((peer.port(), helps));
            if helps {
                let closed = gate.0.lock().unwrap();
                drop(gate.1.wait_while(closed, |open| !*open).unwrap());
            }
            Target::Connect(SocketAddr::from(([127, 0, 0, 1], port)))
        }
    };
    let forwarder = Forwarder::builder().decide(decide).build(&host).unwrap();
    let send = |from: u16, seq: u32, flags: Flags| {
        let mut packets = VecDeque::from([segment((from, port), seq, flags)]);
        assert_eq!(device.send(&mut packets).unwrap().sent, 1);
    };

    // In bursts, until the thread is at one and has two more before it.
    let helped = || decided.lock().unwrap().iter().find(|(_, helps)| *helps).map(|(port, _)| *port);
    let waits = |from: u16| !decided.lock().unwrap().iter().any(|(port, _)| *port == from);
    let (mut sent, mut before) = (0, Vec::new());
    eventually("many begin at once", || {
        for _ in 0..60.min(60_000 - sent) {
            sent += 1;
            send(1_024 + sent, 1, Flags::SYN);
            if waits(1_024 + sent) {
                before.push(1_024 + sent);
            }
        }
        helped().is_some() && {
            before.retain(|from| waits(*from));
            before.len() >= 2
        }
    });
    let at_it = helped().expect("it was called");
    for gone in [at_it, before[0]] {
        send(gone, 2, Flags::RST);
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();

    eventually("the thread is through", || forwarder.totals().outward == u64::from(sent));
    eventually("both are abandoned", || forwarder.totals().abandoned == 2);
    eventually("the others are being opened", || forwarder.totals().current == u64::from(sent) - 2);
    let of = |port: u16| forwarder.records().into_iter().find(|record| record.peer.port() == port);
    for gone in [at_it, before[0]] {
        let record = of(gone).expect("on record");
        assert_eq!((record.ending, record.error), (Ending::Abandoned, Some(Errno::ECONNRESET)));
    }
    assert!(waits(before[0]) && !waits(before[1]), "nothing was begun for the one that it had not come to");
    forwarder.stop();
    assert_eq!(forwarder.totals().current, 0);
}
