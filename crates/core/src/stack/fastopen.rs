//! Fast Open in the stack (RFC 7413): cookies and their keys, who may open early, how many at once.

use siphasher::sip::SipHasher24;

use super::*;
use crate::config::{FastOpenBits, FastOpenKeys};
use crate::packet::Payload;
use crate::rng::Rng;
use crate::tcp::{FastOpenPlan, HalfOpen, Segment};
use crate::time::Duration;
use crate::wire::tcp::FastOpen;
use input::Arrival;

/// How long an early connection that its client reset still counts (RFC 7413 5.1; Linux).
const RESET_COUNTS: Duration = Duration::from_secs(60);

/// What makes a connection of a handshake.
pub(super) enum Opening {
    /// The segment that completes it, and the place of the half-open entry.
    Complete(Box<Segment>, Option<Key>),
    /// A SYN with Fast Open: its text, and the cookie that the SYN-ACK brings.
    Early {
        /// The text.
        data: Payload,
        /// A new cookie.
        cookie: Option<FastOpen>,
    },
}

/// What a SYN gets.
pub(super) enum Answer {
    /// A connection at once, and a new cookie if the old one was made with a former key.
    Early(Option<FastOpen>),
    /// The ordinary handshake, with a cookie if the SYN asked for one or brought a wrong one.
    Ordinary(Option<FastOpen>),
}

/// Fresh keys.
pub(super) fn random_keys(rng: &mut Rng) -> FastOpenKeys {
    FastOpenKeys { primary: rng.key(), backup: None }
}

/// A MAC of the client's and the server's address (RFC 7413 4.1.2), eight bytes, as Linux makes it.
fn cookie(key: &[u8; 16], tuple: &Tuple) -> Option<FastOpen> {
    let hasher = SipHasher24::new_with_key(key);
    let mac = match (tuple.remote.ip(), tuple.local.ip()) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            let mut bytes = [0; 8];
            bytes[..4].copy_from_slice(&client.octets());
            bytes[4..].copy_from_slice(&server.octets());
            hasher.hash(&bytes)
        }
        (IpAddr::V6(client), IpAddr::V6(server)) => {
            let mut bytes = [0; 32];
            bytes[..16].copy_from_slice(&client.octets());
            bytes[16..].copy_from_slice(&server.octets());
            hasher.hash(&bytes)
        }
        _ => return None,
    };
    FastOpen::cookie(&mac.to_le_bytes())
}

impl Stack {
    /// The keys that cookies are made with (`tcp_fastopen_key`), unless a listener has its own.
    pub(crate) fn fast_open_keys(&self) -> &FastOpenKeys {
        self.config.fastopen_key.as_ref().unwrap_or(&self.fast_open_keys)
    }

    /// Makes cookies with a fresh key from now on. Those of the key before are still good, and exchanged; older
    /// ones are not (RFC 7413 4.1.2).
    pub fn rotate_fast_open_key(&mut self) {
        let keys = FastOpenKeys { primary: self.rng.key(), backup: Some(self.fast_open_keys().primary) };
        if self.config.fastopen_key.is_some() {
            self.config.fastopen_key = Some(keys);
        } else {
            self.fast_open_keys = keys;
        }
    }

    /// How the next SYN to a server goes out; `None`: a plain one.
    pub(crate) fn plan_fast_open(&self, server: IpAddr, options: &Options) -> Option<FastOpenPlan> {
        let bits = self.config.fastopen;
        if !bits.contains(FastOpenBits::CLIENT) {
            return None;
        }
        let without = bits.contains(FastOpenBits::CLIENT_NO_COOKIE) || options.fastopen_no_cookie;
        self.hosts.plan(self.now, server, without)
    }

    /// The handshake is over: what the SYN with Fast Open came to is remembered.
    pub(super) fn learn_fast_open(&mut self, now: Instant, key: Key) {
        let Some(Kind::Connection(conn)) = self.sockets.get_mut(key).map(|socket| &mut socket.kind) else {
            return;
        };
        let server = conn.tuple().remote.ip();
        if conn.asked_in_vain() {
            self.hosts.note_shy(now, server);
        }
        if let Some(result) = conn.take_fast_open()
            && self.hosts.learn(now, server, &result)
        {
            self.stats.tcp_fastopen_blackhole += 1;
        }
    }

    /// RFC 7413 4.2.2 at the server: only where the listener asked for it, with a good cookie, below the limit.
    pub(super) fn judge_fast_open(
        &mut self,
        now: Instant,
        listener: Key,
        options: &Options,
        arrival: &Arrival,
    ) -> Answer {
        let offered = arrival.seg.hdr.options.fast_open;
        // Whoever asks under the experimental kind is answered under it.
        let experimental = offered.is_some_and(|option| option.is_experimental());
        let offered = offered.map(|option| option.under_experimental_kind(false));
        let has_data = !arrival.seg.data.is_empty();
        let request = offered == Some(FastOpen::REQUEST);
        if request {
            self.stats.tcp_fastopen_cookie_reqd += 1;
        }
        let bits = self.config.fastopen;
        let concerned = bits.contains(FastOpenBits::SERVER) && (has_data || offered.is_some());
        if !concerned || !self.may_open_early(now, listener, options) {
            return Answer::Ordinary(None);
        }
        if has_data && (bits.contains(FastOpenBits::SERVER_NO_COOKIE) || options.fastopen_no_cookie) {
            return Answer::Early(None);
        }
        let Some(offered) = offered else { return Answer::Ordinary(None) };
        let keys = options.fastopen_key.as_deref().unwrap_or_else(|| self.fast_open_keys());
        let good = cookie(&keys.primary, &arrival.tuple);
        let former = keys.backup.and_then(|key| cookie(&key, &arrival.tuple));
        let current = good.map(|option| option.under_experimental_kind(experimental));
        if request {
            Answer::Ordinary(current)
        } else if Some(offered) == good {
            Answer::Early(None)
        } else if Some(offered) == former {
            self.stats.tcp_fastopen_passive_alt_key += 1;
            Answer::Early(current)
        } else {
            self.stats.tcp_fastopen_passive_fail += 1;
            Answer::Ordinary(current)
        }
    }

    /// RFC 7413 5.1: below TCP_FASTOPEN's limit, those counted that a RST ended lately.
    fn may_open_early(&mut self, now: Instant, listener: Key, options: &Options) -> bool {
        let every = self.config.fastopen.contains(FastOpenBits::SERVER_EVERY_LISTENER);
        let Some((listening, _)) = self.listener_mut(listener) else { return false };
        let limit = match options.fastopen_qlen {
            0 if every => listening.limit(),
            limit => limit,
        };
        if limit == 0 || listening.is_full() {
            return false;
        }
        let resets = &mut listening.early_resets;
        while resets.front().is_some_and(|at| now.since(*at) >= RESET_COUNTS) {
            resets.pop_front();
        }
        let fits = u64::from(listening.early) + (resets.len() as u64) < u64::from(limit);
        self.stats.tcp_fastopen_listen_overflow += u64::from(!fits);
        fits
    }

    /// A connection from the SYN on. False if it cannot be made; the ordinary handshake is left.
    pub(super) fn open_early(
        &mut self,
        now: Instant,
        listener: Key,
        half: &HalfOpen,
        arrival: &mut Arrival,
        cookie: Option<FastOpen>,
    ) -> bool {
        let data: Payload = core::mem::take(&mut arrival.seg.data);
        let opening = Opening::Early { data: data.clone(), cookie };
        let wanted = self.listener_ref(listener).is_some_and(|(_, options)| options.save_syn);
        let saved = arrival.headers.take().filter(|_| wanted);
        if !self.establish(now, listener, half, arrival.route, opening, saved) {
            arrival.seg.data = data;
            self.stats.tcp_fastopen_passive_fail += 1;
            return false;
        }
        self.stats.tcp_fastopen_passive += 1;
        if let Some((listening, _)) = self.listener_mut(listener) {
            listening.early += 1;
        }
        true
    }

    /// An early connection left SYN-RECEIVED, or is gone: it is not pending any more.
    pub(super) fn leave_early(&mut self, now: Instant, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if !socket.flags.contains(SocketFlags::EARLY) {
            return;
        }
        socket.flags.remove(SocketFlags::EARLY);
        let Kind::Connection(conn) = &socket.kind else { return };
        let reset = conn.state() == State::Closed && conn.error() == Some(Errno::ECONNRESET);
        let Some(parent) = socket.parent else { return };
        if !socket.flags.intersects(SocketFlags::IN_ACCEPT_QUEUE | SocketFlags::FILTERED) {
            socket.parent = None;
        }
        if let Some((listening, _)) = self.listener_mut(parent) {
            listening.early = listening.early.saturating_sub(1);
            if reset {
                listening.early_resets.push_back(now); // as many as the limit, which they count against
            }
        }
    }
}
