//! The tables, and what they come to.

use serde_json::{Map, Value, json};
use sockeye_sim::flows::{RunResult, quantile};

use super::grid::linux_short;
use super::{Part, Row};
use crate::out::Out;

/// No point may be further below Linux.
const LEAST_RATIO: f64 = 0.95;

/// Why one point is no fair comparison.
const BBR_AND_LOSS: &str = "\nLinux's bbr is version 1, which does not look at loss. Version 3 takes a round trip that lost more than 2 %\n\
    for a sign that it is too fast and lets less be in flight: with 3 % loss it is meant to carry less, and a\n\
    little less where 1 % comes in bursts.";

/// Prints rows as they come, and sums them up.
pub struct Report<'a> {
    out: &'a Out,
    part: Option<Part>,
    /// Of each algorithm: the ratios to Linux, and where.
    ratios: Vec<(String, f64, String)>,
}

/// The middle, the least and the most.
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: &[f64]) -> Spread {
        Spread { median: quantile(values, 0.5), min: quantile(values, 0.0), max: quantile(values, 1.0) }
    }

    pub fn json(&self) -> Value {
        json!({"median": rounded(self.median), "min": rounded(self.min), "max": rounded(self.max)})
    }
}

/// Four places are more than the figures are worth.
pub fn rounded(n: f64) -> f64 {
    (n * 1e4).round() / 1e4
}

impl Report<'_> {
    pub fn new(out: &Out) -> Report<'_> {
        Report { out, part: None, ratios: Vec::new() }
    }

    pub fn row(&mut self, row: &Row, results: &[RunResult]) {
        if self.part != Some(row.part) {
            self.part = Some(row.part);
            self.heading(row.part);
        }
        match row.part {
            Part::Goodput => self.goodput(row, results),
            Part::Short => self.short(row, results),
            Part::Fairness => self.fairness(row, results),
        }
    }

    fn heading(&self, part: Part) {
        self.out.say(match part {
            Part::Goodput => {
                "\nGoodput of one flow, Mbit/s\n\
                 cc       median      (least to      most)   Linux  ratio  queue ms  retrans %  path"
            }
            Part::Short => {
                "\n100 KB over a fresh connection, ms from connect() to the last byte (Linux in brackets)\n\
                 cc       median           90 %             99 %               most  path"
            }
            Part::Fairness => {
                "\nFlows that share a link for 60 s, the first 15 s left out (3 s and 1 s where the queue marks)\n\
                 flows            Jain (worst)   first's share (least to most)   sum Mbit/s  queue ms  path"
            }
        });
    }

    fn goodput(&mut self, row: &Row, results: &[RunResult]) {
        let mbit: Vec<f64> =
            results.iter().map(|r| r.flows[0].received as f64 * 8e-6 / row.seconds as f64).collect();
        let again = results.iter().map(|r| {
            let info = &r.flows[0].info;
            f64::from(info.total_retrans) * 100.0 / f64::from(info.data_segs_out.max(1))
        });
        let again = Spread::of(&again.collect::<Vec<_>>());
        let (mbit, queue) = (Spread::of(&mbit), queue_ms(results));
        let ratio = row.linux.map(|linux| mbit.median / linux);
        if let Some(ratio) = ratio {
            self.ratios.push((row.name.clone(), ratio, row.link.clone()));
        }
        let text = |n: Option<f64>, places: usize| n.map_or("-".into(), |n| format!("{n:.places$}"));
        self.out.event(
            &format!(
                "{:6} {:8.2}  ({:8.2} to {:8.2})  {:>6}  {:>5}  {:8.2}  {:9.2}  {} for {} s",
                row.name,
                mbit.median,
                mbit.min,
                mbit.max,
                text(row.linux, 1),
                text(ratio, 2),
                queue.median,
                again.median,
                row.link,
                row.seconds
            ),
            || {
                object(
                    row,
                    [
                        ("mbit", mbit.json()),
                        ("linux_mbit", json!(row.linux)),
                        ("ratio", json!(ratio.map(rounded))),
                        ("queue_ms", queue.json()),
                        ("retransmitted_percent", again.json()),
                    ],
                )
            },
        );
    }

    fn short(&mut self, row: &Row, results: &[RunResult]) {
        // One that has not ended is as long as the run.
        let late = row.seconds as f64 * 1e3;
        let ms: Vec<f64> =
            results.iter().map(|r| r.flows[0].completed.map_or(late, |t| t.as_secs_f64() * 1e3)).collect();
        let [median, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|p| quantile(&ms, p));
        let linux = linux_short(row.link.contains("loss"), row.kind).unwrap_or_default();
        let beside = |n: f64, i: usize| {
            let linux = linux[i].map_or(String::new(), |l| format!("({l:.0})"));
            format!("{n:7.1} {linux:8}")
        };
        self.out.event(
            &format!(
                "{:6} {} {} {} {:8.1}  {}",
                row.name,
                beside(median, 0),
                beside(p90, 1),
                beside(p99, 2),
                most,
                row.link
            ),
            || {
                object(
                    row,
                    [
                        ("bytes", json!(super::SHORT_BYTES)),
                        ("median_ms", json!(rounded(median))),
                        ("p90_ms", json!(rounded(p90))),
                        ("p99_ms", json!(rounded(p99))),
                        ("max_ms", json!(rounded(most))),
                        ("linux_ms", json!({"median": linux[0], "p90": linux[1], "p99": linux[2]})),
                    ],
                )
            },
        );
    }

    fn fairness(&mut self, row: &Row, results: &[RunResult]) {
        let n = row.flows.len() as f64;
        let late = (row.seconds - row.warm_up) as f64;
        let jain: Vec<f64> = results.iter().map(RunResult::jain).collect();
        let all = |r: &RunResult| r.flows.iter().map(|f| f.received_late).sum::<u64>() as f64;
        let share = |r: &RunResult| r.flows[0].received_late as f64 * n / all(r).max(1.0);
        let share = Spread::of(&results.iter().map(share).collect::<Vec<_>>());
        let sum = Spread::of(&results.iter().map(|r| all(r) * 8e-6 / late).collect::<Vec<_>>());
        let (jain, queue) = (Spread::of(&jain), queue_ms(results));
        self.out.event(
            &format!(
                "{:15}  {:.3} ({:.3})   {:13.2} ({:5.2} to {:5.2})   {:10.1}  {:8.2}  {}",
                row.name,
                jain.median,
                jain.min,
                share.median,
                share.min,
                share.max,
                sum.median,
                queue.median,
                row.link
            ),
            || {
                object(
                    row,
                    [
                        ("jain", jain.json()),
                        ("first_share", share.json()),
                        ("sum_mbit", sum.json()),
                        ("queue_ms", queue.json()),
                    ],
                )
            },
        );
    }

    /// The bar: on the mean as good as Linux with the same algorithm, nowhere much worse.
    pub fn end(&self) {
        let mut names: Vec<&str> = self.ratios.iter().map(|(name, ..)| name.as_str()).collect();
        names.dedup();
        names.sort_unstable();
        names.dedup();
        if !names.is_empty() {
            self.out.say("\nBeside Linux with the same algorithm");
        }
        for name in names {
            let of_name: Vec<&(String, f64, String)> = self.ratios.iter().filter(|r| r.0 == name).collect();
            let mean = (of_name.iter().map(|r| r.1.ln()).sum::<f64>() / of_name.len() as f64).exp();
            let below: Vec<&str> =
                of_name.iter().filter(|r| r.1 < LEAST_RATIO).map(|r| r.2.as_str()).collect();
            let worst = of_name.iter().map(|r| r.1).fold(f64::INFINITY, f64::min);
            let tail = if below.is_empty() { String::new() } else { format!(": {}", below.join("; ")) };
            self.out.event(
                &format!(
                    "{name:6} geometric mean {mean:.2} of {} points, least {worst:.2}, {} below {LEAST_RATIO}{tail}",
                    of_name.len(), below.len()
                ),
                || {
                    json!({"bench": "loss", "part": "bar", "cc": name, "points": of_name.len(),
                        "geometric_mean": rounded(mean), "least": rounded(worst), "below": below})
                },
            );
        }
        if self.ratios.iter().any(|(name, _, link)| name == "bbr" && link.contains("loss=3%")) {
            self.out.say(BBR_AND_LOSS);
        }
    }
}

/// The median of each run's queue, over the runs.
fn queue_ms(results: &[RunResult]) -> Spread {
    Spread::of(&results.iter().map(|r| quantile(&r.queue_delays, 0.5) * 1e3).collect::<Vec<_>>())
}

fn object<const N: usize>(row: &Row, figures: [(&str, Value); N]) -> Value {
    let mut object = Map::new();
    let head = [
        ("bench", json!("loss")),
        ("part", json!(row.part.name())),
        ("cc", json!(row.name)),
        ("link", json!(row.link)),
        ("seconds", json!(row.seconds)),
        ("seeds", json!(row.seeds)),
    ];
    for (name, value) in head.into_iter().chain(figures) {
        object.insert(name.to_owned(), value);
    }
    Value::Object(object)
}
