//! A program's stack behind a forwarder against the kernel's loopback, in the same run: bulk each way, question and answer,
//! and connections, as ratios.
//!
//! `cargo bench -p sockeye --bench forward`

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
fn main() {
    use sockeye::device::{Memory, MemoryOptions};
    use sockeye::forward::{self, Forwarder, Target};

    let (inner, outer) = Memory::pair(MemoryOptions::default());
    let program = sockeye::Host::builder()
        .device(inner)
        .address([198, 18, 2, 15], 24)
        .gateway([198, 18, 2, 2])
        .build()
        .expect("a host on a link in memory");
    let outer = forward::host(outer).build().expect("a host on a link in memory");
    let forwarder = Forwarder::builder()
        .decide(|_, at| Target::Connect(SocketAddr::from(([127, 0, 0, 1], at.port()))))
        .build(&outer)
        .expect("a forwarder");
    let near = |port| program.connect(("198.18.2.2", port)).expect("a connection");
    let kernel = |port| {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream
    };
    println!("{:<28} {:>12} {:>12} {:>8}", "", "forwarded", "kernel", "ratio");
    let mut rows: Vec<(&str, Vec<f64>, Vec<f64>)> = Vec::new();
    let mut add = |name, ours, theirs| match rows.iter_mut().find(|row| row.0 == name) {
        Some(row) => {
            row.1.push(ours);
            row.2.push(theirs);
        }
        None => rows.push((name, vec![ours], vec![theirs])),
    };
    for _ in 0..5 {
        add("bulk out, Gbit/s", bulk_out(near), bulk_out(kernel));
        add("bulk in, Gbit/s", bulk_in(near), bulk_in(kernel));
        add("question and answer, /s", questions(near), questions(kernel));
        add("connections, /s", connections(near), connections(kernel));
    }
    for (name, ours, theirs) in &mut rows {
        let (ours, theirs) = (median(ours), median(theirs));
        println!("{name:<28} {ours:>12.2} {theirs:>12.2} {:>8.2}", ours / theirs);
    }
    println!("{:?}", forwarder.totals());
}

#[cfg(not(target_os = "linux"))]
fn main() {}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const BULK: usize = 1 << 30;
const QUESTIONS: usize = 5_000;
const CONNECTIONS: usize = 1_000;

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener on loopback");
    let port = listener.local_addr().expect("its port").port();
    (listener, port)
}

fn drain(mut from: impl Read) -> usize {
    let (mut buffer, mut total) = (vec![0; 256 << 10], 0);
    loop {
        match from.read(&mut buffer).expect("reading") {
            0 => return total,
            n => total += n,
        }
    }
}

fn fill(mut to: impl Write) {
    let buffer = vec![7; 256 << 10];
    (0..BULK / buffer.len()).for_each(|_| to.write_all(&buffer).expect("writing"));
}

fn gigabits(took: Duration) -> f64 {
    BULK as f64 * 8.0 / took.as_secs_f64() / 1e9
}

fn bulk_out<S: Write>(connect: impl Fn(u16) -> S) -> f64 {
    let (listener, port) = listen();
    let reader = thread::spawn(move || drain(listener.accept().expect("a connection").0));
    let stream = connect(port);
    let began = Instant::now();
    fill(stream);
    assert_eq!(reader.join().expect("the reader"), BULK);
    gigabits(began.elapsed())
}

fn bulk_in<S: Read>(connect: impl Fn(u16) -> S) -> f64 {
    let (listener, port) = listen();
    let writer = thread::spawn(move || fill(listener.accept().expect("a connection").0));
    let stream = connect(port);
    let began = Instant::now();
    assert_eq!(drain(stream), BULK);
    writer.join().expect("the writer");
    gigabits(began.elapsed())
}

fn questions<S: Read + Write>(connect: impl Fn(u16) -> S) -> f64 {
    let (listener, port) = listen();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() {
            stream.write_all(&bytes).expect("answering");
        }
    });
    let mut stream = connect(port);
    let (began, mut bytes) = (Instant::now(), [1; 64]);
    for _ in 0..QUESTIONS {
        stream.write_all(&bytes).expect("asking");
        stream.read_exact(&mut bytes).expect("an answer");
    }
    let rate = QUESTIONS as f64 / began.elapsed().as_secs_f64();
    drop(stream);
    server.join().expect("the server");
    rate
}

fn connections<S: Read + Write>(connect: impl Fn(u16) -> S) -> f64 {
    let (listener, port) = listen();
    let server = thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a byte");
            stream.write_all(&byte).expect("answering");
        }
    });
    let began = Instant::now();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(port);
        stream.write_all(&[1]).expect("asking");
        stream.read_exact(&mut [0]).expect("an answer");
    }
    let rate = CONNECTIONS as f64 / began.elapsed().as_secs_f64();
    server.join().expect("the server");
    rate
}
