//! A block's characters into tokens; indentation becomes tokens of its own.

use super::SyntaxError;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok {
    Name(String),
    Int(i128),
    Float(f64),
    Str(String),
    /// An f-string, not yet taken apart.
    Format(String),
    Punct(&'static str),
    Newline,
    Indent,
    Dedent,
    End,
}

/// A token and the byte where it starts.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub tok: Tok,
    pub at: usize,
}

/// The longest first, so that `<=` is not `<` and `=`.
const PUNCTUATION: [&str; 41] = [
    "**=", "//=", "<<=", ">>=", "==", "!=", "<>", "<=", ">=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
    "**", "//", "<<", ">>", "->", "+", "-", "*", "/", "%", "&", "|", "^", "~", "<", ">", "=", "(", ")", "[",
    "]", ",", ":", ";",
];

/// All tokens of a block, [`Tok::End`] last.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut lexer =
        Lexer { text, pos: 0, out: Vec::new(), brackets: 0, indents: vec![None], line_start: false };
    lexer.run()?;
    Ok(lexer.out)
}

struct Lexer<'a> {
    text: &'a str,
    pos: usize,
    out: Vec<Token>,
    /// Open brackets: lines do not end inside.
    brackets: usize,
    /// Columns of the open blocks. The first is not known as long as only the line of the `%{` has been read.
    indents: Vec<Option<usize>>,
    line_start: bool,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), SyntaxError> {
        while let Some(c) = self.rest().chars().next() {
            match c {
                '\n' => self.newline(),
                ' ' | '\t' | '\r' => self.pos += 1,
                '\\' if self.rest().starts_with("\\\n") => self.pos += 2,
                '\\' if self.rest().starts_with("\\\r\n") => self.pos += 3,
                '#' => self.pos += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => {
                    if self.line_start && self.brackets == 0 {
                        self.indentation()?;
                    }
                    self.line_start = false;
                    self.token(c)?;
                }
            }
        }
        self.push(Tok::Newline, self.pos);
        for _ in 1..self.indents.len() {
            self.push(Tok::Dedent, self.pos);
        }
        self.push(Tok::End, self.pos);
        Ok(())
    }

    fn rest(&self) -> &str {
        &self.text[self.pos..]
    }

    fn push(&mut self, tok: Tok, at: usize) {
        self.out.push(Token { tok, at });
    }

    fn fail<T>(&self, at: usize, found: impl Into<String>, expected: &str) -> Result<T, SyntaxError> {
        Err(SyntaxError { offset: at, found: found.into(), expected: expected.to_owned() })
    }

    fn newline(&mut self) {
        if self.brackets == 0 {
            if self.out.last().is_some_and(|last| last.tok != Tok::Newline) {
                self.push(Tok::Newline, self.pos);
            }
            self.line_start = true;
        }
        self.pos += 1;
    }

    /// Called at the first token of a line.
    fn indentation(&mut self) -> Result<(), SyntaxError> {
        let start = self.text[..self.pos].rfind('\n').map_or(0, |at| at + 1);
        let column = self.pos - start;
        let opens = matches!(
            self.out.as_slice(),
            [.., Token { tok: Tok::Punct(":"), .. }, Token { tok: Tok::Newline, .. }]
        );
        loop {
            match self.indents.last().copied().flatten() {
                None if opens => {
                    self.indents.push(Some(column));
                    self.push(Tok::Indent, self.pos);
                    return Ok(());
                }
                None => {
                    if let Some(last) = self.indents.last_mut() {
                        *last = Some(column);
                    }
                    return Ok(());
                }
                Some(open) if column == open => return Ok(()),
                Some(open) if column > open && opens => {
                    self.indents.push(Some(column));
                    self.push(Tok::Indent, self.pos);
                    return Ok(());
                }
                Some(open) if column < open && self.indents.len() > 1 => {
                    self.indents.pop();
                    self.push(Tok::Dedent, self.pos);
                }
                Some(open) => {
                    let expected = format!("{open} blanks, as on the lines before");
                    return self.fail(self.pos, format!("{column} blanks before this line"), &expected);
                }
            }
        }
    }

    fn token(&mut self, first: char) -> Result<(), SyntaxError> {
        let at = self.pos;
        if first.is_ascii_digit()
            || (first == '.' && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            return self.number(at);
        }
        if first == '"' || first == '\'' {
            return self.string(at, 0);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let rest = self.rest();
            let len = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let (word, after) = rest.split_at(len);
            let is_prefix = len <= 2 && word.chars().all(|c| "fFrRbBuU".contains(c));
            if is_prefix && after.starts_with(['"', '\'']) {
                return self.string(at, len);
            }
            let tok = Tok::Name(word.to_owned());
            self.pos += len;
            self.push(tok, at);
            return Ok(());
        }
        if first == '.' {
            self.pos += 1;
            self.push(Tok::Punct("."), at);
            return Ok(());
        }
        let Some(punct) = PUNCTUATION.into_iter().find(|punct| self.rest().starts_with(punct)) else {
            return self.fail(at, format!("the character {first:?}"), "Python as test suites use it");
        };
        match punct {
            "(" | "[" => self.brackets += 1,
            ")" | "]" => self.brackets = self.brackets.saturating_sub(1),
            _ => {}
        }
        self.pos += punct.len();
        self.push(Tok::Punct(punct), at);
        Ok(())
    }

    fn number(&mut self, at: usize) -> Result<(), SyntaxError> {
        let rest = self.rest();
        let mut len = 0;
        let mut before = ' ';
        for c in rest.chars() {
            let sign = (c == '+' || c == '-') && (before == 'e' || before == 'E') && !rest.starts_with("0x");
            if !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || sign) {
                break;
            }
            before = c;
            len += 1;
        }
        let word = &rest[..len];
        let text: String = word.chars().filter(|&c| c != '_').collect();
        let lower = text.to_ascii_lowercase();
        let int = if let Some(digits) = lower.strip_prefix("0x") {
            i128::from_str_radix(digits, 16).ok()
        } else if let Some(digits) = lower.strip_prefix("0o") {
            i128::from_str_radix(digits, 8).ok()
        } else if let Some(digits) = lower.strip_prefix("0b") {
            i128::from_str_radix(digits, 2).ok()
        } else {
            lower.strip_suffix('l').unwrap_or(&lower).parse().ok()
        };
        let is_float =
            lower.contains(['.', 'e']) && lower.chars().all(|c| c.is_ascii_digit() || ".e+-".contains(c));
        let float = if is_float { lower.parse::<f64>().ok() } else { None };
        let tok = match (int, float) {
            (Some(int), _) => Tok::Int(int),
            (None, Some(float)) => Tok::Float(float),
            (None, None) => return self.fail(at, format!("'{word}'"), "a number"),
        };
        self.pos += len;
        self.push(tok, at);
        Ok(())
    }

    fn string(&mut self, at: usize, prefix: usize) -> Result<(), SyntaxError> {
        let marks = self.rest()[..prefix].to_ascii_lowercase();
        let rest = &self.rest()[prefix..];
        let quote = &rest[..1];
        let triple = quote.repeat(3);
        let (quote, long) = if rest.starts_with(&triple) { (triple.as_str(), true) } else { (quote, false) };
        let mut out = String::new();
        let mut chars = rest[quote.len()..].char_indices().peekable();
        let raw = marks.contains('r');
        while let Some((i, c)) = chars.next() {
            if rest[quote.len() + i..].starts_with(quote) {
                self.pos += prefix + quote.len() + i + quote.len();
                let tok = if marks.contains('f') { Tok::Format(out) } else { Tok::Str(out) };
                self.push(tok, at);
                return Ok(());
            }
            match c {
                '\n' if !long => break,
                '\\' if !raw => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, '\n')) => {}
                    Some((_, c @ ('\\' | '\'' | '"'))) => out.push(c),
                    Some((_, c)) => out.extend(['\\', c]),
                    None => break,
                },
                _ => out.push(c),
            }
        }
        self.fail(at, "a string that never ends", "its closing quote")
    }
}
