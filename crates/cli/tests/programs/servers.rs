//! nginx under wrk, and iperf3: many connections, and many bytes, both ways.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::kit::{BAD_LINK, Server, find, folder, free_port, kernel, make_file, output, sockeye, wait_for};

/// nginx with two workers, sendfile and tcp_nopush.
pub fn nginx_conf(folder: &Path, address: &str, port: u16) -> String {
    let dir = folder.to_str().expect("a path");
    let conf = format!(
        "worker_processes 2; daemon off; pid {dir}/pid; error_log {dir}/errors;
         events {{ worker_connections 512; }}
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
           client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
           uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
           server {{ listen {address}:{port}; root {dir}; }} }}"
    );
    std::fs::write(folder.join("conf"), conf).expect("written");
    format!("{dir}/conf")
}

fn wrk(url: &str, options: &[&str]) -> String {
    let outcome = output(kernel(&[&["wrk", "-t", "1", "-c", "16", "-d", "2"], options, &[url]].concat()));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let text = outcome.text();
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    assert!(text.contains("Requests/sec"), "{text}");
    text
}

#[test]
fn nginx_serves_under_load_and_through_a_reload() {
    let Some(folder) = folder(&["nginx", "wrk", "curl"]) else { return };
    make_file(&folder.path().join("file"), 3_000);
    let digest = make_file(&folder.path().join("large"), 20 << 20);
    let (port, inside) = (free_port(), free_port());
    let conf = nginx_conf(folder.path(), "127.0.0.1", inside);
    let nginx = find("nginx").expect("nginx");
    let publish = format!("{port}:{inside}");
    let program = [nginx.to_str().expect("a path"), "-c", &conf];
    let server = Server::start(sockeye(&["--publish", &publish], &program), port);
    let url = format!("http://127.0.0.1:{port}");
    wrk(&format!("{url}/file"), &[]);
    wrk(&format!("{url}/file"), &["-H", "Connection: close"]);
    let loaded = std::thread::spawn({
        let url = format!("{url}/file");
        // A worker that is told to go closes idle connections: wrk may count a read that fails with it.
        move || output(kernel(&["wrk", "-t", "1", "-c", "8", "-d", "2", &url]))
    });
    std::thread::sleep(std::time::Duration::from_millis(700));
    let reload = output(kernel(&[program[0], "-c", &conf, "-s", "reload"]));
    assert_eq!(reload.code, Some(0), "{}", reload.stderr);
    let text = loaded.join().expect("wrk ran").text();
    assert!(
        text.contains("Requests/sec") && !text.contains("Non-2xx") && !text.contains("connect 1"),
        "{text}"
    );
    let large = output(kernel(&["curl", "-sSf", &format!("{url}/large")]));
    assert_eq!(crate::kit::digest(&large.stdout), digest);
    server.stop(Signal::QUIT).is_ours(1, 100);
}

#[test]
fn nginx_serves_over_a_bad_link() {
    let Some(folder) = folder(&["nginx", "wrk", "curl"]) else { return };
    make_file(&folder.path().join("file"), 3_000);
    let digest = make_file(&folder.path().join("large"), 400_000);
    let (port, inside) = (free_port(), free_port());
    let conf = nginx_conf(folder.path(), "127.0.0.1", inside);
    let nginx = find("nginx").expect("nginx");
    let publish = format!("{port}:{inside}");
    let program = [nginx.to_str().expect("a path"), "-c", &conf];
    let server = Server::start(sockeye(&["--publish", &publish, BAD_LINK], &program), port);
    let url = format!("http://127.0.0.1:{port}");
    wrk(&format!("{url}/file"), &[]);
    wrk(&format!("{url}/file"), &["-H", "Connection: close"]);
    let large = output(kernel(&["curl", "-sSf", &format!("{url}/large")]));
    assert_eq!(crate::kit::digest(&large.stdout), digest);
    server.stop(Signal::QUIT).is_ours(1, 33);
}

#[test]
fn wrk_is_a_client_too() {
    let Some(folder) = folder(&["nginx", "wrk"]) else { return };
    make_file(&folder.path().join("file"), 3_000);
    let port = free_port();
    let conf = nginx_conf(folder.path(), "127.0.0.1", port);
    let _server = Server::start(kernel(&["nginx", "-c", &conf]), port);
    let url = format!("http://127.0.0.1:{port}/file");
    let outcome = output(sockeye(&[], &["wrk", "-t", "2", "-c", "16", "-d", "2", &url]));
    outcome.is_ours(16, 16);
    assert!(!outcome.text().contains("Socket errors"), "{}", outcome.text());
}

/// iperf3 as a client under `sockeye run`, its server the kernel's.
fn iperf3(run: &[&str], options: &[&str], sockets: u64) {
    if folder(&["iperf3"]).is_none() {
        return;
    }
    let port = free_port().to_string();
    let _server = Server::spawn(kernel(&["iperf3", "-s", "-p", &port]));
    wait_for("iperf3", || {
        output(kernel(&["iperf3", "-c", "127.0.0.1", "-p", &port, "-n", "1"])).code == Some(0)
    });
    let program = [&["iperf3", "-c", "127.0.0.1", "-p", &port, "-t", "1", "--json"], options].concat();
    let outcome = output(sockeye(run, &program));
    outcome.is_ours(sockets, sockets);
    let result: Value = serde_json::from_str(&outcome.text()).expect("JSON");
    let received = result["end"]["sum_received"]["bytes"].as_u64().unwrap_or(0);
    assert!(received > 100_000, "{received} bytes in a second");
}

#[test]
fn iperf3_sends() {
    iperf3(&[], &[], 2);
}

#[test]
fn iperf3_receives() {
    iperf3(&[], &["-R"], 2);
}

#[test]
fn iperf3_in_parallel_and_both_ways() {
    iperf3(&[], &["-P", "4"], 5);
    iperf3(&[], &["--bidir"], 3);
}

#[test]
fn iperf3_over_a_bad_link() {
    iperf3(&[BAD_LINK], &[], 2);
}

#[test]
fn iperf3_serves_under_sockeye() {
    let Some(_folder) = folder(&["iperf3"]) else { return };
    let (port, inside) = (free_port(), free_port().to_string());
    let publish = format!("{port}:{inside}");
    let server = Server::spawn(sockeye(&["-p", &publish], &["iperf3", "-s", "-p", &inside]));
    let port = port.to_string();
    // A connection that only looks whether it is there would be a test of its own to it.
    wait_for("iperf3", || {
        output(kernel(&["iperf3", "-c", "127.0.0.1", "-p", &port, "-t", "1", "-P", "2"])).code == Some(0)
    });
    let outcome = server.stop(Signal::INT);
    outcome.has_served(3);
}
