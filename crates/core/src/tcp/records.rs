//! What a program asked for about single writes: where records end (MSG_EOR), when data that was to be sent without a
//! copy may be used again (MSG_ZEROCOPY), when text was sent and acknowledged (SO_TIMESTAMPING). The last two wait in
//! the error queue, as on Linux, until MSG_ERRQUEUE takes them.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::*;

/// So much of each kind is kept; what comes on top is not told (the oldest stays).
const MAX: usize = 1024;

/// SOF_TIMESTAMPING_TX_SOFTWARE, _SOFTWARE, _OPT_ID, _TX_SCHED, _TX_ACK, _OPT_TSONLY, _OPT_ID_TCP.
const TX_SOFTWARE: u32 = 1 << 1;
const SOFTWARE: u32 = 1 << 4;
const OPT_ID: u32 = 1 << 7;
const TX_SCHED: u32 = 1 << 8;
const TX_ACK: u32 = 1 << 9;
const OPT_TSONLY: u32 = 1 << 11;
const OPT_ID_TCP: u32 = 1 << 16;

/// One message of the error queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Sends with MSG_ZEROCOPY number `first` to `last`, counted from 0, are done with. The data was copied, as
    /// Linux does towards a TUN device (SO_EE_CODE_ZEROCOPY_COPIED).
    ZeroCopy {
        /// `ee_info`.
        first: u32,
        /// `ee_data`.
        last: u32,
    },
    /// Something happened to the last byte of a write.
    Timestamp {
        /// What.
        what: Stamped,
        /// With SOF_TIMESTAMPING_OPT_ID the byte's number in the stream, from 0 where the option was set; else 0.
        key: u32,
        /// When.
        at: Instant,
        /// SOF_TIMESTAMPING_OPT_TSONLY: the packet does not come along.
        only: bool,
    },
}

/// What a timestamp is of, with Linux's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamped {
    /// SCM_TSTAMP_SND: handed to the link.
    Sent = 0,
    /// SCM_TSTAMP_SCHED: handed to the queue before it.
    Scheduled = 1,
    /// SCM_TSTAMP_ACK: acknowledged.
    Acknowledged = 2,
}

/// A write whose last byte is watched.
#[derive(Debug)]
struct Watched {
    end: SeqNum,
    key: u32,
    flags: u32,
    sent: bool,
}

/// The records and notices of one connection.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Ends of records that are not sent yet.
    ends: VecDeque<SeqNum>,
    /// Sends with MSG_ZEROCOPY under way: their ends and numbers.
    zerocopy: VecDeque<(SeqNum, u32)>,
    sends: u32,
    watched: VecDeque<Watched>,
    queue: VecDeque<Notice>,
}

impl Records {
    fn tell(&mut self, notice: Notice) {
        if let (Some(Notice::ZeroCopy { last, .. }), Notice::ZeroCopy { first, last: new }) =
            (self.queue.back_mut(), notice)
            && last.wrapping_add(1) == first
        {
            *last = new;
            return;
        }
        if self.queue.len() < MAX {
            self.queue.push_back(notice);
        }
    }

    fn on_sent(&mut self, nxt: SeqNum, now: Instant) {
        while self.ends.front().is_some_and(|end| end.le(nxt)) {
            self.ends.pop_front();
        }
        let mut told = VecDeque::new();
        for write in self.watched.iter_mut().filter(|write| !write.sent && write.end.le(nxt)) {
            write.sent = true;
            let only = write.flags & OPT_TSONLY != 0;
            for (flag, what) in [(TX_SCHED, Stamped::Scheduled), (TX_SOFTWARE, Stamped::Sent)] {
                if write.flags & flag != 0 {
                    told.push_back(Notice::Timestamp { what, key: write.key, at: now, only });
                }
            }
        }
        told.into_iter().for_each(|notice| self.tell(notice));
        self.watched.retain(|write| !write.sent || write.flags & TX_ACK != 0);
    }

    fn on_acknowledged(&mut self, una: SeqNum, now: Instant) {
        while let Some(&(_, number)) = self.zerocopy.front().filter(|(end, _)| end.le(una)) {
            self.zerocopy.pop_front();
            self.tell(Notice::ZeroCopy { first: number, last: number });
        }
        while self.watched.front().is_some_and(|write| write.sent && write.end.le(una)) {
            let Some(write) = self.watched.pop_front() else { return };
            let only = write.flags & OPT_TSONLY != 0;
            self.tell(Notice::Timestamp { what: Stamped::Acknowledged, key: write.key, at: now, only });
        }
    }
}

impl Connection {
    /// What was written so far ends a record (MSG_EOR): later data does not share a segment with it.
    pub fn end_record(&mut self) {
        let end = self.snd.end();
        let ends = &mut self.records.get_or_insert_with(Box::default).ends;
        if ends.len() < MAX && ends.back() != Some(&end) {
            ends.push_back(end);
        }
    }

    /// A write with MSG_ZEROCOPY has just put its data into the TX buffer.
    pub fn watch_zerocopy(&mut self) {
        let end = self.snd.end();
        let records = self.records.get_or_insert_with(Box::default);
        let number = records.sends;
        records.sends = records.sends.wrapping_add(1);
        if records.zerocopy.len() < MAX {
            records.zerocopy.push_back((end, number));
        }
    }

    /// A write has just put its data into the TX buffer: its last byte is watched, if SO_TIMESTAMPING asks for it.
    pub fn watch_timestamps(&mut self) {
        let flags = self.options.timestamping;
        if flags & (TX_SOFTWARE | TX_SCHED | TX_ACK) == 0 || flags & SOFTWARE == 0 {
            return;
        }
        let end = self.snd.end();
        let key = if flags & OPT_ID != 0 { end.since(self.counters.stamp_base) - 1 } else { 0 };
        let records = self.records.get_or_insert_with(Box::default);
        // Linux has room for one in a segment: what shares it with later text gives way to that.
        if records.watched.len() < MAX {
            records.watched.push_back(Watched { end, key, flags, sent: false });
        }
    }

    /// SO_TIMESTAMPING was set: bytes are counted from here (with SOF_TIMESTAMPING_OPT_ID_TCP from what is not
    /// written yet, else from what is not acknowledged).
    pub(super) fn count_bytes_from_here(&mut self, flags: u32) {
        let from = if flags & OPT_ID_TCP != 0 { self.snd.end() } else { self.snd.una };
        self.counters.stamp_base = from.max(self.snd.buf_seq);
    }

    /// Takes the oldest message out of the error queue.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.records.as_mut()?.queue.pop_front()
    }

    /// Whether the error queue has something.
    pub fn has_notice(&self) -> bool {
        self.records.as_ref().is_some_and(|records| !records.queue.is_empty())
    }

    /// Text up to SND.NXT has left.
    #[inline]
    pub(super) fn note_records_sent(&mut self, now: Instant) {
        if let Some(records) = &mut self.records {
            records.on_sent(self.snd.nxt, now);
        }
    }

    /// SND.UNA has moved. Whether the error queue has got something.
    pub(super) fn note_records_acknowledged(&mut self, now: Instant) -> bool {
        let Some(records) = &mut self.records else { return false };
        let before = records.queue.len();
        records.on_acknowledged(self.snd.una, now);
        records.queue.len() > before
    }

    /// Nothing more is sent: what waited for it is told.
    pub(super) fn release_records(&mut self) {
        if let Some(records) = &mut self.records {
            records.ends.clear();
            records.watched.clear();
            while let Some((_, number)) = records.zerocopy.pop_front() {
                records.tell(Notice::ZeroCopy { first: number, last: number });
            }
        }
    }

    /// Bytes from SND.NXT to the end of the record there, if that end is known.
    pub(super) fn record_left(&self) -> Option<u32> {
        let end = *self.records.as_ref()?.ends.front()?;
        end.gt(self.snd.nxt).then(|| end.since(self.snd.nxt))
    }
}
