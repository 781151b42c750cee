//! The user timeout option (RFC 5482).

use super::super::user_timeout::{decode, encode};
use super::kit::*;
use super::*;

fn wanting() -> Options {
    Options { user_timeout_option: true, ..Options::default() }
}

/// Gives up on a silent peer after this long, with 100 bytes in flight.
fn patience(mut h: Host) -> u64 {
    h.write(&[1; 100]);
    let start = h.now;
    while h.done.is_none() {
        let _ = h.wait(Duration::from_secs(100_000));
    }
    assert_eq!(h.conn.error(), Some(Errno::ETIMEDOUT));
    h.now.since(start).as_secs()
}

/// Shows: rfc5482-s3.3-a, rfc5482-s3.4-a
#[test]
fn reads_and_writes_seconds_and_minutes() {
    assert_eq!(decode(0x801e), Some(Duration::from_secs(1_800)));
    assert_eq!(decode(0x001e), Some(Duration::from_secs(30)));
    assert_eq!(decode(0), None);
    assert_eq!(decode(0x8000), None);
    assert_eq!(encode(Duration::from_secs(30)), 0x001e);
    assert_eq!(encode(Duration::from_secs(40_000)), 0x8000 | 667);
    assert_ne!(encode(Duration::ZERO), 0);
}

/// Shows: rfc5482-s3.1-a, rfc5482-s3.1-b
#[test]
fn adopts_a_peers_wish_within_limits() {
    for (bits, secs) in [(600, 600), (1, 300), (0x8000 | 32_767, 7_200), (0, 924)] {
        let h = Host::established_with(plain(), wanting(), |o| o.user_timeout = Some(bits));
        let got = patience(h);
        assert!((secs..=secs + 60).contains(&got), "{bits:#x}: {got} s instead of {secs}");
    }
}

/// Shows: rfc5482-s3.1-a
#[test]
fn the_applications_own_timeout_is_never_overridden() {
    let options = Options { user_timeout: Some(Duration::from_secs(20)), ..wanting() };
    let h = Host::established_with(plain(), options, |o| o.user_timeout = Some(600));
    assert_eq!(patience(h), 20);
}

/// Shows: rfc5482-s3.4-a
#[test]
fn announces_its_own_once_and_only_if_asked_to() {
    let mut h = Host::connecting(plain(), wanting(), 1);
    assert_eq!(h.recv().expect("SYN").hdr.options.user_timeout, Some(300));
    let mut h = Host::connecting(plain(), Options::default(), 1);
    assert_eq!(h.recv().expect("SYN").hdr.options.user_timeout, None);
}

/// A tail loss probe does not put the end off, whether it is new text or old.
///
/// Shows: rfc9293-s3.10.8-a
#[test]
fn a_probe_does_not_put_the_user_timeout_off() {
    for unsent in [0, 20_000] {
        let config = Config { rto_min: secs(2), sack: true, ..rfc() };
        let options = socket(|o| o.user_timeout = Some(ms(1_500)));
        let mut h = Host::established_with(config, options, |o| o.sack_permitted = true);
        h.write(&pattern(1_460 + unsent));
        let start = h.now;
        let mut probed = false;
        while h.done.is_none() {
            probed |= h.wait(secs(100)).is_some_and(|out| out.why == Why::Tlp);
        }
        assert!(probed);
        assert_eq!(h.now.since(start), ms(1_500), "{unsent} bytes unsent");
    }
}
