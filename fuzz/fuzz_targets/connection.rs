#![no_main]

// The bodies stand with the core's tests, which run all of them without a nightly compiler.
#[path = "../../crates/core/tests/fuzz_bodies/connection.rs"]
pub mod connection;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    connection::connection(input);
});
