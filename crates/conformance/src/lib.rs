//! Which requirement of `docs/requirements.toml` is shown by which test, read from the tests themselves.
//!
//! A test says what it shows (`/// Shows: id, id`); the build reads every claim and the [`Report`] joins them with the
//! catalogue and with `docs/exceptions.toml`. `sockeye conformance` prints it, `cargo run -p sockeye-conformance
//! --example report` writes it to `docs/CONFORMANCE.md`, and `--example faults` breaks the rules one by one to see that
//! the tests that claim them notice.

pub mod claims;
pub mod faults;
mod markdown;
mod report;

pub use report::{Exception, GivenUp, Level, Report, Requirement, Source, Status, Tally};

#[cfg(test)]
mod tests;
