//! Runs the swarm: `SOCKEYE_SEEDS=5000 cargo run --release -p sockeye-sim --example swarm`, `SOCKEYE_SEED=17` for one
//! seed, or a scenario's line as the argument (and `packets` as a second one, to see them all). Failures are made small and printed with the line that runs
//! them again; the exit status says whether there were any.

use std::cell::RefCell;
use std::process::ExitCode;
use std::time::Instant;

use sockeye_sim::swarm::{Scenario, Swarm, replay, run, seeds, shrink};

/// After so many failures there is enough to do.
const ENOUGH: usize = 10;

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        LAST_PANIC.set(info.location().map(ToString::to_string).unwrap_or_default());
    }));
    let result = match std::env::args().nth(1) {
        Some(line) => one(&line),
        None => all(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn one(line: &str) -> Result<(), String> {
    let scenario: Scenario = line.parse()?;
    let mut packets = Vec::new();
    let result = replay(&scenario, &mut packets);
    if std::env::args().nth(2).as_deref() == Some("packets") {
        println!("{}", packets.join("\n"));
    }
    match result {
        Ok(report) => {
            println!("{report:#?}");
            Ok(())
        }
        Err(what) => Err(format!("{what} {}", LAST_PANIC.take())),
    }
}

fn all() -> Result<(), String> {
    let seeds = seeds(2_000)?;
    let started = Instant::now();
    let swarm = Swarm::run(seeds.clone(), ENOUGH);
    let secs = started.elapsed().as_secs_f64();
    for (scenario, what) in &swarm.failures {
        println!("seed {}: {what}", scenario.seed);
        LAST_PANIC.take();
        let (small, what) = shrink(scenario, what, |s| run(s).err());
        println!("  made small: {what} {}\n  swarm \"{small}\"", LAST_PANIC.take());
    }
    let (tally, world) = (&swarm.tally, &swarm.world);
    println!(
        "{} scenarios of seeds {seeds:?}: {} connections ({} gave up as they may), {} MB received, {} packets, \
         {:.1} days of virtual time",
        swarm.runs,
        tally.opened,
        tally.gave_up,
        tally.received / 1_000_000,
        world.packets,
        swarm.lasted.as_secs_f64() / 86_400.0,
    );
    println!(
        "in {secs:.1} s, every moment checked: {:.0} connections/s, {:.0} packets/s, {:.0} moments/s",
        tally.opened as f64 / secs,
        world.packets as f64 / secs,
        world.moments as f64 / secs,
    );
    match swarm.failures.len() {
        0 => Ok(()),
        failed => Err(format!("{failed} scenarios failed")),
    }
}
