use super::fails;

/// Line, column, found, expected.
fn at(text: &str) -> (u32, u32, String, String) {
    let error = fails(text);
    (error.line, error.column, error.found, error.expected)
}

#[track_caller]
fn expect(text: &str, line: u32, column: u32, found: &str, expected: &str) {
    let error = at(text);
    assert_eq!((error.0, error.1), (line, column), "{error:?}");
    assert!(error.2.contains(found), "found: {error:?}");
    assert!(error.3.contains(expected), "expected: {error:?}");
}

#[test]
fn an_error_says_where_what_and_what_instead() {
    let text = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 >\tX 0:0(0)\n";
    let shown = fails(text).to_string();
    let expected = "t.pkt:2:6: found 'X' in 'X', expected control bits, some of FSRP.UEWA or a digit for the three \
                    ECN bits, or '-'\n 2 | +0 >\tX 0:0(0)\n   |     \t^";
    assert_eq!(shown, expected);
}

#[test]
fn columns_count_characters() {
    expect("0 write(3, \"\u{e4}\u{f6}\", NOPE) = 0", 1, 18, "'NOPE'", "constant");
}

#[test]
fn structure() {
    expect("", 1, 1, "end of the script", "an event");
    expect("--mtu=1500\n", 2, 1, "end of the script", "an event");
    expect("hello\n", 1, 1, "'hello'", "the time of an event");
    expect("0\n", 2, 1, "end of the script", "a packet");
    expect("0 = 3", 1, 3, "'='", "a packet");
    expect("0 close(3) = 0\n`sysctl a=1`\n1 close(4) = 0", 3, 1, "the number 1", "end of the script");
    expect("0 close(3) = 0 /* open", 1, 16, "comment", "*/");
    expect("0 `sysctl a=1", 1, 3, "'`'", "'`'");
    expect("0 %{ assert 1", 1, 3, "'%{'", "'}%'");
    expect("0 \u{e4}", 1, 3, "'\u{e4}'", "token");
}

#[test]
fn times() {
    expect("+x close(3) = 0", 1, 2, "'x'", "seconds after '+'");
    expect("0.2~0.1 close(3) = 0", 1, 1, "ends before it starts", "earlier time first");
    expect("0.2~+0.3 close(3) = 0", 1, 1, "absolute", "one kind");
    expect("0x10 close(3) = 0", 1, 1, "number 0x10", "time");
    expect("99999999999 close(3) = 0", 1, 1, "99999999999", "up to");
}

#[test]
fn options() {
    expect("--=3\n0 close(3) = 0", 1, 3, "'--'", "name of an option");
    expect("--mtu=\n0 close(3) = 0", 1, 7, "nothing", "a value");
    expect("-D NAME\n0 close(3) = 0", 1, 1, "NAME", "NAME=VALUE");
}

#[test]
fn calls() {
    expect("0 close(3)", 1, 11, "end of the script", "'=' and what the call returns");
    expect("0 close(3 = 0", 1, 11, "'='", "',' or ')'");
    expect("0 close 3", 1, 9, "number 3", "'('");
    expect("0 close(3) = -1 ENOSUCH", 1, 17, "'ENOSUCH'", "name of an error");
    expect("0 close(3) = -1 EBADF (never\nends)", 1, 23, "'('", "')'");
    expect("0 connect(3, {sin_port=htonx(1)}, 1) = 0", 1, 24, "'htonx'", "htons");
    expect("0 write(3, \"abc, 3) = 3\n", 1, 12, "string that never ends", "'\"'");
    expect("0 setsockopt(3, SOL_TCP, TCP_NOSUCH, [1], 4) = 0", 1, 26, "'TCP_NOSUCH'", "constant");
}

#[test]
fn packets() {
    expect("0 > SS 0:0(0)", 1, 6, "'S' in 'SS'", "control bits");
    expect("0 > P5E. 0:0(0) ack 1", 1, 5, "same bits", "control bits");
    expect("0 > P55. 0:0(0) ack 1", 1, 7, "'5'", "control bits");
    expect("0 > S 0:0", 1, 10, "end of the script", "'('");
    expect("0 > . 1:1001(999) ack 1", 1, 7, "1:1001(999)", "(1000)");
    expect("0 > . 0:70000(70000) ack 1", 1, 7, "0", "65535");
    expect("0 < S 0:0(0)", 1, 5, "without a window", "win");
    expect("0 < . 1:1(0) ack 1 win 70000", 1, 24, "70000", "up to 65535");
    expect("0 < S 0:0(0) win 1 <...>", 1, 21, "'...'", "options themselves");
    expect("0 < S 0:0(0) win 1 <mss 1460", 1, 29, "end of the script", "',' or '>'");
    expect("0 < S 0:0(0) win 1 <mp_capable>", 1, 21, "'mp_capable'", "TCP options");
    expect("0 > S 0:0(0) <wscale 7>", 1, 5, "3 bytes", "multiple of 4");
    expect("0 > S 0:0(0) <md5,md5,md5,nop,nop>", 1, 5, "56 bytes", "at most 40");
    expect("0 > S 0:0(0) <FO abc,nop>", 1, 18, "'abc'", "two for each byte");
    expect("0 > S 0:0(0) <md5 0011,nop>", 1, 19, "0011", "16 bytes");
    expect("0 < [ect01] S 0:0(0) win 1", 1, 6, "'ect01'", "injected");
    expect("0 > [ecn] S 0:0(0)", 1, 6, "'ecn'", "noecn");
    expect("0 > ipv4 2001::1 > 10.0.0.1: S 0:0(0)", 1, 10, "2001::1", "IPv4 address");
    expect("0 > ipv4 10.0.0.1 > 10.0.0.2 S 0:0(0)", 1, 30, "'S'", "':'");
    expect("0 > gre colour 3: S 0:0(0)", 1, 9, "'colour'", "flags, proto");
    expect("0 < icmp nonsense", 1, 10, "'nonsense'", "type of an ICMP");
    expect("0 < icmp unreachable nonsense", 1, 22, "'nonsense'", "code of ICMP unreachable");
    expect("0 < icmp unreachable net_unreachable [1:2(3)]", 1, 39, "1:2(3)", "(1)");
}

#[test]
fn nesting_has_an_end() {
    let deep = format!("0 close({}) = 0", "[".repeat(100_000));
    assert!(fails(&deep).found.contains("too deeply"));
    let deep = format!("0 close({}1) = 0", "-~".repeat(100_000));
    assert!(fails(&deep).found.contains("too deeply"));
    let long = format!("0 close({}1) = 0", "1|".repeat(100_000));
    assert!(fails(&long).found.contains("too many operators"));
    let code = format!("0 %{{ assert {}1 }}%", "1 + ".repeat(100_000));
    assert!(fails(&code).expected.contains("operators"));
    let code = format!("0 %{{ assert {}1 }}%", "not ".repeat(100_000));
    assert!(fails(&code).expected.contains("levels"));
}

#[test]
fn commands_and_code_are_refused_where_they_stand() {
    expect("0 `sysctl -q a=1; reboot now`", 1, 19, "reboot now", "sysctl");
    expect("0 `sysctl -q a=1\niptables -F`", 2, 1, "iptables -F", "sysctl");
    expect("0 %{\nassert a ==\n}%", 2, 12, "end of the line", "a value");
    expect("0 %{ import os }%", 1, 6, "'import'", "subset");
}
