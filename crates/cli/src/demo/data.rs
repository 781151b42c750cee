//! What the demo sends, and its digest.

use sha2::Digest as _;

/// Bytes that no compression or repetition makes easy: a block of noise, each time with another number in each page.
pub struct Source {
    noise: Vec<u8>,
    pages: u64,
}

const PAGE: usize = 4_096;
const NOISE: usize = 64 * PAGE;

impl Source {
    pub fn new() -> Self {
        // xorshift64 (Marsaglia 2003): any noise will do, the digest finds what changes.
        let mut x = 0x9E37_79B9_7F4A_7C15_u64;
        let mut noise = Vec::with_capacity(NOISE);
        while noise.len() < NOISE {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            noise.extend_from_slice(&x.to_le_bytes());
        }
        Source { noise, pages: 0 }
    }

    /// The next bytes of the stream.
    pub fn fill(&mut self, out: &mut [u8]) {
        for (i, page) in out.chunks_mut(PAGE).enumerate() {
            let at = i * PAGE % NOISE;
            page.copy_from_slice(&self.noise[at..at + page.len()]);
            let number = self.pages.to_le_bytes();
            let len = page.len().min(number.len());
            page[..len].copy_from_slice(&number[..len]);
            self.pages += 1;
        }
    }
}

/// SHA-256 of a stream.
pub struct Digest(sha2::Sha256);

impl Digest {
    pub fn new() -> Self {
        Digest(sha2::Sha256::new())
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
