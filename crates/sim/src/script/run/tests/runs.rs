//! Whole scripts against the stack: those that must pass, and each way in which one must fail.

use proptest::prelude::*;

use super::super::{Failure, Options, Report, run};
use crate::script::{Source, parse};

fn outcome(text: &str) -> Result<Report, Box<Failure>> {
    let script = parse(Source::new("t.pkt", text), &[]).unwrap_or_else(|error| panic!("{error}"));
    run(&script, &Options::default())
}

#[track_caller]
fn passes(text: &str) -> Report {
    outcome(text).unwrap_or_else(|failure| panic!("{failure}"))
}

/// A server with one connection, up to `accept`; the first event after it is line 10.
const SERVER: &str = "\
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+.1 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 10>
+.1 < . 1:1(0) ack 1 win 257
+0 accept(3, ..., ...) = 4

";

#[test]
fn a_server_answers() {
    let report = passes(&format!(
        "{SERVER}+.1 < P. 1:1001(1000) ack 1 win 257
+0 > . 1:1(0) ack 1001
+0 read(4, ..., 2000) = 1000
+0 write(4, ..., 500) = 500
+0 > P. 1:501(500) ack 1001
+.1 < . 1001:1001(0) ack 501 win 257
+0 %{{ assert tcpi_snd_cwnd == 10; print(tcpi_unacked) }}%
+0 close(4) = 0
+0 > F. 501:501(0) ack 1001
+.1 < F. 1001:1001(0) ack 502 win 257
+0 > . 502:502(0) ack 1002
"
    ));
    assert_eq!(report.printed, ["0"]);
}

/// A client whose connection is open, without timestamps; the first event after it is line 9.
const CLIENT: &str = "\
0 `sysctl -q net.ipv4.tcp_timestamps=0`
+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0
+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
+0 > S 0:0(0) <mss 1460,nop,nop,sackOK,nop,wscale 10>
+.05 < S. 0:0(0) ack 1 win 65535 <mss 1460,nop,nop,sackOK,nop,wscale 7>
+0 > . 1:1(0) ack 1

";

#[test]
fn a_client_answers() {
    passes(&format!(
        "{CLIENT}+0 getsockopt(3, SOL_SOCKET, SO_ERROR, [0], [4]) = 0
+0 fcntl(3, F_GETFL) = 0x802 (flags O_RDWR|O_NONBLOCK)
+0 read(3, ..., 10) = -1 EAGAIN (Resource temporarily unavailable)
+0 write(3, \"hello\", 5) = 5
+0 > P. 1:6(5) ack 1
+.05 < R. 1:1(0) ack 6 win 0
+0 read(3, ..., 10) = -1 ECONNRESET (Connection reset by peer)
+0 close(3) = 0
"
    ));
}

#[test]
fn a_refused_connection() {
    passes(
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0...0.05 connect(3, ..., ...) = -1 ECONNREFUSED (Connection refused)
+0 > S 0:0(0) <...>
+.05 < R. 0:0(0) ack 1 win 0
",
    );
}

#[test]
fn calls_that_wait_return_when_they_should() {
    let text = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0...0.200 accept(3, ..., ...) = 4
+.1 < S 0:0(0) win 32792 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+.1 < . 1:1(0) ack 1 win 257
+0...0.1 read(4, ..., 10) = 5
+.1 < P. 1:6(5) ack 1 win 257
+0 > . 1:1(0) ack 6
";
    passes(text);
    let early = outcome(&text.replace("+0...0.1 read", "+0...0.3 read")).unwrap_err();
    assert_eq!((early.line, early.what.as_str()), (8, "'read' returned at 300ms, expected at 500ms"));
    let late = outcome(&text.replace("+0...0.1 read", "+0...0.05 read")).unwrap_err();
    assert!(late.what.contains("returned at 300ms, expected at 250ms"), "{late}");
    let never = outcome(
        &text.replace("+0...0.1 read(4, ..., 10) = 5", "+0...0.1 read(4, ..., 10) = 5\n+0 close(3) = 0"),
    );
    assert!(never.unwrap_err().what.contains("has not returned"));
}

#[test]
fn a_mismatch_shows_both_packets_the_fields_and_the_ladder() {
    let failure = outcome(&format!(
        "{SERVER}+.1 < P. 1:1001(1000) ack 1 win 257
+0 > . 1:1(0) ack 1002 win 7
"
    ))
    .unwrap_err();
    assert_eq!((failure.file.as_str(), failure.line), ("t.pkt", 11));
    let fields: Vec<&str> = failure.differences.iter().map(|d| d.field).collect();
    assert_eq!(fields, ["ack", "win"]);
    let shown = failure.to_string();
    assert!(shown.starts_with(
        "t.pkt:11: at 0.300000: not the packet that is expected\n 11 | +0 > . 1:1(0) ack 1002 win 7\n"
    ));
    assert!(shown.contains("\n  expected > . 1:1(0) ack 1002 win 7\n"), "{shown}");
    assert!(shown.contains("\n  --> ack: expected 1002, actual 1001\n"), "{shown}");
    assert!(shown.contains("\n     0.100000     5  < S 0:0(0) win 32792 <mss 1000"), "{shown}");
}

#[test]
fn time_is_part_of_what_is_expected() {
    let text = |time: &str| {
        format!(
            "{SERVER}+.1 write(4, ..., 500) = 500
+0 > P. 1:501(500) ack 1
{time} > P. 1:501(500) ack 1
+.1 < . 1:1(0) ack 501 win 257
"
        )
    };
    // A tail loss probe, then nothing.
    let report = passes(&text("+.1~+1"));
    let probe = report.ladder.iter().filter(|rung| rung.line == Some(12)).map(|rung| rung.at).next();
    let ms = probe.map(|at| at.as_millis() - 300).unwrap_or(0);
    passes(&text(&format!("+.{:03}", ms)));
    passes(&text(&format!("+.{:03}", ms - 3)));
    passes(&text(&format!("+.{:03}", ms + 3)));
    passes(&text("*"));
    let early = outcome(&text(&format!("+.{:03}", ms + 9))).unwrap_err();
    assert_eq!(early.what, "the packet came at the wrong time");
    assert_eq!(early.differences[0].field, "time");
    let late = outcome(&text(&format!("+.{:03}", ms - 9))).unwrap_err();
    assert!(late.what.starts_with("no packet came; expected > P. 1:501(500)"), "{late}");
    passes(&format!("--tolerance_usecs=10000\n{}", text(&format!("+.{:03}", ms + 9))));
}

#[test]
fn a_packet_that_is_not_expected_fails() {
    let text = format!(
        "{SERVER}+.1 write(4, ..., 500) = 500
+.01 < . 1:1(0) ack 501 win 257
+.1 read(4, ..., 1) = -1 EAGAIN (Resource temporarily unavailable)
"
    )
    .replace("= 4", "= 4\n+0 fcntl(4, F_SETFL, O_NONBLOCK) = 0");
    let failure = outcome(&text).unwrap_err();
    assert!(
        failure.what.starts_with("a packet that the script does not expect: > P. 1:501(500) ack 1"),
        "{failure}"
    );
    let script = parse(Source::new("t", text), &[]).unwrap();
    assert!(run(&script, &Options { allow_trailing: true, ..Options::default() }).is_ok());
}

#[test]
fn results_of_calls_are_compared() {
    let fails = |line: &str| outcome(&format!("{SERVER}+.1 {line}\n")).unwrap_err().what.clone();
    assert_eq!(fails("write(4, ..., 500) = 501"), "write: expected 501, actual 500");
    assert_eq!(
        fails("write(9, ..., 500) = 500"),
        "write: expected 500, actual -1 EBADF (Bad file descriptor)"
    );
    assert_eq!(
        fails("write(9, ..., 500) = -1 EPIPE (Broken pipe)"),
        "write: expected -1 EPIPE, actual -1 EBADF (Bad file descriptor)"
    );
    assert_eq!(fails("close(4) = -1 EBADF (Bad file descriptor)"), "close: expected -1 EBADF, actual 0");
    let option = "getsockopt(4, SOL_TCP, TCP_NODELAY, [1], [4]) = 0";
    assert_eq!(fails(option), "getsockopt: the value: expected 1 (1), actual 0");
    let queue = "ioctl(4, SIOCINQ, [7]) = 0";
    assert_eq!(fails(queue), "ioctl: the value: expected 7 (7), actual 0");
    assert!(fails("sctp_connectx(4) = 0").contains("'sctp_connectx' is not one"));
    assert!(fails("poll([{fd=4, events=POLLOUT, revents=POLLIN}], 1, 0) = 1").contains("revents"));
}

#[test]
fn assertions_fail_at_their_line() {
    let failure = outcome(&format!(
        "{SERVER}+.1 %{{\nassert tcpi_snd_cwnd == 10\nassert tcpi_state == TCP_CLOSE\n}}%\n"
    ))
    .unwrap_err();
    assert_eq!(failure.line, 12);
    assert!(failure.what.starts_with("assert tcpi_state == TCP_CLOSE failed: tcpi_state is 1"), "{failure}");
}

#[test]
fn options_of_sockets() {
    passes(&format!(
        "{SERVER}+0 setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 4) = 0
+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [1], [4]) = 0
+0 setsockopt(4, SOL_SOCKET, SO_LINGER, {{onoff=1, linger=2}}, 8) = 0
+0 getsockopt(4, SOL_SOCKET, SO_LINGER, {{onoff=1, linger=2}}, [8]) = 0
+0 setsockopt(4, SOL_TCP, TCP_CONGESTION, \"reno\", 4) = 0
+0 getsockopt(4, SOL_TCP, TCP_CONGESTION, \"reno\", [16]) = 0
+0 setsockopt(4, SOL_TCP, TCP_CONGESTION, \"nosuch\", 6) = -1 ENOENT (No such file or directory)
+0 setsockopt(4, SOL_SOCKET, SO_RCVTIMEO, {{tv_sec=1, tv_usec=500000}}, 16) = 0
+0 getsockopt(4, SOL_SOCKET, SO_RCVTIMEO, {{tv_sec=1, tv_usec=500000}}, [16]) = 0
+0 getsockopt(4, SOL_TCP, TCP_INFO, {{tcpi_state=TCP_ESTABLISHED, tcpi_snd_cwnd=10}}, [232]) = 0
+0...1.5 read(4, ..., 1) = -1 EAGAIN (Resource temporarily unavailable)
"
    ));
}

#[test]
fn readiness() {
    passes(&format!(
        "{SERVER}+0 poll([{{fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}}], 1, 0) = 1
+0 epoll_create(1) = 5
+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {{events=EPOLLIN|EPOLLET, fd=4}}) = 0
+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {{events=EPOLLIN, fd=4}}) = -1 EEXIST (File exists)
+0 epoll_wait(5, {{events=0, fd=0}}, 1, 0) = 0
+0...0.05 epoll_wait(5, {{events=0, fd=0}}, 1, 50) = 0
+0...0.2 epoll_wait(5, {{events=EPOLLIN, fd=4}}, 1, -1) = 1
+.2 < P. 1:11(10) ack 1 win 257
+0 > . 1:1(0) ack 11
+0 epoll_wait(5, {{events=0, fd=0}}, 1, 0) = 0
+0 poll([{{fd=4, events=POLLIN|POLLOUT, revents=POLLIN|POLLOUT}}], 1, 0) = 1
+.1 < P. 11:21(10) ack 1 win 257
+0 > . 1:1(0) ack 21
+0 epoll_wait(5, {{events=EPOLLIN, fd=4}}, 1, 0) = 1
+0 ioctl(4, SIOCINQ, [20]) = 0
+0 readv(4, [{{..., 12}}, {{..., 12}}], 2) = 20
"
    ));
}

#[test]
fn messages_files_and_pipes() {
    passes(&format!(
        "{SERVER}+0 `dd if=/dev/zero of=f bs=100 count=3 2>/dev/null`
+0 open(\"f\", O_RDONLY) = 5
+0 sendfile(4, 5, [0], 200) = 200
+0 > P. 1:201(200) ack 1
+.01 < . 1:1(0) ack 201 win 257
+0 sendmsg(4, {{msg_name(...)=..., msg_iov(2)=[{{\"ab\", 2}}, {{..., 3}}], msg_flags=0}}, 0) = 5
+0 > P. 201:206(5) ack 1
+.01 < P. 1:31(30) ack 206 win 257
+0 > . 206:206(0) ack 31
+0 setsockopt(4, SOL_TCP, TCP_INQ, [1], 4) = 0
+0 recvmsg(4, {{msg_name(...)=..., msg_iov(1)=[{{..., 10}}], msg_flags=0,
     msg_control=[{{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=20}}]}}, 0) = 10
+0 pipe([6, 7]) = 0
+0 splice(4, 0, 7, 0, 20, 0) = 20
+0 splice(6, 0, 4, 0, 20, 0) = 20
+0 > P. 206:226(20) ack 31
+.01 < . 31:31(0) ack 226 win 257
"
    ));
}

#[test]
fn each_ip_version() {
    for version in ["ipv4", "ipv6", "ipv4-mapped-ipv6"] {
        let mss = if version == "ipv6" { 1440 } else { 1460 };
        let text = SERVER.replace("mss 1460", &format!("mss {mss}"));
        passes(&format!("--ip_version={version}\n{text}+.1 < P. 1:2(1) ack 1 win 9\n+0 > . 1:1(0) ack 2\n"));
        let text = CLIENT.replace("S 0:0(0) <mss 1460", &format!("S 0:0(0) <mss {mss}"));
        passes(&format!("--ip_version={version}\n{text}"));
    }
}

#[test]
fn timestamps_are_learned_and_echoed() {
    passes(
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0
+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
+0 > S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 10>
+.05 < S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 700 ecr 100,nop,wscale 7>
+0 > . 1:1(0) ack 1 <nop,nop,TS val 150 ecr 700>
+0 %{ assert tcpi_rtt == 50000, tcpi_rtt }%
",
    );
    let wrong = outcome(
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0
+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
+0 > S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 10>
+.05 < S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 700 ecr 100,nop,wscale 7>
+0 > . 1:1(0) ack 1 <nop,nop,TS val 150 ecr 701>
",
    );
    assert_eq!(wrong.unwrap_err().differences[0].field, "options");
}

#[test]
fn ticks_of_timestamps_are_checked_on_request() {
    let text = |val: u32| {
        format!(
            "--tcp_ts_tick_usecs=1000
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0
+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
+0 > S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 10>
+.05 < S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 700 ecr 100,nop,wscale 7>
+0 > . 1:1(0) ack 1 <nop,nop,TS val {val} ecr 700>
"
        )
    };
    passes(&text(150));
    passes(&text(147));
    assert_eq!(outcome(&text(140)).unwrap_err().differences[0].field, "options");
}

#[test]
fn one_expectation_may_be_several_segments() {
    let text = |rest: &str| format!("{SERVER}+.1 write(4, ..., 3000) = 3000\n{rest}");
    passes(&text("+0 > P. 1:3001(3000) ack 1\n"));
    passes(&text("+0 > . 1:2001(2000) ack 1\n+0 > P. 2001:3001(1000) ack 1\n"));
    passes(&text("+0 > P. 1:3001(3000) ack 1 gso 1000\n"));
    let wrong = outcome(&text("+0 > P. 1:3001(3000) ack 1 gso 999\n")).unwrap_err();
    assert!(wrong.what.contains("gso 999"), "{wrong}");
    let wrong = outcome(&text("+0 > P. 1:4001(4000) ack 1\n")).unwrap_err();
    assert!(wrong.what.starts_with("no packet came"), "{wrong}");
}

#[test]
fn icmp_reaches_the_connection() {
    passes(&format!(
        "{CLIENT}+0 write(3, ..., 1460) = 1460
+0 > P. 1:1461(1460) ack 1
+.01 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]
+0 > . 1:1161(1160) ack 1
+0 > P. 1161:1461(300) ack 1
+.01 < . 1:1(0) ack 1461 win 65535
+0 %{{ assert tcpi_pmtu == 1200 }}%
"
    ));
}

#[test]
fn connections_are_told_apart_by_their_ports() {
    passes(
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 5) = 0
+.1 < 1111 > 8080 S 0:0(0) win 1000 <mss 1000>
+0 > 8080 > 1111 S. 0:0(0) ack 1 <mss 1460>
+.1 < 2222 > 8080 S 0:0(0) win 1000 <mss 1000>
+0 > 8080 > 2222 S. 0:0(0) ack 1 <mss 1460>
+.1 < 1111 > 8080 . 1:1(0) ack 1 win 1000
+0 < 2222 > 8080 . 1:1(0) ack 1 win 1000
+0 accept(3, ..., ...) = 4
+0 accept(3, ..., ...) = 5
+0 write(5, ..., 10) = 10
+0 > 8080 > 2222 P. 1:11(10) ack 1
+0 write(4, ..., 20) = 20
+0 > 8080 > 1111 P. 1:21(20) ack 1
",
    );
}

#[test]
fn what_cannot_be_run_is_a_failure_with_its_reason() {
    let reason = |text: &str| outcome(text).unwrap_err().what.clone();
    assert!(reason("0 `sysctl -q net.ipv4.tcp_shrink_window=1`").contains("tcp_shrink_window=1"));
    assert!(reason("0 `./no-such.sh`").contains("no-such.sh"));
    assert!(reason("0 `tc qdisc replace dev tun0 root netem`").contains("netem"));
    assert!(reason("0 `ip route change 192.0.2.0/24 dev tun0 initrwnd 7`").contains("initrwnd"));
    assert!(reason("--frobnicate=1\n0 close(3) = -1 EBADF").contains("--frobnicate"));
    assert!(reason("0 > ipv4 1.2.3.4 > 1.2.3.5: S 0:0(0)").contains("no packet came"));
    assert!(reason("1 close(3) = -1 EBADF\n0.5 close(3) = -1 EBADF").contains("before the event above"));
    passes("0 `../common/defaults.sh`\n+0 `/tmp/sysctl_restore_${PPID}.sh`");
    passes("0 `ip route change 192.0.2.0/24 dev tun0 initcwnd 20`");
}

/// Events of a connection in any order, most of them out of place.
fn events() -> impl Strategy<Value = String> {
    let pieces = [
        "socket(..., SOCK_STREAM, IPPROTO_TCP) = 3",
        "bind(3, ..., ...) = 0",
        "listen(3, 1) = 0",
        "connect(3, ..., ...) = -1 EINPROGRESS",
        "fcntl(3, F_SETFL, O_NONBLOCK) = 0",
        "fcntl(4, F_SETFL, O_NONBLOCK) = 0",
        "accept(3, ..., ...) = 4",
        "write(4, ..., 5000) = 5000",
        "read(4, ..., 100) = ...",
        "recv(4, ..., 100, 0xffffffff) = ...",
        "shutdown(4, SHUT_WR) = 0",
        "setsockopt(4, -1, -1, [1], -1) = ...",
        "getsockopt(4, SOL_TCP, TCP_INFO, [1], [-5]) = ...",
        "ioctl(4, SIOCINQ) = ...",
        "epoll_create(1) = 6",
        "epoll_ctl(6, EPOLL_CTL_ADD, 6, {events=EPOLLIN, fd=4}) = ...",
        "epoll_wait(6, ..., 1, 0) = ...",
        "pipe([7, 8]) = 0",
        "splice(7, 0, 8, 0, 10, 0) = ...",
        "sendfile(4, 7, [0], 9) = ...",
        "dup2(4, 9) = 9",
        "close(4) = 0",
        "close(3) = 0",
        "< S 0:0(0) win 1000 <mss 100>",
        "< . 1:1(0) ack 1 win 1000",
        "< P. 1:101(100) ack 1 win 0",
        "< F. 101:101(0) ack 1 win 1000",
        "< R 1:1(0)",
        "< PU. 1:61(60) ack 1 win 9 urg 5 gso 7",
        "< icmp unreachable frag_needed mtu 0 [1:1461(1460)]",
        "< icmp unreachable port_unreachable [0:0(0)]",
        "< udp (10)",
        "> S. 0:0(0) ack 1 <...>",
        "> . 1:1(0) ack 101 <...>",
        "> P. 1:5001(5000) ack 1 gso 100",
        "`sysctl -q net.ipv4.tcp_timestamps=0`",
        "`sleep 1`",
        "%{ x = tcpi_snd_cwnd }%",
    ];
    let times = ["+0", "+.1", "*", "+.1~+1000", "+0...0.5", "+999999999"];
    let event = (proptest::sample::select(times.to_vec()), proptest::sample::select(pieces.to_vec()));
    let written = event.prop_map(|(time, what): (&str, &str)| {
        // Only calls wait.
        let waits = what.starts_with(|c: char| c.is_ascii_lowercase());
        format!("{} {what}", if waits { time } else { time.split("...").next().unwrap_or(time) })
    });
    proptest::collection::vec(written, 1..25).prop_map(|events| events.join("\n"))
}

#[test]
fn mismatches_may_be_warnings() {
    let text = format!("{SERVER}+0 write(4, ..., 10) = 11\n+0 > P. 1:12(11) ack 1\n+0 read(9, ..., 1) = 0\n");
    assert!(outcome(&text).is_err());
    assert!(outcome(&format!("--non_fatal=packet\n{text}")).unwrap_err().what.starts_with("write"));
    let report = passes(&format!("--non_fatal=packet,syscall\n{text}"));
    let lines: Vec<u32> = report.warnings.iter().map(|warning| warning.line).collect();
    assert_eq!(lines, [11, 12, 13]);
}

proptest! {
    #[test]
    fn no_order_of_events_panics_or_hangs(text in events()) {
        if let Ok(script) = parse(Source::new("t", format!("--non_fatal=packet,syscall\n{text}")), &[]) {
            let first = run(&script, &Options::default());
            // And a run is the same twice.
            prop_assert_eq!(run(&script, &Options::default()), first);
        }
    }
}
