//! Who is on a network: one directory, one socket a member, one lock for joining and leaving.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The first address of 198.18.0.0/15 and how many there are; 2001:db8::/64 is numbered alike.
const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const COUNT: u32 = 1 << 17;
const PREFIX6: u128 = 0x2001_0db8 << 96;
/// Connections that may wait to be taken in by a member.
const BACKLOG: i32 = 4_096;
/// Networks that one that joins looks through for what the dead have left.
const SWEPT: usize = 64;

/// A member's place in its network.
pub(super) struct Membership {
    name: String,
    /// `lan` in the runtime directory, which holds the lock.
    all: OwnedFd,
    /// The network.
    directory: OwnedFd,
    listener: OwnedFd,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Membership {
    pub(super) fn join(name: &str, address: Option<IpAddr>) -> io::Result<Membership> {
        check_name(name)?;
        address.map_or(Ok(()), check_address)?;
        let fail = |error: io::Error| {
            io::Error::new(error.kind(), format!("the network {name} cannot be joined: {error}"))
        };
        let all = open_all().map_err(fail)?;
        let _lock = lock(&all).map_err(fail)?;
        sweep(&all).map_err(fail)?;
        let directory = open_or_make(&all, name).map_err(fail)?;
        clear(&directory).map_err(fail)?;
        let taken = entries(&directory).map_err(fail)?;
        let (v4, v6) = choose(name, address, &taken)?;
        let (listener, v4_name) = (socket().map_err(|error| fail(error.into()))?, v4.to_string());
        let make = || -> io::Result<()> {
            rustix::net::bind(&listener, &path_of(&directory, &v4_name)?)?;
            rustix::net::listen(&listener, BACKLOG)?;
            rustix::fs::symlinkat(&v4_name, &directory, v6.to_string())?;
            Ok(())
        };
        make().map_err(fail)?;
        drop(_lock);
        Ok(Membership { name: name.to_owned(), all, directory, listener, v4, v6 })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn addresses(&self) -> (Ipv4Addr, Ipv6Addr) {
        (self.v4, self.v6)
    }

    pub(super) fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// A socket to whoever has this address.
    pub(super) fn connect(&self, address: IpAddr) -> rustix::io::Result<OwnedFd> {
        connect(&self.directory, &address.to_string())
    }

    pub(super) fn members(&self) -> io::Result<Vec<Ipv4Addr>> {
        let all = entries(&self.directory)?;
        let lives = |address: &Ipv4Addr| {
            *address == self.v4 || connect(&self.directory, &address.to_string()).is_ok()
        };
        let mut members: Vec<Ipv4Addr> = all.iter().filter_map(|name| name.parse().ok()).collect();
        members.retain(lives);
        members.sort();
        Ok(members)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // Without the lock the names stay, and the next one that joins clears them away.
        let Ok(_lock) = lock(&self.all) else { return };
        for name in [self.v6.to_string(), self.v4.to_string()] {
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
        let _ = clear(&self.directory);
        // Others are still on it, or another network of that name has taken its place: then it fails, and stays.
        let _ = rustix::fs::unlinkat(&self.all, self.name.as_str(), AtFlags::REMOVEDIR);
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn check_name(name: &str) -> io::Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(invalid(format!(
            "{name:?} is no name for a network: 1 to 64 letters, digits, `-`, `_` and `.`, not `.` first"
        )));
    }
    Ok(())
}

/// The number of an address in its network.
fn number_of(address: IpAddr) -> Option<u32> {
    let number = match address {
        IpAddr::V4(ip) => ip.to_bits().checked_sub(FIRST)?,
        IpAddr::V6(ip) => u32::try_from(ip.to_bits().checked_sub(PREFIX6)?).ok()?,
    };
    let last = if address.is_ipv4() { COUNT - 1 } else { u32::MAX };
    (1..last).contains(&number).then_some(number)
}

fn v4_of(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST + number)
}

fn v6_of(number: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(PREFIX6 + u128::from(number))
}

fn check_address(address: IpAddr) -> io::Result<()> {
    match (number_of(address), address) {
        (Some(_), _) => Ok(()),
        (None, IpAddr::V4(_)) => Err(invalid(format!(
            "{address} is no address of a lan: choose one from 198.18.0.1 to 198.19.255.254"
        ))),
        (None, IpAddr::V6(_)) => Err(invalid(format!(
            "{address} is no address of a lan: choose one from 2001:db8::1 to 2001:db8::ffff:fffe"
        ))),
    }
}

/// The two addresses of a new member.
fn choose(name: &str, address: Option<IpAddr>, taken: &BTreeSet<String>) -> io::Result<(Ipv4Addr, Ipv6Addr)> {
    let is_free = |address: IpAddr| !taken.contains(&address.to_string());
    if let Some(address) = address.filter(|address| !is_free(*address)) {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!(
                "{address} is taken by another member of the network {name}: choose another address, or none"
            ),
        ));
    }
    let full = || {
        io::Error::new(io::ErrorKind::AddrNotAvailable, format!("no address is free in the network {name}"))
    };
    let both = (1..COUNT - 1).find(|&n| is_free(v4_of(n).into()) && is_free(v6_of(n).into()));
    let any4 = || (1..COUNT - 1).map(v4_of).find(|ip| is_free((*ip).into())).ok_or_else(full);
    let any6 = || (1..COUNT - 1).map(v6_of).find(|ip| is_free((*ip).into())).ok_or_else(full);
    let number = address.and_then(number_of);
    match address {
        None => both.map(|n| (v4_of(n), v6_of(n))).ok_or_else(full),
        Some(IpAddr::V4(v4)) => {
            let like = number.map(v6_of).filter(|v6| is_free((*v6).into()));
            Ok((v4, like.map_or_else(any6, Ok)?))
        }
        Some(IpAddr::V6(v6)) => {
            let like = number.filter(|n| *n < COUNT - 1).map(v4_of).filter(|v4| is_free((*v4).into()));
            Ok((like.map_or_else(any4, Ok)?, v6))
        }
    }
}

/// `lan` in the user's runtime directory.
fn open_all() -> io::Result<OwnedFd> {
    let base = match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir()) {
        Some(runtime) => runtime.join("sockeye"),
        None => PathBuf::from(format!("/tmp/sockeye-{}", rustix::process::geteuid().as_raw())),
    };
    let base = open_or_make_at(CWD, &base)?;
    open_or_make(&base, "lan")
}

fn open_or_make(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    open_or_make_at(parent.as_fd(), &PathBuf::from(name))
}

/// A directory that is the user's own and that nobody else may enter.
fn open_or_make_at(parent: impl AsFd, path: &PathBuf) -> io::Result<OwnedFd> {
    let parent = parent.as_fd();
    match rustix::fs::mkdirat(parent, path, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(explain(path, error.into())),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, path, flags, Mode::empty());
    let directory = directory.map_err(|error| explain(path, error.into()))?;
    let stat = rustix::fs::fstat(&directory)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
        let text = format!(
            "{} is open to other users or belongs to one: remove it, or `chmod 700` it",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(directory)
}

fn explain(path: &std::path::Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the directory {} cannot be used ({error})", path.display()))
}

/// The lock of all networks of a user, held until it is dropped.
fn lock(all: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(all, ".lock", flags, Mode::RUSR | Mode::WUSR)?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// A name in a directory as a socket's address: short, however deep the directory lies.
fn path_of(directory: &OwnedFd, name: &str) -> rustix::io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

fn connect(directory: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let socket = socket()?;
    rustix::net::connect(&socket, &path_of(directory, name)?)?;
    Ok(socket)
}

fn entries(directory: &OwnedFd) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.parse::<IpAddr>().is_ok() {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Removes networks all of whose members were killed; some of them, if there are many.
fn sweep(all: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for entry in Dir::read_from(all)?.take(SWEPT) {
        let name = entry?.file_name().to_owned();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        if let Ok(network) = rustix::fs::openat(all, &name, flags, Mode::empty()) {
            clear(&network)?;
            // Somebody lives there: it stays.
            let _ = rustix::fs::unlinkat(all, &name, AtFlags::REMOVEDIR);
        }
    }
    Ok(())
}

/// Removes the names of members that are dead: nobody listens on their sockets.
fn clear(directory: &OwnedFd) -> io::Result<()> {
    for name in entries(directory)? {
        // One that lives but is slow to take connections in says AGAIN.
        if let Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) = connect(directory, &name) {
            rustix::fs::unlinkat(directory, name.as_str(), AtFlags::empty())?;
        }
    }
    Ok(())
}
