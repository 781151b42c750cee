//! The network that `--net` names.

use std::net::IpAddr;

use sockeye::core::stack::Cidr;
use sockeye::device::{Lan, Tun, TunOptions, enter_own_network, lan};
use sockeye::run::NetworkBuilder;

use super::Failed;
use super::args::{NetArg, RunArgs};
use crate::args::AddressArg;
use crate::failure::describe;
use crate::link::{cannot_open, kernel_side};

/// Goes into a network namespace of one's own.
pub fn unshare(net: &NetArg) -> Result<(), Failed> {
    if !matches!(net, NetArg::Tun(_)) {
        return Err(Failed::new("--unshare goes with --net tun:NAME"));
    }
    enter_own_network().map_err(|error| Failed::new(error.to_string()))
}

/// Puts the program's stack on its network.
pub fn attach(builder: NetworkBuilder, net: &NetArg, args: &RunArgs) -> Result<NetworkBuilder, Failed> {
    if !args.gateway.is_empty() && !matches!(net, NetArg::Tun(_)) {
        return Err(Failed::new("--gateway goes with --net tun:NAME"));
    }
    match net {
        NetArg::User if args.address.is_empty() => Ok(builder),
        NetArg::User => {
            Err(Failed::new("--address goes with --net lan:NAME or tun:NAME; in `user` the address is fixed"))
        }
        NetArg::Lan(name) => join(builder, name, args),
        NetArg::Tun(name) => open(builder, name, args),
    }
}

fn join(builder: NetworkBuilder, name: &str, args: &RunArgs) -> Result<NetworkBuilder, Failed> {
    let address = match &args.address[..] {
        [] => None,
        [one] => Some(ip("--address", one)?),
        _ => return Err(Failed::new("one --address is enough in a lan; the other family's goes with it")),
    };
    let lan = Lan::join(name, address).map_err(|error| Failed::new(describe(&error)))?;
    let (v4, v6) = lan.addresses();
    if !args.quiet && !args.json {
        eprintln!("sockeye: {v4} and {v6} in lan:{name}");
    }
    let addresses = vec![Cidr::new(v4.into(), lan::PREFIXES.0), Cidr::new(v6.into(), lan::PREFIXES.1)];
    Ok(builder.device(lan, addresses, Vec::new()))
}

fn open(builder: NetworkBuilder, name: &str, args: &RunArgs) -> Result<NetworkBuilder, Failed> {
    if args.address.is_empty() {
        return Err(Failed::new("--net tun:NAME wants an --address, such as 192.0.2.2/24"));
    }
    let parse = |text: &String| -> Result<AddressArg, Failed> {
        text.parse().map_err(|error| Failed::new(format!("--address {text}: {error}")))
    };
    let addresses = args.address.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let kernel = kernel_side(&addresses, name);
    let options = TunOptions {
        host_addresses: kernel.iter().map(|a| (a.address, a.prefix)).collect(),
        ..TunOptions::new(name)
    };
    let tun = Tun::open(&options).map_err(|error| {
        let text = cannot_open(name, &error).to_string();
        Failed::new(text.strip_prefix("sockeye: ").unwrap_or(&text))
    })?;
    let mut gateways =
        args.gateway.iter().map(|text| ip("--gateway", text)).collect::<Result<Vec<_>, _>>()?;
    for is_v4 in [true, false] {
        let first = kernel.iter().map(|a| a.address).find(|address| address.is_ipv4() == is_v4);
        if !gateways.iter().any(|gateway| gateway.is_ipv4() == is_v4) {
            gateways.extend(first);
        }
    }
    let addresses = addresses.iter().map(|a| Cidr::new(a.address, a.prefix)).collect();
    Ok(builder.device(tun, addresses, gateways))
}

fn ip(option: &str, text: &str) -> Result<IpAddr, Failed> {
    text.parse().map_err(|_| Failed::new(format!("{option} {text}: that is no IPv4 or IPv6 address")))
}
