//! A TUN interface in a namespace of one's own, as root and as nobody. It has a `main` of its own: namespaces are entered
//! before a process has threads, and the test harness has some.

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    use std::time::Duration;

    use sockeye::Host;
    use sockeye::device::{Tun, TunOptions, enter_own_network};

    const INSIDE: &str = "SOCKEYE_TEST_INSIDE";
    /// In a mount namespace where everybody may open `/dev/net/tun`, as most systems have it.
    const AS_NOBODY: &str = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && \
                             exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\"";

    pub(super) fn main() {
        if std::env::var_os(INSIDE).is_some() {
            return inside();
        }
        let outside = std::fs::read_link("/proc/self/ns/net").expect("this process' network namespace");
        // A copy that nobody may read wherever this one lies.
        let folder = std::env::temp_dir().join(format!("sockeye-namespace-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("a folder open to all");
        let copy = folder.join("inside");
        std::fs::copy(std::env::current_exe().expect("this program"), &copy).expect("a copy");
        let root = rustix::process::geteuid().is_root();
        let users: &[&str] = if root { &["root", "nobody"] } else { &["this user"] };
        for user in users {
            let mut command =
                Command::new(if *user == "nobody" { "unshare".as_ref() } else { copy.as_path() });
            if *user == "nobody" {
                command.args(["--mount", "sh", "-c", AS_NOBODY]).arg(&copy);
            }
            command.env(INSIDE, &outside).current_dir("/");
            let output = command.output().expect("the copy runs");
            let said = String::from_utf8_lossy(&output.stderr);
            if said.contains("skipped") {
                assert!(std::env::var_os("SOCKEYE_REQUIRE_PEERS").is_none(), "{said}");
                eprint!("{said}");
                continue;
            }
            assert!(output.status.success(), "as {user}: {said}");
            println!("test a TUN interface in a namespace of one's own, as {user} ... ok");
        }
        std::fs::remove_dir_all(&folder).expect("the folder goes");
    }

    fn inside() {
        let user = rustix::process::geteuid();
        if let Err(error) = enter_own_network() {
            return eprintln!("skipped: {error}");
        }
        assert_eq!(rustix::process::geteuid(), user, "the user stays the same");
        let now = std::fs::read_link("/proc/self/ns/net").expect("this process' network namespace");
        assert_ne!(Some(now.into_os_string()), std::env::var_os(INSIDE));
        // Loopback is up.
        let loopback = TcpListener::bind("127.0.0.1:0").expect("a listener");
        TcpStream::connect(loopback.local_addr().expect("its address")).expect("a connection over loopback");

        let mut options = TunOptions::new("tun0");
        options.host_addresses = vec![([192, 0, 2, 1].into(), 24)];
        let tun = match Tun::open(&options) {
            Ok(tun) => tun,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        let host = Host::builder().device(tun).address([192, 0, 2, 2], 24).build().expect("a host");
        let kernel = TcpListener::bind("192.0.2.1:80").expect("the kernel's side");
        let mut stream = host.connect("192.0.2.1:80").expect("a connection to the kernel");
        let (mut served, peer) = kernel.accept().expect("the connection");
        assert_eq!(peer.ip().to_string(), "192.0.2.2");
        stream.write_all(b"hello").expect("writing");
        let mut hello = [0; 5];
        served.read_exact(&mut hello).expect("reading");
        assert_eq!(&hello, b"hello");
        host.shutdown(Duration::from_secs(1));
    }
}
