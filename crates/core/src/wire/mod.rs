//! Bytes to meaning and back, without state.

pub mod tcp;
