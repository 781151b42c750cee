//! A network namespace, the kernel's TCP in it, and `sockeye` on the other end of a TUN device.

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The kernel's addresses on the device, and ours.
pub const KERNEL: &str = "192.0.2.1";
pub const KERNEL6: &str = "2001:db8::1";
pub const OURS: &str = "192.0.2.2";
pub const OURS6: &str = "2001:db8::2";
pub const PORT: u16 = 8_080;

/// What no single step of a test takes longer than.
const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace and a folder, gone when dropped.
pub struct Lab {
    namespace: String,
    folder: tempfile::TempDir,
}

impl Lab {
    /// `None`, and the reason printed, where the machine lacks something that the test needs.
    pub fn new(programs: &[&str]) -> Option<Lab> {
        match Lab::try_new(programs) {
            Ok(lab) => Some(lab),
            Err(reason) => {
                let required = std::env::var("SOCKEYE_REQUIRE_PEERS").is_ok_and(|value| value == "1");
                assert!(!required, "{reason}, and SOCKEYE_REQUIRE_PEERS=1");
                println!("skipped: {reason}");
                None
            }
        }
    }

    fn try_new(programs: &[&str]) -> Result<Lab, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return Err("this test needs root".to_owned());
        }
        if !Path::new("/dev/net/tun").exists() {
            return Err("there is no /dev/net/tun".to_owned());
        }
        for program in programs.iter().chain(&["ip", "timeout", "kill"]) {
            let path = std::env::var("PATH").unwrap_or_default();
            let dirs = path.split(':').chain(["/usr/sbin", "/sbin"]);
            if !dirs.into_iter().any(|dir| Path::new(dir).join(program).exists()) {
                return Err(format!("`{program}` is not installed"));
            }
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("sockeye-{}-{number}", std::process::id());
        let made =
            Command::new("ip").args(["netns", "add", &namespace]).output().map_err(|e| e.to_string())?;
        if !made.status.success() {
            return Err(format!(
                "cannot make a network namespace: {}",
                String::from_utf8_lossy(&made.stderr)
            ));
        }
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let lab = Lab { namespace, folder };
        lab.check("ip", &["link", "set", "lo", "up"]);
        Ok(lab)
    }

    /// A file of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of `len` bytes that repeat nothing soon; returns its path and SHA-256.
    pub fn noise(&self, name: &str, len: usize) -> (PathBuf, String) {
        let mut x = 0x2545_F491_4F6C_DD1D_u64 ^ len as u64;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            bytes.extend_from_slice(&x.to_le_bytes());
        }
        bytes.truncate(len);
        let path = self.path(name);
        fs::write(&path, &bytes).expect("a file in the test's own folder");
        (path, sha256(&bytes))
    }

    /// A program in the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program).current_dir(self.folder.path());
        command
    }

    /// `sockeye` in the namespace.
    pub fn sockeye(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_sockeye"))
    }

    /// Runs a program to its end, at most for [`PATIENCE`].
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.run_for(PATIENCE, program, args)
    }

    /// Runs a program to its end, at most for `time`; then it is killed and has exit code 124.
    pub fn run_for(&self, time: Duration, program: &str, args: &[&str]) -> Output {
        let mut command = self.command("timeout");
        command.args(["--kill-after=5", &time.as_secs().to_string(), program]).args(args);
        command.stdin(Stdio::null()).output().expect("ip and timeout, which are there, can be run")
    }

    /// Runs a program that has to succeed; returns its standard output.
    pub fn check(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert!(output.status.success(), "{program} {args:?}: {}", explain(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A python3 script that has to succeed; returns its standard output.
    pub fn python(&self, script: &str, args: &[&str]) -> String {
        let mut all = vec!["-c", script];
        all.extend(args);
        self.check("python3", &all)
    }

    /// Starts a program that the test ends.
    pub fn spawn(&self, program: &str, args: &[&str]) -> Process {
        let mut command = self.command(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Process(command.spawn().expect("a program that was found can be run"))
    }

    /// Sets up the device for `sockeye` and the kernel's addresses on it, so that they are there before it runs.
    pub fn device(&self, name: &str) {
        self.check("ip", &["tuntap", "add", "dev", name, "mode", "tun"]);
        self.check("ip", &["address", "add", &format!("{KERNEL}/24"), "dev", name]);
        self.check("ip", &["address", "add", &format!("{KERNEL6}/64"), "dev", name, "nodad"]);
        self.check("ip", &["link", "set", name, "up"]);
    }

    /// Waits until the kernel's TCP listens on this port of the namespace.
    pub fn wait_for_listener(&self, port: u16) {
        let deadline = Instant::now() + PATIENCE;
        let hex = format!(":{port:04X} ");
        loop {
            let tables = self.check("cat", &["/proc/net/tcp", "/proc/net/tcp6"]);
            if tables.lines().any(|line| line.contains(&hex) && line.contains(" 0A ")) {
                return;
            }
            assert!(Instant::now() < deadline, "nobody listens on port {port}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts `sockeye serve` with these arguments, and waits until it listens.
    pub fn serve(&self, args: &[&str]) -> Server {
        let mut command = self.sockeye();
        command.args(["serve", "--device", "tun:tun0", "--json", "--port", &PORT.to_string()]);
        command.args(["--address", &format!("{OURS}/24"), "--address", &format!("{OURS6}/64")]).args(args);
        let server = Server::start(command);
        server.wait_for("it listens on both addresses", |events| {
            (events.iter().filter(|e| e["event"] == "listening").count() == 2).then_some(())
        });
        server
    }

    /// Runs `sockeye connect` to the kernel with `input`; returns how it ended.
    pub fn connect(&self, args: &[&str], input: &[u8]) -> Output {
        self.connect_until(args, input, 0)
    }

    /// As [`Lab::connect`], but the input ends only when `len` bytes of output have come.
    pub fn connect_until(&self, args: &[&str], input: &[u8], len: usize) -> Output {
        let mut command = self.command("timeout");
        command.args([
            "--kill-after=5",
            "60",
            env!("CARGO_BIN_EXE_sockeye"),
            "connect",
            "--device",
            "tun:tun1",
        ]);
        command.args(["--address", &format!("{OURS}/24"), "--address", &format!("{OURS6}/64")]).args(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip and timeout can be run");
        let mut stdin = child.stdin.take().expect("asked for above");
        let mut stdout = child.stdout.take().expect("asked for above");
        let mut received = Vec::new();
        let mut output = thread::scope(|scope| {
            let sender = scope.spawn(move || {
                // The command may end before it has read everything.
                drop(stdin.write_all(input));
                stdin
            });
            let mut chunk = vec![0; 1 << 20];
            while received.len() < len {
                match stdout.read(&mut chunk).expect("a readable pipe") {
                    0 => break,
                    read => received.extend_from_slice(&chunk[..read]),
                }
            }
            let ender = scope.spawn(move || drop(sender.join()));
            stdout.read_to_end(&mut received).expect("a readable pipe");
            drop(ender);
            child.wait_with_output().expect("a child can be waited for")
        });
        output.stdout = received;
        output
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nothing is lost if it cannot be deleted, but the next run should be told.
        match Command::new("ip").args(["netns", "delete", &self.namespace]).status() {
            Ok(status) if status.success() => {}
            other => eprintln!("network namespace {} was not deleted: {other:?}", self.namespace),
        }
    }
}

/// A program that ends with the test.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: Signal) {
        signal_child(&self.0, signal);
    }

    /// Waits for its end; returns its standard output.
    pub fn finish(mut self) -> Vec<u8> {
        drop(self.0.stdin.take());
        let mut bytes = Vec::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_end(&mut bytes).expect("a readable pipe");
        }
        let status = self.0.wait().expect("a child can be waited for");
        assert!(status.success(), "{status}");
        bytes
    }

    /// Reads one line of its standard output.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let stdout = self.0.stdout.as_mut().expect("asked for at its start");
        loop {
            let mut byte = [0];
            match stdout.read(&mut byte).expect("a readable pipe") {
                0 => break,
                _ if byte[0] == b'\n' => break,
                _ => line.push(byte[0]),
            }
        }
        String::from_utf8(line).expect("text")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A running `sockeye serve` and the events it has told.
pub struct Server {
    child: Child,
    events: Arc<(Mutex<Vec<Value>>, Condvar)>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(mut command: Command) -> Server {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("sockeye can be run");
        let stdout = child.stdout.take().expect("asked for above");
        let events = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let shared = events.clone();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let line = line.expect("text");
                let event = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
                shared.0.lock().expect("no panic while locked").push(event);
                shared.1.notify_all();
            }
        });
        Server { child, events, reader: Some(reader) }
    }

    /// Waits until `find` finds something in the events so far.
    pub fn wait_for<T>(&self, what: &str, find: impl Fn(&[Value]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut events = self.events.0.lock().expect("no panic while locked");
        loop {
            if let Some(found) = find(&events) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain until {what}; events:\n{}", lines(&events));
            events = self.events.1.wait_timeout(events, left).expect("no panic while locked").0;
        }
    }

    /// Waits until `count` connections have ended; returns their `end` events.
    pub fn ended(&self, count: usize) -> Vec<Value> {
        self.wait_for(&format!("{count} connections have ended"), |events| {
            let ended: Vec<Value> = events.iter().filter(|e| e["event"] == "end").cloned().collect();
            (ended.len() >= count).then_some(ended)
        })
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        signal_child(&self.child, Signal::INT);
    }

    /// Its resident memory, KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells VmRSS");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Ctrl-C, and waits for its orderly end; returns all events.
    pub fn stop(self) -> Vec<Value> {
        self.interrupt();
        let (code, events) = self.wait();
        assert_eq!(code, Some(0), "{}", lines(&events));
        events
    }

    /// Waits for its end; returns its exit code and all events.
    pub fn wait(mut self) -> (Option<i32>, Vec<Value>) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "sockeye does not end");
            thread::sleep(Duration::from_millis(5));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("every line was JSON");
        }
        let events = std::mem::take(&mut *self.events.0.lock().expect("no panic while locked"));
        (status.code(), events)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The counter of this name in the last `stats` event.
pub fn counter(events: &[Value], name: &str) -> u64 {
    let stats = events.iter().rev().find(|e| e["event"] == "stats").expect("a stats event at the end");
    stats["counters"][name].as_u64().unwrap_or(0)
}

/// All lines of an output, for messages.
pub fn explain(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lines(events: &[Value]) -> String {
    let last = events.len().saturating_sub(50);
    events[last..].iter().map(|event| format!("{event}\n")).collect()
}

fn signal_child(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a process id");
    kill_process(pid, signal).expect("a child of ours can be signalled");
}
