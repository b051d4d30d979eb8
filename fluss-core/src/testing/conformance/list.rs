//! The list of all cases.

/// Makes a test of each case of the conformance suite for this
/// [`Harness`](crate::testing::conformance::Harness).
///
/// Two harnesses need two modules, as each case is a function with the case's name.
#[macro_export]
macro_rules! conformance {
    ($harness:ty) => {
        $crate::conformance! { $harness;
            deliver: each_row_is_acknowledged_at_its_offset
            deliver: a_row_lingers_and_then_goes_by_itself
            deliver: a_full_batch_goes_without_waiting_for_its_linger
            deliver: a_flush_names_the_rows_that_did_not_make_it
            deliver: a_row_whose_ticket_is_dropped_is_written
            deliver: foreign_threads_wake_an_idle_driver
            deliver: rows_of_each_handle_keep_their_order
            deliver: two_writers_have_different_writer_ids
            deliver: upserts_and_deletes_answer_with_the_log_end_offset
        }
    };
    ($harness:ty; $($group:ident: $case:ident)+) => {
        $(
            #[test]
            fn $case() {
                $crate::testing::conformance::$group::$case::<$harness>();
            }
        )+
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// A case that nobody runs proves nothing.
    #[test]
    fn every_case_is_in_the_list() {
        let groups = [("deliver", include_str!("deliver.rs"))];
        let mut written = BTreeSet::new();
        for (group, text) in groups {
            for line in text.lines() {
                let name = line.strip_prefix("pub fn ").and_then(|rest| rest.split('<').next());
                written.extend(name.map(|name| format!("{group}: {name}")));
            }
        }
        let (list, _) = include_str!("list.rs").split_once("($harness:ty; ").expect("two arms");
        let is_case = |line: &&str| line.starts_with(char::is_alphabetic) && line.contains(": ");
        let listed: BTreeSet<String> =
            list.lines().map(str::trim).filter(is_case).map(str::to_owned).collect();
        assert_eq!(listed, written);
    }
}
