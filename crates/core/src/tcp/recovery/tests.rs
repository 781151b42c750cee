//! Scripted ACKs in virtual time against the flight, the window and the RTT together.

mod newreno;
mod property;
mod prr;
mod rack;
mod sack;
mod timeout;
mod undo;

extern crate std;

use std::vec::Vec;

use super::*;
use crate::config::CongestionKind;

pub const MSS: u32 = 1_000;
pub const ISS: u32 = u32::MAX - 20_500; // the numbers wrap within each test

/// A sender whose data is counted in segments of [`MSS`] bytes, from 0.
pub struct Sender {
    pub flight: Flight,
    pub cc: Congestion,
    pub rtt: RttEstimator,
    pub p: Persist,
    pub cfg: RecoveryConfig,
    pub now: Instant,
    pub una: SeqNum,
    pub nxt: SeqNum,
    pub sack: bool,
    pub unsent: bool,
    /// Age of the echoed timestamp, milliseconds.
    pub echo: Option<u64>,
}

impl Sender {
    /// With `cwnd` segments, SACK, and an RTT of 100 ms known.
    pub fn new(kind: CongestionKind, cwnd: u8) -> Self {
        let config = Config::new(Profile::Linux);
        let mut s = Sender {
            flight: Flight::new(),
            cc: Congestion::new(kind, MSS, cwnd),
            rtt: RttEstimator::new(),
            p: Persist::default(),
            cfg: RecoveryConfig::from(&config),
            now: Instant::from_secs(10),
            una: SeqNum(ISS),
            nxt: SeqNum(ISS),
            sack: true,
            unsent: true,
            echo: None,
        };
        s.cc.set_recovery_cwnd(u32::from(cwnd) * MSS);
        s.rtt.sample(s.now, Duration::from_millis(100), &s.cfg.rto);
        s
    }

    pub fn reno(cwnd: u8) -> Self {
        Sender::new(CongestionKind::Reno, cwnd)
    }

    pub fn without_sack(cwnd: u8) -> Self {
        Sender { sack: false, ..Sender::reno(cwnd) }
    }

    pub fn seq(segment: u32) -> SeqNum {
        SeqNum(ISS) + segment * MSS
    }

    pub fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Sends `n` new segments as one super-segment.
    pub fn send(&mut self, n: u32) {
        self.send_bytes(n * MSS);
    }

    pub fn send_bytes(&mut self, len: u32) {
        self.flight.on_sent(self.now, self.nxt, len, MSS as u16, false, &mut self.p, &mut self.cc);
        self.nxt += len;
        self.check();
    }

    /// Sends again all that may be; the numbers of the segments, and why.
    pub fn resend(&mut self) -> Vec<(u32, Why)> {
        let mut sent = Vec::new();
        while let Some(r) = self.flight.next_retransmit(&self.cc, 64 * MSS) {
            let before = self.flight.bytes_in_flight();
            self.flight.on_sent(self.now, r.seq, r.len, MSS as u16, true, &mut self.p, &mut self.cc);
            assert_eq!(self.flight.bytes_in_flight(), before + r.len);
            let first = r.seq.since(SeqNum(ISS)) / MSS;
            sent.extend((first..first + r.len.div_ceil(MSS)).map(|n| (n, r.why)));
            self.check();
        }
        sent
    }

    pub fn resend_numbers(&mut self) -> Vec<u32> {
        self.resend().into_iter().map(|(n, _)| n).collect()
    }

    /// How many new segments may be sent.
    pub fn room(&self) -> u32 {
        self.flight.can_send_new(&self.cc) / MSS
    }

    /// An ACK of everything before `segment`, with blocks `[from, to)` of segments.
    pub fn ack(&mut self, segment: u32, blocks: &[(u32, u32)]) -> AckOutcome {
        let blocks: Vec<SackBlock> =
            blocks.iter().map(|&(l, r)| SackBlock { left: Sender::seq(l), right: Sender::seq(r) }).collect();
        self.ack_raw(Sender::seq(segment), &blocks, true)
    }

    pub fn ack_raw(&mut self, ack: SeqNum, sack: &[SackBlock], duplicate: bool) -> AckOutcome {
        let event = AckEvent {
            ack,
            snd_una: self.una,
            snd_nxt: self.nxt,
            sack,
            sack_enabled: self.sack,
            ts_echo: self.echo.map(Duration::from_millis),
            duplicate,
            segs: 1,
            ece: false,
            marked: 0,
            new_data_ready: self.unsent,
        };
        let out = self.flight.on_ack(self.now, &event, &mut self.rtt, &mut self.cc, &mut self.p, &self.cfg);
        self.una = self.una.max(ack);
        self.check();
        out
    }

    pub fn rto(&mut self) -> AckOutcome {
        let out = self.flight.on_rto(self.now, &mut self.rtt, &mut self.cc, &mut self.p, &self.cfg);
        self.check();
        out
    }

    pub fn cwnd(&self) -> u32 {
        self.cc.cwnd() / MSS
    }

    pub fn ssthresh(&self) -> u32 {
        self.cc.ssthresh() / MSS
    }

    pub fn check(&self) {
        assert!(self.flight.is_consistent(), "{:?}", self.flight);
        assert_eq!(self.flight.outstanding(), self.nxt.since(self.una).min(self.flight.outstanding()));
    }
}

#[test]
fn what_lives_in_an_idle_connection_is_small() {
    assert!(size_of::<RttEstimator>() <= 32, "{}", size_of::<RttEstimator>());
    assert!(size_of::<Persist>() <= 48, "{}", size_of::<Persist>());
    assert!(size_of::<Congestion>() <= 96, "{}", size_of::<Congestion>());
    assert!(size_of::<Run>() <= 48, "{}", size_of::<Run>());
}

/// A super-segment, and what follows in the same instant, is one run until something tells parts apart.
#[test]
fn sends_of_one_instant_are_one_run() {
    let mut s = Sender::reno(100);
    s.send(10);
    s.send(10);
    assert_eq!(s.flight.runs(), 1);
    assert_eq!((s.flight.segs_outstanding(), s.flight.bytes_in_flight()), (20, 20_000));
    s.wait(1);
    s.send(10);
    assert_eq!(s.flight.runs(), 2);
    s.wait(100);
    let out = s.ack(15, &[]);
    assert_eq!((out.acked, s.flight.segs_outstanding()), (15_000, 15));
    let out = s.ack(30, &[]);
    assert!(out.all_acked && s.flight.can_drop());
}

/// A cumulative ACK inside of a segment leaves the borders of the others where they were.
#[test]
fn partly_acknowledged_segment_keeps_its_end() {
    let mut s = Sender::reno(100);
    s.send(4);
    s.wait(100);
    let _ = s.ack_raw(Sender::seq(1) + 300, &[], false);
    assert_eq!((s.flight.outstanding(), s.flight.segs_outstanding()), (2_700, 3));
    let _ = s.rto();
    let first = s.flight.next_retransmit(&s.cc, 64 * MSS).expect("the head is lost");
    assert_eq!((first.seq, first.len), (Sender::seq(1) + 300, 700));
}
