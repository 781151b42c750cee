//! The ladder: both ends' states beside each segment between them, as it happens.
//!
//! ```text
//!  0.000000  SYN-SENT     |  SYN seq 0 win 64240 <mss 1460,sackOK,ts 1 0,wscale 7>  ---->  |  LISTEN       connect
//! ```
//!
//! Sequence numbers are relative to each side's first one. A [`Ladder`] that sees the records of both
//! ends draws each segment once, when it is sent; one that sees one end's draws what that end sends and receives.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use sockeye_core::Instant;
use sockeye_core::tcp::{SeqNum, State, Tuple};
use sockeye_core::trace::{Record, What};
use sockeye_core::wire::tcp::{Flags, Header};

/// Connections whose first sequence numbers are remembered; beyond it numbers are printed as they are.
const MAX_CONNECTIONS: usize = 4_096;
/// Columns of a state's name: the longest is SYN-RECEIVED.
const STATE_WIDTH: usize = 12;

/// Which end of the ladder a record comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The left one.
    Left,
    /// The right one.
    Right,
}

/// How the ladder is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LadderOptions {
    /// Records of both ends will come; otherwise those of the left end only, whose peer's state is not known.
    pub both_ends: bool,
    /// Colours for terminals (ANSI).
    pub color: bool,
    /// Columns between the two states, 40 at least.
    pub width: usize,
    /// Draw timers, congestion and drops beside segments and states.
    pub events: bool,
    /// Print both ports in front of each line (for several connections at once).
    pub ports: bool,
}

impl Default for LadderOptions {
    fn default() -> Self {
        LadderOptions { both_ends: true, color: false, width: 78, events: true, ports: false }
    }
}

/// What is remembered of one connection, by its tuple as the left end sees it.
struct Connection {
    /// The first sequence number of the left and of the right end.
    first: [Option<SeqNum>; 2],
    state: [State; 2],
}

/// Draws records as lines.
pub struct Ladder {
    options: LadderOptions,
    connections: HashMap<Tuple, Connection>,
}

impl Ladder {
    /// An empty ladder.
    pub fn new(options: LadderOptions) -> Ladder {
        let width = options.width.max(40);
        Ladder { options: LadderOptions { width, ..options }, connections: HashMap::new() }
    }

    /// The line for a record that came from `side`, without an end of line; none for what the other end's
    /// record shows already, or what was not asked for.
    pub fn line(&mut self, side: Side, record: &Record) -> Option<String> {
        let tuple = if side == Side::Left { record.tuple } else { record.tuple.reversed() };
        if self.connections.len() >= MAX_CONNECTIONS && !self.connections.contains_key(&tuple) {
            self.connections.clear();
        }
        let at = record.at;
        match &record.what {
            What::State { from, to, why } => {
                self.connection(tuple).state[side as usize] = *to;
                let text = format!("{from} -> {to}");
                let line = self.middle(at, tuple, side, &text, why.name());
                self.forget_if_over(tuple);
                Some(line)
            }
            What::Sent { header, len, gso_size, why, state } => {
                let connection = self.connection(tuple);
                connection.learn(side, header);
                let shown = if *state == State::Closed { None } else { Some(*state) };
                connection.state[side as usize] = shown.unwrap_or(connection.state[side as usize]);
                let text = connection.describe(side, header, *len, *gso_size);
                Some(self.arrow(at, tuple, side, &text, why.text(), why.is_retransmission(), header.flags))
            }
            What::Received { header, len, gso_size, .. } => {
                let sender = if side == Side::Left { Side::Right } else { Side::Left };
                let connection = self.connection(tuple);
                connection.learn(sender, header);
                let text = connection.describe(sender, header, *len, *gso_size);
                if self.options.both_ends {
                    return None;
                }
                Some(self.arrow(at, tuple, sender, &text, "", false, header.flags))
            }
            What::Ended { error } => {
                let how =
                    error.map_or_else(|| "ended in order".to_owned(), |error| format!("ended: {error}"));
                Some(self.middle(at, tuple, side, &how, ""))
            }
            _ if !self.options.events => None,
            What::Dropped { reason, .. } => {
                Some(self.middle(at, tuple, side, &format!("dropped: {}", reason.text()), ""))
            }
            What::Timer(timer) => Some(self.middle(at, tuple, side, &format!("timer: {}", timer.name()), "")),
            What::Congestion { cwnd, ssthresh, srtt, min_rtt, pacing_rate, delivery_rate, undone, state } => {
                let threshold = if *ssthresh >= i32::MAX as u32 { "-".into() } else { ssthresh.to_string() };
                let text =
                    format!("{state}: cwnd {cwnd} ssthresh {threshold} srtt {srtt:.1?} min {min_rtt:.1?}");
                let mut why = undone.map_or(String::new(), |undone| format!("undone: {} ", undone.name()));
                for (name, rate) in [("delivered", delivery_rate), ("paced", pacing_rate)] {
                    if *rate > 0 {
                        let _ = write!(why, "{name} {:.1} Mbit/s ", *rate as f64 * 8e-6);
                    }
                }
                Some(self.middle(at, tuple, side, &text, &why))
            }
            _ => None,
        }
    }

    fn connection(&mut self, tuple: Tuple) -> &mut Connection {
        self.connections.entry(tuple).or_insert(Connection { first: [None; 2], state: [State::Closed; 2] })
    }

    fn forget_if_over(&mut self, tuple: Tuple) {
        let over = |connection: &Connection| {
            let states = if self.options.both_ends { &connection.state[..] } else { &connection.state[..1] };
            states.iter().all(|state| *state == State::Closed)
        };
        if self.connections.get(&tuple).is_some_and(over) {
            self.connections.remove(&tuple);
        }
    }

    #[allow(clippy::too_many_arguments)] // the columns of one line
    fn arrow(
        &self,
        at: Instant,
        tuple: Tuple,
        sender: Side,
        text: &str,
        why: &str,
        again: bool,
        flags: Flags,
    ) -> String {
        let width = self.options.width;
        let text = clip(text, width - 8);
        let dashes = "-".repeat(width - text.chars().count() - 3);
        let mut arrow = match sender {
            Side::Left => format!(" {text} {dashes}>"),
            Side::Right => format!("<{dashes} {text} "),
        };
        pad(&mut arrow, width);
        let color = if flags.contains(Flags::RST) || again {
            "31"
        } else if flags.intersects(Flags::SYN | Flags::FIN) {
            "33"
        } else {
            "36"
        };
        self.finish(at, tuple, &self.paint(color, &arrow), why)
    }

    fn middle(&self, at: Instant, tuple: Tuple, side: Side, text: &str, why: &str) -> String {
        let width = self.options.width;
        let text = clip(text, width - 4);
        let mut cell = String::new();
        if side == Side::Right {
            cell.push_str(&" ".repeat(width - text.chars().count() - 2));
        }
        let _ = write!(cell, " {text} ");
        pad(&mut cell, width);
        self.finish(at, tuple, &self.paint("32", &cell), why)
    }

    fn finish(&self, at: Instant, tuple: Tuple, cell: &str, why: &str) -> String {
        let states = self.connections.get(&tuple).map_or([State::Closed; 2], |connection| connection.state);
        let right = if self.options.both_ends { states[1].name() } else { "" };
        let mut line = format!("{:>12} ", at.to_string());
        if self.options.ports {
            let _ = write!(line, "{:>5} {:>5} ", tuple.local.port(), tuple.remote.port());
        }
        let _ = write!(line, "{:>STATE_WIDTH$} |{cell}| {right:<STATE_WIDTH$} {why}", states[0]);
        line.truncate(line.trim_end().len());
        line
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.options.color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Two lines for the top: who stands left and who right.
    pub fn heading(&self, left: &str, right: &str) -> String {
        let ports = if self.options.ports { " ".repeat(12) } else { String::new() };
        let space = " ".repeat(self.options.width);
        format!("{:>12} {ports}{left:>STATE_WIDTH$} |{space}| {right:<STATE_WIDTH$} why", "time")
    }

    /// The connections it remembers, ended ones excepted.
    pub fn open(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr)> + '_ {
        self.connections.keys().map(|tuple| (tuple.local, tuple.remote))
    }
}

impl Connection {
    /// The first sequence number of a side: its SYN's, or whatever is seen first of it.
    fn learn(&mut self, sender: Side, header: &Header) {
        let (mine, other) = (sender as usize, 1 - sender as usize);
        let syn = header.flags.contains(Flags::SYN);
        if syn || self.first[mine].is_none() && !header.flags.contains(Flags::RST) {
            self.first[mine] = Some(if syn { header.seq } else { header.seq - 1 });
        }
        if header.flags.contains(Flags::ACK) && self.first[other].is_none() && !syn {
            self.first[other] = Some(header.ack - 1);
        }
    }

    fn describe(&self, sender: Side, header: &Header, len: u32, gso_size: u16) -> String {
        let relative =
            |number: SeqNum, first: Option<SeqNum>| number.0.wrapping_sub(first.map_or(0, |first| first.0));
        let (mine, other) = (self.first[sender as usize], self.first[1 - sender as usize]);
        let mut text = flags_text(header.flags);
        let seq = relative(header.seq, mine);
        let _ = match len {
            0 => write!(text, " seq {seq}"),
            _ => write!(text, " seq {seq}:{} ({len})", seq.wrapping_add(len)),
        };
        if gso_size != 0 {
            let _ = write!(text, " = {} x {gso_size}", len.div_ceil(u32::from(gso_size)));
        }
        if header.flags.contains(Flags::ACK) {
            let _ = write!(text, " ack {}", relative(header.ack, other));
        }
        let _ = write!(text, " win {}", header.window);
        if header.flags.contains(Flags::URG) {
            let _ = write!(text, " urg {}", header.urgent);
        }
        let options = options_text(header, |number| relative(number, other));
        if !options.is_empty() {
            let _ = write!(text, " <{options}>");
        }
        text
    }
}

fn options_text(header: &Header, relative: impl Fn(SeqNum) -> u32) -> String {
    let options = &header.options;
    let mut parts = Vec::new();
    parts.extend(options.mss.map(|mss| format!("mss {mss}")));
    parts.extend(options.sack_permitted.then(|| "sackOK".to_owned()));
    parts.extend(options.timestamps.map(|stamps| format!("ts {} {}", stamps.val, stamps.ecr)));
    parts.extend(options.window_scale.map(|scale| format!("wscale {scale}")));
    let blocks = options.sack.as_slice().iter();
    parts.extend(blocks.map(|block| format!("sack {}:{}", relative(block.left), relative(block.right))));
    parts.extend(options.user_timeout.map(|timeout| format!("uto {timeout}")));
    parts.extend(options.fast_open.map(|cookie| match cookie.as_slice() {
        [] => "fast open?".to_owned(),
        bytes => format!("fast open {} B", bytes.len()),
    }));
    parts.join(",")
}

/// The control bits as words: `SYN,ACK`; a plain ACK is `ACK`.
pub(super) fn flags_text(flags: Flags) -> String {
    let names = flags.iter_names().map(|(name, _)| name);
    // The order in which people say them: SYN,ACK and FIN,ACK, PSH,ACK.
    let text = names.collect::<Vec<_>>().join(",");
    if text.is_empty() { "-".to_owned() } else { text }
}

fn pad(text: &mut String, width: usize) {
    let missing = width.saturating_sub(text.chars().count());
    text.extend(std::iter::repeat_n(' ', missing));
}

fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width - 1).collect();
    out.push('~');
    out
}

#[cfg(test)]
mod tests;
