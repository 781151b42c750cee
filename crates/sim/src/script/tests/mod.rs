//! Scripts written from the rules of the language, each construct to what it must mean.

mod calls;
mod errors;
mod packets;
mod shell;
mod whole;

use super::ast::{Action, Body, Call, Expr, Packet, Script, Tcp};
use super::{ScriptError, Source, parse};

fn script(text: &str) -> Script {
    match parse(Source::new("t.pkt", text), &[]) {
        Ok(script) => script,
        Err(error) => panic!("{error}\nin:\n{text}"),
    }
}

fn fails(text: &str) -> ScriptError {
    match parse(Source::new("t.pkt", text), &[]) {
        Ok(script) => panic!("parsed to {script:?}"),
        Err(error) => *error,
    }
}

/// The packet of a script's only event, `text` standing after its time.
fn packet(text: &str) -> Packet {
    let script = script(&format!("+0 {text}\n"));
    match script.events.as_slice() {
        [event] => match &event.action {
            Action::Packet(packet) => (**packet).clone(),
            other => panic!("{other:?}"),
        },
        events => panic!("{events:?}"),
    }
}

fn tcp(text: &str) -> Tcp {
    match packet(text).body {
        Body::Tcp(tcp) => tcp,
        other => panic!("{other:?}"),
    }
}

fn call(text: &str) -> Call {
    let script = script(&format!("+0 {text}\n"));
    match script.events.as_slice() {
        [event] => match &event.action {
            Action::Call(call) => call.clone(),
            other => panic!("{other:?}"),
        },
        events => panic!("{events:?}"),
    }
}

fn int(value: i64) -> Expr {
    Expr::Int { value, hex: false }
}

fn hex(value: i64) -> Expr {
    Expr::Int { value, hex: true }
}

fn symbol(name: &str) -> Expr {
    Expr::Symbol(name.to_owned())
}

fn or(a: Expr, b: Expr) -> Expr {
    Expr::Binary('|', Box::new(a), Box::new(b))
}
