//! Socket options as Linux lays them out in memory, fcntl and ioctl.

use sockeye_core::socket::Ioctl;
use sockeye_core::socket::fd::{Fcntl, O_NONBLOCK};
use sockeye_core::tcp::TcpInfo;
use sockeye_core::{Errno, SocketId};

use super::values::{Args, check_number, field, number};
use super::{Operation, Refusal, Returned, items};
use crate::script::ast::{Expr, Field};
use crate::script::run::info;
use crate::script::run::runner::Runner;

/// The room for a value whose length the script leaves open.
const ROOM: usize = 512;
const IPPROTO_TCP: i32 = 6;
const TCP_INFO: i32 = 11;
const FIONBIO: i64 = 0x5421;

/// A value that a call brought back, and the argument to compare it with.
pub(super) enum Got {
    /// Bytes of an option.
    Option(Vec<u8>),
    Info(Box<TcpInfo>),
    Int(i32),
}

impl Got {
    pub fn check(&self, args: &Args) -> Result<(), Refusal> {
        match self {
            Got::Option(bytes) => check_option(args.get(3)?, bytes),
            Got::Info(shown) => check_info(args.get(3)?, &|name| info::value(shown, name)),
            Got::Int(value) => match args.0.args.get(2) {
                Some(expected) => match items(expected) {
                    [expected] => check_number("the value", expected, i64::from(*value)),
                    _ => Err(format!("'{expected}' is not one number")),
                },
                None => Ok(()),
            },
        }
    }
}

impl Runner<'_> {
    pub(super) fn getsockopt(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let id = match self.descriptors.socket(args.number(0)?) {
            Ok(id) => id,
            Err(error) => return Ok(Operation::Done(Err(error))),
        };
        let (level, name) = (args.number(1)? as i32, args.number(2)? as i32);
        let room = match args.get(4).map(items) {
            Ok([len]) => number(len)?.map_or(ROOM, |len| len.clamp(0, 1 << 16) as usize),
            _ => ROOM,
        };
        if (level, name) == (IPPROTO_TCP, TCP_INFO) && matches!(items(args.get(3)?), [Expr::Struct(_)]) {
            return Ok(match self.stack.tcp_info(self.now, id) {
                Ok(shown) => Operation::Value(Ok(0), Got::Info(Box::new(shown))),
                Err(error) => Operation::Done(Err(error)),
            });
        }
        let mut out = vec![0; room];
        Ok(match self.stack.getsockopt_raw(self.now, id, level, name, &mut out) {
            Ok(len) => {
                out.truncate(len);
                Operation::Value(Ok(0), Got::Option(out))
            }
            Err(error) => Operation::Done(Err(error)),
        })
    }

    pub(super) fn setsockopt(&mut self, args: &Args) -> Result<Returned, Refusal> {
        const IP_LEVELS: [i32; 2] = [0, 41];
        const MTU_DISCOVER: [i32; 2] = [10, 23];
        let id = match self.descriptors.socket(args.number(0)?) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        let (level, name) = (args.number(1)? as i32, args.number(2)? as i32);
        let mut value = option_bytes(args.get(3)?)?;
        if let Some(len) = args.int(4)? {
            let Ok(len) = usize::try_from(len) else { return Ok(Err(Errno::EINVAL)) };
            value.resize(len.min(1 << 16), 0);
        }
        if IP_LEVELS.contains(&level) && MTU_DISCOVER.contains(&name) {
            self.setup.may_fragment = true;
        }
        Ok(self.stack.setsockopt_raw(self.now, id, level, name, &value).map(|()| 0))
    }

    pub(super) fn fcntl(&mut self, args: &Args) -> Result<Returned, Refusal> {
        let live = self.descriptors.live(args.number(0)?);
        let command = args.number(1)? as i32;
        let argument = if args.0.args.len() > 2 { args.int(2)?.unwrap_or(0) } else { 0 };
        let Some(command) = Fcntl::from_number(command) else {
            return Err(format!("fcntl({}) is not one that this stack has", args.get(1)?));
        };
        Ok(self.descriptors.table.fcntl(live, command, argument).map(i64::from))
    }

    pub(super) fn ioctl(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let fd = args.number(0)?;
        let request = args.number(1)?;
        let id = match self.descriptors.socket(fd) {
            Ok(id) => id,
            Err(error) => return Ok(Operation::Done(Err(error))),
        };
        if request == FIONBIO {
            let on = match items(args.get(2)?) {
                [on] => number(on)?.unwrap_or(0) != 0,
                _ => false,
            };
            let live = self.descriptors.live(fd);
            let flags = if on { O_NONBLOCK } else { 0 };
            return Ok(Operation::Done(self.descriptors.table.fcntl(live, Fcntl::SetFl, flags).map(|_| 0)));
        }
        Ok(self.queue(id, request))
    }

    fn queue(&self, id: SocketId, request: i64) -> Operation {
        match u32::try_from(request).ok().and_then(Ioctl::from_number) {
            None => Operation::Done(Err(Errno::ENOTTY)),
            Some(request) => match self.stack.ioctl(id, request) {
                Ok(value) => Operation::Value(Ok(0), Got::Int(value)),
                Err(error) => Operation::Done(Err(error)),
            },
        }
    }
}

/// The bytes of an option's value: ints, structs of Linux's layout, a string.
pub(in super::super) fn option_bytes(expr: &Expr) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    match expr {
        Expr::Str { bytes, .. } => out.extend_from_slice(bytes),
        Expr::List(list) => {
            for item in list {
                out.extend_from_slice(&option_bytes(item)?);
            }
        }
        Expr::Struct(fields) => {
            for (name, value) in named(expr, fields)? {
                let value = number(value)?.unwrap_or(0);
                match name {
                    "onoff" | "l_onoff" | "linger" | "l_linger" => {
                        out.extend_from_slice(&(value as i32).to_ne_bytes())
                    }
                    "tv_sec" | "tv_usec" => out.extend_from_slice(&value.to_ne_bytes()),
                    _ => return Err(format!("the option value {expr} is of no struct that this stack has")),
                }
            }
        }
        Expr::Any => {}
        other => out.extend_from_slice(&(number(other)?.unwrap_or(0) as i32).to_ne_bytes()),
    }
    Ok(out)
}

fn named<'a>(expr: &Expr, fields: &'a [Field]) -> Result<Vec<(&'a str, &'a Expr)>, Refusal> {
    fields
        .iter()
        .map(|field| match &field.name {
            Some(name) => Ok((name.as_str(), &field.value)),
            None => Err(format!("the members of {expr} need their names")),
        })
        .collect()
}

/// Compares an option's bytes with what the script expects.
pub(in super::super) fn check_option(expected: &Expr, bytes: &[u8]) -> Result<(), Refusal> {
    if let Expr::Str { bytes: text, .. } = expected {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        if &bytes[..end] != text {
            return Err(format!(
                "expected \"{}\", actual \"{}\"",
                text.escape_ascii(),
                bytes[..end].escape_ascii()
            ));
        }
        return Ok(());
    }
    let int = |at: usize| {
        let four = bytes.get(at..at + 4)?;
        Some(i64::from(i32::from_ne_bytes(four.try_into().ok()?)))
    };
    let long = |at: usize| Some(i64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    for (index, item) in items(expected).iter().enumerate() {
        match item {
            Expr::Any => {}
            Expr::Struct(_) => {
                let members = [
                    (["onoff", "l_onoff"], int(0)),
                    (["linger", "l_linger"], int(4)),
                    (["tv_sec", "tv_sec"], long(0)),
                    (["tv_usec", "tv_usec"], long(8)),
                ];
                for (names, actual) in members {
                    if let Some(wanted) = field(item, &names) {
                        let actual = actual.ok_or_else(|| format!("{} is beyond the value", names[0]))?;
                        check_number(names[0], wanted, actual)?;
                    }
                }
            }
            item => {
                let only = index == 0 && bytes.len() < 4 && !bytes.is_empty();
                let actual = if only { Some(i64::from(bytes[0])) } else { int(index * 4) };
                let actual = actual.ok_or_else(|| format!("the value has {} bytes", bytes.len()))?;
                check_number("the value", item, actual)?;
            }
        }
    }
    Ok(())
}

/// Compares `tcp_info`, whose members `shown` tells by name, with those that the script names.
pub(in super::super) fn check_info(
    expected: &Expr,
    shown: &dyn Fn(&str) -> Option<i128>,
) -> Result<(), Refusal> {
    for item in items(expected) {
        let Expr::Struct(fields) = item else { continue };
        for (name, value) in named(item, fields)? {
            let Some(actual) = shown(name) else {
                return Err(format!("tcp_info has no member {name}"));
            };
            check_number(name, value, i64::try_from(actual).unwrap_or(i64::MAX))?;
        }
    }
    Ok(())
}
