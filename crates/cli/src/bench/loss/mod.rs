//! `sockeye bench loss`: what recovery and congestion control make of bad links, beside Linux.

mod grid;
mod live;
mod report;
mod work;

use clap::Args;
use sockeye::core::Duration;
use sockeye::core::config::{CongestionKind, Ecn};
use sockeye_sim::flows::{FlowSpec, Run};

use crate::failure::{Code, Failure, Outcome};
use crate::out::{Out, Stream};
use grid::{KINDS, MARKING_KINDS, MARKING_PATH, MARKING_SECONDS, MIXES, PATHS, SHORT_BYTES, SHORT_PATHS};
use report::Report;

/// What `sockeye bench loss` may be told.
#[derive(Debug, Args)]
pub struct LossArgs {
    /// Print one JSON object a line for each row
    #[arg(long)]
    pub json: bool,
    /// Runs of each row, each with another seed; short flows are run twenty times as often
    ///
    /// By default 10, of goodput 40, and 3 with --live.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Only rows that have this in them: goodput, short, fairness; an algorithm; a part of a link's text
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// A few points in real time, beside this machine's kernel (root)
    #[arg(long)]
    pub live: bool,
    /// How long a flow lasts with --live, seconds; where two share a link, three times that
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Runs at the same time with --live: they mostly sleep, but a busy machine makes links late
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub at_once: usize,
}

/// Which table a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Goodput,
    Short,
    Fairness,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::Goodput => "goodput",
            Part::Short => "short",
            Part::Fairness => "fairness",
        }
    }
}

/// A row of a table: runs that differ in their seed only.
#[derive(Clone, Debug)]
pub struct Row {
    pub part: Part,
    /// The algorithm, or the mix of them.
    pub name: String,
    pub kind: CongestionKind,
    pub link: String,
    pub seconds: u64,
    pub warm_up: u64,
    pub flows: Vec<FlowSpec>,
    pub seeds: u64,
    /// Mbit/s that Linux carries.
    pub linux: Option<f64>,
}

impl Row {
    /// The run with this seed: flows do not start at the very same moments in each.
    pub fn run(&self, seed: u64) -> Run {
        let late = Duration::from_micros(seed % 100 * 970);
        let flow = |spec: &FlowSpec| match spec.starts {
            Duration::ZERO => spec.clone(),
            starts => FlowSpec { starts: starts + late, ..spec.clone() },
        };
        let flows = self.flows.iter().map(flow).collect();
        let mut run = Run::new(&self.link, flows, Duration::from_secs(self.seconds), seed);
        run.warm_up = Duration::from_secs(self.warm_up);
        if self.link.contains("mark=") {
            run.config.ecn = Ecn::Request;
        }
        if self.kind.needs_ecn() {
            run.config.congestion = self.kind; // DCTCP's receiver, too, echoes marks in its own way (RFC 8257 3.2)
        }
        run
    }

    /// Whether chance has a part in it.
    fn varies(&self) -> bool {
        self.flows.len() > 1 || ["loss", "reorder", "jitter"].iter().any(|word| self.link.contains(word))
    }
}

/// Every row that was asked for.
fn rows(args: &LossArgs) -> Vec<Row> {
    let seeds = args.seeds.unwrap_or(10);
    let goodput_seeds = args.seeds.unwrap_or(40); // where losses come in bursts, ten leave a sixth to chance
    let mut rows = Vec::new();
    let mut add = |row: Row| {
        let text = format!("{} {} {}", row.part.name(), row.name, row.link);
        if args.only.as_ref().is_none_or(|only| text.contains(only.as_str())) {
            let seeds = if row.varies() { row.seeds } else { 1 };
            rows.push(Row { seeds, ..row });
        }
    };
    for path in &PATHS {
        for (i, kind) in KINDS.into_iter().enumerate() {
            add(Row {
                part: Part::Goodput,
                name: kind.name().into(),
                kind,
                link: path.link.into(),
                seconds: path.seconds,
                warm_up: 0,
                flows: vec![FlowSpec::endless(kind)],
                seeds: goodput_seeds,
                linux: path.linux.map(|figures| figures[i]),
            });
        }
    }
    for kind in MARKING_KINDS {
        add(Row {
            part: Part::Goodput,
            name: kind.name().into(),
            kind,
            link: MARKING_PATH.into(),
            seconds: MARKING_SECONDS,
            warm_up: 0,
            flows: vec![FlowSpec::endless(kind)],
            seeds: goodput_seeds,
            linux: None,
        });
    }
    for link in SHORT_PATHS {
        for kind in KINDS {
            add(Row {
                part: Part::Short,
                name: kind.name().into(),
                kind,
                link: link.into(),
                seconds: 120,
                warm_up: 0,
                flows: vec![FlowSpec { bytes: Some(SHORT_BYTES), ..FlowSpec::endless(kind) }],
                seeds: seeds * 20,
                linux: None,
            });
        }
    }
    for (name, kinds, link) in MIXES {
        let marks = link == MARKING_PATH;
        let flow = |(i, &kind): (usize, &CongestionKind)| FlowSpec {
            starts: Duration::from_millis(100 * i as u64),
            ..FlowSpec::endless(kind)
        };
        add(Row {
            part: Part::Fairness,
            name: name.into(),
            kind: kinds[0],
            link: link.into(),
            seconds: if marks { MARKING_SECONDS } else { 60 },
            warm_up: if marks { 1 } else { 15 },
            flows: kinds.iter().enumerate().map(flow).collect(),
            seeds,
            linux: None,
        });
    }
    rows
}

/// Runs the bench.
pub fn run(args: &LossArgs) -> Outcome {
    if args.live {
        return live::run(args);
    }
    let rows = rows(args);
    if rows.is_empty() {
        let only = args.only.as_deref().unwrap_or("");
        return Err(Failure::new(Code::Usage, format!("no row has `{only}` in it")).hint(
            "there are goodput, short and fairness; cubic, reno, bbr and dctcp; and the parts of the links' texts",
        ));
    }
    let out = Out::new(Stream::Stdout, args.json);
    let mut report = Report::new(&out);
    work::each(&rows, args.seed, args.json, |row, results| report.row(row, &results));
    report.end();
    if out.is_gone() { Err(Failure::quiet(Code::OutputClosed)) } else { Ok(()) }
}
