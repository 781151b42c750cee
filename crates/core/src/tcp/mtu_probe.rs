//! The path MTU without ICMP (RFC 4821, RFC 2923): segments of text as probes, and smaller ones where a path
//! swallows the larger. Sizes here are of IP packets.
//!
//! ```text
//!     low           probe           high
//! -----|--------------|---------------|----
//!   known to pass                  the most that the interface, ICMP and the peer's MSS let pass
//! ```

use super::*;
use crate::config::MtuProbing;

/// Probing needs room for the losses that a probe may show (Linux: cwnd of 11).
const LEAST_CWND: u32 = 11;
/// After so many time-outs of smaller segments, of a path that carried larger ones, it is not their size.
const SMALL_LOST: u8 = 2;
/// What every IPv6 link carries (RFC 8200 5).
const IPV6_LEAST: u16 = 1_280;
/// What every IPv4 link carries (RFC 791 3.2).
const IPV4_LEAST: u16 = 68;

/// The search for the path MTU.
#[derive(Debug)]
pub(super) struct Search {
    pub low: u16,
    pub high: u16,
    /// The probe in flight; 0 if there is none.
    size: u16,
    /// The sequence number after it.
    end: SeqNum,
    /// The first probe of a round tries the highest size: most paths carry it.
    fresh: bool,
    /// When the round began.
    since: Instant,
    /// What got through before a black hole was suspected; 0 if nothing that large had.
    proven: u16,
    /// Time-outs since then, of what had been made smaller.
    small_lost: u8,
    /// No probe before this: a failed one is a loss, and losses are to stay rare (RFC 4821 7.6.2).
    next: Instant,
}

impl Connection {
    /// What is no text in a full segment's packet: both headers and the usual options.
    pub(super) fn overhead(&self) -> u16 {
        let options = self.options.ip_options.as_ref().map_or(0, |o| o.len().div_ceil(4) * 4) as u16;
        let timestamps = if self.agreed.timestamps { 12 } else { 0 };
        self.ip_header_len() + options + 20 + timestamps
    }

    /// Headers alone: what an MSS option does not count.
    fn headers(&self) -> u16 {
        self.ip_header_len() + 20
    }

    /// `tcp_mtu_probing` = 2: from the beginning (RFC 4821 7.2).
    pub(super) fn start_mtu_search(&mut self, cx: &Cx<'_>) {
        if cx.config.mtu_probing == MtuProbing::Always && self.discovers_mtu(cx.config) {
            self.begin_search(cx);
        }
    }

    fn discovers_mtu(&self, config: &Config) -> bool {
        self.options.pmtu_discovery.unwrap_or(config.pmtu_discovery)
    }

    fn begin_search(&mut self, cx: &Cx<'_>) {
        let high = self.search_high();
        let low = (cx.config.base_mss.saturating_add(self.headers())).max(self.least_mtu()).min(high);
        self.search = Some(Box::new(Search {
            low,
            high,
            size: 0,
            end: self.snd.una,
            fresh: true,
            since: cx.now,
            proven: 0,
            small_lost: 0,
            next: cx.now,
        }));
    }

    /// Whether a probe is in flight.
    pub(super) fn is_probing_mtu(&self) -> bool {
        self.search.as_ref().is_some_and(|search| search.size != 0)
    }

    fn search_high(&self) -> u16 {
        self.path.pmtu.min(self.peer_mss.saturating_add(self.headers()))
    }

    fn least_mtu(&self) -> u16 {
        if self.tuple.local.is_ipv6() { IPV6_LEAST } else { IPV4_LEAST }
    }

    /// The size of packets that the search admits.
    pub(super) fn searched_mtu(&self) -> u16 {
        self.search.as_ref().map_or(u16::MAX, |search| search.low)
    }

    /// A probe, if one is due and what is queued and both windows let it pass, with enough behind it that its loss
    /// shows at once (RFC 4821 7.5, Linux's `tcp_mtu_probe`).
    pub(super) fn mtu_probe(&mut self, cx: &mut Cx<'_>, room: u32, out: &mut Outgoing) -> bool {
        let Some(search) = &self.search else { return false };
        let quiet = self.ca_state() == recovery::CaState::Open
            && self.rcv.dsack.is_none()
            && !self.rcv.buf.has_ooo()
            && self.state.is_synchronized();
        if search.size != 0 || !quiet || !self.discovers_mtu(cx.config) || self.snd.holds {
            return false;
        }
        if search.high - search.low < cx.config.probe_threshold.max(1) {
            self.search_again(cx);
            return false;
        }
        if cx.now < search.next {
            return false;
        }
        let size = if search.fresh { search.high } else { (search.low + search.high) / 2 };
        let text = u32::from(size.saturating_sub(self.overhead()));
        let each = u32::from(self.mss);
        let needed = text + (u32::from(self.persist.reordering()) + 1) * each;
        let enough = self.snd.unsent().min(self.snd.usable()) >= needed;
        if text <= each || !enough || room < text + each || self.cc.cwnd() < LEAST_CWND * each {
            return false;
        }
        self.send_new(cx, (text, text), Why::MtuProbe, out);
        let end = self.snd.nxt;
        if let Some(flight) = &mut self.flight {
            flight.note_mtu_probe(Some((out.hdr.seq, text)));
        }
        if let Some(search) = &mut self.search {
            search.size = size;
            search.end = end;
            search.fresh = false;
        }
        true
    }

    /// The range is narrow: another round after `tcp_probe_interval` (RFC 4821 7.3).
    fn search_again(&mut self, cx: &Cx<'_>) {
        let high = self.search_high();
        let Some(search) = &mut self.search else { return };
        if cx.now.since(search.since) >= cx.config.probe_interval {
            search.since = cx.now;
            search.high = high.max(search.low);
            search.fresh = true;
        }
    }

    /// SND.UNA has moved: the probe may have arrived, and a suspicion is over.
    pub(super) fn hear_mtu_probe(&mut self, cx: &mut Cx<'_>) {
        self.judge_suspicion(cx);
        let una = self.snd.una;
        let Some(search) = &mut self.search else { return };
        if search.size == 0 || !una.ge(search.end) {
            return;
        }
        search.low = search.size;
        search.size = 0;
        cx.stats.tcp_mtup_success += 1;
        self.forget_probe();
        self.follow_search(cx);
    }

    /// The probe was lost, and nothing else: it was too large, which is no congestion (RFC 4821 7.6.1).
    pub(super) fn mtu_probe_failed(&mut self, cx: &mut Cx<'_>) {
        let wait = self.rtt.srtt().unwrap_or(cx.config.rto_initial);
        let segments = (self.cc.cwnd() / u32::from(self.mss)).max(1);
        self.forget_probe();
        let Some(search) = &mut self.search else { return };
        search.high = (search.size - 1).max(search.low);
        search.size = 0;
        search.next = cx.now + wait.saturating_mul(segments);
        cx.stats.tcp_mtup_fail += 1;
        if let Some(flight) = &mut self.flight {
            let outcome = flight.forgive_probe(self.mss, &mut self.persist);
            self.account(cx, &outcome);
        }
    }

    /// Something else was lost as well, or the timer ran out: the probe says nothing, and goes out in
    /// ordinary segments.
    pub(super) fn mtu_probe_is_void(&mut self, cx: &mut Cx<'_>) {
        let Some(search) = self.search.as_mut().filter(|search| search.size != 0) else { return };
        search.size = 0;
        self.forget_probe();
        if let Some(flight) = &mut self.flight {
            let outcome = flight.resegment(self.mss, &mut self.persist);
            self.account(cx, &outcome);
        }
    }

    fn forget_probe(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.note_mtu_probe(None);
        }
    }

    /// Time-outs in a row, and no ICMP message says why: perhaps full segments vanish. Smaller ones from now on,
    /// and halved at each further timeout (RFC 2923 2.1, RFC 4821 7.7, Linux's `tcp_mtu_probing`).
    ///
    /// Where segments of this size did get through before, that many are lost is likelier than that the path has changed: it
    /// takes twice as many time-outs, and smaller ones that are lost as well are not made smaller still: else a link that
    /// loses a fifth would make segments smaller and smaller.
    pub(super) fn suspect_black_hole(&mut self, cx: &mut Cx<'_>) {
        let large = self.flight.as_ref().map_or(0, |flight| flight.outstanding()).min(u32::from(self.mss));
        if cx.config.mtu_probing == MtuProbing::Off || !self.discovers_mtu(cx.config) {
            return;
        }
        let proven = if self.proven_mss >= self.mss { self.mss + self.overhead() } else { 0 };
        if proven != 0 && self.retries < cx.config.retries1.saturating_mul(2) {
            return;
        }
        self.proven_mss = 0;
        let overhead = u32::from(self.overhead());
        let (headers, least) = (self.headers(), self.least_mtu());
        match &mut self.search {
            None => self.begin_search(cx),
            Some(search) if large + overhead < u32::from(search.low) => return, // small ones vanish as well
            Some(search) => {
                if proven == 0 && search.proven != 0 {
                    search.small_lost = (search.small_lost + 1).min(SMALL_LOST);
                    if search.small_lost == SMALL_LOST {
                        return;
                    }
                }
                let half = ((search.low - headers) / 2).min(cx.config.base_mss);
                let floor = cx.config.mtu_probe_floor.max(cx.config.min_snd_mss);
                search.low = (half.max(floor) + headers).max(least).min(search.low);
            }
        }
        if let Some(search) = self.search.as_mut().filter(|_| proven != 0) {
            (search.proven, search.small_lost) = (proven, 0);
        }
        self.follow_search(cx);
    }

    /// Something is heard of the peer again. If smaller segments had vanished as well, it was not for their size, and what
    /// got through before does so still.
    fn judge_suspicion(&mut self, cx: &mut Cx<'_>) {
        let Some(search) = self.search.as_mut().filter(|search| search.proven != 0) else { return };
        let proven = core::mem::take(&mut search.proven).min(search.high);
        if core::mem::take(&mut search.small_lost) > 0 {
            search.low = search.low.max(proven);
            self.follow_search(cx);
            self.proven_mss = self.mss;
        }
    }

    /// A report, or the route, says what fits: no probe goes beyond it.
    pub(super) fn bound_search(&mut self, now: Instant) {
        let high = self.search_high();
        let Some(search) = &mut self.search else { return };
        if high < search.high {
            search.high = high;
            search.low = search.low.min(high);
            search.fresh = true;
            search.since = now;
            if search.size > high {
                search.size = 0;
                self.forget_probe();
            }
        }
    }

    fn follow_search(&mut self, cx: &mut Cx<'_>) {
        let before = self.mss;
        self.update_mss(cx.config);
        self.cc.set_mss(u32::from(self.mss));
        if self.mss < before
            && let Some(flight) = &mut self.flight
        {
            let outcome = flight.resegment(self.mss, &mut self.persist);
            self.account(cx, &outcome);
        }
    }
}
