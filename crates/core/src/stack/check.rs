//! What must hold of a stack between any two calls, for tests and simulators.

use alloc::format;
use alloc::string::String;

use super::*;

impl Stack {
    /// Checks the stack against itself, at the latest time that it was told and with nothing left to
    /// [`Stack::transmit`]: each connection, its timer's and its buffers' place in the accounts, the sums. This walks
    /// everything.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        let (mut charged, mut connections, mut established, mut orphans) = (0, 0, 0, 0);
        for (key, socket) in self.sockets.iter() {
            charged += u64::from(socket.charged);
            orphans += u32::from(socket.flags.contains(SocketFlags::ORPHAN));
            let Kind::Connection(conn) = &socket.kind else {
                if socket.charged != 0 {
                    return Err(format!("{:?} has no connection and is charged for buffers", id_of(key)));
                }
                continue;
            };
            self.check_connection(key, socket, conn)?;
            connections += usize::from(socket.flags.contains(SocketFlags::IN_DEMUX));
            established += u64::from(matches!(conn.state(), State::Established | State::CloseWait));
        }
        let sums = [
            ("bytes in buffers", self.memory.used, charged),
            ("connections found by tuple", self.demux.len() as u64, connections as u64),
            ("connections counted as established", self.stats.curr_estab, established),
            ("orphans", u64::from(self.orphans), u64::from(orphans)),
            ("TIME-WAIT entries", self.stats.time_wait, self.time_waits.len() as u64),
        ];
        match sums.into_iter().find(|(_, kept, counted)| kept != counted) {
            Some((what, kept, counted)) => Err(format!("{what}: {kept} are accounted for, {counted} there")),
            None => Ok(()),
        }
    }

    fn check_connection(&self, key: Key, socket: &Socket, conn: &Connection) -> Result<(), String> {
        conn.check_invariants(self.now)?;
        let fail = |what: &str| Err(format!("{:?} {:?}: {what}", id_of(key), conn.tuple()));
        if conn.wants_transmit() && !socket.flags.contains(SocketFlags::TX_QUEUED) {
            return fail("it wants to send and is in no queue");
        }
        if conn.buffered() != socket.charged {
            return fail("its buffers are not what it is charged for");
        }
        let wakes = self.wheel.deadline(key.index).unwrap_or(Instant::NEVER);
        if wakes > conn.next_deadline() {
            return fail("it would be woken later than its timer says");
        }
        let is_live = conn.state() != State::Closed && conn.state() != State::TimeWait;
        if is_live != socket.flags.contains(SocketFlags::IN_DEMUX) {
            return fail("a live connection is not found by its tuple, or an ended one is");
        }
        Ok(())
    }
}
