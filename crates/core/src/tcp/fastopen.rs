//! Fast Open (RFC 7413): data on the SYN, and a server that reads and answers it before the handshake ends.
//!
//! Cookies, keys and what is remembered of servers are the stack's; a connection knows what its own SYN
//! carries and what became of it.

use super::*;
use crate::packet::Payload;
use crate::wire::tcp::{FastOpen, Header, Options as SegmentOptions};

/// What a middlebox may add to a SYN: kept free on one with data, as Linux does (MAX_TCP_OPTION_SPACE).
const OPTION_SPACE: u16 = 40;

/// TCP_INFO's `tcpi_fastopen_client_fail`.
const COOKIE_UNAVAILABLE: u8 = 1;
const DATA_NOT_ACKED: u8 = 2;
const SYN_RETRANSMITTED: u8 = 3;

/// What the stack knows of the server, for a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FastOpenPlan {
    /// The cookie, or a request for one; `None` if the server needs none.
    pub option: Option<FastOpen>,
    /// The server's MSS as it was last time; 0 if unknown.
    pub mss: u16,
}

impl FastOpenPlan {
    /// Whether data may go on the SYN.
    pub fn carries_data(&self) -> bool {
        self.option.is_none_or(|option| option != FastOpen::REQUEST)
    }
}

/// What became of a SYN of that kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FastOpenResult {
    /// The cookie that the SYN-ACK brought.
    pub cookie: Option<FastOpen>,
    /// The MSS of the SYN-ACK; 0 if it had none, or never came.
    pub mss: u16,
    /// The SYN with data was lost while plain ones got through, or none did.
    pub lost: bool,
}

/// While the handshake lasts.
#[derive(Debug)]
pub(super) struct Early {
    plan: FastOpenPlan,
    /// The SYN waits for the first data (TCP_FASTOPEN_CONNECT).
    deferred: bool,
    /// Bytes of text that the SYN carried.
    sent: u32,
    result: Option<FastOpenResult>,
}

/// What stays known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// Opened by a SYN with data: read and answered from SYN-RECEIVED on.
    pub passive: bool,
    /// Data on the SYN was acknowledged with it (TCPI_OPT_SYN_DATA).
    pub syn_data_acked: bool,
    /// `tcpi_fastopen_client_fail`.
    pub client_fail: u8,
}

impl Connection {
    /// The first SYN follows `plan`; `deferred`: it waits for [`Connection::start_deferred`].
    pub(crate) fn plan_fast_open(&mut self, plan: FastOpenPlan, deferred: bool) {
        if plan.option == Some(FastOpen::REQUEST) {
            self.facts.client_fail = COOKIE_UNAVAILABLE;
        }
        self.early = Some(Box::new(Early { plan, deferred, sent: 0, result: None }));
        self.due.syn = !deferred;
        self.due.output = !deferred;
    }

    /// Whether the SYN waits for the first data.
    pub fn is_deferred(&self) -> bool {
        self.early.as_ref().is_some_and(|early| early.deferred)
    }

    /// There is data, or no use in waiting any more: the SYN leaves.
    pub(crate) fn start_deferred(&mut self) {
        if let Some(early) = &mut self.early {
            early.deferred = false;
            self.due.syn = true;
            self.due.output = true;
        }
    }

    /// Bytes of text that the SYN has room for (RFC 7413 4.2.2: the cached MSS, else the default); 0 if it is
    /// a plain one, or has left.
    pub(crate) fn syn_room(&self) -> usize {
        let Some(early) = self.early.as_ref().filter(|early| early.plan.carries_data()) else { return 0 };
        if self.state != State::SynSent || self.snd.nxt != self.snd.iss {
            return 0;
        }
        let mss = match early.plan.mss {
            0 => open::default_mss(self.tuple.local.is_ipv6()),
            mss => mss,
        };
        let by_path = self.path.pmtu.saturating_sub(self.ip_header_len() + 20);
        let bound = if self.options.maxseg == 0 { mss } else { mss.min(self.options.maxseg) };
        usize::from(bound.min(by_path).saturating_sub(OPTION_SPACE))
    }

    /// Option and text of a SYN or early SYN-ACK. Sent again it has neither (RFC 7413 4.2.2).
    pub(super) fn dress_syn(&mut self, options: &mut SegmentOptions) -> Payload {
        let room = self.syn_room();
        let Some(early) = &mut self.early else { return Payload::new() };
        if self.retries > 0 {
            return Payload::new();
        }
        if early.plan.option.is_some() {
            let plain = options.wire_len();
            options.fast_open = early.plan.option;
            if options.wire_len() == plain {
                // No space is left: a plain SYN, without data.
                options.fast_open = None;
                self.early = None;
                return Payload::new();
            }
        }
        let len = self.snd.buf.len().min(room);
        early.sent = len as u32;
        if len == 0 { Payload::new() } else { self.snd.text(self.snd.iss + 1, len) }
    }

    /// The SYN-ACK: what it acknowledges of the SYN's data, and which cookie it brings. The rest of the data is
    /// unsent again, and goes out first.
    pub(super) fn hear_fast_open(&mut self, cx: &mut Cx<'_>, hdr: &Header) {
        let again = self.retries > 0;
        let kept = self.take_back_syn_data(hdr.ack);
        let Some(early) = &mut self.early else { return };
        let cookie = hdr.options.fast_open.filter(|cookie| !cookie.as_slice().is_empty());
        let lost = again && cookie.is_none() && early.sent > 0 && kept == early.sent;
        early.result = Some(FastOpenResult { cookie, mss: hdr.options.mss.unwrap_or(0), lost });
        if early.sent == 0 {
            return;
        }
        if kept > 0 {
            cx.stats.tcp_fastopen_active_fail += 1;
            self.facts.client_fail = if again { SYN_RETRANSMITTED } else { DATA_NOT_ACKED };
        } else {
            cx.stats.tcp_fastopen_active += 1;
            self.facts.syn_data_acked = true;
        }
    }

    /// What the SYN carried and `ack` does not cover counts as never sent; returns how much that is.
    pub(super) fn take_back_syn_data(&mut self, ack: SeqNum) -> u32 {
        if self.facts.passive || !self.snd.nxt.gt(ack) {
            return 0;
        }
        let kept = self.snd.nxt.since(ack);
        self.snd.nxt = ack;
        kept
    }

    /// No answer ever came.
    pub(super) fn note_syn_lost(&mut self) {
        if let Some(early) = self.early.as_mut().filter(|early| early.sent > 0) {
            early.result = Some(FastOpenResult { cookie: None, mss: 0, lost: true });
        }
    }

    /// What the stack has to remember of the server, once the handshake is over.
    pub(crate) fn take_fast_open(&mut self) -> Option<FastOpenResult> {
        if self.state == State::SynSent {
            return None;
        }
        self.early.take()?.result
    }

    /// SYN-RECEIVED, opened by a SYN with data: the user may read and write.
    pub fn is_open_early(&self) -> bool {
        self.state == State::SynReceived && self.facts.passive
    }

    /// Passive OPEN by a SYN whose cookie is good (RFC 7413 4.2.2): SYN-RECEIVED, with the text of the SYN to be
    /// read; the SYN-ACK, with `cookie` if the client needs a new one, leaves with the next transmit.
    pub(crate) fn open_early(
        cx: &mut Cx<'_>,
        half: &HalfOpen,
        options: Arc<Options>,
        path: Path,
        data: Payload,
        cookie: Option<FastOpen>,
    ) -> Connection {
        let mut conn = Connection::open_passive(cx, half, options, path);
        conn.facts.passive = true;
        let plan = FastOpenPlan { option: cookie, mss: 0 };
        conn.early = cookie.map(|_| Box::new(Early { plan, deferred: false, sent: 0, result: None }));
        conn.rcv_tos = half.tos;
        conn.snd.nxt = half.iss;
        conn.update_mss(cx.config);
        let kind = conn.options.congestion.unwrap_or(cx.config.congestion);
        conn.cc = Congestion::new(kind, u32::from(conn.mss), cx.config.initial_cwnd);
        conn.take_syn_data(data);
        conn.timers.clear();
        conn.due.syn = true;
        conn.due.output = true;
        conn
    }

    fn take_syn_data(&mut self, mut data: Payload) {
        self.counters.segs_in += 1;
        data.truncate(self.rcv.wnd() as usize);
        if data.is_empty() {
            return;
        }
        self.facts.syn_data_acked = true;
        self.counters.data_segs_in += 1;
        let limit = self.rcv.capacity as usize;
        let advanced = self.rcv.buf.insert(0, data, limit).advanced;
        self.rcv.nxt += advanced;
        self.counters.bytes_received += u64::from(advanced);
    }

    /// The client's SYN again: its answer was lost, and goes out again, within a rate.
    pub(super) fn hear_syn_again(&mut self, cx: &mut Cx<'_>) {
        if !self.may_answer_unwelcome(cx) {
            return;
        }
        self.retries = self.retries.saturating_add(1);
        self.due.syn = true;
        self.due.output = true;
    }
}
