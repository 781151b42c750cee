//! Runs a script in virtual time against one stack with one interface.
//!
//! Nothing waits: the clock is set to the next thing that happens, be it an event of the script or a timer of the
//! stack. What falls on the same instant happens in the script's order first, because a real timer is late, never
//! early.

use std::collections::VecDeque;

use sockeye_core::stack::{Cidr, Interface, InterfaceId, Stack};
use sockeye_core::wire::gso;
use sockeye_core::wire::tcp::ChecksumMode;
use sockeye_core::{Duration, Instant, Profile};

use super::calls::{Descriptors, Pending};
use super::failure::{Failure, Rung};
use super::flow::Flows;
#[cfg(target_os = "linux")]
use super::kernel::{HostInfo, Kernel, Link};
use super::setup::Setup;
use super::{Seen, decode, info};
use crate::script::ast::{Action, Call, CodeBlock, Direction, Event, EventTime, Script};
use crate::script::python::Interpreter;
use crate::script::{Config, shell};

/// Virtual time at a script's start; before that nothing has happened for a while.
const START: Instant = Instant::from_secs(10_000);
/// How long `*` waits.
const PATIENCE: Duration = Duration::from_secs(1_000);
/// The longest that a script may last.
const MAX_TIME: Duration = Duration::from_secs(1_000_000_000);
/// Timers that may fire in one script.
const MAX_STEPS: u32 = 1_000_000;
/// How late, in percent of its time, a timer of the host's may be.
#[cfg(target_os = "linux")]
const KERNEL_PERCENT: f64 = 13.0;
/// Turns of sending and asking at one instant.
const MAX_TURNS: u32 = 100_000;
/// Packets that may wait to be expected.
const MAX_UNSEEN: usize = 10_000;

/// How a script is run.
pub struct Options<'a> {
    /// Whose behaviour the stack has.
    pub profile: Profile,
    /// The command line's options, under the script's own.
    pub config: Config,
    /// Reads a set-up script by its path as the script writes it.
    pub read: &'a dyn Fn(&str) -> Option<String>,
    /// Packets that the script does not expect are no failure once it has expected its last: the original never
    /// looks at those.
    pub allow_trailing: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { profile: Profile::Linux, config: Config::default(), read: &|_| None, allow_trailing: false }
    }
}

/// A script that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many events it has.
    pub events: usize,
    /// Virtual time that passed.
    pub elapsed: Duration,
    /// What its code printed.
    pub printed: Vec<String>,
    /// All that happened.
    pub ladder: Vec<Rung>,
    /// Mismatches that `--non_fatal` lets pass.
    pub warnings: Vec<Failure>,
}

/// Runs a script.
pub fn run(script: &Script, options: &Options<'_>) -> Result<Report, Box<Failure>> {
    let mut runner = Runner::bare(script, options)?;
    runner.set_up()?;
    runner.run()
}

/// Runs a script on the host's own TCP, in real time; its interface must have the configuration's local address, and
/// the route to the remote. `tolerance` is the least that is allowed for time.
#[cfg(target_os = "linux")]
pub fn run_on_kernel<'a>(
    script: &'a Script,
    options: &Options<'a>,
    link: &'a mut dyn Link,
    tolerance: Duration,
) -> Result<Report, Box<Failure>> {
    let mut runner = Runner::bare(script, options)?;
    runner.kernel = Some(Kernel::new(link));
    runner.config.tolerance = runner.config.tolerance.max(tolerance);
    // A kernel's timers are coarser the further away they are.
    runner.config.tolerance_percent = runner.config.tolerance_percent.max(KERNEL_PERCENT);
    runner.set_up()?;
    runner.run()
}

/// A packet that the stack sent and the script has not expected yet.
pub(super) struct Sent {
    pub at: Instant,
    pub seen: Seen,
}

/// When an event is due, since the script's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub from: Duration,
    pub to: Duration,
    /// One instant; a range and `*` end when what they wait for comes.
    pub exact: bool,
    pub any: bool,
}

/// One run.
pub(super) struct Runner<'a> {
    pub script: &'a Script,
    pub config: Config,
    pub profile: Profile,
    pub stack: Stack,
    pub interface: InterfaceId,
    pub now: Instant,
    pub sent: VecDeque<Sent>,
    pub flows: Flows,
    pub descriptors: Descriptors,
    pub setup: Setup,
    pending: Option<Pending>,
    interpreter: Interpreter,
    printed: Vec<String>,
    ladder: Vec<Rung>,
    warnings: Vec<Failure>,
    /// The event at hand.
    pub index: usize,
    /// Its time, from which the next one's counts.
    base: Duration,
    last_expected: usize,
    allow_trailing: bool,
    steps: u32,
    read: &'a dyn Fn(&str) -> Option<String>,
    /// The host's TCP, in place of `stack`.
    #[cfg(target_os = "linux")]
    pub kernel: Option<Kernel<'a>>,
}

pub(super) type Step<T> = Result<T, Box<Failure>>;

impl<'a> Runner<'a> {
    fn bare(script: &'a Script, options: &Options<'a>) -> Step<Runner<'a>> {
        let fail =
            |line: u32, what: String| Failure::new(&script.source, line, Duration::ZERO, what, Vec::new());
        let config = script.config(&options.config).map_err(|error| {
            fail(error.line, format!("found {}, expected {}", error.found, error.expected))
        })?;
        if config.udp_encaps.is_some() {
            return Err(fail(1, "--udp_encaps: this stack has no TCP in UDP".to_owned()));
        }
        let mtu = match config.mtu {
            0 => 1500,
            mtu => u16::try_from(mtu).map_err(|_| fail(1, format!("an MTU of {mtu}")))?,
        };
        let mut settings = sockeye_core::Config::new(options.profile);
        if options.profile == sockeye_core::Profile::Linux {
            // A kernel does not search for a black hole unless it is told to.
            settings.mtu_probing = sockeye_core::config::MtuProbing::Off;
        }
        let mut stack = Stack::new(settings, [0x5e; 32]);
        let prefix = if config.is_v6() { 64 } else { 16 };
        let addresses = vec![Cidr::new(config.local(), prefix)];
        let mut tun = Interface::new("tun0", mtu, addresses);
        // A burst is cut into segments on its way out, as a kernel's is.
        tun.gso_max = 65_535;
        let interface = stack.add_interface(tun);
        let last_expected = script.events.iter().rposition(is_expectation).unwrap_or(0);
        Ok(Runner {
            flows: Flows::new(config.local(), config.remote(), config.bind_port),
            descriptors: Descriptors::new(),
            setup: Setup::default(),
            script,
            config,
            profile: options.profile,
            stack,
            interface,
            now: START,
            sent: VecDeque::new(),
            pending: None,
            interpreter: Interpreter::new(),
            printed: Vec::new(),
            ladder: Vec::new(),
            warnings: Vec::new(),
            index: 0,
            base: Duration::ZERO,
            last_expected,
            allow_trailing: options.allow_trailing,
            steps: 0,
            read: options.read,
            #[cfg(target_os = "linux")]
            kernel: None,
        })
    }

    /// What comes before the first event.
    fn set_up(&mut self) -> Step<()> {
        self.add_default_route();
        for path in self.config.init_scripts.clone() {
            self.settings(&[shell::Setting::Script { path }], 1)?;
        }
        for command in &self.script.init {
            let (line, _) = self.script.source.position(command.span.start);
            self.settings(&command.settings, line)?;
        }
        self.check_settings_at_the_end()
    }

    fn run(mut self) -> Step<Report> {
        #[cfg(target_os = "linux")]
        if let Some(kernel) = &mut self.kernel {
            kernel.restart();
        }
        for (index, event) in self.script.events.iter().enumerate() {
            self.index = index;
            if let Err(failure) = self.event(event) {
                if !self.forgives(event) {
                    return Err(failure);
                }
                self.base = self.elapsed();
                self.warnings.push(*failure);
            }
        }
        self.finish()
    }

    /// What runs after the script must be understood too, though the stack is gone by then.
    fn check_settings_at_the_end(&self) -> Step<()> {
        for command in &self.script.cleanup {
            if let Err(refused) = shell::resolve(&command.settings, self.read) {
                let (line, _) = self.script.source.position(command.span.start);
                return Err(
                    self.fail_at(line, format!("'{}' is refused: {}", refused.command, refused.expected))
                );
            }
        }
        Ok(())
    }

    /// Does what settings say.
    pub fn settings(&mut self, settings: &[shell::Setting], line: u32) -> Step<()> {
        let settings = shell::resolve(settings, self.read).map_err(|refused| {
            self.fail_at(line, format!("'{}' is refused: expected {}", refused.command, refused.expected))
        })?;
        for setting in &settings {
            if let shell::Setting::Sleep(time) = setting {
                self.advance_to(self.now + *time)?;
            } else if let Err(what) = self.apply(setting) {
                return Err(self.fail_at(line, what));
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &'a Event) -> Step<()> {
        let due = self.due(event)?;
        self.base = match &event.action {
            Action::Packet(packet) if packet.direction == Direction::Outbound => {
                let at = self.expect(packet, due)?;
                // A host's lateness must not add up.
                if due.exact && !self.is_real_time() { due.from } else { at.max(due.from) }
            }
            action => {
                if !due.any {
                    self.advance_to(START + due.from)?;
                }
                match action {
                    Action::Packet(packet) => self.inject(packet)?,
                    Action::Call(call) => self.call_event(call, due)?,
                    Action::Shell(command) => self.settings(&command.settings, event.line)?,
                    Action::Code(code) => self.code(code)?,
                }
                self.settle()?;
                if due.any { self.now.since(START) } else { due.from }
            }
        };
        Ok(())
    }

    /// Whether the other party is the host's TCP.
    fn is_real_time(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.kernel.is_some();
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// Whether `--non_fatal` makes a failure of this event a warning.
    fn forgives(&self, event: &Event) -> bool {
        let kind = match &event.action {
            Action::Packet(_) => "packet",
            Action::Call(_) => "syscall",
            Action::Shell(_) | Action::Code(_) => return false,
        };
        self.config.non_fatal.iter().any(|what| what == kind)
    }

    /// When an event is due. Scripts start with their first event.
    fn due(&self, event: &Event) -> Step<Due> {
        let first = match self.script.events.first().map(|first| first.time) {
            Some(EventTime::Absolute(at) | EventTime::AbsoluteRange(at, _)) => at,
            _ => Duration::ZERO,
        };
        // An absolute time before the first event's is one before all others.
        let since = |at: Duration| at.checked_sub(first);
        let times = match event.time {
            EventTime::Any => {
                let now = self.now.since(START);
                return Ok(Due { from: now, to: now + PATIENCE, exact: false, any: true });
            }
            EventTime::Absolute(at) => since(at).map(|at| (at, at, true)),
            EventTime::AbsoluteRange(from, to) => {
                since(from).zip(since(to)).map(|(from, to)| (from, to, false))
            }
            EventTime::Relative(at) => Some((self.base + at, self.base + at, true)),
            EventTime::RelativeRange(from, to) => Some((self.base + from, self.base + to, false)),
        };
        let Some((from, to, exact)) = times.filter(|&(from, ..)| from >= self.base) else {
            return Err(self.fail(format!("the time {} lies before the event above", event.time)));
        };
        if to > MAX_TIME {
            return Err(self.fail(format!("more than {} seconds of virtual time", MAX_TIME.as_secs())));
        }
        Ok(Due { from, to, exact, any: false })
    }

    /// How far from its time something may happen that is due at `due`.
    pub fn tolerance(&self, due: &Due) -> Duration {
        let since = due.from.saturating_sub(self.base);
        self.config.tolerance.max(since.mul_f64(self.config.tolerance_percent / 100.0))
    }

    /// How far from its end a call may return.
    pub fn tolerance_of_call(&self, end: Instant) -> Duration {
        let whole = if self.is_real_time() { end.since(START) } else { Duration::ZERO };
        self.config.tolerance.max(whole.mul_f64(self.config.tolerance_percent / 100.0))
    }

    /// Lets time pass up to `to`; what is due before that happens, what is due then not yet.
    pub fn advance_to(&mut self, to: Instant) -> Step<()> {
        self.settle()?;
        while let Some(at) = self.next_deadline().filter(|&at| at < to) {
            self.fire(at)?;
        }
        #[cfg(target_os = "linux")]
        if self.kernel.is_some() {
            self.listen_until(to)?;
        }
        self.now = self.now.max(to);
        self.settle()
    }

    /// When something happens by itself: a timer of the stack, the end of a call's patience.
    fn next_deadline(&self) -> Option<Instant> {
        #[cfg(target_os = "linux")]
        if self.kernel.is_some() {
            // The host does not tell: it is looked at again and again.
            return Some(self.now + Duration::from_millis(1));
        }
        let stack = self.stack.next_deadline();
        let call = self.pending.as_ref().and_then(|pending| pending.deadline());
        [stack, call].into_iter().flatten().min()
    }

    fn fire(&mut self, at: Instant) -> Step<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(self.fail(format!("more than {MAX_STEPS} timers have fired")));
        }
        #[cfg(target_os = "linux")]
        if self.kernel.is_some() {
            self.listen_until(at)?;
            return self.settle();
        }
        self.now = self.now.max(at);
        self.stack.advance(self.now);
        self.settle()
    }

    /// Takes what the stack has to send, and lets a waiting call see what has changed.
    pub fn settle(&mut self) -> Step<()> {
        #[cfg(target_os = "linux")]
        if self.kernel.is_some() {
            self.listen_until(self.now)?;
        }
        for _ in 0..MAX_TURNS {
            let mut out = Vec::new();
            while self.stack.wants_transmit() {
                if self.stack.transmit(self.now, &mut out, 64) == 0 {
                    break;
                }
            }
            for (_, packet) in out {
                if self.setup.drops {
                    continue;
                }
                for segment in gso::segment(packet, ChecksumMode::Complete) {
                    self.record(&segment.to_vec())?;
                }
            }
            self.descriptors.take_events(&mut self.stack);
            let Some(mut pending) = self.pending.take() else { return Ok(()) };
            let changed = self.poll_pending(&mut pending)?;
            let done = pending.is_done();
            self.pending = (!done).then_some(pending);
            if !changed && !self.stack.wants_transmit() {
                return Ok(());
            }
        }
        Err(self.fail("the stack wants to send and does not".to_owned()))
    }

    /// Takes what the host's TCP sends until then.
    #[cfg(target_os = "linux")]
    fn listen_until(&mut self, until: Instant) -> Step<()> {
        let until = until.since(START);
        while let Some(kernel) = &mut self.kernel {
            let received = kernel.receive(until);
            self.now = self.now.max(START + kernel.elapsed());
            match received {
                Ok(Some(packet)) => self.record(&packet)?,
                Ok(None) => break,
                Err(error) => return Err(self.fail(format!("the interface: {error}"))),
            }
        }
        Ok(())
    }

    fn record(&mut self, bytes: &[u8]) -> Step<()> {
        let seen = decode(bytes).map_err(|what| self.fail(format!("the stack sent {what}")))?;
        if self.sent.len() >= MAX_UNSEEN {
            return Err(self.fail(format!("more than {MAX_UNSEEN} packets that nobody expects")));
        }
        self.sent.push_back(Sent { at: self.now, seen });
        Ok(())
    }

    /// The next packet of the stack, if one comes until `limit`.
    pub fn next_sent(&mut self, limit: Instant) -> Step<Option<Sent>> {
        self.settle()?;
        while self.sent.is_empty() {
            match self.next_deadline().filter(|&at| at <= limit) {
                Some(at) => self.fire(at)?,
                None => return Ok(None),
            }
        }
        Ok(self.sent.pop_front())
    }

    /// Begins a call. One that may wait goes on beside the events that follow, until the next call.
    fn call_event(&mut self, call: &'a Call, due: Due) -> Step<()> {
        self.wait_for_call()?;
        let line = self.line();
        let limit = match call.end {
            None => due.from,
            // The end is on the clock of the event's own time.
            Some(end) => {
                let start = match self.script.events[self.index].time {
                    EventTime::Absolute(at) | EventTime::Relative(at) => at,
                    _ => end,
                };
                due.from + end.saturating_sub(start)
            }
        };
        let pending = self.begin_call(call, line, START + limit)?;
        self.pending = Some(pending);
        self.settle()?;
        if call.end.is_none() {
            self.wait_for_call()?;
        }
        Ok(())
    }

    /// Lets time pass until the call that is under way returns, or is late.
    fn wait_for_call(&mut self) -> Step<()> {
        self.settle()?;
        while let Some(pending) = &self.pending {
            let limit = pending.limit() + self.tolerance_of_call(pending.limit());
            match self.next_deadline().filter(|&at| at <= limit) {
                Some(at) => self.fire(at)?,
                None => {
                    let what = format!("'{}' has not returned when it should", pending.call());
                    let line = pending.line();
                    self.pending = None;
                    return Err(self.fail_at(line, what));
                }
            }
        }
        Ok(())
    }

    fn code(&mut self, code: &CodeBlock) -> Step<()> {
        #[cfg(target_os = "linux")]
        if self.kernel.is_some() {
            let ends = self.flows.current().map(|flow| flow.ends);
            let shown = ends.and_then(|ends| HostInfo::ask(&ends).ok().flatten());
            return self.run_code(code, shown.is_some(), &|name| shown.as_ref()?.value(name));
        }
        let socket = self.socket_under_test();
        let shown = socket.and_then(|id| self.stack.tcp_info(self.now, id).ok());
        self.run_code(code, shown.is_some(), &|name| info::value(shown.as_ref()?, name))
    }

    fn run_code(
        &mut self,
        code: &CodeBlock,
        connected: bool,
        info: &dyn Fn(&str) -> Option<i128>,
    ) -> Step<()> {
        match self.interpreter.run(&code.program, info) {
            Ok(lines) => {
                self.printed.extend(lines);
                Ok(())
            }
            Err(error) => {
                let line = self.line() + error.line;
                let what = match connected {
                    false => format!("{error}; there is no connection whose statistics could be asked"),
                    true => error.to_string(),
                };
                Err(self.fail_at(line, what))
            }
        }
    }

    fn finish(mut self) -> Step<Report> {
        self.wait_for_call()?;
        let last = START + self.base;
        let over = self.allow_trailing && self.index >= self.last_expected;
        if let Some(extra) = self.sent.iter().find(|sent| !over && sent.at < last) {
            let at = extra.at.since(START);
            let what = format!("a packet that the script does not expect: {}", self.shown(&extra.seen));
            let mut failure = self.fail(what);
            failure.at = at;
            return Err(failure);
        }
        Ok(Report {
            events: self.script.events.len(),
            elapsed: self.now.since(START),
            printed: self.printed,
            ladder: self.ladder,
            warnings: self.warnings,
        })
    }

    /// The line of the event at hand.
    pub fn line(&self) -> u32 {
        self.script.events.get(self.index).map_or(1, |event| event.line)
    }

    /// Since the script's start.
    pub fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    /// When the script's time `at` is.
    pub fn instant(&self, at: Duration) -> Instant {
        START + at
    }

    /// Notes what happened.
    pub fn note(&mut self, at: Instant, line: Option<u32>, what: String) {
        self.ladder.push(Rung { at: at.since(START), line, what });
    }

    /// A failure of the event at hand.
    pub fn fail(&self, what: String) -> Box<Failure> {
        self.fail_at(self.line(), what)
    }

    pub fn fail_at(&self, line: u32, what: String) -> Box<Failure> {
        let mut ladder = self.ladder.clone();
        for sent in &self.sent {
            ladder.push(Rung { at: sent.at.since(START), line: None, what: self.shown(&sent.seen) });
        }
        ladder.sort_by_key(|rung| rung.at);
        Failure::new(&self.script.source, line, self.elapsed(), what, ladder)
    }
}

fn is_expectation(event: &Event) -> bool {
    matches!(&event.action, Action::Packet(packet) if packet.direction == Direction::Outbound)
}
