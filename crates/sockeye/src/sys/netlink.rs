//! Setting up an interface through rtnetlink: its addresses, its MTU, up or down. (No `unsafe` here.)

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, sendto, socket_with,
};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A netlink socket, and the number of an interface.
pub(crate) struct Interface {
    socket: OwnedFd,
    index: u32,
    name: String,
}

impl Interface {
    /// The interface of that name.
    pub(crate) fn by_name(name: &str) -> io::Result<Interface> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None, // protocol 0 is NETLINK_ROUTE
        )?;
        let index = netdevice::name_to_index(&socket, name)?;
        Ok(Interface { socket, index, name: name.to_owned() })
    }

    /// The interface's MTU, bytes.
    pub(crate) fn mtu(&self) -> io::Result<u32> {
        super::tun::mtu(&self.socket, &self.name)
    }

    /// Whether the interface is up.
    pub(crate) fn is_up(&self) -> io::Result<bool> {
        super::tun::is_up(&self.socket, &self.name)
    }

    /// Sets the MTU and the length of the queue towards us, and takes the interface up or down.
    pub(crate) fn set_link(&self, mtu: Option<u16>, queue: Option<u32>, up: Option<bool>) -> io::Result<()> {
        let mut body = Vec::with_capacity(32);
        body.extend([0, 0]); // family, padding
        body.extend(0u16.to_ne_bytes()); // type
        body.extend(self.index.to_ne_bytes());
        body.extend((if up == Some(true) { IFF_UP } else { 0 }).to_ne_bytes());
        body.extend((if up.is_some() { IFF_UP } else { 0 }).to_ne_bytes());
        if let Some(mtu) = mtu {
            attribute(&mut body, IFLA_MTU, &u32::from(mtu).to_ne_bytes());
        }
        if let Some(queue) = queue {
            attribute(&mut body, IFLA_TXQLEN, &queue.to_ne_bytes());
        }
        self.request(RTM_NEWLINK, 0, &body)
    }

    /// Gives the interface an address, or changes its prefix length.
    pub(crate) fn add_address(&self, address: IpAddr, prefix: u8) -> io::Result<()> {
        let (family, bytes) = match address {
            IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
        };
        let mut body = vec![family, prefix, IFA_F_NODAD, 0];
        body.extend(self.index.to_ne_bytes());
        attribute(&mut body, IFA_LOCAL, &bytes);
        attribute(&mut body, IFA_ADDRESS, &bytes);
        self.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body)
    }

    fn request(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend((16 + body.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        message.extend([0; 8]); // sequence number, port: one request at a time on this socket
        message.extend(body);
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &message, SendFlags::empty(), &kernel)?;
        let mut answer = [0u8; 1_024];
        let (len, _) = recv(&self.socket, &mut answer, RecvFlags::empty())?;
        let kind = answer[..len].get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
        let error =
            answer[..len].get(16..20).map(|code| i32::from_ne_bytes([code[0], code[1], code[2], code[3]]));
        match (kind, error) {
            (Some(NLMSG_ERROR), Some(0)) => Ok(()),
            (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "netlink gave no answer")),
        }
    }
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}
