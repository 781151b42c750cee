//! Any call in any state: a documented result, never a panic, and nothing left behind.

use super::*;
use crate::rng::Rng;
use crate::socket::op::{CloseOp, ConnectOp, RecvOp, SendOp};
use crate::socket::{How, Ioctl, Ready};

/// Calls with arguments drawn from `rng` on whatever sockets there are.
struct Caller {
    net: Net,
    rng: Rng,
    sockets: [Vec<SocketId>; 2],
    accepted: usize,
    delivered: usize,
}

impl Caller {
    fn side(&mut self) -> Side {
        if self.rng.below(2) == 0 { Side::A } else { Side::B }
    }

    /// One of the side's sockets, now and then a closed one.
    fn any_socket(&mut self, side: Side) -> SocketId {
        let all = &self.sockets[side as usize];
        match all.len() as u32 {
            0 => SocketId::from_u64(7),
            n => all[self.rng.below(n) as usize],
        }
    }

    fn any_addr(&mut self) -> SocketAddr {
        let ips = [A, B, A6, B6, "0.0.0.0".parse().unwrap(), "::ffff:10.0.0.2".parse().unwrap()];
        at(ips[self.rng.below(6) as usize], [0, 80, 81][self.rng.below(3) as usize])
    }

    fn one_call(&mut self) {
        let side = self.side();
        let (id, addr, now) = (self.any_socket(side), self.any_addr(), self.net.now);
        let plain = self.rng.below(2) == 0;
        let flags = if plain { 0 } else { 1 << self.rng.below(16) | 1 << self.rng.below(16) };
        let flags = MsgFlags::from_bits_retain(flags);
        let n = self.rng.below(20_000) as usize;
        let call = self.rng.below(24);
        let stack = self.net.stack(side);
        let mut made = None;
        match call {
            0..=2 => {
                let domain = if n % 3 == 0 { Domain::INET6 } else { Domain::INET };
                made = stack.socket(domain, SocketType::STREAM, Protocol::TCP).ok();
            }
            3 => drop(stack.bind(id, addr)),
            4 => {
                let _ = stack.bind(id, any(80));
                let _ = stack.listen(now, id, n as i32 % 3 - 1);
            }
            5..=6 => {
                made = stack.accept(now, id).ok().map(|(id, _)| id);
                self.accepted += usize::from(made.is_some());
            }
            7..=9 => drop(stack.connect(now, id, addr)),
            10 => drop(ConnectOp::new(id, addr, false).poll(stack, now)),
            11 if n % 4 == 0 => drop(stack.disconnect(now, id)),
            12..=13 => drop(stack.send(now, id, &vec![1; n], flags)),
            14 => drop(SendOp::new(id, flags).poll(stack, now, &vec![2; n])),
            15..=16 => self.delivered += stack.recv(now, id, &mut vec![0; n], flags).unwrap_or(0),
            17 => drop(RecvOp::new(id, flags).poll(stack, now, &mut vec![0; n])),
            18 => drop(stack.recv_bytes(now, id, n, flags)),
            19 if n % 4 == 0 => drop(How::from_number(n as i32 % 3).map(|how| stack.shutdown(now, id, how))),
            20 if n % 4 == 0 => drop(stack.close(now, id)),
            21 if n % 4 == 0 => drop(CloseOp::new(id).poll(stack, now)),
            22 if n % 4 == 0 => {
                let (level, name) = SockOptName::ALL[n % SockOptName::ALL.len()].number();
                let _ = stack.setsockopt_raw(now, id, level, name, &(n as i32 % 90).to_ne_bytes());
                let _ = stack.getsockopt_raw(now, id, level, name, &mut [0; 300]);
            }
            _ => {
                let _ = (stack.getsockname(id), stack.getpeername(id), stack.ioctl(id, Ioctl::Inq));
                stack.set_interest(id, Ready::all());
                let ready = stack.poll(id);
                assert_eq!(ready.contains(Ready::NVAL), stack.getsockname(id) == Err(Errno::EBADF));
            }
        }
        self.sockets[side as usize].extend(made);
        // Dead names stay for a while: they must find nothing.
        if self.rng.below(8) == 0 {
            let Caller { net, sockets, .. } = self;
            sockets[side as usize].retain(|id| !net.stack(side).poll(*id).contains(Ready::NVAL));
        }
    }
}

/// Shows: posix-concurrent-a, posix-send-e
#[test]
fn random_calls_in_random_states() {
    let (mut accepted, mut delivered) = (0, 0);
    for seed in 0..40 {
        let config = || Config { max_sockets: 64, ..Config::default() };
        let rng = Rng::new([seed; 32]);
        let mut caller = Caller {
            net: Net::with(config(), config()),
            rng,
            sockets: [Vec::new(), Vec::new()],
            accepted: 0,
            delivered: 0,
        };
        for _ in 0..1_500 {
            caller.one_call();
            match caller.rng.below(8) {
                0 => caller.net.pass(millis(300)),
                1..=4 => caller.net.run(),
                _ => {}
            }
            caller.net.log.clear();
            while caller.net.a.next_event().or(caller.net.b.next_event()).is_some() {}
        }
        accepted += caller.accepted;
        delivered += caller.delivered;
        // Closed, all goes away: every socket, every timer, every port.
        let Caller { mut net, sockets, .. } = caller;
        for (side, ids) in [Side::A, Side::B].into_iter().zip(sockets) {
            for id in ids {
                let now = net.now;
                let _ = net.stack(side).close(now, id);
            }
        }
        net.pass(secs(1_200));
        for stack in [&mut net.a, &mut net.b] {
            assert_eq!(stack.snapshot().count(), 0, "seed {seed}");
            assert_eq!(stack.next_deadline(), None, "seed {seed}");
            for port in [80, 81] {
                let id = socket(stack);
                assert_eq!(stack.bind(id, any(port)), Ok(()), "seed {seed}");
            }
            for _ in 2..64 {
                socket(stack);
            }
        }
    }
    // The calls did meet each other.
    assert!(accepted > 20 && delivered > 50_000, "{accepted} accepted, {delivered} bytes delivered");
}
