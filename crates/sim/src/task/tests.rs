//! Programs over socket calls in virtual time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use sockeye_core::socket::{How, SockOpt};
use sockeye_core::{Config, Errno};

use super::*;
use crate::topology::{Plan, Shape, lay_out};

fn pair(link: &str) -> (Sim, Host, Host, SocketAddr) {
    let mut world = World::new(11);
    world.check();
    let plan = Plan {
        shape: Shape::Pair,
        ipv6: false,
        mtu: 1_500,
        narrow_mtu: 1_500,
        link: link.parse().unwrap(),
        configs: [Config::default(), Config::default()],
    };
    let layout = lay_out(&mut world, &plan);
    let sim = Sim::new(world);
    let net = sim.net();
    let (a, b) = (net.host(layout.left[0].0), net.host(layout.right[0].0));
    (sim, a, b, SocketAddr::new(layout.right[0].1, 80))
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn end(sim: &Sim) -> Instant {
    sim.world().now() + secs(36_000)
}

#[test]
fn a_message_there_and_back_takes_two_round_trips() {
    let (mut sim, a, b, at) = pair("delay=10ms");
    let listener = b.listen(at, 8, &[]).unwrap();
    sim.spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(stream.names().unwrap(), (at, peer));
        let mut got = [0; 16];
        assert_eq!(stream.recv(&mut got).await, Ok(5));
        assert_eq!(&got[..5], b"hello");
        stream.send(b"world!").await.unwrap();
        stream.close().await.unwrap();
    });
    let start = sim.world().now();
    let program = async move {
        let stream = a.connect(at, &[SockOpt::NoDelay(true)]).await?;
        stream.send(b"hello").await?;
        let mut got = [0; 16];
        let n = stream.recv(&mut got).await?;
        assert_eq!(&got[..n], b"world!");
        assert_eq!(stream.recv(&mut got).await?, 0);
        let took = a.net().now();
        stream.shutdown(How::Write)?;
        stream.close().await?;
        Ok::<_, Errno>(took)
    };
    let limit = end(&sim);
    let took = sim.block_on(limit, program).expect("in time").unwrap().since(start);
    assert_eq!(took, Duration::from_millis(40));
    assert_eq!(sim.run(limit), Ended::Programs);
    assert_eq!(sim.settle(limit), Ended::Programs);
    assert_eq!(sim.world().violation(), None);
    assert_eq!(sim.world().leaks(), None);
    let lasted = sim.world().now().since(start);
    assert!(lasted > secs(60) && lasted < secs(62), "TIME-WAIT was waited for: {lasted:?}");
}

#[test]
fn time_limits_are_met_to_the_nanosecond() {
    let (mut sim, a, b, at) = pair("delay=10ms");
    let listener = b.listen(at, 8, &[]).unwrap();
    let start = sim.world().now();
    let limit = end(&sim);
    let program = async move {
        let net = a.net().clone();
        let stream = a.connect(at, &[SockOpt::RcvTimeo(Some(secs(3)))]).await.unwrap();
        let connected = net.now();
        assert_eq!(stream.recv(&mut [0; 4]).await, Err(Errno::EAGAIN));
        assert_eq!(net.now(), connected + secs(3));
        assert_eq!(net.timeout(secs(1), listener.accept()).await.map(|r| r.is_ok()), Ok(true));
        assert!(net.timeout(secs(1), listener.accept()).await.is_err());
        net.sleep(Duration::from_nanos(7)).await;
        net.now()
    };
    let now = sim.block_on(limit, program).expect("in time");
    assert_eq!(now.since(start), Duration::from_millis(20) + secs(4) + Duration::from_nanos(7));
}

#[test]
fn tasks_run_in_the_order_in_which_they_were_woken() {
    let (mut sim, a, ..) = pair("delay=10ms");
    let order = Rc::new(RefCell::new(Vec::new()));
    for i in 0..5_u64 {
        let (order, net) = (Rc::clone(&order), a.net().clone());
        sim.spawn(async move {
            net.sleep(secs(10 - 2 * (i % 3))).await;
            order.borrow_mut().push(i);
            net.sleep(Duration::ZERO).await;
            order.borrow_mut().push(10 + i);
        });
    }
    let limit = end(&sim);
    assert_eq!(sim.run(limit), Ended::Programs);
    assert_eq!(*order.borrow(), [2, 12, 1, 11, 4, 14, 0, 10, 3, 13]);
}

#[test]
fn a_host_started_anew_takes_its_programs_with_it() {
    let (mut sim, a, b, at) = pair("delay=10ms");
    let listener = b.listen(at, 8, &[]).unwrap();
    let survived = Rc::new(Cell::new(false));
    let (net, host) = (sim.net(), b.id());
    let server = b.spawn({
        let survived = Rc::clone(&survived);
        async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = stream.recv(&mut [0; 4]).await;
            survived.set(true);
        }
    });
    let client = a.spawn({
        let a = a.clone();
        async move {
            let stream = a.connect(at, &[]).await.unwrap();
            net.sleep(secs(1)).await;
            net.reboot(host);
            stream.send(b"anybody?").await.unwrap();
            (stream.recv(&mut [0; 4]).await, a.connect(at, &[]).await.err())
        }
    });
    let limit = end(&sim);
    let ends = sim.block_on(limit, async move { (server.await, client.await) }).expect("in time");
    assert_eq!(ends, (None, Some((Err(Errno::ECONNRESET), Some(Errno::ECONNREFUSED)))));
    assert!(!survived.get());
    assert_eq!(b.listen(at, 8, &[]).err(), Some(Errno::EBADF), "a handle of before");
    assert!(sim.net().host(host).listen(at, 8, &[]).is_ok());
}

#[test]
fn what_is_dropped_is_closed() {
    let (mut sim, a, b, at) = pair("delay=1ms");
    let listener = b.listen(at, 8, &[]).unwrap();
    sim.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(stream.recv(&mut [0; 4]).await, Ok(0));
    });
    sim.spawn(async move { drop(a.connect(at, &[]).await.unwrap()) });
    let limit = end(&sim);
    assert_eq!(sim.run(limit), Ended::Programs);
    assert_eq!(sim.settle(limit), Ended::Programs);
    assert_eq!(sim.world().leaks(), None);
}
