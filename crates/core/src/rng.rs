//! Randomness handed in: a seeded ChaCha generator (RFC 8439's cipher, 12 rounds).

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

/// The stack's only source of random numbers. The seed comes from the operating system in the
/// product and from the scenario in the simulator, where the same seed draws the same run.
#[derive(Clone)]
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// A generator for this seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Rng(ChaCha12Rng::from_seed(seed))
    }

    /// 32 random bits.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..n`, close to even (the bias is below 2^-32); 0 if `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.u32()) * u64::from(n)) >> 32) as u32
    }

    /// A 128-bit key.
    pub fn key(&mut self) -> [u8; 16] {
        let mut key = [0; 16];
        self.0.fill_bytes(&mut key);
        key
    }
}

impl core::fmt::Debug for Rng {
    /// The state is a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rng")
    }
}
