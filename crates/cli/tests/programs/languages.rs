//! Programs in other languages, with run-times of their own: C static and dynamic, Go, Java, node.

use std::path::Path;

use crate::kit::{BAD_LINK, compile, folder, kernel, output, sockeye, sources};

#[test]
fn a_textbook_server_and_client_in_c() {
    let Some(folder) = folder(&["cc"]) else { return };
    for options in [&[][..], &["-static"]] {
        let binary = compile(folder.path(), "textbook.c", options);
        // Server and client on 127.0.0.1:8080 in one run: both sides are ours.
        let shell = format!("{0} server & {0} client; code=$?; wait; exit $code", binary.display());
        for link in [&[][..], &[BAD_LINK]] {
            let outcome = output(sockeye(link, &["sh", "-c", &shell]));
            outcome.is_ours(2, 2);
            assert_eq!(outcome.text(), "server: hello from the client\nclient: hello from the server\n");
        }
    }
}

/// The Go program's path.
pub fn build_go(folder: &Path) -> String {
    let binary = folder.join("hello").to_str().expect("a path").to_owned();
    let mut build = kernel(&["go", "build", "-o", &binary]);
    build.arg(sources().join("hello.go"));
    build.env("GOCACHE", folder.join("cache")).env("GOFLAGS", "-mod=mod").env("GO111MODULE", "off");
    build.env("HOME", folder);
    let built = output(build);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    binary
}

#[test]
fn go_serves_and_asks() {
    let Some(folder) = folder(&["go"]) else { return };
    let binary = build_go(folder.path());
    for link in [&[][..], &[BAD_LINK]] {
        let outcome = output(sockeye(link, &[&binary]));
        assert_eq!(outcome.text(), "ok\n", "{}", outcome.stderr);
        outcome.is_ours(21, 40);
    }
}

/// Compiles the Java program into a folder.
pub fn build_java(classes: &str) {
    let source = sources().join("Hello.java");
    let built = output(kernel(&["javac", "-d", classes, source.to_str().expect("a path")]));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
}

#[test]
fn java_serves_and_asks() {
    let Some(folder) = folder(&["java", "javac"]) else { return };
    let classes = folder.path().to_str().expect("a path");
    build_java(classes);
    let outcome = output(sockeye(&[], &["java", "-cp", classes, "Hello"]));
    assert_eq!(outcome.text(), "ok\n", "{}", outcome.stderr);
    outcome.is_ours(21, 40);
}

#[test]
fn node_serves_and_asks() {
    let Some(_folder) = folder(&["node"]) else { return };
    let script = sources().join("hello.js");
    for link in [&[][..], &[BAD_LINK]] {
        let outcome = output(sockeye(link, &["node", script.to_str().expect("a path")]));
        assert_eq!(outcome.text(), "ok\n", "{}", outcome.stderr);
        outcome.is_ours(51, 100);
    }
}
