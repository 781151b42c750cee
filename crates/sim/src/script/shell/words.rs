//! A shell text into simple commands: words, quotes, comments, arithmetic, redirections.

use super::{Refused, Result};

/// One command with its words, quotes taken off.
pub(super) struct Simple {
    pub words: Vec<String>,
    /// The commands that its output is piped through, in order.
    pub pipe: Vec<Vec<String>>,
    /// The file that its output goes to, unless that is `/dev/null`.
    pub redirect: Option<String>,
    pub offset: usize,
    pub text: String,
}

impl Simple {
    /// The error that this command is not understood.
    pub fn refuse(&self, expected: &str) -> Refused {
        Refused { offset: self.offset, command: self.text.clone(), expected: expected.to_owned() }
    }
}

/// Words that start what is more than a simple command.
const COMPOUND: [&str; 13] =
    ["if", "then", "else", "fi", "for", "while", "until", "do", "done", "case", "function", "{", "["];

/// Takes `text` apart at line ends, `;` and `&&`.
pub(super) fn simple_commands(text: &str) -> Result<Vec<Simple>> {
    let mut commands = Vec::new();
    let mut scan = Scan { text, pos: 0 };
    while scan.pos < text.len() {
        if let Some(command) = scan.command()? {
            if command.words.first().is_some_and(|word| COMPOUND.contains(&word.as_str())) {
                return Err(command.refuse("simple commands: no conditions or loops"));
            }
            commands.push(command);
        }
    }
    Ok(commands)
}

struct Scan<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }

    fn refuse<T>(&self, from: usize, expected: &str) -> Result<T> {
        let line = self.text[from..].lines().next().unwrap_or("").trim().to_owned();
        Err(Refused { offset: from, command: line, expected: expected.to_owned() })
    }

    /// Blanks and line continuations.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            if rest.starts_with("\\\n") {
                self.pos += 2;
            } else if rest.starts_with([' ', '\t', '\r']) {
                self.pos += 1;
            } else {
                return;
            }
        }
    }

    /// The next command, none for an empty line.
    fn command(&mut self) -> Result<Option<Simple>> {
        self.skip_blank();
        let offset = self.pos;
        let mut words = Vec::new();
        let mut pipe: Vec<Vec<String>> = Vec::new();
        let mut redirect = None;
        let mut end;
        loop {
            self.skip_blank();
            end = self.pos;
            let rest = self.rest();
            let Some(first) = rest.chars().next() else { break };
            if first == '#' {
                self.pos += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            if first == '\n' || first == ';' {
                self.pos += 1;
                break;
            }
            if rest.starts_with("&&") {
                self.pos += 2;
                break;
            }
            if let Some(after) = rest.strip_prefix("||") {
                // `command || true` only forgives a failure, and what is recognised does not fail.
                let after = after.trim_start();
                let Some(tail) = ["true", ":"].iter().find_map(|word| after.strip_prefix(word)) else {
                    return self.refuse(offset, "no alternative after '||' but 'true'");
                };
                self.pos = self.text.len() - tail.len();
                continue;
            }
            if first == '|' && !words.is_empty() {
                self.pos += 1;
                pipe.push(Vec::new());
                continue;
            }
            if first == '|' || first == '(' || first == ')' || (first == '&' && !rest.starts_with("&>")) {
                return self.refuse(offset, "simple commands: no subshells or background jobs");
            }
            if self.redirection(&mut redirect)? {
                continue;
            }
            let word = self.word()?;
            pipe.last_mut().unwrap_or(&mut words).push(word);
        }
        if words.is_empty() && redirect.is_none() {
            return Ok(None);
        }
        let text = self.text[offset..end].trim().to_owned();
        Ok(Some(Simple { words, pipe, redirect, offset, text }))
    }

    /// `> file`, `2>&1`, `&> /dev/null`, if that is what comes next.
    fn redirection(&mut self, redirect: &mut Option<String>) -> Result<bool> {
        let rest = self.rest();
        let error = rest.starts_with("2>");
        let Some(sign) = ["2>&1", "1>&2", ">&2", "&>", "2>>", "2>", "1>", ">>", ">"]
            .iter()
            .find(|s| rest.starts_with(**s))
        else {
            if rest.starts_with('<') {
                return self.refuse(self.pos, "no input from a file");
            }
            return Ok(false);
        };
        self.pos += sign.len();
        if sign.contains(">&") {
            return Ok(true);
        }
        self.skip_blank();
        let target = self.word()?;
        if target.is_empty() {
            return self.refuse(self.pos, "a file after '>'");
        }
        if target != "/dev/null" && !error {
            *redirect = Some(target);
        }
        Ok(true)
    }

    /// One word. Quotes come off; arithmetic is worked out; variables stay as they are.
    fn word(&mut self) -> Result<String> {
        let start = self.pos;
        let mut out = String::new();
        let mut quoted = None;
        while let Some(c) = self.rest().chars().next() {
            if quoted != Some('\'') && self.rest().starts_with("$((") {
                out.push_str(&self.arithmetic(start)?);
                continue;
            }
            match (quoted, c) {
                (None, ' ' | '\t' | '\r' | '\n' | ';' | '|' | '&' | '>' | '<' | '(' | ')') => break,
                (None, '"' | '\'') => quoted = Some(c),
                (Some(quote), c) if c == quote => quoted = None,
                (None | Some('"'), '\\') => {
                    self.pos += 1;
                    let Some(escaped) = self.rest().chars().next() else { break };
                    if escaped == '\n' {
                        self.pos += 1;
                        continue;
                    }
                    if quoted.is_some() && !['"', '\\', '$', '`'].contains(&escaped) {
                        out.push('\\');
                    }
                    out.push(escaped);
                    self.pos += escaped.len_utf8();
                    continue;
                }
                (_, c) => out.push(c),
            }
            self.pos += c.len_utf8();
        }
        match quoted {
            None => Ok(out),
            Some(_) => self.refuse(start, "a quote that is closed"),
        }
    }

    /// `$((15*1024*1024))`.
    fn arithmetic(&mut self, start: usize) -> Result<String> {
        let inside = &self.rest()[3..];
        let mut depth = 0;
        let end = inside.char_indices().find(|&(at, c)| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth < 0 && inside[at..].starts_with("))")
        });
        let Some((len, _)) = end else { return self.refuse(start, "'))' after '$(('") };
        let expression = &inside[..len];
        // C's integer division, written as Python writes it.
        let program = crate::script::python::parse(&format!("print {}", expression.replace('/', "//")));
        let Ok(program) = program else { return self.refuse(start, "arithmetic on numbers") };
        match crate::script::python::Interpreter::new().run(&program, &|_| None).as_deref() {
            Ok([value]) => {
                self.pos += 3 + len + 2;
                Ok(value.clone())
            }
            _ => self.refuse(start, "arithmetic on numbers"),
        }
    }
}
