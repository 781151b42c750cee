//! Addresses between what a program says and what a connection uses: families, IPv4 in IPv6
//! clothes, and addresses that name no peer.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::socket::Domain;
use crate::{Errno, Options};

/// The address to bind to, IPv4 out of its IPv6 clothes.
///
/// EAFNOSUPPORT for another family (posix-bind-a), EINVAL for IPv4 on an IPv6-only socket and for a multicast
/// group of IPv6, EADDRNOTAVAIL for one of IPv4, which is nobody's own address.
pub(super) fn to_bind(domain: Domain, options: &Options, addr: SocketAddr) -> Result<SocketAddr, Errno> {
    let addr = family(domain, addr)?;
    match unmapped(addr) {
        Some(_) if options.v6only => Err(Errno::EINVAL),
        _ if addr.ip().is_multicast() && addr.is_ipv6() => Err(Errno::EINVAL),
        mapped => {
            let addr = mapped.unwrap_or(addr);
            match addr.ip() {
                IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => Err(Errno::EADDRNOTAVAIL),
                _ => Ok(addr),
            }
        }
    }
}

/// The address to connect to, as the connection has it.
///
/// The unspecified address means this host (`local` if the socket is bound to one of its addresses). What
/// names no single host is refused without a segment (MUST-46): ENETUNREACH, as Linux.
pub(super) fn to_connect(
    domain: Domain,
    options: &Options,
    local: Option<IpAddr>,
    addr: SocketAddr,
) -> Result<SocketAddr, Errno> {
    let addr = family(domain, addr)?;
    let mut addr = match unmapped(addr) {
        Some(_) if options.v6only => return Err(Errno::ENETUNREACH),
        Some(mapped) => mapped,
        None => addr,
    };
    if addr.ip().is_unspecified() {
        let local = local.filter(|local| !local.is_unspecified());
        match (addr.ip(), local) {
            (IpAddr::V4(_), Some(IpAddr::V4(own))) => addr.set_ip(IpAddr::V4(own)),
            (IpAddr::V4(_), _) | (IpAddr::V6(_), Some(IpAddr::V4(_))) => {
                addr.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
            }
            (IpAddr::V6(_), _) => addr.set_ip(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        }
    }
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => Err(Errno::ENETUNREACH),
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Err(Errno::EINVAL), // "this network", RFC 1122 3.2.1.3
        IpAddr::V6(ip) if ip.is_multicast() => Err(Errno::ENETUNREACH),
        ip if local.is_some_and(|local| !local.is_unspecified() && local.is_ipv4() != ip.is_ipv4()) => {
            Err(Errno::EINVAL) // bound to an address of the other family
        }
        _ => Ok(addr),
    }
}

/// The interface that a link-local address needs (RFC 4007 6): its scope id, or the socket's device.
///
/// EINVAL if there is neither, or if the two differ.
pub(super) fn scope(addr: &SocketAddr, bind_to_device: u32) -> Result<Option<u32>, Errno> {
    let SocketAddr::V6(v6) = addr else { return Ok(None) };
    if !v6.ip().is_unicast_link_local() {
        return Ok(None);
    }
    match (v6.scope_id(), bind_to_device) {
        (0, 0) => Err(Errno::EINVAL),
        (0, device) => Ok(Some(device)),
        (scope, 0) => Ok(Some(scope)),
        (scope, device) if scope == device => Ok(Some(scope)),
        _ => Err(Errno::EINVAL),
    }
}

/// An address as the program of a socket of that domain sees it.
pub(super) fn to_user(domain: Domain, addr: SocketAddr, bind_to_device: u32) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if domain == Domain::INET6 => {
            let ip = if v4.ip().is_unspecified() && v4.port() == 0 {
                Ipv6Addr::UNSPECIFIED
            } else {
                v4.ip().to_ipv6_mapped()
            };
            SocketAddr::V6(SocketAddrV6::new(ip, v4.port(), 0, 0))
        }
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, bind_to_device))
        }
        other => other,
    }
}

/// What `getsockname` shows of a socket without an address.
pub(super) fn wildcard(domain: Domain) -> SocketAddr {
    match domain {
        Domain::INET6 => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        _ => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    }
}

fn family(domain: Domain, addr: SocketAddr) -> Result<SocketAddr, Errno> {
    if addr.is_ipv6() == (domain == Domain::INET6) { Ok(addr) } else { Err(Errno::EAFNOSUPPORT) }
}

/// The IPv4 address inside of a v4-mapped one.
fn unmapped(addr: SocketAddr) -> Option<SocketAddr> {
    let SocketAddr::V6(v6) = addr else { return None };
    let ip = v6.ip().to_ipv4_mapped()?;
    Some(SocketAddr::new(IpAddr::V4(ip), v6.port()))
}
