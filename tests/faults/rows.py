"""The failure modes that the operator is built for, each with what the user sees and what proves it.

``docs/explanation/failure-modes.md`` is rendered from this table by ``make docs``.
A row is proved by plans of the explorer, which test_rows.py runs one by one, by
tests that are named here, or by both; or it says why it is not tested.
"""

from dataclasses import dataclass
from typing import Final

FAILURES: Final = "tests/cluster/test_failures.py::test_"
LEADER: Final = "tests/unit/test_leader.py::test_"
WIRE: Final = "tests/integration/test_aliyun_wire.py::test_"
CLUSTER: Final = "tests/integration/test_cluster.py::test_"
ANSWERS: Final = "tests/cluster/test_answers.py::test_"
CLIENT: Final = "tests/integration/test_aliyun_client.py::test_"
DELETION: Final = "tests/unit/test_reconcile_deletion.py::test_"
QUEUE: Final = "tests/unit/test_queue.py::test_"
RUNTIME: Final = "tests/unit/test_runtime.py::test_"
CHAOS: Final = "tests/chaos/test_"
KILLS: Final = f"{CHAOS}kills.py::test_whenever_it_is_killed_each_change_is_made_once_and_every_status_is_true"
OVERLAP: Final = f"{CHAOS}overlap.py::test_processes_that_overlap_in_a_rolling_update_call_each_change_once"
AWAY: Final = f"{CHAOS}network.py::test_a_cloud_that_goes_away_between_intent_and_answer_leads_to_one_effective_release"
CLOCK: Final = f"{CHAOS}clock.py::test_"
EXPLORER: Final = "tests/faults/test_explorer.py::test_"
COMBINATIONS: Final = "tests/faults/test_combinations.py::test_"
EVERY_FAULT: Final = f"{EXPLORER}whatever_fails_once_the_end_is_the_same_and_no_release_is_repeated"
AT_REST: Final = f"{EXPLORER}without_a_fault_a_scenario_ends_well"


@dataclass(frozen=True, slots=True)
class Row:
    """One failure mode. ``plans`` are of the explorer, ``tests`` are ids of pytest, ``gap`` is what is not shown."""

    happens: str
    seen: str
    plans: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    gap: str = ""


SECTIONS: Final = {
    "A": "The operator dies",
    "B": "Views that are old, doubled, or out of order",
    "C": "The Kubernetes API fails",
    "D": "The cloud fails",
    "E": "Load and life",
}

ROWS: Final[dict[str, Row]] = {
    "A1": Row(
        "It dies after it wrote the finalizer, before anything else.",
        "Nothing but a later start: `Allocating`, then `Allocated`.",
        plans=("delete/PATCH-finalizer.1:after-effect:crash", "delete/PATCH-finalizer.1:after-answer:crash"),
    ),
    "A2": Row(
        "It dies after the intent is stored, before the call leaves.",
        "`OutcomeUnknown` for the settling time, since nobody can know that the call never left; then a second operation with an id of its own makes it.",
        plans=("release/PATCH-intent.1:after-effect:crash", "release/ReleaseDirectConnection.1:before:crash"),
        tests=(f"{FAILURES}a_crash_right_after_the_intent_is_made_good_after_the_settling_time",),
    ),
    "A3": Row(
        "It dies after the call took effect, before it heard the answer.",
        "`Released` once that is seen, without a second call. The operation says that no answer was recorded, and shows no RequestId.",
        plans=("release/ReleaseDirectConnection.1:after-effect:crash",),
        tests=(f"{FAILURES}a_crash_during_the_call_leaves_one_release_and_no_invented_request_id",),
    ),
    "A4": Row(
        "It dies after it heard the answer, before it stored it.",
        "As A3; the RequestId is in the log only.",
        plans=("release/ReleaseDirectConnection.1:after-answer:crash", "release/PATCH-answer.1:before:crash"),
        tests=(f"{FAILURES}a_crash_before_the_answer_is_written_loses_the_request_id_to_the_log_only",),
    ),
    "A5": Row(
        "It dies after the result is stored.",
        "Nothing: no annotation of the operator's has to follow.",
        plans=("release/PATCH-status.1:after-effect:crash", "release/PATCH-status.1:after-answer:crash"),
    ),
    "A6": Row(
        "It is told to end (SIGTERM) while a call is under way.",
        "The answer is stored before it ends; a pass that outlasts the grace is as A3.",
        tests=(
            f"{CHAOS}ends.py::test_a_call_under_way_is_answered_and_its_answer_stored_before_the_process_ends",
            "tests/cluster/test_operator_process.py::test_the_end_is_orderly_and_quick",
            f"{RUNTIME}it_is_idle_once_the_passes_under_way_have_written_what_they_had_to",
        ),
    ),
    "A7": Row(
        "It is killed at any call of any scenario, before the effect, after it, or after the answer.",
        "What the scenario ends in without a crash, some seconds later.",
        tests=(
            EVERY_FAULT,
            KILLS,
            "tests/unit/test_reconcile_faults.py::test_a_crash_anywhere_leads_to_one_effective_release_and_a_truthful_status",
        ),
    ),
    "A8": Row(
        "It dies five times in a row at the same point.",
        "`OutcomeUnknown` in between; at most one effective release.",
        tests=(f"{COMBINATIONS}a_crash_loop_at_any_write_repeats_no_release", KILLS),
    ),
    "A9": Row(
        "It dies between the end of the release and letting go of a deleted resource.",
        "The resource goes after the next start, without another call.",
        plans=("delete/PATCH-finalizer.2:before:crash", "delete/PATCH-finalizer.2:after-effect:crash"),
    ),
    "B1": Row(
        "The watch delivers an event twice, or everything again.",
        "Nothing: a look more, no write, no call.",
        plans=("release/EVENT.1:before:twice", "drain/EVENT.2:before:twice"),
    ),
    "B2": Row(
        "An old event comes after the resource has moved on.",
        "Nothing: an event only asks for a pass, which reads the resource anew.",
        plans=("flip-flop/EVENT.2:before:old", "regret/EVENT.2:before:old"),
        tests=(f"{FAILURES}the_intent_of_a_stale_view_is_refused_and_nothing_is_called",),
    ),
    "B3": Row(
        "An API server that lags behind serves an old resource.",
        "Nothing: the intent names the version that it was decided on and is refused.",
        plans=("flip-flop/GET.6:before:stale", "drain/GET.2:before:stale"),
        tests=("tests/unit/test_reconcile_faults.py::test_a_stale_view_means_no_call",),
    ),
    "B4": Row(
        "A resource is deleted and created again under its name while its call is under way.",
        "The new one shows `OutcomeUnknown` until that call has settled, and never the RequestId of the old one.",
        plans=("recreate/PATCH-answer.1:before:lost", "recreate/ReleaseDirectConnection.1:before:late"),
        tests=(f"{FAILURES}a_namesake_that_is_created_during_the_call_does_not_release_again",),
    ),
    "B5": Row(
        "A resource is deleted and created again with the opposite wish.",
        "As B4, then `Allocating` and `Allocated`.",
        plans=("recreate/",),
    ),
    "B6": Row(
        "The manifest says false for a moment only.",
        "`Allocated`: a value that is over before the call leads to none.",
        plans=("regret/", "regret/PATCH-intent.1:before:silence"),
    ),
    "B7": Row(
        "The manifest changes while a call is under way.",
        "The call is followed to its end first, then the opposite one is made.",
        plans=("flip-flop/", "flip-flop/ReleaseDirectConnection.1:after-effect:silence"),
    ),
    "B8": Row(
        "The manifest changes and changes back while the operator is down.",
        "Nothing: the resource is as the manifest says.",
        plans=("regret/EVENT.2:before:lost",),
        tests=(f"{CHAOS}ends.py::test_what_the_manifest_said_while_nobody_was_there_is_not_done",),
    ),
    "B9": Row(
        "Two resources name one instance.",
        "The younger one is `InstanceAlreadyManaged`, names the older one, and calls nothing. When the older one goes, it watches the instance for the settling time first.",
        plans=("duplicate/", "duplicate/LIST-claims.1:before:500"),
        tests=("tests/cluster/test_guards.py::test_of_two_resources_for_one_instance_the_older_acts",),
    ),
    "C1": Row(
        "The watch breaks, or its versions have expired (410).",
        "Nothing: kopf lists again, and so does the operator every ten minutes.",
        plans=("release/LIST.1:before:410", "flip-flop/EVENT.2:before:lost"),
        gap="The 410 is one of our own LIST; that kopf lists again after one of its watch is kopf's own test.",
    ),
    "C2": Row(
        "The watch ends for good.",
        "The process ends with status 1 and is started again; a call under way is as A3.",
        tests=(f"{RUNTIME}the_end_of_the_watch_is_the_end_of_the_operator",),
    ),
    "C3": Row(
        "The watch is silent: its connection is half open.",
        "A change is seen when kopf has heard nothing for 70 seconds and watches anew; at the next LIST, ten minutes later, at the latest.",
        plans=("flip-flop/EVENT.2:before:lost", "drain/EVENT.2:before:lost"),
        tests=(f"{CHAOS}network.py::test_a_half_open_watch_is_noticed_within_the_time_of_inactivity",),
    ),
    "C4": Row(
        "The API server is away for minutes, also during a call.",
        "The status stands still; the answer is stored when it is back, and the call is not repeated.",
        plans=("release/PATCH-answer.1:before:outage", "release/PATCH-intent.1:before:outage"),
        tests=(
            "tests/cluster/test_outage.py::test_two_replicas_outlast_an_api_server_that_was_away_during_a_release",
            f"{CHAOS}network.py::test_a_partition_from_the_api_server_during_a_release_loses_neither_the_answer_nor_the_operator",
            "tests/cluster/test_outage.py::test_a_single_operator_outlasts_it_without_a_restart_and_stores_the_answer",
        ),
    ),
    "C5": Row(
        "A write of the status is refused because the resource has changed.",
        "Nothing: the pass starts again from the newest version.",
        plans=("release/PATCH-intent.1:before:409", "release/PATCH-status.1:before:409"),
    ),
    "C6": Row(
        "A write is refused: the resource is gone, the schema or the permissions do not allow it.",
        "The status stands still, and the log says which write was refused; each resource is tried again with a growing "
        "pause. What became of a call is stored once that is permitted; until then each attempt logs its RequestId, and "
        "the other resources go on.",
        plans=(
            "release/PATCH-intent.1:before:422",
            "release/PATCH-intent.1:before:403",
            "release/PATCH-answer.1:before:403",
        ),
        tests=(
            f"{CLUSTER}a_status_that_the_schema_refuses_is_no_conflict",
            f"{ANSWERS}an_answer_that_is_refused_stops_no_other_resource_and_is_stored_once_it_may_be",
        ),
    ),
    "C7": Row(
        "The API server throttles (429).",
        "Nothing but a pause.",
        plans=("release/PATCH-intent.1:before:429", "release/LIST.1:before:429"),
        tests=(f"{CHAOS}network.py::test_an_api_server_that_throttles_is_not_stormed_and_gets_the_answer_afterwards",),
        gap="The operator's own pauses apply, which grow, and not the value of Retry-After.",
    ),
    "C8": Row(
        "The CRD is missing at the start, or not served for a moment.",
        "`/readyz` says that it is missing and what to apply; nothing is taken for deleted.",
        plans=("release/GET.1:before:404", "duplicate/GET.2:before:404"),
        tests=(
            "tests/cluster/test_operator_process.py::test_a_missing_crd_is_waited_for_and_named_by_the_readiness_probe",
            "tests/unit/test_status.py::test_unknown_fields_of_a_newer_version_survive",
        ),
    ),
    "C9": Row(
        "A stored resource does not fit the schema of today.",
        "The log names it; all others are served.",
        tests=(
            f"{CLUSTER}a_resource_that_cannot_be_read_does_not_hide_the_others",
            f"{CHAOS}restore.py::test_a_resource_that_is_older_than_its_schema_does_not_stop_the_others",
        ),
        gap="Its own status says nothing about it.",
    ),
    "C10": Row(
        "The Lease is lost during a call.",
        "The new leader shows `OutcomeUnknown` until the call has settled, and makes no second one.",
        tests=(
            "tests/cluster/test_leader.py::test_a_lease_that_is_stolen_during_a_call_leads_to_no_second_release",
            f"{CHAOS}frozen.py::test_who_was_frozen_for_longer_than_its_lease_sends_nothing_while_another_leads",
            f"{LEADER}a_lease_that_runs_out_while_the_intent_is_stored_stops_the_call",
        ),
    ),
    "C11": Row(
        "Two operators run at once: by mistake, or for a moment in a rolling update.",
        "One call for each change: the second intent is refused.",
        tests=(
            f"{FAILURES}two_operators_by_mistake_make_one_call_for_each_change",
            OVERLAP,
            f"{LEADER}whatever_happens_two_never_pass_the_fence_at_once_and_in_the_end_one_leads",
        ),
    ),
    "C12": Row(
        "etcd is restored, and resources go back in time.",
        "What the manifest of then asks for, after a look: at the next LIST, ten minutes later at the latest, or when the operator is started again, since the watch hears nothing until the versions have caught up. An endpoint that came after `Released` was reached is `DriftDetected`, unless driftPolicy is Correct; where false was never reached, it is released.",
        plans=("release/GET.4:before:stale",),
        tests=(
            f"{CHAOS}restore.py::test_after_a_restore_of_etcd_nothing_is_released_that_the_restored_manifest_does_not_ask_for",
        ),
    ),
    "C13": Row(
        "A tool replaces the resource, and takes finalizer and annotations away.",
        "The finalizer comes back at once; nothing is called.",
        tests=(
            f"{CHAOS}restore.py::test_a_tool_that_replaces_a_resource_takes_away_the_finalizer_and_causes_no_call",
            f"{DELETION}the_finalizer_comes_with_release_before_anything_is_called",
        ),
    ),
    "C14": Row(
        "A backup is restored as a new resource, without its status.",
        "It is looked at first, as any new one. An approval in its annotations is good for nothing, since the uid is another one.",
        tests=(
            "tests/cluster/test_guards.py::test_an_approval_is_not_good_for_a_resource_that_is_created_again_or_copied",
        ),
    ),
    "D1": Row(
        "The cloud cannot be reached: no connection, no name, no TLS.",
        "`CloudUnreachable`; the call is `NotSent` and made again after a pause. TLS is never weakened.",
        plans=("release/ReleaseDirectConnection.1:before:lost", "release/DescribeInstances.1:before:outage"),
        tests=(
            AWAY,
            f"{WIRE}a_name_that_cannot_be_resolved_means_that_nothing_was_sent",
            f"{WIRE}a_certificate_of_an_unknown_authority_ends_the_call_before_it_is_sent",
        ),
    ),
    "D2": Row(
        "No answer comes to a call that was sent.",
        "`OutcomeUnknown` while the instance is watched; the call is never simply sent again.",
        plans=(
            "release/ReleaseDirectConnection.1:before:silence",
            "release/ReleaseDirectConnection.1:after-effect:silence",
            "release/ReleaseDirectConnection.1:before:late",
        ),
        tests=(f"{FAILURES}an_answer_that_was_lost_after_the_effect_is_observed_and_not_resent", AWAY),
    ),
    "D3": Row(
        "An answer drips, never ends, or is huge.",
        "As D2.",
        tests=(
            f"{WIRE}an_answer_that_drips_is_cut_off_by_the_deadline",
            f"{WIRE}an_answer_that_is_none_may_hide_an_effect",
        ),
    ),
    "D4": Row(
        "An answer cannot be read: HTML, cut off, empty, without RequestId.",
        "A look that cannot be read shows nothing, and `CloudUnreachable` says so; a call is as D2.",
        plans=(
            "release/DescribeDBInstanceNetInfo.1:before:garbage",
            "release/DescribeDBInstanceNetInfo.1:before:no-items",
            "release/ReleaseDirectConnection.1:after-effect:garbage",
        ),
        tests=(f"{FAILURES}a_look_that_cannot_be_read_is_no_release",),
    ),
    "D5": Row(
        "The cloud throttles for minutes, with many resources.",
        "`Throttled`; the rate goes down, and recovers by itself.",
        plans=("release/ReleaseDirectConnection.1:before:429",),
        tests=(
            "tests/integration/test_storm.py::test_a_storm_of_throttling_over_a_hundred_resources_ends_well_with_bounded_calls",
            f"{FAILURES}a_burst_of_throttling_over_twenty_resources_ends_with_bounded_calls",
        ),
    ),
    "D6": Row(
        "The cloud says that it is already so.",
        "A look decides; no error stays in the conditions.",
        tests=(
            "tests/unit/test_reconcile.py::test_a_release_that_the_cloud_says_is_done_already_is_believed_after_two_looks",
            f"{CLIENT}what_is_already_so_has_to_be_confirmed",
        ),
    ),
    "D7": Row(
        "The instance is busy.",
        "`InstanceBusy`, Reconciling, until it is Normal.",
        plans=("release/ReleaseDirectConnection.1:before:409",),
        tests=("tests/cluster/test_main_job.py::test_a_busy_instance_is_waited_for",),
    ),
    "D8": Row(
        "The instance is gone.",
        "`InstanceNotFound`, Stalled after the grace. A deletion lets go after a second look.",
        tests=(
            "tests/cluster/test_main_job.py::test_an_instance_that_vanished_is_named_with_what_to_check",
            f"{DELETION}an_instance_that_is_gone_is_let_go_after_two_looks",
        ),
    ),
    "D9": Row(
        "The instance cannot have a direct connection, or the request is invalid.",
        "`InstanceNotEligible` or `InvalidRequest`, Stalled; looked at again, called again only when something changed.",
        tests=(
            "tests/cluster/test_publishing.py::test_an_instance_that_is_not_eligible_is_explained_and_not_called",
            "tests/integration/test_error_codes.py::test_a_refused_call_arrives_as_what_its_code_means",
        ),
    ),
    "D10": Row(
        "A look shows what was there some seconds ago.",
        "`Releasing` or `Allocating` for a little longer; no second call before the first one has settled.",
        plans=("release/DescribeDBInstanceNetInfo.2:before:stale", "allocate/DescribeDBInstanceNetInfo.6:before:stale"),
    ),
    "D11": Row(
        "Somebody changes the direct connection in the console.",
        "Seen at the next resync. `Allocating` where the endpoint went; `DriftDetected` where one came, unless driftPolicy is Correct; `Contested` when it comes again.",
        plans=("drift/", "drift-back/", "contested/"),
        tests=("tests/cluster/test_main_job.py::test_drift_is_treated_as_the_policy_says",),
    ),
    "D12": Row(
        "A session expires, or the clock is wrong.",
        "The session is renewed before that; a wrong clock is named in the error.",
        tests=(
            "tests/integration/test_credentials_simulator.py::test_an_expired_token_is_refreshed_once",
            f"{CLIENT}a_wrong_clock_is_named",
            f"{CLOCK}a_clock_that_is_hours_off_is_named_and_nothing_is_called_until_it_is_right",
        ),
    ),
    "D13": Row(
        "A Secret with credentials is replaced, removed, or malformed.",
        "A new key is used without a restart. `CredentialsUnavailable` or `CredentialsInvalid`, with what is missing where.",
        plans=("rotation/", "rotation/GET-secret.2:before:500"),
        tests=(
            "tests/cluster/test_own_credentials.py::test_a_rotated_secret_is_read_again_without_a_restart",
            "tests/cluster/test_own_credentials.py::test_a_secret_that_is_missing_is_waited_for",
            f"{CHAOS}secret.py::test_a_secret_that_is_deleted_during_a_release_is_waited_for_and_nothing_is_done_twice",
        ),
    ),
    "D14": Row(
        "RAM denies a call.",
        "`AccessDenied`, Stalled after the grace, with what RAM said; called again after ten minutes, doubling to six hours.",
        plans=("release/ReleaseDirectConnection.1:before:403", "release/DescribeInstances.1:before:403"),
        tests=("tests/cluster/test_own_credentials.py::test_a_denied_release_shows_what_ram_says",),
    ),
    "D15": Row(
        "The endpoint redirects.",
        "Not followed; a call is as D2.",
        tests=(f"{WIRE}an_answer_that_is_none_may_hide_an_effect",),
    ),
    "D16": Row(
        "A resource is deleted while the cloud is away for long.",
        "It stays, with `CloudUnreachable` and, in the message, how to end the wait: deletionPolicy Retain.",
        plans=("delete/DescribeInstances.7:before:outage",),
        tests=(
            "tests/unit/test_plan_deletion.py::test_a_deletion_that_waits_says_how_to_end_the_wait",
            f"{DELETION}retain_that_is_set_while_the_deletion_waits_lets_go_at_once",
        ),
    ),
    "D17": Row(
        "The clock jumps, or the machine sleeps.",
        "Nothing: what must not be cut short is measured by clocks that nobody sets.",
        tests=(
            f"{CLOCK}no_jump_of_the_clock_makes_a_settling_time_or_a_drain_shorter_or_endless",
            f"{CLOCK}a_plan_that_the_clock_has_outrun_needs_another_approval",
            f"{CHAOS}frozen.py::test_who_was_frozen_for_more_than_a_second_after_the_intent_does_not_send_the_call",
            "tests/unit/test_reconcile_faults.py::test_a_call_is_not_sent_more_than_a_second_after_its_intent",
            f"{LEADER}a_sleep_of_the_machine_closes_the_fence_at_once_and_costs_the_lead",
        ),
        gap="After a restart in the middle of a drain only the wall clock is left to measure it. That the machine sleeps is simulated. "
        "Without a C compiler and without the system's libfaketime the tests of jumps are skipped.",
    ),
    "E1": Row(
        "A thousand resources at a cold start.",
        "They come one after another, as the limiter lets looks through; edits overtake.",
        tests=(
            f"{QUEUE}an_edit_is_looked_at_within_seconds_though_ten_thousand_resyncs_wait",
            "tests/cluster/test_failover.py::test_a_crash_of_the_leader_is_made_good_within_twenty_seconds_with_a_thousand_resources",
        ),
    ),
    "E2": Row(
        "One resource fails again and again.",
        "The others are served as if it were not there.",
        tests=(
            f"{FAILURES}a_poisoned_resource_does_not_slow_the_others",
            f"{QUEUE}one_poisoned_key_does_not_stop_the_others",
        ),
    ),
    "E3": Row(
        "Hours of faults at random.",
        "Memory, open files and tasks stay as they are.",
        tests=(
            "tests/soak/test_smoke.py::test_everything_holds_through_faults_and_restarts_and_the_report_says_so",
            "tests/unit/test_soak.py::test_what_grows_is_told_with_numbers",
        ),
        gap="`make test` has half a minute of it; `make soak MINUTES=1440` is a day, and [soak](soak.md) shows a run.",
    ),
    "E4": Row(
        "An upgrade with live resources.",
        "Nothing: a restart writes nothing.",
        tests=("tests/unit/test_reconcile.py::test_a_restart_writes_nothing_for_a_stalled_resource", OVERLAP),
        gap="There is no earlier release to upgrade from yet: the overlap is of two processes of one version.",
    ),
    "E5": Row(
        "A downgrade with live resources.",
        "Fields of the newer version stay as they are.",
        tests=("tests/unit/test_status.py::test_unknown_fields_of_a_newer_version_survive",),
        gap="There is no earlier release to go back to yet.",
    ),
    "E6": Row(
        "A namespace is deleted, with the resource and its Secret in it.",
        "The deletion is not held for credentials that went with it; the endpoint is left as it is.",
        tests=(
            "tests/cluster/test_own_credentials.py::test_a_deletion_in_a_namespace_that_goes_is_not_held_for_credentials_that_are_gone",
        ),
    ),
}

GAPS: Final = (
    (
        "After a restart in the middle of a drain only the wall clock measures it. Set forward, it ends the drain early; set back, it "
        "cannot make it longer than it is."
    ),
    (
        "A crash after an endpoint was published in a new place, before the status says so, followed by another name in `spec.publish`, "
        "leaves the object of the first name behind."
    ),
    (
        "The call of a resource that was deleted is known to the running process, and to every process that has looked at its namesake "
        "once. A restart before that look forgets it: the namesake is then kept from acting by what the cloud shows alone."
    ),
)
"""What is known and not mended."""
