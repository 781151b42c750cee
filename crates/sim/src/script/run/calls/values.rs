//! Values of a script as arguments, and results compared with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Refusal;
use crate::script::ast::{Call, Expr, Field};
use crate::script::eval;

/// The arguments of a call.
pub(in super::super) struct Args<'a>(pub &'a Call);

impl<'a> Args<'a> {
    /// An argument.
    pub fn get(&self, at: usize) -> Result<&'a Expr, Refusal> {
        self.0.args.get(at).ok_or_else(|| format!("'{}' needs an argument {}", self.0.name, at + 1))
    }

    /// An argument that must be a number.
    pub fn number(&self, at: usize) -> Result<i64, Refusal> {
        number(self.get(at)?)?.ok_or_else(|| format!("argument {} of '{}' must be said", at + 1, self.0.name))
    }

    /// An argument that is an int, or left open.
    pub fn int(&self, at: usize) -> Result<Option<i32>, Refusal> {
        Ok(number(self.get(at)?)?.map(|n| n as i32))
    }

    /// A length: at most what fits into memory easily.
    pub fn len(&self, at: usize) -> Result<usize, Refusal> {
        length(self.get(at)?)
    }

    /// Whether an address says AF_UNSPEC.
    pub fn is_unspecified_family(&self, at: usize) -> bool {
        let family = self.get(at).ok().and_then(|expr| field(expr, &["sa_family"]));
        matches!(family.map(number), Some(Ok(Some(0))))
    }

    /// A socket address; `usual` where it is left open.
    pub fn address(&self, at: usize, usual: SocketAddr) -> Result<SocketAddr, Refusal> {
        socket_address(self.get(at)?, usual)
    }
}

/// The wildcard address.
pub(in super::super) fn wildcard(v4: bool, port: u16) -> SocketAddr {
    let ip = if v4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(ip, port)
}

/// A number, none for `...`.
pub(in super::super) fn number(expr: &Expr) -> Result<Option<i64>, Refusal> {
    eval::number(expr).map_err(|error| error.to_string())
}

/// A length in bytes.
pub(in super::super) fn length(expr: &Expr) -> Result<usize, Refusal> {
    const MOST: usize = 64 << 20;
    let n = number(expr)?.ok_or("a length must be said")?;
    usize::try_from(n).ok().filter(|&n| n <= MOST).ok_or_else(|| format!("a length of {n} bytes"))
}

/// A member of a struct, by any of its names.
pub(in super::super) fn field<'a>(expr: &'a Expr, names: &[&str]) -> Option<&'a Expr> {
    let Expr::Struct(fields) = expr else { return None };
    let named = |field: &&Field| field.name.as_deref().is_some_and(|name| names.contains(&name));
    fields.iter().find(named).map(|field| &field.value)
}

/// The call without its result.
pub(in super::super) fn head(call: &Call) -> String {
    let text = call.to_string();
    // The result is what stands last: the arguments may hold an '=' of their own.
    text.rfind(") = ").map_or(text.clone(), |at| text[..=at].to_owned())
}

fn socket_address(expr: &Expr, usual: SocketAddr) -> Result<SocketAddr, Refusal> {
    if matches!(expr, Expr::Any) {
        return Ok(usual);
    }
    let Expr::Struct(fields) = expr else { return Err(format!("'{expr}' is no socket address")) };
    let mut addr = usual;
    for Field { name, value, .. } in fields {
        match name.as_deref() {
            Some("sa_family" | "sin_family" | "sin6_family") => match number(value)? {
                Some(2) if addr.is_ipv6() => addr.set_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                Some(10) if addr.is_ipv4() => addr.set_ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
                Some(2 | 10) | None => {}
                Some(other) => return Err(format!("address family {other}")),
            },
            Some("sin_port" | "sin6_port") => {
                if let Some(port) = number(value)? {
                    addr.set_port(u16::try_from(port).map_err(|_| format!("port {port}"))?);
                }
            }
            Some("sin_addr" | "sin6_addr") if !matches!(value, Expr::Any) => {
                addr.set_ip(eval::address(value).ok_or_else(|| format!("'{value}' is no address"))?);
            }
            Some(
                "sin_addr" | "sin6_addr" | "sin6_flowinfo" | "sin6_scope_id" | "sin_len" | "sin6_len"
                | "sa_len",
            ) => {}
            _ => return Err(format!("'{expr}' is no socket address")),
        }
    }
    Ok(addr)
}

/// Compares an address with what the script expects.
pub(in super::super) fn check_address(expected: &Expr, actual: SocketAddr) -> Result<(), Refusal> {
    let wanted = socket_address(expected, actual)?;
    if wanted.ip() == actual.ip() && wanted.port() == actual.port() {
        return Ok(());
    }
    Err(format!("expected the address {wanted}, actual {actual}"))
}

/// Compares a number with what the script expects; `what` names it.
pub(in super::super) fn check_number(what: &str, expected: &Expr, actual: i64) -> Result<(), Refusal> {
    match number(expected)? {
        Some(wanted) if wanted != actual => {
            Err(format!("{what}: expected {wanted} ({expected}), actual {actual}"))
        }
        _ => Ok(()),
    }
}
