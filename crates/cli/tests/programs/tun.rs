//! A TUN device with the kernel's TCP on the other side.

use rustix::process::Signal;

use crate::kit::{Server, digest_of, folder, free_port, kernel, make_file, output, skip, sockeye};

/// A network namespace, gone when dropped.
struct Namespace(String);

impl Namespace {
    fn new() -> Option<Namespace> {
        let is_possible =
            rustix::process::geteuid().is_root() && std::path::Path::new("/dev/net/tun").exists();
        if !is_possible {
            skip("this test needs root and /dev/net/tun");
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
    outcome.has_served(1);
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
