//! What every store promises. `store_suite!(open)` runs all of it on one adapter; `open` is an async function that makes
//! an empty store of its own for each test.

pub mod accept;
pub mod auth;
pub mod chats;
pub mod groups;
pub mod inbound;
pub mod leases;
pub mod life;
pub mod logs;
pub mod pacing;
pub mod people;
pub mod people_isolation;
pub mod people_keys;
pub mod people_logins;
pub mod queue;
pub mod tenants;
pub mod world;

/// One test function per promise.
macro_rules! store_suite {
    ($open:ident) => {
        store_suite! { @tests $open;
            accept {
                a_message_is_accepted_with_its_command_chat_and_events
                an_idempotency_key_used_fifty_times_at_once_makes_one_message
                an_idempotency_key_used_twice_in_one_batch_makes_one_message
                an_idempotency_key_is_refused_for_another_request
                a_key_of_one_tenant_is_free_for_another
                a_refused_request_does_not_use_its_key_up
                a_command_accepted_twice_is_one_command
                a_full_queue_is_busy_and_free_again
                one_bad_write_in_a_batch_fails_alone
                sixteen_writers_lose_nothing_and_keep_order
                a_lost_wake_loses_nothing
                any_batch_size_is_written_whole
            }
            queue {
                commands_are_taken_once_and_in_order
                two_takes_in_one_batch_share_nothing
                without_a_link_only_lifecycle_commands_are_taken
                what_was_taken_can_be_put_back
                only_lifecycle_commands_are_finished_without_their_message
                a_message_only_moves_up_whatever_the_order_of_the_news
                a_failed_message_says_why_and_stays_failed
                an_acknowledged_message_cannot_fail
                news_of_an_unknown_message_is_no_news
                overdue_messages_fail_in_bounded_steps
            }
            pacing {
                a_message_to_a_new_chat_waits_and_holds_no_other_back
                what_is_held_is_looked_at_when_it_is_released
                a_held_chat_that_answers_goes_on_in_order
                a_spent_rate_leaves_all_queued_and_the_session_in_peace
                a_message_is_counted_once_however_often_it_is_taken
                two_paced_takes_of_a_batch_share_one_allowance
                refusals_are_remembered_and_grow
                an_account_is_linked_once_however_often_it_logs_in
                a_held_message_ends_at_its_deadline_and_with_its_session
                a_message_behind_a_spent_rate_fails_as_held_and_one_without_an_answer_does_not
                many_held_messages_are_looked_at_in_bounded_steps
                nothing_of_a_tenants_pacing_is_shown_to_another
            }
            inbound {
                a_batch_replayed_three_times_with_halves_mixed_is_stored_once
                what_came_in_is_shown_with_chat_and_sender
                what_came_in_is_known_by_its_id_to_its_session_alone
                a_message_from_another_device_is_sent_not_received
                our_own_message_coming_back_is_not_a_second_one
                the_same_id_from_two_writers_of_a_group_is_two_messages
                a_text_that_grows_as_json_still_makes_an_event
                a_message_without_an_address_holds_up_no_other
            }
            chats {
                a_chat_is_one_under_phone_address_and_lid
                two_chats_that_turn_out_to_be_one_are_merged
                a_message_replayed_after_a_merge_is_still_known
                the_summary_shows_the_latest_message_whatever_the_order
                chats_and_messages_page_without_gap_or_repeat
                unknown_content_is_kept
            }
            life {
                a_session_starts_with_its_event_and_command
                a_session_name_is_taken_once_per_tenant
                no_more_sessions_than_allowed
                every_change_of_state_is_an_event_and_a_transition
                the_last_fifty_transitions_are_kept
                a_code_is_shown_once_and_cleared
                a_failed_session_says_why
                a_deleted_session_ends_everything_of_it
                sessions_that_need_an_actor_are_listed
                sessions_whose_work_was_forgotten_are_found
            }
            leases {
                a_lease_has_one_holder_until_it_ends
                a_released_lease_is_free_and_fences_its_holder
                a_restarted_owner_fences_its_predecessor
                a_stale_fence_changes_nothing
                a_fence_of_another_shard_changes_nothing
                a_stale_relay_stamps_nothing
                a_lease_that_was_renewed_is_not_taken_by_whoever_saw_it_before
                nodes_are_seen_until_they_leave_or_are_forgotten
                the_first_one_to_settle_a_fact_decides
            }
            logs {
                positions_are_gapless_per_shard_and_log
                nothing_is_numbered_before_what_has_waited_for_longer
                events_are_invisible_until_they_are_numbered
                a_filter_narrows_and_says_how_far_it_read
                a_filter_that_nothing_passes_still_gets_on
            }
            groups {
                a_cursor_never_moves_back_and_passes_its_inbox
                a_failed_delivery_is_remembered_until_handled
                burying_twice_is_one_dead_letter_with_the_whole_event
                only_the_event_at_the_position_is_buried
                a_dead_letter_is_redriven_and_resolved
                a_redriven_letter_that_fails_again_is_buried_again
                a_redrive_with_a_key_is_answered_once
                dead_letters_page_newest_first
            }
            auth {
                credentials_are_put_replaced_and_removed_in_order
                a_consumed_key_does_not_come_back
                families_are_swept_by_prefix_and_stamp
                several_are_read_at_once
            }
            tenants {
                a_key_is_found_by_its_hash_alone
                a_key_is_stored_once
                nothing_of_a_tenant_is_seen_by_another
                sessions_page_oldest_first
                an_invented_cursor_is_refused
                the_tables_answer_a_probe
            }
            people {
                somebody_registers_with_a_tenant_a_token_and_events
                a_mail_address_is_one_persons_and_free_again_when_they_are_gone
                a_change_from_an_old_version_is_refused
                states_go_only_where_they_lead
                a_token_is_spent_once_in_time_and_for_its_purpose
                a_new_token_voids_the_one_before_it
                a_tenant_keeps_one_active_owner
                whoever_is_deleted_is_forgotten_but_for_the_audit_log
                wrong_passwords_lock_out_and_a_right_one_forgives
                a_repeated_invitation_is_answered_once
                a_suspended_tenant_signs_nobody_in
                events_of_people_are_shown_to_whom_may_see_them
                a_tenants_events_are_numbered_one_by_one_among_many_writers
            }
            people_logins {
                a_token_is_renewed_and_the_one_before_is_a_race_and_then_a_theft
                of_a_token_presented_twenty_times_at_once_one_is_renewed_and_none_ends_the_family
                a_login_ends_by_age_and_with_whoever_may_not_log_in
                logins_end_one_by_one_or_all_but_one_or_all
                a_change_of_password_ends_the_other_logins
                beyond_the_most_logins_the_one_unused_for_longest_goes
                what_is_long_expired_is_swept_away
            }
            people_keys {
                a_key_says_what_it_may_with_which_sessions_and_until_when
                a_revoked_key_is_no_more
                a_rotated_key_stays_good_for_the_overlap
                no_more_keys_than_allowed
                a_keys_use_is_written_down_once_a_minute
                of_two_signing_keys_made_at_once_one_is_kept
                the_audit_log_is_read_by_who_what_which_and_when
                what_was_refused_or_repeated_is_not_written_down
            }
            people_isolation {
                a_stranger_finds_nothing_of_another_tenant_by_its_ids
                a_stranger_changes_nothing_of_another_tenant_by_its_ids
            }
        }
    };
    (@tests $open:ident; $($module:ident { $($name:ident)* })*) => {
        $(mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::store::$module::$name(crate::store::world::World::new(super::$open().await).await).await;
                }
            )*
        })*
    };
}
