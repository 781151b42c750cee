//! The swarm: random scenarios, one from each seed, each run to its end and checked; one that fails is made as
//! small as it still fails, and printed on one line that runs it again.
//!
//! ```text
//! SOCKEYE_SEEDS=5000 cargo run --release -p sockeye-sim --example swarm
//! SOCKEYE_SEED=17 cargo run --release -p sockeye-sim --example swarm
//! cargo run --release -p sockeye-sim --example swarm -- "seed=17 net=pair ..."
//! ```
//! What fails: a byte that is not the one sent, a stream that ends early or not at all, an error where the
//! link gives no reason for one, a violated invariant ([`crate::check`]), anything left when all is over, a
//! panic.

mod program;
mod scenario;
mod shrink;
mod stream;
#[cfg(test)]
mod tests;
mod text;

pub use program::Tally;
pub use scenario::{Flow, Kind, Mishap, Scenario, sides};
pub use shrink::shrink;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use sockeye_core::Duration;

use crate::task::{Ended, Sim};
use crate::topology::{Layout, Plan, lay_out};
use crate::world::{World, WorldCounters};
use program::Pair;
use scenario::options;

/// A scenario's programs must be at their end by then.
const LIMIT: Duration = Duration::from_secs(6 * 3_600);
/// ... and the hosts must have finished what they do in the background.
const REST: Duration = Duration::from_secs(4 * 3_600);

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What became of the connections.
    pub tally: Tally,
    /// What the world did.
    pub world: WorldCounters,
    /// A number for all packets, see [`World::digest`].
    pub digest: u64,
    /// Virtual time that passed.
    pub lasted: Duration,
}

/// Runs a scenario to its end.
///
/// # Errors
/// What is wrong: the first thing that failed.
pub fn run(scenario: &Scenario) -> Result<Report, String> {
    run_logged(scenario, None)
}

/// Runs a scenario, and writes down every packet that a host sends or receives, in a line each.
///
/// # Errors
/// As [`run`].
pub fn replay(scenario: &Scenario, log: &mut Vec<String>) -> Result<Report, String> {
    run_logged(scenario, Some(log))
}

fn run_logged(scenario: &Scenario, log: Option<&mut Vec<String>>) -> Result<Report, String> {
    let mut world = World::new(scenario.seed);
    world.check();
    if log.is_some() {
        world.log_packets();
    }
    let mut sim = Sim::new(world);
    let result = match catch_unwind(AssertUnwindSafe(|| run_in(&mut sim, scenario))) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
        }
    };
    if let Some(log) = log {
        *log = sim.world().take_log();
    }
    result
}

/// The seeds to be run: `SOCKEYE_SEED` alone, or `SOCKEYE_SEEDS` of them from 1 on (`FROM..TO` as well), or
/// `default` of them.
///
/// # Errors
/// A variable that holds no number.
pub fn seeds(default: u64) -> Result<Range<u64>, String> {
    let read = |name: &str| std::env::var(name).ok();
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("`{text}` is no seed"));
    if let Some(seed) = read("SOCKEYE_SEED") {
        let seed = number(&seed)?;
        return Ok(seed..seed.saturating_add(1));
    }
    let Some(seeds) = read("SOCKEYE_SEEDS") else { return Ok(1..default + 1) };
    match seeds.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => Ok(1..number(&seeds)?.saturating_add(1)),
    }
}

/// Many runs, summed up.
#[derive(Clone, Debug, Default)]
pub struct Swarm {
    /// Scenarios run.
    pub runs: u64,
    /// All of their connections.
    pub tally: Tally,
    /// All of their worlds.
    pub world: WorldCounters,
    /// Virtual time.
    pub lasted: Duration,
    /// The scenarios that failed, as drawn, and what is wrong.
    pub failures: Vec<(Scenario, String)>,
}

impl Swarm {
    /// Runs the scenarios of these seeds until `enough` of them have failed.
    pub fn run(seeds: Range<u64>, enough: usize) -> Swarm {
        let mut swarm = Swarm::default();
        for seed in seeds {
            let scenario = Scenario::draw(seed);
            swarm.runs += 1;
            match run(&scenario) {
                Ok(report) => swarm.add(&report),
                Err(what) => swarm.failures.push((scenario, what)),
            }
            if swarm.failures.len() >= enough {
                break;
            }
        }
        swarm
    }

    fn add(&mut self, report: &Report) {
        let Report { tally, world, lasted, .. } = report;
        self.tally.opened += tally.opened;
        self.tally.completed += tally.completed;
        self.tally.gave_up += tally.gave_up;
        self.tally.received += tally.received;
        self.world.moments += world.moments;
        self.world.packets += world.packets;
        self.world.bytes += world.bytes;
        self.lasted += *lasted;
    }
}

fn run_in(sim: &mut Sim, scenario: &Scenario) -> Result<Report, String> {
    let layout = make_world(scenario, &mut sim.world())?;
    let start = sim.world().now();
    let (tally, failures) = start_programs(scenario, &layout, sim)?;
    let failed = |sim: &Sim| {
        let first = failures.borrow().first().cloned();
        sim.world().violation().map(ToString::to_string).or(first)
    };
    let ended = sim.run(start + LIMIT);
    if let Some(what) = failed(sim) {
        return Err(what);
    }
    if ended != Ended::Programs {
        return Err(format!("the programs are not at their end after {LIMIT:?}"));
    }
    let rest = sim.world().now() + REST;
    let ended = sim.settle(rest);
    if let Some(what) = failed(sim) {
        return Err(what);
    }
    let world = sim.world();
    if let Some(leak) = world.leaks() {
        return Err(leak.to_string());
    }
    if ended != Ended::Programs || !world.is_quiet() {
        return Err(format!("the world is not quiet {REST:?} after the last program"));
    }
    let tally = *tally.borrow();
    let lasted = world.now().since(start);
    Ok(Report { tally, world: world.counters(), digest: world.digest(), lasted })
}

fn make_world(scenario: &Scenario, world: &mut World) -> Result<Layout, String> {
    let plan = Plan {
        shape: scenario.shape,
        ipv6: scenario.ipv6,
        mtu: scenario.mtu.0,
        narrow_mtu: scenario.mtu.1,
        link: scenario.link_spec()?,
        configs: [scenario.config(0)?, scenario.config(1)?],
    };
    let layout = lay_out(world, &plan);
    for &router in &layout.routers {
        world.router(router).mark_above(scenario.mark);
    }
    for (side, hosts) in [&layout.left, &layout.right].into_iter().enumerate() {
        for &(host, _) in hosts.iter().filter(|_| scenario.has_offload(side)) {
            world.host(host, |stack, _| {
                let ids: Vec<_> = stack.interfaces().map(|(id, _)| id).collect();
                for id in ids {
                    let change = stack.change_interface(id, |interface| {
                        interface.gso_max = 65_535;
                        interface.checksum_offload = true;
                    });
                    change.expect("it was listed a moment ago");
                }
            });
        }
    }
    Ok(layout)
}

type Shared<T> = Rc<RefCell<T>>;

fn start_programs(
    scenario: &Scenario,
    layout: &Layout,
    sim: &Sim,
) -> Result<(Shared<Tally>, Shared<Vec<String>>), String> {
    let (tally, failures) = (Shared::default(), Shared::default());
    let net = sim.net();
    for (number, flow) in scenario.flows.iter().enumerate() {
        let (server, address) = layout.right[flow.server];
        let pair = Rc::new(Pair {
            flow: flow.clone(),
            number,
            options: [options(&flow.options, 0)?, options(&flow.options, 1)?],
            server: SocketAddr::new(address, 4_000 + number as u16),
            gentle: scenario.is_gentle(),
            lossless: scenario.is_lossless(),
            tally: Rc::clone(&tally),
            failures: Rc::clone(&failures),
            done: Cell::new(false),
        });
        let (server, client) = (net.host(server), net.host(layout.left[flow.client].0));
        server.spawn(program::server(server.clone(), Rc::clone(&pair)));
        client.spawn(program::client(client.clone(), pair));
    }
    for mishap in scenario.mishaps.iter().copied() {
        let (net, host) = (net.clone(), layout.right[mishap.server].0);
        sim.spawn(async move {
            net.sleep(Duration::from_millis(u64::from(mishap.at))).await;
            match mishap.silent {
                None => net.reboot(host),
                Some(ms) => {
                    net.with_world(|world| world.set_silent(host, true));
                    net.sleep(Duration::from_millis(u64::from(ms))).await;
                    net.with_world(|world| world.set_silent(host, false));
                }
            }
        });
    }
    Ok((tally, failures))
}
