//! Samples taken in turn, and what is said of them.

use serde_json::{Value, json};

/// Takes one sample.
pub type Sampler = Box<dyn FnMut() -> f64>;
/// Sets a case up and warms it up.
pub type Maker = Box<dyn Fn() -> Sampler>;

/// One line of the report.
pub struct Case {
    /// The bench it belongs to.
    pub bench: &'static str,
    /// What varies.
    pub name: String,
    /// The unit of its samples.
    pub unit: &'static str,
    /// Less is better.
    pub less: bool,
    /// Sockeye's samples.
    pub ours: Option<Maker>,
    /// smoltcp's.
    pub theirs: Option<Maker>,
}

/// What a case came to.
pub struct Row {
    bench: &'static str,
    name: String,
    unit: &'static str,
    less: bool,
    ours: Option<Spread>,
    theirs: Option<Spread>,
}

/// The median of samples, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least sample.
    pub min: f64,
    /// The greatest sample.
    pub max: f64,
}

impl Spread {
    /// Of samples; `None` of none.
    pub fn of(samples: &[f64]) -> Option<Spread> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = (*sorted.get(sorted.len() / 2)? + sorted[(sorted.len() - 1) / 2]) / 2.0;
        Some(Spread { median, min: sorted[0], max: sorted[sorted.len() - 1] })
    }

    fn json(&self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl Case {
    /// Takes `repeats` samples of each side in turn.
    pub fn run(self, repeats: usize) -> Row {
        let mut ours = self.ours.map(|make| make());
        let mut theirs = self.theirs.map(|make| make());
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..repeats {
            a.extend(ours.as_mut().map(|sample| sample()));
            b.extend(theirs.as_mut().map(|sample| sample()));
        }
        Row {
            bench: self.bench,
            name: self.name,
            unit: self.unit,
            less: self.less,
            ours: Spread::of(&a),
            theirs: Spread::of(&b),
        }
    }
}

impl Row {
    /// How many times better Sockeye is; above 1 is better whichever way the unit goes.
    pub fn ratio(&self) -> Option<f64> {
        let (ours, theirs) = (self.ours?.median, self.theirs?.median);
        Some(if self.less { theirs / ours } else { ours / theirs })
    }

    /// The heading of [`Row::line`].
    pub fn heading() -> String {
        format!(
            "{:<9} {:<34} {:<14} {:>11} {:>8} {:>11} {:>8} {:>7}",
            "bench", "case", "unit", "sockeye", "spread", "smoltcp", "spread", "ratio"
        )
    }

    /// As a line of the table.
    pub fn line(&self) -> String {
        let figure = |side: &Option<Spread>| match side {
            Some(s) => {
                let spread = format!("{:.0} %", (s.max - s.min) / s.median * 100.0);
                format!("{:>11} {spread:>8}", number(s.median))
            }
            None => format!("{:>11} {:>8}", "-", "-"),
        };
        let ratio = self.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let (ours, theirs) = (figure(&self.ours), figure(&self.theirs));
        format!("{:<9} {:<34} {:<14} {ours} {theirs} {ratio:>7}", self.bench, self.name, self.unit)
    }

    /// As an object.
    pub fn json(&self) -> Value {
        json!({
            "bench": self.bench,
            "case": self.name,
            "unit": self.unit,
            "better": if self.less { "less" } else { "more" },
            "sockeye": self.ours.map(|s| s.json()),
            "smoltcp": self.theirs.map(|s| s.json()),
            "ratio": self.ratio(),
        })
    }
}

fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(Spread::of(&[4.0, 1.0, 3.0, 2.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(number(1_234_567.4), "1,234,567");
        assert_eq!(number(99.994), "99.99");
        assert_eq!(number(999.6), "1,000");
    }
}
