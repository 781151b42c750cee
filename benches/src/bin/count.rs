//! A fixed amount of work, for counting instructions: `count sockeye|smoltcp bulk|plain|crr|rr UNITS`.
//! The difference of two runs is what the units cost, without the setting up.

use sockeye_bench::ours::Sockeye;
use sockeye_bench::pair::TimeWait;
use sockeye_bench::smol::Smoltcp;
use sockeye_bench::work::{Bulk, Crr, Rr};
use sockeye_bench::{Pair, Setup};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        [_, "sockeye", work, units] => units.parse().ok().and_then(|n| run::<Sockeye>(work, n)),
        [_, "smoltcp", work, units] => units.parse().ok().and_then(|n| run::<Smoltcp>(work, n)),
        _ => None,
    };
    if done.is_none() {
        eprintln!("usage: count sockeye|smoltcp bulk|plain|crr|rr UNITS");
        std::process::exit(2);
    }
}

fn run<P: Pair>(work: &str, units: u64) -> Option<()> {
    let setup = Setup::default();
    match work {
        "bulk" => Bulk::<P>::new(&setup, 0, false).segments(units),
        "plain" => Bulk::<P>::new(&Setup { checksums: false, ..setup }, 0, true).segments(units),
        "rr" => {
            let mut rr = Rr::<P>::new(&setup);
            (0..units).for_each(|_| rr.round_trip());
        }
        "crr" => {
            let mut crr = Crr::<P>::new(&Setup { buffer: 4_096, time_wait: TimeWait::Throw, ..setup }, 1);
            (0..units).for_each(|_| crr.one());
        }
        _ => return None,
    }
    Some(())
}
