//! `lan:NAME` between members in this process and in processes of their own.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sockeye::Host;
use sockeye::core::Errno;
use sockeye::device::{Device, Lan, lan};
use sockeye::net::TcpStream;

const LONG: Duration = Duration::from_secs(30);
const NETWORK: &str = "SOCKEYE_TEST_LAN";
const ADDRESS: &str = "SOCKEYE_TEST_ADDRESS";

/// A network of this test alone.
fn network(test: &str) -> String {
    format!("test-{test}-{}", std::process::id())
}

fn host(lan: Lan) -> Host {
    let (v4, v6) = lan.addresses();
    Host::builder().device(lan).address(v4, lan::PREFIXES.0).address(v6, lan::PREFIXES.1).build().unwrap()
}

fn errno(error: &std::io::Error) -> Option<Errno> {
    error.raw_os_error().and_then(Errno::from_number)
}

fn directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir()) {
        Some(runtime) => runtime.join("sockeye/lan"),
        None => format!("/tmp/sockeye-{}/lan", rustix::process::geteuid().as_raw()).into(),
    }
}

/// Says back what is said on port 7 until this process' standard input ends.
fn echo(network: &str) {
    let address = std::env::var(ADDRESS).ok().map(|text| text.parse().unwrap());
    let lan = Lan::join(network, address).unwrap();
    let address = lan.addresses().0;
    let host = host(lan);
    let listener = host.bind("[::]:7").unwrap();
    println!("\nready {address}");
    let acceptor = thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut bytes = vec![0; 256 << 10];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    host.shutdown(Duration::from_secs(1));
    acceptor.join().unwrap();
}

/// Another process on the network.
struct Member {
    child: Child,
    /// Kept open: the other process still has something to print.
    _output: BufReader<ChildStdout>,
    address: Ipv4Addr,
}

impl Member {
    fn start(network: &str, address: Option<&str>) -> Member {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "members_are_processes_of_their_own", "--nocapture"]);
        command.env(NETWORK, network).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(address) = address {
            command.env(ADDRESS, address);
        }
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let lines = output.by_ref().lines().map_while(Result::ok);
        let ready = lines.filter_map(|line| line.strip_prefix("ready ")?.parse().ok()).next();
        Member { child, address: ready.expect("the other process joins"), _output: output }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends in order.
    fn leave(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn asks(host: &Host, address: impl Into<IpAddr>) {
    let mut stream = TcpStream::connect_timeout(host, &(address.into(), 7).into(), LONG).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"are you there?").unwrap();
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"are you there?");
}

fn pattern(len: usize) -> Vec<u8> {
    let mut x: u32 = 1;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

/// 16 MiB each way at once in one connection; all of it comes back as it was.
fn transfers(host: &Host, address: impl Into<IpAddr>) {
    let stream = host.connect((address.into(), 7)).unwrap();
    let data = pattern(16 << 20);
    thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back).unwrap();
        assert!(back == data);
    });
}

/// Four processes: each reaches each, by IPv4 and IPv6; who started the network is killed and the others do not notice; the
/// address of the dead one is free again, and with the last member the network is gone.
/// Shows: lan-a, lan-b
#[test]
fn members_are_processes_of_their_own() {
    if let Ok(network) = std::env::var(NETWORK) {
        return echo(&network);
    }
    let name = network("processes");
    let first = Member::start(&name, None);
    assert_eq!(first.address, Ipv4Addr::new(198, 18, 0, 1));
    let second = Member::start(&name, Some("198.19.7.7"));
    let third = Member::start(&name, Some("2001:db8::99"));
    assert_eq!(
        (second.address, third.address),
        (Ipv4Addr::new(198, 19, 7, 7), Ipv4Addr::new(198, 18, 0, 153))
    );
    let lan = Lan::join(&name, None).unwrap();
    assert_eq!(lan.addresses().0, Ipv4Addr::new(198, 18, 0, 2));
    assert_eq!(lan.members().unwrap().len(), 4);
    let me = host(lan);
    for other in [&first, &second, &third] {
        asks(&me, other.address);
        transfers(&me, other.address);
    }
    asks(&me, "2001:db8::99".parse::<Ipv6Addr>().unwrap());
    transfers(&me, "2001:db8::1".parse::<Ipv6Addr>().unwrap());

    let mut broken = me.connect((first.address, 7)).unwrap();
    broken.write_all(b"hello").unwrap();
    first.kill();
    asks(&me, second.address);
    asks(&me, third.address);
    let gone = TcpStream::connect_timeout(&me, &(Ipv4Addr::new(198, 18, 0, 1), 7).into(), LONG);
    assert_eq!(errno(&gone.unwrap_err()), Some(Errno::EHOSTUNREACH));
    let fourth = Member::start(&name, None);
    assert_eq!(fourth.address, Ipv4Addr::new(198, 18, 0, 1), "the address of the dead one");
    asks(&me, fourth.address);
    second.leave();
    third.leave();
    assert!(directory().join(&name).is_dir());
    drop(broken);
    me.shutdown(Duration::from_secs(1));
    drop(me);
    fourth.leave();
    assert!(!directory().join(&name).exists(), "gone with the last one");
}

/// Shows: lan-c
#[test]
fn an_address_has_one_owner() {
    let name = network("addresses");
    let one: IpAddr = "198.18.0.1".parse().unwrap();
    let kept = Lan::join(&name, Some(one)).unwrap();
    assert_eq!(kept.addresses(), ("198.18.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()));
    for taken in [one, "2001:db8::1".parse().unwrap()] {
        let error = Lan::join(&name, Some(taken)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!(
                "{taken} is taken by another member of the network {name}: choose another address, or none"
            )
        );
    }
    assert_eq!(Lan::join(&name, None).unwrap().addresses().0, Ipv4Addr::new(198, 18, 0, 2));
    let elsewhere = Lan::join(&network("elsewhere"), Some(one)).unwrap();
    assert_eq!(elsewhere.members().unwrap(), [Ipv4Addr::new(198, 18, 0, 1)]);
    for outside in ["198.18.0.0", "198.19.255.255", "198.20.0.1", "10.0.0.1"] {
        let error = Lan::join(&name, Some(outside.parse().unwrap())).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!("{outside} is no address of a lan: choose one from 198.18.0.1 to 198.19.255.254")
        );
    }
    let error = Lan::join(&name, Some("2001:db8:1::1".parse().unwrap())).err().unwrap();
    assert!(error.to_string().starts_with("2001:db8:1::1 is no address of a lan: "), "{error}");
    for wrong in ["", ".", "a/b", "../up", "ä", &"x".repeat(65)] {
        let error = Lan::join(wrong, None).err().unwrap();
        assert!(error.to_string().contains("is no name for a network"), "{error}");
    }
    drop(kept);
    assert!(Lan::join(&name, Some(one)).is_ok(), "free again");
}

/// 32 at once get 32 addresses.
/// Shows: lan-c
#[test]
fn joining_at_once_is_safe() {
    let name = network("rush");
    let joined: Vec<_> = thread::scope(|scope| {
        let all: Vec<_> = (0..32).map(|_| scope.spawn(|| Lan::join(&name, None).unwrap())).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut addresses: Vec<_> = joined.iter().map(|lan| lan.addresses().0).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!((addresses.len(), joined[0].members().unwrap().len()), (32, 32));
}

/// Nobody has the address: known at once, not after the time-out of a SYN.
/// Shows: lan-b
#[test]
fn an_address_without_a_member_is_unreachable() {
    let me = host(Lan::join(&network("nobody"), None).unwrap());
    for address in ["198.18.0.9:7", "[2001:db8::9]:7"] {
        let began = Instant::now();
        let error = me.connect(address).unwrap_err();
        assert_eq!(errno(&error), Some(Errno::EHOSTUNREACH), "{address}");
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    assert!(me.devices()[0].stats.tx_dropped >= 2);
}

/// A member that is stopped keeps nobody else waiting, and once it runs again it gets what it missed.
/// Shows: lan-b
#[test]
fn a_member_that_does_not_read_holds_nobody_up() {
    let name = network("stopped");
    let (stopped, running) = (Member::start(&name, None), Member::start(&name, None));
    let me = host(Lan::join(&name, None).unwrap());
    asks(&me, stopped.address);
    let stream = me.connect((stopped.address, 7)).unwrap();
    stopped.signal(Signal::STOP);
    stream.set_nonblocking(true).unwrap();
    // More than the kernel queues for it.
    let until = Instant::now() + Duration::from_millis(500);
    let data = pattern(4 << 20);
    let mut sent = 0;
    while Instant::now() < until && sent < data.len() {
        match (&stream).write(&data[sent..]) {
            Ok(n) => sent += n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
    let began = Instant::now();
    for _ in 0..5 {
        asks(&me, running.address);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    stopped.signal(Signal::CONT);
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut back = vec![0; sent];
    (&stream).read_exact(&mut back).unwrap();
    assert!(back == data[..sent]);
}

/// Others must not be able to enter: a directory that they can is refused, with what to do.
/// Shows: lan-c
#[test]
fn a_directory_that_others_may_enter_is_refused() {
    const INSIDE: &str = "SOCKEYE_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let error = Lan::join("any", None).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        return assert!(error.to_string().contains("chmod 700"), "{error}");
    }
    use std::os::unix::fs::PermissionsExt;
    let runtime = std::env::temp_dir().join(format!("sockeye-test-{}", std::process::id()));
    let open = runtime.join("sockeye");
    std::fs::create_dir_all(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_directory_that_others_may_enter_is_refused"])
        .env(INSIDE, "1")
        .env("XDG_RUNTIME_DIR", &runtime)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    std::fs::remove_dir_all(&runtime).unwrap();
    assert!(status.success());
}

/// What a member says of itself, and that super-segments pass whole.
/// Shows: lan-a
#[test]
fn super_segments_pass_whole() {
    let name = network("whole");
    let (a, b) = (Lan::join(&name, None).unwrap(), Lan::join(&name, None).unwrap());
    assert_eq!((a.name(), a.capabilities().mtu, a.capabilities().gso_max), (&*name, 1_500, 65_535));
    let to = b.addresses().0;
    let (a, b) = (host(a), host(b));
    let listener = b.bind((to, 9)).unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
        all.len()
    });
    a.connect((to, 9)).unwrap().write_all(&pattern(8 << 20)).unwrap();
    assert_eq!(reader.join().unwrap(), 8 << 20);
    let stats = b.devices()[0].stats;
    assert!(stats.rx_packets * 1_500 < stats.rx_bytes / 2, "packets of much more than the MTU: {stats:?}");
}
