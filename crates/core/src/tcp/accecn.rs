//! Accurate ECN (RFC 9768): how many packets were marked, not merely whether one was.
//!
//! Both ends count the packets that arrive with CE (`cep`) and the bytes by mark (`ceb`, `e0b`, `e1b`). The three
//! flags AE, CWR, ECE carry `cep` modulo 8 on every segment but a SYN; an option carries the bytes, on the SYN-ACK and,
//! once the peer has sent one too, as often as `tcp_ecn_option` says.

use super::*;
use crate::wire::options::MAX_OPTIONS;
use crate::wire::tcp::{AccEcn, Flags, Header, Options as SegmentOptions};

/// The bits of the traffic class.
const MASK: u8 = 3;
const ECT1: u8 = 1;
const ECT0: u8 = 2;
const CE: u8 = 3;

/// All three flags.
pub(super) const ALL: Flags = Flags::AE.union(Flags::CWR).union(Flags::ECE);

/// Where the packet counters begin (RFC 9768 3.2.1).
const FIRST_CEP: u32 = 5;

/// The flags that stand for a number of three bits: AE is the highest.
fn flags_of(ace: u32) -> Flags {
    let mut flags = Flags::empty();
    flags.set(Flags::AE, ace & 4 != 0);
    flags.set(Flags::CWR, ace & 2 != 0);
    flags.set(Flags::ECE, ace & 1 != 0);
    flags
}

/// ACE: the flags as a number.
fn ace(flags: Flags) -> u32 {
    u32::from(flags.contains(Flags::AE)) << 2
        | u32::from(flags.contains(Flags::CWR)) << 1
        | u32::from(flags.contains(Flags::ECE))
}

/// The handshake's encoding of the marks that a SYN or SYN-ACK arrived with (tables 2 and 3).
pub fn reflection(tos: u8) -> Flags {
    flags_of([0b010, 0b011, 0b100, 0b110][usize::from(tos & MASK)])
}

/// What a SYN asks for (RFC 9768 3.1.2, 3.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// No ECN: 000.
    None,
    /// RFC 3168: 011.
    Classic,
    /// 111, and whatever is not defined yet.
    Accurate,
}

impl Request {
    /// As its flags say.
    pub fn of(flags: Flags) -> Request {
        match ace(flags) {
            0b000 => Request::None,
            0b011 => Request::Classic,
            _ => Request::Accurate,
        }
    }
}

/// What the peer's option has shown (Linux's `saw_accecn_opt`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// There was none.
    Nothing,
    /// There was one without counters.
    Empty,
    /// There was one with counters.
    Counters,
    /// There was one with counters of zero that cannot be zero: somebody on the way clears them (RFC 9768 3.2.3.2.3).
    Cleared,
}

impl Seen {
    fn of(option: &AccEcn) -> Seen {
        let mut counters = option.counters();
        match (counters.next(), counters.nth(1)) {
            (None, _) => Seen::Empty,
            (Some(0), _) | (_, Some(0)) => Seen::Cleared,
            _ => Seen::Counters,
        }
    }
}

/// The state of a connection in this mode.
#[derive(Debug)]
pub(super) struct Accurate {
    /// r.cep, r.ceb, r.e0b, r.e1b: what arrived here.
    r_cep: u32,
    r_ceb: u32,
    r_e0b: u32,
    r_e1b: u32,
    /// s.cep, s.ceb: what the peer says of what we sent.
    s_cep: u32,
    s_ceb: u32,
    /// CE packets since the last ACK.
    unreported: u32,
    /// The last packet had CE.
    in_ce: bool,
    /// The marks of the last packet.
    last: u8,
    /// They were others than those of the one before, and nothing has told so.
    edge: bool,
    /// Segments that must have the option yet.
    demand: u8,
    /// Counters that the next option must have, so that what has changed is among them.
    least: u8,
    /// When the last option left.
    told_at: Instant,
    /// What came of the peer's option.
    seen: Seen,
    /// Ours seems to be lost on the way.
    in_vain: bool,
    /// The counters go in order 1: as Linux has it always, else once ECT(1) was seen.
    order1: bool,
    /// The marks of the SYN (server) or SYN-ACK (client).
    handshake: u8,
    /// The next pure ACK tells the marks of the SYN-ACK.
    reflect: bool,
    /// The peer's flags have been seen on a segment without SYN.
    heard: bool,
    /// They were zero: something on the path clears them, and they mean nothing.
    cleared: bool,
    /// Feed back, but send not-ECT (RFC 9768 3.1.5, 3.2.2.3, 3.2.2.4).
    not_ect: bool,
}

impl Accurate {
    pub(super) fn new(handshake: u8, client: bool, not_ect: bool, linux: bool) -> Box<Accurate> {
        Box::new(Accurate {
            // A CE on the SYN is not counted, one on the SYN-ACK is.
            r_cep: FIRST_CEP + u32::from(client && handshake & MASK == CE),
            r_ceb: 0,
            r_e0b: 1,
            r_e1b: 1,
            s_cep: FIRST_CEP,
            s_ceb: 0,
            unreported: 0,
            in_ce: false,
            edge: false,
            last: if client { 0 } else { handshake & MASK },
            demand: u8::from(!client),
            least: 0,
            told_at: Instant::ZERO,
            seen: Seen::Nothing,
            in_vain: false,
            order1: linux || handshake & MASK == ECT1,
            handshake: handshake & MASK,
            reflect: client,
            heard: false,
            cleared: false,
            not_ect,
        })
    }

    /// Whether data may be sent with ECT.
    pub(super) fn may_mark(&self) -> bool {
        !self.not_ect
    }

    /// What a packet's marks ask of the next options: a change is told twice, and so is CE; a counter is among those sent
    /// once it has changed, and sent at least every 2^22 bytes (3.2.3.3).
    fn note_marks(&mut self, marks: u8, len: u32) {
        const EVERY: u32 = 22;
        if marks != self.last || marks == CE {
            self.demand = 2;
        }
        let (before, place) = match marks {
            ECT1 => (self.r_e1b, if self.order1 { 1 } else { 3 }),
            CE => (self.r_ceb, 2),
            ECT0 => (self.r_e0b, if self.order1 { 3 } else { 1 }),
            _ => return,
        };
        if len > 0 {
            self.least = self.least.max(place);
            if (before.wrapping_add(len) ^ before) >> EVERY != 0 {
                self.demand = self.demand.max(1);
            }
        }
    }

    /// The flags of a SYN-ACK.
    pub(super) fn reflected(&self) -> Flags {
        reflection(self.handshake)
    }

    /// The flags of any other segment.
    pub(super) fn flags(&self) -> Flags {
        flags_of(self.r_cep & 7)
    }

    /// Packets of ours that were marked, as far as heard.
    pub(super) fn delivered_ce(&self) -> u32 {
        self.s_cep - FIRST_CEP
    }

    /// Our SYN-ACK had to go again without the option.
    pub(super) fn option_in_vain(&mut self) {
        self.in_vain = true;
    }

    /// The first counters of bytes.
    fn option(&self, counters: usize) -> AccEcn {
        let all = if self.order1 {
            [self.r_e1b, self.r_ceb, self.r_e0b]
        } else {
            [self.r_e0b, self.r_ceb, self.r_e1b]
        };
        AccEcn::new(self.order1, &all[..counters])
    }

    /// Whether the next segment has the option (Linux's `tcp_established_options`).
    fn tells_bytes(&self, config: &Config, now: Instant, srtt: Duration) -> bool {
        let beacon = || {
            let since = now.since(self.told_at).saturating_mul(u32::from(config.ecn_option_beacon));
            config.ecn_option_beacon > 0 && since >= srtt
        };
        config.ecn_option > 0
            && self.seen != Seen::Nothing
            && (config.ecn_option > 2 || !self.in_vain)
            && (config.ecn_option > 1 || self.demand > 0 || beacon())
    }
}

/// How many counters, `least` or more, fit beside the other options, and beside how many SACK blocks: one gives way if it
/// must (Linux's `tcp_options_fit_accecn`).
fn fit(options: &SegmentOptions, least: usize, blocks: usize) -> Option<(usize, usize)> {
    let taken = options.len_without_accurate_ecn();
    let most = |blocks: usize, room: usize| {
        (least..=3).rev().find(|&counters| options.accurate_ecn_len(counters, blocks) <= room)
    };
    let room = MAX_OPTIONS - taken;
    if let Some(counters) = most(blocks, room) {
        return Some((counters, blocks));
    }
    let fewer = blocks.checked_sub(1).filter(|&fewer| least > 0 && fewer >= 2)?;
    most(fewer, room + 8).map(|counters| (counters, fewer))
}

/// The option of a SYN-ACK: the counters as they begin (RFC 9768 3.2.3.2.1). Sent again it goes without, in case that the
/// option was why it was lost (3.2.3.2.2).
pub fn option_of_syn_ack(config: &Config, half: &HalfOpen, options: &mut SegmentOptions) {
    let wanted = half.accurate && config.ecn_option > 0 && half.retransmits == 0;
    if let Some((counters, _)) = fit(options, 0, 0).filter(|_| wanted) {
        options.accurate_ecn = Some(AccEcn::new(true, &[1, 0, 1][..counters]));
    }
}

impl Connection {
    /// A pure ACK: the first one of a client tells the marks of the SYN-ACK (3.2.2.1).
    pub(super) fn tell_marks(&mut self, hdr: &mut Header) {
        let Some(accurate) = &mut self.ecn.accurate else { return };
        if core::mem::take(&mut accurate.reflect) {
            hdr.flags = (hdr.flags - ALL) | accurate.reflected();
        }
        accurate.unreported = 0;
        accurate.edge = false;
    }

    /// The option of bytes, if this segment has it.
    #[cold]
    pub(super) fn tell_bytes(&mut self, cx: &Cx<'_>, hdr: &mut Header) {
        let Some(fitting) = self.bytes_that_fit(cx, &hdr.options) else { return };
        let Some(accurate) = &mut self.ecn.accurate else { return };
        let (counters, blocks) = fitting;
        hdr.options.sack.truncate(blocks);
        hdr.options.accurate_ecn = Some(accurate.option(counters));
        accurate.least = 0;
        accurate.told_at = cx.now;
        accurate.demand = accurate.demand.saturating_sub(1);
    }

    /// How many counters and SACK blocks the next segment has, if it has the option of bytes.
    fn bytes_that_fit(&self, cx: &Cx<'_>, options: &SegmentOptions) -> Option<(usize, usize)> {
        let accurate = self.ecn.accurate.as_ref()?;
        let srtt = self.rtt.srtt().unwrap_or_default();
        if !accurate.tells_bytes(cx.config, cx.now, srtt) {
            return None;
        }
        fit(options, usize::from(accurate.least), options.sack.as_slice().len())
    }

    /// How much longer, or shorter, that makes the options of the next segment.
    pub(super) fn len_of_bytes(&self, cx: &Cx<'_>, options: &SegmentOptions) -> u32 {
        let Some((counters, blocks)) = self.bytes_that_fit(cx, options) else { return 0 };
        let given_up = 8 * (options.sack.as_slice().len() - blocks);
        options.accurate_ecn_len(counters, blocks).saturating_sub(given_up) as u32
    }

    /// The peer's option: the first ones say whether it gets through.
    pub(super) fn hear_option(&mut self, option: Option<&AccEcn>) {
        let Some(accurate) = &mut self.ecn.accurate else { return };
        if let (Some(option), Seen::Nothing | Seen::Empty) = (option, accurate.seen) {
            accurate.seen = Seen::of(option);
        }
    }

    /// The same of a SYN-ACK's: an option that came wants to be answered at once.
    pub(super) fn hear_option_of_syn_ack(&mut self, option: Option<&AccEcn>) {
        self.hear_option(option);
        if let (Some(accurate), Some(_)) = (&mut self.ecn.accurate, option) {
            accurate.demand = 2;
        }
    }

    /// Text goes out instead of a first pure ACK: its flags are a counter.
    pub(super) fn skip_reflection(&mut self) {
        if let Some(accurate) = &mut self.ecn.accurate {
            accurate.reflect = false;
            accurate.unreported = 0;
            accurate.edge = false;
        }
    }

    /// The first segment of the peer without SYN: at a server the handshake's encoding if it is a pure ACK
    /// (table 4); all zero means that the path clears the flags (3.2.2.4).
    pub(super) fn hear_first_ace(&mut self, seg: &Segment) {
        let Some(accurate) = self.ecn.accurate.as_mut().filter(|accurate| !accurate.heard) else { return };
        accurate.heard = true;
        let ace = ace(seg.hdr.flags);
        if ace == 0 {
            accurate.cleared = true;
            accurate.not_ect = true;
        }
        let reflects = seg.data.is_empty() && seg.hdr.options.sack.is_empty();
        if self.state == State::SynReceived && self.passive && reflects && ace == 0b110 {
            accurate.s_cep += 1;
        }
    }

    /// Counts an acceptable packet, and decides whether it is to be acknowledged at once (3.2.2, 3.2.2.5).
    pub(super) fn count_marks(&mut self, cx: &Cx<'_>, seg: &Segment) {
        let Some(accurate) = &mut self.ecn.accurate else { return };
        let (len, packets) = (seg.data.len() as u32, seg.segments());
        let marks = seg.tos & MASK;
        accurate.note_marks(marks, len);
        // Linux's `ecn_edge`: the next text is acknowledged at once if no other segment has told of the change.
        let edge = core::mem::replace(&mut accurate.last, marks) != marks;
        accurate.edge |= edge && cx.config.profile == crate::Profile::Linux;
        self.rcv.ack.now |= len > 0 && core::mem::take(&mut accurate.edge);
        let before = core::mem::replace(&mut accurate.in_ce, seg.tos & MASK == CE);
        match seg.tos & MASK {
            ECT0 => accurate.r_e0b = accurate.r_e0b.wrapping_add(len),
            ECT1 => {
                accurate.r_e1b = accurate.r_e1b.wrapping_add(len);
                accurate.order1 = true;
            }
            CE => {
                accurate.r_cep = accurate.r_cep.wrapping_add(packets);
                accurate.r_ceb = accurate.r_ceb.wrapping_add(len);
                accurate.unreported += packets;
                self.ecn.seen = true;
                let patience = if len > 0 || self.rcv.ack.pending { 2 } else { 3 };
                if (len > 0 && !before) || accurate.unreported >= patience {
                    self.rcv.ack.now = true;
                }
            }
            _ => {}
        }
    }

    /// How many of our packets an ACK says were marked: the difference of the counters, and where more packets were
    /// acknowledged than three bits tell apart, the greatest number that the bytes do not rule out
    /// (RFC 9768 3.2.2.5.2, A.2; Linux's `__tcp_accecn_process`).
    pub(super) fn hear_marks(&mut self, seg: &Segment) -> u32 {
        let mss = u32::from(self.mss).max(1);
        let una = self.snd.una;
        let Some(accurate) = &mut self.ecn.accurate else { return 0 };
        let hdr = &seg.hdr;
        let progress = hdr.ack.gt(una) || !hdr.options.sack.is_empty();
        if accurate.cleared || !progress || hdr.ack.lt(una) || self.state == State::SynReceived {
            return 0;
        }
        let packets = hdr.ack.since(una).div_ceil(mss);
        let least = ace(hdr.flags).wrapping_sub(accurate.s_cep) & 7;
        let option = hdr.options.accurate_ecn.filter(|_| accurate.seen != Seen::Cleared);
        let bytes = option.and_then(|option| option.ceb()).map(|ceb| {
            let new = ceb.wrapping_sub(accurate.s_ceb) & 0xff_ffff;
            accurate.s_ceb = ceb;
            // A counter that seems to have gone back belongs to an older ACK.
            if new < 1 << 23 { new } else { 0 }
        });
        let mut marked = least;
        if packets > 7 {
            let safe = packets - (packets.wrapping_sub(least) & 7);
            marked = match bytes {
                Some(bytes) if bytes <= least * mss => least,
                Some(bytes) => {
                    safe.min(least + (bytes.div_ceil(mss).saturating_sub(least)).next_multiple_of(8))
                }
                None => safe,
            };
        }
        accurate.s_cep = accurate.s_cep.wrapping_add(marked);
        marked
    }
}
