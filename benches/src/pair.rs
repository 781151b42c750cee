//! What a bench needs of two stacks of one kind.

/// How many packets may be on the link in one direction; a stack that has more to send waits its turn.
pub const LINK_DEPTH: usize = 128;
/// Nanoseconds of virtual time that pass with each [`Pair::step`].
pub const STEP_NANOS: u64 = 1_000;

/// The active opener or the passive one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Opens connections, and closes first.
    Client,
    /// Accepts them.
    Server,
}

/// How long an ended connection is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeWait {
    /// The full time: 10 s, which is what smoltcp has built in.
    Keep,
    /// Not at all.
    Throw,
}

/// How the stacks are set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The link's MTU, bytes.
    pub mtu: u16,
    /// Each socket's send buffer, and each receive buffer, bytes.
    pub buffer: usize,
    /// Transport checksums are computed by the sender and verified by the receiver (else left to the link).
    pub checksums: bool,
    /// The longest super-segment the link takes, bytes; 0: none.
    pub gso: u32,
    /// What follows a connection's end.
    pub time_wait: TimeWait,
    /// Nagle's algorithm, on by default in both stacks.
    pub nagle: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { mtu: 1_500, buffer: 65_536, checksums: true, gso: 0, time_wait: TimeWait::Keep, nagle: true }
    }
}

/// Two stacks, the link between them, and the virtual clock.
pub trait Pair: Sized {
    /// A socket's name on its side.
    type Socket: Copy;
    /// The stack's name.
    const NAME: &'static str;

    /// Two stacks joined by a link, the server listening.
    fn new(setup: &Setup) -> Self;
    /// Carries what both stacks have to send, once each way; time passes a little. False if nothing moved.
    fn step(&mut self) -> bool;
    /// Lets time pass, and what is due happen.
    fn pass(&mut self, nanos: u64);
    /// Lets time pass up to the next thing due, if anything is.
    fn pass_to_deadline(&mut self);
    /// Starts opening a connection to the server.
    fn connect(&mut self) -> Self::Socket;
    /// Whether the client's socket is connected.
    fn connected(&mut self, socket: Self::Socket) -> bool;
    /// The next connection that the server has, if any.
    fn accept(&mut self) -> Option<Self::Socket>;
    /// Copies data into the send buffer; returns how many bytes fitted.
    fn send(&mut self, side: Side, socket: Self::Socket, data: &[u8]) -> usize;
    /// Copies data out of the receive buffer; returns how many bytes there were.
    fn recv(&mut self, side: Side, socket: Self::Socket, out: &mut [u8]) -> usize;
    /// As `send`, without the program's copy: up to `max` bytes that are where they must be.
    fn send_in_place(&mut self, side: Side, socket: Self::Socket, max: usize) -> usize;
    /// As `recv`, without the program's copy.
    fn recv_in_place(&mut self, side: Side, socket: Self::Socket, max: usize) -> usize;
    /// Whether the peer has closed and all its data was read.
    fn at_end(&mut self, side: Side, socket: Self::Socket) -> bool;
    /// Closes; the socket's name is not used again.
    fn close(&mut self, side: Side, socket: Self::Socket);
    /// Segments of the wire that the client has sent so far.
    fn client_segments(&self) -> u64;
    /// Connections in TIME-WAIT at the client.
    fn time_waits(&self) -> usize;
}

/// Opens one connection; both ends of it. Panics if it does not come about.
pub fn open<P: Pair>(pair: &mut P) -> (P::Socket, P::Socket) {
    let client = pair.connect();
    for _ in 0..16 {
        pair.step();
        if let Some(server) = pair.accept() {
            assert!(pair.connected(client), "{}: accepted but not connected", P::NAME);
            return (client, server);
        }
    }
    panic!("{}: no connection after sixteen steps", P::NAME);
}
