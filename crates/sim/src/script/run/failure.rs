//! What is told of a run: the ladder as it goes, and where it went wrong.

use std::fmt;
use std::time::Duration;

use super::compare::Difference;
use crate::script::Source;

/// One line of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Since the start of the script.
    pub at: Duration,
    /// The event that did or expected it, by its line; none for what the stack did unasked.
    pub line: Option<u32>,
    /// The packet or the call.
    pub what: String,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", Clock(self.at))?;
        match self.line {
            Some(line) => write!(f, "{line:>5}  ")?,
            None => write!(f, "    -  ")?,
        }
        f.write_str(&self.what)
    }
}

/// Seconds with microseconds.
pub(super) struct Clock(pub Duration);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// Why a script failed, or could not be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The file's name.
    pub file: String,
    /// The line of the event.
    pub line: u32,
    /// The line itself.
    pub text: String,
    /// When, since the start of the script.
    pub at: Duration,
    /// What is wrong, in words.
    pub what: String,
    /// What was expected and what was seen instead, where it is a packet.
    pub packets: Option<(String, String)>,
    /// The fields in which those two differ.
    pub differences: Vec<Difference>,
    /// All that happened before.
    pub ladder: Vec<Rung>,
}

impl Failure {
    /// A failure at a line of a script.
    pub(super) fn new(
        source: &Source,
        line: u32,
        at: Duration,
        what: String,
        ladder: Vec<Rung>,
    ) -> Box<Failure> {
        Box::new(Failure {
            file: source.name.clone(),
            line,
            text: source.line(line).to_owned(),
            at,
            what,
            packets: None,
            differences: Vec::new(),
            ladder,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: at {}: {}", self.file, self.line, Clock(self.at).to_string().trim(), self.what)?;
        write!(f, " {} | {}", self.line, self.text)?;
        if let Some((expected, actual)) = &self.packets {
            write!(f, "\n  expected {expected}\n  actual   {actual}")?;
        }
        for difference in &self.differences {
            write!(f, "\n  --> {difference}")?;
        }
        if !self.ladder.is_empty() {
            f.write_str("\nso far:")?;
        }
        for rung in &self.ladder {
            write!(f, "\n  {rung}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
