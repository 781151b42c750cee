//! Two processes on one `lan:NAME` against the kernel's loopback, in the same run: bulk, and question and answer, as ratios.
//!
//! `cargo bench -p sockeye --bench lan`

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Instant;

    use sockeye::Host;
    use sockeye::device::{Lan, lan};

    const SERVE: &str = "SOCKEYE_BENCH_LAN";
    const BULK: usize = 1 << 30;
    const QUESTIONS: usize = 5_000;

    fn member(name: &str) -> (Host, Ipv4Addr) {
        let lan = Lan::join(name, None).expect("a member");
        let address = lan.addresses().0;
        (Host::builder().device(lan).address(address, lan::PREFIXES.0).build().expect("a host"), address)
    }

    /// The other process: swallows on port 1, says back on port 2; the same on the kernel's loopback.
    fn serve(name: &str) {
        let (host, address) = member(name);
        let (sink, echo) =
            (host.bind((address, 1)).expect("port 1"), host.bind((address, 2)).expect("port 2"));
        let kernel = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a listener"));
        let ports = [0, 1].map(|n: usize| kernel[n].local_addr().expect("its port").port());
        println!("{address} {} {}", ports[0], ports[1]);
        let [kernel_sink, kernel_echo] = kernel;
        thread::spawn(move || sink.incoming().map_while(Result::ok).for_each(swallow));
        thread::spawn(move || echo.incoming().map_while(Result::ok).for_each(say_back));
        thread::spawn(move || kernel_sink.incoming().map_while(Result::ok).for_each(swallow));
        thread::spawn(move || kernel_echo.incoming().map_while(Result::ok).for_each(say_back));
        std::io::stdin().read_to_end(&mut Vec::new()).expect("the end of the bench");
        host.shutdown(std::time::Duration::from_millis(100));
    }

    fn swallow(mut stream: impl Read + Write) {
        let mut buffer = vec![0; 256 << 10];
        while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
        stream.write_all(&[1]).expect("the last byte");
    }

    fn say_back(mut stream: impl Read + Write) {
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() {
            stream.write_all(&bytes).expect("answering");
        }
    }

    fn bulk(mut stream: impl Read + Write, end: impl FnOnce()) -> f64 {
        let buffer = vec![7; 256 << 10];
        let began = Instant::now();
        (0..BULK / buffer.len()).for_each(|_| stream.write_all(&buffer).expect("writing"));
        end();
        stream.read_exact(&mut [0]).expect("the last byte");
        BULK as f64 * 8.0 / began.elapsed().as_secs_f64() / 1e9
    }

    fn questions(mut stream: impl Read + Write) -> f64 {
        let (began, mut bytes) = (Instant::now(), [1; 64]);
        for _ in 0..QUESTIONS {
            stream.write_all(&bytes).expect("asking");
            stream.read_exact(&mut bytes).expect("an answer");
        }
        QUESTIONS as f64 / began.elapsed().as_secs_f64()
    }

    fn median(values: &mut [f64]) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    pub(super) fn main() {
        if let Ok(name) = std::env::var(SERVE) {
            return serve(&name);
        }
        let name = format!("bench-{}", std::process::id());
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let child = command.env(SERVE, &name).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("another process");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its addresses");
        let mut words = line.split_whitespace();
        let address: Ipv4Addr = words.next().and_then(|word| word.parse().ok()).expect("its address");
        let ports: Vec<u16> = words.filter_map(|word| word.parse().ok()).collect();
        let (host, _) = member(&name);
        let mut rows = [("bulk, Gbit/s", [vec![], vec![]]), ("question and answer, /s", [vec![], vec![]])];
        for _ in 0..5 {
            let ours = host.connect((address, 1)).expect("a connection");
            rows[0].1[0].push(bulk(&ours, || ours.shutdown(std::net::Shutdown::Write).expect("a FIN")));
            let theirs = TcpStream::connect(("127.0.0.1", ports[0])).expect("a connection");
            rows[0].1[1].push(bulk(&theirs, || theirs.shutdown(std::net::Shutdown::Write).expect("a FIN")));
            rows[1].1[0].push(questions(host.connect((address, 2)).expect("a connection")));
            let theirs = TcpStream::connect(("127.0.0.1", ports[1])).expect("a connection");
            theirs.set_nodelay(true).expect("TCP_NODELAY");
            rows[1].1[1].push(questions(theirs));
        }
        println!("{:<28} {:>12} {:>12} {:>8}", "", "lan", "kernel", "ratio");
        for (name, [ours, theirs]) in &mut rows {
            let (ours, theirs) = (median(ours), median(theirs));
            println!("{name:<28} {ours:>12.2} {theirs:>12.2} {:>8.2}", ours / theirs);
        }
        println!("{:?}", host.devices()[0].stats);
        host.shutdown(std::time::Duration::from_millis(100));
        drop(child.stdin.take());
        child.wait().expect("the other process ends");
    }
}
