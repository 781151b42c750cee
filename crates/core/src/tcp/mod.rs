//! One connection.

pub mod congestion;
pub mod handshake;
pub mod info;
pub mod recovery;
pub mod rtt;
pub mod rxbuf;
pub mod segment;
pub mod seq;
pub mod state;
pub mod timer;
pub mod txbuf;

pub use handshake::HalfOpen;
pub use info::TcpInfo;
pub use segment::{Outgoing, Path, Segment, TimeWaitInfo, Tuple, Why};
pub use seq::SeqNum;
pub use state::State;
