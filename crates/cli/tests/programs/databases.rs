//! redis and PostgreSQL, servers and clients.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::kit::{BAD_LINK, Server, folder, free_port, kernel, output, sockeye};

fn redis(port: &str) -> [&str; 9] {
    ["redis-server", "--port", port, "--save", "", "--logfile", "/dev/null", "--appendonly", "no"]
}

fn benchmark(port: &str) -> Vec<&str> {
    vec!["redis-benchmark", "-p", port, "-n", "1000", "-c", "20", "-q"]
}

/// Every test of its own set has a result.
fn is_complete(text: &str) {
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
fn unprivileged(command: Command) -> Command {
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    let mut as_user = kernel(&["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    as_user.arg(command.get_program()).args(command.get_args());
    as_user
}

#[test]
fn postgresql_and_pgbench() {
    let Some(folder) = folder(&["psql", "setpriv"]) else { return };
    let Some(bin) = postgres() else {
        let required = std::env::var("SOCKEYE_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "PostgreSQL's server is not installed, and SOCKEYE_REQUIRE_PEERS=1");
        return println!("skipped: PostgreSQL's server is not installed");
    };
    let tool = |name: &str| bin.join(name).to_str().expect("a path").to_owned();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), all).expect("writable by the server's user");
    let data = folder.path().join("data").to_str().expect("a path").to_owned();
    let made = output(unprivileged(kernel(&[&tool("initdb"), "-D", &data, "-U", "me", "-A", "trust", "-N"])));
    assert_eq!(made.code, Some(0), "{}{}", made.text(), made.stderr);
    let (port, inside) = (free_port(), free_port().to_string());
    let publish = format!("{port}:{inside}");
    let sockets = folder.path().to_str().expect("a path");
    let program =
        [&tool("postgres"), "-D", &data, "-p", &inside, "-k", sockets, "-c", "listen_addresses=127.0.0.1"];
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
    let pgbench = tool("pgbench");
    let init = output(kernel(&[&[pgbench.as_str(), "-i", "-q"][..], &client].concat()));
    assert_eq!(init.code, Some(0), "{}", init.stderr);
    let bench = [&[pgbench.as_str(), "-c", "4", "-t", "50", "-n"][..], &client].concat();
    let outcome = output(sockeye(&[], &bench));
    outcome.is_ours(4, 4);
    assert!(
        outcome.text().contains("number of transactions actually processed: 200/200"),
        "{}",
        outcome.text()
    );
    let outcome = server.stop(Signal::INT);
    assert!(outcome.summary()["accepted"].as_u64() >= Some(6), "{}", outcome.stderr);
}
