//! Opening: the two ways into a connection, and what its SYNs agree on (RFC 9293 3.5, RFC 7323 2.2).

use alloc::sync::Arc;

use super::congestion::Congestion;
use super::recovery::Persist;
use super::rtt::RttEstimator;
use super::*;
use crate::wire::tcp::Options as SegmentOptions;

/// The default MSS where the peer's SYN has no MSS option (MUST-15).
pub const fn default_mss(ipv6: bool) -> u16 {
    if ipv6 { 1_220 } else { 536 }
}

/// The MSS to announce (MUST-67): what the interface takes in one packet, options not subtracted.
pub fn announced_mss(mtu: u16, ipv6: bool, maxseg: u16) -> u16 {
    let mss = mtu.saturating_sub(if ipv6 { 60 } else { 40 }).max(88);
    if maxseg == 0 { mss } else { mss.min(maxseg) }
}

/// How many bytes a fresh RX buffer may hold.
pub fn initial_capacity(config: &Config, options: &Options) -> u32 {
    let capacity = options.rcvbuf.unwrap_or(config.rmem[1] / 2).max(256);
    if options.window_clamp == 0 { capacity } else { capacity.min(options.window_clamp) }
}

/// Our window scale (RFC 7323 2.3): enough for the largest buffer this socket can come to.
pub fn choose_window_scale(config: &Config, options: &Options) -> u8 {
    let space = match options.rcvbuf {
        // On Linux a buffer that the user has set does not grow.
        Some(set) if config.profile == crate::Profile::Linux => set,
        set => set.unwrap_or(0).max(config.rmem[2]),
    };
    let space = if options.window_clamp == 0 { space } else { space.min(options.window_clamp) };
    (0..14).find(|&shift| space >> shift <= 65_535).unwrap_or(14)
}

/// The largest window of a new connection: Linux keeps room for one segment (`tcp_init_buffer_space`).
fn window_clamp(config: &Config, options: &Options, wscale: u8, advmss: u16) -> u32 {
    let full = options.rcvbuf.unwrap_or(config.rmem[1] / 2);
    let advmss = u32::from(advmss);
    let set = if options.window_clamp == 0 { u32::MAX } else { options.window_clamp };
    let clamp = full.min(set).min(65_535 << wscale);
    if clamp > 2 * advmss && clamp + advmss > full { (full - advmss).max(2 * advmss) } else { clamp }
}

/// The window of a SYN or SYN-ACK, never scaled (RFC 7323 2.2): whole segments, as Linux rounds it.
pub fn initial_window(capacity: u32, mss: u16) -> u16 {
    let mss = u32::from(mss.max(1));
    let window = if capacity > mss { capacity / mss * mss } else { capacity };
    window.min(65_535) as u16
}

impl Connection {
    fn new(cx: &Cx<'_>, tuple: Tuple, iss: SeqNum, options: Arc<Options>, path: Path) -> Connection {
        let ipv6 = tuple.local.is_ipv6();
        let advmss = announced_mss(path.mtu, ipv6, options.maxseg);
        let peer_mss = default_mss(ipv6);
        let capacity = initial_capacity(cx.config, &options);
        let kind = options.congestion.unwrap_or(cx.config.congestion);
        Connection {
            state: State::Closed,
            tuple,
            snd: Snd::new(iss, options.sndbuf.unwrap_or(cx.config.wmem[1].max(65_536))),
            rcv: Rcv::new(capacity, advmss, choose_window_scale(cx.config, &options)),
            timers: Timers::new(),
            rtt: RttEstimator::new(),
            cc: Congestion::new(kind, u32::from(peer_mss), cx.config.initial_cwnd),
            persist: Persist::new(cx.config.reordering),
            flight: None,
            urgent: None,
            options,
            path,
            agreed: Agreed::default(),
            peer_mss,
            mss: peer_mss,
            proven_mss: 0,
            doubted_pmtu: 0,
            paced_until: Instant::ZERO,
            paced: false,
            search: None,
            due: Due::default(),
            retries: 0,
            persisting: false,
            persist_backoff: 0,
            keepalive_probes: 0,
            trouble_since: cx.now,
            ts_offset: 0,
            challenge: None,
            ecn: ecn::EcnState::default(),
            early: None,
            facts: fastopen::Facts::default(),
            error: None,
            soft_error: None,
            orphan: false,
            passive: false,
            ident: 0,
            rcv_tos: 0,
            records: None,
            counters: Counters { last_ack_recv: cx.now, stamp_base: iss + 1, ..Counters::default() },
            chrono: chrono::Chrono::default(),
        }
    }

    /// Active OPEN (RFC 9293 3.10.1): CLOSED to SYN-SENT; the SYN leaves with the next transmit.
    ///
    /// `iss` and `ts_offset` come from the stack's keyed clocks (RFC 6528, RFC 7323 7.1).
    pub fn open_active(
        cx: &mut Cx<'_>,
        tuple: Tuple,
        iss: SeqNum,
        ts_offset: u32,
        options: Arc<Options>,
        path: Path,
    ) -> Connection {
        let mut conn = Connection::new(cx, tuple, iss, options, path);
        conn.ts_offset = ts_offset;
        conn.ident = cx.rng.u32() as u16;
        conn.agreed = Agreed {
            // As Linux: SACK blocks and timestamps do not both fit beside a signature.
            timestamps: cx.config.timestamps && conn.md5_key().is_none(),
            sack: cx.config.sack,
            window_scaling: cx.config.window_scaling,
        };
        conn.due.syn = true;
        conn.due.user_timeout = true;
        conn.due.output = true;
        cx.stats.active_opens += 1;
        conn.step(cx, Event::ActiveOpen);
        conn
    }

    /// Passive OPEN, completed: SYN-RECEIVED, with the SYN-ACK sent and its answer just arrived. The
    /// caller hands that segment to [`Connection::on_segment`] next.
    pub fn open_passive(cx: &mut Cx<'_>, half: &HalfOpen, options: Arc<Options>, path: Path) -> Connection {
        let mut conn = Connection::new(cx, half.tuple, half.iss, options, path);
        conn.passive = true;
        conn.ts_offset = half.ts_offset;
        conn.ident = cx.rng.u32() as u16;
        conn.agreed = Agreed {
            timestamps: half.ts_recent.is_some(),
            sack: half.sack,
            window_scaling: half.window_scale.is_some(),
        };
        conn.state = State::SynReceived; // the table's LISTEN --rcv SYN--> was the SYN queue's step
        conn.snd.nxt = half.iss + 1;
        conn.peer_mss = half.peer_mss;
        conn.rcv.irs = half.irs;
        conn.rcv.nxt = half.irs + 1;
        conn.rcv.last_ack_sent = conn.rcv.nxt;
        conn.rcv.adv = conn.rcv.nxt + u32::from(half.our_window);
        if half.window_scale.is_some()
            && half.our_window == u16::MAX
            && cx.config.profile == crate::Profile::Linux
        {
            // The field was too small to say all that Linux would take.
            let segment = u32::from(conn.rcv.advmss) - if half.ts_recent.is_some() { 12 } else { 0 };
            conn.rcv.adv = conn.rcv.nxt + (conn.rcv.capacity - conn.rcv.capacity % segment).max(65_535);
        }
        conn.rcv.wscale = half.window_scale.map_or(0, |(_, ours)| ours);
        conn.snd.wscale = half.window_scale.map_or(0, |(theirs, _)| theirs);
        conn.snd.wl1 = half.irs;
        conn.snd.wl2 = half.iss;
        // The largest window seen counts from the handshake's last segment, the first that is scaled.
        conn.snd.wnd = u32::from(half.window);
        conn.retries = half.retransmits;
        conn.ecn.agreed = half.ecn && !half.accurate;
        if half.accurate {
            let linux = cx.config.profile == crate::Profile::Linux;
            let mut accurate = accecn::Accurate::new(half.tos, false, half.not_ect, linux);
            if half.retransmits > 0 {
                accurate.option_in_vain();
            }
            conn.ecn.accurate = Some(accurate);
        }
        if let Some(ts) = half.ts_recent {
            conn.rcv.ts_recent = ts;
            conn.rcv.ts_recent_age = cx.now.as_secs() as u32;
        }
        conn.trouble_since = half.sent_at;
        conn.timers.set(timer::Timer::Retransmit, cx.now + cx.config.rto_initial);
        cx.stats.passive_opens += 1;
        conn
    }

    /// Takes what the peer's SYN or SYN-ACK offers (RFC 9293 3.7.1, RFC 7323 2.2 and 3.2, RFC 2018 2).
    pub(super) fn negotiate(&mut self, now: Instant, offered: &SegmentOptions) {
        let ipv6 = self.tuple.local.is_ipv6();
        self.peer_mss = match offered.mss {
            Some(mss) if mss > 0 => mss,
            _ => default_mss(ipv6),
        };
        self.agreed.sack &= offered.sack_permitted;
        match offered.window_scale {
            // RFC 7323 2.3: a shift above 14 is taken as 14.
            Some(shift) if self.agreed.window_scaling => self.snd.wscale = shift.min(14),
            _ => {
                self.agreed.window_scaling = false;
                self.rcv.wscale = 0;
                self.snd.wscale = 0;
                self.rcv.capacity = self.rcv.capacity.min(65_535);
            }
        }
        match offered.timestamps {
            Some(ts) if self.agreed.timestamps => {
                self.rcv.ts_recent = ts.val;
                self.rcv.ts_recent_age = now.as_secs() as u32;
            }
            _ => self.agreed.timestamps = false,
        }
    }

    /// The step into ESTABLISHED: sizes and clocks that depend on what was agreed.
    pub(super) fn become_established(&mut self, cx: &mut Cx<'_>, event: Event) {
        self.timers.stop(timer::Timer::Retransmit);
        // Karn: only a SYN that was sent once gives a sample. RFC 6298 (5.7): else the RTO starts at 3 s.
        if self.retries == 0 && !self.trouble_since.is_never() {
            let sample = cx.now.since(self.trouble_since);
            self.rtt.sample(cx.now, sample, &self.rto_policy(cx.config));
        } else if self.retries > 0 && !self.agreed.timestamps {
            self.rtt.after_syn_timeout();
        }
        self.start_mtu_search(cx);
        self.update_mss(cx.config);
        // RFC 6928 2: a lost SYN makes the initial window one segment.
        let initial = if self.retries > 1 { 1 } else { cx.config.initial_cwnd };
        if self.flight.is_none() {
            let kind = self.options.congestion.unwrap_or(cx.config.congestion);
            self.cc = Congestion::new(kind, u32::from(self.mss), initial);
        }
        self.decide_pacing(cx.config);
        self.retries = 0;
        self.trouble_since = Instant::NEVER;
        if cx.config.profile == crate::Profile::Linux {
            let rcv = &mut self.rcv;
            let timestamps: u8 = if self.agreed.timestamps { 12 } else { 0 };
            let clamp =
                window_clamp(cx.config, &self.options, rcv.wscale, rcv.advmss - u16::from(timestamps));
            let rcvbuf = self.options.rcvbuf.map_or(cx.config.rmem[1], |half| half.saturating_mul(2));
            // A SYN's field may have been too small for it; what came on the SYN is not counted.
            let mut announced = rcv.adv.since(rcv.irs + 1);
            if announced >= 65_535 && rcv.wscale > 0 {
                announced = announced.max(rcv.capacity - rcv.capacity % u32::from(rcv.advmss));
            }
            rcv.reckon_as_linux(rcvbuf, clamp, announced, timestamps);
        } else {
            self.rcv.drs.space = 10 * u32::from(self.rcv.advmss);
        }
        let rcv = &mut self.rcv;
        rcv.mss = rcv.advmss.min(self.mss).clamp(88, 536);
        rcv.drs.space_at = cx.now;
        if self.flight.is_none() {
            self.snd.sml = self.snd.una;
        }
        if !self.snd.urgent {
            self.snd.up = self.snd.una;
        }
        self.counters.last_ack_recv = cx.now;
        // As Linux counts: before any text there was the handshake.
        self.rcv.ack.last_data = cx.now;
        if self.counters.last_data_sent == Instant::ZERO {
            self.counters.last_data_sent = cx.now;
        }
        self.step(cx, event);
        self.arm_keepalive(cx);
        self.due.user_timeout = true;
        self.due.output = true;
    }

    /// Eff.snd.MSS (MUST-16), less the timestamps and the signature that every segment carries.
    pub(super) fn update_mss(&mut self, config: &Config) {
        let options = self.options.ip_options.as_ref().map_or(0, |o| o.len().div_ceil(4) * 4) as u16;
        let by_path =
            self.path.pmtu.min(self.searched_mtu()).saturating_sub(self.ip_header_len() + options + 20);
        let mut mss = self.peer_mss.min(by_path);
        if self.options.maxseg != 0 {
            mss = mss.min(self.options.maxseg);
        }
        // CVE-2019-11479: no peer and no path brings us below the floor.
        mss = mss.max(config.min_snd_mss).min(by_path.max(48));
        let timestamps = if self.agreed.timestamps { 12 } else { 0 };
        let signature = if self.md5_key().is_some() { 20 } else { 0 };
        self.mss = mss.saturating_sub(timestamps + signature).max(36);
    }

    /// SND.WND, and the largest one seen.
    pub(super) fn set_window(&mut self, window: u32) {
        self.snd.wnd = window;
        self.snd.max_wnd = self.snd.max_wnd.max(window);
    }
}
