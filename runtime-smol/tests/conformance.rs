//! The conformance suite on smol: on its global executor, and on one thread alone.

mod harness;

mod global {
    fluss_core::conformance!(crate::harness::Global);
}

mod one_thread {
    fluss_core::conformance!(crate::harness::OneThread);
}
