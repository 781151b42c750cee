use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::super::ast::{Action, Expr, Field};
use super::super::{constants, eval};
use super::{call, fails, hex, int, or, script, symbol};

fn field(name: &str, value: Expr) -> Field {
    Field { name: Some(name.to_owned()), arg: None, value }
}

fn value(text: &str) -> Expr {
    call(&format!("read({text}) = 0")).args.remove(0)
}

fn number(text: &str) -> i64 {
    eval::number(&value(text)).unwrap().unwrap()
}

#[test]
fn a_call_with_its_result() {
    let c = call("socket(..., SOCK_STREAM, IPPROTO_TCP) = 3");
    assert_eq!((c.name.as_str(), c.end, c.errno, c.note), ("socket", None, None, None));
    assert_eq!(c.args, [Expr::Any, symbol("SOCK_STREAM"), symbol("IPPROTO_TCP")]);
    assert_eq!(c.result, int(3));
    assert_eq!(call("pause() = 0").args, []);
    assert_eq!(call("read(4, ..., 10) = ...").result, Expr::Any);
}

#[test]
fn a_call_that_fails() {
    let c = call("read(3, ..., 1000) = -1 EAGAIN (Resource temporarily unavailable)");
    assert_eq!(c.result, int(-1));
    assert_eq!(c.errno.as_deref(), Some("EAGAIN"));
    assert_eq!(c.note.as_deref(), Some("Resource temporarily unavailable"));
    // Words of a message are no tokens.
    let c = call("bind(3, ..., ...) = -1 EADDRNOTAVAIL (Can't assign (this) \"address)");
    assert_eq!(c.note.as_deref(), Some("Can't assign (this) \"address"));
    assert_eq!(call("close(3) = -1 EBADF").note, None);
}

#[test]
fn flags_come_back_with_their_meaning() {
    let c = call("fcntl(3, F_GETFL) = 0x802 (flags O_RDWR|O_NONBLOCK)");
    assert_eq!((c.result, c.note.as_deref()), (hex(0x802), Some("flags O_RDWR|O_NONBLOCK")));
    assert_eq!(
        call("fcntl(3, F_GETFL) = O_RDWR|O_NONBLOCK").result,
        or(symbol("O_RDWR"), symbol("O_NONBLOCK"))
    );
}

#[test]
fn the_time_of_the_next_event_is_no_part_of_a_result() {
    let s = script(
        "0 close(3) = 0\n+.1 close(4) = 0\n* > . 1:1(0) ack 1\n0.5...1 close(5) = -1\n2 close(6) = 0\n",
    );
    assert_eq!(s.events.len(), 5);
}

#[test]
fn a_call_that_blocks() {
    let ends = |text: &str| {
        let s = script(text);
        match &s.events[0].action {
            Action::Call(call) => call.end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ends("+0...1.5 read(4, ..., 10) = 10"), Some(Duration::from_millis(1500)));
    assert_eq!(ends("0.1...0.2 accept(3, ..., ...) = 4"), Some(Duration::from_millis(200)));
    assert_eq!(ends("+.1 ... .2 accept(3, ..., ...) = 4"), Some(Duration::from_millis(200)));
    assert!(fails("1...0.5 accept(3, ..., ...) = 4").expected.contains("returns after"));
    assert!(fails("*...0.5 accept(3, ..., ...) = 4").expected.contains("one time"));
}

#[test]
fn numbers_in_each_notation() {
    assert_eq!(number("10"), 10);
    assert_eq!(number("0x1f"), 31);
    assert_eq!(number("-1"), -1);
    assert_eq!(number("4294967295"), 0xffff_ffff);
    assert_eq!(number("18446744073709551615"), -1);
    assert_eq!(number("~0"), -1);
    assert_eq!(number("MSG_DONTWAIT|MSG_PEEK"), 0x42);
    assert_eq!(number("(2 + 3) * 4 - 1"), 19);
    assert_eq!(number("htons(8080)"), 8080);
    assert_eq!(number("inet_addr(\"192.0.2.1\")"), 0xc000_0201);
    assert_eq!(eval::number(&Expr::Any), Ok(None));
    assert!(eval::number(&value("1 / 0")).is_err());
    assert!(eval::number(&value("\"text\"")).is_err());
    assert!(fails("0 read(18446744073709551616) = 0").expected.contains("64 bits"));
}

#[test]
fn strings_have_the_escapes_of_c() {
    let bytes = |text: &str| match value(text) {
        Expr::Str { bytes, open } => (bytes, open),
        other => panic!("{other:?}"),
    };
    assert_eq!(bytes(r#""abc""#), (b"abc".to_vec(), false));
    assert_eq!(bytes(r#""a\n\t\r\\\"\x41\0\177\x7""#), (b"a\n\t\r\\\"A\0\x7f\x07".to_vec(), false));
    assert_eq!(bytes(r#""GET"..."#), (b"GET".to_vec(), true));
    assert_eq!(bytes(r#""""#), (vec![], false));
    assert_eq!(bytes("\"\u{e4}\"").0, "\u{e4}".as_bytes());
    assert_eq!(fails(r#"0 write(3, "ab\q", 3) = 3"#).column, 15);
}

#[test]
fn addresses() {
    let c = call(
        "connect(3, {sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr(\"192.0.2.1\")}, ...) = 0",
    );
    let Expr::Struct(fields) = &c.args[1] else { panic!() };
    assert_eq!(fields[0], field("sa_family", symbol("AF_INET")));
    assert_eq!(fields[1], field("sin_port", Expr::Call("htons".to_owned(), vec![int(80)])));
    assert_eq!(eval::address(&fields[2].value), Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
    let v6 = value(
        "{sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=0, sin6_addr=inet_pton(AF_INET6, \"::1\"), sin6_scope_id=0}",
    );
    let Expr::Struct(fields) = &v6 else { panic!() };
    assert_eq!(fields.len(), 5);
    assert_eq!(eval::address(&fields[3].value), Some("::1".parse().unwrap()));
    assert_eq!(eval::address(&value("INADDR_LOOPBACK")), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
}

#[test]
fn socket_options() {
    let c = call("getsockopt(3, SOL_SOCKET, SO_ERROR, [ECONNREFUSED], [4]) = 0");
    assert_eq!(c.args[3], Expr::List(vec![symbol("ECONNREFUSED")]));
    let c = call("setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0");
    assert_eq!(c.args[3], Expr::Struct(vec![field("onoff", int(1)), field("linger", int(0))]));
    let c = call("setsockopt(4, SOL_TCP, TCP_CONGESTION, \"reno\", 4) = 0");
    assert_eq!(c.args[3], Expr::Str { bytes: b"reno".to_vec(), open: false });
    let c =
        call("setsockopt(3, IPPROTO_TCP, TCP_FUNCTION_BLK, {function_set_name=\"rack\", pcbcnt=0}, 36) = 0");
    assert!(matches!(&c.args[3], Expr::Struct(fields) if fields.len() == 2));
}

#[test]
fn vectors_and_messages() {
    let c = call("writev(4, [{..., 1000}, {\"ab\", 2}], 2) = 1002");
    let Expr::List(items) = &c.args[1] else { panic!() };
    let unnamed = |value| Field { name: None, arg: None, value };
    assert_eq!(items[0], Expr::Struct(vec![unnamed(Expr::Any), unnamed(int(1000))]));

    let c = call(
        "recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 0}], msg_flags=MSG_ERRQUEUE|MSG_TRUNC, msg_control=[
             {cmsg_level=SOL_SOCKET, cmsg_type=SCM_TIMESTAMPING, cmsg_data={scm_sec=0, scm_nsec=10000000}},
             {cmsg_level=SOL_IP, cmsg_type=IP_RECVERR, cmsg_data={ee_errno=ENOMSG,
                 ee_origin=SO_EE_ORIGIN_TIMESTAMPING, ee_type=0, ee_code=0, ee_info=SCM_TSTAMP_SND, ee_data=999}}
         ]}, MSG_ERRQUEUE) = 0",
    );
    let Expr::Struct(fields) = &c.args[1] else { panic!() };
    assert_eq!(
        fields[0],
        Field { name: Some("msg_name".to_owned()), arg: Some(Expr::Any), value: Expr::Any }
    );
    assert_eq!(fields[1].arg, Some(int(1)));
    assert_eq!(fields[2].value, or(symbol("MSG_ERRQUEUE"), symbol("MSG_TRUNC")));
    let Expr::List(control) = &fields[3].value else { panic!() };
    let Expr::Struct(second) = &control[1] else { panic!() };
    assert!(matches!(&second[2].value, Expr::Struct(error) if error.len() == 6));
}

#[test]
fn readiness() {
    let c = call("poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}], 1, 0) = 1");
    let expected = vec![
        field("fd", int(4)),
        field("events", or(symbol("POLLIN"), symbol("POLLOUT"))),
        field("revents", symbol("POLLOUT")),
    ];
    assert_eq!(c.args[0], Expr::List(vec![Expr::Struct(expected)]));
    let c = call("epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLIN|EPOLLET, fd=4}) = 0");
    assert_eq!(eval::number(&c.args[1]), Ok(Some(1)));
    let c = call("epoll_wait(5, {events=EPOLLERR, ptr=0x4}, 1, 0) = 1");
    assert!(matches!(&c.args[1], Expr::Struct(fields) if fields[1] == field("ptr", hex(4))));
    let c = call("ioctl(4, SIOCINQ, [1000]) = 0");
    assert_eq!(c.args[2], Expr::List(vec![int(1000)]));
    assert_eq!(call("pipe([8, 9]) = 0").args[0], Expr::List(vec![int(8), int(9)]));
}

#[test]
fn constants_have_linux_numbers() {
    let known = [
        ("SO_REUSEADDR", 2),
        ("SO_ZEROCOPY", 60),
        ("TCP_NODELAY", 1),
        ("TCP_INFO", 11),
        ("TCP_USER_TIMEOUT", 18),
        ("TCP_FASTOPEN_CONNECT", 30),
        ("TCP_INQ", 36),
        ("MSG_FASTOPEN", 0x2000_0000),
        ("MSG_ZEROCOPY", 0x400_0000),
        ("EPOLLRDHUP", 0x2000),
        ("EPOLLET", 1 << 31),
        ("O_NONBLOCK", 2048),
        ("SIOCOUTQNSD", 0x894b),
        ("TCP_CA_Loss", 4),
        ("EAGAIN", 11),
        ("ETIMEDOUT", 110),
        ("ECONNREFUSED", 111),
        ("IPV6_V6ONLY", 26),
    ];
    for (name, number) in known {
        assert_eq!(constants::lookup(name), Some(number), "{name}");
    }
    assert_eq!(constants::lookup("NO_SUCH_NAME"), None);
    assert_eq!(constants::errno_name(11), Some("EAGAIN"));
    assert_eq!(constants::errno_name(95), Some("EOPNOTSUPP"));
    assert_eq!(constants::errno("SO_ERROR"), None);
}

#[test]
fn every_errno_of_the_stack_has_the_same_number_here() {
    for number in 0..200 {
        if let Some(errno) = sockeye_core::Errno::from_number(number) {
            assert_eq!(constants::errno(errno.name()), Some(i64::from(number)), "{}", errno.name());
        }
    }
}
