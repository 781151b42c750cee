//! The faces: sockets as `std::net` has them, and `poll` and `select` over many.
//!
//! Every type and method has the name and the meaning that it has in `std::net`; what makes a socket
//! takes the [`Host`] besides. Any number of threads may use a socket at once. Errors are [`std::io::Error`]s with
//! the errno that POSIX names.
//!
//! ```
//! use std::io::{Read, Write};
//! use sockeye::Host;
//! use sockeye::net::{TcpListener, TcpStream};
//!
//! let (a, b) = Host::pair()?;
//! let listener = TcpListener::bind(&b, "192.0.2.2:80")?;
//! let mut client = TcpStream::connect(&a, "192.0.2.2:80")?;
//! let (mut server, _) = listener.accept()?;
//! client.write_all(b"hello")?;
//! let mut hello = [0; 5];
//! server.read_exact(&mut hello)?;
//! assert_eq!(&hello, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```

mod listener;
mod poll;
mod socket;
mod stream;
#[cfg(feature = "tokio")]
pub mod tokio;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

pub use listener::{Incoming, IntoIncoming, TcpListener};
pub use poll::{PollFd, Selected, poll, select};
pub use socket::{AsSocket, Socket};
pub use stream::TcpStream;

use crate::driver::Host;

impl Host {
    /// [`TcpListener::bind`].
    ///
    /// # Errors
    /// As there.
    pub fn bind(&self, address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        TcpListener::bind(self, address)
    }

    /// [`TcpStream::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect(&self, address: impl ToSocketAddrs) -> io::Result<TcpStream> {
        TcpStream::connect(self, address)
    }
}

/// Tries `f` with each address until one succeeds; the last error otherwise.
fn each_address<T>(
    address: impl ToSocketAddrs,
    mut f: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in address.to_socket_addrs()? {
        match f(address) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any addresses")))
}
