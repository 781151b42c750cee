//! Calls, and the values in them.

use super::super::ast::{Call, EventTime, Expr, Field};
use super::super::constants;
use super::super::error::Result;
use super::super::lexer::{Kind, Token};
use super::Parser;

/// Operators in one call: a chain of them is a tree as deep as it is long.
const MAX_OPERATORS: u32 = 500;

impl Parser<'_> {
    /// `...1.5 read(3, ..., 100) = -1 EAGAIN (Resource temporarily unavailable)`, of an event at `time`.
    pub(super) fn call(&mut self, time: EventTime) -> Result<Call> {
        self.operators = 0;
        let mut end = None;
        let token = self.peek()?;
        if token.kind == Kind::Ellipsis {
            self.next()?;
            let until = self.seconds("the time at which the call returns")?;
            let start = match time {
                EventTime::Absolute(at) | EventTime::Relative(at) => Some(at),
                _ => None,
            };
            let Some(start) = start else {
                return Err(
                    self.unexpected(&token, "one time for a call that blocks, neither a range nor '*'")
                );
            };
            if until < start {
                return Err(self.unexpected(&token, "a call that returns after it starts"));
            }
            end = Some(until);
        }
        let name = self.next()?;
        if name.kind != Kind::Word || !is_name(name.text) {
            return Err(self.unexpected(&name, "the name of a call"));
        }
        self.expect('(')?;
        let args = self.list(')')?;
        let equals = self.next()?;
        if !equals.is('=') {
            return Err(self.unexpected(&equals, "'=' and what the call returns"));
        }
        let result = self.or_expr(false)?;
        let errno = self.errno()?;
        let note = self.note()?;
        Ok(Call { name: name.text.to_owned(), end, args, result, errno, note })
    }

    /// The name of an error after `-1`.
    fn errno(&mut self) -> Result<Option<String>> {
        let token = self.peek()?;
        if token.kind != Kind::Word {
            return Ok(None);
        }
        self.next()?;
        if constants::errno(token.text).is_none() {
            return Err(self.unexpected(&token, "the name of an error, as errno.h has it"));
        }
        Ok(Some(token.text.to_owned()))
    }

    /// A remark in parentheses. Its characters are no tokens: `(Can't assign requested address)`.
    fn note(&mut self) -> Result<Option<String>> {
        let open = self.peek()?;
        if !open.is('(') {
            return Ok(None);
        }
        self.next()?;
        let mut depth = 1;
        for (at, c) in self.lex.rest().char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                '\n' => break,
                _ => {}
            }
            if depth == 0 {
                let note = self.lex.rest()[..at].trim().to_owned();
                self.lex.pos += at + 1;
                return Ok(Some(note));
            }
        }
        Err(self.unexpected(&open, "')' on the same line"))
    }

    /// Values with commas between them, up to `close`.
    fn list(&mut self, close: char) -> Result<Vec<Expr>> {
        let mut items = Vec::new();
        if self.accept(close)? {
            return Ok(items);
        }
        loop {
            items.push(self.or_expr(true)?);
            if !self.comma_or(close)? {
                return Ok(items);
            }
        }
    }

    /// Takes a comma (true) or `close` (false).
    fn comma_or(&mut self, close: char) -> Result<bool> {
        let token = self.next()?;
        if token.is(',') || token.is(close) {
            return Ok(token.is(','));
        }
        Err(self.unexpected(&token, format!("',' or '{close}'")))
    }

    /// `a | b | c`. Where `arithmetic` is allowed (inside something that is closed), the other operators too; after a
    /// call's `=` they would swallow the time of the next event.
    fn or_expr(&mut self, arithmetic: bool) -> Result<Expr> {
        self.deeper(|p| {
            let mut left = p.binary(arithmetic, 0)?;
            while p.accept('|')? {
                p.count_operator()?;
                let right = p.binary(arithmetic, 0)?;
                left = Expr::Binary('|', Box::new(left), Box::new(right));
            }
            Ok(left)
        })
    }

    fn count_operator(&mut self) -> Result<()> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            return Err(self.lex.error("too many operators", format!("at most {MAX_OPERATORS} in one call")));
        }
        Ok(())
    }

    /// Operators in C's order below `|`.
    fn binary(&mut self, arithmetic: bool, level: usize) -> Result<Expr> {
        const LEVELS: [&[char]; 4] = [&['^'], &['&'], &['+', '-'], &['*', '/']];
        if !arithmetic || level == LEVELS.len() {
            return self.unary();
        }
        let mut left = self.binary(arithmetic, level + 1)?;
        loop {
            let token = self.peek()?;
            let Some(&op) = LEVELS[level].iter().find(|&&op| token.is(op)) else { return Ok(left) };
            self.next()?;
            self.count_operator()?;
            let right = self.binary(arithmetic, level + 1)?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Result<Expr> {
        let token = self.peek()?;
        let Kind::Punct(op @ ('-' | '~')) = token.kind else { return self.primary() };
        self.next()?;
        let operand = self.deeper(Self::unary)?;
        match operand {
            Expr::Int { value, hex: false } if op == '-' => {
                Ok(Expr::Int { value: value.wrapping_neg(), hex: false })
            }
            operand => Ok(Expr::Unary(op, Box::new(operand))),
        }
    }

    fn primary(&mut self) -> Result<Expr> {
        let token = self.next()?;
        match token.kind {
            Kind::Ellipsis => Ok(Expr::Any),
            Kind::Int | Kind::Hex => self.integer(&token),
            Kind::Str => {
                let bytes = self.unescape(&token)?;
                // Only directly after the string: `"GET"...`.
                let open = self.lex.rest().starts_with("...");
                self.lex.pos += if open { 3 } else { 0 };
                Ok(Expr::Str { bytes, open })
            }
            Kind::Punct('(') => {
                let inner = self.or_expr(true)?;
                self.expect(')')?;
                Ok(inner)
            }
            Kind::Punct('[') => Ok(Expr::List(self.list(']')?)),
            Kind::Punct('{') => Ok(Expr::Struct(self.fields()?)),
            Kind::Word if self.peek()?.is('(') && is_name(token.text) => self.function(&token),
            Kind::Word if constants::lookup(token.text).is_some() => Ok(Expr::Symbol(token.text.to_owned())),
            Kind::Word => Err(self.unexpected(&token, "a value or the name of a constant")),
            _ => Err(self.unexpected(&token, "a value")),
        }
    }

    fn integer(&mut self, token: &Token) -> Result<Expr> {
        let hex = token.kind == Kind::Hex;
        let value = if hex { u64::from_str_radix(&token.text[2..], 16) } else { token.text.parse::<u64>() };
        match value {
            Ok(value) => Ok(Expr::Int { value: value as i64, hex }),
            Err(_) => Err(self.unexpected(token, "a number of at most 64 bits")),
        }
    }

    /// The functions that may stand in a value.
    fn function(&mut self, name: &Token) -> Result<Expr> {
        const KNOWN: [&str; 6] = ["htons", "htonl", "ntohs", "ntohl", "inet_addr", "inet_pton"];
        if !KNOWN.contains(&name.text) {
            return Err(self.unexpected(name, format!("one of the functions {}", KNOWN.join(", "))));
        }
        self.expect('(')?;
        Ok(Expr::Call(name.text.to_owned(), self.list(')')?))
    }

    /// The members of a struct literal, after its `{`.
    fn fields(&mut self) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        if self.accept('}')? {
            return Ok(fields);
        }
        loop {
            fields.push(self.field()?);
            if !self.comma_or('}')? {
                return Ok(fields);
            }
        }
    }

    fn field(&mut self) -> Result<Field> {
        let mut ahead = self.lex;
        let name = ahead.next()?;
        let follows = ahead.next()?;
        let is_named = name.kind == Kind::Word && is_name(name.text);
        if is_named && (follows.is('=') || follows.is(':')) {
            self.lex = ahead;
            return Ok(Field { name: Some(name.text.to_owned()), arg: None, value: self.or_expr(true)? });
        }
        if is_named && follows.is('(') && name.text.starts_with("msg_") {
            self.lex = ahead;
            let arg = Some(self.or_expr(true)?);
            self.expect(')')?;
            self.expect('=')?;
            return Ok(Field { name: Some(name.text.to_owned()), arg, value: self.or_expr(true)? });
        }
        Ok(Field { name: None, arg: None, value: self.or_expr(true)? })
    }

    /// The bytes of a string token: C's escapes.
    fn unescape(&self, token: &Token) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(token.text.len());
        let mut rest = token.text;
        while let Some(at) = rest.find('\\') {
            bytes.extend_from_slice(&rest.as_bytes()[..at]);
            let after = &rest[at + 1..];
            let Some((byte, len)) = escape(after) else {
                let offset = token.span.end - 1 - rest.len() + at;
                let found = format!("the escape '\\{}'", after.chars().next().unwrap_or(' '));
                return Err(self.lex.source.error(
                    offset,
                    found,
                    "an escape of C: \\n \\t \\0 \\x41 \\\\ \\\"",
                ));
            };
            bytes.push(byte);
            rest = &after[len..];
        }
        bytes.extend_from_slice(rest.as_bytes());
        Ok(bytes)
    }
}

/// Whether `text` can be a name in C.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// The byte that the escape after a backslash means, and how many characters it has.
fn escape(after: &str) -> Option<(u8, usize)> {
    let first = after.chars().next()?;
    let simple = |byte| Some((byte, 1));
    match first {
        'n' => simple(b'\n'),
        't' => simple(b'\t'),
        'r' => simple(b'\r'),
        'a' => simple(7),
        'b' => simple(8),
        'f' => simple(12),
        'v' => simple(11),
        '\\' | '"' | '\'' | '?' => simple(first as u8),
        'x' => {
            let len = after[1..].bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
            u8::from_str_radix(&after[1..1 + len], 16).ok().map(|byte| (byte, 1 + len))
        }
        '0'..='7' => {
            let len = after.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
            u8::from_str_radix(&after[..len], 8).ok().map(|byte| (byte, len))
        }
        _ => None,
    }
}
