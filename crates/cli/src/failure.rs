//! Failures as a person meets them: what happened, what to do, and the exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

use sockeye::core::Errno;

/// Why the command ends with something else than 0.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    what: String,
    hint: Option<String>,
}

/// The exit codes, as the manual lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Failed = 1,
    Usage = 2,
    Device = 3,
    AddressInUse = 4,
    Refused = 5,
    TimedOut = 6,
    Unreachable = 7,
    Reset = 8,
    Interrupted = 130,
    OutputClosed = 141,
}

/// What a command gives back.
pub type Outcome = Result<(), Failure>;

impl Failure {
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Failure { code, what: what.into(), hint: None }
    }

    /// An end that has been told already, or that nobody listens to: only the exit code is left.
    pub fn quiet(code: Code) -> Self {
        Failure::new(code, "")
    }

    pub fn is_quiet(&self) -> bool {
        self.what.is_empty()
    }

    /// Adds what a person can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure of `what` by an error of the stack or of the system.
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let failure = Failure::new(code_of(error), format!("{what}: {}", describe(error)));
        match error.raw_os_error().and_then(hint_for) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    pub fn code(&self) -> Code {
        self.code
    }

    /// The error as an object of JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "event": "error", "code": self.code as u8, "what": self.what, "hint": self.hint })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sockeye: {}", self.what)?;
        if let Some(hint) = &self.hint {
            for line in hint.lines() {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// The stack's own words for its errors, the system's for the rest.
pub fn describe(error: &io::Error) -> String {
    match error.raw_os_error().and_then(Errno::from_number) {
        Some(errno) => errno.to_string(),
        None => error.to_string(),
    }
}

/// The exit code for an error.
pub fn code_of(error: &io::Error) -> Code {
    use io::ErrorKind as K;
    match error.kind() {
        K::AddrInUse | K::AddrNotAvailable => Code::AddressInUse,
        K::ConnectionRefused => Code::Refused,
        K::TimedOut => Code::TimedOut,
        K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => Code::Unreachable,
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => Code::Reset,
        _ => Code::Failed,
    }
}

fn hint_for(errno: i32) -> Option<&'static str> {
    Some(match Errno::from_number(errno)? {
        Errno::EADDRINUSE => {
            "something listens there already, or a connection with that port is in TIME-WAIT; take another --port"
        }
        Errno::EADDRNOTAVAIL => "give the address with --address ADDR/PREFIX to make it ours",
        Errno::ECONNREFUSED => "the host answered, but nothing listens on that port",
        Errno::ETIMEDOUT => {
            "no answer came: is the peer up, does it have a route back to our --address, does a firewall drop it?"
        }
        Errno::ENETUNREACH => "no --address has the peer in its network; give a --gateway",
        Errno::EHOSTUNREACH => "the network says that it cannot reach that host",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(errno: Errno) -> u8 {
        Failure::io("x", &io::Error::from_raw_os_error(errno.number())).code() as u8
    }

    #[test]
    fn errors_have_their_exit_code() {
        assert_eq!(code(Errno::ECONNREFUSED), 5);
        assert_eq!(code(Errno::ETIMEDOUT), 6);
        assert_eq!(code(Errno::EADDRINUSE), 4);
        assert_eq!(code(Errno::EADDRNOTAVAIL), 4);
        assert_eq!(code(Errno::ENETUNREACH), 7);
        assert_eq!(code(Errno::EHOSTUNREACH), 7);
        assert_eq!(code(Errno::ECONNRESET), 8);
        assert_eq!(code(Errno::ECONNABORTED), 8);
        assert_eq!(code(Errno::EINVAL), 1);
    }

    #[test]
    fn hint_stands_below() {
        let text = Failure::new(Code::Device, "no").hint("do this\nand that").to_string();
        assert_eq!(text, "sockeye: no\n  do this\n  and that");
    }
}
