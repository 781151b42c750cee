//! Fast Open at the server (RFC 7413), against a client that speaks by hand.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::harness::*;
use crate::config::{Config, FastOpenBits, FastOpenKeys, Options, Profile};
use crate::errno::Errno;
use crate::socket::SocketId;
use crate::stack::key_of;
use crate::tcp::{SeqNum, State};
use crate::time::Duration;
use crate::wire::tcp::{FastOpen, Flags};

const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);

fn server() -> Net {
    let mut config = Config::default();
    config.fastopen |= FastOpenBits::SERVER;
    Net::with_config(config)
}

/// A listener at port 80 with TCP_FASTOPEN.
fn listen(net: &mut Net, limit: u32) -> SocketId {
    let listener = net.listen(80, 1_000);
    let options = Options { fastopen_qlen: limit, save_syn: true, ..Options::default() };
    net.stack.replace_options(net.now, key_of(listener), Arc::new(options));
    listener
}

fn syn(from: &str, option: Option<FastOpen>) -> Seg {
    let mut seg = Seg::syn(100).from(addr(from)).mss(1_460);
    seg.hdr.options.fast_open = option;
    seg
}

/// What a client at that address is given when it asks.
fn cookie(net: &mut Net, from: &str) -> FastOpen {
    net.inject(&syn(from, Some(FastOpen::REQUEST)));
    let answer = net.one();
    assert_eq!((answer.hdr.flags, answer.hdr.ack), (SYN_ACK, SeqNum(101)));
    net.inject(&Seg::new(Flags::RST, 101, 0).from(addr(from)));
    answer.hdr.options.fast_open.expect("a cookie")
}

fn read(net: &mut Net, id: SocketId) -> Vec<u8> {
    let mut out = alloc::vec![0; 2_000];
    let n = net.stack.operate(net.now, id, |c, cx| (c.read(cx, &mut out), Default::default())).unwrap();
    out.truncate(n);
    out
}

/// A listener that did not ask for it, or a stack that does not serve it, ignores cookies and text.
/// Shows: rfc7413-s2-a
#[test]
fn is_off_unless_asked_for() {
    for (bits, limit) in [(FastOpenBits::CLIENT, 10), (FastOpenBits::all() - FastOpenBits::SERVER, 10)] {
        let mut net = server();
        net.stack.config.fastopen = bits;
        let listener = listen(&mut net, limit);
        net.inject(&syn("10.0.0.2:9", FastOpen::cookie(&[1; 8])).data(b"hello"));
        let answer = net.one();
        assert_eq!((answer.hdr.ack, answer.hdr.options.fast_open), (SeqNum(101), None));
        assert_eq!(net.stack.accept_socket(listener), Err(Errno::EAGAIN));
    }
    let mut net = server();
    let listener = listen(&mut net, 0);
    net.inject(&syn("10.0.0.2:9", Some(FastOpen::REQUEST)).data(b"hello"));
    let answer = net.one();
    assert_eq!((answer.hdr.ack, answer.hdr.options.fast_open), (SeqNum(101), None));
    assert_eq!(net.stack.accept_socket(listener), Err(Errno::EAGAIN));
}

/// With a good cookie the text is acknowledged with the SYN, read, and answered before the last ACK.
/// Shows: rfc7413-s4.2.2-b, rfc7413-s4.1.2-a
#[test]
fn text_is_served_before_the_handshake_ends() {
    let mut net = server();
    let listener = listen(&mut net, 10);
    let cookie = cookie(&mut net, "10.0.0.2:8");
    net.inject(&syn("10.0.0.2:9", Some(cookie)).data(b"GET /"));
    let child = net.stack.accept_socket(listener).expect("accepted from SYN-RECEIVED");
    assert_eq!(net.state(child), State::SynReceived);
    assert_eq!(read(&mut net, child), b"GET /");
    net.stack.operate(net.now, child, |c, cx| (c.write(cx, b"200 OK"), Default::default())).unwrap();
    let got = net.take();
    assert_eq!(got.len(), 2);
    assert_eq!(
        (got[0].hdr.flags, got[0].hdr.ack, got[0].hdr.options.fast_open),
        (SYN_ACK, SeqNum(106), None)
    );
    assert_eq!((got[1].hdr.seq, &got[1].data[..]), (got[0].hdr.seq + 1, &b"200 OK"[..]));
    let next = got[1].hdr.seq.0;
    net.inject(&Seg::ack(106, next + 6).from(addr("10.0.0.2:9")));
    assert_eq!(net.state(child), State::Established);
    net.nothing();
    let stats = net.stack.stats();
    assert_eq!((stats.tcp_fastopen_passive, stats.tcp_fastopen_cookie_reqd), (1, 1));
    assert_eq!(net.stack.listener(listener).map(|row| row.qlen).unwrap(), 0);
    // What was sent early and lost comes again once the handshake is over.
    net.inject(&syn("10.0.0.2:10", Some(cookie)).data(b"x"));
    let child = net.stack.accept_socket(listener).unwrap();
    net.stack.operate(net.now, child, |c, cx| (c.write(cx, b"lost"), Default::default())).unwrap();
    let next = net.take()[1].hdr.seq.0;
    net.inject(&Seg::ack(102, next).from(addr("10.0.0.2:10")));
    let mut again = Vec::new();
    net.advance_with(net.now + Duration::from_secs(3), |_, got| again.push(got.data));
    assert_eq!(again.first().expect("again"), b"lost");
}

/// A cookie is one client's, its length is its own, and a wrong one costs no more than a round trip.
/// Shows: rfc7413-s4.1.2-a, rfc7413-s4.2.2-b
#[test]
fn a_wrong_cookie_gets_a_good_one() {
    let mut net = server();
    let listener = listen(&mut net, 10);
    let good = cookie(&mut net, "10.0.0.2:8");
    let other = cookie(&mut net, "10.0.0.3:8");
    assert_ne!(good, other);
    for wrong in [other, FastOpen::cookie(&[0; 4]).unwrap(), FastOpen::cookie(&[9; 16]).unwrap()] {
        net.inject(&syn("10.0.0.2:9", Some(wrong)).data(b"hello"));
        let answer = net.one();
        assert_eq!((answer.hdr.ack, answer.hdr.options.fast_open), (SeqNum(101), Some(good)));
        assert_eq!(net.stack.accept_socket(listener), Err(Errno::EAGAIN));
        // The ordinary way: the text comes again with the ACK.
        net.inject(&Seg::ack(101, answer.hdr.seq.0 + 1).from(addr("10.0.0.2:9")).data(b"hello"));
        let child = net.stack.accept_socket(listener).unwrap();
        assert_eq!(read(&mut net, child), b"hello");
        net.stack.abort_socket(net.now, child).unwrap();
        net.take();
    }
    assert_eq!(net.stack.stats().tcp_fastopen_passive_fail, 3);
}

/// After one rotation a cookie still opens and is exchanged; after two it does not.
/// Shows: rfc7413-s4.1.2-a
#[test]
fn cookies_expire_with_their_keys() {
    let mut net = server();
    let listener = listen(&mut net, 10);
    let old = cookie(&mut net, "10.0.0.2:8");
    net.stack.rotate_fast_open_key();
    net.inject(&syn("10.0.0.2:9", Some(old)).data(b"a"));
    let answer = net.one();
    let new = answer.hdr.options.fast_open.expect("a new cookie");
    assert_eq!(answer.hdr.ack, SeqNum(102));
    assert!(net.stack.accept_socket(listener).is_ok() && new != old);
    assert_eq!(net.stack.stats().tcp_fastopen_passive_alt_key, 1);
    net.stack.rotate_fast_open_key();
    net.inject(&syn("10.0.0.2:10", Some(old)).data(b"a"));
    let answer = net.one();
    assert_eq!(answer.hdr.ack, SeqNum(101));
    assert!(answer.hdr.options.fast_open.is_some_and(|cookie| cookie != old && cookie != new));
    // A listener's own key, and the stack's as it is set; the MAC is SipHash-2-4 of both addresses, as Linux's.
    let keys = FastOpenKeys { primary: core::array::from_fn(|i| i as u8), backup: None };
    net.stack.config.fastopen_key = Some(keys);
    let by_stack = cookie(&mut net, "10.0.0.2:8");
    net.stack.config.fastopen_key = None;
    let options =
        Options { fastopen_qlen: 5, fastopen_key: Some(alloc::boxed::Box::new(keys)), ..Options::default() };
    net.stack.replace_options(net.now, key_of(listener), Arc::new(options));
    assert_eq!(cookie(&mut net, "10.0.0.2:8"), by_stack);
    let mac = siphasher::sip::SipHasher24::new_with_key(&keys.primary).hash(&[10, 0, 0, 2, 10, 0, 0, 1]);
    assert_eq!(by_stack.as_slice(), mac.to_le_bytes());
}

/// Above the limit SYNs get the ordinary handshake; a place is free again when an early connection is
/// established, and only after a while when its client reset it.
/// Shows: rfc7413-s5.1-a, rfc7413-s4.2.2-b
#[test]
fn pending_connections_are_limited() {
    let mut net = server();
    let listener = listen(&mut net, 100);
    let cookie = cookie(&mut net, "10.0.0.2:8");
    let client = |i: u16| SocketAddr::new(B, 1_000 + i);
    let (mut early, mut first) = (0, 0);
    for i in 0..1_000 {
        let mut seg = syn("10.0.0.2:9", Some(cookie)).data(b"x").from(client(i));
        seg.hdr.options.mss = Some(1_460);
        net.inject(&seg);
        let answer = net.one();
        early += usize::from(answer.hdr.ack == SeqNum(102));
        if i == 0 {
            first = answer.hdr.seq.0 + 1;
        }
    }
    assert_eq!(early, 100);
    assert_eq!(net.stack.stats().tcp_fastopen_listen_overflow, 900);
    let mut tries = 1_000;
    let mut opens = |net: &mut Net| {
        tries += 1;
        net.inject(&syn("10.0.0.2:9", Some(cookie)).data(b"x").from(client(tries)));
        net.one().hdr.ack == SeqNum(102)
    };
    assert!(!opens(&mut net));
    net.inject(&Seg::ack(102, first).from(client(0)));
    assert!(opens(&mut net) && !opens(&mut net));
    // A reset one goes on counting for a minute.
    net.inject(&Seg::new(Flags::RST, 102, 0).from(client(1)));
    assert!(!opens(&mut net));
    net.now += Duration::from_secs(59);
    assert!(!opens(&mut net));
    net.now += Duration::from_secs(1);
    assert!(opens(&mut net) && !opens(&mut net));
    // Accepting does not end being pending; closing the socket does.
    let mut children = Vec::new();
    while let Ok(child) = net.stack.accept_socket(listener) {
        children.push(child);
    }
    assert!(!opens(&mut net));
    let pending = children.into_iter().find(|child| net.state(*child) == State::SynReceived).unwrap();
    net.stack.abort_socket(net.now, pending).unwrap();
    net.take();
    assert!(opens(&mut net));
}

/// The SYN-ACK is sent again without option; a SYN sent again without text is answered by it; it is given up after
/// tcp_synack_retries.
/// Shows: rfc7413-s4.2.2-c
#[test]
fn the_syn_ack_sent_again_is_plain() {
    let mut net = server();
    let listener = listen(&mut net, 10);
    let old = cookie(&mut net, "10.0.0.2:8");
    net.stack.rotate_fast_open_key();
    net.inject(&syn("10.0.0.2:9", Some(old)).data(b"hello"));
    let first = net.one();
    assert!(first.hdr.options.fast_open.is_some());
    net.inject(&syn("10.0.0.2:9", None));
    let again = net.one();
    assert_eq!((again.hdr.flags, again.hdr.seq, again.hdr.ack), (SYN_ACK, first.hdr.seq, SeqNum(106)));
    assert!(again.hdr.options.fast_open.is_none());
    let mut times = 0;
    net.advance_with(net.now + Duration::from_secs(200), |_, got| {
        assert!(got.hdr.flags == SYN_ACK && got.hdr.options.fast_open.is_none() && got.data.is_empty());
        times += 1;
    });
    assert!((3..=5).contains(&times), "{times}");
    let child = net.stack.accept_socket(listener).expect("with its error");
    assert_eq!(net.stack.connection(child).unwrap().error(), Some(Errno::ETIMEDOUT));
    assert_eq!(read(&mut net, child), b"hello");
}

/// The user may be done before the client's last ACK: the FIN follows the answer in any case, on Linux at once. Lost
/// before the handshake is over, it comes again after.
/// Shows: rfc7413-s4.2.2-b
#[test]
fn an_early_answer_and_close() {
    for (profile, at_once) in [(Profile::Linux, true), (Profile::Rfc, false), (Profile::FreeBsd, false)] {
        for lost in [false, true] {
            answer_and_close_early(profile, at_once, lost);
        }
    }
}

fn answer_and_close_early(profile: Profile, at_once: bool, lost: bool) {
    let mut config = Config::new(profile);
    config.fastopen |= FastOpenBits::SERVER;
    let mut net = Net::with_config(config);
    let listener = listen(&mut net, 10);
    let cookie = cookie(&mut net, "10.0.0.2:8");
    net.inject(&syn("10.0.0.2:9", Some(cookie)).data(b"q"));
    let child = net.stack.accept_socket(listener).unwrap();
    read(&mut net, child);
    net.stack.operate(net.now, child, |c, cx| (c.write(cx, b"answer"), Default::default())).unwrap();
    net.stack.close_socket(net.now, child).unwrap();
    let sent = net.take();
    let next = sent[0].hdr.seq.0 + 1;
    assert_eq!(sent.iter().any(|got| got.hdr.flags.contains(Flags::FIN)), at_once, "{profile:?}");
    let heard = if at_once && lost { next } else { next + 6 };
    net.inject(&Seg::ack(102, heard).from(addr("10.0.0.2:9")));
    if lost || !at_once {
        let mut seen = net.take();
        let end = net.now + Duration::from_secs(2);
        net.advance_with(end, |_, got| seen.push(got));
        let fin = seen.pop().expect("the FIN");
        let end = fin.hdr.seq.0 + fin.data.len() as u32;
        assert_eq!((fin.hdr.flags & Flags::FIN, end), (Flags::FIN, next + 6), "{profile:?}");
    }
    net.inject(&Seg::new(Flags::FIN | Flags::ACK, 102, next + 7).from(addr("10.0.0.2:9")));
    assert_eq!(net.stack.population().time_wait, 1, "{profile:?} {lost}");
}

/// TCP_SAVE_SYN: the headers of the SYN, of both ways to open, once.
#[test]
fn saved_syns_are_handed_out_once() {
    let mut net = server();
    let listener = listen(&mut net, 10);
    let cookie = cookie(&mut net, "10.0.0.2:8");
    let early = syn("10.0.0.2:9", Some(cookie)).data(b"early data that is not saved");
    net.inject(&early);
    net.take();
    net.connect_peer(addr("10.0.0.2:10"), 80);
    for port in [9_u16, 10] {
        let child = net.stack.accept_socket(listener).unwrap();
        let saved = net.stack.take_saved_syn(child).unwrap();
        assert_eq!((saved[0], &saved[12..20]), (0x45, &[10, 0, 0, 2, 10, 0, 0, 1][..]));
        assert_eq!(saved[20..22], port.to_be_bytes());
        assert_eq!((saved.len(), saved[33] & 2), (20 + usize::from(saved[32] >> 4) * 4, 2));
        assert!(net.stack.take_saved_syn(child).unwrap().is_empty());
    }
}
