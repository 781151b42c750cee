//! Runs a block.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::builtins::{call, formatted, index, method, percent};
use super::{Compare, Expr, Op, Program, Stmt, StmtKind};
use crate::script::constants;

/// Statements and calls that one block may take.
const MAX_STEPS: u32 = 20_000;
/// Characters of a string; items of a sequence and characters in them.
pub(super) const MAX_LEN: usize = 10_000;
/// Sequences in sequences.
const MAX_NESTING: u32 = 8;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A fraction.
    Float(f64),
    /// A string.
    Str(String),
    /// A list or a tuple.
    List(Vec<Value>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::None => f.write_str("None"),
            Value::Bool(true) => f.write_str("True"),
            Value::Bool(false) => f.write_str("False"),
            Value::Int(n) => write!(f, "{n}"),
            // Debug prints 2.0 as Python does, Display as 2.
            Value::Float(n) => write!(f, "{n:?}"),
            Value::Str(text) => f.write_str(text),
            Value::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    match item {
                        Value::Str(text) => write!(f, "'{text}'")?,
                        item => write!(f, "{item}")?,
                    }
                }
                f.write_str("]")
            }
        }
    }
}

/// Why a block failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError {
    /// Line in the block, from 0.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RunError {}

/// The variables that the blocks of one script share.
#[derive(Clone, Debug, Default)]
pub struct Interpreter {
    variables: BTreeMap<String, Value>,
}

impl Interpreter {
    /// No variables yet.
    pub fn new() -> Self {
        Interpreter::default()
    }

    /// Runs `program`; names that are neither variables nor constants are asked of `info` (`tcpi_snd_cwnd` and its
    /// like). Returns the lines printed.
    pub fn run(
        &mut self,
        program: &Program,
        info: &dyn Fn(&str) -> Option<i128>,
    ) -> Result<Vec<String>, RunError> {
        let mut run = Run { variables: &mut self.variables, info, printed: Vec::new(), steps: 0 };
        let mut line = 0;
        match run.body(&program.body, &mut line) {
            Ok(_) => Ok(run.printed),
            Err(message) => Err(RunError { line, message }),
        }
    }
}

/// How a body ended.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) type Eval<T> = Result<T, String>;

struct Run<'a> {
    variables: &'a mut BTreeMap<String, Value>,
    info: &'a dyn Fn(&str) -> Option<i128>,
    printed: Vec<String>,
    steps: u32,
}

impl Run<'_> {
    fn step(&mut self) -> Eval<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(format!("more than {MAX_STEPS} steps")) } else { Ok(()) }
    }

    fn body(&mut self, body: &[Stmt], line: &mut u32) -> Eval<Flow> {
        for stmt in body {
            *line = stmt.line;
            let flow = self.statement(stmt, line)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, stmt: &Stmt, line: &mut u32) -> Eval<Flow> {
        self.step()?;
        match &stmt.kind {
            StmtKind::Pass => {}
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Assert(condition, source, message) => {
                self.assert(condition, source, message.as_ref())?;
            }
            StmtKind::Print(values) => {
                let words: Eval<Vec<String>> = values.iter().map(|v| Ok(self.eval(v)?.to_string())).collect();
                self.printed.push(words?.join(" "));
                if self.printed.len() > MAX_LEN {
                    return Err("too much printed".to_owned());
                }
            }
            StmtKind::Assign(targets, value) => {
                let value = self.eval(value)?;
                targets.iter().try_for_each(|names| self.assign(names, &value))?;
            }
            StmtKind::Augment(name, op, value) => {
                let old = self.name(name)?;
                let value = self.eval(value)?;
                let new = binary(*op, old, value)?;
                self.variables.insert(name.clone(), new);
            }
            StmtKind::Expr(value) => {
                self.eval(value)?;
            }
            StmtKind::If(arms, otherwise) => {
                for (condition, body) in arms {
                    if truth(&self.eval(condition)?) {
                        return self.body(body, line);
                    }
                }
                return self.body(otherwise, line);
            }
            StmtKind::While(condition, body) => {
                while truth(&self.eval(condition)?) {
                    self.step()?;
                    if self.body(body, line)? == Flow::Break {
                        break;
                    }
                }
            }
            StmtKind::For(names, items, body) => {
                let Value::List(items) = self.eval(items)? else {
                    return Err("for needs a sequence".to_owned());
                };
                for item in items {
                    self.step()?;
                    self.assign(names, &item)?;
                    if self.body(body, line)? == Flow::Break {
                        break;
                    }
                }
            }
        }
        Ok(Flow::Next)
    }

    fn assign(&mut self, names: &[String], value: &Value) -> Eval<()> {
        if let [name] = names {
            self.variables.insert(name.clone(), value.clone());
            return Ok(());
        }
        match value {
            Value::List(items) if items.len() == names.len() => {
                for (name, item) in names.iter().zip(items) {
                    self.variables.insert(name.clone(), item.clone());
                }
                Ok(())
            }
            _ => Err(format!("{} names cannot take {value}", names.len())),
        }
    }

    /// Fails with the condition, the values of the names in it and the message.
    fn assert(&mut self, condition: &Expr, source: &str, message: Option<&Expr>) -> Eval<()> {
        if truth(&self.eval(condition)?) {
            return Ok(());
        }
        let mut names = Vec::new();
        names_in(condition, &mut names);
        let known: Vec<String> = names
            .into_iter()
            .filter(|name| constants::lookup(name).is_none())
            .filter_map(|name| Some(format!("{name} is {}", self.name(name).ok()?)))
            .collect();
        let mut text = format!("assert {source} failed");
        if !known.is_empty() {
            text.push_str(&format!(": {}", known.join(", ")));
        }
        if let Some(message) = message {
            text.push_str(&format!(" ({})", self.eval(message)?));
        }
        Err(text)
    }

    fn name(&self, name: &str) -> Eval<Value> {
        if let Some(value) = self.variables.get(name) {
            return Ok(value.clone());
        }
        let number = (self.info)(name).or_else(|| constants::lookup(name).map(i128::from));
        number.map(Value::Int).ok_or_else(|| format!("name '{name}' is not defined"))
    }

    fn eval(&mut self, expr: &Expr) -> Eval<Value> {
        match expr {
            Expr::Const(value) => Ok(value.clone()),
            Expr::Name(name) => self.name(name),
            Expr::Sequence { items, .. } => sequence(self.all(items)?),
            Expr::Not(a) => Ok(Value::Bool(!truth(&self.eval(a)?))),
            Expr::Neg(a) => match number(self.eval(a)?)? {
                Number::Int(n) => n.checked_neg().map(Value::Int).ok_or_else(too_large),
                Number::Float(n) => Ok(Value::Float(-n)),
            },
            Expr::Invert(a) => Ok(Value::Int(!int(&self.eval(a)?)?)),
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                binary(*op, a, b)
            }
            Expr::Compare(first, chain) => self.comparison(first, chain),
            Expr::And(a, b) => {
                let a = self.eval(a)?;
                if truth(&a) { self.eval(b) } else { Ok(a) }
            }
            Expr::Or(a, b) => {
                let a = self.eval(a)?;
                if truth(&a) { Ok(a) } else { self.eval(b) }
            }
            Expr::IfElse(parts) => {
                let [then, condition, otherwise] = &**parts;
                if truth(&self.eval(condition)?) { self.eval(then) } else { self.eval(otherwise) }
            }
            Expr::Call(name, args) => {
                self.step()?;
                let args = self.all(args)?;
                call(name, &args)
            }
            Expr::Method(of, name, args) => {
                let of = self.eval(of)?;
                let args = self.all(args)?;
                method(&of, name, &args)
            }
            Expr::Index(of, at) => {
                let (of, at) = (self.eval(of)?, int(&self.eval(at)?)?);
                index(&of, at)
            }
            Expr::Format(pieces) => {
                let mut out = String::new();
                for (text, value) in pieces {
                    out.push_str(text);
                    if let Some((value, format)) = value {
                        out.push_str(&formatted(&self.eval(value)?, format)?);
                    }
                }
                bounded(out).map(Value::Str)
            }
        }
    }

    fn all(&mut self, exprs: &[Expr]) -> Eval<Vec<Value>> {
        exprs.iter().map(|e| self.eval(e)).collect()
    }

    fn comparison(&mut self, first: &Expr, chain: &[(Compare, Expr)]) -> Eval<Value> {
        let mut left = self.eval(first)?;
        for (op, right) in chain {
            let right = self.eval(right)?;
            if !compare(*op, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }
}

fn names_in<'a>(expr: &'a Expr, out: &mut Vec<&'a str>) {
    match expr {
        Expr::Name(name) if !out.contains(&name.as_str()) => out.push(name),
        Expr::Const(_) | Expr::Name(_) => {}
        Expr::Sequence { items, .. } | Expr::Call(_, items) => {
            items.iter().for_each(|item| names_in(item, out))
        }
        Expr::Not(a) | Expr::Neg(a) | Expr::Invert(a) => names_in(a, out),
        Expr::Binary(_, a, b) | Expr::And(a, b) | Expr::Or(a, b) | Expr::Index(a, b) => {
            names_in(a, out);
            names_in(b, out);
        }
        Expr::Compare(first, chain) => {
            names_in(first, out);
            chain.iter().for_each(|(_, right)| names_in(right, out));
        }
        Expr::IfElse(parts) => parts.iter().for_each(|part| names_in(part, out)),
        Expr::Method(of, _, args) => {
            names_in(of, out);
            args.iter().for_each(|arg| names_in(arg, out));
        }
        Expr::Format(pieces) => {
            pieces.iter().filter_map(|(_, v)| v.as_ref()).for_each(|(v, _)| names_in(v, out))
        }
    }
}

pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::None => false,
        Value::Bool(b) => *b,
        Value::Int(n) => *n != 0,
        Value::Float(n) => *n != 0.0,
        Value::Str(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
    }
}

pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub(super) fn float(&self) -> f64 {
        match *self {
            Number::Int(n) => n as f64,
            Number::Float(n) => n,
        }
    }
}

pub(super) fn number(value: Value) -> Eval<Number> {
    match value {
        Value::Bool(b) => Ok(Number::Int(b.into())),
        Value::Int(n) => Ok(Number::Int(n)),
        Value::Float(n) => Ok(Number::Float(n)),
        other => Err(format!("{other} is not a number")),
    }
}

pub(super) fn int(value: &Value) -> Eval<i128> {
    match value {
        Value::Bool(b) => Ok((*b).into()),
        Value::Int(n) => Ok(*n),
        other => Err(format!("{other} is not a whole number")),
    }
}

pub(super) fn too_large() -> String {
    "a number too large".to_owned()
}

pub(super) fn bounded(text: String) -> Eval<String> {
    if text.len() > MAX_LEN { Err("a string too long".to_owned()) } else { Ok(text) }
}

/// A list, unless it has grown out of bounds.
fn sequence(items: Vec<Value>) -> Eval<Value> {
    let list = Value::List(items);
    let mut room = MAX_LEN;
    if fits(&list, MAX_NESTING, &mut room) {
        Ok(list)
    } else {
        Err("a sequence too long or too deep".to_owned())
    }
}

fn fits(value: &Value, depth: u32, room: &mut usize) -> bool {
    let size = match value {
        Value::Str(text) => text.len() + 1,
        _ => 1,
    };
    let Some(left) = room.checked_sub(size) else { return false };
    *room = left;
    match value {
        Value::List(items) => depth > 0 && items.iter().all(|item| fits(item, depth - 1, room)),
        _ => true,
    }
}

pub(super) fn binary(op: Op, a: Value, b: Value) -> Eval<Value> {
    match (op, &a, &b) {
        (Op::Mod, Value::Str(format), _) => return percent(format, &b).map(Value::Str),
        (Op::Add, Value::Str(x), Value::Str(y)) => return bounded(format!("{x}{y}")).map(Value::Str),
        (Op::Add, Value::List(x), Value::List(y)) => {
            return sequence(x.iter().chain(y).cloned().collect());
        }
        _ => {}
    }
    if matches!(op, Op::And | Op::Or | Op::Xor | Op::Shl | Op::Shr) {
        return bits(op, int(&a)?, int(&b)?).map(Value::Int);
    }
    match (number(a)?, number(b)?) {
        (Number::Int(a), Number::Int(b)) => integers(op, a, b),
        (a, b) => floats(op, a.float(), b.float()).map(Value::Float),
    }
}

fn bits(op: Op, a: i128, b: i128) -> Eval<i128> {
    match op {
        Op::And => Ok(a & b),
        Op::Or => Ok(a | b),
        Op::Xor => Ok(a ^ b),
        _ => {
            let by = u32::try_from(b).ok().filter(|&by| by < 127).ok_or("a shift out of range")?;
            if op == Op::Shr {
                return Ok(a >> by);
            }
            let shifted = a << by;
            if shifted >> by == a { Ok(shifted) } else { Err(too_large()) }
        }
    }
}

fn integers(op: Op, a: i128, b: i128) -> Eval<Value> {
    if b == 0 && matches!(op, Op::Div | Op::FloorDiv | Op::Mod) {
        return Err("division by zero".to_owned());
    }
    let result = match op {
        Op::Add => a.checked_add(b),
        Op::Sub => a.checked_sub(b),
        Op::Mul => a.checked_mul(b),
        Op::Div => return Ok(Value::Float(a as f64 / b as f64)),
        // Python rounds towards minus infinity, and the remainder has the divisor's sign.
        Op::FloorDiv => a.checked_div(b).map(|q| if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q }),
        Op::Mod => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
        Op::Pow if b < 0 => return floats(op, a as f64, b as f64).map(Value::Float),
        Op::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        _ => None,
    };
    result.map(Value::Int).ok_or_else(too_large)
}

fn floats(op: Op, a: f64, b: f64) -> Eval<f64> {
    if b == 0.0 && matches!(op, Op::Div | Op::FloorDiv | Op::Mod) {
        return Err("division by zero".to_owned());
    }
    Ok(match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        Op::FloorDiv => (a / b).floor(),
        Op::Mod => a - b * (a / b).floor(),
        _ => a.powf(b),
    })
}

pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        (Value::List(a), Value::List(b)) => {
            let differ = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|&o| o != Some(Ordering::Equal));
            differ.unwrap_or(Some(a.len().cmp(&b.len())))
        }
        _ => match (number(a.clone()).ok()?, number(b.clone()).ok()?) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (a, b) => a.float().partial_cmp(&b.float()),
        },
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || order(a, b) == Some(Ordering::Equal)
}

fn compare(op: Compare, a: &Value, b: &Value) -> Eval<bool> {
    match op {
        Compare::Eq | Compare::Is => return Ok(same(a, b)),
        Compare::Ne | Compare::IsNot => return Ok(!same(a, b)),
        Compare::In | Compare::NotIn => {
            let inside = match (a, b) {
                (_, Value::List(items)) => items.iter().any(|item| same(item, a)),
                (Value::Str(a), Value::Str(b)) => b.contains(a.as_str()),
                _ => return Err(format!("{b} holds nothing")),
            };
            return Ok(inside == (op == Compare::In));
        }
        _ => {}
    }
    let Some(order) = order(a, b) else { return Err(format!("{a} and {b} have no order")) };
    Ok(match op {
        Compare::Lt => order.is_lt(),
        Compare::Le => order.is_le(),
        Compare::Gt => order.is_gt(),
        _ => order.is_ge(),
    })
}
