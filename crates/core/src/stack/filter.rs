//! Accept filters (SO_ACCEPTFILTER): a connection is handed out once its client has said something.

use super::*;
use crate::config::AcceptFilter;

impl Stack {
    /// A connection that an accept filter holds got a segment: may it pass now?
    pub(super) fn apply_accept_filter(&mut self, key: Key) {
        let Some(socket) = self.sockets.get(key) else { return };
        let Kind::Connection(conn) = &socket.kind else { return };
        let Some(listener) = socket.parent else { return };
        let passes = conn.fin_received()
            || match socket.options.accept_filter {
                AcceptFilter::None => true,
                AcceptFilter::Data => conn.readable() > 0,
                AcceptFilter::Http => {
                    let mut head = [0; 2_048];
                    let n = conn.peek(0, &mut head);
                    is_http_ready(&head[..n], n == head.len())
                }
            };
        if !passes {
            return;
        }
        self.leave_filter(key);
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.flags.remove(SocketFlags::FILTERED);
            socket.flags.insert(SocketFlags::IN_ACCEPT_QUEUE);
        }
        if let Some((listening, _)) = self.listener_mut(listener) {
            listening.push(id_of(key));
        }
        self.raise(listener, Ready::IN);
    }

    /// Takes a connection off the list of those that an accept filter holds.
    pub(super) fn leave_filter(&mut self, key: Key) {
        let parent = self.sockets.get(key).and_then(|socket| socket.parent);
        if let Some((listening, _)) = parent.and_then(|listener| self.listener_mut(listener)) {
            listening.filtered.retain(|held| *held != key);
        }
    }
}

/// FreeBSD's accf_http: a whole request head, or something that is none.
fn is_http_ready(head: &[u8], is_full: bool) -> bool {
    let methods: [&[u8]; 2] = [b"GET ", b"HEAD "];
    let could_be = methods.iter().any(|m| head.starts_with(m) || m.starts_with(head));
    if !could_be || is_full {
        return true;
    }
    head.windows(4).any(|w| w == b"\r\n\r\n") || head.windows(2).any(|w| w == b"\n\n")
}
