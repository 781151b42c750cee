//! Heap bytes of an idle established connection, all told: `memory sockeye|smoltcp CONNECTIONS`.
//!
//! Half of what both stacks together have grown by, for each connection: its buffers, its places in the
//! tables, timers, everything. smoltcp's sockets have two buffers of 4 KiB each, which they hold always.

use std::alloc::System;

use sockeye_bench::Pair;
use sockeye_bench::ours::Sockeye;
use sockeye_bench::pair::{Setup, open};
use sockeye_bench::smol::Smoltcp;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let connections = args.get(2).and_then(|n| n.parse().ok());
    let bytes = match (args.get(1).map(String::as_str), connections) {
        (Some("sockeye"), Some(n)) => idle::<Sockeye>(n),
        (Some("smoltcp"), Some(n)) => idle::<Smoltcp>(n),
        _ => {
            eprintln!("usage: memory sockeye|smoltcp CONNECTIONS");
            std::process::exit(2);
        }
    };
    println!("{bytes}");
}

fn idle<P: Pair>(connections: usize) -> f64 {
    let mut pair = P::new(&Setup { buffer: 4_096, ..Setup::default() });
    open(&mut pair);
    let region = Region::new(ALLOCATOR);
    for _ in 0..connections {
        open(&mut pair);
    }
    let change = region.change();
    let grown = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
    grown / connections as f64 / 2.0
}
