//! Benches of Sockeye and smoltcp side by side: two stacks of a kind in one thread, joined by a link in
//! memory, in virtual time. Each bench is written once over [`Pair`], so both do the same work.

pub mod clock;
pub mod ours;
pub mod pair;
pub mod report;
pub mod smol;
pub mod work;

pub use pair::{Pair, Setup, Side};
