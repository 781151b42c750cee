use std::time::Duration;

use proptest::prelude::*;

use super::super::ast::{Action, EventTime, Script, TcpOption};
use super::super::shell::Setting;
use super::super::{Config, IpVersion, Source, parse};
use super::{fails, script, tcp};

const SCRIPT: &str = "\
// A server: three segments in, their echo out.
--ip_version=ipv4-mapped-ipv6 --mtu=1400
--tolerance_usecs=10000
/* set up */
`../common/defaults.sh
sysctl -q net.ipv4.tcp_ecn=1`

    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0 # one

  +.1 < [noecn] SEW 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
   +0 > [noecn] SE. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 8>
 +.01 < . 1:1(0) ack 1 win 257
   +0...0.2 accept(3, ..., ...) = 4
   +0 %{
assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd
}%
 +.01 < [ect0] P. 1:1001(1000) ack 1 win 257 <nop,nop,sack 1:2 4294967295:3>
 +.04~+.05 > . 1:1(0) ack 1001
    * > P. 1:11(10) ack 1001 <...>
0.5~0.6 < icmp unreachable frag_needed mtu 1200 [1:11(10)]
   +0 `ip tcp_metrics flush all`
   +0 recvmsg(4, {msg_name(...)=..., msg_iov(2)=[{..., 10}, {\"a\\x00b\"..., 20}], msg_flags=~0|(1 + 2) * 3}, 0) = -1 EAGAIN (Try again)
`/tmp/sysctl_restore_${PPID}.sh`
";

#[test]
fn a_whole_script() {
    let s = script(SCRIPT);
    let names: Vec<&str> = s.options.iter().map(|option| option.name.as_str()).collect();
    assert_eq!(names, ["ip_version", "mtu", "tolerance_usecs"]);
    assert_eq!((s.init.len(), s.events.len(), s.cleanup.len()), (1, 15, 1));
    assert_eq!(s.init[0].settings.len(), 2);
    assert_eq!(s.cleanup[0].settings, [Setting::RestoreSysctls]);
    let lines: Vec<u32> = s.events.iter().map(|event| event.line).collect();
    assert_eq!(lines, [8, 9, 10, 11, 13, 14, 15, 16, 17, 20, 21, 22, 23, 24, 25]);
    assert_eq!(s.events[9].time, EventTime::Relative(Duration::from_millis(10)));

    let config = s.config(&Config::default()).unwrap();
    assert_eq!((config.ip_version, config.mtu), (IpVersion::V4MappedV6, 1400));
    assert_eq!(config.tolerance, Duration::from_millis(10));
    assert_eq!(config.local().to_string(), "192.168.0.1");
}

#[test]
fn each_form_of_time() {
    let time = |text: &str| script(&format!("{text} close(3) = 0")).events[0].time;
    let ms = Duration::from_millis;
    assert_eq!(time("0"), EventTime::Absolute(ms(0)));
    assert_eq!(time("1.25"), EventTime::Absolute(ms(1250)));
    assert_eq!(time(".5"), EventTime::Absolute(ms(500)));
    assert_eq!(time("+0"), EventTime::Relative(ms(0)));
    assert_eq!(time("+.1"), EventTime::Relative(ms(100)));
    assert_eq!(time("+0.000001"), EventTime::Relative(Duration::from_micros(1)));
    assert_eq!(time("0.000000001234"), EventTime::Absolute(Duration::from_nanos(1)));
    assert_eq!(time("1~2.5"), EventTime::AbsoluteRange(ms(1000), ms(2500)));
    assert_eq!(time("+.2~+.3"), EventTime::RelativeRange(ms(200), ms(300)));
    assert_eq!(time("+.2~.3"), EventTime::RelativeRange(ms(200), ms(300)));
    assert_eq!(time("*"), EventTime::Any);
}

#[test]
fn definitions_stand_for_a_word() {
    let text = "+0 > S 0:0(0) <FO COOKIE,nop,nop>\n+0 close(FD) = ERROR EBADF";
    let defines = [("COOKIE", "3021b9d889017eeb"), ("FD", "3"), ("ERROR", "TCP_CA_Loss")];
    let defines = defines.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let s = parse(Source::new("t", text), &defines).unwrap();
    assert!(s.to_string().contains("<FO 3021b9d889017eeb,nop,nop>"), "{s}");
    assert!(s.to_string().contains("close(3) = TCP_CA_Loss EBADF"), "{s}");
    // The script's own come on top.
    let s = parse(
        Source::new("t", format!("-D COOKIE=aabb --define=X=1\n{}", text.replace(",nop,nop", ""))),
        &defines,
    );
    assert!(s.unwrap().to_string().contains("<FO aabb>"));
    assert!(fails(text).found.contains("COOKIE"));
}

#[test]
fn option_lines() {
    let config = |text: &str| script(&format!("{text}\n0 close(3) = 0")).config(&Config::default());
    let c = config("--local_ip=fd3d:fa7b:d17d::1 --remote_ip=\"2001:db8::7\"\n--ip_version=ipv6\n--non_fatal=packet,syscall").unwrap();
    assert_eq!(
        (c.local().to_string().as_str(), c.remote().to_string().as_str()),
        ("fd3d:fa7b:d17d::1", "2001:db8::7")
    );
    assert_eq!(c.non_fatal, ["packet", "syscall"]);
    assert_eq!(config("--bind_port=80 --connect_port=81 --mss=500").unwrap().connect_port, 81);
    assert_eq!(config("--tcp_ts_tick_usecs=1000").unwrap().tcp_ts_tick, Duration::from_millis(1));
    assert_eq!(config("--udp_encaps=tcp/9899:9900").unwrap().udp_encaps, Some((9899, 9900)));
    assert!(config("--send_omit_free").unwrap().send_omit_free);

    let error = config("--mtu=1500\n  --frobnicate=3").unwrap_err();
    assert_eq!((error.line, error.column, error.found.as_str()), (2, 3, "'--frobnicate=3'"));
    assert!(config("--mtu=big").unwrap_err().expected.contains("number"));
    assert!(config("--ip_version=5").unwrap_err().expected.contains("ipv4"));
    assert!(config("--tolerance_percent=200").is_err());
    assert!(config("--non_fatal=all").is_err());
}

/// A script without the places where things stand.
fn stripped(mut script: Script) -> Script {
    script.source = Source::default();
    script.options.iter_mut().for_each(|option| option.span = Default::default());
    script.init.iter_mut().chain(&mut script.cleanup).for_each(|command| command.span = Default::default());
    for event in &mut script.events {
        event.line = 0;
        event.span = Default::default();
        if let Action::Shell(command) = &mut event.action {
            command.span = Default::default();
        }
    }
    script
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let first = script(SCRIPT);
    let again = script(&first.to_string());
    assert_eq!(stripped(first), stripped(again));
}

#[test]
fn packets_print_as_they_are_written() {
    for text in [
        "< S 0:0(0) win 32792 <mss 1000,sackOK,TS val 1 ecr 0,nop,wscale 7>",
        "> [ect0, ttl 64, flowlabel 0x1] 80 > 8080 FPUEWA. 1:11(10) ack 1 win 5 urg 3 <...> gso 5",
        "> P5. 1:11(10) ack 1 <ECN e1b 1 ceb 0 e0b 5,nop>",
        "> - 1:1(0)",
        "< ipv4 1.2.3.4 > 1.2.3.5: gre flags 0x2000, key 0x7: mpls (label 1, tc 2, [S], ttl 3): . 1:1(0) ack 1 win 1",
        "> [tos 0x3] icmp unreachable 4 mtu 9 [1:2(1)]",
        "< icmp time_exceeded [udp (7)]",
        "< 1 > 2 udp (9)",
        "> S 0:0(0) <FO 0102,nop,nop,md5 000102030405060708090a0b0c0d0e0f,FOEXP,raw 01020304>",
        "> . 1:1(0) ack 1 <nop,nop,TS val * ecr *,nop,nop,sack 1:2 3:4,eol,eol,eol,eol>",
    ] {
        let s = script(&format!("+0 {text}"));
        assert_eq!(s.events[0].to_string(), format!("+0 {text}"));
    }
}

#[test]
fn an_option_takes_the_bytes_it_has_on_the_wire() {
    let len = |text: &str| -> usize {
        tcp(&format!("> . 1:1(0) ack 1 <{text}>")).options.unwrap().iter().map(TcpOption::wire_len).sum()
    };
    assert_eq!(len("mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7"), 20);
    assert_eq!(len("nop,nop,sack 1:2 3:4 5:6 7:8"), 36);
    assert_eq!(len("ECN e0b 1 ceb 1 e1b 1,nop"), 12);
    assert_eq!(len("FOEXP 0102030405060708"), 12);
    assert_eq!(len("md5,nop,nop"), 20);
}

/// Pieces of the language in any order: closer to scripts than arbitrary bytes, and as often wrong.
fn fragments() -> impl Strategy<Value = String> {
    let pieces = [
        "0",
        "+0",
        "+.1",
        "*",
        "~",
        "...",
        " ",
        "\n",
        "<",
        ">",
        "S",
        ".",
        "P5.",
        "1:1001(1000)",
        "0:0(0)",
        "ack 1",
        "win 9",
        "<mss 1460>",
        "<nop,nop,TS val 1 ecr 2>",
        "<...>",
        "sack 1:2",
        "FO",
        "ECN e0b 1",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "=",
        ",",
        "|",
        "-1",
        "EAGAIN",
        "(no)",
        "read",
        "close(3) = 0",
        "\"",
        "\\",
        "`",
        "sysctl -q a=1",
        "%{",
        "}%",
        "assert 1 == 1",
        "if x:",
        "\n  ",
        "print f'{x}'",
        "for i in range(9): a = [a, a]",
        "--mtu=1500",
        "-D A=1",
        "A",
        "/*",
        "*/",
        "//",
        "#",
        "icmp unreachable",
        "mtu",
        "ipv6",
        "::1",
        ":",
        "udp (1)",
        "[ect0]",
        "(ttl",
        "$((",
        "))",
        "''",
        "\u{e4}",
        "\0",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..40)
        .prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = parse(Source::new("t", String::from_utf8_lossy(&bytes)), &[]) {
            prop_assert!(error.to_string().starts_with("t:"));
        }
    }

    #[test]
    fn arbitrary_scripts_never_panic_and_print_what_they_say(text in fragments()) {
        match parse(Source::new("t", text), &[]) {
            Err(error) => prop_assert!(error.to_string().starts_with("t:")),
            Ok(first) => {
                let printed = first.to_string();
                let again = parse(Source::new("t", printed.clone()), &[]);
                prop_assert!(again.is_ok(), "{}\n{}", printed, again.unwrap_err());
                prop_assert_eq!(stripped(first), stripped(again.unwrap()));
            }
        }
    }

    #[test]
    fn arbitrary_values_print_what_they_say(text in "[-~(]{0,3}(1|0x2|AF_INET|\\.\\.\\.|\"a\")[|+*&]{0,1}[(\\[{]{0,2}[1-9]{0,2}[)\\]}]{0,3}") {
        if let Ok(first) = parse(Source::new("t", format!("0 f({text}) = 0")), &[]) {
            let again = parse(Source::new("t", first.to_string()), &[]);
            prop_assert!(again.is_ok(), "{}\n{}", first, again.unwrap_err());
            prop_assert_eq!(stripped(first), stripped(again.unwrap()));
        }
    }
}
