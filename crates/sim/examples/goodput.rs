//! Congestion control over bad links, in virtual time: goodput, the completion of short flows, fairness, queue delay.
//!
//! `cargo run --release -p sockeye-sim --example goodput -- [--json] [--seeds N] [--only PART]`, where PART is a part of a
//! link's text, or `goodput`, `short` or `fair`.

use std::time::Instant as Clock;

use sockeye_core::Duration;
use sockeye_core::config::CongestionKind;
use sockeye_sim::flows::{FlowSpec, Run, quantile};

const KINDS: [CongestionKind; 3] = [CongestionKind::Cubic, CongestionKind::Reno, CongestionKind::Bbr];

/// Link, seconds.
const GRID: [(&str, u64); 13] = [
    ("delay=25ms,rate=100mbit,queue=625kb", 30),
    ("delay=25ms,rate=100mbit,queue=625kb,up:loss=0.1%", 30),
    ("delay=25ms,rate=100mbit,queue=625kb,up:loss=1%", 30),
    ("delay=25ms,rate=100mbit,queue=625kb,up:loss=3%", 30),
    ("delay=25ms,rate=100mbit,queue=625kb,up:loss=1%,up:burst=4", 30),
    ("delay=25ms,rate=100mbit,queue=625kb,up:reorder=1%/5ms", 30),
    ("delay=100ms,rate=20mbit,queue=500kb,up:loss=1%", 30),
    ("delay=5ms,rate=500mbit,queue=625kb,up:loss=0.01%", 30),
    ("delay=5us,rate=10gbit,queue=1mb", 1),
    ("delay=50us,rate=1gbit,queue=256kb", 2),
    ("delay=5ms,rate=100mbit,queue=125kb", 10),
    ("delay=50ms,rate=1gbit,queue=12500kb", 10),
    ("delay=500ms,rate=100mbit,queue=12mb", 60),
];

struct Args {
    json: bool,
    seeds: u64,
    only: Option<String>,
}

impl Args {
    fn wants(&self, text: &str) -> bool {
        self.only.as_ref().is_none_or(|only| text.contains(only.as_str()))
    }
}

fn args() -> Args {
    let mut args = Args { json: false, seeds: 3, only: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => args.json = true,
            "--seeds" => args.seeds = words.next().and_then(|n| n.parse().ok()).unwrap_or(3),
            "--only" => args.only = words.next(),
            other => panic!("{other} is neither --json, --seeds N nor --only PART"),
        }
    }
    args
}

/// One line of the result: as a table's row, or as a JSON object.
fn row(json: bool, what: &str, kind: &str, link: &str, figures: &[(&str, f64)]) {
    if json {
        let figures: Vec<String> = figures.iter().map(|(name, n)| format!("\"{name}\":{n:.4}")).collect();
        println!("{{\"bench\":\"{what}\",\"cc\":\"{kind}\",\"link\":\"{link}\",{}}}", figures.join(","));
    } else {
        let figures: Vec<String> = figures.iter().map(|(name, n)| format!("{name} {n:9.2}")).collect();
        println!("{what:8} {kind:11} {}  {link}", figures.join("  "));
    }
}

/// Mbit/s of one flow, and the delay in the queue.
fn goodput(args: &Args) {
    for (link, secs) in GRID {
        for kind in KINDS {
            if !args.wants(link) && !args.wants("goodput") {
                continue;
            }
            let started = Clock::now();
            let (mut mbit, mut delay) = (Vec::new(), Vec::new());
            for seed in 1..=args.seeds {
                let run =
                    Run::new(link, vec![FlowSpec::endless(kind)], Duration::from_secs(secs), seed).run();
                mbit.push(run.flows[0].received as f64 * 8e-6 / secs as f64);
                delay.push(quantile(&run.queue_delays, 0.5) * 1e3);
            }
            let figures = [
                ("mbit", quantile(&mbit, 0.5)),
                ("min", quantile(&mbit, 0.0)),
                ("max", quantile(&mbit, 1.0)),
                ("queue_ms", quantile(&delay, 0.5)),
                ("wall_s", started.elapsed().as_secs_f64()),
            ];
            row(args.json, "goodput", kind.name(), link, &figures);
        }
    }
}

/// Milliseconds from connect to the last of 100 KB, over many seeds.
fn short_flows(args: &Args) {
    for loss in ["0%", "2%"] {
        for kind in KINDS {
            let link = format!("delay=25ms,rate=100mbit,queue=625kb,loss={loss}");
            if !args.wants(&link) && !args.wants("short") {
                continue;
            }
            let millis: Vec<f64> = (1..=args.seeds * 100)
                .map(|seed| {
                    let flow = FlowSpec { bytes: Some(100_000), ..FlowSpec::endless(kind) };
                    let run = Run::new(&link, vec![flow], Duration::from_secs(60), seed).run();
                    run.flows[0].completed.map_or(60_000.0, |t| t.as_secs_f64() * 1e3)
                })
                .collect();
            let q = |p| quantile(&millis, p);
            row(
                args.json,
                "100KB",
                kind.name(),
                &link,
                &[("median", q(0.5)), ("p90", q(0.9)), ("p99", q(0.99))],
            );
        }
    }
}

/// Jain's index, the share of the first flow, and the delay in the queue where flows share a link.
fn fairness(args: &Args) {
    use CongestionKind::{Bbr, Cubic, Reno};
    let mixes: [(&str, &[CongestionKind]); 11] = [
        ("2 cubic", &[Cubic; 2]),
        ("4 cubic", &[Cubic; 4]),
        ("8 cubic", &[Cubic; 8]),
        ("2 reno", &[Reno; 2]),
        ("8 reno", &[Reno; 8]),
        ("2 bbr", &[Bbr; 2]),
        ("4 bbr", &[Bbr; 4]),
        ("8 bbr", &[Bbr; 8]),
        ("bbr:cubic", &[Bbr, Cubic]),
        ("reno:cubic", &[Reno, Cubic]),
        ("bbr:3 cubic", &[Bbr, Cubic, Cubic, Cubic]),
    ];
    let link = "delay=25ms,rate=100mbit,queue=625kb";
    for (name, kinds) in mixes {
        if !args.wants("fair") && !args.wants(name) {
            continue;
        }
        let (mut jain, mut share, mut delay) = (Vec::new(), Vec::new(), Vec::new());
        for seed in 1..=args.seeds {
            let flow = |(i, &kind): (usize, &CongestionKind)| FlowSpec {
                starts: Duration::from_millis(100 * i as u64 + 7 * seed),
                ..FlowSpec::endless(kind)
            };
            let flows = kinds.iter().enumerate().map(flow).collect();
            let mut run = Run::new(link, flows, Duration::from_secs(60), seed);
            run.warm_up = Duration::from_secs(15);
            let result = run.run();
            let all: u64 = result.flows.iter().map(|f| f.received_late).sum();
            jain.push(result.jain());
            share.push(result.flows[0].received_late as f64 * kinds.len() as f64 / all as f64);
            delay.push(quantile(&result.queue_delays, 0.5) * 1e3);
        }
        let figures = [
            ("jain", quantile(&jain, 0.5)),
            ("worst", quantile(&jain, 0.0)),
            ("first", quantile(&share, 0.5)),
            ("queue_ms", quantile(&delay, 0.5)),
        ];
        row(args.json, "fair", name, link, &figures);
    }
}

fn main() {
    let args = args();
    goodput(&args);
    short_flows(&args);
    fairness(&args);
}
