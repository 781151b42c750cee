//! Reads the claims of all tests once, so that the report is part of the program and needs no sources.

#[path = "src/claims.rs"]
mod claims;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    println!("cargo::rerun-if-changed={}", root.join("crates").display());
    let read = claims::read(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let lines: String = read.tests.iter().map(|test| test.to_line() + "\n").collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("claims.tsv"), lines).expect("cargo's own folder can be written");
}
