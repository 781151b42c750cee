//! The pieces of a run, and whole runs against the stack.

mod pieces;
mod runs;
