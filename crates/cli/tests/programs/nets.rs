//! The other networks: a lan of several runs, and a TUN device with the kernel's TCP on the other side.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::kit::{
    BAD_LINK, Server, digest_of, folder, free_port, kernel, make_file, output, sockeye, wait_for,
};

/// A lan of a test's own.
fn lan() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("--net=lan:test{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Starts a server at 198.18.0.1 of a lan; it is there when another member, whose address is not that one, reaches it.
fn serve(lan: &str, program: &[&str], port: &str) -> Server {
    let server = Server::spawn(sockeye(&[lan, "--address=198.18.0.1"], program));
    wait_for("the server", || {
        let probe = "import socket,sys; socket.create_connection(('198.18.0.1', int(sys.argv[1])), 2)";
        output(sockeye(&[lan, "--address=198.18.0.50"], &["python3", "-c", probe, port])).code == Some(0)
    });
    server
}

#[test]
fn both_sides_on_one_lan() {
    let Some(folder) = folder(&["python3", "curl"]) else { return };
    let digest = make_file(&folder.path().join("file"), 30 << 20);
    let dir = folder.path().to_str().expect("a path");
    let lan = lan();
    let server = serve(&lan, &["python3", "-m", "http.server", "8000", "--directory", dir], "8000");
    let copy = folder.path().join("copy");
    let get = ["curl", "-sSf", "-o", copy.to_str().expect("a path"), "http://198.18.0.1:8000/file"];
    let outcome = output(sockeye(&[&lan, "--address=198.18.0.77"], &get));
    outcome.is_ours(1, 1);
    assert_eq!(
        outcome.summary()["closed"][0]["local"].as_str().map(|at| at.starts_with("198.18.0.77:")),
        Some(true)
    );
    assert_eq!(digest_of(&copy), digest);
    // The address is taken, and nobody is at the next one.
    let taken = output(sockeye(&[&lan, "--address=198.18.0.1"], &["true"]));
    assert_eq!(taken.code, Some(125), "{}", taken.stderr);
    assert!(taken.stderr.contains("taken"), "{}", taken.stderr);
    let nobody = output(sockeye(&[&lan], &["curl", "-sS", "--max-time", "20", "http://198.18.0.99/"]));
    assert_eq!(nobody.code, Some(7), "{}", nobody.stderr);
    server.stop(Signal::INT);
}

#[test]
fn iperf3_on_a_lan_with_a_bad_link() {
    let Some(_folder) = folder(&["iperf3", "python3"]) else { return };
    let lan = lan();
    let server = serve(&lan, &["iperf3", "-s"], "5201");
    for link in [&[][..], &[BAD_LINK]] {
        let options = [&[lan.as_str()][..], link].concat();
        let outcome = output(sockeye(&options, &["iperf3", "-c", "198.18.0.1", "-t", "1", "--bidir"]));
        outcome.is_ours(3, 3);
    }
    server.stop(Signal::INT);
}

#[test]
fn nginx_and_wrk_on_a_lan() {
    let Some(folder) = folder(&["nginx", "wrk", "python3"]) else { return };
    make_file(&folder.path().join("file"), 3_000);
    let conf = crate::servers::nginx_conf(folder.path(), "0.0.0.0", 8_080);
    let lan = lan();
    let nginx = crate::kit::find("nginx").expect("nginx");
    let server = serve(&lan, &[nginx.to_str().expect("a path"), "-c", &conf], "8080");
    for headers in [&[][..], &["-H", "Connection: close"]] {
        let program =
            [&["wrk", "-t", "1", "-c", "8", "-d", "1"], headers, &["http://198.18.0.1:8080/file"]].concat();
        let outcome = output(sockeye(&[&lan], &program));
        outcome.is_ours(8, 8);
        assert!(
            outcome.text().contains("Requests/sec") && !outcome.text().contains("Socket errors"),
            "{}",
            outcome.text()
        );
    }
    server.stop(Signal::QUIT).is_ours(1, 16);
}

/// A network namespace, gone when dropped.
struct Namespace(String);

impl Namespace {
    fn new() -> Option<Namespace> {
        let required = std::env::var("SOCKEYE_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        let is_possible =
            rustix::process::geteuid().is_root() && std::path::Path::new("/dev/net/tun").exists();
        assert!(is_possible || !required, "no root or no /dev/net/tun, and SOCKEYE_REQUIRE_PEERS=1");
        if !is_possible {
            println!("skipped: this test needs root and /dev/net/tun");
            return None;
        }
        let namespace = Namespace(format!("sockeye-run-{}", std::process::id()));
        for command in [&["netns", "add", &namespace.0][..], &["-n", &namespace.0, "link", "set", "lo", "up"]]
        {
            let made = output(kernel(&[&["ip"], command].concat()));
            assert_eq!(made.code, Some(0), "{}", made.stderr);
        }
        Some(namespace)
    }

    /// A command of that namespace.
    fn command(&self, command: &std::process::Command) -> std::process::Command {
        let mut inside = kernel(&["ip", "netns", "exec", &self.0]);
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        output(kernel(&["ip", "netns", "del", &self.0]));
    }
}

#[test]
fn through_tun_the_kernel_is_on_the_other_side() {
    let Some(folder) = folder(&["python3", "curl", "ip"]) else { return };
    let Some(namespace) = Namespace::new() else { return };
    let digest = make_file(&folder.path().join("file"), 20 << 20);
    let dir = folder.path().to_str().expect("a path");
    let number = free_port().to_string();
    // The kernel's server, found by a program under `sockeye run` over the device.
    let server = ["python3", "-m", "http.server", &number, "--directory", dir];
    let server = Server::spawn(namespace.command(&kernel(&server)));
    let tun = ["--net=tun:tun0", "--address=192.0.2.2/24", "--address=2001:db8::2/64"];
    let copy = folder.path().join("copy").to_str().expect("a path").to_owned();
    let url = format!("http://192.0.2.1:{number}/file");
    let get =
        ["curl", "-sSf", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "-o", &copy, &url];
    output(namespace.command(&sockeye(&tun, &get))).is_ours(1, 1);
    assert_eq!(digest_of(std::path::Path::new(&copy)), digest);
    drop(server);
    // The other way round: the program serves, the kernel's curl asks, by IPv6.
    let server = ["python3", "-m", "http.server", "8000", "--bind", "::", "--directory", dir];
    let server = Server::spawn(namespace.command(&sockeye(&tun, &server)));
    let get = ["curl", "-sSf", "--retry", "20", "--retry-all-errors", "--retry-delay", "1", "-o", &copy];
    let get = [&get[..], &["http://[2001:db8::2]:8000/file"]].concat();
    let got = output(namespace.command(&kernel(&get)));
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    assert_eq!(digest_of(std::path::Path::new(&copy)), digest);
    let outcome = server.stop(Signal::INT);
    assert!(outcome.summary()["accepted"].as_u64() >= Some(1), "{}", outcome.stderr);
}

#[test]
fn a_tun_device_in_a_namespace_of_its_own() {
    let Some(_folder) = folder(&["python3", "ip"]) else { return };
    if std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_err() {
        return println!("skipped: /dev/net/tun cannot be opened");
    }
    let script = crate::kit::sources().join("aio.py");
    let tun = ["--unshare", "--net=tun:tun0", "--address=192.0.2.2/24"];
    let outcome = output(sockeye(&tun, &["python3", script.to_str().expect("a path")]));
    assert_eq!(outcome.is_ours(200, 400).text(), "ok\n");
}
