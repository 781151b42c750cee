//! Requirements of many connections, shown with one stack and a scripted peer, or with two stacks.

mod chaos;
mod fastopen;
mod handshake;
mod harness;
mod icmp;
mod ip;
mod limits;
mod listener;
mod md5;
mod park;
mod ports;
mod routes;
mod security;
mod sizes;
mod teardown;
mod timewait;
