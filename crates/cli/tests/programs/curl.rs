//! curl as a client: large, many, refused, silent, on a bad link.

use crate::kit::{BAD_LINK, digest_of, file_server, folder, free_port, make_file, output, sockeye};

#[test]
fn a_large_file_arrives_whole() {
    let Some(folder) = folder(&["curl", "python3"]) else { return };
    let digest = make_file(&folder.path().join("large"), 200 << 20);
    let (_server, port) = file_server(folder.path());
    let (url, copy) = (format!("http://localhost:{port}/large"), folder.path().join("copy"));
    let program = ["curl", "-sSf", "-o", copy.to_str().expect("a path"), &url];
    output(sockeye(&[], &program)).is_ours(1, 1);
    assert_eq!(digest_of(&copy), digest);
}

#[test]
fn two_hundred_small_ones_one_after_another_and_side_by_side() {
    let Some(folder) = folder(&["curl", "python3"]) else { return };
    for n in 1..=200 {
        make_file(&folder.path().join(format!("small{n}")), n * 7);
    }
    let (_server, port) = file_server(folder.path());
    let url = format!("http://127.0.0.1:{port}/small[1-200]");
    for options in [&[][..], &["--parallel", "--parallel-max", "20"]] {
        let copies = folder.path().join("copy#1");
        let program = [&["curl", "-sSf", "-o", copies.to_str().expect("a path"), &url][..], options].concat();
        // The server closes each connection: HTTP/1.0.
        output(sockeye(&[], &program)).is_ours(200, 200);
        for n in 1..=200 {
            let (copy, original) = (format!("copy{n}"), format!("small{n}"));
            assert_eq!(digest_of(&folder.path().join(copy)), digest_of(&folder.path().join(original)));
        }
    }
}

#[test]
fn refused_is_refused_and_silence_times_out() {
    let Some(_folder) = folder(&["curl"]) else { return };
    let url = format!("http://127.0.0.1:{}/", free_port());
    let refused = output(sockeye(&[], &["curl", "-sS", &url]));
    assert_eq!(refused.code, Some(7), "{}", refused.stderr);
    assert_eq!(refused.summary()["closed"][0]["ended"], "Connection refused");
    let silent = output(sockeye(&["--link=loss=100%"], &["curl", "-sS", "--connect-timeout", "1", &url]));
    assert_eq!(silent.code, Some(28), "{}", silent.stderr);
}

#[test]
fn a_bad_link_loses_time_and_nothing_else() {
    let Some(folder) = folder(&["curl", "python3"]) else { return };
    let digest = make_file(&folder.path().join("file"), 400_000);
    let (_server, port) = file_server(folder.path());
    let (url, copy) = (format!("http://localhost:{port}/file"), folder.path().join("copy"));
    let program = ["curl", "-sSf", "-o", copy.to_str().expect("a path"), "-w", "%{time_connect}", &url];
    let outcome = output(sockeye(&[BAD_LINK], &program));
    outcome.is_ours(1, 1);
    assert_eq!(digest_of(&copy), digest);
    let connect: f64 = outcome.text().parse().expect("seconds");
    assert!(connect >= 0.05, "the handshake takes a round trip of the link: {connect} s");
}

#[test]
fn a_host_without_ipv6_on_the_way_falls_back_to_ipv4() {
    let Some(folder) = folder(&["curl", "python3"]) else { return };
    make_file(&folder.path().join("file"), 10);
    // The server listens on 127.0.0.1 only; curl tries ::1 first.
    let (_server, port) = file_server(folder.path());
    let resolve = format!("name.example:{port}:[::1],127.0.0.1");
    let url = format!("http://name.example:{port}/file");
    let outcome = output(sockeye(&[], &["curl", "-sSf", "--resolve", &resolve, &url]));
    outcome.is_ours(2, 2);
    assert_eq!(outcome.summary()["failed"], 1);
}
