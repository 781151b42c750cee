//! `connect` to servers on the kernel's TCP.

use super::lab::{KERNEL, KERNEL6, Lab, explain, sha256};

const LARGE: usize = 64 << 20;

/// The body of an HTTP response.
fn body(response: &[u8]) -> &[u8] {
    let end = response.windows(4).position(|w| w == b"\r\n\r\n").expect("a response has a head");
    let head = String::from_utf8_lossy(&response[..end]);
    assert!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "{head}");
    &response[end + 4..]
}

/// Asks for the large file, and ends the input only when `len` bytes have come.
fn get(lab: &Lab, host: &str, port: &str, len: usize) -> Vec<u8> {
    let output = lab.connect_until(&[host, port], b"GET /large HTTP/1.0\r\nHost: x\r\n\r\n", len);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// nginx, over IPv4 and IPv6: the request, 64 MiB, its close. (nginx takes a half-close for an abandoned request, so our end
/// comes after the response.)
///
/// Shows: rfc9293-s3.5-a, posix-connect-a
#[test]
fn nginx_serves_us() {
    let Some(lab) = Lab::new(&["nginx"]) else { return };
    let (_, digest) = lab.noise("large", LARGE);
    lab.device("tun1");
    let root = lab.path("").display().to_string();
    let config = format!(
        "daemon off; master_process off; pid {root}/nginx.pid; error_log stderr; user root;\nevents {{}}\nhttp {{ access_log off;\n\
         client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
         uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
         server {{ listen {KERNEL}:80; listen [{KERNEL6}]:80; root {root}; }} }}\n"
    );
    let path = lab.path("nginx.conf");
    std::fs::write(&path, config).expect("a file");
    let nginx = lab.spawn("nginx", &["-c", &path.display().to_string()]);
    lab.wait_for_listener(80);
    for host in [KERNEL, KERNEL6] {
        assert_eq!(sha256(body(&get(&lab, host, "80", LARGE))), digest, "{host}");
    }
    nginx.signal(rustix::process::Signal::TERM);
}

/// python3's http.server: our half-close follows the request, 64 MiB come the other way.
///
/// Shows: rfc9293-s3.6.1-a
#[test]
fn python_serves_us() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let (_, digest) = lab.noise("large", LARGE);
    lab.device("tun1");
    let _server = lab.spawn("python3", &["-m", "http.server", "--bind", KERNEL, "8000"]);
    lab.wait_for_listener(8_000);
    assert_eq!(sha256(body(&get(&lab, KERNEL, "8000", 0))), digest);
}

/// The ladder of `--trace` shows each state that an orderly connection passes.
///
/// Shows: rfc9293-s3.6-a
#[test]
fn trace_shows_the_states() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    lab.device("tun1");
    let server = r"
import socket, sys, time
s, _ = socket.create_server((sys.argv[1], 8000)).accept()
while s.recv(100): pass
time.sleep(0.1)
s.close()
";
    let _server = lab.spawn("python3", &["-c", server, KERNEL]);
    lab.wait_for_listener(8_000);
    let output = lab.connect(&["--trace", KERNEL, "8000"], b"hello");
    let ladder = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}", explain(&output));
    for state in ["SYN-SENT", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT"] {
        assert!(ladder.contains(state), "no {state} in\n{ladder}");
    }
}
