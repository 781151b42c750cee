//! BBR against a path by arithmetic: what it is fed is what a pipe of a known rate and round trip would give.

extern crate std;

use super::super::{Algo, Congestion, LossSample};
use super::*;
use crate::config::CongestionKind;
use crate::tcp::SeqNum;
use crate::tcp::congestion::RateSample;

const MSS: u32 = 1_000;
/// 10 MB/s and 50 ms: 500 segments.
const RATE: u64 = 10_000_000;
const RTT: u32 = 50_000;
const BDP: u32 = 500_000;

/// A sender on that path, one step a round trip.
struct Path {
    cc: Congestion,
    now: Instant,
    delivered: u32,
    /// Bytes delivered a second at most.
    rate: u64,
    /// In how many reports the losses of a round come.
    reports: u32,
}

impl Path {
    fn new() -> Path {
        let cc = Congestion::new(CongestionKind::Bbr, MSS, 10);
        Path { cc, now: Instant::from_secs(10), delivered: 0, rate: RATE, reports: 1 }
    }

    fn bbr(&self) -> &Bbr {
        match &self.cc.algo {
            Algo::Bbr(bbr) => bbr,
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> State {
        self.bbr().state
    }

    /// What is in flight at the pace and window that BBR allows.
    fn in_flight(&self) -> u32 {
        let paced = self.cc.pacing_rate().unwrap_or(0).min(1 << 40) * u64::from(RTT) / 1_000_000;
        paced.min(u64::from(self.cc.cwnd())) as u32
    }

    /// A round trip that delivers what was in flight, as far as the path does, in ten ACKs; the share `lost` of it is lost.
    fn round(&mut self, lost: f64) {
        self.round_until(lost, None);
    }

    /// A round trip, which ends early in `state`.
    fn round_until(&mut self, lost: f64, state: Option<State>) {
        let in_flight = self.in_flight();
        let capacity = (self.rate * u64::from(RTT) / 1_000_000) as u32;
        let through = in_flight.min(capacity);
        // What is above the capacity queues.
        let rtt = RTT + (u64::from(in_flight - through) * 1_000_000 / self.rate) as u32;
        let lost = (f64::from(in_flight) * lost) as u32;
        if lost > 0 {
            let too_many = (u64::from(lost) * LOSS_THRESH > u64::from(in_flight)).then_some(LossSample {
                len: MSS,
                tx_in_flight: in_flight,
                lost,
                app_limited: false,
            });
            for _ in 0..self.reports {
                let bytes = lost / self.reports;
                let losses = Losses { now: self.now, total_delivered: self.delivered, bytes, too_many };
                self.cc.on_lost(&losses);
            }
        }
        for _ in 0..10 {
            let before = self.delivered;
            self.now += Duration::from_micros(u64::from(rtt) / 10);
            self.delivered += (through - lost.min(through)) / 10;
            self.cc.cwnd_limited = in_flight + MSS > self.cc.cwnd();
            self.cc.on_ack(&AckSample {
                now: self.now,
                snd_una: SeqNum(self.delivered),
                snd_nxt: SeqNum(self.delivered + in_flight),
                delivered: self.delivered - before,
                total_delivered: self.delivered,
                prior_in_flight: in_flight,
                in_flight: self.in_flight().min(in_flight),
                rtt_us: rtt,
                srtt_us: rtt,
                min_rtt_us: RTT,
                rate: RateSample {
                    delivered: through,
                    prior_delivered: self.delivered.saturating_sub(through),
                    interval_us: rtt
                        .min((u64::from(through) * 1_000_000 / self.rate).max(u64::from(RTT)) as u32),
                    app_limited: false,
                    tx_in_flight: in_flight,
                    lost,
                },
                abc_limit: 0,
                abc_limit_after_rto: 0,
                validate: false,
                recovering: lost > 0,
                reducing: false,
                may_raise: true,
            });
            if state == Some(self.state()) {
                return;
            }
        }
    }

    /// Rounds until BBR is in `state`; panics after 200.
    fn until(&mut self, state: State) {
        for _ in 0..200 {
            if self.state() == state {
                return;
            }
            self.round_until(0.0, Some(state));
        }
        panic!("{state:?} is not reached from {:?}", self.state());
    }
}

fn near(is: u64, want: u64, percent: u64) -> bool {
    is.abs_diff(want) * 100 <= want * percent
}

/// Shows: bbr-startup
#[test]
fn startup_finds_the_bandwidth_and_drain_empties_the_queue() {
    let mut p = Path::new();
    assert_eq!((p.state(), p.cc.cwnd(), p.cc.pacing_rate()), (State::Startup, 10 * MSS, Some(u64::MAX)));
    let mut rates = std::vec::Vec::new();
    for _ in 0..5 {
        p.round(0.0);
        rates.push(p.cc.cwnd());
    }
    assert!(rates.windows(2).all(|w| w[1] >= w[0] * 3 / 2 || w[1] >= BDP), "doubling: {rates:?}");
    p.until(State::Drain);
    assert!(p.bbr().full_bw_reached);
    assert!(near(p.bbr().max_bw(), RATE, 2), "{}", p.bbr().max_bw());
    assert!(near(p.cc.pacing_rate().unwrap_or(0), RATE / 2, 3), "DRAIN sends at half");
    p.until(State::Down);
    assert_eq!(p.bbr().min_rtt, u64::from(RTT));
}

/// Shows: bbr-probe-bw
#[test]
fn cycle_goes_down_cruises_refills_and_probes_up() {
    let mut p = Path::new();
    p.until(State::Drain);
    for (state, gain) in [(State::Down, 90), (State::Cruise, 100), (State::Refill, 100), (State::Up, 125)] {
        p.until(state);
        let want = p.bbr().bw * gain / 100 * PACING_MARGIN / 100;
        assert!(near(p.cc.pacing_rate().unwrap_or(0), want, 1), "{state:?}: {:?}", p.cc.pacing_rate());
    }
    // Between probes two to three seconds pass, or 63 round trips, counted anew after a PROBE_RTT.
    p.until(State::Down);
    let from = p.now;
    p.until(State::Refill);
    let took = p.now.since(from);
    assert!(took > Duration::from_secs(1) && took < Duration::from_millis(6_500), "{took:?}");
    assert!(near(u64::from(p.cc.cwnd()), 2 * u64::from(BDP), 10), "{}", p.cc.cwnd());
}

/// Shows: bbr-probe-bw
#[test]
fn more_bandwidth_is_found_by_probing_and_less_is_believed_after_two_cycles() {
    let mut p = Path::new();
    p.until(State::Cruise);
    p.rate = RATE * 6 / 5;
    for _ in 0..200 {
        p.round(0.0);
    }
    assert!(near(p.bbr().max_bw(), RATE * 6 / 5, 5), "{}", p.bbr().max_bw());
    p.rate = RATE / 2;
    for _ in 0..400 {
        p.round(0.0);
    }
    assert!(near(p.bbr().max_bw(), RATE / 2, 10), "{}", p.bbr().max_bw());
}

/// Shows: bbr-probe-rtt
#[test]
fn round_trip_is_probed_every_five_seconds_with_half_the_window() {
    let mut p = Path::new();
    p.until(State::ProbeRtt);
    assert!(p.now.since(Instant::from_secs(10)) > Duration::from_secs(5));
    let before = p.bbr().prior_cwnd;
    p.round(0.0);
    assert!(p.cc.cwnd() <= BDP / 2 + 2 * MSS, "{}", p.cc.cwnd());
    assert!(p.cc.limits_itself(), "its samples say nothing of the path");
    let from = p.now;
    p.until(State::Cruise);
    let took = p.now.since(from);
    assert!(took >= Duration::from_millis(150) && took < Duration::from_millis(400), "{took:?}");
    p.round(0.0);
    assert!(p.cc.cwnd() >= before.min(BDP), "{} {before}", p.cc.cwnd());
}

/// Below the threshold losses leave the rate where it is, above it they bound what is in flight.
///
/// Shows: bbr-loss-bounds
#[test]
fn loss_bounds_above_two_percent_only() {
    let mut p = Path::new();
    p.until(State::Cruise);
    for _ in 0..100 {
        p.round(0.01);
    }
    assert!(near(p.bbr().bw, RATE, 5), "{}", p.bbr().bw);
    assert_eq!(p.bbr().inflight_hi, NO_BOUND);
    for _ in 0..200 {
        p.round(0.10);
    }
    assert!(p.bbr().inflight_hi <= u64::from(BDP) * 5 / 4, "{}", p.bbr().inflight_hi);
    assert!(p.bbr().bw < RATE * 9 / 10, "{}", p.bbr().bw);
    assert!(p.cc.cwnd() >= MIN_PIPE_CWND * MSS);
}

/// Shows: bbr-startup-loss
#[test]
fn heavy_loss_ends_startup() {
    // Six losses before a round of loss is over are many (two of ours go by until then); after fewer it takes three rounds
    // without growth.
    for (reports, early) in [(3, true), (2, false)] {
        let mut p = Path::new();
        p.reports = reports;
        p.round(0.0);
        p.round(0.0);
        let mut rounds = 0;
        while p.state() == State::Startup {
            p.round(0.10);
            rounds += 1;
            assert!(rounds < 20, "STARTUP does not end");
        }
        assert_eq!(rounds <= 2, early, "{reports} losses a round: {rounds} rounds");
    }
}

/// RFC 3168's echo counts as loss: the short-term bounds come down.
///
/// Shows: bbr-ecn
#[test]
fn an_echo_bounds_the_rate() {
    let mut p = Path::new();
    p.until(State::Cruise);
    assert_eq!(p.bbr().bw_lo, NO_BOUND);
    p.cc.on_echo();
    p.round(0.0);
    p.round(0.0);
    assert!(p.bbr().bw_lo <= p.bbr().max_bw());
    assert!(p.bbr().inflight_lo < NO_BOUND);
}

/// Shows: bbr-rto
#[test]
fn timeout_sends_one_segment_and_the_window_comes_back() {
    let mut p = Path::new();
    p.until(State::Cruise);
    let before = p.cc.cwnd();
    p.cc.on_rto(Some(before), 0);
    assert_eq!((p.cc.cwnd(), p.cc.ssthresh()), (MSS, INFINITE));
    p.round(0.0);
    assert!(near(u64::from(p.cc.cwnd()), u64::from(before), 5), "{} {before}", p.cc.cwnd());
    // Recovery by SACK leaves the window to BBR, not to PRR.
    p.cc.on_enter_recovery(before);
    assert_eq!(p.cc.ssthresh(), INFINITE);
    assert!(p.cc.owns_recovery());
}

/// Shows: bbr-undo
#[test]
fn spurious_loss_gives_the_bounds_back() {
    let mut p = Path::new();
    p.until(State::Cruise);
    let before = p.cc.clone();
    p.cc.on_enter_recovery(BDP);
    p.cc.on_echo();
    p.round(0.0);
    p.round(0.0);
    assert!(p.bbr().inflight_lo < NO_BOUND);
    p.cc.undo(&before);
    assert_eq!((p.bbr().bw_lo, p.bbr().inflight_lo), (NO_BOUND, NO_BOUND));
    assert!(p.cc.cwnd() >= before.cwnd());
}

/// Shows: bbr-quantum
#[test]
fn quantum_is_a_millisecond_within_bounds() {
    use crate::tcp::congestion::pacing_quantum;
    assert_eq!(pacing_quantum(100_000, MSS), 1_000);
    assert_eq!(pacing_quantum(1_000_000, MSS), 2_000);
    assert_eq!(pacing_quantum(12_500_000, MSS), 12_207);
    assert_eq!(pacing_quantum(u64::MAX, MSS), 65_536);
}
