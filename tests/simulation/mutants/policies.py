"""What is done with records that fail: mutants of lanes, parking, dead letters, the breaker and claims."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from consumer.dead_letters.letter import Reason
from consumer.delivery.giving_up import Leaving
from consumer.delivery.outcome import Raised
from tests.simulation.fleet.draw import CALM_CODE
from tests.simulation.mutants.mixes import DOWN, LOST, NO_RENEWALS, POISON, on_policies, with_settings
from tests.simulation.mutants.mutant import Function

__all__ = [
    "a_checkpoint_passes_what_is_parked",
    "a_follower_overtakes",
    "a_half_that_succeeded_runs_again",
    "a_lane_claims_for_all",
    "a_retry_overlaps_the_earlier_run",
    "a_sink_is_up_by_itself",
    "a_sink_stays_down",
    "any_return_value_will_do",
    "attempts_count_while_the_sink_is_down",
    "done_before_it_is_acknowledged",
    "filtered_and_never_done",
    "innocents_leave_with_the_poison",
    "lanes_by_turns",
    "lanes_share_a_processor",
    "letters_without_trust",
    "parked_records_are_forgotten_at_the_end",
    "pieces_are_not_swept",
]

_BEYOND: Final = ("no checkpoint beyond an unfinished record",)
_FAULT: Final = ("dead letters by their own fault",)
_ORDER: Final = ("order of each key in success", "nothing is left out on the way", "order of each key")


@on_policies(
    "consumer.delivery.ledger:Ledger.done",
    rule="A checkpoint never passes a record that waits parked.",
    caught_by=_BEYOND,
)
def a_checkpoint_passes_what_is_parked(original: Function) -> Function:
    def done(self: Any, indexes: Any) -> bool:
        original(self, indexes)
        self.place = self._last
        return True

    return done


@on_policies(
    "consumer.delivery.giving_up:GivingUp._insist",
    rule="A dead letter is acknowledged before its record counts as done.",
    caught_by=(*_BEYOND, *_ORDER),
    policy=replace(POISON, refused=0.5),
)
def done_before_it_is_acknowledged(original: Function) -> Function:
    async def _insist(self: Any, call: Any) -> None:
        self.on_its_way = asyncio.ensure_future(original(self, call))

    return _insist


@on_policies(
    "consumer.delivery.lane_keys:LaneKeys.without_parked",
    rule="What follows a parked record under its key waits with it.",
    caught_by=_ORDER,
    keys=2,
)
def a_follower_overtakes(_: Function) -> Function:
    def without_parked(self: Any, run: Any) -> Any:
        return run

    return without_parked


@on_policies(
    "consumer.delivery.lane:Lane._sweep",
    rule="A batch's later pieces lose what belongs to a key that an earlier one has parked.",
    caught_by=_ORDER,
    policy=with_settings(POISON, bisect=True),
    keys=2,
)
def pieces_are_not_swept(_: Function) -> Function:
    def _sweep(self: Any) -> None:
        pass

    return _sweep


@on_policies(
    "consumer.delivery.lane:Lane._halve",
    rule="A half that succeeded is done, and never runs again.",
    caught_by=("nothing done with comes again",),
    policy=with_settings(replace(POISON, kinds=("raise",)), bisect=True),
)
def a_half_that_succeeded_runs_again(original: Function) -> Function:
    def _halve(self: Any, turn: Any) -> None:
        original(self, turn)
        self._pieces.insert(1, self._pieces[0])

    return _halve


@on_policies(
    "consumer.delivery.lane:Lane._halve",
    rule="A batch whose attempts are used up is taken apart: its innocent records are no dead letters.",
    caught_by=(*_FAULT, *_ORDER),
    policy=replace(POISON, kinds=("raise",)),
)
def innocents_leave_with_the_poison(original: Function) -> Function:
    def _halve(self: Any, turn: Any) -> None:
        if self._policy.bisect or turn.is_apart:
            original(self, turn)
            return
        run = turn.run
        self._books.remember(run)
        self._pieces.popleft()
        leaving = zip(run.indexes, run.records, strict=True)
        self._keys._giving_up.add(
            [Leaving(index, each, Reason.ATTEMPTS_EXHAUSTED, turn.attempts) for index, each in leaving]
        )

    return _halve


@on_policies(
    "consumer.delivery.breaker:Breaker.is_own",
    rule="A failure is a record's own only where the sink is known to have been up: in an outage no attempt counts.",
    caught_by=_FAULT,
    policy=with_settings(DOWN, max_attempts=1),
)
def attempts_count_while_the_sink_is_down(_: Function) -> Function:
    def is_own(self: Any, unit: Any, attempts: Any) -> bool:
        return True

    return is_own


@on_policies(
    "consumer.delivery.breaker:Breaker.succeeded",
    rule="The first success of a probe closes the breaker.",
    caught_by=("at rest in time", "every record comes"),
    policy=DOWN,
    safety_only=False,
)
def a_sink_stays_down(_: Function) -> Function:
    def succeeded(self: Any, began_at: float) -> None:
        pass

    return succeeded


@on_policies(
    "consumer.delivery.breaker:Breaker.take_turn",
    rule="Nothing but a success closes the breaker.",
    caught_by=("a sink is up once something succeeded",),
    policy=DOWN,
)
def a_sink_is_up_by_itself(original: Function) -> Function:
    def take_turn(self: Any, unit: Any, wake: Any, is_parked: bool = False) -> Any:
        if self.is_open and self._clock.monotonic() >= self._probe_at:
            self._close()
        return original(self, unit, wake, is_parked)

    return take_turn


@on_policies(
    "consumer.delivery.many_lanes:ManyLanes.run",
    rule="One processor object a lane, and never two calls at once on one.",
    caught_by=("one batch of a shard at a time", "callbacks in order", "one lane a key"),
    policy=with_settings(POISON, lanes=3),
    code=replace(CALM_CODE, usual_seconds=0.3),
)
def lanes_share_a_processor(original: Function) -> Function:
    def run(self: Any) -> Any:
        for lane in self._lanes[1:]:
            lane._code = self._lanes[0]._code
        return original(self)

    return run


@on_policies(
    "consumer.delivery.many_lanes:lanes_of",
    rule="A key's lane follows from the key, and from nothing else.",
    caught_by=("one lane a key", *_ORDER),
    policy=with_settings(POISON, lanes=3),
)
def lanes_by_turns(_: Function) -> Function:
    given = 0

    def lanes_of(keys: Any, lanes: int) -> list[int]:
        nonlocal given
        given += 1
        return [(given + at) % lanes for at, _ in enumerate(keys)]

    return lanes_of


@on_policies(
    "consumer.delivery.lane:Lane.has_work",
    rule="A shard's end, and its children, wait for what is parked.",
    caught_by=(*LOST, "parents first"),
    policy=replace(POISON, kinds=("fail",), heals_after=10.0),
    happenings=("rotate", "split"),
)
def parked_records_are_forgotten_at_the_end(_: Function) -> Function:
    def has_work(self: Any) -> bool:
        return bool(self.queue or self._pieces)

    return has_work


@on_policies(
    "consumer.delivery.delivery:Delivery._sift",
    rule="A record that the filter leaves out is done.",
    caught_by=("at rest in time", "the checkpoint reaches what is done", "every record comes"),
    policy=replace(POISON, filter="predicate"),
    safety_only=False,
)
def filtered_and_never_done(_: Function) -> Function:
    def _sift(self: Any, run: Any) -> Any:
        self._books.remember(run)
        return run.only(list(self._policy.screen.sift(run.records).kept))

    return _sift


@on_policies(
    "consumer.delivery.callbacks:call_user_code",
    rule="Nothing is tried again before its earlier run has really ended.",
    caught_by=("callbacks in order", "one batch of a shard at a time"),
    code=replace(CALM_CODE, usual_seconds=3.0),
)
def a_retry_overlaps_the_earlier_run(original: Function) -> Function:
    async def call_user_code(threads: Any, call: Any, *, may_begin: Any = None, limit: Any = None) -> Any:
        running = asyncio.ensure_future(original(threads, call, may_begin=may_begin, limit=limit))
        await asyncio.wait({running}, timeout=1.0)
        return running.result() if running.done() else Raised(TimeoutError())

    return call_user_code


@on_policies(
    "consumer.delivery.many_lanes:ManyLanes.claim",
    rule="What one lane says to be done says nothing of the others.",
    caught_by=_BEYOND,
    policy=with_settings(POISON, lanes=3, batch_size=2),
    manual=True,
    code=replace(CALM_CODE, usual_seconds=0.5, mid_batch=0.3),
)
def a_lane_claims_for_all(_: Function) -> Function:
    def claim(self: Any, number: int, place: Any) -> Any:
        return place

    return claim


@on_policies(
    "consumer.shards.checkpointer:ShardCheckpointer.end_batch",
    rule="A batch that returned what has no meaning is covered by no checkpoint.",
    caught_by=LOST,
    policy=replace(POISON, kinds=("wrong",)),
    happenings=("drain", "start", "start"),
)
def any_return_value_will_do(original: Function) -> Function:
    def end_batch(self: Any, *, returned: bool) -> None:
        original(self, returned=True)

    return end_batch


@on_policies(
    "consumer.shards.shard_delivery:ShardDelivery.trusted",
    rule="A dead letter is written under trust, as user code is called.",
    caught_by=("letters are written under trust",),
    policy=replace(POISON, kinds=("fail",), refused=0.7, poison_every=5),
    network=NO_RENEWALS,
    faults=True,
    happenings=("nothing",),
)
def letters_without_trust(_: Function) -> Function:
    async def trusted(self: Any) -> bool:
        return not self.must_stop()

    return trusted
