//! The benches, and the namespaces that they run in.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use sockeye::Host;
use sockeye::core::tcp::Why;
use sockeye::core::trace::What;
use sockeye::device::{Tun, TunOptions};

const KERNEL: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 9, 1));
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 9, 2));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 8, 2));
const INSIDE: &str = "SOCKEYE_BENCH_NAMESPACE";
/// Bytes a call.
const CALL: usize = 256 << 10;
/// Round trips, and connections, of one run.
const ROUNDS: u32 = 20_000;
const CONNECTIONS: u32 = 5_000;

pub fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if args.first().is_some_and(|arg| arg == "far") {
        return far_end();
    }
    if std::env::var_os(INSIDE).is_none() {
        return enter(&args);
    }
    let numbers: Vec<u64> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let (size, runs) = (numbers.first().unwrap_or(&1) << 30, numbers.get(1).copied().unwrap_or(3));
    let named: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| arg.parse::<u64>().is_err() && *arg != "trace")
        .collect();
    let wanted = |name: &str| named.is_empty() || named.contains(&name);
    let options = TunOptions { host_addresses: vec![(KERNEL, 24)], ..TunOptions::new("sky0") };
    let host = Host::builder().device(Tun::open(&options).unwrap()).address(OURS, 24).build().unwrap();
    let trace = args.iter().any(|arg| arg == "trace");
    for _ in 0..runs {
        if wanted("up") {
            bulk("up", size, &host, trace, || up(&host, size));
        }
        if wanted("down") {
            bulk("down", size, &host, trace, || down(&host, size));
        }
        if wanted("rr") {
            rounds(&host);
        }
        if wanted("crr") {
            connections(&host);
        }
        if wanted("veth") {
            veth(size);
        }
    }
}

/// Runs this program again in a network namespace of its own.
fn enter(args: &[String]) {
    let made = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|status| status.success());
    let flags: &[&str] = if made { &["-n"] } else { &["-U", "-r", "-n"] };
    let possible =
        made || Command::new("unshare").args(flags).arg("true").status().is_ok_and(|status| status.success());
    if !possible || !std::path::Path::new("/dev/net/tun").exists() {
        return println!("skipped: no permission for a network namespace, or no /dev/net/tun");
    }
    let program = std::env::current_exe().expect("a program knows its own path");
    let status = Command::new("unshare").args(flags).arg(program).args(args).env(INSIDE, "1").status();
    assert!(status.expect("unshare ran a moment ago").success(), "the benches failed in their namespace");
}

fn cpu(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn thread_cpu() -> f64 {
    cpu(ClockId::ThreadCPUTime)
}

/// One transfer: `transfer` gives the seconds of CPU of the kernel's user.
fn bulk(name: &str, size: u64, host: &Host, trace: bool, transfer: impl FnOnce() -> f64) {
    let (before, stats) = (host.devices()[0].stats, host.stats());
    let records = trace.then(|| host.records(1 << 22));
    let (began, spent) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
    let peer = transfer();
    let (took, spent) = (began.elapsed().as_secs_f64(), cpu(ClockId::ProcessCPUTime) - spent);
    let (after, now) = (host.devices()[0].stats, host.stats());
    let gib = size as f64 / (1u64 << 30) as f64;
    let mean = |bytes: u64, packets: u64| bytes / packets.max(1);
    println!(
        "{name:5} {:5.1} Gbit/s  CPU s/GiB {:.3} (peer {:.3}, ours {:.3})  sent {} of {} B, received {} of {} B, \
         again {}, dropped {}",
        size as f64 * 8e-9 / took,
        spent / gib,
        peer / gib,
        (spent - peer) / gib,
        after.tx_packets - before.tx_packets,
        mean(after.tx_bytes - before.tx_bytes, after.tx_packets - before.tx_packets),
        after.rx_packets - before.rx_packets,
        mean(after.rx_bytes - before.rx_bytes, after.rx_packets - before.rx_packets),
        now.retrans_segs - stats.retrans_segs,
        after.tx_dropped - before.tx_dropped,
    );
    if let Some(records) = records {
        let mut last = 0;
        while let Some(record) = records.try_next() {
            if let What::Sent { header, len, why, .. } = &record.what
                && (why.is_retransmission() || *why == Why::Tlp)
            {
                println!(
                    "  {:.6} sent again {why:?}: {} + {len}",
                    record.at.as_nanos() as f64 * 1e-9,
                    header.seq.0
                );
            }
            last = record.at.as_nanos();
        }
        println!("  last record at {:.6}", last as f64 * 1e-9);
    }
}

/// The kernel sends.
fn up(host: &Host, size: u64) -> f64 {
    let listener = host.bind((OURS, 80)).unwrap();
    let writer = thread::spawn(move || {
        let client = std::net::TcpStream::connect((OURS, 80)).unwrap();
        write_all(client, size)
    });
    let (server, _) = listener.accept().unwrap();
    assert_eq!(read_all(&server), size);
    writer.join().unwrap()
}

/// We send.
fn down(host: &Host, size: u64) -> f64 {
    let listener = host.bind((OURS, 80)).unwrap();
    let reader = thread::spawn(move || {
        let client = std::net::TcpStream::connect((OURS, 80)).unwrap();
        assert_eq!(read_all(&client), size);
        thread_cpu()
    });
    let (mut server, _) = listener.accept().unwrap();
    let data = vec![7; CALL];
    for _ in 0..size / CALL as u64 {
        server.write_all(&data).unwrap();
    }
    drop(server);
    reader.join().unwrap()
}

fn write_all(mut stream: std::net::TcpStream, size: u64) -> f64 {
    let data = vec![7; CALL];
    for _ in 0..size / CALL as u64 {
        stream.write_all(&data).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    thread_cpu()
}

fn read_all(mut stream: impl Read) -> u64 {
    let (mut out, mut total) = (vec![0; CALL], 0);
    loop {
        match stream.read(&mut out).unwrap() {
            0 => return total,
            n => total += n as u64,
        }
    }
}

/// A byte there, a byte back; the kernel asks.
fn rounds(host: &Host) {
    let listener = host.bind((OURS, 80)).unwrap();
    let client = thread::spawn(move || {
        let mut client = std::net::TcpStream::connect((OURS, 80)).unwrap();
        client.set_nodelay(true).unwrap();
        let mut byte = [1];
        for _ in 0..ROUNDS {
            client.write_all(&byte).unwrap();
            client.read_exact(&mut byte).unwrap();
        }
    });
    let (server, _) = listener.accept().unwrap();
    server.set_nodelay(true).unwrap();
    let (began, spent) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
    let mut byte = [0];
    while (&server).read(&mut byte).unwrap() == 1 {
        (&server).write_all(&byte).unwrap();
    }
    client.join().unwrap();
    report_count("rr", "round trips", ROUNDS, began, spent);
}

/// Connect, 64 bytes each way, close; the kernel is the client.
fn connections(host: &Host) {
    let listener = host.bind((OURS, 80)).unwrap();
    let client = thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            let mut client = std::net::TcpStream::connect((OURS, 80)).unwrap();
            client.write_all(&[1; 64]).unwrap();
            client.read_exact(&mut [0; 64]).unwrap();
        }
    });
    let (began, spent) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
    for _ in 0..CONNECTIONS {
        let (mut server, _) = listener.accept().unwrap();
        let mut bytes = [0; 64];
        server.read_exact(&mut bytes).unwrap();
        server.write_all(&bytes).unwrap();
    }
    client.join().unwrap();
    report_count("crr", "connections", CONNECTIONS, began, spent);
}

fn report_count(name: &str, what: &str, count: u32, began: Instant, spent: f64) {
    let (took, spent) = (began.elapsed().as_secs_f64(), cpu(ClockId::ProcessCPUTime) - spent);
    let (rate, each) = (f64::from(count) / took, spent / f64::from(count) * 1e6);
    println!("{name:5} {rate:.0} {what} a second, {each:.1} us of CPU each");
}

/// The kernel with itself, over veth, the far end in a namespace of its own.
fn veth(size: u64) {
    let program = std::env::current_exe().expect("a program knows its own path");
    let mut far = Command::new("unshare")
        .args(["-n"])
        .arg(program)
        .args(["far", &size.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (far.stdin.take().unwrap(), far.stdout.take().unwrap());
    let ready = |output: &mut std::process::ChildStdout| output.read_exact(&mut [0; 1]).unwrap();
    ready(&mut output);
    let pid = far.id().to_string();
    ip(&["link", "add", "ve0", "type", "veth", "peer", "name", "ve1", "netns", &pid]);
    ip(&["addr", "add", "198.18.8.1/24", "dev", "ve0"]);
    ip(&["link", "set", "ve0", "up"]);
    input.write_all(b"1").unwrap();
    ready(&mut output);
    let stream = std::net::TcpStream::connect(SocketAddr::new(FAR, 80)).unwrap();
    let (began, spent) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
    write_all(stream, size);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let (took, spent) = (began.elapsed().as_secs_f64(), cpu(ClockId::ProcessCPUTime) - spent);
    far.wait().unwrap();
    let (gib, theirs) = (size as f64 / (1u64 << 30) as f64, text.trim().parse::<f64>().unwrap_or(f64::NAN));
    println!(
        "veth  {:5.1} Gbit/s  CPU s/GiB {:.3} (without softirqs)",
        size as f64 * 8e-9 / took,
        (spent + theirs) / gib
    );
    // It goes with the far namespace, which may take a moment or be over.
    let _ = Command::new("ip").args(["link", "del", "ve0"]).stderr(Stdio::null()).status();
}

fn far_end() {
    let say = || {
        print!("1");
        std::io::stdout().flush().unwrap();
    };
    say();
    std::io::stdin().read_exact(&mut [0; 1]).unwrap();
    ip(&["addr", "add", "198.18.8.2/24", "dev", "ve1"]);
    ip(&["link", "set", "ve1", "up"]);
    let listener = std::net::TcpListener::bind((FAR, 80)).unwrap();
    say();
    let (stream, _) = listener.accept().unwrap();
    read_all(&stream);
    println!("{}", cpu(ClockId::ProcessCPUTime));
}

fn ip(args: &[&str]) {
    assert!(Command::new("ip").args(args).status().is_ok_and(|status| status.success()), "ip {args:?}");
}
