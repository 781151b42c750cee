//! Makes a failing scenario smaller: less of everything, as long as it still fails.

use super::scenario::{Kind, Scenario, sides};
use crate::topology::Shape;

/// Tries at most this many smaller scenarios.
const TRIES: u32 = 2_000;

/// The smallest scenario found that still fails in the same way, and how it fails. `fails` says what is wrong with a scenario.
pub fn shrink(
    scenario: &Scenario,
    what: &str,
    mut fails: impl FnMut(&Scenario) -> Option<String>,
) -> (Scenario, String) {
    let (mut best, mut reason) = (scenario.clone(), what.to_string());
    let mut tries = 0;
    loop {
        let mut is_smaller = false;
        for candidate in candidates(&best) {
            if tries >= TRIES {
                return (best, reason);
            }
            tries += 1;
            if let Some(what) = fails(&candidate).filter(|other| kind(other) == kind(what)) {
                (best, reason, is_smaller) = (candidate, what, true);
                break;
            }
        }
        if !is_smaller {
            return (best, reason);
        }
    }
}

/// What is wrong without who, where and when.
fn kind(what: &str) -> String {
    let what = what.split(" (").next().unwrap_or(what);
    let what = what.rsplit(": ").next().unwrap_or(what);
    what.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Scenarios one step smaller, the greatest steps first.
fn candidates(from: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut smaller = from.clone();
        change(&mut smaller);
        if smaller != *from {
            all.push(smaller);
        }
    };
    for i in 0..from.flows.len() {
        with(&|s| drop(s.flows.remove(i)));
    }
    for i in 0..from.mishaps.len() {
        with(&|s| _ = s.mishaps.remove(i));
    }
    for shape in smaller_shapes(from.shape) {
        with(&|s| reshape(s, shape));
    }
    for i in 0..from.link.len() {
        with(&|s| drop(s.link.remove(i)));
    }
    for side in 0..2 {
        with(&|s| s.hosts[side][0] = "linux".into());
        for i in 1..from.hosts[side].len() {
            with(&|s| drop(s.hosts[side].remove(i)));
        }
    }
    with(&|s| s.ipv6 = false);
    with(&|s| s.mark = None);
    with(&|s| s.mtu = (1_500, s.mtu.1.min(1_500)));
    with(&|s| s.mtu.1 = s.mtu.0);
    for (i, flow) in from.flows.iter().enumerate() {
        for option in 0..flow.options.len() {
            with(&|s| drop(s.flows[i].options.remove(option)));
        }
        with(&|s| s.flows[i].kind = Kind::Bulk);
        with(&|s| s.flows[i].start = 0);
        for part in [0, 1, 2, 3, 4] {
            with(&|s| s.flows[i].times = less(s.flows[i].times, part).max(1));
            with(&|s| s.flows[i].up = less(s.flows[i].up, part));
            with(&|s| s.flows[i].down = less(s.flows[i].down, part));
        }
    }
    for i in 0..from.mishaps.len() {
        with(&|s| s.mishaps[i].at /= 2);
    }
    all
}

/// Nothing, a half, seven eighths, a little less, one less.
fn less(n: u32, part: u32) -> u32 {
    match part {
        0 => 0,
        1 => n / 2,
        2 => n - n / 8,
        3 => n - n / 64,
        _ => n.saturating_sub(1),
    }
}

fn smaller_shapes(shape: Shape) -> Vec<Shape> {
    match shape {
        Shape::Pair => vec![],
        Shape::Star(..=2) | Shape::Dumbbell(..=1) | Shape::Chain(..=1) => vec![Shape::Pair],
        Shape::Star(n) => vec![Shape::Pair, Shape::Star(n - 1)],
        Shape::Dumbbell(n) => vec![Shape::Pair, Shape::Dumbbell(n - 1)],
        Shape::Chain(n) => vec![Shape::Pair, Shape::Chain(n - 1)],
    }
}

/// Programs move to the hosts that are left.
fn reshape(scenario: &mut Scenario, shape: Shape) {
    scenario.shape = shape;
    let (clients, servers) = sides(shape);
    for flow in &mut scenario.flows {
        flow.client = flow.client.min(clients - 1);
        flow.server = flow.server.min(servers - 1);
    }
    for mishap in &mut scenario.mishaps {
        mishap.server = mishap.server.min(servers - 1);
    }
}
