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
            memory: a_run_larger_than_the_budget_waits_for_memory
            memory: tasks_on_one_executor_share_a_small_budget_without_deadlock
            memory: blocked_threads_wait_for_memory
            memory: without_memory_a_limit_or_a_try_gives_the_row_back
            memory: a_dropped_append_gives_its_place_back
            memory: a_dropped_run_has_handed_in_the_prefix_it_tells
            trouble: a_write_that_is_dropped_silently_is_sent_again
            trouble: a_write_whose_answer_never_comes_is_there_once
            trouble: a_call_that_is_dropped_silently_is_repeated
            trouble: a_silent_server_ends_a_call_at_its_deadline
            trouble: a_cut_within_a_frame_loses_and_doubles_nothing
            trouble: the_client_reconnects_while_rows_are_on_their_way
            trouble: a_connection_closed_while_idle_is_made_anew_when_needed
            trouble: rows_follow_a_leader_that_moves
            trouble: an_answer_that_does_not_parse_is_reported_or_made_good
            trouble: everything_goes_wrong_by_chance_and_each_row_is_there_once
            trouble: a_row_that_cannot_be_delivered_ends_with_a_true_outcome
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
        let groups = [
            ("deliver", include_str!("deliver.rs")),
            ("memory", include_str!("memory.rs")),
            ("trouble", include_str!("trouble.rs")),
        ];
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
