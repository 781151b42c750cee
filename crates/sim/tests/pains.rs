//! What users of other stacks suffered, each as a scenario with its name, in virtual time.

use sockeye_core::Duration;
use sockeye_core::config::CongestionKind::{self, Bbr, Cubic, Dctcp, Reno};
use sockeye_sim::flows::{FlowSpec, Run, RunResult, quantile};

const KINDS: [CongestionKind; 3] = [Cubic, Reno, Bbr];

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn endless(link: &str, kind: CongestionKind, millis: u64, seed: u64) -> RunResult {
    Run::new(link, vec![FlowSpec::endless(kind)], Duration::from_millis(millis), seed).run()
}

fn mbit(result: &RunResult, millis: u64) -> f64 {
    result.flows[0].received as f64 * 8e-3 / millis as f64
}

/// smoltcp #836, gvisor #14092, #11198: a flow that waits for ever, because what is in flight was miscounted.
///
/// Shows: rfc6675-s4-b, rfc8985-s6.2-e
#[test]
fn no_flow_stays_stuck_whatever_the_link_does() {
    let links = [
        "delay=10ms,rate=50mbit,loss=5%",
        "delay=10ms,rate=50mbit,loss=10%",
        "delay=10ms,rate=50mbit,loss=20%",
        "delay=10ms,rate=50mbit,loss=3%,burst=8",
        "delay=20ms,rate=20mbit,up:reorder=10%/30ms,duplicate=2%",
        "delay=20ms,rate=20mbit,queue=5p",
        "delay=10ms,rate=50mbit,corrupt=2%,jitter=10ms",
        "delay=10ms,rate=50mbit,outage=300ms+2s",
    ];
    for link in links {
        for kind in KINDS {
            for seed in 1..=5 {
                let flow = FlowSpec { bytes: Some(300_000), ..FlowSpec::endless(kind) };
                let result = Run::new(link, vec![flow], secs(300), seed).run();
                let flow = &result.flows[0];
                assert!(flow.completed.is_some(), "{link} {kind:?} seed {seed}: {:?}", flow.info);
                assert_eq!(flow.received, 300_000);
            }
        }
    }
}

/// Kuzmanovic and Knightly 2003: bursts that fill the link for a tenth of each second, timed to the retransmission
/// timer, hold a TCP without recovery of its own near nothing. Nine tenths of the link are there to be had.
///
/// Shows: shrew
#[test]
fn periodic_outages_do_not_hold_a_flow_down() {
    for kind in KINDS {
        for (outage, least) in [("1s+100ms/1s", 4.0), ("200ms+100ms/1s", 4.0), ("1s+50ms/250ms", 1.0)] {
            let link = format!("delay=10ms,rate=10mbit,queue=50kb,up:outage={outage}");
            let result = endless(&link, kind, 30_000, 1);
            let rate = mbit(&result, 30_000);
            assert!(rate > least, "{kind:?} {outage}: {rate} Mbit/s of 10");
        }
    }
}

/// gvisor #11198: once all is acknowledged nothing is counted as in flight, lost or retransmitted.
#[test]
fn nothing_is_in_flight_once_all_is_acknowledged() {
    for kind in KINDS {
        for seed in 1..=10 {
            let link = "delay=10ms,rate=50mbit,loss=3%,up:reorder=3%/5ms,duplicate=1%";
            let flow = FlowSpec { bytes: Some(500_000), ..FlowSpec::endless(kind) };
            // One that never begins keeps the run going until the last ACK is in.
            let never = FlowSpec { starts: secs(1_000), ..FlowSpec::endless(kind) };
            let info = Run::new(link, vec![flow, never], secs(60), seed).run().flows[0].info.clone();
            assert_eq!((info.unacked, info.lost, info.retrans, info.sacked), (0, 0, 0, 0), "{kind:?} {seed}");
            assert_eq!((info.notsent_bytes, info.bytes_acked), (0, 500_000));
        }
    }
}

/// gvisor #9778, tailscale #14896: flows that stop, or crawl, at a round trip of microseconds.
///
/// Shows: rfc8985-s4-a
#[test]
fn round_trip_of_ten_microseconds_fills_the_link() {
    for kind in KINDS {
        let rate = mbit(&endless("delay=5us,rate=10gbit,queue=1mb", kind, 50, 1), 50);
        assert!(rate > 8_000.0, "{kind:?}: {rate} Mbit/s of 10,000");
        let lossy = mbit(&endless("delay=5us,rate=1gbit,queue=256kb,up:loss=0.1%", kind, 500, 1), 500);
        assert!(lossy > 500.0, "{kind:?}: {lossy} Mbit/s of 1,000 with loss");
    }
}

/// The same algorithms at the other end: a second of round trip.
#[test]
fn round_trip_of_a_second_fills_the_link() {
    for kind in KINDS {
        let rate = mbit(&endless("delay=500ms,rate=10mbit,queue=1250kb", kind, 60_000, 1), 60_000);
        assert!(rate > 7.0, "{kind:?}: {rate} Mbit/s of 10");
    }
}

/// smoltcp #949: a bigger buffer gives less throughput.
#[test]
fn bigger_buffers_do_not_slow_a_flow() {
    for kind in KINDS {
        let rate = |size: u32| {
            let link = "delay=10ms,rate=100mbit,queue=250kb";
            let mut run = Run::new(link, vec![FlowSpec::endless(kind)], secs(5), 1);
            run.config.wmem = [4_096, size, size];
            run.config.rmem = [4_096, 2 * size, 2 * size];
            mbit(&run.run(), 5_000)
        };
        let rates: Vec<f64> = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20].map(rate).to_vec();
        for pair in rates.windows(2) {
            assert!(pair[1] >= pair[0] * 0.95, "{kind:?}: {rates:?}");
        }
        assert!(rates[4] > 85.0, "{kind:?}: {rates:?}");
    }
}

/// tailscale #14896: reordering taken for loss.
///
/// Shows: rfc8985-s6.2-b
#[test]
fn reordering_is_not_taken_for_loss() {
    for kind in KINDS {
        let result = endless("delay=25ms,rate=50mbit,queue=312kb,up:reorder=1%/5ms", kind, 20_000, 2);
        let rate = mbit(&result, 20_000);
        assert!(rate > 38.0, "{kind:?}: {rate} Mbit/s of 50");
        assert!(result.flows[0].info.reord_seen > 0);
    }
}

/// smoltcp #256, #1195; demikernel #183: collapse under loss. Linux's cubic carries 2.5 Mbit/s here.
#[test]
fn loss_of_one_percent_does_not_collapse_a_flow() {
    let link = "delay=25ms,rate=100mbit,queue=625kb,up:loss=1%";
    for (kind, least) in [(Cubic, 2.4), (Reno, 2.2), (Bbr, 70.0)] {
        let rate = mbit(&endless(link, kind, 20_000, 1), 20_000);
        assert!(rate > least, "{kind:?}: {rate} Mbit/s");
    }
}

/// SO_MAX_PACING_RATE is kept from 10 us to 1 s of round trip, whatever the algorithm.
///
/// Shows: linux-max-pacing-rate
#[test]
fn paced_flow_keeps_its_rate() {
    for (delay, millis) in [("5us", 1_000), ("10ms", 4_000), ("490ms", 20_000)] {
        for kind in KINDS {
            let link = format!("delay={delay},rate=1gbit,queue=64kb");
            let flow = FlowSpec { max_pacing_rate: Some(1_250_000), ..FlowSpec::endless(kind) };
            let mut run = Run::new(&link, vec![flow], Duration::from_millis(millis), 1);
            run.warm_up = Duration::from_millis(millis / 2);
            let result = run.run();
            let rate = result.flows[0].received_late as f64 * 8e-3 / (millis / 2) as f64;
            assert!((7.5..=10.2).contains(&rate), "{delay} {kind:?}: {rate} Mbit/s of 10");
            // Bursts of a quantum never fill the queue of a link that is a hundred times faster.
            assert_eq!(result.flows[0].info.total_retrans, 0, "{delay} {kind:?}");
        }
    }
}

/// smoltcp #964: one of many connections gets all the speed.
#[test]
fn flows_share_a_link_evenly() {
    for kind in KINDS {
        let flow = |i: u64| FlowSpec { starts: Duration::from_millis(50 * i), ..FlowSpec::endless(kind) };
        let flows = (0..4).map(flow).collect();
        let mut run = Run::new("delay=10ms,rate=50mbit,queue=125kb", flows, secs(30), 3);
        run.warm_up = secs(10);
        let result = run.run();
        let jain = result.jain();
        assert!(jain > 0.8, "{kind:?}: {jain}");
    }
}

/// A queue that marks what finds half a millisecond in it: DCTCP fills the link all the same, alone and in company, and
/// the queue stays short. Bursts would be marked where the load is not.
///
/// Shows: rfc8257-s3.3-b
#[test]
fn dctcp_fills_a_link_that_marks_early() {
    let run = |flows: usize| {
        let flow =
            |i: usize| FlowSpec { starts: Duration::from_millis(20 * i as u64), ..FlowSpec::endless(Dctcp) };
        let link = "delay=500us,rate=1gbit,queue=500kb,mark=60kb";
        let mut run = Run::new(link, (0..flows).map(flow).collect(), secs(1), 1);
        run.config.congestion = Dctcp;
        run.warm_up = Duration::from_millis(400);
        run.run()
    };
    for flows in [1, 2, 8] {
        let result = run(flows);
        let sum: u64 = result.flows.iter().map(|flow| flow.received_late).sum();
        let mbit = sum as f64 * 8e-6 / 0.6;
        assert!(mbit > 940.0, "{flows} flows: {mbit:.0} Mbit/s of 1000");
        assert!(result.jain() > 0.97, "{flows} flows: Jain's index {:.3}", result.jain());
        let queue = quantile(&result.queue_delays, 0.9) * 1e3;
        assert!(queue < 0.8, "{flows} flows: {queue:.2} ms of queue");
    }
}

/// The same seed draws the same run, to the byte.
#[test]
fn same_seed_draws_the_same_run() {
    for kind in KINDS {
        let run = || {
            let link = "delay=10ms,rate=20mbit,jitter=3ms,loss=2%,up:reorder=2%/4ms";
            let result = endless(link, kind, 5_000, 9);
            let info = result.flows[0].info.clone();
            (result.flows[0].received, info.segs_out, info.total_retrans, info.rtt, result.queue_delays)
        };
        assert_eq!(run(), run());
    }
}
