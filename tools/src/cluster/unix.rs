//! Everything that only Unix knows: process groups, signals, the guards that outlive us, and
//! whether anybody reads what we print.
//!
//! A process that is killed with SIGKILL cannot clean up after itself. Two small shells do it
//! instead. Each waits for the end of a pipe whose other end only this process holds, which comes
//! when this process ends in whatever way.
//!
//! * The *anchor* leads the process group that every Java process joins as it is started, and
//!   kills that group, itself included. Neither a list of process ids nor a moment in which a new
//!   process is not yet on it is needed. As the group is not the terminal's, a Ctrl-C there
//!   reaches the launcher alone.
//! * The *janitor* stands outside, waits until the group is gone, and deletes the temporary
//!   directory.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

const ANCHOR: &str = "trap '' HUP INT TERM; read line; kill -9 0";

/// `$1` is the process group, `$2` the directory. Where nobody collects the dead, the group never
/// ends, hence the limit.
const JANITOR: &str = "trap '' HUP INT TERM; PATH=$PATH:/usr/bin:/bin; read line; n=0; \
    while [ $n -lt 10 ] && kill -0 -\"$1\" 2>/dev/null; do sleep 1; n=$((n + 1)); done; \
    rm -rf -- \"$2\"";

/// Takes down all processes started through it when it is dropped or when this process ends.
#[derive(Debug)]
pub(super) struct Guard {
    anchor: Child,
    janitor: Option<Child>,
}

impl Guard {
    /// Starts the guard; `scratch` is a directory to delete at the end.
    pub(super) fn new(scratch: Option<&Path>) -> io::Result<Self> {
        let anchor = shell(ANCHOR, &[])?;
        let mut guard = Self { anchor, janitor: None };
        if let Some(dir) = scratch {
            let group = guard.anchor.id().to_string();
            guard.janitor = Some(shell(JANITOR, &[OsStr::new(&group), dir.as_os_str()])?);
        }
        Ok(guard)
    }

    /// Starts `command` as a member of the guarded group.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.process_group(self.anchor.id().cast_signed()).spawn()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for child in [Some(&mut self.anchor), self.janitor.as_mut()].into_iter().flatten() {
            drop(child.stdin.take());
            // Nothing useful can be done where waiting for an own child fails.
            let _ = child.wait();
        }
    }
}

/// A shell in a group of its own that reads from a pipe we hold.
fn shell(script: &str, arguments: &[&OsStr]) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", script, "fluss-cluster-guard"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
}

/// Asks a process to end (SIGTERM).
pub(super) fn terminate(child: &Child) -> io::Result<()> {
    send(child, Signal::TERM)
}

/// Freezes a process (SIGSTOP).
pub(super) fn pause(child: &Child) -> io::Result<()> {
    send(child, Signal::STOP)
}

/// Lets a frozen process go on (SIGCONT).
pub(super) fn resume(child: &Child) -> io::Result<()> {
    send(child, Signal::CONT)
}

/// The id stays ours for as long as the child was not waited for.
fn send(child: &Child, signal: Signal) -> io::Result<()> {
    kill_process(Pid::from_child(child), signal).map_err(io::Error::from)
}

/// Says whether the process that started this one is still there.
#[derive(Debug, Clone, Copy)]
pub struct Parent(u32);

impl Parent {
    /// Remembers the parent of this process; call it first thing in `main`.
    #[must_use]
    pub fn current() -> Self {
        Self(parent_id())
    }

    /// True once the parent has ended, in which case somebody else has adopted this process.
    #[must_use]
    pub fn is_gone(self) -> bool {
        parent_id() != self.0
    }
}

/// A flag that SIGINT, SIGTERM and SIGHUP raise. A second one of them ends the process at once
/// with status 130; the guards clean up then.
///
/// # Errors
/// Where the system refuses a signal handler.
pub fn interrupt_flag() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order, the first signal finds the flag still down.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// As [`interrupt_flag`], with something to be said before the second signal ends the process. A
/// thread waits for both, as a signal handler itself may hardly do anything.
///
/// # Errors
/// Where the system refuses a signal handler or the thread.
pub fn interrupt_flag_with(
    last_words: impl FnOnce() + Send + 'static,
) -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let raised = Arc::clone(&flag);
    std::thread::Builder::new().name("fluss-signals".to_owned()).spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            raised.store(true, Ordering::Relaxed);
        }
        if signals.next().is_some() {
            last_words();
            std::process::exit(130);
        }
    })?;
    Ok(flag)
}

/// Whether standard output is a pipe or a socket whose other end was closed.
pub(crate) fn is_output_closed() -> bool {
    let out = io::stdout();
    // Nothing is asked for: that the other end is gone is always told.
    let mut asked = [PollFd::new(&out, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let told = poll(&mut asked, Some(&at_once)).is_ok();
    told && asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}
