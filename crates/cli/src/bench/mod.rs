//! `sockeye bench`: measurements that anybody can repeat.

pub mod loss;
pub mod run;

use clap::{Args, Subcommand};

use crate::failure::Outcome;
use loss::LossArgs;
use run::RunBenchArgs;

const LOSS_EXAMPLES: &str = "\
Examples:
  sockeye bench loss                         the whole grid, some minutes on two cores
  sockeye bench loss --only cubic --seeds 40 one algorithm, with a narrower spread
  sockeye bench loss --only short --json | jq .
  sudo sockeye bench loss --live             a few points beside this machine's kernel, in real time

The grid runs in virtual time: the same seeds give the same figures on any machine. Each goodput is that of one
flow from its SYN on, the median over the seeds (least to most in brackets), beside that of Linux 6.18 on the
same path, and their ratio. With --live the kernel's TCP and ours take turns over the same link in user
space, with the same seed, so that the n-th segment of the wire meets the same luck whoever sends it.";

/// What `sockeye bench` may be told.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub which: Bench,
}

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Flows over bad links: goodput, short flows, fairness and queues, by congestion control, beside Linux
    #[command(after_long_help = crate::args::concat_help(LOSS_EXAMPLES))]
    Loss(LossArgs),
    /// Whole programs over `run`, over the kernel's loopback, slirp4netns and pasta, in turns
    ///
    /// iperf3 both ways, nginx under wrk with connections kept alive and with one for each request, and redis-benchmark;
    /// programs that are not installed are left out and named. The server is the kernel's (in `lan` both ends are ours),
    /// so each way is compared with the same client and server over loopback in the same run. A minute or two.
    Run(RunBenchArgs),
}

/// Runs one.
pub fn run(args: &BenchArgs) -> Outcome {
    match &args.which {
        Bench::Loss(args) => loss::run(args),
        Bench::Run(args) => run::run(args),
    }
}

impl BenchArgs {
    /// Whether failures are told as JSON.
    pub fn is_json(&self) -> bool {
        match &self.which {
            Bench::Loss(args) => args.json,
            Bench::Run(args) => args.json,
        }
    }
}
