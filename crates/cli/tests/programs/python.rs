//! python3: blocking, asyncio, forks, threads; both sides in one run.

use crate::kit::{BAD_LINK, folder, output, sockeye, sources};

fn run(script: &str, options: &[&str], sockets: u64, connections: u64) {
    if folder(&["python3"]).is_none() {
        return;
    }
    let script = sources().join(script);
    let program = ["python3", script.to_str().expect("a path")];
    let outcome = output(sockeye(options, &program));
    assert_eq!(outcome.text().trim(), "ok", "{}", outcome.stderr);
    outcome.is_ours(sockets, connections);
}

#[test]
fn asyncio_serves_itself() {
    run("aio.py", &[], 200, 400);
}

#[test]
fn asyncio_over_a_bad_link() {
    run("aio.py", &[BAD_LINK], 200, 400);
}

#[test]
fn a_forking_server_and_its_threads_of_clients() {
    run("fork.py", &[], 20, 40);
}

#[test]
fn http_server_and_requests_by_threads() {
    run("web.py", &[], 100, 200);
}
