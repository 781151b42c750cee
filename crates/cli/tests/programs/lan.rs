//! Both sides under `sockeye run`, in two runs that share a lan.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::databases::{Database, all_transactions, is_complete, redis, unprivileged};
use crate::kit::{
    BAD_LINK, Outcome, Server, compile, digest_of, find, folder, make_file, output, skip, sockeye, sources,
    wait_for,
};
use crate::languages::{build_go, build_java};
use crate::ssh::{repository, settings};

/// A lan of a test's own.
fn lan() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("--net=lan:test{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Starts a server at 198.18.0.1 of a lan; it is there when another member, whose address is not that one, reaches it.
fn serve(lan: &str, program: &[&str], port: &str) -> Server {
    serve_as(|command| command, lan, program, port)
}

/// As another user, who has lans of his own.
fn serve_as(user: fn(Command) -> Command, lan: &str, program: &[&str], port: &str) -> Server {
    let server = Server::spawn(user(sockeye(&[lan, "--address=198.18.0.1"], program)));
    wait_for("the server", || {
        let probe = "import socket,sys; socket.create_connection(('198.18.0.1', int(sys.argv[1])), 2)";
        let probe = sockeye(&[lan, "--address=198.18.0.50"], &["python3", "-c", probe, port]);
        output(user(probe)).code == Some(0)
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

/// What a client came to that ran on a lan, on a good and on a bad link.
fn on_links(lan: &str, client: &[&str], mut judge: impl FnMut(&Outcome)) {
    for link in [&[][..], &[BAD_LINK]] {
        judge(&output(sockeye(&[&[lan][..], link].concat(), client)));
    }
}

#[test]
fn redis_on_a_lan() {
    let Some(_folder) = folder(&["redis-server", "redis-benchmark", "redis-cli", "python3"]) else { return };
    let lan = lan();
    let program = [&redis("6379")[..], &["--bind", "0.0.0.0", "--protected-mode", "no"]].concat();
    let server = serve(&lan, &program, "6379");
    on_links(&lan, &["redis-cli", "-h", "198.18.0.1", "ping"], |outcome| {
        assert_eq!(outcome.is_ours(1, 1).text().trim(), "PONG");
    });
    let benchmark = ["redis-benchmark", "-h", "198.18.0.1", "-n", "1000", "-c", "20", "-q"];
    let outcome = output(sockeye(&[&lan], &benchmark));
    is_complete(&outcome.is_ours(100, 100).text());
    server.stop(Signal::TERM).is_ours(1, 100);
}

#[test]
fn postgresql_on_a_lan() {
    let Some(_folder) = folder(&["python3"]) else { return };
    let Some(database) = Database::new() else { return };
    database.trust_all();
    let lan = lan();
    let program = database.server("198.18.0.1", "5432");
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let server = serve_as(unprivileged, &lan, &program, "5432");
    let client = ["-h", "198.18.0.1", "-U", "me", "postgres"];
    let run = |program: &[&str]| output(unprivileged(sockeye(&[&lan], &[program, &client].concat())));
    let asked = run(&["psql", "-At", "-c", "select 6*7"]);
    assert_eq!(asked.is_ours(1, 1).text().trim(), "42");
    let pgbench = database.tool("pgbench");
    run(&[&pgbench, "-i", "-q"]).is_ours(1, 1);
    let outcome = run(&[&pgbench, "-c", "4", "-t", "50", "-n"]);
    all_transactions(&outcome.is_ours(4, 4).text());
    server.stop(Signal::INT).has_served(7);
}

#[test]
fn ssh_on_a_lan() {
    let Some(folder) = folder(&["ssh", "scp", "sshd", "ssh-keygen", "python3"]) else { return };
    if !rustix::process::geteuid().is_root() {
        return skip("sshd needs root");
    }
    std::fs::create_dir_all("/run/sshd").expect("a folder");
    let [server, client, large] = settings(folder.path());
    let digest = make_file(Path::new(&large), 20 << 20);
    let sshd = find("sshd").expect("sshd").to_str().expect("a path").to_owned();
    let lan = lan();
    let serving = serve(&lan, &[&sshd, "-D", "-e", "-f", &server, "-p", "22"], "22");
    on_links(&lan, &["ssh", "-F", &client, "198.18.0.1", "echo well"], |outcome| {
        assert_eq!(outcome.is_ours(1, 1).text(), "well\n");
    });
    let copy = folder.path().join("copy").to_str().expect("a path").to_owned();
    let from = format!("198.18.0.1:{large}");
    output(sockeye(&[&lan], &["scp", "-q", "-F", &client, &from, &copy])).is_ours(1, 1);
    assert_eq!(digest_of(Path::new(&copy)), digest);
    serving.stop(Signal::TERM).has_served(4);
}

#[test]
fn git_on_a_lan() {
    let Some(folder) = folder(&["git", "python3"]) else { return };
    repository(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let lan = lan();
    let server = serve(&lan, &["python3", "-m", "http.server", "80", "--directory", &at("")], "80");
    let outcome =
        output(sockeye(&[&lan], &["git", "clone", "-q", "http://198.18.0.1/origin/.git", &at("copy")]));
    outcome.is_ours(1, 1);
    assert_eq!(digest_of(Path::new(&at("copy/file"))), digest_of(Path::new(&at("origin/file"))));
    server.stop(Signal::TERM).has_served(2);
}

/// A program that serves and asks, as the roles that its arguments name.
fn both_roles(program: &[&str], connections: u64) {
    let lan = lan();
    let role = |role| [program, &[role, "198.18.0.1", "8000"]].concat();
    let server = serve(&lan, &role("serve"), "8000");
    on_links(&lan, &role("ask"), |outcome| {
        assert_eq!(outcome.text(), "ok\n", "{}", outcome.stderr);
        outcome.is_ours(connections, connections);
    });
    server.stop(Signal::TERM).has_served(2 * connections);
}

#[test]
fn go_on_a_lan() {
    let Some(folder) = folder(&["go", "python3"]) else { return };
    both_roles(&[&build_go(folder.path())], 20);
}

#[test]
fn java_on_a_lan() {
    let Some(folder) = folder(&["java", "javac", "python3"]) else { return };
    let classes = folder.path().to_str().expect("a path");
    build_java(classes);
    both_roles(&["java", "-cp", classes, "Hello"], 20);
}

#[test]
fn node_on_a_lan() {
    let Some(_folder) = folder(&["node", "python3"]) else { return };
    both_roles(&["node", sources().join("hello.js").to_str().expect("a path")], 50);
}

#[test]
fn a_textbook_server_and_client_in_c_on_a_lan() {
    let Some(folder) = folder(&["cc"]) else { return };
    for (options, link) in [(&[][..], &[][..]), (&["-static"], &[BAD_LINK])] {
        let binary = compile(folder.path(), "textbook.c", options);
        let binary = binary.to_str().expect("a path");
        let lan = lan();
        let serving = sockeye(&[&lan, "--address=198.18.0.1"], &[binary, "server", "198.18.0.1"]);
        let serving = std::thread::spawn(|| output(serving));
        // Until the other run is there, nobody has its address.
        wait_for("the server", || {
            let options = [&[lan.as_str(), "--address=198.18.0.2"], link].concat();
            let client = output(sockeye(&options, &[binary, "client", "198.18.0.1"]));
            let is_there = client.code == Some(0);
            if is_there {
                assert_eq!(client.is_ours(1, 1).text(), "client: hello from the server\n");
            }
            is_there
        });
        let server = serving.join().expect("it ran");
        assert_eq!(server.is_ours(1, 1).text(), "server: hello from the client\n");
    }
}
