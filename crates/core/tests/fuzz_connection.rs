//! The fuzz target of a whole connection over a bounded number of seeded inputs. The same body runs under
//! cargo-fuzz in `fuzz/`.

#[path = "fuzz_bodies/connection.rs"]
mod connection;

/// xorshift64*: the inputs are the same in each run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Names the input when it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// Shows: urgent11-2019-12261, infrahalt-2021-31400, cve-2019-11477, rfc9293-MUST-7, finwait2-exhaustion
#[test]
fn anything_arrives_and_anything_is_called() {
    let (mut established, mut read) = (0, 0);
    for seed in 1..=8_000 {
        let _named = Seed(seed);
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let len = 100 + (rng.next() >> 40) as usize % 2_000;
        let input: Vec<u8> = (0..len).map(|_| (rng.next() >> 33) as u8).collect();
        let (accepted, bytes) = connection::connection(&input);
        established += accepted;
        read += bytes;
    }
    assert!(established > 1_500, "connections come about: {established}");
    assert!(read > 100_000, "and carry data: {read}");
}
