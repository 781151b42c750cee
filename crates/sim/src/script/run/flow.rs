//! The connections of a script: which one a packet belongs to.

use std::net::{IpAddr, SocketAddr};

use super::{Ends, Map};

/// The peer's first port; the next connection takes the next.
const FIRST_PORT: u16 = 40_000;

/// One connection, as the script plays its other end.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub ends: Ends,
    pub map: Map,
    /// A SYN has come or gone since the numbers were learned: the next SYN of the stack may start anew.
    pub fresh: bool,
    /// The numbers of the two SYNs in the script: where each stream starts.
    pub local_start: u32,
    pub remote_start: u32,
}

impl Flow {
    fn new(ends: Ends) -> Flow {
        Flow { ends, map: Map::new(), fresh: true, local_start: 0, remote_start: 0 }
    }
}

/// The connections so far. The latest is the one that packets without ports belong to.
#[derive(Debug)]
pub(super) struct Flows {
    list: Vec<Flow>,
    current: Option<usize>,
    next_port: u16,
    local: IpAddr,
    remote: IpAddr,
    /// Where the peer's connections go to.
    pub listening: u16,
}

impl Flows {
    pub fn new(local: IpAddr, remote: IpAddr, listening: u16) -> Flows {
        Flows { list: Vec::new(), current: None, next_port: FIRST_PORT, local, remote, listening }
    }

    /// The connection that the stack has begun to open.
    pub fn connecting(&mut self, local: SocketAddr, remote: SocketAddr) {
        let ends = Ends { local: plain(local), remote: plain(remote) };
        self.select(ends);
    }

    /// Listens anew: the next SYN is a connection of its own.
    pub fn listening(&mut self, port: u16) {
        self.listening = port;
        self.current = None;
    }

    /// The connection of a packet from the peer; `ports` are its source and destination as the script wrote them.
    pub fn inbound(&mut self, ports: Option<(u16, u16)>) -> &mut Flow {
        match (ports, self.current) {
            (Some((src, dst)), _) => {
                let local = SocketAddr::new(self.local, dst);
                self.select(Ends { local, remote: SocketAddr::new(self.remote, src) })
            }
            (None, Some(at)) => &mut self.list[at],
            (None, None) => {
                let remote = SocketAddr::new(self.remote, self.next_port);
                self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
                self.select(Ends { local: SocketAddr::new(self.local, self.listening), remote })
            }
        }
    }

    /// The connection of a packet that the script expects; `seen` are its ends on the wire, for a script that has
    /// said nothing of a connection yet.
    pub fn outbound(&mut self, ports: Option<(u16, u16)>, seen: Ends) -> &mut Flow {
        match (ports, self.current) {
            (Some((src, dst)), _) => {
                let local = SocketAddr::new(self.local, src);
                self.select(Ends { local, remote: SocketAddr::new(self.remote, dst) })
            }
            (None, Some(at)) => &mut self.list[at],
            (None, None) => self.select(seen),
        }
    }

    /// The connection that packets without ports belong to.
    pub fn current(&self) -> Option<&Flow> {
        self.current.map(|at| &self.list[at])
    }

    /// The latest connection to this peer.
    pub fn to_peer(&self, remote: SocketAddr) -> Option<&Flow> {
        self.list.iter().rev().find(|flow| flow.ends.remote == plain(remote))
    }

    /// The connection between these ends, made if it is new.
    fn select(&mut self, ends: Ends) -> &mut Flow {
        let at = match self.list.iter().position(|flow| flow.ends == ends) {
            Some(at) => at,
            None => {
                self.list.push(Flow::new(ends));
                self.list.len() - 1
            }
        };
        self.current = Some(at);
        &mut self.list[at]
    }
}

/// The address as it stands in packets: no IPv4 in IPv6, no scope.
pub(super) fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
