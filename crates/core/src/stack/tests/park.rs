//! Parked SYNs: nothing is sent until the owner says what, and everything that can happen meanwhile does no harm.

use super::harness::{Net, Seg, addr};
use crate::config::{Config, Profile};
use crate::errno::Errno;
use crate::socket::{Domain, Ready, SocketId};
use crate::stack::{ParkAnswer, ParkEvent, ParkedId, RowKind, SocketFlags, Unreachable};
use crate::tcp::{SeqNum, State};
use crate::time::Duration;
use crate::wire::icmp::{Error, Message};
use crate::wire::tcp::Flags;
use crate::wire::{Upper, parse};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// A far destination of each family, and the peer that wants to go there.
const WAYS: [(&str, &str); 2] = [("10.0.0.2:4000", "192.0.2.7:443"), ("[fd00::2]:4000", "[2001:db8::7]:443")];

fn parking(net: &mut Net, credits: u32) -> SocketId {
    net.stack.change_interface(net.link, |i| i.accept_any = true).unwrap();
    let id = net.stack.new_socket(Domain::INET6, SocketFlags::empty()).unwrap();
    net.stack.park(net.now, id, credits).unwrap();
    id
}

fn syn(way: (&str, &str)) -> Seg {
    Seg::syn(1_000).from(addr(way.0)).at(addr(way.1)).mss(1_460)
}

/// The one event there is: a SYN.
fn parked(net: &mut Net, id: SocketId) -> (ParkedId, SocketAddr, SocketAddr) {
    let ParkEvent::Syn { id: name, peer, destination } = net.stack.next_parked(id).unwrap() else {
        panic!("a SYN is parked")
    };
    assert_eq!(net.stack.next_parked(id), Err(Errno::EAGAIN));
    (name, peer, destination)
}

/// A SYN to any address and port waits, in silence, until it is accepted; then the handshake is the ordinary one and
/// both ends of the connection are the ones of the SYN.
/// Shows: forward-park-a
#[test]
fn a_syn_is_answered_once_its_owner_accepts() {
    for way in WAYS {
        let mut net = Net::new();
        let owner = parking(&mut net, 4);
        net.inject(&syn(way).ts(7, 0).scale(5).sack());
        net.nothing();
        assert_eq!(net.stack.poll(owner), Ready::IN);
        let (name, peer, destination) = parked(&mut net, owner);
        assert_eq!((peer, destination), (addr(way.0), addr(way.1)));
        let row = net.stack.snapshot().find(|row| row.kind == RowKind::Parked).unwrap();
        assert_eq!((row.local, row.remote, row.timer.unwrap().0), (destination, peer, "park"));
        net.advance(Duration::from_secs(3));
        net.nothing();

        net.stack.answer_parked(net.now, name, ParkAnswer::Accept).unwrap();
        let answer = net.one();
        assert_eq!((answer.src(), answer.dst()), (destination, peer));
        assert_eq!((answer.hdr.flags, answer.hdr.ack), (Flags::SYN | Flags::ACK, SeqNum(1_001)));
        assert!(answer.hdr.options.sack_permitted && answer.hdr.options.window_scale.is_some());
        let next = answer.hdr.seq.0 + 1;
        net.inject(&Seg::ack(1_001, next).from(peer).at(destination).ts(8, 0).data(b"hello"));
        let ParkEvent::Open { id, socket } = net.stack.next_parked(owner).unwrap() else { panic!("open") };
        assert_eq!(id, name);
        assert_eq!(net.state(socket), State::Established);
        assert_eq!(net.stack.connection(socket).unwrap().readable(), 5);
        let tuple = *net.stack.connection(socket).unwrap().tuple();
        assert_eq!((tuple.local, tuple.remote), (destination, peer));
        // The time in which it was parked is no round trip.
        assert!(
            net.stack.connection(socket).unwrap().info(net.now, net.stack.config()).rtt
                < Duration::from_secs(1)
        );
        assert_eq!((net.stack.stats().syns_parked, net.stack.stats().parked_accepted), (1, 1));
        net.stack.abort_socket(net.now, socket).unwrap();
        net.stack.close_socket(net.now, owner).unwrap();
        assert_eq!(net.stack.population(), Default::default());
    }
}

/// Shows: forward-park-a
#[test]
fn a_refused_syn_gets_a_rst_and_a_dropped_one_nothing() {
    for way in WAYS {
        let mut net = Net::new();
        let owner = parking(&mut net, 4);
        net.inject(&syn(way));
        let (name, ..) = parked(&mut net, owner);
        net.stack.answer_parked(net.now, name, ParkAnswer::Refuse).unwrap();
        let rst = net.one();
        assert_eq!((rst.hdr.flags, rst.hdr.ack), (Flags::RST | Flags::ACK, SeqNum(1_001)));
        assert_eq!((rst.src(), rst.dst()), (addr(way.1), addr(way.0)));
        assert_eq!(net.stack.answer_parked(net.now, name, ParkAnswer::Accept), Err(Errno::EBADF));

        net.inject(&syn(way));
        let (name, ..) = parked(&mut net, owner);
        net.stack.answer_parked(net.now, name, ParkAnswer::Drop).unwrap();
        net.nothing();
        assert_eq!((net.stack.stats().parked_refused, net.stack.stats().parked_dropped), (1, 1));
        assert_eq!(net.stack.population().half_open, 0);
    }
}

/// Each kind has its code, quotes the SYN, and comes from the destination; the errno of the host's own kernel leads to it.
/// Shows: forward-park-a, forward-errors-a
#[test]
fn an_unreachable_destination_is_reported_by_icmp() {
    let cases = [
        (Errno::ENETUNREACH, Unreachable::Net, [0, 0]),
        (Errno::EHOSTUNREACH, Unreachable::Host, [1, 3]),
        (Errno::EACCES, Unreachable::Prohibited, [13, 1]),
    ];
    assert_eq!(ParkAnswer::for_error(Errno::ECONNREFUSED), ParkAnswer::Refuse);
    assert_eq!(ParkAnswer::for_error(Errno::ETIMEDOUT), ParkAnswer::Drop);
    for (errno, which, _) in cases {
        assert_eq!(ParkAnswer::for_error(errno), ParkAnswer::Unreachable(which));
    }
    let port = [(Errno::ECONNREFUSED, Unreachable::Port, [3, 4])];
    for (way, at) in WAYS.into_iter().zip(0..) {
        for (_, which, codes) in cases.into_iter().chain(port) {
            let mut net = Net::new();
            let owner = parking(&mut net, 4);
            net.inject(&syn(way));
            let (name, ..) = parked(&mut net, owner);
            net.stack.answer_parked(net.now, name, ParkAnswer::Unreachable(which)).unwrap();
            net.nothing();
            let packet = net.others.pop_front().unwrap();
            let parsed = parse(&packet).unwrap();
            assert_eq!((parsed.ip.src, parsed.ip.dst), (addr(way.1).ip(), addr(way.0).ip()));
            let Upper::Icmp(Message::Error { error, quoted }) = parsed.upper else { panic!("an ICMP error") };
            assert_eq!(error, Error::Unreachable { code: codes[at] });
            assert_eq!((quoted.src, quoted.src_port), (addr(way.0).ip(), addr(way.0).port()));
            assert_eq!((quoted.dst, quoted.dst_port), (addr(way.1).ip(), addr(way.1).port()));
            assert_eq!(quoted.seq, SeqNum(1_000));
            assert_eq!(net.stack.stats().parked_unreachable, 1);
        }
    }
}

/// Shows: forward-park-b
#[test]
fn a_syn_that_comes_again_changes_nothing_but_the_timestamp() {
    let mut net = Net::new();
    let owner = parking(&mut net, 1);
    net.inject(&syn(WAYS[0]).ts(7, 0));
    let (name, ..) = parked(&mut net, owner);
    for stamp in 8..13 {
        net.inject(&syn(WAYS[0]).ts(stamp, 0));
    }
    net.nothing();
    assert_eq!(net.stack.next_parked(owner), Err(Errno::EAGAIN));
    assert_eq!((net.stack.stats().syns_parked, net.stack.stats().syns_parked_again), (1, 5));
    net.stack.answer_parked(net.now, name, ParkAnswer::Accept).unwrap();
    assert_eq!(net.one().hdr.options.timestamps.unwrap().ecr, 12);
}

/// A RST with the next number un-parks and one with another does not; a SYN with a new number stands for a new attempt.
/// Shows: forward-park-b
#[test]
fn a_peer_that_gives_up_is_reported() {
    let mut net = Net::new();
    let owner = parking(&mut net, 4);
    let from = |seg: Seg| seg.from(addr(WAYS[0].0)).at(addr(WAYS[0].1));
    net.inject(&syn(WAYS[0]));
    let (name, ..) = parked(&mut net, owner);
    for wrong in [999, 1_000, 1_002] {
        net.inject(&from(Seg::new(Flags::RST, wrong, 0)));
    }
    assert_eq!(net.stack.next_parked(owner), Err(Errno::EAGAIN));
    // Nothing was sent that could be acknowledged: the answer is a RST, the SYN stays.
    net.inject(&from(Seg::ack(1_001, 77)));
    assert_eq!((net.one().hdr.flags, net.stack.population().half_open), (Flags::RST, 1));
    net.inject(&from(Seg::new(Flags::RST, 1_001, 0)));
    let gone = ParkEvent::Gone { id: name, why: Errno::ECONNRESET };
    assert_eq!(net.stack.next_parked(owner), Ok(gone));
    assert_eq!(net.stack.answer_parked(net.now, name, ParkAnswer::Accept), Err(Errno::EBADF));

    net.inject(&syn(WAYS[0]));
    let (first, ..) = parked(&mut net, owner);
    net.inject(&from(Seg::syn(50_000)));
    assert_eq!(net.stack.next_parked(owner), Ok(ParkEvent::Gone { id: first, why: Errno::ECONNRESET }));
    let (second, ..) = parked(&mut net, owner);
    net.stack.answer_parked(net.now, second, ParkAnswer::Accept).unwrap();
    assert_eq!(net.one().hdr.ack, SeqNum(50_001));
    assert_eq!(net.stack.stats().parked_reset, 2);
}

/// Before the answer by `park_timeout`, after it as any SYN-RECEIVED: by the SYN-ACK's retransmissions, or a RST.
/// Shows: forward-park-b
#[test]
fn parked_syns_time_out_and_so_do_accepted_ones() {
    let mut net = Net::with_config(Config { park_timeout: Duration::from_secs(20), ..Config::default() });
    let owner = parking(&mut net, 4);
    net.inject(&syn(WAYS[0]));
    let (name, ..) = parked(&mut net, owner);
    net.advance(Duration::from_millis(19_999));
    assert_eq!(net.stack.next_parked(owner), Err(Errno::EAGAIN));
    net.advance(Duration::from_millis(1));
    assert_eq!(net.stack.next_parked(owner), Ok(ParkEvent::Gone { id: name, why: Errno::ETIMEDOUT }));
    assert_eq!(net.stack.stats().parked_timeouts, 1);

    net.inject(&syn(WAYS[1]));
    let (name, ..) = parked(&mut net, owner);
    net.stack.answer_parked(net.now, name, ParkAnswer::Accept).unwrap();
    let (end, mut answers) = (net.now + Duration::from_secs(120), 0);
    net.advance_with(end, |_, got| answers += u32::from(got.hdr.flags == Flags::SYN | Flags::ACK));
    assert_eq!(answers, 6, "the first and tcp_synack_retries");
    assert_eq!(net.stack.next_parked(owner), Ok(ParkEvent::Gone { id: name, why: Errno::ETIMEDOUT }));

    net.inject(&syn(WAYS[0]));
    let (name, ..) = parked(&mut net, owner);
    net.stack.answer_parked(net.now, name, ParkAnswer::Accept).unwrap();
    net.one();
    net.inject(&Seg::new(Flags::RST, 1_001, 0).from(addr(WAYS[0].0)).at(addr(WAYS[0].1)));
    assert_eq!(net.stack.next_parked(owner), Ok(ParkEvent::Gone { id: name, why: Errno::ECONNRESET }));
    assert_eq!(net.stack.population().half_open, 0);
}

/// As many as the owner gave credits for, whatever came of the earlier ones, however long the flood: no more events,
/// no more entries. One more credit, one more SYN.
/// Shows: forward-park-c
#[test]
fn credits_bound_what_is_parked() {
    for profile in [Profile::Linux, Profile::FreeBsd, Profile::Rfc] {
        let mut net = Net::profile(profile);
        let owner = parking(&mut net, 3);
        let flood = |net: &mut Net| {
            for port in 1..=500 {
                let from = SocketAddr::new(addr(WAYS[0].0).ip(), port);
                net.inject(&Seg::syn(1_000).from(from).at(addr(WAYS[0].1)));
                net.inject(&Seg::new(Flags::RST, 1_001, 0).from(from).at(addr(WAYS[0].1)));
            }
            net.take();
        };
        flood(&mut net);
        let mut events = Vec::new();
        while let Ok(event) = net.stack.next_parked(owner) {
            events.push(event);
        }
        assert_eq!(events.len(), 6, "{profile:?}: {events:?}");
        assert_eq!(net.stack.stats().syns_park_full, 497);
        flood(&mut net);
        assert_eq!(net.stack.next_parked(owner), Err(Errno::EAGAIN));
        net.stack.add_park_credits(owner, 1).unwrap();
        net.inject(&syn(WAYS[0]));
        net.inject(&syn(WAYS[1]));
        assert_eq!(parked(&mut net, owner).1, addr(WAYS[0].0));
        assert_eq!(net.stack.listener(owner).unwrap().maxqlen, 1);
        assert_eq!(net.stack.stats().syncookies_sent, 0);
    }
}

/// Listeners of one's own come first; a bound socket parks for its port alone; one unbound socket a family.
/// Shows: forward-park-a
#[test]
fn ordinary_listeners_come_first() {
    let mut net = Net::new();
    let owner = parking(&mut net, 4);
    let mut second = |domain| {
        let id = net.stack.new_socket(domain, SocketFlags::empty()).unwrap();
        net.stack.park(net.now, id, 1)
    };
    assert_eq!([second(Domain::INET), second(Domain::INET6)], [Err(Errno::EADDRINUSE); 2]);
    net.listen(443, 8);
    net.inject(&syn(WAYS[0]));
    assert_eq!(net.one().hdr.flags, Flags::SYN | Flags::ACK);
    assert_eq!(net.stack.next_parked(owner), Err(Errno::EAGAIN));

    let bound = net.socket();
    net.stack.bind_socket(bound, addr("0.0.0.0:25")).unwrap();
    net.stack.park(net.now, bound, 1).unwrap();
    net.inject(&Seg::syn(1).to(25));
    assert_eq!(parked(&mut net, bound).2, addr("10.0.0.1:25"));
    assert_eq!(net.stack.park(net.now, bound, 1), Err(Errno::EINVAL));
    let fresh = net.socket();
    assert_eq!(net.stack.next_parked(fresh), Err(Errno::EINVAL));

    net.stack.close_socket(net.now, owner).unwrap();
    net.inject(&Seg::syn(1).to(26));
    assert_eq!(net.one().hdr.flags, Flags::RST | Flags::ACK, "nobody parks it any more");
    let v4 = net.socket();
    net.stack.park(net.now, v4, 1).unwrap();
    net.inject(&Seg::syn(1).from(addr("[fd00::2]:1")).to(26));
    assert_eq!(net.one().hdr.flags, Flags::RST | Flags::ACK, "a socket of AF_INET parks IPv4");
}

/// Those who wait with their owner gone: parked ones are forgotten, open ones that he did not take are reset.
/// Shows: forward-park-b
#[test]
fn closing_the_owner_leaves_nothing() {
    let mut net = Net::new();
    let owner = parking(&mut net, 4);
    net.inject(&syn(WAYS[0]));
    let (name, ..) = parked(&mut net, owner);
    net.inject(&syn(WAYS[1]));
    net.stack.answer_parked(net.now, name, ParkAnswer::Accept).unwrap();
    let next = net.one().hdr.seq.0 + 1;
    net.inject(&Seg::ack(1_001, next).from(addr(WAYS[0].0)).at(addr(WAYS[0].1)));
    assert_eq!(net.stack.population().half_open, 1);
    net.stack.close_socket(net.now, owner).unwrap();
    assert!(net.one().hdr.flags.contains(Flags::RST));
    assert_eq!(net.stack.population(), Default::default());
}
