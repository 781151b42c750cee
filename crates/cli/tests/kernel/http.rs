//! curl and python3 as clients of `serve --http`.

use super::lab::{Lab, OURS, OURS6, PORT, explain, sha256};

const LARGE: usize = 64 << 20;

/// A file of 64 MiB arrives whole, over IPv4 and IPv6.
///
/// Shows: rfc9293-s3.5-a, rfc9293-s3.6-c
#[test]
fn curl_gets_a_large_file() {
    let Some(lab) = Lab::new(&["curl"]) else { return };
    let (file, digest) = lab.noise("large", LARGE);
    let server = lab.serve(&["--http", "."]);
    for url in [format!("http://{OURS}:{PORT}/large"), format!("http://[{OURS6}]:{PORT}/large")] {
        let got = lab.run("curl", &["-sS", "--fail", &url]);
        assert!(got.status.success(), "{url}: {}", String::from_utf8_lossy(&got.stderr));
        assert_eq!((got.stdout.len(), sha256(&got.stdout)), (LARGE, digest.clone()), "{url}");
    }
    assert!(server.ended(2).iter().all(|end| end["how"] == "closed"));
    drop(file);
    server.stop();
}

/// The same with python3's client, several at once.
#[test]
fn python_gets_a_large_file() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let (_, digest) = lab.noise("large", LARGE);
    let server = lab.serve(&["--http", "."]);
    let script = r"
import hashlib, sys, threading, urllib.request
digests = []
def get(url):
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=60) as response:
        while chunk := response.read(1 << 20):
            digest.update(chunk)
    digests.append(digest.hexdigest())
threads = [threading.Thread(target=get, args=(url,)) for url in sys.argv[1:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*digests)
";
    let urls = [format!("http://{OURS}:{PORT}/large"), format!("http://[{OURS6}]:{PORT}/large")];
    let printed = lab.python(script, &[&urls[0], &urls[1]]);
    assert_eq!(printed.split_whitespace().collect::<Vec<_>>(), [&*digest, &*digest]);
    server.stop();
}

/// GET, HEAD, ranges, listings, types, what is not there and what lies outside.
#[test]
fn the_protocol_is_spoken() {
    let Some(lab) = Lab::new(&["curl"]) else { return };
    std::fs::create_dir(lab.path("public")).expect("a folder");
    std::fs::write(lab.path("public/page.html"), "0123456789").expect("a file");
    std::fs::write(lab.path("secret"), "secret").expect("a file");
    let server = lab.serve(&["--http", "public"]);
    let base = format!("http://{OURS}:{PORT}");
    let curl = |args: &[&str], path: &str| {
        let url = format!("{base}{path}");
        let output = lab.run("curl", &[&["-sS", "-i", "--path-as-is"], args, &[&url]].concat());
        assert!(output.status.success(), "{}", explain(&output));
        String::from_utf8_lossy(&output.stdout).to_ascii_lowercase()
    };
    let page = curl(&[], "/page.html");
    assert!(
        page.starts_with("http/1.1 200")
            && page.contains("content-type: text/html")
            && page.ends_with("0123456789"),
        "{page}"
    );
    let head = curl(&["-I"], "/page.html");
    assert!(head.contains("content-length: 10") && !head.contains("0123456789"), "{head}");
    let range = curl(&["-r", "2-4"], "/page.html");
    assert!(range.starts_with("http/1.1 206") && range.ends_with("\r\n\r\n234"), "{range}");
    assert!(curl(&[], "/").contains("page.html"));
    assert!(curl(&[], "/none").starts_with("http/1.1 404"));
    assert!(curl(&["-X", "POST", "-d", "x"], "/page.html").starts_with("http/1.1 405"));
    for outside in ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "//etc/passwd"] {
        let answer = curl(&[], outside);
        assert!(
            answer.starts_with("http/1.1 4") && !answer.contains("\r\n\r\nsecret"),
            "{outside}: {answer}"
        );
    }
    server.stop();
}

/// Many requests over one connection.
#[test]
fn connections_are_kept_alive() {
    let Some(lab) = Lab::new(&["curl"]) else { return };
    lab.noise("small", 1_000);
    let server = lab.serve(&["--http", "."]);
    let url = format!("http://{OURS}:{PORT}/small?[1-500]");
    let output = lab.run("curl", &["-sS", "--fail", "-o", "/dev/null", "-w", "%{num_connects} ", &url]);
    assert!(output.status.success(), "{}", explain(&output));
    let connects: u32 = String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter_map(|n| n.parse::<u32>().ok())
        .sum();
    assert_eq!(connects, 1);
    server.stop();
}
