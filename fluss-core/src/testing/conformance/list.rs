//! The list of all cases.

/// Makes a test of each case of the conformance suite for this
/// [`Harness`](crate::testing::conformance::Harness).
///
/// Two harnesses need two modules, as each case is a function with the case's name.
#[macro_export]
macro_rules! conformance {
    ($harness:ty) => {
        $crate::conformance! { $harness;
            close: a_close_delivers_what_was_handed_in
            close: a_close_that_runs_out_of_time_tells_true_outcomes
            close: dropping_the_last_writer_delivers_its_rows
            close: dropping_the_client_gives_every_ticket_an_outcome
            close: dropping_the_driver_gives_every_ticket_an_outcome
            connect: a_client_shakes_hands_and_is_ready
            connect: no_version_in_common_is_told_at_once
            connect: a_dead_first_bootstrap_server_is_passed_over
            connect: an_address_where_nobody_listens_is_named
            connect: a_server_that_lets_nobody_in_is_given_up_in_time
            connect: all_servers_are_replaced_while_the_client_runs
            connect: a_name_is_followed_to_where_it_leads_now
            connect: a_name_is_looked_up_by_the_system
            connect: all_addresses_of_a_name_are_tried
            connect: a_name_that_leads_nowhere_is_named
            connect: rows_travel_over_ipv6
            connect: the_right_password_is_let_in
            connect: a_wrong_password_is_told_at_once
            connect: a_listener_that_wants_credentials_says_so
            deliver: each_row_is_acknowledged_at_its_offset
            deliver: a_row_lingers_and_then_goes_by_itself
            deliver: a_full_batch_goes_without_waiting_for_its_linger
            deliver: a_flush_names_the_rows_that_did_not_make_it
            deliver: a_row_whose_ticket_is_dropped_is_written
            deliver: foreign_threads_wake_an_idle_driver
            deliver: a_thread_may_block_in_the_middle_of_a_future
            deliver: rows_of_each_handle_keep_their_order
            deliver: two_writers_have_different_writer_ids
            deliver: upserts_and_deletes_answer_with_the_log_end_offset
            filter: a_filtered_scan_has_the_wanted_rows_at_their_offsets
            filter: a_filtered_scan_moves_over_what_it_leaves_out
            filter: records_of_a_changelog_are_chosen_one_by_one
            lookup: a_key_without_a_row_finds_none
            lookup: keys_looked_up_in_one_go_share_requests
            lookup: a_lookup_whose_answer_is_lost_is_repeated
            lookup: lookups_follow_a_leader_that_moves
            lookup: a_dropped_lookup_disturbs_no_other
            lookup: lookups_beyond_the_budget_wait_and_a_try_gives_the_key_back
            lookup: blocked_threads_wait_for_a_place_in_the_budget
            lookup: blocked_threads_look_rows_up
            lookup: threads_that_look_up_and_give_up_in_turns_get_their_rows
            memory: a_run_larger_than_the_budget_waits_for_memory
            memory: tasks_on_one_executor_share_a_small_budget_without_deadlock
            memory: blocked_threads_wait_for_memory
            memory: without_memory_a_limit_or_a_try_gives_the_row_back
            memory: a_dropped_append_gives_its_place_back
            memory: a_dropped_run_has_handed_in_the_prefix_it_tells
            misuse: an_unknown_table_is_named
            misuse: the_wrong_kind_of_writer_says_which_is_right
            misuse: a_row_that_does_not_fit_is_refused_alone
            misuse: an_iterator_that_uses_its_own_handle_is_told_so
            misuse: settings_that_contradict_each_other_are_named
            partition: rows_of_two_threads_create_their_partitions
            partition: keyed_rows_are_found_in_their_partitions
            partition: a_dropped_partition_ends_its_own_rows_only
            peers: a_web_server_is_no_fluss_server
            peers: a_frame_of_two_gibibytes_is_refused
            peers: a_frame_of_negative_length_is_refused
            peers: a_frame_of_unknown_type_is_refused
            peers: a_server_that_hangs_up_is_named
            peers: a_server_that_never_answers_is_given_up_in_time
            peers: an_answer_above_the_frame_limit_names_the_limit
            peers: a_large_batch_is_written_in_parts
            reading: record_batches_tell_change_offset_and_time
            reading: a_change_comes_whole_but_where_the_reader_itself_parts_it
            reading: bounded_scans_end_at_offsets_and_times
            reading: every_bucket_with_data_moves_whatever_the_sizes_of_batches
            reading: a_position_out_of_range_is_dealt_with_as_told
            reading: a_damaged_batch_is_dealt_with_as_told
            reading: a_scan_is_a_stream_and_an_arrow_reader
            reading: rows_become_structs
            routing: keys_of_lake_tables_are_found_where_the_lake_places_them
            routing: an_assigner_places_rows_and_its_mistakes_cost_one_row_each
            rows: rows_by_name_reach_their_columns
            rows: some_columns_are_written_by_names_and_by_places
            rows: a_value_beyond_its_type_fails_its_row_alone
            rows: rows_that_did_not_make_it_come_back
            rows: writers_outlive_a_new_column
            scan: a_scan_sees_rows_that_are_appended_later
            scan: a_bounded_scan_ends_where_the_log_ended
            scan: a_scan_is_resumed_after_a_cut
            scan: a_scan_follows_a_leader_that_moves
            scan: a_dropped_wait_for_rows_loses_none
            scan: a_dropped_scanner_fetches_no_more
            snapshot: all_rows_of_a_table_are_read_as_they_are_now
            snapshot: a_dropped_wait_for_rows_of_a_snapshot_loses_none
            snapshot: a_lost_session_begins_anew_or_is_told
            snapshot: a_state_and_its_changes_have_no_gap_and_nothing_twice
            subscribe: buckets_are_added_and_taken_away_under_way
            subscribe: a_paused_bucket_is_neither_fetched_nor_handed_out
            subscribe: partitions_are_found_and_dropped_under_way
            subscribe: a_waker_ends_a_wait_and_loses_nothing
            subscribe: waits_dropped_at_random_lose_nothing
            tiered: segments_in_remote_storage_are_read_and_then_the_live_log
            tiered: a_moved_changelog_is_replayed
            tiered: a_read_from_remote_storage_blocks_nothing_else
            tiered: segments_are_read_with_the_tokens_of_the_servers
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
            ("close", include_str!("close.rs")),
            ("connect", include_str!("connect.rs")),
            ("deliver", include_str!("deliver.rs")),
            ("filter", include_str!("filter.rs")),
            ("lookup", include_str!("lookup.rs")),
            ("memory", include_str!("memory.rs")),
            ("misuse", include_str!("misuse.rs")),
            ("partition", include_str!("partition.rs")),
            ("peers", include_str!("peers.rs")),
            ("reading", include_str!("reading.rs")),
            ("routing", include_str!("routing.rs")),
            ("rows", include_str!("rows.rs")),
            ("scan", include_str!("scan.rs")),
            ("snapshot", include_str!("snapshot.rs")),
            ("subscribe", include_str!("subscribe.rs")),
            ("tiered", include_str!("tiered.rs")),
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
