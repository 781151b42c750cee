//! The Python that stands in `%{ }%` blocks, as far as test suites use it: assertions on `tcp_info`, printing,
//! assignments, conditions and loops over ranges. Blocks of a script share their variables.
//!
//! No Python is started: [`parse`] reads a block into a [`Program`], an [`Interpreter`] runs it. Words of Python
//! that are not here are refused by name when the script is read.

mod builtins;
mod eval;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

pub use eval::{Interpreter, RunError, Value};
pub use parser::parse;

/// A block that is not this subset of Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte within the block.
    pub offset: usize,
    /// What was found there.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

/// A parsed block.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Program {
    /// Its statements.
    pub(crate) body: Vec<Stmt>,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stmt {
    /// Its line in the block, from 0.
    pub line: u32,
    pub kind: StmtKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StmtKind {
    Pass,
    Break,
    Continue,
    /// The condition, as it is written, and the message.
    Assert(Expr, String, Option<Expr>),
    Print(Vec<Expr>),
    /// `a = b = value`, `a, b = values`.
    Assign(Vec<Vec<String>>, Expr),
    /// `a += value`.
    Augment(String, Op, Expr),
    Expr(Expr),
    /// Each condition with what it guards, then `else`.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    While(Expr, Vec<Stmt>),
    For(Vec<String>, Expr, Vec<Stmt>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
    Is,
    IsNot,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Const(Value),
    Name(String),
    /// `(a, b)` and `[a, b]`: this subset tells them apart only when printing.
    Sequence {
        items: Vec<Expr>,
        tuple: bool,
    },
    Not(Box<Expr>),
    Neg(Box<Expr>),
    Invert(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    /// `a < b <= c`.
    Compare(Box<Expr>, Vec<(Compare, Expr)>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// `then if condition else other`.
    IfElse(Box<[Expr; 3]>),
    Call(String, Vec<Expr>),
    /// `text.format(values)`.
    Method(Box<Expr>, String, Vec<Expr>),
    Index(Box<Expr>, Box<Expr>),
    /// `f"..."`: literal pieces and values with their format.
    Format(Vec<(String, Option<(Expr, String)>)>),
}
