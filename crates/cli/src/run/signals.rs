//! Signals are the program's. What the terminal sends it gets by itself; what somebody sends to us is passed on.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::raw::WithRawSiginfo;

/// SI_KERNEL: the kernel sent it, for the terminal, to the whole group of processes in front.
const SI_KERNEL: i32 = 0x80;

/// Who passes signals on.
pub struct Signals {
    program: Arc<Mutex<Program>>,
    interrupted: Arc<AtomicBool>,
}

/// Whom they are for.
enum Program {
    /// It is being started; what has come meanwhile.
    NotYet(Vec<Signal>),
    Is(Pid),
}

impl Signals {
    /// Catches them from now on. A program started later has them as they were before.
    pub fn catch() -> io::Result<Signals> {
        let caught = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
        // What whoever started us had ignored (nohup) stays so, for us and for the program.
        let ignored = ignored()?;
        let caught: Vec<i32> = caught.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0).collect();
        let mut signals = SignalsInfo::<WithRawSiginfo>::new(caught)?;
        let (program, interrupted) = (Arc::new(Mutex::new(Program::NotYet(Vec::new()))), Arc::default());
        let mine = Signals { program: Arc::clone(&program), interrupted: Arc::clone(&interrupted) };
        thread::Builder::new().name("sockeye/signals".into()).spawn(move || {
            for info in signals.forever() {
                pass_on((info.si_signo, info.si_code), &program, &interrupted);
            }
        })?;
        Ok(mine)
    }

    /// Whom they are for, those that have come while it was started too.
    pub fn forward_to(&self, child: u32) {
        let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return };
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Program::NotYet(signals) = std::mem::replace(&mut *program, Program::Is(pid)) {
            for signal in signals {
                // It may just have ended: then nobody needs the signal.
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// Whether one came that nobody was left to take.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }
}

fn pass_on((number, code): (i32, i32), program: &Mutex<Program>, interrupted: &AtomicBool) {
    let Some(signal) = Signal::from_named_raw(number) else { return };
    let mut program = program.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *program {
        Program::NotYet(signals) => signals.push(signal),
        Program::Is(pid) if test_kill_process(*pid).is_ok() => {
            if code != SI_KERNEL {
                // It may just have ended: then nobody needs the signal.
                let _ = kill_process(*pid, signal);
            }
        }
        Program::Is(_) if matches!(number, SIGINT | SIGTERM | SIGHUP | SIGQUIT) => {
            interrupted.store(true, Ordering::Release);
        }
        Program::Is(_) => {}
    }
}

/// The signals that this process ignores, a bit each.
fn ignored() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    Ok(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
}
