//! Control messages: what `recvmsg` brings beside the data.

use std::time::Duration;

use super::values::{check_number, field, number};
use super::{Refusal, items};
use crate::script::ast::Expr;
use sockeye_core::Instant;
use sockeye_core::tcp::records::Notice;

/// SOL_SOCKET.
const SOL_SOCKET: i32 = 1;
/// SCM_TIMESTAMPING.
const SCM_TIMESTAMPING: i32 = 37;

/// One control message, its data as Linux lays it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Control {
    pub level: i32,
    pub kind: i32,
    pub data: Vec<u8>,
}

/// How times in control messages compare with the script's: the clock's reading at its start, and the tolerance.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Clock {
    pub start: Duration,
    pub tolerance: Duration,
}

/// The messages in a buffer, as `cmsg(3)` lays them out.
pub(in super::super) fn parse(mut bytes: &[u8]) -> Vec<Control> {
    const HEADER: usize = 16;
    let mut out = Vec::new();
    while let Some(header) = bytes.get(..HEADER) {
        let len = usize::from_ne_bytes(header[..8].try_into().unwrap_or_default());
        let int = |at: usize| i32::from_ne_bytes(header[at..at + 4].try_into().unwrap_or_default());
        let Some(data) = bytes.get(HEADER..len) else { break };
        out.push(Control { level: int(8), kind: int(12), data: data.to_vec() });
        bytes = bytes.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    out
}

/// A message of the error queue, as Linux lays out `struct scm_timestamping` and `struct sock_extended_err`.
pub(in super::super) fn of_notice(notice: &Notice, v6: bool, start: Instant) -> Vec<Control> {
    const ENOMSG: u32 = 42;
    let (level, kind) = if v6 { (41, 25) } else { (0, 11) };
    let error = |errno: u32, origin: u8, code: u8, info: u32, data: u32| {
        let mut bytes = Vec::from(errno.to_ne_bytes());
        bytes.extend_from_slice(&[origin, 0, code, 0]);
        bytes.extend_from_slice(&info.to_ne_bytes());
        bytes.extend_from_slice(&data.to_ne_bytes());
        Control { level, kind, data: bytes }
    };
    match *notice {
        // SO_EE_ORIGIN_ZEROCOPY, SO_EE_CODE_ZEROCOPY_COPIED.
        Notice::ZeroCopy { first, last } => vec![error(0, 5, 1, first, last)],
        Notice::Timestamp { what, key, at, .. } => {
            let since = at.since(start);
            let mut time = Vec::with_capacity(48);
            time.extend_from_slice(&since.as_secs().to_ne_bytes());
            time.extend_from_slice(&u64::from(since.subsec_nanos()).to_ne_bytes());
            time.resize(48, 0);
            let time = Control { level: SOL_SOCKET, kind: SCM_TIMESTAMPING, data: time };
            // SO_EE_ORIGIN_TIMESTAMPING.
            vec![time, error(ENOMSG, 4, 0, what as u32, key)]
        }
    }
}

/// Compares the messages with those that the script expects, in their order.
pub(in super::super) fn check(
    expected: Option<&Expr>,
    got: &[Control],
    clock: &Clock,
) -> Result<(), Refusal> {
    let Some(list) = expected.filter(|expr| !matches!(expr, Expr::Any)) else { return Ok(()) };
    let expected = items(list);
    if expected.len() != got.len() {
        return Err(format!("msg_control: expected {list}, actual {} control messages: {got:?}", got.len()));
    }
    for (message, got) in expected.iter().zip(got) {
        let part = |name| field(message, &[name]).ok_or_else(|| format!("{name} is missing"));
        check_number("cmsg_level", part("cmsg_level")?, got.level.into())?;
        check_number("cmsg_type", part("cmsg_type")?, got.kind.into())?;
        if let Some(data) = field(message, &["cmsg_data"]) {
            check_data(data, got, clock)?;
        }
    }
    Ok(())
}

fn check_data(expected: &Expr, got: &Control, clock: &Clock) -> Result<(), Refusal> {
    let short = || format!("cmsg_data: expected {expected}, actual {} bytes", got.data.len());
    let int = |at: usize| {
        let four = got.data.get(at..at + 4).ok_or_else(short)?;
        Ok::<i64, Refusal>(u32::from_ne_bytes(four.try_into().unwrap_or_default()).into())
    };
    match expected {
        Expr::Any => Ok(()),
        Expr::List(list) if list.len() == 1 => check_data(&list[0], got, clock),
        Expr::Struct(fields) => {
            for member in fields {
                let name = member.name.as_deref().unwrap_or("");
                let byte = |at: usize| got.data.get(at).copied().map(i64::from).ok_or_else(short);
                let actual = match name {
                    "scm_sec" | "scm_nsec" => continue,
                    "ee_errno" => int(0)?,
                    "ee_origin" => byte(4)?,
                    "ee_type" => byte(5)?,
                    "ee_code" => byte(6)?,
                    "ee_info" => int(8)?,
                    "ee_data" => int(12)?,
                    _ => return Err(format!("cmsg_data has no member '{name}' that is known here")),
                };
                check_number(name, &member.value, actual)?;
            }
            check_time(expected, got, clock)
        }
        _ if got.data.len() < 4 => {
            check_number("cmsg_data", expected, got.data.first().copied().unwrap_or(0).into())
        }
        _ => check_number("cmsg_data", expected, int(0)?),
    }
}

/// `{scm_sec=0, scm_nsec=10000000}`: that long after the script's start.
fn check_time(expected: &Expr, got: &Control, clock: &Clock) -> Result<(), Refusal> {
    let part = |name| field(expected, &[name]).map(number).transpose().map(Option::flatten);
    let (Some(seconds), Some(nanos)) = (part("scm_sec")?, part("scm_nsec")?) else { return Ok(()) };
    let long = |at: usize| {
        let eight = got.data.get(at..at + 8).ok_or("cmsg_data has no time")?;
        Ok::<u64, Refusal>(u64::from_ne_bytes(eight.try_into().unwrap_or_default()))
    };
    let actual = Duration::from_secs(long(0)?) + Duration::from_nanos(long(8)?);
    let actual = actual.saturating_sub(clock.start);
    let wanted = Duration::from_secs(seconds.max(0) as u64) + Duration::from_nanos(nanos.max(0) as u64);
    if actual.abs_diff(wanted) <= clock.tolerance {
        return Ok(());
    }
    Err(format!("cmsg_data: expected the time {wanted:?}, actual {actual:?}"))
}
