//! Hosts under threads: nobody sleeps for ever, nothing is lost, everything that ends says how.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sockeye::core::socket::{How, MsgFlags, SockOpt};
use sockeye::core::tcp::State;
use sockeye::core::trace::What;
use sockeye::core::{Errno, Ready};
use sockeye::device::{Capture, CaptureOptions, Impaired, Memory, MemoryOptions, WhenFull};
use sockeye::net::{AsSocket, PollFd, TcpListener, TcpStream, poll, select};
use sockeye::{Host, HostBuilder};

const LONG: Duration = Duration::from_secs(20);

fn joined() -> (Host, Host, TcpListener, TcpStream, TcpStream) {
    let (a, b) = Host::pair().unwrap();
    let (listener, client, server) = connect(&a, &b);
    (a, b, listener, client, server)
}

fn connect(a: &Host, b: &Host) -> (TcpListener, TcpStream, TcpStream) {
    let listener = b.bind("192.0.2.2:0").unwrap();
    let client = a.connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    (listener, client, server)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "not within 20 s: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Writes until nothing fits any more, neither into our buffer nor into the peer's.
fn fill(client: &TcpStream) {
    client.set_nonblocking(true).unwrap();
    let (mut writer, mut refused) = (client, 0);
    while refused < 10 {
        match writer.write(&[0; 65_536]) {
            Ok(n) => {
                assert!(n > 0);
                refused = 0;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refused += 1;
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    client.set_nonblocking(false).unwrap();
}

fn errno(error: &std::io::Error) -> Option<Errno> {
    error.raw_os_error().and_then(Errno::from_number)
}

/// Shows: posix-concurrent-a
#[test]
fn closing_wakes_everybody_who_waits_on_the_socket() {
    let (_a, _b, listener, client, _server) = joined();
    // Fill the way to the server, so that writers wait as well.
    fill(&client);
    let wait = |call: Box<dyn FnOnce() -> std::io::Error + Send>| thread::spawn(call);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let (reader, writer, acceptor) =
            (client.try_clone().unwrap(), client.try_clone().unwrap(), listener.try_clone().unwrap());
        waiting.push(wait(Box::new(move || (&reader).read(&mut [0; 1]).unwrap_err())));
        waiting.push(wait(Box::new(move || (&writer).write(&[0; 1]).unwrap_err())));
        waiting.push(wait(Box::new(move || acceptor.accept().unwrap_err())));
    }
    thread::sleep(Duration::from_millis(100));
    assert!(waiting.iter().all(|thread| !thread.is_finished()), "all of them wait");
    client.as_socket().close().unwrap();
    listener.as_socket().close().unwrap();
    for thread in waiting {
        assert_eq!(errno(&thread.join().unwrap()), Some(Errno::EBADF));
    }
    assert_eq!(errno(&client.as_socket().close().unwrap_err()), Some(Errno::EBADF));
    assert_eq!(errno(&(&client).read(&mut [0; 1]).unwrap_err()), Some(Errno::EBADF));
}

/// Shows: posix-concurrent-a
#[test]
fn many_readers_of_one_socket_share_its_bytes() {
    let (_a, _b, _listener, client, server) = joined();
    const SIZE: usize = 4 << 20;
    let total = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let (reader, total) = (client.try_clone().unwrap(), total.clone());
            thread::spawn(move || {
                let mut out = [0; 3_000];
                loop {
                    match (&reader).read(&mut out).unwrap() {
                        0 => return,
                        n => total.fetch_add(n, Ordering::Relaxed),
                    };
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let writer = server.try_clone().unwrap();
            thread::spawn(move || {
                for _ in 0..SIZE / 4 / 4_096 {
                    (&writer).write_all(&[1; 4_096]).unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|thread| thread.join().unwrap());
    drop(server);
    readers.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(total.load(Ordering::Relaxed), SIZE);
}

/// Shows: posix-concurrent-a
#[test]
fn many_connections_at_once_keep_their_streams_whole() {
    for when_full in [WhenFull::Wait, WhenFull::Drop] {
        let options = MemoryOptions { queue_packets: 64, when_full, ..MemoryOptions::default() };
        let (a, b) = Host::pair_with(options, |builder| builder).unwrap();
        let listener = b.bind("192.0.2.2:7").unwrap();
        let server = thread::spawn(move || {
            let echo = |mut stream: TcpStream| {
                let mut out = [0; 8_192];
                while let Ok(n @ 1..) = stream.read(&mut out) {
                    stream.write_all(&out[..n]).unwrap();
                }
            };
            let threads: Vec<_> = listener
                .incoming()
                .take(24)
                .map(|stream| thread::spawn(move || echo(stream.unwrap())))
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        let clients: Vec<_> = (0..24u32)
            .map(|seed| {
                let a = a.clone();
                thread::spawn(move || {
                    let stream = a.connect("192.0.2.2:7").unwrap();
                    let data: Vec<u8> =
                        (0..300_000u32).map(|n| (n.wrapping_mul(seed + 1) >> 3) as u8).collect();
                    let (mut reader, sent) = (stream.try_clone().unwrap(), data.clone());
                    let reading = thread::spawn(move || {
                        let mut all = Vec::new();
                        reader.read_to_end(&mut all).unwrap();
                        assert!(all == sent, "stream {seed}");
                    });
                    (&stream).write_all(&data).unwrap();
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                    reading.join().unwrap();
                })
            })
            .collect();
        clients.into_iter().for_each(|thread| thread.join().unwrap());
        server.join().unwrap();
        let dropped: u64 = a.devices().iter().chain(&b.devices()).map(|device| device.stats.tx_dropped).sum();
        if when_full == WhenFull::Wait {
            assert_eq!(dropped, 0);
        } else {
            let seen = a.stats().ip_out_discards + b.stats().ip_out_discards;
            assert!(
                seen <= dropped,
                "what the device dropped is what the stack's counter shows: {seen} {dropped}"
            );
        }
    }
}

#[test]
fn what_the_device_drops_is_counted_by_the_stack() {
    let options = MemoryOptions { queue_packets: 2, when_full: WhenFull::Drop, ..MemoryOptions::default() };
    let (device, other) = Memory::pair(options); // nobody reads the other end
    let host = Host::builder().device(device).address([192, 0, 2, 1], 24).build().unwrap();
    for port in 1..=5 {
        let socket = sockeye::net::Socket::new(&host, ([192, 0, 2, 2], port).into()).unwrap();
        socket.set_nonblocking(true);
        assert_eq!(
            errno(&socket.connect(([192, 0, 2, 2], port).into()).unwrap_err()),
            Some(Errno::EINPROGRESS)
        );
        std::mem::forget(socket);
    }
    assert_eq!(host.devices()[0].stats.tx_dropped, 3);
    eventually("the counter", || {
        host.with_stack(|_, _| ());
        host.stats().ip_out_discards == 3
    });
    drop(other);
}

#[test]
fn a_host_without_devices_talks_to_itself() {
    let host = Host::builder().build().unwrap();
    let listener = host.bind("127.0.0.1:80").unwrap();
    let mut client = host.connect("127.0.0.1:80").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let echo = thread::spawn(move || {
        let mut all = Vec::new();
        server.read_to_end(&mut all).unwrap();
        server.write_all(&all).unwrap();
    });
    let data = vec![5; 3_000_000];
    client.write_all(&data).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == data);
    echo.join().unwrap();
    let v6 = host.bind("[::1]:81").unwrap();
    host.connect("[::1]:81").unwrap();
    v6.accept().unwrap();
}

#[test]
fn ipv6_works_as_ipv4_does() {
    let (a, b) = Host::pair().unwrap();
    let listener = b.bind("[2001:db8::2]:80").unwrap();
    let mut client = a.connect("[2001:db8::2]:80").unwrap();
    let (mut server, peer) = listener.accept().unwrap();
    assert!(peer.is_ipv6());
    client.write_all(b"six").unwrap();
    let mut out = [0; 3];
    server.read_exact(&mut out).unwrap();
    assert_eq!(&out, b"six");
}

#[test]
fn bytes_pass_without_being_copied() {
    let (_a, _b, _listener, client, server) = joined();
    let data = Bytes::from((0..5_000_000u32).map(|n| (n >> 4) as u8).collect::<Vec<_>>());
    let sent = data.clone();
    let sender = thread::spawn(move || {
        assert_eq!(client.send_bytes(sent).unwrap(), 5_000_000);
    });
    let mut got = Vec::new();
    loop {
        let payload = server.recv_bytes(1 << 20).unwrap();
        if payload.is_empty() {
            break;
        }
        payload.slices().iter().for_each(|slice| got.extend_from_slice(slice));
    }
    sender.join().unwrap();
    assert!(got == data);
}

/// Shows: posix-linger-a
#[test]
fn linger_of_zero_resets() {
    let (a, _b, _listener, client, server) = joined();
    client.set_linger(Some(Duration::ZERO)).unwrap();
    assert_eq!(client.linger().unwrap(), Some(Duration::ZERO));
    drop(client);
    eventually("the reset", || server.as_socket().ready().contains(Ready::ERR | Ready::HUP));
    assert_eq!((&server).read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(a.snapshot().iter().all(|row| row.state != State::TimeWait), "no TIME-WAIT after a reset");
}

/// Shows: posix-linger-b
#[test]
fn lingering_waits_for_the_peer_and_no_longer_than_told() {
    let (_a, _b, _listener, client, server) = joined();
    client.set_linger(Some(Duration::from_secs(1))).unwrap();
    // More than the peer's window takes: the end cannot be acknowledged before somebody reads.
    fill(&client);
    let began = Instant::now();
    drop(client);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(990) && waited < Duration::from_secs(8), "{waited:?}");
    drop(server);
}

#[test]
fn lingering_ends_as_soon_as_all_is_acknowledged() {
    let (_a, _b, _listener, client, server) = joined();
    client.set_linger(Some(Duration::from_secs(15))).unwrap();
    fill(&client);
    let reader = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        let mut all = Vec::new();
        (&server).read_to_end(&mut all).unwrap();
    });
    let began = Instant::now();
    drop(client);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(150) && waited < Duration::from_secs(8), "{waited:?}");
    reader.join().unwrap();
}

#[test]
fn what_was_written_arrives_though_every_handle_is_gone() {
    let (a, b) = Host::pair().unwrap();
    let (_listener, client, mut server) = connect(&a, &b);
    let writer = thread::spawn(move || {
        (&client).write_all(&vec![9; 600_000]).unwrap();
        drop(client);
        drop(a);
    });
    thread::sleep(Duration::from_millis(50));
    let mut all = Vec::new();
    server.read_to_end(&mut all).unwrap();
    writer.join().unwrap();
    assert_eq!(all.len(), 600_000);
}

/// Shows: posix-poll-a, posix-poll-b
#[test]
fn poll_waits_for_sockets_of_several_hosts() {
    let (a, b) = Host::pair().unwrap();
    let (listener, client, server) = connect(&a, &b);
    let ask = |timeout| {
        let mut fds = [
            PollFd::new(&listener, Ready::IN),
            PollFd::new(&client, Ready::IN),
            PollFd::new(&server, Ready::IN | Ready::RDHUP),
        ];
        let count = poll(&mut fds, timeout);
        (count, fds.map(|fd| fd.revents))
    };
    let none = Ready::empty();
    assert_eq!(ask(Some(Duration::ZERO)), (0, [none; 3]));
    let began = Instant::now();
    assert_eq!(ask(Some(Duration::from_millis(50))).0, 0);
    assert!(began.elapsed() >= Duration::from_millis(50));
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(30));
            (&client).write_all(b"x").unwrap();
        });
        assert_eq!(ask(None), (1, [none, none, Ready::IN]));
    });
    let _second = a.connect(address).unwrap();
    assert_eq!(ask(Some(LONG)), (2, [Ready::IN, none, Ready::IN]));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    eventually("RDHUP", || ask(Some(LONG)).1[2].contains(Ready::RDHUP));
    let mut fds = [PollFd::new(&server, Ready::OUT)];
    assert_eq!((poll(&mut fds, None), fds[0].revents), (1, Ready::OUT));
}

/// Shows: posix-poll-b
#[test]
fn poll_says_when_a_full_socket_has_room_and_when_a_connect_is_over() {
    let (a, b) = Host::pair().unwrap();
    let (_listener, client, server) = connect(&a, &b);
    fill(&client);
    assert_eq!(poll(&mut [PollFd::new(&client, Ready::OUT)], Some(Duration::from_millis(50))), 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(30));
            (&server).read_exact(&mut vec![0; 4 << 20]).ok();
        });
        assert_eq!(poll(&mut [PollFd::new(&client, Ready::OUT)], Some(LONG)), 1);
        client.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let socket = sockeye::net::Socket::new(&a, "192.0.2.2:1".parse().unwrap()).unwrap();
    socket.set_nonblocking(true);
    assert_eq!(errno(&socket.connect("192.0.2.2:1".parse().unwrap()).unwrap_err()), Some(Errno::EINPROGRESS));
    let mut fds = [PollFd::new(&socket, Ready::OUT)];
    assert_eq!(poll(&mut fds, Some(LONG)), 1);
    assert!(fds[0].revents.contains(Ready::OUT | Ready::ERR), "{:?}", fds[0].revents);
    assert_eq!(socket.take_error().unwrap().as_ref().and_then(errno), Some(Errno::ECONNREFUSED));
    assert!(socket.take_error().unwrap().is_none());
}

/// Shows: posix-poll-d
#[test]
fn select_sorts_sockets_into_three_sets() {
    let (_a, _b, listener, client, server) = joined();
    client.as_socket().send(b"u", MsgFlags::OOB).unwrap();
    eventually("urgent data", || server.as_socket().ready().contains(Ready::PRI));
    let selected = select(&[&listener, &client], &[&client, &server], &[&client, &server], Some(LONG));
    assert_eq!(selected.read, Vec::<usize>::new());
    assert_eq!((selected.write, selected.except), (vec![0, 1], vec![1]));
}

#[test]
fn a_device_that_fails_is_reported_and_ends_nobody_else() {
    let (device, other) = Memory::pair(MemoryOptions::default());
    let host = Host::builder().name("alone").device(device).address([192, 0, 2, 1], 24).build().unwrap();
    let listener = host.bind("127.0.0.1:1").unwrap();
    drop(other);
    eventually("the report", || host.devices()[0].error.is_some());
    assert_eq!(host.devices()[0].error.as_ref().unwrap().kind(), ErrorKind::BrokenPipe);
    let error = host.connect("192.0.2.2:1").unwrap_err();
    assert!(
        matches!(errno(&error), Some(Errno::ENETDOWN | Errno::ENETUNREACH | Errno::EHOSTUNREACH)),
        "{error}"
    );
    host.connect("127.0.0.1:1").unwrap();
    listener.accept().unwrap();
    // Time goes on without a device: a read still ends in time.
    let client = host.connect("127.0.0.1:1").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!((&client).read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn shutting_a_host_down_closes_in_order_and_says_how() {
    let (a, b, listener, client, server) = joined();
    drop(listener);
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        (&server).read_to_end(&mut all).unwrap();
        all.len()
    });
    (&client).write_all(&vec![0; 200_000]).unwrap();
    let report = a.shutdown(LONG);
    assert_eq!((report.closed, report.aborted, report.time_wait), (1, 0, 1));
    assert_eq!(reader.join().unwrap(), 200_000);
    assert!((&client).read(&mut [0; 1]).is_err());
    assert_eq!(a.shutdown(LONG), Default::default(), "a second time there is nothing to do");
    assert_eq!(b.snapshot().iter().filter(|row| row.state == State::Established).count(), 0);
}

#[test]
fn a_peer_that_never_ends_is_reset_when_the_time_is_over() {
    let (a, _b, _listener, client, server) = joined();
    let report = a.shutdown(Duration::from_millis(100));
    assert_eq!((report.closed, report.aborted), (1, 1));
    drop(client);
    eventually("the reset", || server.as_socket().ready().contains(Ready::HUP));
}

#[test]
fn stopping_a_host_wakes_who_waits_on_it() {
    let (a, _b, _listener, client, _server) = joined();
    let reader = client.try_clone().unwrap();
    let thread = thread::spawn(move || (&reader).read(&mut [0; 1]));
    thread::sleep(Duration::from_millis(50));
    a.shutdown(Duration::ZERO);
    assert!(thread.join().unwrap().is_err());
}

#[test]
fn records_tell_the_whole_life_of_a_connection() {
    let (a, b) = Host::pair().unwrap();
    let (left, right) = (a.records(10_000), b.records(10_000));
    let (listener, client, server) = connect(&a, &b);
    (&client).write_all(b"hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    (&server).read_to_end(&mut Vec::new()).unwrap();
    drop(server);
    (&client).read_to_end(&mut Vec::new()).unwrap();
    drop((client, listener));
    eventually("TIME-WAIT", || a.snapshot().iter().any(|row| row.state == State::TimeWait));
    let states = |records: &sockeye::driver::Records| {
        let mut states = Vec::new();
        let mut last = None;
        while let Some(record) = records.try_next() {
            assert!(last.is_none_or(|last| record.at >= last), "records are in order");
            last = Some(record.at);
            if let What::State { to, .. } = record.what {
                states.push(to);
            }
        }
        assert_eq!(records.lost(), 0);
        states
    };
    let (left, right) = (states(&left), states(&right));
    for state in [State::SynSent, State::Established, State::FinWait1, State::FinWait2, State::TimeWait] {
        assert!(left.contains(&state), "{state} is missing in {left:?}");
    }
    for state in [State::SynReceived, State::Established, State::CloseWait, State::LastAck, State::Closed] {
        assert!(right.contains(&state), "{state} is missing in {right:?}");
    }
}

#[test]
fn a_reader_of_records_has_a_bound() {
    let (a, b) = Host::pair().unwrap();
    let records = a.records(3);
    let _joined = connect(&a, &b);
    eventually("records", || records.lost() > 0);
    assert_eq!(std::iter::from_fn(|| records.try_next()).count(), 3);
}

#[test]
fn captures_hold_every_packet_with_its_state() {
    let path = std::env::temp_dir().join(format!("sockeye-{}.pcapng", std::process::id()));
    let capture = Capture::create(&path, CaptureOptions::default()).unwrap();
    let (device, other) = Memory::pair(MemoryOptions::default());
    let build = |builder: HostBuilder| builder.build().unwrap();
    let a =
        build(Host::builder().device(device).address([192, 0, 2, 1], 24).capture(capture.clone()).unwrap());
    let b = build(Host::builder().device(other).address([192, 0, 2, 2], 24));
    let (listener, client, server) = connect(&a, &b);
    (&client).write_all(b"hello").unwrap();
    (&server).read_exact(&mut [0; 5]).unwrap();
    drop((client, server, listener));
    a.shutdown(LONG);
    capture.flush().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for state in ["SYN-SENT", "ESTABLISHED", "FIN-WAIT"] {
        assert!(text.contains(state), "{state} is missing");
    }
    let (packets, skipped) = capture.counts();
    assert!(packets >= 7 && skipped == 0, "{packets} {skipped}");
}

#[test]
fn raw_options_and_ioctl_have_linuxs_numbers() {
    let (_a, _b, _listener, client, server) = joined();
    let socket = client.as_socket();
    socket.setsockopt(6, 1, &1i32.to_ne_bytes()).unwrap();
    let mut value = [0; 4];
    assert_eq!(socket.getsockopt(6, 1, &mut value).unwrap(), 4);
    assert_eq!(i32::from_ne_bytes(value), 1);
    assert_eq!(errno(&socket.setsockopt(6, 999, &[0; 4]).unwrap_err()), Some(Errno::ENOPROTOOPT));
    socket.set_option(&SockOpt::KeepAlive(true)).unwrap();
    (&client).write_all(b"12345").unwrap();
    eventually("FIONREAD", || server.as_socket().ioctl(sockeye::core::socket::Ioctl::Inq).unwrap() == 5);
    let info = client.tcp_info().unwrap();
    assert_eq!((info.state, info.bytes_sent), (State::Established, 5));
    socket.shutdown(How::Both).unwrap();
}

#[test]
fn gateways_must_be_reachable() {
    let (device, _other) = Memory::pair(MemoryOptions::default());
    let error =
        Host::builder().device(device).address([192, 0, 2, 1], 24).gateway([198, 51, 100, 9]).build().err();
    assert_eq!(errno(&error.expect("it is on no network")), Some(Errno::ENETUNREACH));
    let (device, _other) = Memory::pair(MemoryOptions::default());
    let host =
        Host::builder().device(device).address([192, 0, 2, 1], 24).gateway([192, 0, 2, 9]).build().unwrap();
    assert!(host.with_stack(|stack, _| stack.way([192, 0, 2, 1].into())).is_ok());
}

#[test]
fn nothing_is_sent_again_where_nothing_is_lost() {
    let (a, b) = Host::pair().unwrap();
    let listener = b.bind("192.0.2.2:80").unwrap();
    let reader = thread::spawn(move || {
        let mut got = 0;
        let (stream, _) = listener.accept().unwrap();
        let mut out = vec![0; 1 << 18];
        loop {
            match (&stream).read(&mut out).unwrap() {
                0 => return got,
                n => got += n,
            }
        }
    });
    let stream = a.connect("192.0.2.2:80").unwrap();
    let block = vec![7; 1 << 20];
    for _ in 0..64 {
        (&stream).write_all(&block).unwrap();
    }
    drop(stream);
    assert_eq!(reader.join().unwrap(), 64 << 20);
    let stats = a.stats();
    assert_eq!(stats.tcp_fast_retrans + stats.tcp_timeouts, 0, "{stats:?}");
    assert!(stats.retrans_segs <= stats.tcp_loss_probes, "{stats:?}");
}

/// Two hosts whose link is as `link` says.
fn over(link: &str) -> (Host, Host, TcpListener, TcpStream, TcpStream) {
    let (device, far) = Memory::pair(MemoryOptions::default());
    let near = Impaired::new(device, &link.parse().unwrap());
    let a = Host::builder().device(near).address([192, 0, 2, 1], 24).build().unwrap();
    let b = Host::builder().device(far).address([192, 0, 2, 2], 24).build().unwrap();
    let (listener, client, server) = connect(&a, &b);
    (a, b, listener, client, server)
}

/// A link in real time is as long and as narrow as was asked for, never shorter or wider; the upper bounds allow for
/// a busy machine.
#[test]
fn an_impaired_link_has_the_round_trip_and_the_rate_that_were_asked_for() {
    let (_a, _b, _listener, mut client, mut server) =
        over("up:delay=12ms,down:delay=8ms,rate=40mbit,queue=1mb");
    let mut least = LONG;
    for _ in 0..10 {
        let begun = Instant::now();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        server.write_all(b"y").unwrap();
        client.read_exact(&mut [0]).unwrap();
        least = least.min(begun.elapsed());
    }
    assert!((Duration::from_millis(20)..Duration::from_millis(30)).contains(&least), "{least:?}");

    const BYTES: usize = 4_000_000; // 0.8 s
    let sender = thread::spawn(move || {
        client.write_all(&vec![1; BYTES]).unwrap();
        client
    });
    let begun = Instant::now();
    server.read_exact(&mut vec![0; BYTES]).unwrap();
    let took = begun.elapsed().as_secs_f64();
    // 1,448 of 1,500 bytes are data; what was on its way when the clock was started is not more than the queue.
    let asked = BYTES as f64 * 8.0 / 40e6 * 1_500.0 / 1_448.0;
    assert!((asked * 0.99..asked * 1.5).contains(&took), "{took} s, {asked} s at the rate");
    drop(sender.join().unwrap());
}

/// Every byte arrives over a link that loses, duplicates, reorders and corrupts, in both directions.
#[test]
fn every_byte_arrives_over_a_bad_link() {
    let bad = "delay=1ms,jitter=1ms,loss=3%,duplicate=1%,reorder=2%/2ms,corrupt=1%,seed=5";
    let (_a, _b, _listener, client, server) = over(bad);
    let sent: Vec<u8> = (0..2_000_000u32).map(|i| (i % 251) as u8).collect();
    let expected = sent.clone();
    let sender = thread::spawn(move || {
        (&client).write_all(&sent).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        client
    });
    let mut received = Vec::new();
    (&server).read_to_end(&mut received).unwrap();
    assert!(received == expected, "{} bytes of {}", received.len(), expected.len());
    drop(sender.join().unwrap());
}
