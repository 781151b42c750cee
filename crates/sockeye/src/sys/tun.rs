//! `/dev/net/tun`: the ioctls of `linux/if_tun.h`, and reading into spare room.

use std::io;
use std::os::fd::OwnedFd;

use bytes::BytesMut;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{IntegerSetter, Setter, Updater, ioctl, opcode};

const TUNSETOFFLOAD: u32 = opcode::write::<u32>(b'T', 208);
const TUNSETPERSIST: u32 = opcode::write::<i32>(b'T', 203);
const TUNSETIFF: u32 = opcode::write::<i32>(b'T', 202);
const TUNSETVNETHDRSZ: u32 = opcode::write::<i32>(b'T', 216);

const IFF_TUN: i16 = 0x0001;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;

const TUN_F_CSUM: usize = 0x01;
const TUN_F_TSO4: usize = 0x02;
const TUN_F_TSO6: usize = 0x04;

/// Bytes of `struct virtio_net_hdr` in front of each packet.
pub(crate) const VNET_HEADER: usize = 10;

const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFMTU: u32 = 0x8921;

/// `struct ifreq`: a name, and a union whose members used here lie at its beginning.
#[repr(C, align(8))]
struct IfReq {
    name: [u8; 16],
    value: [u8; 24],
}

impl IfReq {
    fn new(name: &str) -> io::Result<IfReq> {
        if name.len() > 15 || name.contains(['\0', '/']) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an interface name has at most 15 bytes",
            ));
        }
        let mut request = IfReq { name: [0; 16], value: [0; 24] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }
}

/// Opens the clone device, not blocking.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/net/tun", flags, Mode::empty())?)
}

/// Attaches `fd` to the interface `name` (which may end in `%d`), made if it is not there; the name it got.
pub(crate) fn attach(fd: &OwnedFd, name: &str, vnet_header: bool) -> io::Result<String> {
    let vnet = if vnet_header { IFF_VNET_HDR } else { 0 };
    let mut request = IfReq::new(name)?;
    request.value[..2].copy_from_slice(&(IFF_TUN | IFF_NO_PI | vnet).to_ne_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, 40 bytes; `IfReq` has its size and
    // alignment, and any bytes are valid in it.
    unsafe { ioctl(fd, Updater::<TUNSETIFF, IfReq>::new(&mut request))? };
    let len = request.name.iter().position(|&byte| byte == 0).unwrap_or(16);
    Ok(String::from_utf8_lossy(&request.name[..len]).into_owned())
}

/// Sets the length of the virtio header to [`VNET_HEADER`].
pub(crate) fn set_vnet_header(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    unsafe { ioctl(fd, Setter::<TUNSETVNETHDRSZ, i32>::new(VNET_HEADER as i32))? };
    Ok(())
}

/// Lets the kernel send partial checksums and super-segments of both families.
pub(crate) fn set_offload(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its flags as the argument itself.
    unsafe { ioctl(fd, IntegerSetter::<TUNSETOFFLOAD>::new_usize(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6))? };
    Ok(())
}

/// Whether the interface outlives its last user.
pub(crate) fn set_persistent(fd: &OwnedFd, persistent: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes a truth value as the argument itself.
    unsafe { ioctl(fd, IntegerSetter::<TUNSETPERSIST>::new_usize(usize::from(persistent)))? };
    Ok(())
}

/// An interface's MTU, bytes. Any socket serves as `socket`.
pub(crate) fn mtu(socket: &OwnedFd, name: &str) -> io::Result<u32> {
    let mut request = IfReq::new(name)?;
    // SAFETY: SIOCGIFMTU reads and writes one `struct ifreq`; see `attach`.
    unsafe { ioctl(socket, Updater::<SIOCGIFMTU, IfReq>::new(&mut request))? };
    let [a, b, c, d, ..] = request.value;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// Whether an interface is up (IFF_UP).
pub(crate) fn is_up(socket: &OwnedFd, name: &str) -> io::Result<bool> {
    let mut request = IfReq::new(name)?;
    // SAFETY: SIOCGIFFLAGS reads and writes one `struct ifreq`; see `attach`.
    unsafe { ioctl(socket, Updater::<SIOCGIFFLAGS, IfReq>::new(&mut request))? };
    Ok(request.value[0] & 1 != 0)
}

/// Reads once into the spare room of `buffer`; its length grows by what was read.
pub(crate) fn read_into(fd: &OwnedFd, buffer: &mut BytesMut) -> io::Result<usize> {
    let (read, _) = rustix::io::read(fd, buffer.spare_capacity_mut())?;
    let read = read.len();
    // SAFETY: `read` is the part of the spare capacity, from its beginning, that the kernel has just written.
    unsafe { buffer.set_len(buffer.len() + read) };
    Ok(read)
}
