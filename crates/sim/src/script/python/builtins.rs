//! The functions, methods and formats of the subset.

use std::cmp::Ordering;

use super::Op;
use super::eval::{Eval, MAX_LEN, Number, Value, binary, bounded, int, number, order, too_large, truth};

/// Calls a function by its name.
pub(super) fn call(name: &str, args: &[Value]) -> Eval<Value> {
    let wrong = || Err(format!("{name}() does not take {}", Value::List(args.to_vec())));
    match (name, args) {
        ("abs", [value]) => match number(value.clone())? {
            Number::Int(n) => n.checked_abs().map(Value::Int).ok_or_else(too_large),
            Number::Float(n) => Ok(Value::Float(n.abs())),
        },
        ("int", [Value::Str(text)]) => text.trim().parse().map(Value::Int).or_else(|_| wrong()),
        ("int", [value]) => match number(value.clone())? {
            Number::Int(n) => Ok(Value::Int(n)),
            Number::Float(n) => whole(n.trunc()),
        },
        ("float", [value]) => Ok(Value::Float(number(value.clone())?.float())),
        ("round", [value]) => match number(value.clone())? {
            Number::Int(n) => Ok(Value::Int(n)),
            Number::Float(n) => whole(n.round_ties_even()),
        },
        ("bool", [value]) => Ok(Value::Bool(truth(value))),
        ("str" | "repr", [value]) => Ok(Value::Str(value.to_string())),
        ("hex", [value]) => Ok(Value::Str(format!("{:#x}", int(value)?))),
        ("len", [Value::Str(text)]) => Ok(Value::Int(text.chars().count() as i128)),
        ("len", [Value::List(items)]) => Ok(Value::Int(items.len() as i128)),
        ("min" | "max" | "sum" | "sorted" | "list" | "tuple" | "any" | "all", [Value::List(items)]) => {
            of_sequence(name, items)
        }
        ("min" | "max", [_, _, ..]) => of_sequence(name, args),
        ("range" | "xrange", [_] | [_, _] | [_, _, _]) => range(args),
        _ if KNOWN.contains(&name) => wrong(),
        _ => Err(format!("name '{name}' is not defined")),
    }
}

const KNOWN: [&str; 18] = [
    "abs", "int", "float", "round", "bool", "str", "repr", "hex", "len", "min", "max", "sum", "sorted",
    "list", "tuple", "any", "all", "range",
];

fn whole(n: f64) -> Eval<Value> {
    if n.abs() < 1e30 { Ok(Value::Int(n as i128)) } else { Err(too_large()) }
}

fn of_sequence(name: &str, items: &[Value]) -> Eval<Value> {
    match name {
        "list" | "tuple" => Ok(Value::List(items.to_vec())),
        "any" => Ok(Value::Bool(items.iter().any(truth))),
        "all" => Ok(Value::Bool(items.iter().all(truth))),
        "sum" => items.iter().try_fold(Value::Int(0), |sum, item| binary(Op::Add, sum, item.clone())),
        _ => {
            let mut sorted = items.to_vec();
            if items.iter().any(|item| order(&items[0], item).is_none()) {
                return Err(format!("{name}() of values without an order"));
            }
            sorted.sort_by(|a, b| order(a, b).unwrap_or(Ordering::Equal));
            let pick = match name {
                "sorted" => return Ok(Value::List(sorted)),
                "min" => sorted.first(),
                _ => sorted.last(),
            };
            pick.cloned().ok_or_else(|| format!("{name}() of nothing"))
        }
    }
}

fn range(args: &[Value]) -> Eval<Value> {
    let numbers: Vec<i128> = args.iter().map(int).collect::<Eval<_>>()?;
    let (start, end, step) = match numbers[..] {
        [end] => (0, end, 1),
        [start, end] => (start, end, 1),
        [start, end, step, ..] if step != 0 => (start, end, step),
        _ => return Err("range() with a step of 0".to_owned()),
    };
    let mut items = Vec::new();
    let mut at = start;
    while if step > 0 { at < end } else { at > end } {
        if items.len() >= MAX_LEN {
            return Err("a range too long".to_owned());
        }
        items.push(Value::Int(at));
        at = at.checked_add(step).ok_or_else(too_large)?;
    }
    Ok(Value::List(items))
}

/// `text.format(...)`, the only method.
pub(super) fn method(of: &Value, name: &str, args: &[Value]) -> Eval<Value> {
    let (Value::Str(text), "format") = (of, name) else {
        return Err(format!("{of} has no method '{name}'"));
    };
    let mut out = String::new();
    let mut rest = text.as_str();
    let mut next = 0;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((inside, after)) = after.split_once('}') else {
            return Err("'{' without '}' in a format".to_owned());
        };
        let (which, format) = inside.split_once(':').unwrap_or((inside, ""));
        let at = which.parse().unwrap_or(next);
        next = at + 1;
        let value = args.get(at).ok_or("a format that needs more values")?;
        out.push_str(&formatted(value, format)?);
        rest = after;
    }
    out.push_str(rest);
    bounded(out).map(Value::Str)
}

/// `of[at]`.
pub(super) fn index(of: &Value, at: i128) -> Eval<Value> {
    let pick = |len: usize| {
        let at = if at < 0 { at + len as i128 } else { at };
        usize::try_from(at).ok().filter(|&at| at < len).ok_or_else(|| format!("there is no item {at}"))
    };
    match of {
        Value::List(items) => Ok(items[pick(items.len())?].clone()),
        Value::Str(text) => {
            let at = pick(text.chars().count())?;
            Ok(Value::Str(text.chars().skip(at).take(1).collect()))
        }
        other => Err(format!("{other} has no items")),
    }
}

/// `"%d of %s" % (a, b)`.
pub(super) fn percent(format: &str, values: &Value) -> Eval<String> {
    let single = [values.clone()];
    let mut values = match values {
        Value::List(items) => items.iter(),
        _ => single.iter(),
    };
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let len =
            rest.find(|c: char| c.is_ascii_alphabetic() || c == '%').ok_or("a format that ends in '%'")?;
        let spec = &rest[..=len];
        rest = &rest[len + 1..];
        if spec == "%" {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or("a format that needs more values")?;
        out.push_str(&formatted(value, spec)?);
    }
    if values.next().is_some() {
        return Err("a format that needs fewer values".to_owned());
    }
    out.push_str(rest);
    bounded(out)
}

/// A value under a format such as `d`, `x`, `08x`, `5.2f`, `-10s`.
pub(super) fn formatted(value: &Value, spec: &str) -> Eval<String> {
    let conversion = spec.chars().last().filter(char::is_ascii_alphabetic).unwrap_or('s');
    let spec = spec.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (left, spec) = match spec.strip_prefix(['-', '<']) {
        Some(spec) => (true, spec),
        None => (false, spec.trim_start_matches(['>', '+', ' ', '#'])),
    };
    let (width, precision) = spec.split_once('.').unwrap_or((spec, ""));
    let zero = width.starts_with('0');
    let small = |text: &str| match text {
        "" => Ok(None),
        text => {
            text.parse().ok().filter(|&n: &usize| n <= 1000).map(Some).ok_or(format!("the format '{spec}'"))
        }
    };
    let (width, precision) = (small(width)?.unwrap_or(0), small(precision)?);
    let text = match conversion {
        'd' | 'i' | 'u' => match number(value.clone())? {
            Number::Int(n) => n.to_string(),
            Number::Float(n) => format!("{:.0}", n.trunc()),
        },
        'x' => format!("{:x}", int(value)?),
        'X' => format!("{:X}", int(value)?),
        'o' => format!("{:o}", int(value)?),
        'b' => format!("{:b}", int(value)?),
        'e' => format!("{:e}", number(value.clone())?.float()),
        'f' | 'g' => format!("{:.*}", precision.unwrap_or(6), number(value.clone())?.float()),
        's' | 'r' => value.to_string(),
        other => return Err(format!("the format '%{other}' is not one of d i u x X o b e f g s r")),
    };
    Ok(match (left, zero) {
        (true, _) => format!("{text:<width$}"),
        (false, true) => format!("{text:0>width$}"),
        (false, false) => format!("{text:>width$}"),
    })
}
