//! Many connections.

pub mod slab;
pub mod wheel;
