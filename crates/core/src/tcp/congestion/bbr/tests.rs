//! The model and the cycle by themselves.
