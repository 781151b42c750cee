//! Tokens of a block into statements.

use super::lexer::{Tok, Token, tokens};
use super::{Compare, Expr, Op, Program, Stmt, StmtKind, SyntaxError, Value};

/// Expressions and blocks nested deeper than this are refused.
const MAX_DEPTH: u32 = 50;

type Result<T> = std::result::Result<T, SyntaxError>;

/// Operators in one statement: a chain of them is a tree as deep as it is long.
const MAX_OPERATORS: u32 = 500;

/// Words of Python that this subset does not have; they are refused by name.
const REFUSED: [&str; 18] = [
    "import", "from", "def", "class", "lambda", "return", "yield", "try", "except", "finally", "raise",
    "with", "global", "nonlocal", "del", "async", "await", "exec",
];

/// Words that are no names.
const KEYWORDS: [&str; 14] = [
    "and", "or", "not", "if", "elif", "else", "for", "while", "in", "is", "assert", "pass", "break",
    "continue",
];

/// Parses what stands between `%{` and `}%`.
pub fn parse(text: &str) -> Result<Program> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens, at: 0, depth: 0, operators: 0 };
    let mut body = Vec::new();
    while parser.peek() != &Tok::End {
        parser.statement(&mut body)?;
    }
    Ok(Program { body })
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
    operators: u32,
}

impl Parser<'_> {
    fn peek(&self) -> &Tok {
        // The last token is `End`, and nothing steps over it.
        &self.tokens[self.at].tok
    }

    fn offset(&self) -> usize {
        self.tokens[self.at].at
    }

    fn next(&mut self) -> Tok {
        let tok = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        tok
    }

    fn fail<T>(&self, expected: impl Into<String>) -> Result<T> {
        let found = match self.peek() {
            Tok::Name(name) => format!("'{name}'"),
            Tok::Int(n) => format!("the number {n}"),
            Tok::Float(n) => format!("the number {n}"),
            Tok::Str(_) | Tok::Format(_) => "a string".to_owned(),
            Tok::Punct(p) => format!("'{p}'"),
            Tok::Newline => "the end of the line".to_owned(),
            Tok::Indent => "a deeper block".to_owned(),
            Tok::Dedent => "the end of the block".to_owned(),
            Tok::End => "the end of the code".to_owned(),
        };
        Err(SyntaxError { offset: self.offset(), found, expected: expected.into() })
    }

    fn is(&self, punct: &str) -> bool {
        matches!(self.peek(), Tok::Punct(p) if *p == punct)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Tok::Name(n) if n == name)
    }

    fn accept(&mut self, punct: &str) -> bool {
        let is = self.is(punct);
        if is {
            self.next();
        }
        is
    }

    fn accept_name(&mut self, name: &str) -> bool {
        let is = self.is_name(name);
        if is {
            self.next();
        }
        is
    }

    fn expect(&mut self, punct: &'static str) -> Result<()> {
        if self.accept(punct) { Ok(()) } else { self.fail(format!("'{punct}'")) }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return self.fail(format!("at most {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// One line: a compound statement, or simple ones with `;` between them.
    fn statement(&mut self, body: &mut Vec<Stmt>) -> Result<()> {
        if self.peek() == &Tok::Newline {
            self.next();
            return Ok(());
        }
        let line = self.line();
        self.operators = 0;
        let compound = match self.peek() {
            Tok::Name(name) => name.clone(),
            _ => String::new(),
        };
        let kind = match compound.as_str() {
            "if" => self.deeper(Self::if_statement)?,
            "while" => {
                self.next();
                let condition = self.expr()?;
                StmtKind::While(condition, self.block()?)
            }
            "for" => {
                self.next();
                let targets = self.names()?;
                if !self.accept_name("in") {
                    return self.fail("'in'");
                }
                let items = self.exprs()?;
                StmtKind::For(targets, items, self.block()?)
            }
            _ => return self.simple_line(body),
        };
        body.push(Stmt { line, kind });
        Ok(())
    }

    fn line(&self) -> u32 {
        let before = &self.text.as_bytes()[..self.offset().min(self.text.len())];
        u32::try_from(before.iter().filter(|&&b| b == b'\n').count()).unwrap_or(u32::MAX)
    }

    fn simple_line(&mut self, body: &mut Vec<Stmt>) -> Result<()> {
        loop {
            let line = self.line();
            self.operators = 0;
            let kind = self.simple()?;
            body.push(Stmt { line, kind });
            if self.accept(";") && self.peek() != &Tok::Newline {
                continue;
            }
            if self.peek() != &Tok::Newline {
                return self.fail("the end of the statement");
            }
            self.next();
            return Ok(());
        }
    }

    fn if_statement(&mut self) -> Result<StmtKind> {
        let mut arms = Vec::new();
        loop {
            self.next();
            let condition = self.expr()?;
            arms.push((condition, self.block()?));
            if self.is_name("elif") {
                continue;
            }
            let otherwise = if self.accept_name("else") { self.block()? } else { Vec::new() };
            return Ok(StmtKind::If(arms, otherwise));
        }
    }

    /// `: statement` or a deeper block.
    fn block(&mut self) -> Result<Vec<Stmt>> {
        self.expect(":")?;
        let mut body = Vec::new();
        if self.peek() != &Tok::Newline {
            self.simple_line(&mut body)?;
            return Ok(body);
        }
        self.next();
        if self.peek() != &Tok::Indent {
            return self.fail("a block that stands deeper");
        }
        self.next();
        self.deeper(|p| {
            while !matches!(p.peek(), Tok::Dedent | Tok::End) {
                p.statement(&mut body)?;
            }
            Ok(())
        })?;
        self.next();
        Ok(body)
    }

    fn simple(&mut self) -> Result<StmtKind> {
        let word = match self.peek() {
            Tok::Name(name) => name.clone(),
            _ => String::new(),
        };
        match word.as_str() {
            "pass" | "break" | "continue" => {
                self.next();
                Ok(match word.as_str() {
                    "pass" => StmtKind::Pass,
                    "break" => StmtKind::Break,
                    _ => StmtKind::Continue,
                })
            }
            "assert" => {
                self.next();
                let start = self.offset();
                let condition = self.expr()?;
                let source = self.text[start..self.offset().max(start)].trim().to_owned();
                let message = if self.accept(",") { Some(self.exprs()?) } else { None };
                Ok(StmtKind::Assert(condition, source, message))
            }
            "print" => self.print(),
            word if REFUSED.contains(&word) => self.fail("a statement of the subset that scripts use"),
            _ => self.assignment(),
        }
    }

    /// Python 3's call and Python 2's statement.
    fn print(&mut self) -> Result<StmtKind> {
        self.next();
        if self.is(";") || self.peek() == &Tok::Newline {
            return Ok(StmtKind::Print(Vec::new()));
        }
        match self.exprs()? {
            Expr::Sequence { items, tuple: true } => Ok(StmtKind::Print(items)),
            item => Ok(StmtKind::Print(vec![item])),
        }
    }

    fn assignment(&mut self) -> Result<StmtKind> {
        const AUGMENTED: [(&str, Op); 12] = [
            ("+=", Op::Add),
            ("-=", Op::Sub),
            ("*=", Op::Mul),
            ("/=", Op::Div),
            ("//=", Op::FloorDiv),
            ("%=", Op::Mod),
            ("**=", Op::Pow),
            ("&=", Op::And),
            ("|=", Op::Or),
            ("^=", Op::Xor),
            ("<<=", Op::Shl),
            (">>=", Op::Shr),
        ];
        let start = self.at;
        let mut value = self.exprs()?;
        if let (Expr::Name(name), Some(&(_, op))) = (&value, AUGMENTED.iter().find(|(p, _)| self.is(p))) {
            let name = name.clone();
            self.next();
            return Ok(StmtKind::Augment(name, op, self.exprs()?));
        }
        let mut targets = Vec::new();
        while self.is("=") {
            let Some(names) = target(&value) else {
                self.at = start;
                return self.fail("a name to assign to");
            };
            targets.push(names);
            self.next();
            value = self.exprs()?;
        }
        Ok(if targets.is_empty() { StmtKind::Expr(value) } else { StmtKind::Assign(targets, value) })
    }

    fn names(&mut self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        loop {
            match self.peek().clone() {
                Tok::Name(name) if !KEYWORDS.contains(&name.as_str()) => {
                    self.next();
                    names.push(name);
                }
                _ => return self.fail("a name"),
            }
            if !self.accept(",") {
                return Ok(names);
            }
        }
    }

    /// Values with commas between them are a tuple.
    fn exprs(&mut self) -> Result<Expr> {
        let first = self.expr()?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.accept(",") {
            if matches!(self.peek(), Tok::Newline | Tok::Punct(")" | "]" | "=" | ":" | ";")) {
                break;
            }
            items.push(self.expr()?);
        }
        Ok(Expr::Sequence { items, tuple: true })
    }

    fn expr(&mut self) -> Result<Expr> {
        self.deeper(|p| {
            let then = p.or()?;
            if !p.accept_name("if") {
                return Ok(then);
            }
            let condition = p.or()?;
            if !p.accept_name("else") {
                return p.fail("'else'");
            }
            Ok(Expr::IfElse(Box::new([then, condition, p.expr()?])))
        })
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        while self.accept_name("or") {
            self.count_operator()?;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.accept_name("and") {
            self.count_operator()?;
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        if self.accept_name("not") {
            return Ok(Expr::Not(Box::new(self.deeper(Self::not)?)));
        }
        let left = self.binary(0)?;
        let mut chain = Vec::new();
        while let Some(op) = self.comparison() {
            chain.push((op, self.binary(0)?));
        }
        Ok(if chain.is_empty() { left } else { Expr::Compare(Box::new(left), chain) })
    }

    fn count_operator(&mut self) -> Result<()> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            self.fail(format!("at most {MAX_OPERATORS} operators"))
        } else {
            Ok(())
        }
    }

    fn comparison(&mut self) -> Option<Compare> {
        let op = match self.peek() {
            Tok::Punct("==") => Compare::Eq,
            Tok::Punct("!=" | "<>") => Compare::Ne,
            Tok::Punct("<") => Compare::Lt,
            Tok::Punct("<=") => Compare::Le,
            Tok::Punct(">") => Compare::Gt,
            Tok::Punct(">=") => Compare::Ge,
            Tok::Name(word) if word == "in" => Compare::In,
            Tok::Name(word) if word == "is" => {
                self.next();
                return Some(if self.accept_name("not") { Compare::IsNot } else { Compare::Is });
            }
            Tok::Name(word)
                if word == "not" && matches!(&self.tokens[self.at + 1].tok, Tok::Name(n) if n == "in") =>
            {
                self.next();
                Compare::NotIn
            }
            _ => return None,
        };
        self.next();
        Some(op)
    }

    fn binary(&mut self, level: usize) -> Result<Expr> {
        const LEVELS: [&[(&str, Op)]; 6] = [
            &[("|", Op::Or)],
            &[("^", Op::Xor)],
            &[("&", Op::And)],
            &[("<<", Op::Shl), (">>", Op::Shr)],
            &[("+", Op::Add), ("-", Op::Sub)],
            &[("*", Op::Mul), ("/", Op::Div), ("//", Op::FloorDiv), ("%", Op::Mod)],
        ];
        let Some(ops) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(&(_, op)) = ops.iter().find(|(p, _)| self.is(p)) {
            self.next();
            self.count_operator()?;
            left = Expr::Binary(op, Box::new(left), Box::new(self.binary(level + 1)?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr> {
        if self.accept("-") {
            return Ok(Expr::Neg(Box::new(self.deeper(Self::unary)?)));
        }
        if self.accept("+") {
            return self.deeper(Self::unary);
        }
        if self.accept("~") {
            return Ok(Expr::Invert(Box::new(self.deeper(Self::unary)?)));
        }
        let base = self.postfix()?;
        if self.accept("**") {
            return Ok(Expr::Binary(Op::Pow, Box::new(base), Box::new(self.deeper(Self::unary)?)));
        }
        Ok(base)
    }

    fn postfix(&mut self) -> Result<Expr> {
        let mut value = self.atom()?;
        let mut links = 0;
        loop {
            links += 1;
            if links > MAX_DEPTH {
                return self.fail(format!("at most {MAX_DEPTH} calls and indices in a row"));
            }
            if self.accept("[") {
                let index = self.expr()?;
                self.expect("]")?;
                value = Expr::Index(Box::new(value), Box::new(index));
            } else if self.accept(".") {
                let Tok::Name(name) = self.peek().clone() else { return self.fail("the name of a method") };
                self.next();
                self.expect("(")?;
                value = Expr::Method(Box::new(value), name, self.args()?);
            } else {
                return Ok(value);
            }
        }
    }

    /// Arguments after the opening parenthesis.
    fn args(&mut self) -> Result<Vec<Expr>> {
        let mut args = Vec::new();
        while !self.accept(")") {
            args.push(self.expr()?);
            if !self.accept(",") && !self.is(")") {
                return self.fail("',' or ')'");
            }
        }
        Ok(args)
    }

    fn atom(&mut self) -> Result<Expr> {
        let start = self.offset();
        match self.peek().clone() {
            Tok::Int(n) => self.constant(Value::Int(n)),
            Tok::Float(n) => self.constant(Value::Float(n)),
            Tok::Str(_) | Tok::Format(_) => self.strings(start),
            Tok::Punct("(") => {
                self.next();
                if self.accept(")") {
                    return Ok(Expr::Sequence { items: Vec::new(), tuple: true });
                }
                let inner = self.exprs()?;
                self.expect(")")?;
                Ok(inner)
            }
            Tok::Punct("[") => {
                self.next();
                let mut items = Vec::new();
                while !self.accept("]") {
                    items.push(self.expr()?);
                    if !self.accept(",") && !self.is("]") {
                        return self.fail("',' or ']'");
                    }
                }
                Ok(Expr::Sequence { items, tuple: false })
            }
            Tok::Name(name) => match name.as_str() {
                "True" => self.constant(Value::Bool(true)),
                "False" => self.constant(Value::Bool(false)),
                "None" => self.constant(Value::None),
                word if KEYWORDS.contains(&word) || REFUSED.contains(&word) => self.fail("a value"),
                _ => {
                    self.next();
                    if self.accept("(") { Ok(Expr::Call(name, self.args()?)) } else { Ok(Expr::Name(name)) }
                }
            },
            _ => self.fail("a value"),
        }
    }

    fn constant(&mut self, value: Value) -> Result<Expr> {
        self.next();
        Ok(Expr::Const(value))
    }

    /// Strings side by side are one.
    fn strings(&mut self, start: usize) -> Result<Expr> {
        let mut pieces: Vec<(String, Option<(Expr, String)>)> = Vec::new();
        loop {
            match self.peek().clone() {
                Tok::Str(text) => pieces.push((text, None)),
                Tok::Format(text) => self.format_pieces(start, &text, &mut pieces)?,
                _ => break,
            }
            self.next();
        }
        if pieces.iter().all(|(_, value)| value.is_none()) {
            return Ok(Expr::Const(Value::Str(pieces.into_iter().map(|(text, _)| text).collect())));
        }
        Ok(Expr::Format(pieces))
    }

    /// Takes an f-string apart: text, then a value in braces, and so on.
    fn format_pieces(
        &mut self,
        start: usize,
        text: &str,
        pieces: &mut Vec<(String, Option<(Expr, String)>)>,
    ) -> Result<()> {
        let wrong = |found: &str, expected: &str| SyntaxError {
            offset: start,
            found: found.to_owned(),
            expected: expected.to_owned(),
        };
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let end = rest.find('}').filter(|_| brace == "{");
            let Some(end) = end else {
                return Err(wrong("a brace without its pair in an f-string", "'{...}'"));
            };
            let (code, format) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
            let shown = code.strip_suffix('=');
            let code = shown.unwrap_or(code);
            if let Some(shown) = shown {
                literal.push_str(&format!("{shown}="));
            }
            let code = code.strip_suffix("!r").or_else(|| code.strip_suffix("!s")).unwrap_or(code);
            let inner =
                tokens(code.trim()).map_err(|_| wrong("code in an f-string", "a value in its braces"))?;
            // One level of f-string in another is enough: the depth goes on counting.
            let mut parser =
                Parser { text: code, tokens: inner, at: 0, depth: self.depth + 1, operators: self.operators };
            let value = parser.expr().map_err(|e| SyntaxError { offset: start, ..e })?;
            if parser.peek() != &Tok::Newline {
                return Err(wrong("code in an f-string", "one value in its braces"));
            }
            pieces.push((std::mem::take(&mut literal), Some((value, format.to_owned()))));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        pieces.push((literal, None));
        Ok(())
    }
}

/// The names that an assignment's left side stands for.
fn target(value: &Expr) -> Option<Vec<String>> {
    match value {
        Expr::Name(name) => Some(vec![name.clone()]),
        Expr::Sequence { items, .. } if !items.is_empty() => items
            .iter()
            .map(|item| match item {
                Expr::Name(name) => Some(name.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}
