//! One connection.

pub mod seq;

pub use seq::SeqNum;
