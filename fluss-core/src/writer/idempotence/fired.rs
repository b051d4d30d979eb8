//! Which of the writers' rules decided something in a run.
//!
//! A simulation that never makes a rule decide proves nothing about it, so the rules note it when
//! they do. Outside tests and simulations this is an empty type and costs nothing.

/// A set of rule numbers, as the module documentation of the simulator lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fired {
    #[cfg(any(test, feature = "testing"))]
    bits: u32,
}

impl Fired {
    /// The rule with this number, below 32, decided something.
    #[inline]
    pub(super) fn rule(&mut self, number: u8) {
        self.rule_if(number, true);
    }

    /// As [`rule`](Self::rule), under a condition.
    #[inline]
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn rule_if(&mut self, number: u8, decided: bool) {
        self.bits |= u32::from(decided) << number;
    }

    #[inline]
    #[cfg(not(any(test, feature = "testing")))]
    pub(super) fn rule_if(&mut self, _: u8, _: bool) {}

    /// Adds what fired elsewhere.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn join(&mut self, other: Self) {
        self.bits |= other.bits;
    }

    #[cfg(not(any(test, feature = "testing")))]
    pub(crate) fn join(&mut self, _: Self) {}

    /// Bit `n` is set when rule `n` decided something.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) const fn bits(self) -> u32 {
        self.bits
    }
}
