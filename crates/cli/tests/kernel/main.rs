//! The command against the Linux kernel's TCP and real programs on it, over TUN, in network namespaces of their own.
//!
//! Needs root, `/dev/net/tun`, and the programs that a test names. Without them a test prints why and is skipped;
//! with `SOCKEYE_REQUIRE_PEERS=1` it fails instead.

mod bulk;
mod clients;
mod ends;
mod errors;
mod http;
mod lab;
mod link;
mod listener;
mod many;
