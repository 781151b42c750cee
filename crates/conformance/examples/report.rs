//! Writes `docs/CONFORMANCE.md` from the tests as they stand: `cargo run -p sockeye-conformance --example report`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use sockeye_conformance::Report;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let written = Report::read(&root).and_then(|report| {
        let page = root.join("docs/CONFORMANCE.md");
        fs::write(&page, report.to_markdown()).map_err(|error| format!("{}: {error}", page.display()))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
