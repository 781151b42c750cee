//! A host on TUN with the Linux kernel's TCP on the other side, and the kernel with itself beside it.
//!
//! `cargo bench -p sockeye --bench tun [-- [GIB] [RUNS] [up|down|rr|crr|veth|trace ...]]`
//!
//! It makes a network namespace of its own and, without the permission for one, says so and ends. Each line is one
//! run: Gbit/s and CPU seconds (user and system, all threads) for a GiB. `peer` is the part of the thread that
//! uses the kernel's sockets; the rest is ours, and holds the kernel's own receiving, which runs inside of our writes.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: TUN devices of this kind are Linux's");
}
