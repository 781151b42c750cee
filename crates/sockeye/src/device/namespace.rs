//! A network namespace of one's own, so that a TUN interface needs no root: `--unshare`.

use std::io;

use crate::sys::{namespace, netlink};

/// Moves this process into a network namespace of its own, in which it may make interfaces, with the loopback
/// interface up; without root into a user namespace as well, in which it keeps its user and group.
///
/// To be called before there is any other thread. Nothing outside can be reached from there but by what the process
/// makes, such as a [`Tun`](super::Tun) and the descriptors that it has already. There is no way back.
///
/// # Errors
/// In one sentence: other threads exist, the system does not allow user namespaces (and which setting says so), or has
/// none.
pub fn enter_own_network() -> io::Result<()> {
    // Only this process' first thread may: others would keep the old namespace.
    if threads().is_some_and(|threads| threads > 1) {
        return Err(failed(
            io::ErrorKind::InvalidInput,
            "it must be done before the process has other threads",
        ));
    }
    match namespace::unshare(false) {
        Ok(()) => {}
        Err(rustix::io::Errno::PERM) => {
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            namespace::unshare(true).map_err(explain)?;
            // A group may be mapped only by who cannot drop groups any more (user_namespaces(7)).
            let maps = [
                ("setgroups", "deny".to_owned()),
                ("uid_map", format!("{uid} {uid} 1")),
                ("gid_map", format!("{gid} {gid} 1")),
            ];
            for (file, text) in maps {
                std::fs::write(format!("/proc/self/{file}"), text).map_err(|error| {
                    let errno = error.raw_os_error().unwrap_or(0);
                    explain(rustix::io::Errno::from_raw_os_error(errno))
                })?;
            }
        }
        Err(error) => return Err(explain(error)),
    }
    let up = netlink::Interface::by_name("lo").and_then(|lo| lo.set_link(None, None, Some(true)));
    up.map_err(|error| explain(rustix::io::Errno::from_raw_os_error(error.raw_os_error().unwrap_or(0))))
}

fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

fn failed(kind: io::ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, format!("no network namespace of one's own: {why}"))
}

/// Which of the settings that forbid it is at fault, as far as it can be seen.
fn explain(error: rustix::io::Errno) -> io::Error {
    use rustix::io::Errno;
    let setting = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    let why = match error {
        Errno::NOSPC => {
            "the system allows no more user or network namespaces (sysctl user.max_user_namespaces, \
             user.max_net_namespaces); raise them, or run as root"
        }
        Errno::PERM | Errno::ACCESS if is("/proc/sys/kernel/unprivileged_userns_clone", "0") => {
            "user namespaces are disabled (sysctl kernel.unprivileged_userns_clone is 0); set it to 1, or run as root"
        }
        Errno::PERM | Errno::ACCESS if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") => {
            "AppArmor forbids user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns is 1); set it to \
             0, or run as root"
        }
        Errno::PERM | Errno::ACCESS => {
            "user namespaces are not allowed here (a container's seccomp filter forbids them by default); run as \
             root, or without --unshare"
        }
        Errno::INVAL | Errno::NOSYS => {
            "this kernel has no user or network namespaces; run as root and without --unshare"
        }
        _ => "the system refuses it",
    };
    let error = io::Error::from(error);
    failed(error.kind(), &format!("{why} ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    /// Each refusal says what to do, and a process with threads (as a test is) is refused before anything is done.
    #[test]
    fn refusals_say_what_to_do() {
        for error in [Errno::NOSPC, Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::NOSYS] {
            let text = explain(error).to_string();
            assert!(text.starts_with("no network namespace of one's own: "), "{text}");
            assert!(text.contains("run as root"), "{text}");
        }
        let before = std::fs::read_link("/proc/self/ns/net").unwrap();
        let error = std::thread::spawn(enter_own_network).join().unwrap().unwrap_err();
        assert!(error.to_string().contains("before the process has other threads"), "{error}");
        assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), before);
    }
}
