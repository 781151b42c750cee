//! `sockeye bench run`: the same programs over the kernel's loopback, over `sockeye run`, and over what people use instead.

mod ways;

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::out::{Out, Stream};
use ways::{Server, Way};

/// What a server has to be there within, and a client beyond its own time.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub struct RunBenchArgs {
    /// Seconds of each single measurement
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub seconds: u32,
    /// Measurements of each figure; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub repeats: u32,
    /// Only figures or ways whose names contain this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// The table as JSON
    #[arg(long)]
    pub json: bool,
}

/// One figure: a server of the kernel's, and a client that is run over each way.
struct Figure {
    name: &'static str,
    unit: &'static str,
    programs: &'static [&'static str],
    server: fn(u16, &std::path::Path) -> Vec<String>,
    client: fn(&str, u16, u32) -> Vec<String>,
    /// The figure in what the client prints.
    read: fn(&str) -> Option<f64>,
}

const FIGURES: &[Figure] = &[
    Figure {
        name: "bulk out",
        unit: "Gbit/s",
        programs: &["iperf3"],
        server: |port, _| words(&["iperf3", "-s", "-p", &port.to_string()]),
        client: |host, port, seconds| iperf3(host, port, seconds, &[]),
        read: iperf3_rate,
    },
    Figure {
        name: "bulk in",
        unit: "Gbit/s",
        programs: &["iperf3"],
        server: |port, _| words(&["iperf3", "-s", "-p", &port.to_string()]),
        client: |host, port, seconds| iperf3(host, port, seconds, &["-R"]),
        read: iperf3_rate,
    },
    Figure {
        name: "requests, kept alive",
        unit: "1/s",
        programs: &["nginx", "wrk"],
        server: nginx,
        client: |host, port, seconds| wrk(host, port, seconds, &[]),
        read: wrk_rate,
    },
    Figure {
        name: "requests, a connection each",
        unit: "1/s",
        programs: &["nginx", "wrk"],
        server: nginx,
        client: |host, port, seconds| wrk(host, port, seconds, &["-H", "Connection: close"]),
        read: wrk_rate,
    },
    Figure {
        name: "redis, one at a time",
        unit: "1/s",
        programs: &["redis-server", "redis-benchmark"],
        server: redis,
        client: |host, port, seconds| redis_benchmark(host, port, 1, 8_000 * seconds),
        read: redis_rate,
    },
    Figure {
        name: "redis, 50 at a time",
        unit: "1/s",
        programs: &["redis-server", "redis-benchmark"],
        server: redis,
        client: |host, port, seconds| redis_benchmark(host, port, 50, 30_000 * seconds),
        read: redis_rate,
    },
];

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn iperf3(host: &str, port: u16, seconds: u32, options: &[&str]) -> Vec<String> {
    let (port, seconds) = (port.to_string(), seconds.to_string());
    words(&[&["iperf3", "-c", host, "-p", &port, "-t", &seconds, "--json"], options].concat())
}

fn iperf3_rate(text: &str) -> Option<f64> {
    let result: Value = serde_json::from_str(text).ok()?;
    Some(result["end"]["sum_received"]["bits_per_second"].as_f64()? / 1e9)
}

fn nginx(port: u16, folder: &std::path::Path) -> Vec<String> {
    let dir = folder.display();
    let conf = format!(
        "worker_processes 1; daemon off; pid {dir}/pid; error_log {dir}/errors;
         events {{ worker_connections 512; }}
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
           client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
           uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
           server {{ listen 127.0.0.1:{port}; root {dir}; }} }}"
    );
    // What cannot be written shows as a server that does not answer.
    let _ = std::fs::write(folder.join("conf"), conf);
    let _ = std::fs::write(folder.join("file"), [b'x'; 1_000]);
    words(&["nginx", "-c", &format!("{dir}/conf")])
}

fn wrk(host: &str, port: u16, seconds: u32, options: &[&str]) -> Vec<String> {
    let (url, time) = (format!("http://{host}:{port}/file"), format!("{seconds}s"));
    words(&[&["wrk", "-t", "1", "-c", "32", "-d", &time], options, &[&url]].concat())
}

fn wrk_rate(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?.trim().parse().ok()
}

fn redis(port: u16, _folder: &std::path::Path) -> Vec<String> {
    let port = port.to_string();
    words(&["redis-server", "--port", &port, "--save", "", "--appendonly", "no", "--logfile", "/dev/null"])
}

fn redis_benchmark(host: &str, port: u16, clients: u32, requests: u32) -> Vec<String> {
    let (port, clients, requests) = (port.to_string(), clients.to_string(), requests.to_string());
    words(&[
        "redis-benchmark",
        "-h",
        host,
        "-p",
        &port,
        "-c",
        &clients,
        "-n",
        &requests,
        "-t",
        "get",
        "--csv",
    ])
}

/// The first figure of the line for GET.
fn redis_rate(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("\"GET\""))?;
    line.split(',').nth(1)?.trim_matches('"').parse().ok()
}

/// A figure over a way: the median, or why there is none.
type Measured = Result<f64, String>;

pub fn run(args: &RunBenchArgs) -> Outcome {
    let folder = std::env::temp_dir().join(format!("sockeye-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).map_err(|error| Failure::io("cannot make a temporary folder", &error))?;
    let result = measure_all(args, &folder);
    // It is ours, and what is in it too.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn measure_all(args: &RunBenchArgs, folder: &std::path::Path) -> Outcome {
    let out = Out::new(Stream::Stdout, args.json);
    let is_wanted = |figure: &Figure, way: &Way| {
        args.only.as_ref().is_none_or(|only| figure.name.contains(only) || way.name().contains(only))
    };
    let ways = Way::all();
    let bar = ProgressBar::new(FIGURES.len() as u64 * u64::from(args.repeats) * ways.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    for figure in FIGURES {
        let mut row: Vec<(&Way, Vec<Measured>)> = ways.iter().map(|way| (way, Vec::new())).collect();
        // In turns: a machine that slows down slows all of them.
        for _ in 0..args.repeats {
            for (way, measured) in &mut row {
                bar.set_message(format!("{}, {}", figure.name, way.name()));
                // The kernel's loopback is what all are compared with.
                if matches!(way, Way::Kernel) || is_wanted(figure, way) {
                    measured.push(measure(figure, way, args.seconds, folder));
                }
                bar.inc(1);
            }
        }
        let row: Vec<(&Way, Measured)> =
            row.into_iter().filter(|(_, all)| !all.is_empty()).map(|(way, all)| (way, median(all))).collect();
        if row.len() > 1 || args.only.is_none() {
            bar.suspend(|| tell(&out, figure, &row));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn median(all: Vec<Measured>) -> Measured {
    let (mut good, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    if good.is_empty() {
        return bad.into_iter().next().unwrap_or_else(|| Err("not measured".to_owned()));
    }
    good.sort_by(|a, b| a.as_ref().unwrap_or(&0.0).total_cmp(b.as_ref().unwrap_or(&0.0)));
    good.swap_remove(good.len() / 2)
}

fn tell(out: &Out, figure: &Figure, row: &[(&Way, Measured)]) {
    let of =
        |wanted: &str| row.iter().find(|(way, _)| way.name() == wanted).and_then(|(_, m)| m.clone().ok());
    let (kernel, slirp) = (of("kernel loopback"), of("slirp4netns"));
    for (way, measured) in row {
        let value = measured.as_ref().ok();
        let ratio = |to: Option<f64>| value.zip(to).map(|(a, b)| a / b);
        out.record(&json!({
            "figure": figure.name, "unit": figure.unit, "way": way.name(), "value": value,
            "to_kernel": ratio(kernel), "to_slirp4netns": ratio(slirp), "why_not": measured.as_ref().err(),
        }));
        let shown = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        match measured {
            Ok(value) => out.say(&format!(
                "{:28} {:16} {:>10.1} {:7} {:>5} of the kernel's, {:>5} of slirp4netns'",
                figure.name,
                way.name(),
                value,
                figure.unit,
                shown(ratio(kernel)),
                shown(ratio(slirp))
            )),
            Err(why) => out.say(&format!("{:28} {:16} {why}", figure.name, way.name())),
        }
    }
}

fn measure(figure: &Figure, way: &Way, seconds: u32, folder: &std::path::Path) -> Measured {
    for program in figure.programs.iter().chain(way.needs()) {
        if ways::find(program).is_none() {
            return Err(format!("`{program}` is not installed"));
        }
    }
    let port = free_port().ok_or("no port is free")?;
    let server = way.start((figure.server)(port, folder))?;
    wait_for(&server, way, port)?;
    let client = way.client(&(figure.client)(way.host(), port, seconds), port);
    let text = output(client, Duration::from_secs(u64::from(seconds)) * 10 + PATIENCE)?;
    (figure.read)(&text).ok_or_else(|| {
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        format!("the client said: {last}")
    })
}

fn free_port() -> Option<u16> {
    Some(TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port())
}

/// A server of the kernel's is asked; one on a lan has a moment.
fn wait_for(server: &Server, way: &Way, port: u16) -> Result<(), String> {
    if matches!(way, Way::Lan(_)) {
        thread::sleep(Duration::from_millis(700));
        return Ok(());
    }
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} does not answer", server.what()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    // iperf3 takes the look for a test of its own.
    thread::sleep(Duration::from_millis(200));
    Ok(())
}

/// What a command prints on standard output.
fn output(mut command: Command, patience: Duration) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let pipe = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        // What is not text is no figure.
        let _ = pipe.map(|mut pipe| pipe.read_to_string(&mut text));
        text
    });
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > patience {
            end(child);
            return Err(format!("not done in {} s", patience.as_secs()));
        }
        thread::sleep(Duration::from_millis(5));
    }
    reader.join().map_err(|_| "what it printed could not be read".to_owned())
}

/// Ends a child and what it has started.
fn end(mut child: Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    for _ in 0..100 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}
