//! What must hold of a connection between any two calls, for tests and simulators.

use alloc::format;
use alloc::string::String;

use super::timer::Timer;
use super::*;

impl Connection {
    /// Checks the connection against itself at `now`, after all that was to be sent was sent. This walks all
    /// that is in flight.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_invariants(&self, now: Instant) -> Result<(), String> {
        let result = self.check_send_space().and_then(|()| self.check_receive_space());
        result.and_then(|()| self.check_timers(now)).map_err(|what| {
            let (snd, rcv) = (&self.snd, &self.rcv);
            format!(
                "{} > {} {}: {what} (snd.una {} nxt {} wnd {} end {}, rcv.nxt {} wnd {}, {:?})",
                self.tuple.local,
                self.tuple.remote,
                self.state.name(),
                snd.una.since(snd.iss),
                snd.nxt.since(snd.iss),
                snd.wnd,
                snd.end().since(snd.iss),
                rcv.nxt.since(rcv.irs),
                rcv.wnd(),
                self.timers,
            )
        })
    }

    fn check_send_space(&self) -> Result<(), String> {
        let snd = &self.snd;
        if self.state == State::Closed {
            let idle = self.flight.is_none() && snd.buf.is_empty() && self.timers.next().is_never();
            return if idle { Ok(()) } else { Err("something is left of a closed connection".into()) };
        }
        if !snd.una.le(snd.nxt) {
            return Err("SND.UNA is after SND.NXT".into());
        }
        let end = snd.end() + u32::from(snd.fin_sent);
        if !snd.nxt.le(end) {
            return Err("more was sent than the buffer holds".into());
        }
        if snd.una.gt(snd.iss) && snd.buf_seq.lt(snd.una) && !snd.fin_acked() {
            return Err(format!("the buffer begins {} bytes before SND.UNA", snd.una.since(snd.buf_seq)));
        }
        if !self.state.is_synchronized() {
            return Ok(());
        }
        let outstanding = self.flight.as_ref().map_or(0, |flight| flight.outstanding());
        if outstanding != snd.nxt.since(snd.una) {
            return Err(format!(
                "the scoreboard holds {outstanding} of {} in flight",
                snd.nxt.since(snd.una)
            ));
        }
        if self.flight.as_ref().is_some_and(|flight| !flight.is_consistent()) {
            return Err(format!("the scoreboard's sums are not those of its runs: {:?}", self.flight));
        }
        Ok(())
    }

    fn check_receive_space(&self) -> Result<(), String> {
        let rcv = &self.rcv;
        if !self.state.is_synchronized() || self.state == State::Closed {
            return Ok(());
        }
        if !rcv.last_ack_sent.le(rcv.nxt) {
            return Err("more was acknowledged than received".into());
        }
        if rcv.fin.is_some_and(|fin| rcv.nxt.gt(fin + 1)) {
            return Err("RCV.NXT is beyond the FIN".into());
        }
        if rcv.as_linux && rcv.space.text() != rcv.buf.len() {
            return Err(format!("{} bytes wait, {} are reckoned", rcv.buf.len(), rcv.space.text()));
        }
        Ok(())
    }

    /// No timer lies in the past, and one runs wherever nothing else would ever move the connection on.
    fn check_timers(&self, now: Instant) -> Result<(), String> {
        if let Some(late) = Timer::ALL.into_iter().find(|&timer| self.timers.get(timer) < now) {
            return Err(format!("the {} timer lies in the past", late.name()));
        }
        if self.due.output || self.state == State::Closed {
            return Ok(());
        }
        let held = self.snd.unsent() > 0 || (self.snd.fin_queued && !self.snd.fin_sent);
        let watched =
            [Timer::Retransmit, Timer::LossProbe, Timer::Send].iter().any(|&t| self.timers.is_set(t));
        if self.in_flight() && !self.timers.is_set(Timer::Retransmit) && !self.timers.is_set(Timer::LossProbe)
        {
            return Err("something is in flight and no timer guards it".into());
        }
        if held && self.state.is_synchronized() && !watched {
            return Err("something is held back and no timer will ever send it".into());
        }
        if self.rcv.ack.pending && !self.rcv.ack.now && !self.timers.is_set(Timer::DelayedAck) {
            return Err("an ACK is owed and no timer will ever send it".into());
        }
        Ok(())
    }
}
