//! Many connections.
