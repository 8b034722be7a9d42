"""The mutants: each is the engine with one line wrong, and the scenario that catches it.

A mutant is one replacement in one module. `scenario` is the seed of `harp-lab sweep`, or the script
in `tests/engine/virtual/scripts`, that catches it, `invariant` the one that is violated there;
`judge.py` finds both anew when the engine changed. What a group repairs before anybody could see it
from outside no scenario catches: there `scenario` is a test of `tests/engine`, `invariant` TEST.
"""

from __future__ import annotations

from typing import NamedTuple

TEST = "the test"


class Mutant(NamedTuple):
    """One wrong line."""

    name: str
    """What is wrong."""
    module: str
    """Of `harp.engine`."""
    old: str
    """Stands there exactly once."""
    new: str
    """Stands there instead."""
    scenario: int | str
    """Seed, name of the script, or FILE::TEST, that catches it."""
    invariant: str
    """Violated there; `TEST`: the test fails."""


MUTANTS: tuple[Mutant, ...] = (
    # Detection (harp.md §3, §4)
    Mutant(
        "hello_replay_inverted",
        "detection",
        "return last != 0 and not newer16(hello.sequence, last)",
        "return last != 0 and newer16(hello.sequence, last)",
        "all_power_lost",
        "takes_its_turn",
    ),
    Mutant(
        "silent_peer_never_down",
        "detection",
        "        link.deadline = start + silence_us\n",
        "        link.deadline = start + 1000 * silence_us\n",
        "crash_and_return",
        "some_active",
    ),
    Mutant(
        "number_of_the_last_goodbye_kept",
        "detection",
        "        self._gone(peer)  # at each",
        "        if was_up:\n            self._gone(peer)  # at each",
        "three_goodbyes_and_back",
        "takes_its_turn",
    ),
    Mutant(
        "goodbye_not_heard",
        "detection",
        "        if not hello.lifetime_s:\n            return self._leave(peer, now)\n"
        "        retimed",
        "        retimed",
        "quorum_goodbyes",
        "quorum_kept",
    ),
    Mutant(
        "late_active_not_heard",
        "detection",
        "        flags = peer.flags & ~FLAG_A | hello.flags & FLAG_A\n",
        "        flags = peer.flags & ~FLAG_A\n",
        "signed_clock_step",
        "one_active",
    ),
    Mutant(
        "hello_every_tenth_of_interval",
        "hellos",
        "due = now + interval_us - ",
        "due = now + interval_us // 10 - 0 * ",
        "all_power_lost",
        "rates_kept",
    ),
    # Roles (harp.md §5)
    Mutant(
        "rank_skipped",
        "role_base",
        "wait_us = self.rank * self.config.skew_us",
        "wait_us = 0",
        "back_before_missed",
        "takes_its_turn",
    ),
    Mutant(
        "rank_inverted",
        "role_base",
        "(peer.synchronised, *peer.strength) > mine",
        "(peer.synchronised, *peer.strength) < mine",
        "log_of_another_branch",
        "takes_its_turn",
    ),
    Mutant(
        "hold_ignored",
        "role_base",
        "if self.held or self.is_fenced or",
        "if self.is_fenced or",
        "planned_switches",
        "none_held_active",
    ),
    Mutant(
        "witness_takes_over",
        "role_base",
        "or self.config.me.witness or not self.quorum",
        "or not self.quorum",
        31,
        "none_held_active",
    ),
    Mutant(
        "quorum_of_one_less",
        "role_base",
        "self.peers.count_agreeing(self.settings_hash) + 1 >= wanted",
        "self.peers.count_agreeing(self.settings_hash) + 2 >= wanted",
        "quorum_minority",
        "quorum_kept",
    ),
    Mutant(
        "quorum_loss_ignored_by_active",
        "role_serving",
        "        if not self.quorum:\n",
        "        if self.held:\n",
        "quorum_minority",
        "quorum_kept",
    ),
    Mutant(
        "no_active_never_noticed",
        "role_base",
        "            self.timers.set(Timer.NO_ACTIVE, max(now, since + self.peers.silence_us))\n",
        "            del since\n",
        "quorum_all_apart",
        "some_active",
    ),
    Mutant(
        "each_of_two_actives_is_the_stronger",
        "role_base",
        "        return self.preference, self.config.identity\n",
        "        return self.preference + 1, self.config.identity\n",
        "split_and_heal",
        "rates_kept",
    ),
    Mutant(
        "order_never_answered",
        "role_base",
        "return [self._answer(order, refusals)] if order else []",
        "return []",
        "hard_switch",
        "commands_answered",
    ),
    Mutant(
        "active_of_before_a_pause_forgotten",
        "role_waiting",
        "        if self.peers.best_active():\n            return self._await_active(now)\n",
        "",
        "paused_beside_an_active",
        "takes_its_turn",
    ),
    Mutant(
        "claim_won_beside_a_stronger_active",
        "role_claiming",
        "if other is not None and other.strength > self.strength:",
        "if other is not None and other.strength < self.strength:",
        "two_actives_after_a_claim",
        "rates_kept",
    ),
    Mutant(
        "claim_never_given_up",
        "role_base",
        "        self.timers.set(Timer.SWITCH_OVER, now + self.config.reliability_timeout_us)\n",
        "",
        "claim_not_heard",
        "passing_states_pass",
    ),
    Mutant(
        "resigning_for_ever",
        "role_serving",
        "        self.timers.set(Timer.DRAIN, now + self.config.switch_drain_us)\n",
        "",
        "switch_with_a_mute_standby",
        "passing_states_pass",
    ),
    # Terms and reconcile (harp.md §5)
    Mutant(
        "term_not_raised",
        "sync",
        "self._term_known += 1 + (",
        "self._term_known += 0 * (",
        "all_power_lost",
        "converged",
    ),
    Mutant(
        "two_lead_one_term",
        "sync",
        "1 + (self._place - self._term_known) % len(self.config.members)",
        "1",
        "test_sync_active.py::test_a_new_term_is_above_all_known_and_keeps_the_base",
        TEST,
    ),
    Mutant(
        "ahead_is_asked_for_nothing_new",
        "reconcile",
        "ahead.since = self.included.before(ahead.position)",
        "ahead.since = ahead.position",
        "ahead_by_moves",
        "promise_not_lost",
    ),
    Mutant(
        "ahead_inverted",
        "reconcile",
        "if self.included.covers(position):",
        "if not self.included.covers(position):",
        "ahead_by_moves",
        "promise_not_lost",
    ),
    Mutant(
        "nobody_is_ahead",
        "reconcile",
        "if self.included.covers(position):",
        "if position:",
        4,
        "promise_not_lost",
    ),
    Mutant(
        "greater_term_includes_lesser",
        "included",
        "position.position <= self._upto.get(position.term, -1)",
        "position <= max(SyncPosition(*at) for at in self._upto.items())",
        "log_of_another_branch",
        "promise_not_lost",
    ),
    Mutant(
        "full_sync_before_state_was_taken",
        "leader",
        "        if self.reconcile.running or blocked:\n",
        "        if self.reconcile.running and not blocked:\n",
        4,
        "promise_not_lost",
    ),
    Mutant(
        "merge_takes_older_binding_update",
        "merge",
        "if newer16(theirs.sequence, ours.sequence):",
        "if newer16(ours.sequence, theirs.sequence):",
        "one_way_deaf",
        "promise_not_lost",
    ),
    Mutant(
        "merge_keeps_unchanged_over_changed",
        "merge",
        "return Winner.OURS if ours_changed else Winner.THEIRS",
        "return Winner.THEIRS if ours_changed else Winner.OURS",
        "ahead_by_moves",
        "promise_not_lost",
    ),
    Mutant(
        "restart_not_noticed",
        "detection",
        "                restarted = peer.restart_counter not in (None, option.value)\n",
        "                restarted = False\n",
        "test_detection.py::test_restart_counter_greater_starts_anew_lesser_is_a_replay",
        TEST,
    ),
    Mutant(
        "answers_without_limit",
        "hellos",
        "if len(sent) == sent.maxlen and now - sent[0] < US_PER_S:",
        "if not sent.maxlen:",
        "test_hellos.py::test_answers_are_limited_by_asker",
        TEST,
    ),
    Mutant(
        "stronger_active_withdraws",
        "role_serving",
        "        if what.peer.strength > self.strength:\n",
        "        if what.peer.strength < self.strength:\n",
        "test_roles.py::test_the_stronger_asks_for_position_then_for_the_role_then_resigns",
        TEST,
    ),
    # The log (harp.md §6)
    Mutant(
        "never_repeated",
        "log",
        "                lane.back()\n                self._pump(peer, lane, now, effects)\n"
        "        return effects\n",
        "                lane.back()\n        return effects\n",
        "test_sync_log.py::test_repetitions_double_and_are_given_up",
        TEST,
    ),
    Mutant(
        "duplicate_applied_again",
        "replica",
        '            self._counters["duplicates"] += 1\n',
        "            self._apply(self._packer.changes(packed), now)\n",
        "test_sync_standby.py::test_messages_are_applied_in_order_and_acknowledged",
        TEST,
    ),
    Mutant(
        "position_of_another_term_acknowledges",
        "log",
        "        upto = position.position if position.term == self.term else 0\n",
        "        upto = position.position\n",
        "test_sync_log.py::test_acknowledgements_that_fit_nothing",
        TEST,
    ),
    Mutant(
        "applied_out_of_order",
        "replica",
        "while packed := self._held.pop(self.running.position + 1, None):",
        "while packed := self._held.pop(max(self._held, default=0), None):",
        "rough_links",
        "acknowledged_after_standby",
    ),
    Mutant(
        "acknowledged_before_applied",
        "replica",
        "return acknowledgement(self._config, peer, message, options=(self.running,))",
        "return acknowledgement(self._config, peer, message, options=message.options[:1])",
        "rough_links",
        "acknowledged_after_standby",
    ),
    Mutant(
        "only_who_is_sent_the_log_is_asked",
        "leader",
        "not standby.confirmed and not self.reconcile.ahead(peer)\n",
        "not standby.confirmed and peer in self.log.lanes\n",
        "test_sync_active.py::test_one_that_says_so_without_its_position_is_asked",
        TEST,
    ),
    Mutant(
        "repeated_for_ever",
        "log",
        "            if now - lane.since >= self._config.reliability_timeout_us:\n",
        "            if now < lane.since:\n",
        "signed_clock_step",
        "requests_end",
    ),
    Mutant(
        "log_forgets_a_change",
        "log",
        "        self._batch += changes\n",
        "        self._batch += changes if len(self._messages) % 3 else []\n",
        "ahead_by_moves",
        "digests_agree",
    ),
    # Durability (harp.md §6)
    Mutant(
        "success_before_acknowledgement",
        "durability",
        "            wait.standby, wait.protected = False, True\n",
        "            wait.standby, wait.protected = False, True\n        for wait in self._waits:\n"
        "            wait.standby, wait.protected = False, True\n",
        "rough_links",
        "acknowledged_after_standby",
    ),
    Mutant(
        "unprotected_not_counted",
        "durability",
        "        self.unprotected += not protected\n",
        "",
        "one_way_deaf",
        "acknowledged_after_standby",
    ),
    Mutant(
        "durability_timeout_missing",
        "durability",
        "            if wait.due > now:\n",
        "            if wait.due:\n",
        "one_way_deaf",
        "updates_answered",
    ),
    # Full sync and digests (harp.md §6)
    Mutant(
        "digests_always_equal",
        "digests",
        "        if own == digest:\n",
        "        if own.count >= 0:\n",
        9,
        "digests_agree",
    ),
    Mutant(
        "no_tombstone",
        "table",
        "        self._write_tombstone(slot, record, position, expires)\n\n    def _write_live",
        "        del expires\n        self._remove(slot)\n\n    def _write_live",
        191,
        "deletion_stays",
    ),
    Mutant(
        "absent_bindings_kept",
        "store",
        "if mark == _UNMENTIONED and kind != FREE:",
        "if mark == _UNMENTIONED and kind == FREE:",
        "test_sync_standby.py::test_until_its_end_s_is_clear_and_the_old_position_announced",
        TEST,
    ),
    Mutant(
        "broken_off_sync_removes",
        "replica",
        "                self._store.abort_sync()\n",
        "                self._store.end_sync()\n",
        "test_sync_standby.py::test_ended_early_nothing_is_removed",
        TEST,
    ),
    Mutant(
        "stream_wins_over_log",
        "store",
        "            return False\n        self._take(slot, cache",
        "            pass\n        self._take(slot, cache",
        "test_store.py::test_what_the_log_changed_wins_over_the_stream_with_options_too",
        TEST,
    ),
    Mutant(
        "synchronised_before_the_end",
        "replica",
        '        if complete and whole:\n            self._counters["full_syncs"]',
        '        if whole:\n            self._counters["full_syncs"]',
        "test_sync_standby.py::test_an_equal_digest_synchronises_one_that_was_refused",
        TEST,
    ),
    Mutant(
        "lifetimes_of_the_journal_believed",
        "replica",
        "        self._restored = True\n",
        "",
        "clock_behind_at_journal",
        "promise_not_lost",
    ),
    Mutant(
        "own_changes_by_the_others_terms",
        "reconcile",
        "base = min(self._ahead[peer].since, self.base)",
        "base = self._ahead[peer].since",
        "merged_over_a_follower",
        "promise_not_lost",
    ),
    Mutant(
        "held_wins_by_chance",
        "role_claiming",
        "if not self.preference:",
        "if self.preference < 0:",
        "held_claims_by_force",
        "none_held_active",
    ),
    Mutant(
        "repeated_behind_its_end",
        "role_base",
        "if over is not None and over <= now:",
        "if over is None:",
        "request_behind_a_pause",
        "requests_end",
    ),
    # Home agent (harp.md §10)
    Mutant(
        "old_binding_update_taken",
        "registration",
        "if last is not None and not newer16(message.sequence, last):",
        "if last is not None and message.sequence == last:",
        "test_home_agent.py::test_135_for_a_sequence_number_that_is_not_greater",
        TEST,
    ),
    # Protection (harp.md §7)
    Mutant(
        "timestamp_goes_back_with_the_clock",
        "protection",
        "self._last_sent = max(self._last_sent + GUARD_TIMESTAMPS, self._clock(now))",
        "self._last_sent = self._clock(now)",
        "signed_clock_back",
        "timestamps_rise",
    ),
    Mutant(
        "timestamps_of_before_the_restart_forgotten",
        "protection",
        "self._last_sent = self._reserved = max(self._last_sent, _order(timestamp))",
        "del timestamp",
        "signed_restart",
        "timestamps_rise",
    ),
    Mutant(
        "nothing_left_to_the_guard",
        "protection",
        "max(self._last_sent + GUARD_TIMESTAMPS, self._clock(now))",
        "max(self._last_sent + 1, self._clock(now))",
        "signed_restart",
        "timestamps_rise",
    ),
)
