//! What the values of a call come to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::ast::Expr;
use super::constants;

/// A value that is not what its place asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// The value as written.
    pub found: String,
    /// What it should be.
    pub expected: &'static str,
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found '{}', expected {}", self.found, self.expected)
    }
}

impl std::error::Error for EvalError {}

/// The number that a value is; `None` for `...`. Constants have Linux's numbers, `htons` and its like give the number
/// back as it was (addresses and ports are compared in host order), `inet_addr` an IPv4 address as a number.
pub fn number(expr: &Expr) -> Result<Option<i64>, EvalError> {
    if matches!(expr, Expr::Any) {
        return Ok(None);
    }
    evaluate(expr).map(Some)
}

/// The bytes of a string; `None` for `...`.
pub fn bytes(expr: &Expr) -> Result<Option<&[u8]>, EvalError> {
    match expr {
        Expr::Any => Ok(None),
        Expr::Str { bytes, .. } => Ok(Some(bytes)),
        other => Err(wrong(other, "a string")),
    }
}

fn wrong(expr: &Expr, expected: &'static str) -> EvalError {
    EvalError { found: expr.to_string(), expected }
}

fn evaluate(expr: &Expr) -> Result<i64, EvalError> {
    match expr {
        Expr::Int { value, .. } => Ok(*value),
        Expr::Symbol(name) => constants::lookup(name).ok_or_else(|| wrong(expr, "the name of a constant")),
        Expr::Unary('-', a) => Ok(evaluate(a)?.wrapping_neg()),
        Expr::Unary(_, a) => Ok(!evaluate(a)?),
        Expr::Binary(op, a, b) => {
            let (a, b) = (evaluate(a)?, evaluate(b)?);
            let value = match op {
                '|' => Some(a | b),
                '&' => Some(a & b),
                '^' => Some(a ^ b),
                '+' => Some(a.wrapping_add(b)),
                '-' => Some(a.wrapping_sub(b)),
                '*' => Some(a.wrapping_mul(b)),
                _ => a.checked_div(b),
            };
            value.ok_or_else(|| wrong(expr, "a division by something else than 0"))
        }
        Expr::Call(name, args) => match (name.as_str(), args.as_slice()) {
            ("htons" | "ntohs" | "htonl" | "ntohl", [a]) => evaluate(a),
            ("inet_addr", [a]) => match address(a) {
                Some(IpAddr::V4(addr)) => Ok(u32::from(addr).into()),
                _ => Err(wrong(expr, "inet_addr() of an IPv4 address in quotes")),
            },
            _ => Err(wrong(expr, "a number")),
        },
        Expr::Any | Expr::Str { .. } | Expr::List(_) | Expr::Struct(_) => Err(wrong(expr, "a number")),
    }
}

/// The address that a value is: a string, `inet_addr("...")`, `inet_pton(AF_INET6, "...")`, or a number.
pub fn address(expr: &Expr) -> Option<IpAddr> {
    match expr {
        Expr::Str { bytes, open: false } => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Expr::Call(name, args) if name == "inet_addr" || name == "inet_pton" => address(args.last()?),
        other => {
            let number = u32::try_from(number(other).ok()??).ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(number)))
        }
    }
}
