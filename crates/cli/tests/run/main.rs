//! `sockeye run`: real programs over our stack, unmodified. What they ask for is what Linux does.
#![cfg(target_os = "linux")]

mod command;
mod kit;
mod parity;
