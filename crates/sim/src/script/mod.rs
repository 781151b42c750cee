//! Scripts in the packetdrill language: what is sent to a TCP, what it must answer, and what its calls return.
//!
//! [`parse`] reads a script whole: option lines, times, calls, packets, shell commands and assertions. What it
//! cannot read it refuses with line, column, what it found and what it expected; nothing is skipped. [`run::run`] runs
//! it against a stack of its own.

pub mod ast;
mod config;
pub mod constants;
mod error;
mod eval;
mod header;
pub mod icmp;
mod lexer;
mod names;
mod parser;
mod print;
pub mod python;
pub mod run;
pub mod shell;
#[cfg(test)]
mod tests;

pub use ast::{OptionLine, Script};
pub use config::{Config, IpVersion};
pub use error::{Result, ScriptError, Source, Span};
pub use eval::{EvalError, address, bytes, number};
pub use header::Header;
pub use names::suite_names;
pub use parser::parse;
pub use print::FlagLetters;
