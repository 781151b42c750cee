//! Many connections.

pub mod slab;
