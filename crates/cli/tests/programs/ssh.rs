//! ssh with its server, and git over HTTP.

use std::path::Path;

use rustix::process::Signal;

use crate::kit::{
    BAD_LINK, Server, digest_of, file_server, find, folder, free_port, kernel, make_file, output, skip,
    sockeye,
};

/// Keys and settings for a server and a client that know each other.
pub fn settings(folder: &Path) -> [String; 3] {
    let at = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    for name in ["host", "user"] {
        let made = output(kernel(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &at(name)]));
        assert_eq!(made.code, Some(0), "{}", made.stderr);
    }
    std::fs::copy(at("user.pub"), at("authorized")).expect("copied");
    let server = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
         PasswordAuthentication no\nSubsystem sftp internal-sftp\n",
        at("host"),
        at("authorized")
    );
    std::fs::write(at("sshd"), server).expect("written");
    let client = format!(
        "Host *\n IdentityFile {}\n UserKnownHostsFile /dev/null\n StrictHostKeyChecking no\n LogLevel ERROR\n \
         IdentitiesOnly yes\n",
        at("user")
    );
    std::fs::write(at("ssh"), client).expect("written");
    [at("sshd"), at("ssh"), at("large")]
}

#[test]
fn ssh_and_scp_both_ways() {
    let Some(folder) = folder(&["ssh", "scp", "sshd", "ssh-keygen"]) else { return };
    if !rustix::process::geteuid().is_root() {
        return skip("sshd needs root");
    }
    // Where sshd separates its privileges.
    std::fs::create_dir_all("/run/sshd").expect("a folder");
    let [server, client, large] = settings(folder.path());
    let digest = make_file(Path::new(&large), 100 << 20);
    let (port, inside) = (free_port(), free_port().to_string());
    let sshd = find("sshd").expect("sshd").to_str().expect("a path").to_owned();
    let publish = format!("{port}:{inside}");
    let program = [&sshd, "-D", "-e", "-f", &server, "-p", &inside];
    let serving = Server::start(sockeye(&["--publish", &publish], &program), port);
    let number = port.to_string();
    let remote = ["-F", &client, "-p", &number, "127.0.0.1"];
    // A client of the kernel's, the server ours.
    let said = output(kernel(&[&["ssh"][..], &remote, &["echo from $SSH_CONNECTION"]].concat()));
    assert!(said.text().starts_with("from 127.0.0.1 "), "{}{}", said.text(), said.stderr);
    // Both ours, in two runs, the second over a bad link.
    let said = output(sockeye(&[BAD_LINK], &[&["ssh"][..], &remote, &["echo well"]].concat()));
    assert_eq!(said.is_ours(1, 1).text(), "well\n");
    let copy = folder.path().join("copy").to_str().expect("a path").to_owned();
    let from = format!("127.0.0.1:{large}");
    let scp = ["scp", "-q", "-F", &client, "-P", &number, &from, &copy];
    output(sockeye(&[], &scp)).is_ours(1, 1);
    assert_eq!(digest_of(Path::new(&copy)), digest);
    let outcome = serving.stop(Signal::TERM);
    outcome.has_served(3);
}

/// A repository, `origin`, to be had over HTTP from any server of files.
pub fn repository(folder: &Path) {
    let at = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    let git = |arguments: &[&str]| {
        let mut command = kernel(&["git", "-c", "user.name=me", "-c", "user.email=me@name.example"]);
        command.args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
        let outcome = output(command);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    };
    git(&["init", "-q", &at("origin")]);
    make_file(&folder.join("origin/file"), 300_000);
    git(&["-C", &at("origin"), "add", "file"]);
    git(&["-C", &at("origin"), "commit", "-q", "-m", "one"]);
    git(&["-C", &at("origin"), "update-server-info"]);
}

#[test]
fn git_clones_over_http() {
    let Some(folder) = folder(&["git", "python3"]) else { return };
    repository(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let (_server, port) = file_server(folder.path());
    let url = format!("http://127.0.0.1:{port}/origin/.git");
    for (name, link) in [("near", &[][..]), ("far", &[BAD_LINK])] {
        let outcome = output(sockeye(link, &["git", "clone", "-q", &url, &at(name)]));
        outcome.is_ours(1, 1);
        assert_eq!(
            digest_of(&folder.path().join(name).join("file")),
            digest_of(&folder.path().join("origin/file"))
        );
    }
}
