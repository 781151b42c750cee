//! What `sockeye run` says at the end.

use serde_json::json;
use sockeye::run::{Closed, Network, Report};

use crate::out::Out;

/// Connections that are told of one by one.
const LINES: usize = 12;

pub struct Summary {
    report: Report,
    drops: u64,
    /// Segments that the far side sent again, toward the program.
    far: u64,
    addresses: Vec<String>,
}

impl Summary {
    pub fn new(report: &Report, network: &Network) -> Summary {
        let drops = network.host().stats().ip_out_discards;
        let far = network.far_stats().retrans_segs;
        let addresses = network.addresses().iter().map(ToString::to_string).collect();
        Summary { report: report.clone(), drops, far, addresses }
    }

    pub fn tell(&self, out: &Out, reset: usize) {
        let report = &self.report;
        let mut json = report.to_json();
        json["event"] = json!("summary");
        json["reset_at_the_end"] = json!(reset);
        json["far_retransmissions"] = json!(self.far);
        json["packets_dropped"] = json!(self.drops);
        json["addresses"] = json!(self.addresses);
        out.record(&json);
        if report.connections == 0 {
            let sockets = match report.sockets {
                0 => "no TCP socket".to_owned(),
                1 => "1 TCP socket, no connection".to_owned(),
                n => format!("{n} TCP sockets, no connection"),
            };
            return out.say(&format!("sockeye: {sockets}"));
        }
        out.say(&format!(
            "sockeye: {}, {} sent, {} received; sent again: {} by the program, {} by the far side{}",
            count(report.connections, "connection"),
            bytes(report.sent),
            bytes(report.received),
            count(report.retransmissions, "segment"),
            self.far,
            if report.failed > 0 { format!(", {} failed", report.failed) } else { String::new() }
        ));
        for closed in report.closed.iter().take(LINES) {
            out.say(&line(closed));
        }
        let rest = report.connections.saturating_sub(LINES as u64);
        if rest > 0 {
            out.say(&format!("  and {rest} more"));
        }
        if reset > 0 {
            out.say(&format!(
                "  {} had not come to an end and were reset",
                count(reset as u64, "connection")
            ));
        }
    }
}

fn line(closed: &Closed) -> String {
    let arrow = if closed.accepted { "<-" } else { "->" };
    let (local, peer) = (closed.local().to_string(), closed.peer().to_string());
    let mut line = match closed.local().port() {
        0 => format!("  {arrow} {peer}  {}", closed.ending),
        _ => format!("  {local} {arrow} {peer}  {}", closed.ending),
    };
    if closed.sent + closed.received > 0 {
        line += &format!(
            "; {} sent, {} received in {}",
            bytes(closed.sent),
            bytes(closed.received),
            seconds(closed.seconds)
        );
    }
    if closed.retransmissions > 0 {
        line += &format!(", {} sent again", count(closed.retransmissions, "segment"));
    }
    line
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn bytes(n: u64) -> String {
    indicatif::DecimalBytes(n).to_string()
}

fn seconds(n: f64) -> String {
    if n < 1.0 { format!("{:.0} ms", n * 1e3) } else { format!("{n:.1} s") }
}
