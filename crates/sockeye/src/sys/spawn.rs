//! Starting a program under the filter.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::seccomp;

/// Why a program could not be started.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The filter was refused.
    Filter(io::Error),
    /// The filter was installed, or would have been: the program itself cannot be run.
    Program(io::Error),
}

/// Starts `command` under the filter; its calls come in at the descriptor.
pub(crate) fn spawn(mut command: Command) -> Result<(Child, OwnedFd), Failed> {
    let (mine, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| Failed::Filter(error.into()))?;
    let program = seccomp::program();
    let install = move || match seccomp::install(&program) {
        Ok(fd) => send(&theirs, &[0; 4], Some(&fd)),
        Err(error) => {
            send(&theirs, &error.raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes(), None)?;
            Err(error)
        }
    };
    // SAFETY: between fork and exec the closure makes system calls only; it neither allocates nor takes a lock
    // (`io::Error`s here are numbers), so it is async-signal-safe.
    unsafe { command.pre_exec(install) };
    let result = command.spawn();
    drop(command); // and with it the other end of the pair: what is not sent now never will be
    match (result, receive(&mine)) {
        (Ok(child), Ok(Ok(fd))) => Ok((child, fd)),
        (Err(error), Ok(Ok(_)) | Err(_)) => Err(Failed::Program(error)),
        (_, Ok(Err(refused))) => Err(Failed::Filter(refused)),
        (Ok(mut child), Err(error)) => {
            // It runs without us: that must not be. The error is what there is to tell.
            let _ = child.kill();
            let _ = child.wait();
            Err(Failed::Filter(error))
        }
    }
}

/// Async-signal-safe.
fn send(to: &OwnedFd, message: &[u8; 4], fd: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd.as_fd()]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(to, &[io::IoSlice::new(message)], &mut control, SendFlags::empty())?;
    Ok(())
}

/// The descriptor, or why there is none; an error if nothing was said.
fn receive(from: &OwnedFd) -> io::Result<Result<OwnedFd, io::Error>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut message = [0; 4];
    let slices = &mut [io::IoSliceMut::new(&mut message)];
    let got = recvmsg(from, slices, &mut control, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match (got.bytes, fd) {
        (4, Some(fd)) => Ok(Ok(fd)),
        (4, None) => Ok(Err(io::Error::from_raw_os_error(i32::from_ne_bytes(message)))),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
