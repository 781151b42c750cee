//! What each construct of the subset means, as Python defines it.

use proptest::prelude::*;

use super::{Interpreter, RunError, parse};

fn info(name: &str) -> Option<i128> {
    match name {
        "tcpi_snd_cwnd" => Some(10),
        "tcpi_options" => Some(0x27),
        "tcpi_ca_state" => Some(3),
        "tcpi_rto" => Some(204_000),
        _ => None,
    }
}

fn run(text: &str) -> Result<Vec<String>, RunError> {
    let program = parse(text).unwrap_or_else(|error| panic!("{error:?}"));
    Interpreter::new().run(&program, &info)
}

/// What `print` shows for an expression.
fn shown(expression: &str) -> String {
    run(&format!("print({expression})")).unwrap_or_else(|error| panic!("{error}")).join("\n")
}

fn message(text: &str) -> String {
    run(text).unwrap_err().message
}

#[test]
fn assertions_on_info() {
    assert_eq!(run("assert tcpi_snd_cwnd == 10"), Ok(vec![]));
    assert_eq!(run(" assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd "), Ok(vec![]));
    assert_eq!(run("assert tcpi_ca_state == TCP_CA_Recovery"), Ok(vec![]));
    assert_eq!(run("assert (tcpi_options & TCPI_OPT_SYN_DATA) != 0, tcpi_options"), Ok(vec![]));
    assert_eq!(run("assert 200000 <= tcpi_rto <= 210000 and not tcpi_snd_cwnd > 10"), Ok(vec![]));
    assert_eq!(
        message("assert tcpi_snd_cwnd == 11"),
        "assert tcpi_snd_cwnd == 11 failed: tcpi_snd_cwnd is 10"
    );
    assert_eq!(
        message("assert tcpi_ca_state == TCP_CA_Open, 'state %d' % tcpi_ca_state"),
        "assert tcpi_ca_state == TCP_CA_Open failed: tcpi_ca_state is 3 (state 3)"
    );
    assert_eq!(message("assert tcpi_nothing == 1"), "name 'tcpi_nothing' is not defined");
}

#[test]
fn a_failure_knows_its_line() {
    assert_eq!(run("\nassert 1\nassert 0\n").unwrap_err().line, 2);
    assert_eq!(run("if 1:\n  x = 1\n  assert x == 2").unwrap_err().line, 2);
}

#[test]
fn numbers() {
    assert_eq!(shown("2 + 3 * 4 - 1"), "13");
    assert_eq!(shown("(2 + 3) * 4"), "20");
    assert_eq!(shown("7 / 2"), "3.5");
    assert_eq!(shown("6 / 2"), "3.0");
    assert_eq!(shown("7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 % -3"), "3 -4 1 2 -2");
    assert_eq!(shown("2 ** 10, -2 ** 2, 2 ** -1"), "1024 -4 0.5");
    assert_eq!(shown("0x10 | 1, 6 & 3, 6 ^ 3, 1 << 10, 1024 >> 3, ~5"), "17 2 5 1024 128 -6");
    assert_eq!(shown("1.5 + 1, 1e3, .5, 10L, 1_000"), "2.5 1000.0 0.5 10 1000");
    assert_eq!(shown("1 == 1.0, 0.1 + 0.2 == 0.3, True + 1"), "True False 2");
    assert_eq!(message("print(1 / 0)"), "division by zero");
    assert_eq!(message("print(10 ** 100)"), "a number too large");
    assert_eq!(message("print(1 << 1000)"), "a shift out of range");
}

#[test]
fn logic_and_comparison() {
    assert_eq!(shown("1 < 2 < 3, 1 < 2 > 3, 1 != 2, not 1"), "True False True False");
    assert_eq!(shown("0 or 5, 0 and 5, 3 and 5, None or 'x'"), "5 0 5 x");
    assert_eq!(shown("2 in [1, 2], 2 not in (1, 2), 'b' in 'abc'"), "True False True");
    assert_eq!(shown("None is None, 1 is not None"), "True True");
    assert_eq!(shown("'yes' if tcpi_snd_cwnd > 5 else 'no'"), "yes");
    assert_eq!(shown("[1, 2] == [1, 2], (1, 3) > (1, 2), 'a' < 'b'"), "True True True");
    assert_eq!(message("print('a' < 1)"), "a and 1 have no order");
    // The right side is not looked at.
    assert_eq!(shown("1 or nothing, 0 and nothing"), "1 0");
}

#[test]
fn text() {
    assert_eq!(shown("'cwnd=%d of %s, %5.2f%%' % (10, 'x', 1.5)"), "cwnd=10 of x,  1.50%");
    assert_eq!(shown("'%x %08x %-4d|' % (255, 255, 7)"), "ff 000000ff 7   |");
    assert_eq!(shown("'{} {1} {0:x}'.format(255, 2)"), "255 2 ff");
    assert_eq!(shown("f'{tcpi_snd_cwnd} {tcpi_rto // 1000:5d} {{}} {1 + 1=}'"), "10   204 {} 1 + 1=2");
    assert_eq!(shown("'a' 'b' + \"c\" + str(4)"), "abc4");
    assert_eq!(shown(r"'it\'s\tx'"), "it's\tx");
    assert_eq!(shown("'''a\nb'''"), "a\nb");
    assert_eq!(message("print('%d %d' % 1)"), "a format that needs more values");
    assert_eq!(message("print('%d' % (1, 2))"), "a format that needs fewer values");
}

#[test]
fn functions() {
    assert_eq!(shown("abs(-3), int(3.9), int('12'), float(2), round(2.5), round(3.5)"), "3 3 12 2.0 2 4");
    assert_eq!(shown("min(3, 1), max([1, 5, 2]), sum([1, 2]), len('abc'), sorted([3, 1])"), "1 5 3 3 [1, 3]");
    assert_eq!(shown("any([0, 1]), all([0, 1]), bool(''), hex(255)"), "True False False 0xff");
    assert_eq!(shown("[1, 2, 3][-1], 'abc'[1], list(range(3)), range(5, 0, -2)"), "3 b [0, 1, 2] [5, 3, 1]");
    assert_eq!(message("open('x')"), "name 'open' is not defined");
    assert_eq!(message("abs(1, 2)"), "abs() does not take [1, 2]");
    assert_eq!(message("print([1][1])"), "there is no item 1");
}

#[test]
fn statements() {
    assert_eq!(run("a = b = 3; a += 1; print(a, b)"), Ok(vec!["4 3".to_owned()]));
    assert_eq!(run("a, b = 1, 2\na, b = b, a\nprint a, b"), Ok(vec!["2 1".to_owned()]));
    assert_eq!(run("print"), Ok(vec![String::new()]));
    assert_eq!(run("print 'x', 1 # said"), Ok(vec!["x 1".to_owned()]));
    let branches =
        "if tcpi_snd_cwnd < 5:\n  print(1)\nelif tcpi_snd_cwnd == 10:\n  print(2)\nelse:\n  print(3)\n";
    assert_eq!(run(branches), Ok(vec!["2".to_owned()]));
    let looped = "s = 0\nfor i in range(10):\n  if i == 2: continue\n  if i == 5: break\n  s += i\nwhile s > 7: s -= 1\nprint(s)";
    assert_eq!(run(looped), Ok(vec!["7".to_owned()]));
    assert_eq!(run("assert (1 ==\n   1), \\\n  'x'"), Ok(vec![]));
    assert_eq!(run("if 0: pass\nelse: print('x')"), Ok(vec!["x".to_owned()]));
}

#[test]
fn a_block_may_be_indented_as_a_whole() {
    assert_eq!(run("\n    assert 1\n    assert 2\n"), Ok(vec![]));
    assert_eq!(run(" assert 1\n      assert 2\n      assert 3\n"), Ok(vec![]));
    assert_eq!(run("if 1:\n      print(1)\n      print(2)\n").map(|lines| lines.len()), Ok(2));
    assert!(parse("\n  a = 1\n    b = 2\n").is_err());
    assert!(parse("\n  a = 1\n b = 2\n").is_err());
}

#[test]
fn variables_outlive_their_block() {
    let mut interpreter = Interpreter::new();
    interpreter.run(&parse("rto = tcpi_rto").unwrap(), &info).unwrap();
    assert_eq!(interpreter.run(&parse("assert rto == 204000").unwrap(), &|_| None), Ok(vec![]));
}

#[test]
fn the_rest_of_python_is_refused_by_name() {
    for (text, word) in [
        ("import os", "'import'"),
        ("def f(): pass", "'def'"),
        ("x = lambda: 1", "'lambda'"),
        ("try:\n  pass", "'try'"),
        ("x.y = 1", "'='"),
        ("5 = x", "the number 5"),
    ] {
        assert_eq!(parse(text).unwrap_err().found, word, "{text}");
    }
}

#[test]
fn nothing_runs_or_grows_for_ever() {
    assert!(message("while 1: pass").contains("steps"));
    assert!(message("a = 'x'\nwhile 1: a = a + a").contains("too long"));
    assert!(message("a = []\nwhile 1: a = [a]").contains("too deep"));
    assert!(message("a = [1]\nwhile 1: a = a + a").contains("too long"));
    assert!(message("for i in range(10 ** 12): pass").contains("too long"));
    assert!(message("print('%9999d' % 1)").contains("format"));
    assert!(parse(&"(".repeat(10_000)).is_err());
    assert!(parse(&"f'{".repeat(10_000)).is_err());
}

proptest! {
    #[test]
    fn arbitrary_code_never_panics(text in "(assert|print|if|for|in|not|x|=|==|:|\n|  |1|0.5|'a'|f'\\{|%|\\(|\\)|\\[|\\]|,|\\*\\*|//|-|range|\\.format|#|\\\\){0,30}") {
        if let Ok(program) = parse(&text) {
            let _ = Interpreter::new().run(&program, &info);
        }
    }

    #[test]
    fn arithmetic_is_that_of_whole_numbers(a in -1000i128..1000, b in 1i128..50) {
        prop_assert_eq!(shown(&format!("{a} // {b} * {b} + {a} % {b} == {a}")), "True");
        prop_assert_eq!(shown(&format!("{a} % {b}")), a.rem_euclid(b).to_string());
    }
}
