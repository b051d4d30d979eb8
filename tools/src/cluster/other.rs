//! The same names as in `unix.rs`, for systems on which no cluster can be started.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[derive(Debug)]
pub(super) struct Guard;

impl Guard {
    pub(super) fn new(_scratch: Option<&Path>) -> io::Result<Self> {
        unsupported()
    }

    pub(super) fn spawn(&self, _command: &mut Command) -> io::Result<Child> {
        unsupported()
    }
}

pub(super) fn terminate(_child: &Child) -> io::Result<()> {
    unsupported()
}

pub(super) fn pause(_child: &Child) -> io::Result<()> {
    unsupported()
}

pub(super) fn resume(_child: &Child) -> io::Result<()> {
    unsupported()
}

/// Says whether the process that started this one is still there; not known on this system.
#[derive(Debug, Clone, Copy)]
pub struct Parent;

impl Parent {
    /// Remembers the parent of this process.
    #[must_use]
    pub fn current() -> Self {
        Self
    }

    /// Always false.
    #[must_use]
    pub fn is_gone(self) -> bool {
        false
    }
}

/// A flag that an interruption would raise.
///
/// # Errors
/// Always: this system has no signals.
pub fn interrupt_flag() -> io::Result<Arc<AtomicBool>> {
    unsupported()
}

/// As [`interrupt_flag`].
///
/// # Errors
/// Always: this system has no signals.
pub fn interrupt_flag_with(
    _last_words: impl FnOnce() + Send + 'static,
) -> io::Result<Arc<AtomicBool>> {
    unsupported()
}

/// Always false: the next line that is written tells.
pub(crate) fn is_output_closed() -> bool {
    false
}
