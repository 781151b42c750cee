//! How good or bad a link is, as data, and its grammar.
//!
#![doc = concat!("```text\n", include_str!("grammar.txt"), "```")]

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use crate::time::Duration;

/// The grammar of a specification, for manuals.
pub const GRAMMAR: &str = include_str!("grammar.txt");

/// Both directions of a link, and the seed of its chances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkSpec {
    /// From the first end to the second.
    pub up: DirectionSpec,
    /// Back.
    pub down: DirectionSpec,
    /// Seed; 0 if none was given.
    pub seed: u64,
}

/// One direction of a link. The default is a perfect wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirectionSpec {
    /// One-way delay.
    pub delay: Duration,
    /// Added to it, evenly distributed from zero to this; packets keep their order.
    pub jitter: Duration,
    /// Bits a second of IP packets; `None` is without limit.
    pub rate: Option<u64>,
    /// What waits for its turn at the rate.
    pub queue: Option<Queue>,
    /// From what in the queue on packets of ECN-capable transports are marked CE (RFC 3168 5).
    pub mark: Option<Queue>,
    /// Share of segments lost, 0 to 1.
    pub loss: f64,
    /// Losses come in bursts.
    pub bursts: Option<Bursts>,
    /// Segments overtaken by others.
    pub reorder: Option<Reorder>,
    /// Share of segments that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// Share of segments with one bit turned over, 0 to 1.
    pub corrupt: f64,
    /// The longest packet that gets through, bytes; `None` is without limit.
    pub mtu: Option<u16>,
    /// Times in which nothing gets through.
    pub outage: Option<Outage>,
}

/// The bound of a drop-tail queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Bytes of IP packets.
    Bytes(u64),
    /// Packets.
    Packets(u32),
    /// As many bytes as the rate carries in this time.
    Time(Duration),
}

/// Gilbert-Elliott: in the bad state every segment is lost, in the good one none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Mean number of segments lost in a row, at least 1.
    pub mean: f64,
}

/// Reordering by holding segments back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reorder {
    /// Share of segments held back, 0 to 1.
    pub share: f64,
    /// How long.
    pub by: Duration,
}

/// A schedule of times without a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// From this long after the start ...
    pub from: Duration,
    /// ... for this long ...
    pub lasts: Duration,
    /// ... again each such period, if any.
    pub every: Option<Duration>,
}

/// A part of a specification that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The whole text.
    pub text: String,
    /// Where the bad part stands, in bytes.
    pub at: Range<usize>,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for SpecError {
    /// The problem, the text, and carets below the bad part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.problem)?;
        writeln!(f, "  {}", self.text)?;
        let before = self.text[..self.at.start].chars().count();
        let below = self.text[self.at.clone()].chars().count().max(1);
        write!(f, "  {:before$}{:^<below$}", "", "")
    }
}

impl core::error::Error for SpecError {}

const KEYS: &str =
    "delay, jitter, rate, queue, mark, loss, burst, reorder, duplicate, corrupt, mtu, outage, seed";

impl FromStr for LinkSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<LinkSpec, SpecError> {
        let mut spec = LinkSpec::default();
        let mut start = 0;
        for part in text.split(',') {
            let range = start..start + part.len();
            start = range.end + 1;
            let fail = |at: Range<usize>, problem: String| SpecError { text: text.to_string(), at, problem };
            let Some((name, value)) = part.split_once('=') else {
                return Err(fail(range, format!("a part of a link is key=value; keys are {KEYS}")));
            };
            let value_at = range.end - value.len()..range.end;
            let (direction, key) = name.split_once(':').unwrap_or(("", name));
            let set = |spec: &mut DirectionSpec| spec.set(key.trim(), value.trim());
            let done = match direction.trim() {
                "up" => set(&mut spec.up),
                "down" => set(&mut spec.down),
                "" if key.trim() == "seed" => match value.trim().parse() {
                    Ok(seed) => {
                        spec.seed = seed;
                        Ok(())
                    }
                    Err(_) => Err(Bad::Value("a whole number".into())),
                },
                "" => set(&mut spec.up).and_then(|()| set(&mut spec.down)),
                _ => {
                    let at = range.start..range.start + direction.len();
                    return Err(fail(at, "a direction is up or down".into()));
                }
            };
            match done {
                Ok(()) => {}
                Err(Bad::Key) => {
                    let at = range.start..range.start + name.len();
                    return Err(fail(at, format!("no such key; keys are {KEYS}")));
                }
                Err(Bad::Value(wanted)) => {
                    return Err(fail(value_at, format!("{} takes {wanted}", key.trim())));
                }
            }
        }
        Ok(spec)
    }
}

enum Bad {
    Key,
    Value(String),
}

impl DirectionSpec {
    fn set(&mut self, key: &str, value: &str) -> Result<(), Bad> {
        let wants = |what: &str| Bad::Value(what.to_string());
        const TIME: &str = "a time such as 40ms (us, ms, s)";
        const SIZE: &str = "a size such as 256kb, 100p (packets) or 50ms at the rate";
        const SHARE: &str = "a share such as 1% (0% to 100%)";
        match key {
            "delay" => self.delay = time(value).ok_or_else(|| wants(TIME))?,
            "jitter" => self.jitter = time(value).ok_or_else(|| wants(TIME))?,
            "rate" => {
                let rate = rate(value).filter(|&rate| rate > 0);
                self.rate =
                    Some(rate.ok_or_else(|| wants("a rate such as 100mbit (bit, kbit, mbit, gbit)"))?);
            }
            "queue" => self.queue = Some(queue(value).ok_or_else(|| wants(SIZE))?),
            "mark" => self.mark = Some(queue(value).ok_or_else(|| wants(SIZE))?),
            "loss" => self.loss = share(value).ok_or_else(|| wants(SHARE))?,
            "burst" => {
                let mean = value.parse().ok().filter(|&mean: &f64| mean >= 1.0 && mean.is_finite());
                self.bursts =
                    Some(Bursts { mean: mean.ok_or_else(|| wants("a mean length of at least 1"))? });
            }
            "reorder" => {
                let parts = value.split_once('/').and_then(|(s, by)| Some((share(s)?, time(by)?)));
                let (share, by) = parts.ok_or_else(|| wants("a share and a time such as 1%/5ms"))?;
                self.reorder = Some(Reorder { share, by });
            }
            "duplicate" => self.duplicate = share(value).ok_or_else(|| wants(SHARE))?,
            "corrupt" => self.corrupt = share(value).ok_or_else(|| wants(SHARE))?,
            "mtu" => {
                let mtu = value.parse().ok().filter(|&mtu: &u16| mtu >= 68);
                self.mtu = Some(mtu.ok_or_else(|| wants("a number of bytes from 68 to 65535"))?);
            }
            "outage" => {
                self.outage = Some(outage(value).ok_or_else(|| wants("times such as 10s+2s or 10s+2s/60s"))?)
            }
            _ => return Err(Bad::Key),
        }
        Ok(())
    }

    /// The bound of the queue in bytes and packets: as given, or one delay's worth at the rate, at least 64 kB.
    pub(super) fn queue_limit(&self) -> (u64, u32) {
        self.queue.map_or((self.worth(self.delay).max(64_000), u32::MAX), |queue| self.size(queue))
    }

    /// What is marked finds more than so many bytes, or packets.
    pub(super) fn mark_limit(&self) -> Option<(u64, u32)> {
        self.mark.map(|mark| self.size(mark))
    }

    /// A size in bytes and packets.
    fn size(&self, queue: Queue) -> (u64, u32) {
        match queue {
            Queue::Bytes(bytes) => (bytes, u32::MAX),
            Queue::Packets(packets) => (u64::MAX, packets),
            Queue::Time(time) => (self.worth(time).max(1_500), u32::MAX),
        }
    }

    /// The bytes that the rate carries in this time.
    fn worth(&self, time: Duration) -> u64 {
        let rate = u128::from(self.rate.unwrap_or(u64::MAX));
        (rate * time.as_nanos() / 8_000_000_000).min(1 << 40) as u64
    }
}

/// Splits a number from its unit.
fn number(text: &str) -> Option<(f64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..at].parse().ok()?;
    Some((number, &text[at..]))
}

fn time(text: &str) -> Option<Duration> {
    let (n, unit) = number(text)?;
    let nanos = match unit {
        "us" => n * 1e3,
        "ms" => n * 1e6,
        "s" => n * 1e9,
        "" if n == 0.0 => 0.0,
        _ => return None,
    };
    (nanos < 1e18).then(|| Duration::from_nanos(nanos as u64))
}

fn share(text: &str) -> Option<f64> {
    let (n, unit) = number(text)?;
    let share = match unit {
        "%" => n / 100.0,
        "" if n == 0.0 => 0.0,
        _ => return None,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

fn rate(text: &str) -> Option<u64> {
    let (n, unit) = number(text)?;
    let scale = match unit {
        "bit" => 1e0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return None,
    };
    (n * scale < 1e15).then_some((n * scale) as u64)
}

fn queue(text: &str) -> Option<Queue> {
    let (n, unit) = number(text)?;
    let scale = match unit {
        "b" => 1e0,
        "kb" => 1e3,
        "mb" => 1e6,
        "p" => return (1.0..=1e9).contains(&n).then_some(Queue::Packets(n as u32)),
        _ => return time(text).map(Queue::Time),
    };
    (n * scale >= 1.0 && n * scale < 1e12).then_some(Queue::Bytes((n * scale) as u64))
}

fn outage(text: &str) -> Option<Outage> {
    let (once, every) = match text.split_once('/') {
        Some((once, every)) => (once, Some(time(every)?)),
        None => (text, None),
    };
    let (from, lasts) = once.split_once('+')?;
    let outage = Outage { from: time(from)?, lasts: time(lasts)?, every };
    every.is_none_or(|every| every > outage.lasts).then_some(outage)
}
