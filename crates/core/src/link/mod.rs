//! Links as values: what happens to a packet between two stacks, in given time and from a given seed.

mod impair;
mod spec;
#[cfg(test)]
mod tests;

pub use impair::{Direction, Impairment, LinkCounters};
pub use spec::{Bursts, DirectionSpec, GRAMMAR, LinkSpec, Outage, Queue, Reorder, SpecError};
