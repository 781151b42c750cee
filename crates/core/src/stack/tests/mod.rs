//! Requirements of many connections, shown with one stack and a scripted peer, or with two stacks.

mod harness;
mod ports;
mod security;
mod sizes;
mod timewait;
