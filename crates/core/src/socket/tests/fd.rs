//! Descriptors.

use super::*;
use crate::socket::fd::{FD_CLOEXEC, Fcntl, FdTable, O_NONBLOCK};

const STREAM: SocketType = SocketType::STREAM;

fn open(table: &mut FdTable, stack: &mut Stack) -> i32 {
    table.socket(stack, Domain::INET, STREAM, Protocol::DEFAULT).unwrap()
}

/// Shows: posix-socket-a
#[test]
fn the_lowest_unused_number_is_given() {
    let (mut table, mut stack) = (FdTable::new(16), Stack::new(Config::default(), [0; 32]));
    assert_eq!([0, 1, 2].map(|_| open(&mut table, &mut stack)), [0, 1, 2]);
    let closed = table.close(1).unwrap().expect("its only descriptor");
    stack.close(Instant::ZERO, closed).unwrap();
    assert_eq!(open(&mut table, &mut stack), 1);
    assert_eq!(open(&mut table, &mut stack), 3);
}

/// Shows: posix-socket-b
#[test]
fn a_full_table_is_emfile_and_makes_no_socket() {
    let config = Config { max_sockets: 2, ..Config::default() };
    let (mut table, mut stack) = (FdTable::new(1), Stack::new(config, [0; 32]));
    open(&mut table, &mut stack);
    let second = table.socket(&mut stack, Domain::INET, STREAM, Protocol::DEFAULT);
    assert_eq!(second, Err(Errno::EMFILE));
    assert_eq!(table.dup(0), Err(Errno::EMFILE));
    assert!(stack.socket(Domain::INET, STREAM, Protocol::DEFAULT).is_ok(), "the place was not taken");
}

/// Shows: posix-accept-b
#[test]
fn accept_without_descriptors_keeps_the_connection_queued() {
    let mut net = Net::new();
    let mut table = FdTable::new(2);
    let listener = net.listen();
    let fd = table.insert(listener, false, false).unwrap();
    let other = table.insert_other().unwrap();
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(table.accept4(&mut net.b, net.now, fd, 0), Err(Errno::EMFILE));
    table.close(other).unwrap();
    let (accepted, peer) = table.accept4(&mut net.b, net.now, fd, SocketType::NONBLOCK).unwrap();
    assert_eq!(peer, net.a.getsockname(client).unwrap());
    assert_eq!(table.is_nonblocking(accepted), Ok(true));
    assert_eq!(table.is_nonblocking(fd), Ok(false));
    assert_eq!(table.accept4(&mut net.b, net.now, fd, 1), Err(Errno::EINVAL));
}

/// Shows: posix-close-b
#[test]
fn the_socket_closes_with_its_last_descriptor() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    let mut table = FdTable::new(16);
    let fd = table.insert(client, false, false).unwrap();
    let copy = table.dup(fd).unwrap();
    assert_eq!(table.get(copy), Ok(client));
    assert_eq!(table.close(fd), Ok(None));
    net.run();
    assert_eq!(net.count(Side::A, Flags::FIN), 0);
    let last = table.close(copy).unwrap().expect("the last one");
    net.a.close(net.now, last).unwrap();
    net.run();
    assert_eq!(net.count(Side::A, Flags::FIN), 1);
    assert_eq!(table.close(copy), Err(Errno::EBADF));
}

/// Shows: posix-nonblock-a
#[test]
fn o_nonblock_belongs_to_the_open_description() {
    let (mut table, mut stack) = (FdTable::new(16), Stack::new(Config::default(), [0; 32]));
    let (fd, other) = (open(&mut table, &mut stack), open(&mut table, &mut stack));
    let copy = table.dup(fd).unwrap();
    table.fcntl(copy, Fcntl::SetFl, O_NONBLOCK).unwrap();
    assert_eq!([fd, copy, other].map(|fd| table.is_nonblocking(fd)), [Ok(true), Ok(true), Ok(false)]);
    assert_eq!(table.fcntl(fd, Fcntl::GetFl, 0).unwrap() & O_NONBLOCK, O_NONBLOCK);
    table.fcntl(fd, Fcntl::SetFl, 0).unwrap();
    assert_eq!(table.is_nonblocking(copy), Ok(false));
}

/// Shows: posix-socket-c
#[test]
fn type_flags_set_both_kinds_of_flag() {
    let (mut table, mut stack) = (FdTable::new(16), Stack::new(Config::default(), [0; 32]));
    let kind = SocketType(STREAM.0 | SocketType::CLOEXEC).nonblocking();
    let fd = table.socket(&mut stack, Domain::INET6, kind, Protocol::TCP).unwrap();
    assert_eq!(table.is_nonblocking(fd), Ok(true));
    assert_eq!(table.fcntl(fd, Fcntl::GetFd, 0), Ok(FD_CLOEXEC));
    let kept = table.dup(fd).unwrap();
    assert_eq!(table.fcntl(kept, Fcntl::GetFd, 0), Ok(0), "dup clears close-on-exec");
    assert!(table.exec().is_empty(), "the description lives on in its copy");
    assert_eq!(table.open_numbers().collect::<Vec<_>>(), [kept]);
    table.fcntl(kept, Fcntl::SetFd, FD_CLOEXEC).unwrap();
    assert_eq!(table.exec().len(), 1);
}

/// Shows: posix-send-e, posix-socket-a
#[test]
fn bad_numbers_are_ebadf_and_other_files_enotsock() {
    let (mut table, mut stack) = (FdTable::new(8), Stack::new(Config::default(), [0; 32]));
    let other = table.insert_other().unwrap();
    let fd = open(&mut table, &mut stack);
    assert_eq!(table.get(other), Err(Errno::ENOTSOCK));
    for bad in [-1, 5, i32::MAX] {
        assert_eq!(table.get(bad), Err(Errno::EBADF));
        assert_eq!(table.dup(bad), Err(Errno::EBADF));
        assert_eq!(table.close(bad), Err(Errno::EBADF));
    }
    for bad in [-1, 8, i32::MAX] {
        assert_eq!(table.dup2(fd, bad), Err(Errno::EBADF));
        assert_eq!(table.fcntl(fd, Fcntl::DupFd, bad), Err(Errno::EINVAL));
    }
}

/// Shows: posix-close-b
#[test]
fn dup2_closes_what_the_number_named() {
    let (mut table, mut stack) = (FdTable::new(8), Stack::new(Config::default(), [0; 32]));
    let (fd, gone) = (open(&mut table, &mut stack), open(&mut table, &mut stack));
    let gone_id = table.get(gone).unwrap();
    assert_eq!(table.dup2(fd, fd), Ok((fd, None)));
    assert_eq!(table.dup2(fd, gone), Ok((gone, Some(gone_id))));
    assert_eq!(table.get(gone), table.get(fd));
    assert_eq!(table.dup2(fd, 6), Ok((6, None)));
    assert_eq!(table.fcntl(fd, Fcntl::DupFd, 6), Ok(7));
    assert_eq!(table.fcntl(fd, Fcntl::DupFd, 6), Err(Errno::EMFILE));
    assert_eq!(table.dup(fd), Ok(2), "the numbers passed over are still unused");
}
