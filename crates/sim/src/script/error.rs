//! Where a script stands wrong, what was found there and what was expected.

use std::fmt;

/// A range of bytes of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// The text of a script and the name to give it in messages.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Source {
    /// File name, as the user gave it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A script text with its name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Source { name: name.into(), text: text.into() }
    }

    /// Line and column of a byte, both counted from 1, columns in characters.
    pub fn position(&self, offset: usize) -> (u32, u32) {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        // A character starts at each byte that is not a UTF-8 continuation byte.
        let column = before[start..].iter().filter(|&&b| b & 0xc0 != 0x80).count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// The text of line `line` (from 1), empty if there is none.
    pub fn line(&self, line: u32) -> &str {
        self.text.lines().nth((line as usize).saturating_sub(1)).unwrap_or("")
    }

    /// An error at `offset`.
    pub fn error(
        &self,
        offset: usize,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Box<ScriptError> {
        let (line, column) = self.position(offset);
        Box::new(ScriptError {
            file: self.name.clone(),
            line,
            column,
            found: found.into(),
            expected: expected.into(),
            text: self.line(line).to_owned(),
        })
    }
}

/// A script that cannot be run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The file's name.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What stands there.
    pub found: String,
    /// What could stand there.
    pub expected: String,
    /// The line itself.
    pub text: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}:{}:{}: found {}, expected {}",
            self.file, self.line, self.column, self.found, self.expected
        )?;
        let gutter = self.line.to_string();
        writeln!(f, " {gutter} | {}", self.text)?;
        // The caret's column: tabs stay tabs, so that it stands under its character in any editor.
        let before = self.text.chars().take(self.column as usize - 1);
        let pad: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, " {:width$} | {pad}^", "", width = gutter.len())
    }
}

impl std::error::Error for ScriptError {}

/// What parsing returns.
pub type Result<T> = std::result::Result<T, Box<ScriptError>>;
