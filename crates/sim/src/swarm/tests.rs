//! The swarm: it finds nothing, it would find something, and what it finds is made small.

use std::time::Instant;

use super::*;
use crate::topology::Shape;

/// About ten seconds' worth; more by `SOCKEYE_SEEDS`, one by `SOCKEYE_SEED`.
#[test]
fn random_scenarios_hold_what_must_hold() {
    let seeds = seeds(1_500).unwrap();
    let started = Instant::now();
    for seed in seeds.clone() {
        let scenario = Scenario::draw(seed);
        if let Err(what) = run(&scenario) {
            let (small, what) = shrink(&scenario, &what, |s| run(s).err());
            panic!(
                "SOCKEYE_SEED={seed}: {what}\n  cargo run --release -p sockeye-sim --example swarm -- \"{small}\""
            );
        }
        if seeds.end - seeds.start == 1_500 && started.elapsed().as_secs() >= 10 {
            break; // a slow machine
        }
    }
}

#[test]
fn a_seed_runs_twice_the_same() {
    for seed in 1..60 {
        let scenario = Scenario::draw(seed);
        let (one, two) = (run(&scenario), run(&scenario));
        assert_eq!(one, two, "{scenario}");
        assert!(one.is_ok(), "{one:?}");
    }
}

#[test]
fn a_scenario_is_one_line() {
    let mut lines = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let scenario = Scenario::draw(seed);
        let line = scenario.to_string();
        assert_eq!(line.lines().count(), 1);
        assert_eq!(line.parse(), Ok(scenario));
        lines.insert(line);
    }
    assert_eq!(lines.len(), 500);
    for bad in [
        "seed=x",
        "net=ring:3",
        "net=star",
        "link=loss=200%",
        "a=windows",
        "b=linux,-nothing",
        "flow=bulk:0>1:1:1:1:@0",
        "flow=bulk:0>0:1:1:1:@",
        "flow=bulk:0>0:1:1:1:speed@0",
        "event=fire:0@1",
        "mood=good",
        "seed",
    ] {
        assert!(bad.parse::<Scenario>().is_err(), "{bad}");
    }
}

/// Every kind of flow does what it says over a clean link and over a bad one.
#[test]
fn every_kind_comes_to_its_end() {
    for kind in Kind::ALL {
        for link in ["delay=5ms", "delay=5ms,loss=3%,reorder=10%/2ms,duplicate=5%,corrupt=1%"] {
            let line = format!("seed=9 net=pair link={link} flow={}:0>0:30000:20000:3:@0", kind.name());
            let report = run(&line.parse().unwrap()).unwrap_or_else(|what| panic!("{line}: {what}"));
            let expected = if matches!(kind, Kind::Short | Kind::Burst) { 3 } else { 1 };
            assert_eq!(report.tally.opened, expected, "{line}");
            if link == "delay=5ms" {
                assert_eq!(report.tally.completed, expected, "{line}");
            }
        }
    }
}

/// A world that changes bytes behind the checksum's back would be found out.
#[test]
fn a_wrong_byte_is_seen() {
    let stream = stream::Stream(4);
    let mut bytes = [0; 1_000];
    stream.fill(77, &mut bytes);
    assert_eq!(stream.differs(77, &bytes), None);
    assert!(stream.differs(78, &bytes).is_some() && stream::Stream(5).differs(77, &bytes).is_some());
    bytes[500] ^= 1;
    assert_eq!(stream.differs(77, &bytes), Some(577));
}

/// Silence where nothing gives a reason for it is a failure; with a mishap it is none.
#[test]
fn a_connection_may_give_up_only_with_a_reason() {
    let flow = "flow=bulk:0>0:5000:5000:1:@0";
    let dead = format!("seed=1 net=pair link=delay=5ms,loss=100% {flow}");
    let report = run(&dead.parse().unwrap()).unwrap();
    assert_eq!((report.tally.opened, report.tally.completed, report.tally.gave_up), (1, 0, 1));
    let silent = format!("seed=1 net=pair link=delay=50ms {flow} event=reboot:0@120");
    assert!(run(&silent.parse().unwrap()).is_ok());
}

#[test]
fn a_failing_scenario_is_made_small() {
    let mut big = Scenario::draw(0);
    let mut seed = 0;
    while !(big.flows.len() >= 3 && big.shape != Shape::Pair && big.flows.iter().any(|f| f.up > 5_000)) {
        seed += 1;
        big = Scenario::draw(seed);
    }
    let fails = |s: &Scenario| s.flows.iter().any(|f| f.up > 1_000).then(|| "too much".to_string());
    let (small, what) = shrink(&big, "too much", fails);
    assert_eq!(what, "too much");
    assert_eq!((small.flows.len(), small.shape, small.link.len()), (1, Shape::Pair, 0));
    assert_eq!((small.flows[0].up, small.flows[0].down, small.flows[0].kind), (1_001, 0, Kind::Bulk));
    assert_eq!(small.seed, big.seed);
}
