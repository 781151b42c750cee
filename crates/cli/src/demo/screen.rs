//! How the demo looks: headings, calls, the ladder of segments between the two columns of states; or lines of JSON.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sockeye::core::tcp::state::Event;
use sockeye::core::tcp::{State, Tuple};
use sockeye::core::trace::{Record, What};
use sockeye::core::{Instant, SocketId};
use sockeye::view::{Ladder, LadderOptions, Side, record_to_json};

use super::world::Role;
use crate::out::{Out, Stream};

/// Columns of the ladder beside those between the states: the time, both states, the reason.
const AROUND: usize = 56;

pub struct Screen {
    out: Out,
    colour: bool,
    ladder: Ladder,
}

impl Screen {
    pub fn new(json: bool) -> Self {
        let out = Out::new(Stream::Stdout, json);
        let colour = out.has_colour();
        let ladder =
            Ladder::new(LadderOptions { color: colour, width: ladder_width(), ..LadderOptions::default() });
        Screen { out, colour, ladder }
    }

    pub fn out(&self) -> &Out {
        &self.out
    }

    /// A new chapter.
    pub fn heading(&self, text: &str) {
        self.out.say(&format!("\n{}", self.paint("1", text)));
    }

    /// Something people should know.
    pub fn note(&self, text: &str) {
        self.out.event(&self.paint("2", &indented(text)), || json!({"event": "note", "text": text}));
    }

    /// Something both people and programs should know, each in their form.
    pub fn summary(&self, text: &str, event: Value) {
        self.out.event(&indented(text), || event);
    }

    /// A call as the program made it, with what came back.
    pub fn call(&self, at: Instant, role: Role, socket: Option<SocketId>, call: &str, result: &str) {
        let name =
            self.paint(if role == Role::Client { "1;36" } else { "1;33" }, &format!("{:>12}", role.name()));
        self.out.event(&format!("{:>12} {name}  {call} = {result}", at.to_string()), || {
            json!({"event": "call", "time": at.since(Instant::ZERO).as_secs_f64(), "side": role.name(),
                "call": call, "result": result, "socket": socket.map(SocketId::to_u64)})
        });
    }

    /// The heads of the ladder's columns.
    pub fn columns(&self) {
        let head = self.ladder.heading(Role::Client.name(), Role::Server.name());
        self.out.say(&self.paint("2", &head));
    }

    /// The rung that stands before the first segment: the server listens.
    pub fn listening(&mut self, at: Instant, server: SocketAddr, client: SocketAddr) {
        let what = What::State { from: State::Closed, to: State::Listen, why: Event::PassiveOpen };
        let tuple = Tuple { local: server, remote: client };
        self.record(Role::Server, &Record { at, socket: None, tuple, what });
    }

    /// A rung of the ladder: a segment, or a change of state.
    pub fn record(&mut self, role: Role, record: &Record) {
        if self.out.is_json() {
            let mut event = record_to_json(record);
            event["side"] = json!(role.name());
            self.out.record(&event);
            return;
        }
        let side = if role == Role::Client { Side::Left } else { Side::Right };
        if let Some(line) = self.ladder.line(side, record) {
            self.out.say(&line);
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Below the column of the times.
fn indented(text: &str) -> String {
    format!("{:>12} {text}", "")
}

/// What a terminal has room for between the columns of the states.
fn ladder_width() -> usize {
    let widest = LadderOptions::default().width;
    match console::Term::stdout().size_checked() {
        Some((_, columns)) => usize::from(columns).saturating_sub(AROUND).min(widest),
        None => widest,
    }
}
