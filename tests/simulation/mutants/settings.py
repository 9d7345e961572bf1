"""What single settings promise of calls, of time and of letters: mutants of each."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

from consumer.delivery.attempts import Retry
from tests.simulation.fleet.draw import CALM_CODE
from tests.simulation.fleet.policy import PolicyDraw
from tests.simulation.mutants.mixes import LOST, POISON, on_policies, with_settings
from tests.simulation.mutants.mutant import Function

__all__ = [
    "a_busy_key_is_held_for_ever",
    "a_call_that_does_not_end_is_waited_for",
    "a_class_rule_counts_for_nothing",
    "a_held_key_goes_on",
    "a_parked_end_looks_like_reading",
    "a_pause_is_not_kept",
    "a_redrive_goes_on_after_one_that_failed",
    "a_young_record_is_half_gone",
    "an_empty_read_is_told_again_and_again",
    "as_fast_as_it_comes",
    "cancelled_code_that_returns_is_done",
    "dropped_as_lambda_does",
    "half_of_retention_stops_nobody",
    "keys_that_were_passed_are_redriven",
]

_FAULT: Final = ("dead letters by their own fault",)
HELD: Final = with_settings(replace(POISON, kinds=("fail",)), after_dead_letter="hold_key")
NO_STORE: Final = PolicyDraw({"batch_size": 7}, poison_every=40, kinds=("fail",))


@on_policies(
    "consumer.shards.reader:ShardReader.take_empty",
    rule="A read that found nothing is told once.",
    caught_by=("an empty batch for each empty read",),
    policy=PolicyDraw({"empty_batches": True}),
    writes_per_second=0.3,
)
def an_empty_read_is_told_again_and_again(_: Function) -> Function:
    def take_empty(self: Any) -> Any:
        return self._empty

    return take_empty


@on_policies(
    "consumer.worker:Worker._overdue_changed",
    rule="With on_timeout=restart a call that does not end ends its worker.",
    caught_by=("a restart for a call that does not end",),
    policy=PolicyDraw({"batch_timeout_seconds": 1.0, "on_timeout": "restart"}),
    code=replace(CALM_CODE, stubborn=True, long=0.02, long_seconds=200.0),
    drain_timeout=5.0,
    phase=40.0,
    happenings=("nothing",),
)
def a_call_that_does_not_end_is_waited_for(_: Function) -> Function:
    def _overdue_changed(self: Any) -> None:
        pass

    return _overdue_changed


@on_policies(
    "consumer.delivery.time_limit:TimedCall.judged",
    rule="Code that swallows the cancellation of its time limit and returns has not said that its records are done.",
    caught_by=("done is what user code is through with",),
    policy=PolicyDraw({"batch_timeout_seconds": 1.0}),
    code=replace(CALM_CODE, stubborn=True, long=0.1, long_seconds=5.0),
)
def cancelled_code_that_returns_is_done(_: Function) -> Function:
    def judged(self: Any, outcome: Any) -> Any:
        return outcome

    return judged


@on_policies(
    "consumer.delivery.attempts:RetryRules.rule_for",
    rule="Attempts are those of the exception's class, where the processor's class names it.",
    caught_by=_FAULT,
    policy=replace(POISON, kinds=("fail",), retries={ValueError: Retry(max_attempts=5)}),
)
def a_class_rule_counts_for_nothing(_: Function) -> Function:
    def rule_for(self: Any, failure: Any) -> Retry:
        return Retry()

    return rule_for


@on_policies(
    "consumer.delivery.ground:Policy.must_be_saved",
    rule="What has failed becomes a dead letter for its retention only once half of that is over.",
    caught_by=_FAULT,
    policy=with_settings(replace(POISON, retention=600.0), max_attempts=1_000, lone_failure_seconds=1.0),
)
def a_young_record_is_half_gone(_: Function) -> Function:
    def must_be_saved(self: Any, record: Any, attempts: Any) -> bool:
        return True

    return must_be_saved


@on_policies(
    "consumer.delivery.books:Books._must_wait",
    rule="Without a store nothing new begins once half of a failing record's retention is over.",
    caught_by=("nothing new at half of retention",),
    policy=replace(NO_STORE, poison_every=300, retention=10.0),
    keys=20,
    phase=60.0,
    happenings=("nothing",),
)
def half_of_retention_stops_nobody(_: Function) -> Function:
    def _must_wait(self: Any, now: float) -> bool:
        return False

    return _must_wait


@on_policies(
    "consumer.delivery.held_keys:HeldKeys.holds",
    rule="With hold_key nothing of a key is delivered while it has a dead letter.",
    caught_by=("a dead letter holds its key",),
    policy=HELD,
)
def a_held_key_goes_on(_: Function) -> Function:
    def holds(self: Any, stream: str, record: Any) -> bool:
        return False

    return holds


@on_policies(
    "consumer.delivery.giving_up:GivingUp._bring_back",
    rule="What was to follow a letter that is gone meanwhile is delivered after all: a busy key goes on.",
    caught_by=("keys go on once their letters are gone",),
    policy=replace(HELD, operator="drop"),
    happenings=("nothing",),
    keys=1,
    writes_per_second=5.0,
    phase=15.0,
    safety_only=False,
)
def a_busy_key_is_held_for_ever(_: Function) -> Function:
    async def _bring_back(self: Any, held: Any, store: Any) -> None:
        pass

    return _bring_back


@on_policies(
    "consumer.delivery.attempts:Attempts.busy",
    rule="A pause that user code asks for is kept.",
    caught_by=("a pause that was asked for",),
    policy=replace(POISON, kinds=("busy",)),
)
def a_pause_is_not_kept(original: Function) -> Function:
    def busy(self: Any, failure: Any, seconds: float, now: float) -> None:
        original(self, failure, 0.0, now)

    return busy


@on_policies(
    "consumer.delivery.pace:_Bucket.pause_seconds",
    rule="A worker is given no more records in a time than its pace allows.",
    caught_by=("the pace",),
    policy=with_settings(PolicyDraw({}), max_records_per_second=4.0),
)
def as_fast_as_it_comes(_: Function) -> Function:
    def pause_seconds(self: Any, weight: float, now: float) -> float:
        return -math.inf

    return pause_seconds


@on_policies(
    "consumer.delivery.delivery:Delivery._sift",
    rule="What the filter can't judge is delivered or a dead letter, and never left out in silence.",
    caught_by=LOST,
    policy=with_settings(replace(POISON, filter="broken"), on_undecodable="dead_letter"),
)
def dropped_as_lambda_does(original: Function) -> Function:
    def _sift(self: Any, run: Any) -> Any:
        unjudged = self._policy.screen.sift(run.records).unjudged
        self._books.remember(run)
        self._books.done([run.indexes[at] for at in sorted(unjudged)])
        return original(self, run.only([at for at in range(len(run)) if at not in unjudged]))

    return _sift


@on_policies(
    "consumer.shards.shard_consumer:ShardConsumer._stage",
    rule="A shard whose end waits for a parked key says so.",
    caught_by=("what fails is shown",),
    policy=replace(with_settings(NO_STORE, max_ahead_seconds=86_400.0), stays_from=0),
    happenings=("rotate",),
    safety_only=False,
)
def a_parked_end_looks_like_reading(original: Function) -> Function:
    def _stage(self: Any) -> Any:
        stage = original(self)
        return "reading" if stage == "parked_at_end" else stage

    return _stage


@on_policies(
    "consumer.redrive.redrive:Redrive._belongs",
    rule="What follows a letter that failed in a redrive is not run.",
    caught_by=("redrive in the order of a key",),
    policy=replace(HELD, operator="redrive"),
    happenings=("operate",),
    keys=2,
)
def a_redrive_goes_on_after_one_that_failed(_: Function) -> Function:
    def _belongs(self: Any, letter: Any, batch: Any) -> bool:
        self._failed_key = None
        return False

    return _belongs


@on_policies(
    "consumer.redrive.redrive:Redrive._deliver",
    rule="Letters after which others of their key were delivered are redriven only where that is said.",
    caught_by=("redrive in the order of a key",),
    policy=replace(POISON, kinds=("fail",), operator="redrive"),
    happenings=("operate",),
)
def keys_that_were_passed_are_redriven(original: Function) -> Function:
    def _deliver(self: Any, letters: Any) -> Any:
        return original(self, [replace(letter, key_is_held=True) for letter in letters])

    return _deliver
