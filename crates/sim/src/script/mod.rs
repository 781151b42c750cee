//! Scripts in the packetdrill language: what is sent to a TCP, what it must answer, and what its calls return.

pub mod constants;
mod error;
pub mod python;
pub mod shell;

pub use error::{Result, ScriptError, Source, Span};
