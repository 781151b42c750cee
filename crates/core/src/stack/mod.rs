//! Many connections.

pub mod fragment;
pub mod slab;
pub mod wheel;
