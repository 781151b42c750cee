//! The ways from a client to its server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How a client's connections travel.
pub enum Way {
    /// Not at all: the kernel's loopback.
    Kernel,
    /// `sockeye run`: over two stacks of ours to the kernel's loopback.
    User,
    /// `sockeye run --net lan:NAME` at both ends.
    Lan(String),
    /// slirp4netns, to the host's loopback.
    Slirp,
    /// pasta, its port joined to the host's loopback.
    Pasta,
}

/// The server of a lan.
const MEMBER: &str = "198.18.0.1";
/// What slirp4netns calls the host's loopback.
const SLIRP_HOST: &str = "10.0.2.2";

/// A server, which ends with the value.
pub struct Server {
    child: Option<Child>,
    what: String,
}

impl Server {
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            super::end(child);
        }
    }
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut dirs = path.split(':').chain(["/usr/sbin", "/sbin"]).map(Path::new);
    dirs.find_map(|dir| Some(dir.join(program)).filter(|path| path.exists()))
}

fn sockeye() -> Command {
    // This very program, wherever it lies.
    Command::new(std::env::current_exe().unwrap_or_else(|_| "sockeye".into()))
}

impl Way {
    pub fn all() -> Vec<Way> {
        let lan = format!("lan:bench{}", std::process::id());
        vec![Way::Kernel, Way::User, Way::Lan(lan), Way::Slirp, Way::Pasta]
    }

    pub fn name(&self) -> &'static str {
        match self {
            Way::Kernel => "kernel loopback",
            Way::User => "run user",
            Way::Lan(_) => "run lan",
            Way::Slirp => "slirp4netns",
            Way::Pasta => "pasta",
        }
    }

    pub fn needs(&self) -> &'static [&'static str] {
        match self {
            Way::Kernel | Way::User | Way::Lan(_) => &[],
            Way::Slirp => &["slirp4netns", "unshare", "ip"],
            Way::Pasta => &["pasta"],
        }
    }

    /// What the client calls the server.
    pub fn host(&self) -> &'static str {
        match self {
            Way::Lan(_) => MEMBER,
            Way::Slirp => SLIRP_HOST,
            Way::Kernel | Way::User | Way::Pasta => "127.0.0.1",
        }
    }

    pub fn start(&self, mut program: Vec<String>) -> Result<Server, String> {
        let what = program.join(" ");
        if let Some(path) = find(&program[0]) {
            program[0] = path.to_string_lossy().into_owned();
        }
        let mut command = match self {
            Way::Lan(lan) => {
                // Programs that listen on the loopback only are to be reached by the member's address.
                if let Some(at) = program.iter().position(|word| word.ends_with("/conf")) {
                    let conf = std::fs::read_to_string(&program[at]).unwrap_or_default();
                    let _ =
                        std::fs::write(&program[at], conf.replace("listen 127.0.0.1:", "listen 0.0.0.0:"));
                }
                if what.starts_with("redis-server") {
                    program.extend(["--protected-mode", "no"].map(String::from));
                }
                let mut command = sockeye();
                command.args(["run", "--quiet", "--net", lan, "--address", MEMBER, "--"]).args(&program);
                command
            }
            _ => {
                let mut command = Command::new(&program[0]);
                command.args(&program[1..]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{what}: {error}"))?;
        Ok(Server { child: Some(child), what })
    }

    pub fn client(&self, program: &[String], port: u16) -> Command {
        match self {
            Way::Kernel => {
                let mut command = Command::new(&program[0]);
                command.args(&program[1..]);
                command
            }
            Way::User => {
                let mut command = sockeye();
                command.args(["run", "--quiet", "--"]).args(program);
                command
            }
            Way::Lan(lan) => {
                let mut command = sockeye();
                command.args(["run", "--quiet", "--net", lan, "--"]).args(program);
                command
            }
            Way::Slirp => slirp(program),
            Way::Pasta => {
                let mut command = Command::new("pasta");
                let port = port.to_string();
                if rustix::process::geteuid().is_root() {
                    // By itself it would become nobody, who may not make its namespace everywhere.
                    command.args(["--runas", "0"]);
                }
                command.arg("--config-net");
                command
                    .args(["--quiet", "-t", "none", "-u", "none", "-U", "none", "-T", &port, "--"])
                    .args(program);
                command
            }
        }
    }
}

/// A client in a namespace of its own, which slirp4netns serves as long as it lives.
fn slirp(program: &[String]) -> Command {
    let user = if rustix::process::geteuid().is_root() { "" } else { "--user --map-root-user" };
    let script = format!(
        "fifo=$(mktemp -u); mkfifo $fifo; \
         unshare {user} --net sh -c 'echo $$ > '$fifo'; until ip route | grep -q default; do sleep 0.02; done; exec \"$@\"' sh \"$@\" & \
         client=$!; pid=$(cat $fifo); rm $fifo; \
         slirp4netns --configure --mtu=65520 $pid tap0 >/dev/null 2>&1 & slirp=$!; \
         wait $client; kill $slirp; wait $slirp 2>/dev/null; true"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).args(program);
    command
}
