//! Seeded faults: small changes of the sources, each of which breaks a rule that tests claim to show.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::report::{rows, string, strings};

/// One change that breaks rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// The file, from the workspace's folder.
    pub file: String,
    /// What stands there, exactly once.
    pub old: String,
    /// What takes its place.
    pub new: String,
    /// The requirements that are broken by it: of each, a test that claims it must fail.
    pub ids: Vec<String>,
}

impl Fault {
    pub(crate) fn from_row(row: &toml::Table) -> Result<Fault, String> {
        Ok(Fault {
            name: string(row, "name")?,
            file: string(row, "file")?,
            old: string(row, "old")?,
            new: row.get("new").and_then(toml::Value::as_str).unwrap_or("").to_owned(),
            ids: strings(row, "ids")?,
        })
    }

    /// The file's text with the fault in it.
    ///
    /// # Errors
    /// Unless `old` stands there exactly once.
    pub fn seed(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.old).count() {
            1 if self.old == self.new => Err(format!("{}: changes nothing", self.name)),
            1 => Ok(text.replacen(&self.old, &self.new, 1)),
            n => Err(format!("{}: what it changes stands {n} times in {}, not once", self.name, self.file)),
        }
    }

    /// What the fault is, in a number: an outcome counts for nothing once the fault is another.
    pub fn digest(&self) -> String {
        // FNV-1a, 64 bits: nobody attacks this.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for text in [&self.file, &self.old, &self.new, &self.ids.join(",")] {
            for byte in text.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        format!("{hash:016x}")
    }
}

/// What became of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The digest of the fault that was seeded.
    pub digest: String,
    /// For each requirement the test that failed; empty where all that claim it passed.
    pub by: Vec<String>,
}

impl Outcome {
    /// Whether for each requirement a test failed.
    pub fn caught(&self) -> bool {
        !self.by.is_empty() && self.by.iter().all(|test| !test.is_empty())
    }
}

/// What became of all faults, as their runner writes it down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes(pub BTreeMap<String, Outcome>);

impl Outcomes {
    /// Reads what the runner wrote.
    ///
    /// # Errors
    /// A text that it did not write.
    pub fn from_text(text: &str) -> Result<Outcomes, String> {
        let read = |row: &toml::Table| {
            let outcome = Outcome { digest: string(row, "digest")?, by: strings(row, "by")? };
            Ok((string(row, "name")?, outcome))
        };
        Ok(Outcomes(rows(text, "outcome", read)?.into_iter().collect()))
    }

    /// What the runner writes.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# Written by `cargo run -p sockeye-conformance --example faults`, not by hand: for each seeded fault and each\n\
             # requirement that it breaks, the test that failed; an empty name where all tests that claim it passed.\n",
        );
        for (name, outcome) in &self.0 {
            let by: Vec<String> = outcome.by.iter().map(|test| format!("\"{test}\"")).collect();
            write!(
                text,
                "\n[[outcome]]\nname = \"{name}\"\ndigest = \"{}\"\nby = [{}]\n",
                outcome.digest,
                by.join(", ")
            )
            .expect("a string takes all");
        }
        text
    }

    /// How many were caught, of how many.
    pub fn figure(&self) -> (usize, usize) {
        (self.0.values().filter(|outcome| outcome.caught()).count(), self.0.len())
    }

    /// Where they do not belong to these faults.
    pub fn contradictions(&self, faults: &[Fault]) -> Vec<String> {
        let again = "run `cargo run -p sockeye-conformance --example faults`";
        let mut wrong = Vec::new();
        for fault in faults {
            match self.0.get(&fault.name) {
                None => wrong.push(format!("the fault '{}' has no outcome: {again}", fault.name)),
                Some(outcome) if outcome.digest != fault.digest() => {
                    wrong.push(format!("the fault '{}' was changed after its outcome: {again}", fault.name));
                }
                Some(_) => {}
            }
        }
        let gone = self.0.keys().filter(|name| !faults.iter().any(|fault| fault.name == **name));
        wrong.extend(gone.map(|name| format!("an outcome of '{name}', which is no fault: {again}")));
        wrong
    }
}
