//! A script's characters into tokens.
//!
//! The parser asks for tokens one by one, because what a character means depends on where it stands: `5.` is a
//! number in a time and two control bits in a packet; the words of an error message are not words of the
//! language. A [`Lexer`] is a position in the text, so looking ahead is copying it.

use super::error::{Result, ScriptError, Source, Span};

/// What a token is. Its characters are in [`Token::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name, or letters and digits that make no number (`sackOK`, `12ab34`).
    Word,
    /// Decimal digits.
    Int,
    /// `0x` and hexadecimal digits.
    Hex,
    /// Decimal digits with a point in or before them.
    Float,
    /// A string; the text is what stands between the quotes, escapes as written.
    Str,
    /// A backquoted shell command; the text is what stands between the quotes.
    Shell,
    /// `%{ ... }%`; the text is what stands between.
    Code,
    /// `...`
    Ellipsis,
    /// A character that stands for itself.
    Punct(char),
    /// The end of the script.
    End,
}

/// One token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub span: Span,
}

impl Token<'_> {
    /// The token as a message names it.
    pub fn describe(&self) -> String {
        match self.kind {
            Kind::End => "the end of the script".to_owned(),
            Kind::Str => format!("the string \"{}\"", shorten(self.text)),
            Kind::Shell => format!("the command `{}`", shorten(self.text)),
            Kind::Code => "a %{ }% block".to_owned(),
            Kind::Float | Kind::Int | Kind::Hex => format!("the number {}", shorten(self.text)),
            Kind::Word | Kind::Ellipsis | Kind::Punct(_) => format!("'{}'", shorten(self.text)),
        }
    }

    /// Whether this is the character `c`.
    pub fn is(&self, c: char) -> bool {
        self.kind == Kind::Punct(c)
    }

    /// Whether this is the word `word`.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }
}

/// At most 40 characters of `text`, on one line.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or("");
    let mut out: String = line.chars().take(40).collect();
    if out.len() < text.trim().len() {
        out.push_str("...");
    }
    out
}

/// Names that stand for another token (`-D NAME=VALUE`).
pub(crate) type Defines = [(String, String)];

/// A position in a script.
#[derive(Clone, Copy)]
pub(crate) struct Lexer<'a> {
    pub source: &'a Source,
    pub pos: usize,
    defines: &'a Defines,
}

impl<'a> Lexer<'a> {
    pub fn new(source: &'a Source, defines: &'a Defines) -> Self {
        Lexer { source, pos: 0, defines }
    }

    /// The characters from here on.
    pub fn rest(&self) -> &'a str {
        &self.source.text[self.pos..]
    }

    /// An error here.
    pub fn error(&self, found: impl Into<String>, expected: impl Into<String>) -> Box<ScriptError> {
        self.source.error(self.pos, found, expected)
    }

    /// Skips blanks and comments: `//`, `#` to the end of the line, `/* */`.
    pub fn skip_blank(&mut self) -> Result<()> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.pos += rest.len() - trimmed.len();
            if trimmed.starts_with("//") || trimmed.starts_with('#') {
                self.pos += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if let Some(inside) = trimmed.strip_prefix("/*") {
                let Some(end) = inside.find("*/") else {
                    return Err(self.error("a comment that never ends", "'*/' after '/*'"));
                };
                self.pos += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    /// The next token.
    pub fn next(&mut self) -> Result<Token<'a>> {
        self.skip_blank()?;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(self.token(Kind::End, 0));
        };
        if first.is_ascii_alphanumeric() || first == '_' {
            return Ok(self.word_or_number());
        }
        match first {
            '.' if rest.starts_with("...") => Ok(self.token(Kind::Ellipsis, 3)),
            '.' if digits(&rest[1..]) > 0 => Ok(self.token(Kind::Float, 1 + digits(&rest[1..]))),
            '"' => self.string(),
            '`' => self.enclosed(Kind::Shell, "`", "`"),
            '%' if rest.starts_with("%{") => self.enclosed(Kind::Code, "%{", "}%"),
            '+' | '-' | '~' | '*' | '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | '=' | ',' | ':' | '|'
            | '&' | '/' | '.' | '^' => Ok(self.token(Kind::Punct(first), 1)),
            _ => Err(self.error(format!("the character {first:?}"), "a token of the script language")),
        }
    }

    /// The next token, left where it is.
    pub fn peek(&self) -> Result<Token<'a>> {
        let mut ahead = *self;
        ahead.next()
    }

    /// Takes characters as long as `keep` says so; they are no token.
    pub fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.pos += len;
        &rest[..len]
    }

    fn token(&mut self, kind: Kind, len: usize) -> Token<'a> {
        let span = Span { start: self.pos, end: self.pos + len };
        self.pos = span.end;
        Token { kind, text: &self.source.text[span.start..span.end], span }
    }

    fn word_or_number(&mut self) -> Token<'a> {
        let rest = self.rest();
        let len = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (text, after) = rest.split_at(len);
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let fraction = after.strip_prefix('.').map_or(0, digits);
            return match fraction {
                0 => self.token(Kind::Int, len),
                n => self.token(Kind::Float, len + 1 + n),
            };
        }
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        if hex.is_some_and(|hex| !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit())) {
            return self.token(Kind::Hex, len);
        }
        match self.defines.iter().rev().find(|(name, _)| name == text) {
            Some((_, value)) => {
                let token = self.token(Kind::Word, len);
                let (kind, text) = defined(value);
                Token { kind, text, ..token }
            }
            None => self.token(Kind::Word, len),
        }
    }

    fn string(&mut self) -> Result<Token<'a>> {
        let rest = self.rest();
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                '"' if !escaped => {
                    let token = self.token(Kind::Str, at + 1);
                    return Ok(Token { text: &rest[1..at], ..token });
                }
                _ => escaped = c == '\\' && !escaped,
            }
        }
        Err(self.error("a string that never ends", "'\"' on the same line"))
    }

    fn enclosed(&mut self, kind: Kind, open: &str, close: &str) -> Result<Token<'a>> {
        let inside = &self.rest()[open.len()..];
        let Some(len) = inside.find(close) else {
            return Err(self.error(format!("a '{open}' that is never closed"), format!("'{close}'")));
        };
        let token = self.token(kind, open.len() + len + close.len());
        Ok(Token { text: &inside[..len], ..token })
    }
}

/// How many decimal digits `text` starts with.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// The token that the value of a definition is.
fn defined(value: &str) -> (Kind, &str) {
    if let Some(inside) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
        return (Kind::Str, inside);
    }
    let hex =
        value.strip_prefix("0x").is_some_and(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_hexdigit()));
    let kind = match value {
        _ if hex => Kind::Hex,
        _ if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => Kind::Int,
        _ => Kind::Word,
    };
    (kind, value)
}
