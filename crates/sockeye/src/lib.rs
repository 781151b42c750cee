//! Sockeye as a library.
pub use sockeye_core as core;
