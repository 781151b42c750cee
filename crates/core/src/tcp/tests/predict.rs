//! Header prediction does what the steps of the RFC do, and so does what makes a short segment in one go: two
//! connections get the same segments and calls, one with these, one without, and must be the same after each.

use super::kit::*;
use super::*;
use crate::tcp::predict::{Arriving, Text};

/// How a segment gets to the connection.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Its text lies in the packet's head.
    Inline,
    /// Its text comes by reference.
    Slices,
}

/// xorshift64*.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The same connection twice: predicting, and step by step.
struct Twins {
    fast: Host,
    slow: Host,
    predicted: u64,
}

impl Twins {
    fn new(seed: u64) -> Twins {
        let open = || {
            let mut config = Config::new(if seed % 3 == 0 { Profile::Rfc } else { Profile::Linux });
            config.timestamps = seed % 2 == 0;
            config.sack = seed % 5 != 0;
            config.ecn = crate::config::Ecn::Request;
            let options = socket(|o| {
                o.nodelay = seed % 4 == 0;
                o.rcvbuf = (seed % 7 == 0).then_some(9_000);
                o.sndbuf = (seed % 11 == 0).then_some(9_000);
            });
            let flags = if seed % 13 == 0 { SYN_ACK | Flags::ECE } else { SYN_ACK };
            let mut host = Host::connecting(config, options, 1_000);
            let _ = host.recv();
            host.advance(ms(10));
            let mut syn_ack = Seg::new(flags, 5_000, 1_001).opt(|o| {
                o.mss = Some(1_460);
                o.sack_permitted = true;
                o.window_scale = Some(2);
            });
            if seed % 2 == 0 {
                syn_ack = syn_ack.ts(500, 0);
            }
            host.send(syn_ack);
            let _ = host.recv_all();
            host
        };
        Twins { fast: open(), slow: open(), predicted: 0 }
    }

    fn each<R>(&mut self, f: impl Fn(&mut Host) -> R) -> (R, R) {
        (f(&mut self.fast), f(&mut self.slow))
    }

    fn arrive(&mut self, seg: &Segment, way: Way) {
        self.slow.ready = Ready::empty();
        self.fast.ready = Ready::empty();
        let mut plain = seg.clone();
        let outcome = self.slow.conn.on_segment_at(&mut cx!(self.slow), &mut plain);
        self.slow.note(outcome);

        let mut inline = alloc::vec![0; seg.data.len()];
        seg.data.copy_to(0, &mut inline);
        let mut rest = seg.clone();
        let mut data = seg.data.clone();
        let text = if way == Way::Inline { Text::Inline(&inline) } else { Text::Slices(&mut data) };
        let arriving = Arriving { hdr: &seg.hdr, text, gso_size: seg.gso_size, tos: seg.tos, ttl: seg.ttl };
        match self.fast.conn.predict(&mut cx!(self.fast), arriving) {
            Some(ready) => {
                self.predicted += 1;
                self.fast.ready |= ready;
            }
            None => {
                let outcome = self.fast.conn.on_segment_at(&mut cx!(self.fast), &mut rest);
                self.fast.note(outcome);
            }
        }
        assert_eq!(self.fast.ready, self.slow.ready, "readiness");
    }

    /// What the slow one sends next, made step by step.
    fn slow_recv(&mut self) -> Option<Outgoing> {
        let host = &mut self.slow;
        let mut next = Outgoing::default();
        let sends = |host: &mut Host, next: &mut Outgoing| {
            host.conn.wants_transmit() && host.conn.transmit_by_steps(&mut cx!(host), 1, next)
        };
        host.replies.pop_front().or_else(|| {
            sends(host, &mut next).then(|| {
                host.conn.fill(&mut next);
                next
            })
        })
    }

    /// What both send now must be the same, and so must they be themselves and what they counted.
    fn compare(&mut self) -> Vec<Outgoing> {
        let fast = self.fast.recv_all();
        let slow: Vec<_> = core::iter::from_fn(|| self.slow_recv()).collect();
        assert_eq!(alloc::format!("{fast:?}"), alloc::format!("{slow:?}"), "what is sent");
        assert_eq!(alloc::format!("{:?}", self.fast.conn), alloc::format!("{:?}", self.slow.conn));
        let mut counted = self.fast.stats.clone();
        assert_eq!(counted.tcp_hp_hits + counted.tcp_hp_acks, self.predicted);
        counted.tcp_hp_hits = 0;
        counted.tcp_hp_acks = 0;
        assert_eq!(alloc::format!("{counted:?}"), alloc::format!("{:?}", self.slow.stats));
        fast
    }

    /// A segment that is mostly what is expected next.
    fn segment(&self, draw: &mut Draw, seed: u64) -> Segment {
        let conn = &self.slow.conn;
        let (una, nxt, rcv_nxt) = (conn.snd.una.0, conn.snd.nxt.0, conn.rcv.nxt.0);
        let out = nxt.wrapping_sub(una);
        let ack = match draw.below(12) {
            0 | 1 => una,
            2 => una.wrapping_add(draw.below(u64::from(out) + 1) as u32),
            3 => nxt.wrapping_add(draw.below(3) as u32),
            4 => una.wrapping_sub(draw.below(3) as u32),
            5 | 6 => una.wrapping_add((out / 1_448).min(2) * 1_448),
            _ => nxt,
        };
        let seq = match draw.below(24) {
            0 => rcv_nxt.wrapping_sub(draw.below(600) as u32),
            1 => rcv_nxt.wrapping_add(draw.below(3_000) as u32),
            _ => rcv_nxt,
        };
        let mut flags = ACK;
        for (flag, percent) in [(Flags::PSH, 30), (Flags::URG, 1), (Flags::ECE, 2), (Flags::CWR, 2)] {
            flags.set(flag, draw.chance(percent));
        }
        let window = if draw.chance(90) { 16_000 } else { draw.below(200) as u16 };
        let mut seg = Seg::new(flags, seq, ack).win(window);
        seg.0.hdr.urgent = 1;
        if draw.chance(50) {
            seg = seg.len([1, 17, 64, 300, 1_448][draw.below(5) as usize]);
        }
        if seed % 2 == 0 && draw.chance(97) {
            let clock = (self.slow.now.as_millis() as u32).wrapping_sub(99_000);
            let echo = conn.tsval(self.slow.now).wrapping_sub(draw.below(4) as u32);
            seg = seg.ts(clock.wrapping_sub(draw.below(20) as u32 / 19 * 2_000), echo);
        }
        if draw.chance(8) && out > 3_000 {
            seg = seg.sack(&[(una.wrapping_add(1_448), una.wrapping_add(2_896))]);
        }
        if draw.chance(2) {
            seg.0.tos = 3;
        }
        seg.0
    }
}

/// Shows: rfc9293-s3.10.7.4-a, rfc5681-s3.1-a, rfc7323-s4.3-a
#[test]
fn prediction_changes_nothing_but_its_own_counters() {
    let mut predicted = 0;
    for seed in 1..=300u64 {
        let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut twins = Twins::new(seed);
        let _ = twins.compare();
        for _ in 0..120 {
            match draw.below(10) {
                0 | 1 => {
                    let len = [1, 40, 700, 5_000, 20_000][draw.below(5) as usize];
                    let (a, b) = twins.each(|host| host.write(&pattern(len)));
                    assert_eq!(a, b);
                }
                2 => {
                    let max = 1 + draw.below(4_000) as usize;
                    let (a, b) = twins.each(|host| host.read(max));
                    assert_eq!(a, b, "seed {seed}");
                }
                3 => {
                    let by = Duration::from_micros([50, 900, 30_000, 250_000][draw.below(4) as usize]);
                    let _ = twins.each(|host| host.advance(by));
                }
                _ => {
                    let seg = twins.segment(&mut draw, seed);
                    let way = if draw.chance(50) { Way::Inline } else { Way::Slices };
                    twins.arrive(&seg, way);
                }
            }
            if draw.chance(70) {
                let _ = twins.compare();
            }
            if twins.slow.done.is_some() {
                break;
            }
        }
        predicted += twins.predicted;
    }
    assert!(predicted > 5_000, "only {predicted} segments were predicted");
}

/// Counters as Linux has them: hits are segments with text, HP ACKs those without.
///
/// Shows: rfc9293-s3.10.7.4-a
#[test]
fn predicted_segments_are_counted() {
    let mut host = Host::established(plain(), Options::default());
    host.send(Seg::new(PSH_ACK, 5_001, 1_001).data(b"a"));
    host.write(b"b");
    let _ = host.recv_all();
    host.send(Seg::new(ACK, 5_002, 1_002));
    host.send(Seg::new(ACK, 5_002, 1_002)); // nothing new, nothing in flight
    host.send(Seg::new(FIN_ACK, 5_002, 1_002));
    assert_eq!((host.stats.tcp_hp_hits, host.stats.tcp_hp_acks), (1, 2));
}
