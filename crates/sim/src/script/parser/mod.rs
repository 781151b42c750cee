//! Tokens into a [`Script`]: its option lines, its shell commands, its events.
//!
//! `packet.rs` reads packets, `tcp_option.rs` their options, `call.rs` calls and the values in them.

mod call;
mod packet;
mod tcp_option;

use std::time::Duration;

use super::ast::{Action, CodeBlock, Command, Event, EventTime, OptionLine, Script};
use super::error::{Result, ScriptError, Source, Span};
use super::lexer::{Defines, Kind, Lexer, Token, shorten};
use super::{python, shell};

/// Values nested deeper than this are refused.
const MAX_DEPTH: u32 = 64;
/// Times beyond this many seconds are refused.
const MAX_SECONDS: u64 = 1_000_000_000;

/// Parses a script. `defines` are names that stand for another word, as `-D NAME=VALUE` gives them; the
/// script's own definitions come on top.
pub fn parse(source: Source, defines: &[(String, String)]) -> Result<Script> {
    let mut all: Vec<(String, String)> = defines.to_vec();
    let mut options = Parser::new(&source, &[]);
    let lines = options.options(&mut all)?;
    let after = options.lex.pos;

    let mut parser = Parser::new(&source, &all);
    parser.lex.pos = after;
    let init = parser.commands()?;
    let mut events = Vec::new();
    let mut cleanup = Vec::new();
    loop {
        let token = parser.peek()?;
        match token.kind {
            Kind::End => break,
            Kind::Shell if !events.is_empty() => {
                cleanup = parser.commands()?;
                let end = parser.next()?;
                if end.kind != Kind::End {
                    return Err(parser.unexpected(&end, "the end of the script after its last command"));
                }
                break;
            }
            _ => events.push(parser.event()?),
        }
    }
    if events.is_empty() && init.is_empty() {
        let end = parser.peek()?;
        return Err(parser.unexpected(&end, "an event"));
    }
    Ok(Script { options: lines, init, events, cleanup, source: source.clone() })
}

/// The state of parsing: where we are.
struct Parser<'a> {
    lex: Lexer<'a>,
    depth: u32,
    /// Operators in the call so far.
    operators: u32,
}

impl<'a> Parser<'a> {
    fn new(source: &'a Source, defines: &'a Defines) -> Self {
        Parser { lex: Lexer::new(source, defines), depth: 0, operators: 0 }
    }

    fn peek(&self) -> Result<Token<'a>> {
        self.lex.peek()
    }

    fn next(&mut self) -> Result<Token<'a>> {
        self.lex.next()
    }

    /// An error at `token`.
    fn unexpected(&self, token: &Token, expected: impl Into<String>) -> Box<ScriptError> {
        self.lex.source.error(token.span.start, token.describe(), expected)
    }

    /// Takes the character `c`, or fails.
    fn expect(&mut self, c: char) -> Result<Token<'a>> {
        let token = self.next()?;
        if token.is(c) { Ok(token) } else { Err(self.unexpected(&token, format!("'{c}'"))) }
    }

    /// Takes the character `c` if it comes next.
    fn accept(&mut self, c: char) -> Result<bool> {
        let is = self.peek()?.is(c);
        if is {
            self.next()?;
        }
        Ok(is)
    }

    /// Takes the word `word` if it comes next.
    fn accept_word(&mut self, word: &str) -> Result<bool> {
        let is = self.peek()?.is_word(word);
        if is {
            self.next()?;
        }
        Ok(is)
    }

    /// Takes a number from 0 to `max`, decimal or hexadecimal; `what` names it.
    fn number(&mut self, max: u64, what: &str) -> Result<u64> {
        let token = self.next()?;
        let value = match token.kind {
            Kind::Int => token.text.parse().ok(),
            Kind::Hex => u64::from_str_radix(&token.text[2..], 16).ok(),
            _ => return Err(self.unexpected(&token, what)),
        };
        value
            .filter(|&value| value <= max)
            .ok_or_else(|| self.unexpected(&token, format!("{what} up to {max}")))
    }

    fn number_u32(&mut self, what: &str) -> Result<u32> {
        self.number(u32::MAX.into(), what).map(|n| n as u32)
    }

    fn number_u16(&mut self, what: &str) -> Result<u16> {
        self.number(u16::MAX.into(), what).map(|n| n as u16)
    }

    fn number_u8(&mut self, what: &str) -> Result<u8> {
        self.number(u8::MAX.into(), what).map(|n| n as u8)
    }

    /// The `--name=value` lines; definitions among them are added to `defines`.
    fn options(&mut self, defines: &mut Vec<(String, String)>) -> Result<Vec<OptionLine>> {
        let mut lines = Vec::new();
        loop {
            self.lex.skip_blank()?;
            let start = self.lex.pos;
            if self.lex.rest().starts_with("-D") {
                self.lex.pos += 2;
                self.lex.take_while(|c| c == ' ' || c == '\t');
                let value = self.option_value()?;
                self.define(start, &value, defines)?;
                let span = Span { start, end: self.lex.pos };
                lines.push(OptionLine { name: "define".to_owned(), value: Some(value), span });
                continue;
            }
            if !self.lex.rest().starts_with("--") {
                return Ok(lines);
            }
            self.lex.pos += 2;
            let name = self.lex.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-').to_owned();
            if name.is_empty() {
                return Err(self.lex.error("'--'", "the name of an option after it"));
            }
            let value = if self.lex.rest().starts_with('=') {
                self.lex.pos += 1;
                Some(self.option_value()?)
            } else {
                None
            };
            if name == "define" {
                self.define(start, value.as_deref().unwrap_or(""), defines)?;
            }
            lines.push(OptionLine { name, value, span: Span { start, end: self.lex.pos } });
        }
    }

    /// What follows an option's `=`: up to the next blank, or a string.
    fn option_value(&mut self) -> Result<String> {
        if !self.lex.rest().starts_with('"') {
            let value = self.lex.take_while(|c| !c.is_whitespace());
            if value.is_empty() {
                return Err(self.lex.error("nothing", "a value for this option"));
            }
            return Ok(value.to_owned());
        }
        let token = self.next()?;
        Ok(token.text.to_owned())
    }

    fn define(&self, start: usize, text: &str, defines: &mut Vec<(String, String)>) -> Result<()> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                defines.push((name.to_owned(), value.to_owned()));
                Ok(())
            }
            _ => Err(self.lex.source.error(start, format!("the definition '{text}'"), "NAME=VALUE")),
        }
    }

    /// Shell commands that stand for themselves, without a time.
    fn commands(&mut self) -> Result<Vec<Command>> {
        let mut commands = Vec::new();
        while self.peek()?.kind == Kind::Shell {
            commands.push(self.command()?);
        }
        Ok(commands)
    }

    fn command(&mut self) -> Result<Command> {
        let token = self.next()?;
        let settings = shell::parse(token.text).map_err(|refused| {
            let found = format!("the command `{}`", shorten(&refused.command));
            self.lex.source.error(token.span.start + 1 + refused.offset, found, refused.expected)
        })?;
        Ok(Command { text: token.text.to_owned(), settings, span: token.span })
    }

    fn event(&mut self) -> Result<Event> {
        self.lex.skip_blank()?;
        let start = self.lex.pos;
        let (line, _) = self.lex.source.position(start);
        let time = self.event_time()?;
        let token = self.peek()?;
        let action = match token.kind {
            Kind::Punct('<' | '>') => Action::Packet(Box::new(self.packet()?)),
            Kind::Shell => Action::Shell(self.command()?),
            Kind::Code => Action::Code(self.code()?),
            Kind::Word | Kind::Ellipsis => Action::Call(self.call(time)?),
            _ => {
                let expected = "a packet ('<' or '>'), a call, a `command` or a %{ }% block";
                return Err(self.unexpected(&token, expected));
            }
        };
        Ok(Event { line, span: Span { start, end: self.lex.pos }, time, action })
    }

    fn event_time(&mut self) -> Result<EventTime> {
        if self.accept('*')? {
            return Ok(EventTime::Any);
        }
        let start = self.lex.pos;
        let relative = self.accept('+')?;
        let from = self.seconds(if relative { "seconds after '+'" } else { "the time of an event" })?;
        if !self.accept('~')? {
            return Ok(if relative { EventTime::Relative(from) } else { EventTime::Absolute(from) });
        }
        let to_relative = self.accept('+')?;
        let to = self.seconds("the end of the time range")?;
        if to_relative && !relative {
            let found = "a range from an absolute time to a relative one";
            return Err(self.lex.source.error(start, found, "both ends of one kind"));
        }
        if to < from {
            return Err(self.lex.source.error(
                start,
                "a time range that ends before it starts",
                "the earlier time first",
            ));
        }
        Ok(if relative { EventTime::RelativeRange(from, to) } else { EventTime::AbsoluteRange(from, to) })
    }

    /// Seconds with up to nine decimals.
    fn seconds(&mut self, what: &str) -> Result<Duration> {
        let token = self.next()?;
        if !matches!(token.kind, Kind::Int | Kind::Float) {
            return Err(self.unexpected(&token, what));
        }
        let (whole, fraction) = token.text.split_once('.').unwrap_or((token.text, ""));
        let seconds = if whole.is_empty() { Some(0) } else { whole.parse::<u64>().ok() };
        let Some(seconds) = seconds.filter(|&seconds| seconds <= MAX_SECONDS) else {
            return Err(self.unexpected(&token, format!("{what} up to {MAX_SECONDS}")));
        };
        // Digits below a nanosecond say nothing.
        let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        let nanos = nanos.fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        Ok(Duration::new(seconds, nanos))
    }

    fn code(&mut self) -> Result<CodeBlock> {
        let token = self.next()?;
        let program = python::parse(token.text).map_err(|error| {
            self.lex.source.error(token.span.start + 2 + error.offset, error.found, error.expected)
        })?;
        Ok(CodeBlock { text: token.text.to_owned(), program })
    }

    /// Runs `inner` one level deeper, unless that is too deep.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.lex.error("values nested too deeply", format!("at most {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }
}
