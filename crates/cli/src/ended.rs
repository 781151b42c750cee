//! How a connection ended, for people and for programs.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use sockeye::net::Socket;

use crate::failure::{Code, Failure, Outcome, code_of, describe};

/// A connection's end and what it carried.
pub struct Ended {
    pub how: How,
    /// Bytes of the peer's that the program has read.
    pub received: u64,
    /// Bytes of the program's that the stack has taken.
    pub sent: u64,
}

/// What a connection has carried so far.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    pub fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The end of it.
    pub fn end(&self, how: How) -> Ended {
        Ended { how, received: self.received.load(Ordering::Relaxed), sent: self.sent() }
    }
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum How {
    /// Both sides closed.
    Closed,
    /// Both sides closed, after Ctrl-C.
    Stopped,
    /// The peer reset it.
    Reset,
    /// The peer fell silent.
    TimedOut,
    /// We reset it, because of this.
    Aborted(&'static str),
    /// Standard output was closed while there was more for it.
    OutputClosed,
    /// Anything else.
    Failed(Code, String),
}

impl How {
    pub fn from_result(result: io::Result<()>) -> How {
        match result {
            Ok(()) => How::Closed,
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => How::Reset,
                io::ErrorKind::TimedOut => How::TimedOut,
                _ => How::Failed(code_of(&error), describe(&error)),
            },
        }
    }

    pub fn closed_by_us(result: io::Result<()>) -> How {
        match How::from_result(result) {
            How::Closed => How::Stopped,
            other => other,
        }
    }

    /// Resets the connection.
    pub fn abort(socket: &Socket, why: &'static str) -> How {
        socket.abort();
        How::Aborted(why)
    }

    /// What the command makes of it, if this was its only connection.
    pub fn into_outcome(self) -> Outcome {
        let what = format!("the connection was {self}");
        Err(match self {
            How::Closed | How::Stopped => return Ok(()),
            How::Reset | How::Aborted(_) => Failure::new(Code::Reset, what),
            How::TimedOut => Failure::new(Code::TimedOut, what),
            How::OutputClosed => Failure::quiet(Code::OutputClosed),
            How::Failed(code, error) => Failure::new(code, format!("the connection failed: {error}")),
        })
    }

    pub fn name(&self) -> &'static str {
        match self {
            How::Closed => "closed",
            How::Stopped => "stopped",
            How::Reset => "reset",
            How::TimedOut => "timed out",
            How::Aborted(_) => "aborted",
            How::OutputClosed => "output closed",
            How::Failed(..) => "failed",
        }
    }

    pub fn error(&self) -> Option<&str> {
        match self {
            How::Aborted(why) => Some(why),
            How::Failed(_, error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Closed => f.write_str("closed"),
            How::Stopped => f.write_str("closed after Ctrl-C"),
            How::Reset => f.write_str("reset by the peer"),
            How::TimedOut => f.write_str("timed out"),
            How::Aborted(why) => write!(f, "reset by us ({why})"),
            How::OutputClosed => f.write_str("given up, for nobody reads the output"),
            How::Failed(_, error) => write!(f, "failed ({error})"),
        }
    }
}
