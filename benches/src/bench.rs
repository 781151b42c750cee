//! `cargo bench -p sockeye-bench -- [NAME] [--json] [--quick] [--only sockeye|smoltcp]`

use std::process::Command;

use clap::{Parser, ValueEnum};
use sockeye_bench::ours::Sockeye;
use sockeye_bench::pair::TimeWait;
use sockeye_bench::report::{Case, Maker, Row, Sampler};
use sockeye_bench::smol::Smoltcp;
use sockeye_bench::work::{Bulk, Crr, Rr, Spread, rate};
use sockeye_bench::{Pair, Setup};

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Sockeye,
    Smoltcp,
}

/// Sockeye and smoltcp in the same run, in CPU time of one thread.
#[derive(Parser)]
struct Args {
    /// bulk_mem, rr_mem, crr_mem, scale or bytes; all without it.
    name: Option<String>,
    /// One JSON object for each case instead of a table.
    #[arg(long)]
    json: bool,
    /// Fewer and shorter samples; TIME-WAIT in virtual time ten times as fast.
    #[arg(long)]
    quick: bool,
    /// One stack alone.
    #[arg(long)]
    only: Option<Only>,
    /// Samples of each case.
    #[arg(long)]
    repeats: Option<usize>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How long samples are.
#[derive(Clone, Copy)]
struct Size {
    budget: u64,
    pace: u64,
    most_idle: usize,
}

fn main() {
    let args = Args::parse();
    let repeats = args.repeats.unwrap_or(if args.quick { 5 } else { 9 });
    let size = if args.quick {
        Size { budget: 40_000_000, pace: 10, most_idle: 100_000 }
    } else {
        Size { budget: 200_000_000, pace: 1, most_idle: 1_000_000 }
    };
    let mut cases = bulk(size);
    cases.extend(rr(size));
    cases.extend(crr(size));
    cases.extend(scale(size));
    if !args.json {
        println!("{}", Row::heading());
    }
    for mut case in cases {
        if args.name.as_ref().is_some_and(|name| name != case.bench) {
            continue;
        }
        match args.only {
            Some(Only::Sockeye) => case.theirs = None,
            Some(Only::Smoltcp) => case.ours = None,
            None => {}
        }
        if case.ours.is_none() && case.theirs.is_none() {
            continue;
        }
        let row = case.run(repeats);
        if args.json { println!("{}", row.json()) } else { println!("{}", row.line()) }
    }
    if args.name.as_deref().is_none_or(|name| name == "bytes" || name == "scale") {
        bytes(&args, size);
    }
}

/// The same bench over both stacks.
macro_rules! both {
    ($case:expr, $make:ident ( $($arg:expr),* )) => {{
        let mut case: Case = $case;
        case.ours = Some(maker(move || $make::<Sockeye>($($arg),*)));
        case.theirs = Some(maker(move || $make::<Smoltcp>($($arg),*)));
        case
    }};
}

fn maker(make: impl Fn() -> Sampler + 'static) -> Maker {
    Box::new(make)
}

fn case(bench: &'static str, name: impl Into<String>, unit: &'static str, less: bool) -> Case {
    Case { bench, name: name.into(), unit, less, ours: None, theirs: None }
}

fn bulk_sampler<P: Pair + 'static>(setup: Setup, in_place: bool, size: Size) -> Sampler {
    let mut bulk = Bulk::<P>::new(&setup, 0, in_place);
    Box::new(move || rate(size.budget, || bulk.transfer(MIB, false) as u64) * 8.0 / 1e9)
}

fn bulk(size: Size) -> Vec<Case> {
    let mut cases = Vec::new();
    let new = |name: String| case("bulk_mem", name, "Gbit/s", false);
    for (buffer, label) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB"), (4 * MIB, "4 MiB")] {
        let setup = Setup { buffer, ..Setup::default() };
        cases.push(both!(new(format!("copy, checksum, {label}")), bulk_sampler(setup, false, size)));
    }
    for (buffer, label) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB")] {
        let setup = Setup { buffer, checksums: false, ..Setup::default() };
        cases.push(both!(new(format!("no copy, no checksum, {label}")), bulk_sampler(setup, true, size)));
    }
    let gso = Setup { buffer: MIB, checksums: false, gso: 65_535, ..Setup::default() };
    cases.push(both!(new("super-segments, copy".into()), bulk_sampler(gso, false, size)));
    cases.push(both!(new("super-segments, no copy".into()), bulk_sampler(gso, true, size)));
    cases
}

fn rr_sampler<P: Pair + 'static>(size: Size) -> Sampler {
    let mut rr = Rr::<P>::new(&Setup::default());
    Box::new(move || {
        rate(size.budget, || {
            for _ in 0..1_000 {
                rr.round_trip();
            }
            1_000
        })
    })
}

fn rr(size: Size) -> Vec<Case> {
    vec![both!(case("rr_mem", "1 byte", "round trips/s", false), rr_sampler(size))]
}

fn crr_sampler<P: Pair + 'static>(time_wait: TimeWait, size: Size) -> Sampler {
    let setup = Setup { buffer: 4 * KIB, time_wait, ..Setup::default() };
    let mut crr = Crr::<P>::new(&setup, size.pace);
    if time_wait == TimeWait::Keep {
        crr.fill();
    }
    Box::new(move || rate(size.budget, || crr.some()))
}

fn crr(size: Size) -> Vec<Case> {
    let new = |name| case("crr_mem", name, "connections/s", false);
    let kept = if size.pace == 1 { "TIME-WAIT kept 10 s" } else { "TIME-WAIT kept 10 s, clock x 10" };
    vec![
        both!(new(kept), crr_sampler(TimeWait::Keep, size)),
        both!(new("TIME-WAIT thrown away"), crr_sampler(TimeWait::Throw, size)),
    ]
}

fn scale_sampler<P: Pair + 'static>(idle: usize, size: Size) -> Sampler {
    let setup = Setup { buffer: 64 * KIB, ..Setup::default() };
    let mut bulk = Bulk::<P>::new(&setup, idle, false);
    Box::new(move || bulk.segment_nanos(size.budget, 64 * KIB))
}

fn spread_sampler<P: Pair + 'static>(connections: usize, size: Size) -> Sampler {
    let setup = Setup { buffer: 2 * KIB, ..Setup::default() };
    let mut spread = Spread::<P>::new(&setup, connections);
    Box::new(move || 1e9 / rate(size.budget, || spread.batch()))
}

fn scale(size: Size) -> Vec<Case> {
    let mut cases = Vec::new();
    for idle in [0, 100, 1_000, 10_000, 100_000, 1_000_000] {
        let mut case = both!(
            case("scale", format!("one busy, {idle} idle"), "ns/segment", true),
            scale_sampler(idle, size)
        );
        if idle > 10_000 {
            case.theirs = None;
        }
        if idle <= size.most_idle {
            cases.push(case);
        }
    }
    for connections in [1_000, 10_000, 100_000, 1_000_000] {
        let name = format!("{connections} busy in turn");
        let mut case = both!(case("scale", name, "ns/segment", true), spread_sampler(connections, size));
        if connections > 1_000 {
            case.theirs = None;
        }
        if connections <= size.most_idle {
            cases.push(case);
        }
    }
    cases
}

/// Memory is counted in a process of its own, so that counting costs the other benches nothing.
fn bytes(args: &Args, size: Size) {
    for connections in [100, 1_000, 10_000, 100_000, 1_000_000] {
        if connections > size.most_idle {
            continue;
        }
        let count = |stack: &str| {
            let out =
                Command::new(env!("CARGO_BIN_EXE_memory")).args([stack, &connections.to_string()]).output();
            let out = out.expect("the program beside this one starts");
            assert!(
                out.status.success(),
                "counting {stack}'s bytes: {}",
                String::from_utf8_lossy(&out.stderr)
            );
            String::from_utf8_lossy(&out.stdout).trim().parse::<f64>().expect("a number")
        };
        let mut case = case("bytes", format!("{connections} idle established"), "B/connection", true);
        if args.only != Some(Only::Smoltcp) {
            let ours = count("sockeye");
            case.ours = Some(maker(move || Box::new(move || ours)));
        }
        if args.only != Some(Only::Sockeye) && connections <= 10_000 {
            let theirs = count("smoltcp");
            case.theirs = Some(maker(move || Box::new(move || theirs)));
        }
        if case.ours.is_none() && case.theirs.is_none() {
            continue;
        }
        let row = case.run(1);
        if args.json { println!("{}", row.json()) } else { println!("{}", row.line()) }
    }
}
