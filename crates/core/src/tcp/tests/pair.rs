//! Two connections and a link between them that loses, reorders and duplicates: what goes in comes out,
//! and both ends end. Every run is drawn from a seed, which a failure prints.

use alloc::collections::BTreeMap;

use super::kit::*;
use super::*;
use crate::config::CongestionKind;

/// xorshift64*.
struct Draw(u64);

impl Draw {
    fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Names the seed when a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!("seed {}", self.0);
        }
    }
}

/// One end: a connection, its user, and what is known of what it sends.
struct End {
    host: Host,
    iss: u32,
    /// What the user sends, and how much of it was written.
    data: Vec<u8>,
    written: usize,
    got: Vec<u8>,
    closed: bool,
    /// The right edge announced last, once scaled windows count.
    edge: Option<SeqNum>,
    /// Bytes of text that one super-segment may have.
    burst: u32,
    segments: u64,
}

struct Link {
    delay: u64,
    jitter: u64,
    loss: u64,
    duplicate: u64,
    /// Segments under way by arrival, microseconds, and a number that keeps them apart.
    on_way: BTreeMap<(u64, u64), (usize, Segment)>,
    count: u64,
}

impl Link {
    fn carry(&mut self, draw: &mut Draw, now: Instant, to: usize, segment: &Segment) {
        let copies = if draw.chance(self.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            if !draw.chance(self.loss) {
                let at = now.as_micros() + self.delay + draw.below(self.jitter + 1);
                self.count += 1;
                self.on_way.insert((at, self.count), (to, segment.clone()));
            }
        }
    }
}

/// The segments of the wire that `out` stands for.
fn split(out: &Outgoing) -> Vec<Segment> {
    let whole = Segment { hdr: out.hdr, data: out.data.clone(), gso_size: 0, tos: out.tos, ttl: out.ttl };
    if out.gso_size == 0 {
        return alloc::vec![whole];
    }
    let (size, len) = (usize::from(out.gso_size), out.data.len());
    (0..len)
        .step_by(size)
        .map(|at| {
            let mut part = whole.clone();
            part.data = out.data.slice(at, size.min(len - at));
            part.hdr.seq += at as u32;
            part.hdr.urgent = part.hdr.urgent.saturating_sub(at as u16);
            if at + size < len {
                part.hdr.flags.remove(FIN | Flags::PSH);
            }
            part
        })
        .collect()
}

impl End {
    fn new(draw: &mut Draw, config: Config, first: bool, len: usize) -> End {
        let buffers = [Some(600), Some(3_000), Some(20_000), Some(65_535), None];
        let options = socket(|o| {
            o.rcvbuf = draw.pick(&buffers);
            o.sndbuf = draw.pick(&buffers);
            o.nodelay = draw.chance(30);
        });
        let iss = draw.pick(&[0, 1, u32::MAX, 0xffff_f000, 0x7fff_ff00, draw.0 as u32]);
        let tuple = if first { tuple() } else { tuple().reversed() };
        let path = Path { mtu: 1_500, pmtu: 1_500, gso_max: 65_000 };
        End {
            host: Host::open_on(config, options, tuple, path, iss),
            iss,
            data: (0..len).map(|_| draw.below(256) as u8).collect(),
            written: 0,
            got: Vec::new(),
            closed: false,
            edge: None,
            burst: draw.pick(&[1, 65_000]),
            segments: 0,
        }
    }

    /// The user writes and reads a little, and closes when there is no more.
    fn live(&mut self, draw: &mut Draw) {
        if self.host.done.is_some() || self.host.conn.state() < State::Established {
            return;
        }
        if self.written < self.data.len() {
            let n = (1 + draw.below(5_000) as usize).min(self.data.len() - self.written);
            self.written += self.host.write(&self.data[self.written..self.written + n]);
        } else if !self.host.conn.fin_queued() && draw.chance(70) {
            self.host.shutdown();
        }
        if draw.chance(60) {
            let max = 1 + draw.below(20_000) as usize;
            self.got.extend(self.host.read(max));
        }
        let all = self.host.conn.fin_received() && self.host.conn.readable() == 0;
        if all && self.host.conn.fin_queued() && !self.closed {
            self.closed = true;
            self.host.close();
        }
    }

    /// What leaves, checked.
    fn transmit(&mut self) -> Vec<Outgoing> {
        let mut all = Vec::new();
        loop {
            let burst = self.burst;
            let next = self.host.replies.pop_front();
            let Some(out) = next.or_else(|| self.host.call(|c, cx| c.transmit(cx, burst))) else { break };
            self.segments += u64::from(segment::segments(out.data.len(), out.gso_size));
            self.check(&out);
            all.push(out);
            assert!(all.len() < 10_000, "one call does not send without end");
        }
        all
    }

    fn check(&mut self, out: &Outgoing) {
        assert!(!out.hdr.flags.contains(RST), "nothing here deserves a RST");
        // The same bytes at the same numbers, always.
        let at = out.hdr.seq.0.wrapping_sub(self.iss.wrapping_add(1)) as usize;
        let text = bytes_of(out);
        if !text.is_empty() {
            assert!(text[..] == self.data[at..at + text.len()], "other bytes at {at}");
        }
        if !out.hdr.flags.contains(SYN) {
            let window = u32::from(out.hdr.window) << self.host.conn.rcv.wscale;
            let edge = out.hdr.ack + window;
            assert!(self.edge.is_none_or(|old| old.le(edge)), "the right edge moved left");
            self.edge = Some(edge);
        }
        self.host.check_invariants();
    }

    /// A segment arrives; TIME-WAIT answers for itself.
    fn arrives(&mut self, segment: Segment) {
        if let Some(Done::TimeWait(info)) = self.host.done {
            if segment.seg_len() > 0 {
                let mut hdr = segment.hdr;
                (hdr.src_port, hdr.dst_port) = (hdr.dst_port, hdr.src_port);
                (hdr.flags, hdr.seq, hdr.ack) = (ACK, info.snd_nxt, info.rcv_nxt);
                hdr.options = SegmentOptions::default();
                hdr.options.timestamps = info.ts_recent.map(|ecr| {
                    let val = (self.host.now.as_millis() as u32).wrapping_add(info.ts_offset);
                    Timestamps { val, ecr }
                });
                hdr.window = info.window;
                let why = Why::Ack;
                let (data, gso_size, tos, ttl) = (Payload::new(), 0, 0, 64);
                let out = Outgoing {
                    hdr,
                    data,
                    held: 0,
                    lean: false,
                    gso_size,
                    tos,
                    ttl,
                    dont_fragment: true,
                    why,
                };
                self.host.replies.push_back(out);
            }
            return;
        }
        if self.host.done.is_none() {
            self.host.send(Seg(segment));
            self.host.check_invariants();
        }
    }
}

/// The settings of one end.
fn settings(draw: &mut Draw) -> Config {
    let mut config =
        Config::new(draw.pick(&[Profile::Linux, Profile::Linux, Profile::Rfc, Profile::FreeBsd]));
    config.timestamps = draw.chance(60);
    config.sack = draw.chance(60);
    config.window_scaling = draw.chance(60);
    config.congestion = draw.pick(&[CongestionKind::Cubic, CongestionKind::Reno]);
    config.tlp = draw.chance(70);
    config.frto = draw.chance(70);
    config.rack = draw.chance(80);
    config.min_snd_mss = 48;
    config.orphan_retries = 30; // the link is bad enough to lose what a closed socket left, or to take long over it
    config
}

/// A whole life of two connections.
fn run(seed: u64) {
    let _named = Seed(seed);
    let mut draw = Draw::new(seed);
    let lens = [0, 1, 1_000, 30_000, 150_000];
    let mut ends = [true, false].map(|first| {
        let (config, len) = (settings(&mut draw), draw.pick(&lens) as usize);
        End::new(&mut draw, config, first, len)
    });
    let delay = draw.pick(&[10, 1_000, 20_000, 100_000]);
    let mut link = Link {
        delay,
        jitter: draw.pick(&[0, delay / 4, delay * 2]),
        loss: draw.pick(&[0, 1, 5, 15]),
        duplicate: draw.pick(&[0, 0, 5]),
        on_way: BTreeMap::new(),
        count: 0,
    };
    let mut now = ends[0].host.now;
    let deadline = now + secs(40_000);
    let mut steps = 0;
    while ends.iter().any(|e| e.host.done.is_none()) {
        steps += 1;
        assert!(now < deadline && steps < 1_000_000, "it does not end: {}", story(&ends));
        for (i, end) in ends.iter_mut().enumerate() {
            end.live(&mut draw);
            for out in end.transmit() {
                for segment in split(&out) {
                    link.carry(&mut draw, now, 1 - i, &segment);
                }
            }
        }
        now = step(&mut ends, &mut link, now);
    }
    for end in &mut ends {
        let rest = end.host.read(200_000);
        end.got.extend(rest);
    }
    for i in 0..2 {
        assert!(ends[i].got == ends[1 - i].data, "bytes in = bytes out: {}", story(&ends));
        assert_eq!(ends[i].host.conn.error(), None);
    }
}

/// Lets time pass to whatever happens next.
fn step(ends: &mut [End; 2], link: &mut Link, now: Instant) -> Instant {
    let mut next = ends
        .iter()
        .filter(|e| e.host.done.is_none())
        .map(|e| e.host.conn.next_deadline())
        .fold(Instant::NEVER, Instant::min);
    if let Some(((at, _), _)) = link.on_way.first_key_value() {
        next = next.min(Instant::from_micros(*at));
    }
    // The users look in every 20 ms.
    let now = next.min(now + ms(20)).max(now);
    while let Some(entry) = link.on_way.first_entry() {
        if Instant::from_micros(entry.key().0) > now {
            break;
        }
        let (to, segment) = entry.remove();
        ends[to].host.now = now;
        ends[to].arrives(segment);
    }
    for end in ends.iter_mut() {
        end.host.now = now;
        if end.host.done.is_none() && end.host.conn.next_deadline() <= now {
            let outcome = end.host.call(|c, cx| c.on_deadline(cx));
            end.host.note(outcome);
        }
    }
    now
}

fn story(ends: &[End; 2]) -> std::string::String {
    let one = |e: &End| {
        let (state, snd) = (e.host.conn.state(), &e.host.conn.snd);
        alloc::format!(
            "{state} written {}/{} una {:?} nxt {:?} wnd {} got {} error {:?}",
            e.written,
            e.data.len(),
            snd.una,
            snd.nxt,
            snd.wnd,
            e.got.len(),
            e.host.conn.error()
        )
    };
    alloc::format!("{} | {}", one(&ends[0]), one(&ends[1]))
}

/// Shows: rfc9293-s3.4-a, rfc9293-s3.6-c, rfc2525-s2.4-a, rfc9293-SHLD-14, rfc9293-s3.10.7.4-c
#[test]
fn bytes_in_are_bytes_out_whatever_the_link_does() {
    for seed in 0..1_000 {
        run(seed);
    }
}

/// Two ends with full buffers, nobody reading, each with more to send.
fn full_buffers() -> [End; 2] {
    let mut ends = [true, false].map(|first| {
        let options = socket(|o| o.rcvbuf = Some(1_000));
        let tuple = if first { tuple() } else { tuple().reversed() };
        End {
            host: Host::open_on(plain(), options, tuple, path(), 1_000),
            iss: 1_000,
            data: pattern(5_000),
            written: 0,
            got: Vec::new(),
            closed: false,
            edge: None,
            burst: 1,
            segments: 0,
        }
    });
    for end in &mut ends {
        end.written = end.host.write(&end.data);
    }
    ends
}

/// Shows: rfc9293-sA.2-a, ack-storm
#[test]
fn simultaneous_probes_of_full_buffers_make_progress_and_no_storm() {
    let mut ends = full_buffers();
    let mut draw = Draw::new(1);
    let mut link =
        Link { delay: 10_000, jitter: 0, loss: 0, duplicate: 0, on_way: BTreeMap::new(), count: 0 };
    let mut now = ends[0].host.now;
    let start = now;
    while ends.iter().any(|e| e.got.len() < 5_000) {
        assert!(now.since(start) < secs(400), "{}", story(&ends));
        for (i, end) in ends.iter_mut().enumerate() {
            for out in end.transmit() {
                link.carry(&mut draw, now, 1 - i, &split(&out)[0]);
            }
        }
        now = step(&mut ends, &mut link, now);
        if now.since(start) < secs(100) {
            assert!(ends.iter().all(|e| e.segments < 60), "a storm");
        } else {
            for end in &mut ends {
                let some = end.host.read(700);
                end.got.extend(some);
            }
        }
    }
    assert!(ends.iter().all(|e| e.got == pattern(5_000)));
}
