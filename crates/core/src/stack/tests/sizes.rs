//! What an idle thing costs.

use core::mem::size_of;

use crate::stack::Socket;
use crate::stack::demux::Pair;
use crate::stack::syn::SynEntry;
use crate::stack::timewait::Entry;
use crate::tcp::Connection;

#[test]
fn entries_are_small() {
    assert!(size_of::<Pair>() <= 16);
    assert!(size_of::<Entry>() <= 64, "{}", size_of::<Entry>());
    assert!(size_of::<SynEntry>() <= 96, "{}", size_of::<SynEntry>());
    assert!(size_of::<Socket>() <= 96, "{}", size_of::<Socket>());
}

/// With its socket and its places in the tables an idle connection takes less than 1,024 bytes (the bench `bytes`).
#[test]
fn a_connection_is_small() {
    assert!(size_of::<Connection>() <= 832, "{}", size_of::<Connection>());
}
