//! Two hosts in this process, joined in memory: `cargo bench -p sockeye --bench memory [-- [RUNS] [bulk|rr|crr ...]]`.
//!
//! Each line is one run: the rate, and CPU seconds (user and system, all threads) of both ends. Programs and hosts
//! are as they are used: a thread for each end, blocking calls.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Instant;

use sockeye::Host;

/// Bytes of a bulk transfer, and of a call.
const SIZE: usize = 2 << 30;
const CALL: usize = 256 << 10;
const ROUNDS: u32 = 100_000;
const CONNECTIONS: u32 = 20_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let runs = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(3);
    let named: Vec<&str> =
        args.iter().map(String::as_str).filter(|arg| arg.parse::<u32>().is_err()).collect();
    for _ in 0..runs {
        for (name, run) in [("bulk", bulk as fn()), ("rr", rounds), ("crr", connections)] {
            if named.is_empty() || named.contains(&name) {
                run();
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(target_os = "linux"))]
fn cpu() -> f64 {
    f64::NAN
}

fn bulk() {
    let (a, b) = Host::pair().unwrap();
    let listener = b.bind("192.0.2.2:80").unwrap();
    let (began, spent) = (Instant::now(), cpu());
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut out, mut total) = (vec![0; CALL], 0);
        loop {
            match stream.read(&mut out).unwrap() {
                0 => return total,
                n => total += n,
            }
        }
    });
    let mut stream = a.connect("192.0.2.2:80").unwrap();
    let data = vec![7; CALL];
    for _ in 0..SIZE / CALL {
        stream.write_all(&data).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reader.join().unwrap(), SIZE);
    let (took, spent) = (began.elapsed().as_secs_f64(), cpu() - spent);
    println!(
        "bulk {:.1} Gbit/s, {:.3} CPU s/GiB, again {}",
        SIZE as f64 * 8e-9 / took,
        spent / (SIZE >> 30) as f64,
        a.stats().retrans_segs
    );
}

fn rounds() {
    let (a, b) = Host::pair().unwrap();
    let listener = b.bind("192.0.2.2:80").unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 {
            stream.write_all(&byte).unwrap();
        }
    });
    let mut stream = a.connect("192.0.2.2:80").unwrap();
    let (began, spent) = (Instant::now(), cpu());
    let mut byte = [1];
    for _ in 0..ROUNDS {
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
    }
    report("rr", ROUNDS, began, spent);
    drop(stream);
    server.join().unwrap();
}

fn connections() {
    let (a, b) = Host::pair().unwrap();
    let listener = b.bind("192.0.2.2:80").unwrap();
    let server = thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 64];
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        }
    });
    let (began, spent) = (Instant::now(), cpu());
    for _ in 0..CONNECTIONS {
        let mut stream = a.connect("192.0.2.2:80").unwrap();
        stream.write_all(&[1; 64]).unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
    }
    server.join().unwrap();
    report("crr", CONNECTIONS, began, spent);
}

fn report(name: &str, count: u32, began: Instant, spent: f64) {
    let (took, spent) = (began.elapsed().as_secs_f64(), cpu() - spent);
    println!(
        "{name} {:.0} a second, {:.2} us of CPU each",
        f64::from(count) / took,
        spent / f64::from(count) * 1e6
    );
}
