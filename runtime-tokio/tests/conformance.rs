//! The conformance suite on tokio, with one thread and with several.

mod harness;

mod current_thread {
    fluss_core::conformance!(crate::harness::CurrentThread);
}

mod multi_thread {
    fluss_core::conformance!(crate::harness::MultiThread);
}
