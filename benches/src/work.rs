//! What is measured, over any [`Pair`].

use crate::clock::cpu_nanos;
use crate::pair::{Pair, Setup, Side, open};

/// Bytes that the program hands over or takes in one call.
const CHUNK: usize = 65_536;
/// Bytes of each request and each reply of [`Crr`].
const MESSAGE: usize = 64;
/// How long an ended connection is remembered by smoltcp, and so here, nanoseconds.
pub const TIME_WAIT_NANOS: u64 = 10_000_000_000;

/// Repeats `work` for about `budget` nanoseconds of CPU time; units done a second.
pub fn rate(budget: u64, mut work: impl FnMut() -> u64) -> f64 {
    let start = cpu_nanos();
    let mut units = 0;
    loop {
        units += work();
        let spent = cpu_nanos() - start;
        if spent >= budget {
            return units as f64 / (spent as f64 / 1e9);
        }
    }
}

/// One connection and a stream of bytes from client to server.
pub struct Bulk<P: Pair> {
    pair: P,
    client: P::Socket,
    server: P::Socket,
    source: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
    received: usize,
    in_place: bool,
}

impl<P: Pair> Bulk<P> {
    /// Opens the connection after `idle` others, and sends enough to have windows open, checking each byte.
    pub fn new(setup: &Setup, idle: usize, in_place: bool) -> Self {
        let mut pair = P::new(setup);
        for _ in 0..idle {
            open(&mut pair);
        }
        let (client, server) = open(&mut pair);
        let source = (0..CHUNK).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
        let mut bulk =
            Bulk { pair, client, server, source, out: vec![0; CHUNK], sent: 0, received: 0, in_place: false };
        bulk.transfer((4 * setup.buffer).max(1 << 20), true);
        bulk.in_place = in_place;
        bulk
    }

    /// Moves at least `bytes`; how many it was.
    pub fn transfer(&mut self, bytes: usize, check: bool) -> usize {
        let (mut done, mut stuck) = (0, 0);
        while done < bytes {
            while self.send() > 0 {}
            let moved = self.pair.step();
            let mut got = 0;
            loop {
                let n = self.recv(check);
                if n == 0 {
                    break;
                }
                got += n;
            }
            done += got;
            stuck = if moved || got > 0 { 0 } else { stuck + 1 };
            if stuck > 0 {
                self.pair.pass_to_deadline();
            }
            assert!(stuck < 100, "{}: the stream has stopped", P::NAME);
        }
        done
    }

    /// Segments of the wire that carried `bytes`, and the time for each: nanoseconds.
    pub fn segment_nanos(&mut self, budget: u64, bytes: usize) -> f64 {
        let segments = self.pair.client_segments();
        let start = cpu_nanos();
        while cpu_nanos() - start < budget {
            self.transfer(bytes, false);
        }
        (cpu_nanos() - start) as f64 / (self.pair.client_segments() - segments) as f64
    }

    /// Moves data until `segments` more segments have crossed the link.
    pub fn segments(&mut self, segments: u64) {
        let end = self.pair.client_segments() + segments;
        while self.pair.client_segments() < end {
            self.transfer(1, false);
        }
    }

    fn send(&mut self) -> usize {
        if self.in_place {
            return self.pair.send_in_place(Side::Client, self.client, CHUNK);
        }
        let n = self.pair.send(Side::Client, self.client, &self.source[self.sent..]);
        self.sent = (self.sent + n) % CHUNK;
        n
    }

    fn recv(&mut self, check: bool) -> usize {
        if self.in_place {
            return self.pair.recv_in_place(Side::Server, self.server, CHUNK);
        }
        let room = CHUNK - self.received;
        let n = self.pair.recv(Side::Server, self.server, &mut self.out[..room]);
        if check {
            let expected = &self.source[self.received..self.received + n];
            assert!(self.out[..n] == *expected, "{}: other bytes than were sent", P::NAME);
        }
        self.received = (self.received + n) % CHUNK;
        n
    }
}

/// One connection and requests of one byte, each answered by one byte.
pub struct Rr<P: Pair> {
    pair: P,
    client: P::Socket,
    server: P::Socket,
}

impl<P: Pair> Rr<P> {
    /// Opens the connection.
    pub fn new(setup: &Setup) -> Self {
        let mut pair = P::new(setup);
        let (client, server) = open(&mut pair);
        Rr { pair, client, server }
    }

    /// One round trip.
    pub fn round_trip(&mut self) {
        assert_eq!(self.pair.send(Side::Client, self.client, &[1]), 1);
        let byte = self.wait(Side::Server, self.server);
        assert_eq!(self.pair.send(Side::Server, self.server, &[byte + 1]), 1);
        assert_eq!(self.wait(Side::Client, self.client), 2);
    }

    fn wait(&mut self, side: Side, socket: P::Socket) -> u8 {
        let mut byte = [0];
        for _ in 0..16 {
            self.pair.step();
            if self.pair.recv(side, socket, &mut byte) == 1 {
                return byte[0];
            }
        }
        panic!("{}: no byte came after sixteen steps", P::NAME);
    }
}

/// Connections one after another: connect, 64 bytes each way, both close.
pub struct Crr<P: Pair> {
    pair: P,
    /// Virtual seconds that pass for each second of CPU time.
    pace: u64,
}

impl<P: Pair> Crr<P> {
    /// Two stacks without connections.
    pub fn new(setup: &Setup, pace: u64) -> Self {
        Crr { pair: P::new(setup), pace }
    }

    /// Runs until as many connections end their TIME-WAIT as enter it.
    pub fn fill(&mut self) {
        let end = cpu_nanos() + TIME_WAIT_NANOS / self.pace + TIME_WAIT_NANOS / self.pace / 10;
        while cpu_nanos() < end {
            self.some();
        }
    }

    /// A few connections; virtual time follows the CPU time that they took.
    pub fn some(&mut self) -> u64 {
        const SOME: u64 = 32;
        let start = cpu_nanos();
        for _ in 0..SOME {
            self.one();
        }
        self.pair.pass((cpu_nanos() - start) * self.pace);
        SOME
    }

    /// One connection, from SYN to the last ACK.
    pub fn one(&mut self) {
        let pair = &mut self.pair;
        let (client, server) = open(pair);
        let (message, mut out) = ([7; MESSAGE], [0; MESSAGE]);
        assert_eq!(pair.send(Side::Client, client, &message), MESSAGE);
        step_until(pair, |pair| pair.recv(Side::Server, server, &mut out) == MESSAGE);
        assert_eq!(pair.send(Side::Server, server, &out), MESSAGE);
        step_until(pair, |pair| pair.recv(Side::Client, client, &mut out) == MESSAGE);
        pair.close(Side::Client, client);
        step_until(pair, |pair| pair.at_end(Side::Server, server));
        pair.close(Side::Server, server);
        while pair.step() {}
    }

    /// Connections in TIME-WAIT.
    pub fn time_waits(&self) -> usize {
        self.pair.time_waits()
    }
}

fn step_until<P: Pair>(pair: &mut P, mut done: impl FnMut(&mut P) -> bool) {
    for _ in 0..16 {
        pair.step();
        if done(pair) {
            return;
        }
    }
    panic!("{}: what was awaited has not come after sixteen steps", P::NAME);
}

/// Many connections, a segment on each in turn.
pub struct Spread<P: Pair> {
    pair: P,
    ends: Vec<(P::Socket, P::Socket)>,
    at: usize,
}

impl<P: Pair> Spread<P> {
    /// Opens `connections`.
    pub fn new(setup: &Setup, connections: usize) -> Self {
        let mut pair = P::new(setup);
        let ends = (0..connections).map(|_| open(&mut pair)).collect();
        Spread { pair, ends, at: 0 }
    }

    /// A segment of 1,400 bytes on each of the next 64 connections.
    pub fn batch(&mut self) -> u64 {
        const BATCH: usize = 64;
        let (data, mut out) = ([7; 1_400], [0; 2_048]);
        // A large odd stride visits connections in an order that no prefetcher knows.
        let places: [usize; BATCH] = core::array::from_fn(|i| (self.at + i) * 7_368_787 % self.ends.len());
        self.at += BATCH;
        for &place in &places {
            self.pair.send(Side::Client, self.ends[place].0, &data);
        }
        while self.pair.step() {}
        for &place in &places {
            self.pair.recv(Side::Server, self.ends[place].1, &mut out);
        }
        BATCH as u64
    }
}
