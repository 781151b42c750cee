//! A host on TUN, the Linux kernel's TCP on the other side, in a namespace of the test's own.
#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::in_namespace;
use sockeye::Host;
use sockeye::core::socket::{Md5Sig, SockOpt};
use sockeye::device::{Tun, TunOptions};
use sockeye::net::Socket;

const HOST: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 9, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1))];
const OURS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 9, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2))];

fn host(offload: bool) -> Host {
    let options =
        TunOptions { host_addresses: vec![(HOST[0], 24), (HOST[1], 64)], offload, ..TunOptions::new("sky0") };
    let tun = Tun::open(&options).unwrap();
    Host::builder().name("test").device(tun).address(OURS[0], 24).address(OURS[1], 64).build().unwrap()
}

fn data(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Sends `len` bytes one way over each family, and the other way; prints how fast.
fn both_ways(host: &Host, len: usize) {
    for family in 0..2 {
        let listener = host.bind((OURS[family], 80)).unwrap();
        let client = std::net::TcpStream::connect((OURS[family], 80)).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), HOST[family]);
        let sent = data(len);
        let (began, up) = (Instant::now(), sent.clone());
        let writer = thread::spawn(move || {
            (&client).write_all(&up).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            client
        });
        let mut got = Vec::with_capacity(len);
        (&server).read_to_end(&mut got).unwrap();
        let client = writer.join().unwrap();
        let up = began.elapsed();
        assert!(got == sent, "what the kernel sent is what we read");
        let began = Instant::now();
        let reader = thread::spawn(move || {
            let mut got = Vec::with_capacity(len);
            (&client).read_to_end(&mut got).unwrap();
            got
        });
        (&server).write_all(&sent).unwrap();
        drop(server);
        assert!(reader.join().unwrap() == sent, "what we sent is what the kernel read");
        let rate = |took: Duration| len as f64 * 8e-9 / took.as_secs_f64();
        assert_eq!(host.stats().tcp_fast_retrans + host.stats().tcp_timeouts, 0, "nothing is lost on TUN");
        println!("IPv{}: up {:.1}, down {:.1} Gbit/s", [4, 6][family], rate(up), rate(began.elapsed()));
    }
}

#[test]
fn the_kernel_sends_and_receives_with_offloads() {
    in_namespace("the_kernel_sends_and_receives_with_offloads", || both_ways(&host(true), 256 << 20));
}

#[test]
fn the_kernel_sends_and_receives_plain_packets() {
    in_namespace("the_kernel_sends_and_receives_plain_packets", || both_ways(&host(false), 64 << 20));
}

#[test]
fn we_connect_to_the_kernel_and_are_refused_where_nobody_listens() {
    in_namespace("we_connect_to_the_kernel_and_are_refused_where_nobody_listens", || {
        let host = host(true);
        for family in 0..2 {
            let listener = std::net::TcpListener::bind((HOST[family], 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let client = host.connect(address).unwrap();
            let (mut server, peer) = listener.accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            (&client).write_all(b"hello").unwrap();
            drop(client);
            let mut text = String::new();
            server.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
            drop((server, listener));
            assert_eq!(host.connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            let refused = std::net::TcpStream::connect((OURS[family], 1)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn a_thousand_connections_of_the_kernel_live_at_once() {
    in_namespace("a_thousand_connections_of_the_kernel_live_at_once", || {
        let host = host(true);
        let listener = host.bind((OURS[0], 80)).unwrap();
        let accepting =
            thread::spawn(move || listener.incoming().take(1_000).map(Result::unwrap).collect::<Vec<_>>());
        let mut clients: Vec<_> =
            (0..1_000).map(|_| std::net::TcpStream::connect((OURS[0], 80)).unwrap()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.write_all(&(n as u32).to_be_bytes()).unwrap();
        }
        let mut seen = vec![false; 1_000];
        for mut server in accepting.join().unwrap() {
            let mut out = [0; 4];
            server.read_exact(&mut out).unwrap();
            server.write_all(&out).unwrap();
            seen[u32::from_be_bytes(out) as usize] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
        for (n, client) in clients.iter_mut().enumerate() {
            let mut out = Vec::new();
            client.read_to_end(&mut out).unwrap();
            assert_eq!(out, (n as u32).to_be_bytes());
        }
    });
}

#[test]
fn an_interface_down_for_a_while_delays_and_breaks_nothing() {
    in_namespace("an_interface_down_for_a_while_delays_and_breaks_nothing", || {
        let host = host(true);
        let listener = std::net::TcpListener::bind(SocketAddr::new(HOST[0], 0)).unwrap();
        let client = host.connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let link = |how: &str| {
            let status = Command::new("ip").args(["link", "set", "sky0", how]).status().unwrap();
            assert!(status.success());
        };
        (&client).write_all(&data(100_000)).unwrap();
        let mut got = vec![0; 100_000];
        server.read_exact(&mut got).unwrap();
        link("down");
        (&client).write_all(&data(100_000)).unwrap();
        thread::sleep(Duration::from_secs(1));
        link("up");
        drop(client);
        got.clear();
        server.read_to_end(&mut got).unwrap();
        assert!(got == data(100_000));
        let device = &host.devices()[0];
        assert!(device.stats.tx_dropped > 0 && device.error.is_none(), "{device:?}");
    });
}

#[test]
fn an_interface_that_is_deleted_is_reported() {
    in_namespace("an_interface_that_is_deleted_is_reported", || {
        let host = host(true);
        assert!(Command::new("ip").args(["link", "delete", "sky0"]).status().unwrap().success());
        let began = Instant::now();
        while host.devices()[0].error.is_none() {
            assert!(began.elapsed() < Duration::from_secs(10), "no report");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(host.connect((HOST[0], 1)).is_err());
    });
}

#[test]
fn nothing_is_sent_again_where_nothing_is_lost() {
    in_namespace("nothing_is_sent_again_where_nothing_is_lost", || {
        let host = host(true);
        let listener = std::net::TcpListener::bind(SocketAddr::new(HOST[0], 0)).unwrap();
        let client = host.connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        // A reader that stops now and then: the window closes, probes and timers have their occasions.
        let reader = thread::spawn(move || {
            let (mut out, mut total) = (vec![0; 1 << 20], 0);
            loop {
                match server.read(&mut out).unwrap() {
                    0 => return total,
                    n => total += n,
                }
                if total >> 24 != (total + (1 << 16)) >> 24 {
                    thread::sleep(Duration::from_millis(3));
                }
            }
        });
        let block = data(1 << 20);
        for _ in 0..256 {
            (&client).write_all(&block).unwrap();
        }
        drop(client);
        assert_eq!(reader.join().unwrap(), 256 << 20);
        let (stats, device) = (host.stats(), host.devices()[0].stats);
        assert_eq!(device.tx_dropped, 0);
        // A probe is legitimate where the kernel delays its acknowledgment for a reader that sleeps.
        let found_lost = stats.tcp_fast_retrans + stats.tcp_timeouts + stats.tcp_slow_start_retrans;
        assert_eq!(found_lost, 0, "{stats:?}");
        assert!(stats.retrans_segs <= stats.tcp_loss_probes, "{stats:?}");
    });
}

/// Signed as a server and as a client of the kernel's, whose Python program is given to `python3`.
const SIGNED: &str = r#"
import socket, struct, sys
family, host, ours, port = (socket.AF_INET6, *sys.argv[2:]) if sys.argv[1] == "6" else (socket.AF_INET, *sys.argv[2:])
at = "=HHI16sI100x" if family == socket.AF_INET6 else "=HH4s120x"
address = socket.inet_pton(family, ours)
peer = struct.pack(at, family, 0, 0, address, 0) if family == socket.AF_INET6 else struct.pack(at, family, 0, address)
key = peer + struct.pack("=BBHi80s", 0, 0, 6, 0, b"secret")
listener, client = socket.socket(family), socket.socket(family)
for one in listener, client:
    one.setsockopt(socket.IPPROTO_TCP, 14, key)
listener.bind((host, 7))
listener.listen()
print("listening", flush=True)
server = listener.accept()[0]
text = b""
while part := server.recv(1 << 16):
    text += part
server.sendall(text)
server.close()
client.connect((ours, int(port)))
client.sendall(text)
client.shutdown(socket.SHUT_WR)
back = b""
while part := client.recv(1 << 16):
    back += part
print("same" if back == text and len(text) == 1 << 20 else "other", flush=True)
"#;

/// Shows: rfc2385-s2.0-a, rfc2385-s4.3-a
#[test]
fn signed_segments_and_the_kernels_are_understood_both_ways() {
    in_namespace("signed_segments_and_the_kernels_are_understood_both_ways", || {
        let host = host(true);
        for family in 0..2 {
            let key = Md5Sig { address: HOST[family], prefix: None, key: (*b"secret").into() };
            let listener = Socket::new(&host, SocketAddr::new(OURS[family], 0)).unwrap();
            listener.set_option(&SockOpt::Md5Sig(key.clone())).unwrap();
            listener.bind(SocketAddr::new(OURS[family], 80)).unwrap();
            listener.listen(8).unwrap();
            let mut python = Command::new("python3")
                .args(["-c", SIGNED, ["4", "6"][family]])
                .args([HOST[family].to_string(), OURS[family].to_string(), "80".to_owned()])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = std::io::BufReader::new(python.stdout.take().unwrap()).lines();
            assert_eq!(said.next().unwrap().unwrap(), "listening");
            let client = Socket::new(&host, SocketAddr::new(OURS[family], 0)).unwrap();
            client.set_option(&SockOpt::Md5Sig(key)).unwrap();
            client.connect(SocketAddr::new(HOST[family], 7)).unwrap();
            let client = sockeye::net::TcpStream::from(client);
            (&client).write_all(&data(1 << 20)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut text = Vec::new();
            (&client).read_to_end(&mut text).unwrap();
            assert!(text == data(1 << 20));
            let server = sockeye::net::TcpStream::from(listener.accept().unwrap().0);
            text.clear();
            (&server).read_to_end(&mut text).unwrap();
            assert!(text == data(1 << 20));
            (&server).write_all(&text).unwrap();
            drop(server);
            assert_eq!(said.next().unwrap().unwrap(), "same");
            assert!(python.wait().unwrap().success());
            let stats = host.stats();
            let refused = stats.tcp_md5_not_found + stats.tcp_md5_unexpected + stats.tcp_md5_failure;
            assert_eq!((refused, stats.retrans_segs), (0, 0), "{stats:?}");
        }
    });
}
