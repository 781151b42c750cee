//! The forwarder at its limits. They are of the whole process, or read off it, so these tests are alone here, one at a time.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};
use sockeye::Host;
use sockeye::device::{Memory, MemoryOptions};
use sockeye::forward::{self, Forwarder, Publish, Published, Target};
use sockeye::net::TcpListener as StackListener;

static ONE: Mutex<()> = Mutex::new(());

fn one() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn processor_time() -> Timespec {
    clock_gettime(ClockId::ProcessCPUTime)
}

/// Nobody spins for most of a second.
fn nobody_spins(forwarder: &Forwarder) {
    let (before, spent) = (forwarder.totals(), processor_time());
    std::thread::sleep(Duration::from_millis(700));
    let spent = Duration::try_from(processor_time() - spent).unwrap();
    assert!(spent < Duration::from_millis(350), "{spent:?} of processor time while there is nothing to do");
    let tried = forwarder.totals().out_of_descriptors - before.out_of_descriptors;
    assert!(tried < 40, "tried {tried} times");
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct World {
    program: Host,
    _outer: Host,
    forwarder: Forwarder,
    said: Arc<Mutex<Vec<String>>>,
    server: TcpListener,
    at: SocketAddr,
    listener: StackListener,
    door: Published,
}

fn world(max_connections: u32) -> World {
    let (inner, outer) = Memory::pair(MemoryOptions::default());
    let program =
        Host::builder().device(inner).address([198, 18, 2, 15], 24).gateway([198, 18, 2, 2]).build().unwrap();
    let outer = forward::host(outer).build().unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let keep = said.clone();
    let forwarder = Forwarder::builder()
        .decide(|_, at| Target::Connect(SocketAddr::from(([127, 0, 0, 1], at.port()))))
        .on_trouble(move |text| keep.lock().unwrap().push(text.to_owned()))
        .max_connections(max_connections)
        .build(&outer)
        .unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = SocketAddr::from(([198, 18, 2, 2], server.local_addr().unwrap().port()));
    let listener = StackListener::bind(&program, "0.0.0.0:80").unwrap();
    let door = forwarder
        .publish(Publish {
            listen: "127.0.0.1:0".parse().unwrap(),
            to: vec!["198.18.2.15:80".parse().unwrap()],
            stand_ins: vec![[198, 18, 2, 2].into()],
        })
        .unwrap();
    World { program, _outer: outer, forwarder, said, server, at, listener, door }
}

fn read(from: &mut impl Read, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

/// With no descriptor left SYNs stay unanswered and published ports pause, said once and counted; what is open goes on, and
/// once there are descriptors again everybody who waited comes in. No thread spins meanwhile.
/// Shows: forward-carry-c
#[test]
fn out_of_descriptors_new_connections_wait() {
    let _one = one();
    let world = world(16);
    let mut open = world.program.connect(world.at).unwrap();
    let (mut served, _) = world.server.accept().unwrap();

    // Every descriptor is taken, but for one, which the client takes. It connects in the host's kernel; nobody accepts it.
    let before = getrlimit(Resource::Nofile);
    let highest = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 + 16;
    setrlimit(Resource::Nofile, Rlimit { current: Some(highest), ..before }).unwrap();
    let mut taken = Vec::new();
    while let Ok(fd) = world.server.as_fd().try_clone_to_owned() {
        taken.push(fd);
    }
    drop(taken.pop());
    let client = TcpStream::connect(world.door.local_addr()).unwrap();
    eventually("the port has no descriptor", || world.forwarder.totals().out_of_descriptors > 0);
    let (asked, at) = (world.program.clone(), world.at);
    let outward = std::thread::spawn(move || asked.connect(at).is_ok());
    let syns = world.forwarder.totals().outward;
    eventually("the SYN has none", || world.forwarder.totals().outward > syns);
    open.write_all(b"still here").unwrap();
    assert_eq!(read(&mut served, 10), b"still here");
    nobody_spins(&world.forwarder);
    assert!(!outward.is_finished());
    let said = world.said.lock().unwrap().clone();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("ulimit -n"));

    drop(taken);
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(outward.join().unwrap());
    let (mut served, _) = world.listener.accept().unwrap();
    (&client).write_all(b"in").unwrap();
    assert_eq!(read(&mut served, 2), b"in");
}

/// A published port with as many connections as may be: who comes then waits in the host's kernel, without a thread that
/// spins, and comes in when one has ended.
/// Shows: forward-carry-c
#[test]
fn with_as_many_connections_as_may_be_the_next_waits() {
    let _one = one();
    let world = world(2);
    let clients = [(); 3].map(|()| TcpStream::connect(world.door.local_addr()).unwrap());
    let mut served: Vec<_> = (0..2).map(|_| world.listener.accept().unwrap().0).collect();
    nobody_spins(&world.forwarder);
    world.listener.set_nonblocking(true).unwrap();
    assert_eq!(world.listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(world.forwarder.totals().out_of_descriptors, 0);

    let [first, second, third] = clients;
    drop((first, served.remove(0)));
    let mut next = None;
    eventually("the third is in", || {
        next = world.listener.accept().ok();
        next.is_some()
    });
    (&third).write_all(b"in").unwrap();
    let mut next = next.unwrap().0;
    next.set_nonblocking(false).unwrap();
    assert_eq!(read(&mut next, 2), b"in");
    (&second).write_all(b"on").unwrap();
    assert_eq!(read(&mut served[0], 2), b"on");
}
