//! redis and PostgreSQL, servers and clients.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::kit::{BAD_LINK, Server, folder, free_port, kernel, output, skip, sockeye};

pub fn redis(port: &str) -> [&str; 9] {
    ["redis-server", "--port", port, "--save", "", "--logfile", "/dev/null", "--appendonly", "no"]
}

fn benchmark(port: &str) -> Vec<&str> {
    vec!["redis-benchmark", "-p", port, "-n", "1000", "-c", "20", "-q"]
}

/// Every test of its own set has a result.
pub fn is_complete(text: &str) {
    let results = text.matches("requests per second").count();
    assert!(results >= 15, "{results} results: {text}");
}

#[test]
fn redis_serves_all_of_its_benchmark() {
    let Some(_folder) = folder(&["redis-server", "redis-benchmark", "redis-cli"]) else { return };
    let (port, inside) = (free_port(), free_port().to_string());
    let publish = format!("{port}:{inside}");
    let server = Server::start(sockeye(&["--publish", &publish], &redis(&inside)), port);
    let port = port.to_string();
    is_complete(&output(kernel(&benchmark(&port))).text());
    let set = output(kernel(&["redis-cli", "-p", &port, "set", "key", "value"]));
    assert_eq!(set.text().trim(), "OK");
    server.stop(Signal::TERM).is_ours(1, 20);
}

#[test]
fn redis_benchmark_is_a_client_too() {
    let Some(_folder) = folder(&["redis-server", "redis-benchmark"]) else { return };
    let port = free_port();
    let number = port.to_string();
    let _server = Server::start(kernel(&redis(&number)), port);
    let outcome = output(sockeye(&[], &benchmark(&number)));
    outcome.is_ours(100, 100);
    is_complete(&outcome.text());
    let get = ["redis-cli", "-p", &number, "ping"];
    assert_eq!(output(sockeye(&[BAD_LINK], &get)).is_ours(1, 1).text().trim(), "PONG");
}

/// Where Debian keeps PostgreSQL's server.
fn postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.flatten().map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists())
}

/// As another user, where we are root: PostgreSQL's server refuses that.
pub fn unprivileged(command: Command) -> Command {
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let mut as_user = kernel(&["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    as_user.arg(command.get_program()).args(command.get_args());
    as_user
}

/// A fresh database of PostgreSQL's, its programs, and a user who may run it.
pub struct Database {
    bin: PathBuf,
    folder: tempfile::TempDir,
}

impl Database {
    /// Makes it; `None`, and the reason printed, where there is no PostgreSQL.
    pub fn new() -> Option<Database> {
        let folder = folder(&["psql", "setpriv"])?;
        let Some(bin) = postgres() else {
            skip("PostgreSQL's server is not installed");
            return None;
        };
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), all).expect("writable by the server's user");
        let database = Database { bin, folder };
        let initdb = [&database.tool("initdb"), "-D", &database.data(), "-U", "me", "-A", "trust", "-N"];
        let made = output(unprivileged(kernel(&initdb)));
        assert_eq!(made.code, Some(0), "{}{}", made.text(), made.stderr);
        Some(database)
    }

    fn data(&self) -> String {
        self.folder.path().join("data").to_str().expect("a path").to_owned()
    }

    /// Where one of its programs is.
    pub fn tool(&self, name: &str) -> String {
        self.bin.join(name).to_str().expect("a path").to_owned()
    }

    /// The server, listening on a port at an address.
    pub fn server(&self, address: &str, port: &str) -> Vec<String> {
        let sockets = self.folder.path().to_str().expect("a path");
        let data = self.data();
        let addresses = format!("listen_addresses={address}");
        let program = [&self.tool("postgres"), "-D", &data, "-p", port, "-k", sockets, "-c", &addresses];
        program.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Lets everybody in, from wherever.
    pub fn trust_all(&self) {
        let rules = self.folder.path().join("data/pg_hba.conf");
        let mut allow = kernel(&["sh", "-c", "echo host all all 0.0.0.0/0 trust >> \"$0\""]);
        allow.arg(rules);
        assert_eq!(output(unprivileged(allow)).code, Some(0));
    }
}

/// Two hundred transactions of pgbench's, all done.
pub fn all_transactions(text: &str) {
    assert!(text.contains("number of transactions actually processed: 200/200"), "{text}");
}

#[test]
fn postgresql_and_pgbench() {
    let Some(database) = Database::new() else { return };
    let (port, inside) = (free_port(), free_port().to_string());
    let publish = format!("{port}:{inside}");
    let program = database.server("127.0.0.1", &inside);
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    // Not root: the supervisor is not either.
    let server = Server::start(unprivileged(sockeye(&["-p", &publish], &program)), port);
    let port = port.to_string();
    let client = ["-h", "127.0.0.1", "-p", &port, "-U", "me", "postgres"];
    let asked = |options: &[&str], run: bool| {
        let program = [&["psql", "-At", "-c", "select 6*7"], options, &client[..]].concat();
        let outcome = if run { output(sockeye(&[], &program)) } else { output(kernel(&program)) };
        assert_eq!(outcome.text().trim(), "42", "{}", outcome.stderr);
    };
    asked(&[], false);
    asked(&[], true);
    let pgbench = database.tool("pgbench");
    let init = output(kernel(&[&[pgbench.as_str(), "-i", "-q"][..], &client].concat()));
    assert_eq!(init.code, Some(0), "{}", init.stderr);
    for (link, each) in [(&[][..], ["-c", "4", "-t", "50"]), (&[BAD_LINK], ["-c", "20", "-t", "10"])] {
        let bench = [&[pgbench.as_str(), "-n"], &each[..], &client].concat();
        let outcome = output(sockeye(link, &bench));
        all_transactions(&outcome.is_ours(4, 4).text());
    }
    server.stop(Signal::INT).has_served(26);
}

#[test]
fn redis_serves_over_a_bad_link() {
    let Some(_folder) = folder(&["redis-server", "redis-benchmark"]) else { return };
    let (port, inside) = (free_port(), free_port().to_string());
    let publish = format!("{port}:{inside}");
    let server = Server::start(sockeye(&["--publish", &publish, BAD_LINK], &redis(&inside)), port);
    let port = port.to_string();
    let asked = ["redis-benchmark", "-p", &port, "-n", "200", "-c", "20", "-q", "-t", "set,get,lrange_600"];
    let text = output(kernel(&asked)).text();
    assert!(text.matches("requests per second").count() >= 3, "{text}");
    server.stop(Signal::TERM).is_ours(1, 60);
}
