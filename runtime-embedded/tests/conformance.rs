//! The conformance suite without a runtime: with the adapter's own thread, and with a loop that
//! turns the driver.

mod harness;

mod attended {
    fluss_core::conformance!(crate::harness::Attended);
}

mod turned {
    fluss_core::conformance!(crate::harness::Turned);
}
