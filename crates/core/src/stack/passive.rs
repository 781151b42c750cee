//! The passive side of the handshake: LISTEN (RFC 9293 3.10.7.2), SYN-RECEIVED as a small entry
//! (3.10.7.4), SYN cookies, and the step into the accept queue.

use super::*;
use crate::config::{AcceptFilter, Ecn, Profile, SynCookies};
use crate::tcp::accecn::{Request, option_of_syn_ack, reflection};
use crate::tcp::ecn::is_requested;
use crate::tcp::open::{announced_mss, choose_window_scale, default_mss, initial_capacity, initial_window};
use crate::tcp::{HalfOpen, Why};
use crate::time::Duration;
use crate::trace::{DropReason, Record, What};
use crate::wire::ip::SourceRoute;
use crate::wire::tcp::{FastOpen, Flags, Header};
use cookie::CookieOptions;
use fastopen::{Answer, Opening};
use input::{Arrival, timestamps, with_route};
use syn::{BUCKET_LIMIT, SynEntry, SynFlags};

/// What a SYN-ACK has beside what was agreed.
#[derive(Clone, Copy, Default)]
struct Extra {
    /// The TSval, where it is not the clock's.
    stamp: Option<u32>,
    fast_open: Option<FastOpen>,
}

/// How long after the last cookie an ACK without an entry may be the answer to one.
const COOKIE_LIFE: Duration = Duration::from_secs(128);

impl Stack {
    /// Whether a SYN's wish for RFC 3168's ECN is granted.
    fn takes_ecn(&self) -> bool {
        self.config.ecn != Ecn::Off || self.config.congestion.needs_ecn()
    }

    /// RFC 9293 3.10.7.2. `after`: the ISS has to be later than this (a TIME-WAIT was taken over).
    pub(super) fn arrive_listening(
        &mut self,
        now: Instant,
        listener: Key,
        arrival: Arrival,
        after: Option<SeqNum>,
    ) {
        let (tuple, hdr) = (arrival.tuple, arrival.seg.hdr);
        let min_ttl = self.sockets.get(listener).map_or(0, |s| s.options.min_ttl);
        if arrival.seg.ttl < min_ttl {
            self.stats.tcp_min_ttl_drop += 1;
            return self.record_drop(Some(listener), Some(tuple), DropReason::LowTtl, Some(hdr.seq));
        }
        if self.trace.on() {
            self.trace_received(Some(listener), &tuple, &arrival.seg, State::Listen);
        }
        if hdr.flags.contains(Flags::RST) {
            // First: an incoming RST is ignored.
            return self.record_drop(Some(listener), Some(tuple), DropReason::BadRst, Some(hdr.seq));
        }
        if hdr.flags.contains(Flags::ACK) {
            // Second: any acknowledgment is bad, unless it answers a cookie.
            return self.on_ack_without_entry(now, listener, arrival);
        }
        if !hdr.flags.contains(Flags::SYN) || tuple.local == tuple.remote {
            // Fourth: anything else is dropped; so is LAND.
            return self.record_drop(Some(listener), Some(tuple), DropReason::WrongState, Some(hdr.seq));
        }
        self.on_syn(now, listener, arrival, after);
    }

    /// Third: a SYN. Text and FIN on it are not kept; the peer sends them again (3.10.7.2).
    fn on_syn(&mut self, now: Instant, listener: Key, mut arrival: Arrival, after: Option<SeqNum>) {
        let (tuple, hdr) = (arrival.tuple, arrival.seg.hdr);
        let freebsd = self.config.profile == Profile::FreeBsd;
        let Some((listening, options)) = self.listener_mut(listener) else { return };
        if listening.parking.is_some() {
            return self.park_syn(now, listener, &arrival, after);
        }
        if listening.is_full() && !freebsd {
            return self.overflow(now, listener, &tuple, hdr.seq);
        }
        let Some((listening, _)) = self.listener_ref(listener) else { return };
        let full = listening.syn_queue_is_full(&self.config)
            || (!freebsd && self.half_open.len() >= self.config.syncache_limit as usize);
        let cookie = match self.config.syncookies {
            SynCookies::Always => true,
            SynCookies::WhenFull => full && after.is_none(),
            SynCookies::Off => false,
        };
        if full && !cookie {
            self.stats.tcp_req_q_full_drop += 1;
            self.stats.listen_drops += 1;
            return self.record_drop(Some(listener), Some(tuple), DropReason::SynQueueFull, Some(hdr.seq));
        }
        let Some(mut half) = self.answer_of(now, &arrival, &options, after) else {
            return self.record_drop(Some(listener), Some(tuple), DropReason::NoRoute, Some(hdr.seq));
        };
        if cookie {
            if full {
                self.stats.tcp_req_q_full_do_cookies += 1;
            }
            return self.send_cookie(now, listener, &mut half);
        }
        if half.sack && options.md5_key(tuple.remote.ip()).is_some() {
            // As Linux: SACK blocks and timestamps do not both fit beside a signature.
            half.ts_recent = None;
        }
        let fast_open = match self.judge_fast_open(now, listener, &options, &arrival) {
            Answer::Early(cookie) => {
                if self.open_early(now, listener, &half, &mut arrival, cookie) {
                    return;
                }
                None
            }
            Answer::Ordinary(cookie) => cookie,
        };
        if freebsd {
            if self.config.syncookies != SynCookies::Off {
                // What is evicted can still come back.
                half.iss = self.cookies.make(now, &tuple, half.irs, half.peer_mss);
            }
            self.make_room(now, arrival.hash);
        }
        self.insert_half_open(now, listener, &half, &arrival);
        let extra = Extra { stamp: None, fast_open };
        self.send_syn_ack(now, listener, &half, extra, arrival.route.as_ref());
    }

    fn insert_half_open(&mut self, now: Instant, listener: Key, half: &HalfOpen, arrival: &Arrival) {
        let first = now + self.config.rto_initial;
        let index = self.half_open.insert(&self.hash, SynEntry::new(half, listener), first);
        if let Some(route) = arrival.route {
            self.half_open.set_route(index, route);
        }
        if let Some((listening, options)) = self.listener_mut(listener) {
            listening.half_open += 1;
            if let Some(headers) = arrival.headers.clone().filter(|_| options.save_syn) {
                self.half_open.save(index, headers);
            }
        }
        if self.trace.on() {
            let why = crate::tcp::state::Event::RcvSyn;
            let what = What::State { from: State::Listen, to: State::SynReceived, why };
            self.trace.push(Record { at: now, socket: Some(id_of(listener)), tuple: half.tuple, what });
        }
    }

    /// What our SYN-ACK agrees to.
    pub(super) fn answer_of(
        &self,
        now: Instant,
        arrival: &Arrival,
        options: &Options,
        after: Option<SeqNum>,
    ) -> Option<HalfOpen> {
        let (tuple, hdr) = (arrival.tuple, &arrival.seg.hdr);
        let ipv6 = tuple.local.is_ipv6();
        let way = self.routes.way(&self.config, tuple.remote.ip()).ok()?;
        let mut iss = self.secrets.iss(now, &tuple);
        if let Some(after) = after.filter(|after| !iss.gt(*after)) {
            iss = after;
        }
        let advmss = announced_mss(way.path.mtu, ipv6, options.maxseg);
        let scales = hdr.options.window_scale.filter(|_| self.config.window_scaling);
        let ts_recent = hdr.options.timestamps.filter(|_| self.config.timestamps).map(|ts| ts.val);
        let stamps = if ts_recent.is_some() && self.config.profile == Profile::Linux { 12 } else { 0 };
        let accurate = self.config.ecn.accepts_accurate() && Request::of(hdr.flags) == Request::Accurate;
        Some(HalfOpen {
            tuple,
            irs: hdr.seq,
            iss,
            window: hdr.window,
            our_window: initial_window(initial_capacity(&self.config, options), advmss - stamps),
            peer_mss: hdr.options.mss.filter(|&mss| mss > 0).unwrap_or(default_mss(ipv6)),
            window_scale: scales.map(|theirs| (theirs.min(14), choose_window_scale(&self.config, options))),
            sack: hdr.options.sack_permitted && self.config.sack,
            ecn: accurate || (self.takes_ecn() && is_requested(hdr.flags)),
            accurate,
            not_ect: false,
            ts_recent,
            ts_offset: self.secrets.ts_offset(&tuple),
            retransmits: 0,
            sent_at: now,
            tos: arrival.seg.tos,
        })
    }

    /// FreeBSD's syncache: a full bucket gives up its oldest entry, a full cache the oldest near by. Only since
    /// then can a late ACK be the answer to a cookie; before, it is no more than late.
    fn make_room(&mut self, now: Instant, hash: u64) {
        let full = self.half_open.len() >= self.config.syncache_limit as usize;
        if full || self.half_open.bucket_len(hash) >= BUCKET_LIMIT {
            if let Some(oldest) = self.half_open.oldest(hash) {
                self.stats.tcp_req_q_full_drop += 1;
                if let Some(listener) = self.half_open.get(oldest).map(|entry| entry.listener) {
                    self.note_cookie(now, listener);
                }
                self.drop_half_open(oldest, Errno::ECONNABORTED);
            }
        }
    }

    fn send_cookie(&mut self, now: Instant, listener: Key, half: &mut HalfOpen) {
        // A cookie has no place for accurate ECN.
        half.ecn &= !half.accurate;
        half.accurate = false;
        half.iss = self.cookies.make(now, &half.tuple, half.irs, half.peer_mss);
        let kept = CookieOptions {
            window_scale: half.window_scale.map(|(theirs, _)| theirs),
            sack: half.sack,
            ecn: half.ecn,
        };
        let stamp = half.ts_recent.map(|_| kept.encode(now.as_millis() as u32).wrapping_add(half.ts_offset));
        if stamp.is_none() {
            // Nothing would bring them back: not agreed.
            half.window_scale = None;
            half.sack = false;
            half.ecn = false;
        }
        self.note_cookie(now, listener);
        self.stats.syncookies_sent += 1;
        self.send_syn_ack(now, listener, half, Extra { stamp, fast_open: None }, None);
    }

    fn note_cookie(&mut self, now: Instant, listener: Key) {
        if let Some((listening, _)) = self.listener_mut(listener) {
            listening.cookies_at = Some(now);
        }
    }

    /// `<SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>`.
    fn send_syn_ack(
        &mut self,
        now: Instant,
        listener: Key,
        half: &HalfOpen,
        extra: Extra,
        route: Option<&SourceRoute>,
    ) {
        let Some((_, options)) = self.listener_ref(listener) else { return };
        let options = Arc::clone(options);
        let tuple = half.tuple;
        let Ok(way) = self.routes.way(&self.config, tuple.remote.ip()) else { return };
        let ecn = match (half.ecn, half.accurate) {
            (true, true) => reflection(half.tos),
            (true, false) => Flags::ECE,
            (false, _) => Flags::empty(),
        };
        let mut hdr = Header {
            seq: half.iss,
            ack: half.irs + 1,
            flags: Flags::SYN | Flags::ACK | ecn,
            window: half.our_window,
            ..Header::default()
        };
        hdr.options.mss = Some(announced_mss(way.path.mtu, tuple.local.is_ipv6(), options.maxseg));
        hdr.options.window_scale = half.window_scale.map(|(_, ours)| ours);
        hdr.options.sack_permitted = half.sack;
        hdr.options.timestamps = half.ts_recent.map(|ecr| {
            let mut ts = timestamps(now, half.ts_offset, ecr);
            ts.val = extra.stamp.unwrap_or(ts.val);
            ts
        });
        hdr.options.fast_open = extra.fast_open;
        option_of_syn_ack(&self.config, half, &mut hdr.options);
        // What the user set wins over the way that the SYN came (MUST-52).
        let route = route.filter(|_| options.ip_options.is_none());
        let route = route.and_then(|route| with_route(&options, route).ip_options);
        let control = Control::segment(tuple, hdr, Why::SynAck).for_listener(listener, &options, route);
        self.push_control(control.signed(options.md5_key(tuple.remote.ip()).cloned()));
    }

    /// An ACK to a listener: the answer to a cookie, or bad.
    fn on_ack_without_entry(&mut self, now: Instant, listener: Key, arrival: Arrival) {
        let (tuple, hdr, len) = (arrival.tuple, arrival.seg.hdr, arrival.seg.seg_len());
        let Some((listening, options)) = self.listener_ref(listener) else { return };
        let options = Arc::clone(options);
        let recent = listening.cookies_at.is_some_and(|at| now.since(at) <= COOKIE_LIFE);
        if !recent || hdr.flags.contains(Flags::SYN) {
            self.record_drop(Some(listener), Some(tuple), DropReason::BadAck, Some(hdr.seq));
            return self.reset(now, &tuple, &hdr, len);
        }
        let (irs, iss) = (hdr.seq - 1, hdr.ack - 1);
        let Some(mss) = self.cookies.check(now, &tuple, irs, iss) else {
            self.stats.syncookies_failed += 1;
            self.record_drop(Some(listener), Some(tuple), DropReason::BadCookie, Some(hdr.seq));
            return self.reset(now, &tuple, &hdr, len);
        };
        self.stats.syncookies_recv += 1;
        let Ok(way) = self.routes.way(&self.config, tuple.remote.ip()) else { return };
        let ts_offset = self.secrets.ts_offset(&tuple);
        let echoed = hdr.options.timestamps.filter(|_| self.config.timestamps);
        let kept = echoed.map(|ts| CookieOptions::decode(ts.ecr.wrapping_sub(ts_offset))).unwrap_or_default();
        let advmss = announced_mss(way.path.mtu, tuple.local.is_ipv6(), options.maxseg);
        let ours = choose_window_scale(&self.config, &options);
        let half = HalfOpen {
            tuple,
            irs,
            iss,
            window: hdr.window,
            our_window: initial_window(initial_capacity(&self.config, &options), advmss),
            peer_mss: mss,
            window_scale: kept
                .window_scale
                .filter(|_| self.config.window_scaling)
                .map(|theirs| (theirs, ours)),
            sack: kept.sack && self.config.sack,
            ecn: kept.ecn && self.takes_ecn(),
            accurate: false,
            not_ect: false,
            ts_recent: echoed.map(|ts| ts.val),
            ts_offset,
            retransmits: 0,
            sent_at: Instant::NEVER,
            tos: arrival.seg.tos,
        };
        if self.listener_ref(listener).is_some_and(|(listening, _)| listening.is_full()) {
            return self.overflow(now, listener, &tuple, hdr.seq);
        }
        let route = arrival.route;
        self.establish(now, listener, &half, route, Opening::Complete(Box::new(arrival.seg), None), None);
    }

    /// RFC 9293 3.10.7.4 for SYN-RECEIVED, in its order.
    pub(super) fn arrive_half_open(&mut self, now: Instant, index: u32, arrival: Arrival) {
        let (tuple, hdr) = (arrival.tuple, arrival.seg.hdr);
        let Some(entry) = self.half_open.get_mut(index) else { return };
        if entry.flags.contains(SynFlags::PARKED) {
            return self.arrive_parked(now, index, &arrival);
        }
        let (listener, half) = (entry.listener, entry.half_open());
        if self.trace.on() {
            self.trace_received(Some(listener), &tuple, &arrival.seg, State::SynReceived);
        }
        let flags = hdr.flags;
        let rcv_nxt = half.irs + 1;
        if flags & (Flags::SYN | Flags::ACK | Flags::RST) == Flags::SYN && hdr.seq == half.irs {
            return self.on_duplicate_syn(now, index, &hdr);
        }
        let old_stamp = match (half.ts_recent, hdr.options.timestamps) {
            (Some(recent), Some(ts)) => timewait::older(ts.val, recent),
            _ => false,
        };
        // First: the sequence number, and before it PAWS (RFC 7323 5.3).
        let window = u32::from(half.our_window);
        let end = hdr.seq + arrival.seg.seg_len();
        let in_window = hdr.seq == rcv_nxt
            || hdr.seq.within(rcv_nxt, window)
            || (end.gt(rcv_nxt) && hdr.seq.lt(rcv_nxt + window));
        if (old_stamp && !flags.contains(Flags::RST)) || !in_window {
            let reason = if old_stamp { DropReason::Paws } else { DropReason::OutOfWindow };
            if old_stamp {
                self.stats.paws_estab_rejected += 1;
            }
            self.record_drop(Some(listener), Some(tuple), reason, Some(hdr.seq));
            if !flags.contains(Flags::RST) {
                self.challenge_half_open(now, index, &half);
            }
            return;
        }
        // Second: RST, exact or not (RFC 5961 3.2).
        if flags.contains(Flags::RST) {
            if hdr.seq == rcv_nxt {
                self.stats.attempt_fails += 1;
                return self.drop_half_open(index, Errno::ECONNRESET);
            }
            self.record_drop(Some(listener), Some(tuple), DropReason::BadRst, Some(hdr.seq));
            return self.challenge_half_open(now, index, &half);
        }
        // Fourth: another SYN. Linux gives the handshake up, as RFC 9293 3.10.7.4 has it for a passive open, and says
        // so to the peer, but for a wrong ACK; the other profiles do as RFC 5961 4.2.
        let linux = self.config.profile == Profile::Linux;
        if flags.contains(Flags::SYN) && !linux {
            self.stats.tcp_syn_challenge += 1;
            self.record_drop(Some(listener), Some(tuple), DropReason::Challenged, Some(hdr.seq));
            return self.challenge_half_open(now, index, &half);
        }
        let wrong_ack = flags.contains(Flags::ACK) && hdr.ack != half.iss + 1;
        if flags.contains(Flags::SYN) && !wrong_ack {
            self.record_drop(Some(listener), Some(tuple), DropReason::WrongState, Some(hdr.seq));
            return self.reset_half_open(now, index, &hdr, arrival.seg.seg_len());
        }
        // Fifth: the ACK.
        if !flags.contains(Flags::ACK) {
            return self.record_drop(Some(listener), Some(tuple), DropReason::NoAck, Some(hdr.seq));
        }
        if wrong_ack {
            self.record_drop(Some(listener), Some(tuple), DropReason::BadAck, Some(hdr.seq));
            return self.reset(now, &tuple, &hdr, arrival.seg.seg_len());
        }
        self.complete(now, index, &half, arrival);
    }

    /// The SYN again: so is its answer (within a rate), with the younger timestamp.
    fn on_duplicate_syn(&mut self, now: Instant, index: u32, hdr: &Header) {
        let config = &self.config;
        let Some(entry) = self.half_open.get_mut(index) else { return };
        // RFC 9768 3.1.5: the two kinds of request do not mix; none at all means no marks from us.
        let (ecn, accurate) = (entry.flags.contains(SynFlags::ECN), entry.flags.contains(SynFlags::ACCURATE));
        match Request::of(hdr.flags) {
            Request::None if accurate => entry.flags.insert(SynFlags::NOT_ECT),
            Request::Classic if accurate => return self.reset_half_open(now, index, hdr, 1),
            Request::Accurate if ecn && !accurate && config.ecn.accepts_accurate() => {
                return self.reset_half_open(now, index, hdr, 1);
            }
            _ => {}
        }
        if let (Some(recent), Some(ts)) = (entry.ts_recent(), hdr.options.timestamps) {
            if timewait::older(recent, ts.val) {
                entry.set_ts_recent(ts.val);
            }
        }
        if !entry.may_ack(config, now) {
            self.stats.tcp_ack_skipped += 1;
            return;
        }
        self.resend_syn_ack(now, index);
        self.half_open.rearm(now, index, self.config.rto_initial, self.config.rto_max);
    }

    /// A handshake that contradicts itself ends.
    fn reset_half_open(&mut self, now: Instant, index: u32, hdr: &Header, len: u32) {
        let Some(entry) = self.half_open.get(index) else { return };
        let tuple = entry.tuple();
        self.stats.attempt_fails += 1;
        self.drop_half_open(index, Errno::ECONNRESET);
        self.reset(now, &tuple, hdr, len);
    }

    /// The first SYN-ACK of one that was parked.
    pub(super) fn answer_parked_syn(&mut self, now: Instant, listener: Key, half: &HalfOpen, index: u32) {
        let route = self.half_open.route(index).copied();
        self.send_syn_ack(now, listener, half, Extra::default(), route.as_ref());
    }

    fn resend_syn_ack(&mut self, now: Instant, index: u32) {
        let Some(entry) = self.half_open.get_mut(index) else { return };
        entry.retransmits = entry.retransmits.saturating_add(1);
        let (listener, half) = (entry.listener, entry.half_open());
        let route = self.half_open.route(index).copied();
        self.send_syn_ack(now, listener, &half, Extra::default(), route.as_ref());
    }

    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`, not too often.
    fn challenge_half_open(&mut self, now: Instant, index: u32, half: &HalfOpen) {
        let config = &self.config;
        if !self.half_open.get_mut(index).is_some_and(|entry| entry.may_ack(config, now)) {
            self.stats.tcp_ack_skipped += 1;
            return;
        }
        self.stats.tcp_challenge_ack += 1;
        let scale = half.window_scale.map_or(0, |(_, ours)| ours);
        let mut hdr = Header {
            seq: half.iss + 1,
            ack: half.irs + 1,
            flags: Flags::ACK,
            window: half.our_window >> scale,
            ..Header::default()
        };
        if half.accurate {
            hdr.flags |= Flags::AE | Flags::ECE; // r.cep is 5
        }
        hdr.options.timestamps = half.ts_recent.map(|ecr| timestamps(now, half.ts_offset, ecr));
        let key = self.answer_key(&half.tuple);
        self.push_control(Control::segment(half.tuple, hdr, Why::ChallengeAck).signed(key));
    }

    /// The completing ACK: into the accept queue, if there is room and nothing defers it.
    fn complete(&mut self, now: Instant, index: u32, half: &HalfOpen, arrival: Arrival) {
        let Some(entry) = self.half_open.get_mut(index) else { return };
        let listener = entry.listener;
        let hdr = arrival.seg.hdr;
        let Some(socket) = self.sockets.get(listener) else { return self.remove_half_open(index) };
        let Kind::Listener(listening) = &socket.kind else { return self.remove_half_open(index) };
        // TCP_DEFER_ACCEPT: a bare ACK is not enough, until the time is over.
        let defer = defer_retransmits(socket.options.defer_accept);
        if entry.timeouts < defer && arrival.seg.seg_len() == 0 {
            entry.flags.insert(SynFlags::ACKED);
            return;
        }
        if listening.is_full() {
            if !self.config.abort_on_overflow {
                entry.flags.insert(SynFlags::ACKED);
                return self.overflow(now, listener, &half.tuple, hdr.seq);
            }
            self.overflow(now, listener, &half.tuple, hdr.seq);
            self.stats.tcp_abort_on_overflow += 1;
            self.remove_half_open(index);
            return self.reset(now, &half.tuple, &hdr, arrival.seg.seg_len());
        }
        let route = self.half_open.route(index).copied();
        let saved = self.half_open.take_saved(index);
        let name = self.half_open.key_at(index);
        let opening = Opening::Complete(Box::new(arrival.seg), name);
        if self.establish(now, listener, half, route, opening, saved) {
            self.remove_half_open(index);
        }
    }

    /// Makes the connection, hands it the segment that completes the handshake, and queues it. False if
    /// there may be no more sockets: the peer's next segment tries again.
    pub(super) fn establish(
        &mut self,
        now: Instant,
        listener: Key,
        half: &HalfOpen,
        route: Option<SourceRoute>,
        opening: Opening,
        saved_syn: Option<Box<[u8]>>,
    ) -> bool {
        let tuple = half.tuple;
        let Some(socket) = self.sockets.get(listener) else { return false };
        let options = match &route {
            Some(route) if socket.options.ip_options.is_none() => {
                Arc::new(with_route(&socket.options, route))
            }
            _ => Arc::clone(&socket.options),
        };
        let options = signature::with_one_key(options, tuple.remote.ip());
        let Ok(way) = self.routes.way(&self.config, tuple.remote.ip()) else { return false };
        let parks = matches!(&socket.kind, Kind::Listener(listening) if listening.parking.is_some());
        let filter = if parks { AcceptFilter::None } else { options.accept_filter };
        let held = socket.binding;
        let waits =
            if filter == AcceptFilter::None { SocketFlags::IN_ACCEPT_QUEUE } else { SocketFlags::FILTERED };
        let mut flags = waits | (socket.flags & (SocketFlags::IPV6 | SocketFlags::OWN_ROUTE));
        flags.set(SocketFlags::EARLY, matches!(opening, Opening::Early { .. }));
        let Ok(key) = self.insert_socket(Kind::Fresh, Arc::clone(&options), flags) else {
            self.stats.listen_drops += 1;
            self.record_drop(Some(listener), Some(tuple), DropReason::NoMemory, None);
            return false;
        };
        let (addr, port) = (tuple.local.ip(), tuple.local.port());
        let unbound = BindFlags::of(&options);
        let binding = Binding {
            addr,
            port,
            flags: held.map_or(unbound, |held| held.flags)
                - (BindFlags::LISTENING | BindFlags::EXPLICIT | BindFlags::AUTO),
            device: held.map_or(0, |held| held.device),
        };
        self.ports.hold(binding);
        let generation = self.routes.generation();
        let Stack { config, rules, stats, trace, rng, spare, sockets, .. } = &mut *self;
        let mut cx = Cx { now, config, rules, stats, trace, rng, spare, id: id_of(key), pressure: false };
        let parked = if let Opening::Complete(_, name) = &opening { *name } else { None };
        let (conn, outcome) = match opening {
            Opening::Complete(seg, _) => {
                let mut conn = Box::new(Connection::open_passive(&mut cx, half, options, way.path));
                let outcome = conn.on_segment(&mut cx, *seg);
                (conn, outcome)
            }
            Opening::Early { data, cookie } => {
                let conn = Connection::open_early(&mut cx, half, options, way.path, data, cookie);
                (Box::new(conn), Outcome::default())
            }
        };
        if let Some(socket) = sockets.get_mut(key) {
            socket.kind = Kind::Connection(conn);
            socket.binding = Some(binding);
            socket.parent = Some(listener);
            socket.route_generation = generation;
            socket.link = output::Link::from(&Ok(way));
        }
        if let Some(headers) = saved_syn {
            self.saved_syns.insert(key.index, headers);
        }
        self.enter_demux(key, &tuple);
        if !self.tell_open(listener, parked, id_of(key)) {
            self.queue_child(listener, key, filter);
        }
        self.settle(now, key, outcome);
        true
    }

    fn queue_child(&mut self, listener: Key, key: Key, filter: AcceptFilter) {
        let Some((listening, _)) = self.listener_mut(listener) else { return };
        if filter == AcceptFilter::None {
            listening.push(id_of(key));
            return self.raise(listener, Ready::IN);
        }
        let oldest = if listening.filter_is_full() { listening.filtered.pop_front() } else { None };
        if let Some((listening, _)) = self.listener_mut(listener) {
            listening.filtered.push_back(key);
        }
        if let Some(oldest) = oldest {
            self.stats.listen_overflows += 1;
            self.kill_child(self.now, oldest);
        }
    }

    /// A connection that nobody accepted ends with a RST (RFC 9293 3.10.5).
    pub(super) fn kill_child(&mut self, now: Instant, key: Key) {
        self.leave_early(now, key);
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.flags.remove(SocketFlags::FILTERED | SocketFlags::IN_ACCEPT_QUEUE);
            socket.parent = None;
        }
        let outcome = self.with_connection(now, key, |conn, cx| conn.abort(cx));
        if let Some(outcome) = outcome {
            self.settle(now, key, outcome);
        }
        self.remove_socket(key);
    }

    /// An accept queue has no room: counted, and recorded once in a while.
    fn overflow(&mut self, now: Instant, listener: Key, tuple: &Tuple, seq: SeqNum) {
        self.stats.listen_overflows += 1;
        self.stats.listen_drops += 1;
        let due = self.listener_mut(listener).is_some_and(|(listening, _)| listening.note_overflow(now));
        if due {
            self.record_drop(Some(listener), Some(*tuple), DropReason::AcceptQueueFull, Some(seq));
        }
    }

    /// A half-open connection has come to nothing.
    pub(super) fn drop_half_open(&mut self, index: u32, why: Errno) {
        let Some((entry, key)) = self.half_open.get(index).zip(self.half_open.key_at(index)) else { return };
        let listener = entry.listener;
        self.remove_half_open(index);
        self.tell_gone(listener, key, why);
    }

    pub(super) fn remove_half_open(&mut self, index: u32) {
        let Some(entry) = self.half_open.remove(&self.hash, index) else { return };
        if let Some((listening, _)) = self.listener_mut(entry.listener) {
            listening.half_open = listening.half_open.saturating_sub(1);
        }
    }

    /// SYN-ACK timers that are due: sent again, exponentially later, a bounded number of times; fewer while
    /// the SYN queue is more than half full (RFC 4987 3.3).
    pub(super) fn advance_half_open(&mut self, now: Instant) {
        while let Some(index) = self.half_open.expired(now) {
            let Some(entry) = self.half_open.get_mut(index) else { continue };
            let listener = entry.listener;
            let (acked, timeouts) = (entry.flags.contains(SynFlags::ACKED), entry.timeouts);
            if entry.flags.contains(SynFlags::PARKED) {
                self.park_time_out(index);
                continue;
            }
            let Some(socket) = self.sockets.get(listener) else {
                self.remove_half_open(index);
                continue;
            };
            let Kind::Listener(listening) = &socket.kind else {
                self.remove_half_open(index);
                continue;
            };
            let mut max = socket.options.syncnt.unwrap_or(self.config.synack_retries);
            if listening.parking.is_none() && listening.half_open > listening.limit().max(8) / 2 {
                max = max.min(2);
            }
            let defer = defer_retransmits(socket.options.defer_accept);
            // Linux's syn_ack_recalc.
            let expire = timeouts >= max && (!acked || timeouts >= defer);
            let resend = !acked || timeouts.saturating_add(1) >= defer;
            if expire {
                self.stats.attempt_fails += 1;
                self.drop_half_open(index, Errno::ETIMEDOUT);
                continue;
            }
            if let Some(entry) = self.half_open.get_mut(index) {
                entry.timeouts = entry.timeouts.saturating_add(1);
            }
            if resend {
                self.stats.tcp_timeouts += 1;
                self.resend_syn_ack(now, index);
            }
            self.half_open.rearm(now, index, self.config.rto_initial, self.config.rto_max);
        }
    }

    pub(super) fn listener_ref(&self, key: Key) -> Option<(&Listener, &Arc<Options>)> {
        let socket = self.sockets.get(key)?;
        match &socket.kind {
            Kind::Listener(listening) => Some((listening, &socket.options)),
            _ => None,
        }
    }

    pub(super) fn listener_mut(&mut self, key: Key) -> Option<(&mut Listener, Arc<Options>)> {
        let socket = self.sockets.get_mut(key)?;
        match &mut socket.kind {
            Kind::Listener(listening) => Some((listening, Arc::clone(&socket.options))),
            _ => None,
        }
    }
}

/// Linux's secs_to_retrans: how many time-outs of 1, 2, 4 ... s cover these seconds.
fn defer_retransmits(seconds: u32) -> u8 {
    if seconds == 0 {
        return 0;
    }
    let (mut count, mut timeout, mut period) = (1_u8, 1_u32, 1_u32);
    while seconds > period && count < u8::MAX {
        count += 1;
        timeout = (timeout << 1).min(120);
        period = period.saturating_add(timeout);
    }
    count
}
