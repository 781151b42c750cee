//! A few points of the grid in real time, the kernel's TCP and ours side by side over the same link.
//!
//! Both ends of each run are the kernel's or ours: kernel to kernel is what the others are held against. All four meet the same
//! seed, so that the n-th segment of the wire has the same luck whoever sends it.

mod flow;
mod lab;

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sockeye::core::link::LinkSpec;
use sockeye_sim::flows::{jain, quantile};

use super::LossArgs;
use super::report::{Spread, rounded};
use crate::failure::{Code, Failure, Outcome};
use crate::out::{Out, Stream};
use flow::{Done, Flow};
use lab::{Party, Whose, Wire};

/// The points of the grid.
const PATHS: [&str; 6] = [
    "delay=25ms,rate=100mbit,queue=625kb",
    "delay=25ms,rate=100mbit,queue=625kb,up:loss=1%",
    "delay=25ms,rate=100mbit,queue=625kb,up:loss=1%,up:burst=4",
    "delay=25ms,rate=100mbit,queue=625kb,up:reorder=1%/5ms",
    "delay=100ms,rate=20mbit,queue=500kb,up:loss=1%",
    MARKING_PATH,
];
const KINDS: [&str; 3] = ["cubic", "reno", "bbr"];
/// Sender and receiver.
const PAIRS: [(Whose, Whose); 4] = [
    (Whose::Kernel, Whose::Kernel),
    (Whose::Ours, Whose::Ours),
    (Whose::Ours, Whose::Kernel),
    (Whose::Kernel, Whose::Ours),
];
const SHORT_PATHS: [&str; 2] =
    ["delay=25ms,rate=100mbit,queue=625kb", "delay=25ms,rate=100mbit,queue=625kb,loss=2%"];
/// Short flows of one run, one after another.
const SHORT_FLOWS: usize = 25;
/// A queue that marks early, with ECN asked for by both: the kernel's four pairs, and DCTCP, which this kernel may not have.
const MARKING_PATH: &str = "delay=5ms,rate=100mbit,queue=250kb,mark=60kb";
/// To one receiver of the kernel's: so many flows of a kind, whose share is told, and as many of the kernel's cubic.
const MIXES: [(usize, Whose, &str); 10] = [
    (1, Whose::Kernel, "cubic"),
    (1, Whose::Ours, "cubic"),
    (1, Whose::Kernel, "reno"),
    (1, Whose::Ours, "reno"),
    (1, Whose::Kernel, "bbr"),
    (1, Whose::Ours, "bbr"),
    (2, Whose::Kernel, "cubic"),
    (2, Whose::Ours, "cubic"),
    (4, Whose::Kernel, "cubic"),
    (4, Whose::Ours, "cubic"),
];
const MIX_PATH: &str = "delay=10ms,rate=50mbit,queue=125kb";
const PORT: u16 = 7_000;

/// What is run, once for each seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Goodput,
    Short,
    Mix,
}

/// A row of a table.
struct Row {
    kind: Kind,
    link: &'static str,
    /// Each sender, and its algorithm.
    senders: Vec<(Whose, &'static str)>,
    receiver: Whose,
}

impl Row {
    fn text(&self) -> String {
        let part = match self.kind {
            Kind::Goodput => "goodput",
            Kind::Short => "short",
            Kind::Mix => "fairness",
        };
        format!("{part} {} to {} {}", self.mix(), self.receiver.name(), self.link)
    }

    /// The senders, those of one kind as a number.
    fn mix(&self) -> String {
        let name = |of: &[(Whose, &str)]| {
            let number = if of.len() > 1 { format!("{} ", of.len()) } else { String::new() };
            format!("{number}{} {}", of[0].0.name(), of[0].1)
        };
        let half = self.first();
        let parts = [&self.senders[..half], &self.senders[half..]];
        let parts: Vec<String> = parts.into_iter().filter(|of| !of.is_empty()).map(name).collect();
        parts.join(" + ")
    }

    /// How many senders the first kind has: in a mix, half.
    fn first(&self) -> usize {
        self.senders.len().div_ceil(2)
    }

    fn marks(&self) -> bool {
        self.link.contains("mark=")
    }
}

fn rows(args: &LossArgs) -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, links) in [(Kind::Goodput, &PATHS[..]), (Kind::Short, &SHORT_PATHS[..])] {
        for &link in links {
            for cc in KINDS {
                rows.extend(PAIRS.map(|(from, to)| Row {
                    kind,
                    link,
                    senders: vec![(from, cc)],
                    receiver: to,
                }));
            }
        }
    }
    let dctcp = Row {
        kind: Kind::Goodput,
        link: MARKING_PATH,
        senders: vec![(Whose::Ours, "dctcp")],
        receiver: Whose::Ours,
    };
    rows.push(dctcp);
    rows.extend(MIXES.map(|(n, whose, cc)| Row {
        kind: Kind::Mix,
        link: MIX_PATH,
        senders: [vec![(whose, cc); n], vec![(Whose::Kernel, "cubic"); n]].concat(),
        receiver: Whose::Kernel,
    }));
    rows.sort_by_key(|row| row.kind); // each table in one piece
    rows.retain(|row| args.only.as_ref().is_none_or(|only| row.text().contains(only.as_str())));
    rows
}

/// Runs what was asked for, several at once.
pub fn run(args: &LossArgs) -> Outcome {
    let rows = rows(args);
    if rows.is_empty() {
        return Err(Failure::new(Code::Usage, "no row has that in it").hint(
            "a row reads like this: goodput ours cubic to kernel delay=25ms,rate=100mbit,queue=625kb",
        ));
    }
    let seeds = args.seeds.unwrap_or(3);
    let out = Out::new(Stream::Stdout, args.json);
    let whole = Duration::from_secs(args.seconds);
    let tasks: Vec<(usize, u64)> =
        (0..rows.len()).flat_map(|row| (0..seeds).map(move |s| (row, args.seed + s))).collect();
    let bar = super::work::progress(args.json, tasks.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let results: Mutex<BTreeMap<usize, Vec<Vec<f64>>>> = Mutex::default();
    let told = Mutex::new(Told { out: &out, rows: &rows, due: 0, base: BTreeMap::new(), heading: "" });
    thread::scope(|scope| {
        for _ in 0..args.at_once.max(1) {
            scope.spawn(|| {
                while let Some(&(row, seed)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = once(&rows[row], seed, whole);
                    bar.inc(1);
                    match result {
                        Ok(figures) => {
                            let mut all = results.lock().unwrap_or_else(|e| e.into_inner());
                            all.entry(row).or_default().push(figures);
                            let mut told = told.lock().unwrap_or_else(|e| e.into_inner());
                            bar.suspend(|| told.those_due(&mut all, seeds as usize));
                        }
                        Err(error) => {
                            // The first failure is told; there is no point in going on.
                            next.store(tasks.len(), Ordering::Relaxed);
                            let mut failed = failed.lock().unwrap_or_else(|e| e.into_inner());
                            failed.get_or_insert((rows[row].text(), error));
                        }
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        None => Ok(()),
        Some((row, error)) => Err(explain(&row, &error)),
    }
}

fn explain(row: &str, error: &io::Error) -> Failure {
    Failure::new(Code::Failed, format!("{row}: {error}"))
        .hint("--live needs root, /dev/net/tun, `ip` of iproute2, and a kernel with the algorithm: modprobe tcp_bbr")
}

/// One run: the figures that the row's table is made of.
fn once(row: &Row, seed: u64, whole: Duration) -> io::Result<Vec<f64>> {
    let spec: LinkSpec = format!("{},seed={seed}", row.link)
        .parse()
        .map_err(|error: sockeye::core::link::SpecError| io::Error::other(error.to_string()))?;
    let (receiver, far) = Party::new(row.receiver, 2, row.marks(), row.senders[0].1)?;
    let mut senders = Vec::new();
    let mut devices = Vec::new();
    for (i, (whose, cc)) in row.senders.iter().enumerate() {
        let (party, device) = Party::new(*whose, 11 + i as u8, row.marks(), cc)?;
        devices.push((party.address, device));
        senders.push((party, *cc));
    }
    let wire = Wire::new(devices, far, &spec);
    let flow = |i: usize, bytes, lasts, warm_up| Flow {
        from: &senders[i].0,
        to: &receiver,
        cc: senders[i].1,
        port: PORT + i as u16,
        bytes,
        lasts,
        starts: Duration::from_millis(100 * i as u64 + 13 * (seed % 7) * u64::from(i > 0)),
        warm_up,
    };
    match row.kind {
        Kind::Goodput => {
            let (done, queue) = watched(&wire, &spec, || flow(0, None, whole, Duration::ZERO).run());
            let up = wire.counters().0;
            let lost = up.dropped() as f64 * 100.0 / (up.offered as f64).max(1.0);
            Ok(vec![done?.received as f64 * 8e-6 / whole.as_secs_f64(), lost, queue])
        }
        Kind::Short => (0..SHORT_FLOWS)
            .map(|_| {
                let done =
                    flow(0, Some(super::SHORT_BYTES), Duration::from_secs(120), Duration::ZERO).run()?;
                Ok(done.took.as_secs_f64() * 1e3)
            })
            .collect(),
        Kind::Mix => {
            let lasts = whole * 3;
            let run = |i| flow(i, None, lasts, lasts / 4).run();
            let together = || {
                thread::scope(|scope| {
                    let flows: Vec<_> = (0..senders.len()).map(|i| scope.spawn(move || run(i))).collect();
                    let panicked = |_| Err(io::Error::other("a flow's thread panicked"));
                    flows.into_iter().map(|f| f.join().unwrap_or_else(panicked)).collect::<io::Result<_>>()
                })
            };
            let (done, queue) = watched(&wire, &spec, together);
            let done: Vec<Done> = done?;
            let received: Vec<f64> = done.iter().map(|d| d.received as f64).collect();
            let all: f64 = received.iter().sum();
            let first = row.first();
            let share =
                received[..first].iter().sum::<f64>() / all.max(1.0) * done.len() as f64 / first as f64;
            Ok(vec![share, all * 8e-6 / (lasts * 3 / 4).as_secs_f64(), jain(&received), queue])
        }
    }
}

/// Runs `f` while the queue of the link is looked at: what it came to, and the median of the queue, ms.
fn watched<R>(wire: &Wire, spec: &LinkSpec, f: impl FnOnce() -> R) -> (R, f64) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let looks = scope.spawn(|| wire.watch_queue(spec.up.rate.unwrap_or(u64::MAX), &is_over));
        let result = f();
        is_over.store(true, Ordering::Release);
        (result, looks.join().unwrap_or(f64::NAN))
    })
}

/// Rows are told in their order, each when it has all its runs.
struct Told<'a> {
    out: &'a Out,
    rows: &'a [Row],
    due: usize,
    /// Kernel to kernel, by link and algorithm: the median.
    base: BTreeMap<(&'static str, &'static str), f64>,
    heading: &'static str,
}

impl Told<'_> {
    fn those_due(&mut self, results: &mut BTreeMap<usize, Vec<Vec<f64>>>, seeds: usize) {
        while results.get(&self.due).is_some_and(|runs| runs.len() == seeds) {
            let runs = results.remove(&self.due).unwrap_or_default();
            self.row(&self.rows[self.due], &runs);
            self.due += 1;
        }
    }

    fn heading(&mut self, heading: &'static str) {
        if self.heading != heading {
            self.heading = heading;
            self.out.say(&format!("\n{heading}"));
        }
    }

    fn row(&mut self, row: &Row, runs: &[Vec<f64>]) {
        let event = |figures: Value| {
            let mut event = json!({"bench": "loss", "live": true, "row": row.text(), "runs": runs.len(),
                "cc": row.senders[0].1, "from": row.senders[0].0.name(), "to": row.receiver.name(), "link": row.link});
            if let (Some(event), Value::Object(figures)) = (event.as_object_mut(), figures) {
                event.extend(figures);
            }
            event
        };
        let (from, cc) = row.senders[0];
        let pair = format!("{} to {}", from.name(), row.receiver.name());
        match row.kind {
            Kind::Goodput => {
                self.heading("Goodput, Mbit/s, and its ratio to kernel to kernel with the same algorithm");
                let spread = Spread::of(&runs.iter().map(|r| r[0]).collect::<Vec<_>>());
                let lost = Spread::of(&runs.iter().map(|r| r[1]).collect::<Vec<_>>());
                let queue = Spread::of(&runs.iter().map(|r| r[2]).collect::<Vec<_>>());
                if pair == "kernel to kernel" {
                    self.base.insert((row.link, cc), spread.median);
                }
                let ratio = self.base.get(&(row.link, cc)).map(|base| spread.median / base);
                let ratio_text = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
                self.out.event(
                    &format!(
                        "{cc:6} {pair:16} {:8.2}  ({:8.2} to {:8.2})  {ratio_text:>5}  {:6.2} % lost  {:6.2} ms queue  {}",
                        spread.median, spread.min, spread.max, lost.median, queue.median, row.link
                    ),
                    || {
                        event(json!({"mbit": spread.json(), "ratio": ratio.map(rounded),
                            "lost_percent": lost.json(), "queue_ms": queue.json()}))
                    },
                );
            }
            Kind::Short => {
                self.heading("100 KB over a fresh connection, ms: median, 90 %, 99 %");
                let ms: Vec<f64> = runs.concat();
                let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|p| quantile(&ms, p));
                self.out.event(
                    &format!("{cc:6} {pair:16} {p50:8.1} {p90:8.1} {p99:8.1}  of {}  {}", ms.len(), row.link),
                    || {
                        event(
                            json!({"median_ms": rounded(p50), "p90_ms": rounded(p90), "p99_ms": rounded(p99),
                        "flows": ms.len()}),
                        )
                    },
                );
            }
            Kind::Mix => {
                self.heading(
                    "Flows that share a link: the share of the first kind, 1 is even; Jain's index (worst)",
                );
                let [share, sum, jain, queue] =
                    [0, 1, 2, 3].map(|i| Spread::of(&runs.iter().map(|r| r[i]).collect::<Vec<_>>()));
                self.out.event(
                    &format!(
                        "{:31} {:5.2}  ({:5.2} to {:5.2})  {:.3} ({:.3})  sum {:6.1} Mbit/s  {:6.2} ms queue  {}",
                        row.mix(),
                        share.median,
                        share.min,
                        share.max,
                        jain.median,
                        jain.min,
                        sum.median,
                        queue.median,
                        row.link
                    ),
                    || {
                        event(json!({"first_share": share.json(), "sum_mbit": sum.json(),
                            "jain": jain.json(), "queue_ms": queue.json()}))
                    },
                );
            }
        }
    }
}
