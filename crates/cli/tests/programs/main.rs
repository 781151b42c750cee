//! Whole programs under `sockeye run`, unmodified: as clients, as servers, and both sides in one run.

mod curl;
mod databases;
mod kit;
mod lan;
mod languages;
mod python;
mod servers;
mod ssh;
mod tun;
