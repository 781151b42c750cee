//! What the command prints: lines for people, or lines of JSON. A reader that has gone away is no error to talk about.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Prints events, for people or as JSON.
#[derive(Debug)]
pub struct Out {
    stream: Stream,
    json: bool,
    gone: AtomicBool,
}

impl Out {
    pub fn new(stream: Stream, json: bool) -> Self {
        Out { stream, json, gone: AtomicBool::new(false) }
    }

    /// Whether lines are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether the reader of the lines has gone away (`sockeye demo | head`).
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Whether a person with a terminal reads, who did not ask for plain text (NO_COLOR).
    pub fn has_colour(&self) -> bool {
        let terminal = match self.stream {
            Stream::Stdout => io::stdout().is_terminal(),
            Stream::Stderr => io::stderr().is_terminal(),
        };
        terminal && !self.json && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// A line that only people read.
    pub fn say(&self, line: &str) {
        if !self.json {
            self.line(line);
        }
    }

    /// An event that only programs read.
    pub fn record(&self, event: &Value) {
        if self.json {
            self.line(&event.to_string());
        }
    }

    /// An event for both, each in its form.
    pub fn event(&self, line: &str, event: impl FnOnce() -> Value) {
        if self.json { self.line(&event().to_string()) } else { self.line(line) }
    }

    fn line(&self, line: &str) {
        if self.is_gone() {
            return;
        }
        let written = match self.stream {
            Stream::Stdout => writeln!(io::stdout().lock(), "{line}"),
            Stream::Stderr => writeln!(io::stderr().lock(), "{line}"),
        };
        if written.is_err() {
            self.gone.store(true, Ordering::Relaxed);
        }
    }
}
