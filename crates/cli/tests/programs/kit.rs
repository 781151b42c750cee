//! Programs of the kernel's and programs under `sockeye run`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What no single step of a test takes longer than.
const PATIENCE: Duration = Duration::from_secs(60);
/// 50 ms there and back, and every hundredth segment lost each way.
pub const BAD_LINK: &str = "--link=delay=25ms,loss=1%";

/// Says why a test cannot be run here; fails where it has to be.
#[track_caller]
pub fn skip(why: &str) {
    let required = std::env::var("SOCKEYE_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(!required, "{why}, and SOCKEYE_REQUIRE_PEERS=1");
    println!("skipped: {why}");
}

/// A folder of the test's own; `None`, and the reason printed, where the machine lacks a program that it needs.
pub fn folder(programs: &[&str]) -> Option<tempfile::TempDir> {
    let missing = programs.iter().find(|program| find(program).is_none());
    if let Some(missing) = missing {
        skip(&format!("`{missing}` is not installed"));
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Programs that give up their rights look at it too.
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all).expect("readable by all");
    Some(folder)
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut dirs = path.split(':').chain(["/usr/sbin", "/sbin"]).map(Path::new);
    dirs.find_map(|dir| Some(dir.join(program)).filter(|path| path.exists()))
}

/// A port of the machine that nobody uses now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A program of the kernel's, by name and arguments.
pub fn kernel(program: &[&str]) -> Command {
    let path = find(program[0]).unwrap_or_else(|| program[0].into());
    let mut command = Command::new(path);
    command.args(&program[1..]);
    command
}

/// `sockeye run --json OPTIONS -- PROGRAM`.
pub fn sockeye(options: &[&str], program: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockeye"));
    command.args(["run", "--json"]).args(options).arg("--").args(program);
    command
}

/// What a command came to.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The summary of `sockeye run`.
    pub fn summary(&self) -> Value {
        let is_summary =
            |line: &str| serde_json::from_str(line).ok().filter(|value: &Value| value["event"] == "summary");
        self.stderr
            .lines()
            .rev()
            .find_map(is_summary)
            .unwrap_or_else(|| panic!("no summary: {}", self.stderr))
    }

    /// The program ended well, and so many TCP sockets were made, all of them ours, with so many connections.
    #[track_caller]
    pub fn is_ours(&self, sockets: u64, connections: u64) -> &Outcome {
        assert_eq!(self.code, Some(0), "{}\n{}", self.text(), self.stderr);
        let summary = self.summary();
        let count = |name: &str| summary[name].as_u64().expect("a number");
        assert!(count("sockets") >= sockets, "{} sockets, {sockets} wanted", count("sockets"));
        assert!(
            count("connections") >= connections,
            "{} connections, {connections} wanted",
            count("connections")
        );
        self
    }

    /// A server that took so many connections, all of them ours.
    #[track_caller]
    pub fn has_served(&self, connections: u64) {
        let accepted = self.summary()["accepted"].as_u64();
        assert!(accepted >= Some(connections), "{accepted:?} of {connections} accepted: {}", self.stderr);
    }
}

/// Runs a command to its end.
pub fn output(mut command: Command) -> Outcome {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    collect(child, &format!("{command:?}"))
}

fn collect(mut child: Child, what: &str) -> Outcome {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let reader = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).expect("what it prints");
            }
            bytes
        })
    };
    let out = reader(stdout.take().map(|pipe| Box::new(pipe) as _));
    let err = reader(stderr.take().map(|pipe| Box::new(pipe) as _));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().expect("its status") {
            Some(status) => break status,
            None if begun.elapsed() > PATIENCE => {
                child.kill().expect("killed");
                child.wait().expect("reaped");
                panic!("{what} did not end in {PATIENCE:?}");
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let (stdout, stderr) = (out.join().expect("read"), err.join().expect("read"));
    Outcome { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}

/// A program that serves until it is told to end.
pub struct Server {
    child: Option<Child>,
    what: String,
}

/// Asks until it is so.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

impl Server {
    /// Starts it.
    pub fn spawn(mut command: Command) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let what = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        Server { child: Some(child), what }
    }

    /// Starts it, and waits until it accepts connections at this port of the machine's loopback.
    pub fn start(mut command: Command, port: u16) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut server = Server { child: Some(child), what };
        let begun = Instant::now();
        while !server.answers(port) {
            let child = server.child.as_mut().expect("it runs");
            if let Some(status) = child.try_wait().expect("its status") {
                let child = server.child.take().expect("it ran");
                let outcome = collect(child, &server.what);
                panic!("{} ended at once, {status}: {}{}", server.what, outcome.text(), outcome.stderr);
            }
            assert!(begun.elapsed() < PATIENCE, "{} does not answer", server.what);
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Whether a connection stays open: a published port is open before the program listens, and resets until then.
    fn answers(&self, port: u16) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(read) => read > 0,
            Err(error) => {
                let waits =
                    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                waits && stream.write_all(b"").is_ok()
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32));
        kill_process(pid.expect("it runs"), signal).expect("it takes signals");
    }

    /// Tells it to end, and what it came to.
    pub fn stop(mut self, signal: Signal) -> Outcome {
        self.signal(signal);
        collect(self.child.take().expect("it runs"), &self.what)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself. The program under `sockeye run` gets SIGTERM with it.
            let pid = Pid::from_raw(child.id() as i32).expect("a number");
            let _ = kill_process(pid, Signal::TERM);
            thread::sleep(Duration::from_millis(100));
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A file of so many bytes that no compression shortens; its digest.
pub fn make_file(path: &Path, len: usize) -> String {
    let mut bytes = vec![0; len];
    let mut state = 0x9E37_79B9_7F4A_7C15u64 ^ len as u64;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    std::fs::write(path, &bytes).expect("written");
    digest(&bytes)
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn digest_of(path: &Path) -> String {
    digest(&std::fs::read(path).expect("the file"))
}

/// Python's file server of the kernel's, for a folder.
pub fn file_server(folder: &Path) -> (Server, u16) {
    let port = free_port();
    let number = port.to_string();
    let dir = folder.to_str().expect("a path");
    let server =
        kernel(&["python3", "-m", "http.server", &number, "--bind", "127.0.0.1", "--directory", dir]);
    (Server::start(server, port), port)
}

/// The folder with the programs of these tests.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/sources")
}

/// Compiles a C program.
pub fn compile(folder: &Path, source: &str, options: &[&str]) -> PathBuf {
    let binary = folder.join(source.trim_end_matches(".c"));
    let mut command = kernel(&["cc", "-O1", "-o"]);
    command.arg(&binary).arg(sources().join(source)).args(options);
    let outcome = output(command);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    binary
}
