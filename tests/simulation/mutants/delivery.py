"""From the stream to user code and back: mutants of reading, batches and checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consumer.delivery.outcome import Returned
from consumer.shards.checkpointer import place_of
from consumer.shards.ends import EndOfShard
from consumer.streams.source import Position
from consumer.testing.faults import Fault, Mangling
from tests.simulation.fleet.draw import CALM_CODE
from tests.simulation.mutants.mixes import KINESIS, LOST, NO_RENEWALS, ROUGH, on_fleet
from tests.simulation.mutants.mutant import Function

__all__ = [
    "a_failed_batch_counts_as_covered",
    "a_missing_iterator_is_an_end",
    "an_expired_iterator_begins_anew",
    "an_expired_iterator_goes_to_the_tip",
    "checkpoint_before_the_batch",
    "failed_batches_are_skipped",
    "gaps_are_kept_quiet",
    "gone_is_just_an_end",
    "last_page_is_only_an_end",
    "pages_without_end",
    "the_end_outruns_pages_held",
    "what_was_read_is_given_again",
    "work_without_trust",
]


@on_fleet(
    "consumer.shards.user_code:UserCode.process",
    rule="The watermark never passes a record that user code is not through with.",
    caught_by=LOST,
    faults=True,
    code=ROUGH,
)
def checkpoint_before_the_batch(original: Function) -> Function:
    async def process(self: Any, records: Any, millis_behind_latest: Any) -> Any:
        self._writer.advance(place_of(records[-1]))
        return await original(self, records, millis_behind_latest)

    return process


@on_fleet(
    "consumer.delivery.callbacks:Callbacks.attempt",
    rule="A batch that raised is given again until it returns.",
    caught_by=LOST,
    faults=True,
    code=ROUGH,
)
def failed_batches_are_skipped(original: Function) -> Function:
    async def attempt(self: Any, call: Any) -> Any:
        outcome = await original(self, call)
        return Returned(None) if call.name == "process_records" else outcome

    return attempt


@on_fleet(
    "consumer.shards.checkpointer:ShardCheckpointer.end_batch",
    rule="checkpoint() covers no batch that raised and was given up.",
    caught_by=LOST,
    faults=True,
    code=replace(ROUGH, raises=0.5),
    happenings=("drain", "start", "start"),
)
def a_failed_batch_counts_as_covered(original: Function) -> Function:
    def end_batch(self: Any, *, returned: bool) -> None:
        original(self, returned=True)

    return end_batch


@on_fleet(
    "consumer.leasing.held_tenure:HeldTenure.is_trusted",
    rule="Every batch begins under trust.",
    caught_by=("batches begin under trust", "one trusting worker"),
    # Plain handlers that wait for the only thread while their leases run out.
    faults=True,
    network=NO_RENEWALS,
    code=replace(CALM_CODE, plain=True, usual_seconds=2.0),
    threads=1,
    shards=4,
    happenings=("nothing",),
)
def work_without_trust(_: Function) -> Function:
    def is_trusted(self: Any) -> bool:
        return True

    return is_trusted


@on_fleet(
    "consumer.shards.reader:ShardReader._keep",
    rule="The last page of a closed shard carries records.",
    caught_by=LOST,
    writes_per_second=15.0,
)
def last_page_is_only_an_end(original: Function) -> Function:
    def _keep(self: Any, page: Any) -> None:
        if page.next_iterator is not None:
            original(self, page)

    return _keep


@on_fleet(
    "consumer.shards.reader:ShardReader.has_untaken",
    rule="SHARD_END is stored after every page that was read ahead is processed.",
    caught_by=LOST,
    writes_per_second=15.0,
    code=replace(CALM_CODE, usual_seconds=0.5),
)
def the_end_outruns_pages_held(original: Function) -> Function:
    def has_untaken(self: Any) -> bool:
        return self.finished is None and bool(original(self))

    return has_untaken


@on_fleet(
    "consumer.shards.read_ahead:ReadAhead.has_room",
    rule="A shard reads four pages ahead at most, and a worker no more than its budget.",
    caught_by=("bounded queues",),
    writes_per_second=15.0,
    code=replace(CALM_CODE, usual_seconds=3.0),
)
def pages_without_end(_: Function) -> Function:
    def has_room(self: Any, wake: Any) -> bool:
        return True

    return has_room


@on_fleet(
    "consumer.shards.read_place:ReadPlace.position",
    rule="A new iterator stands after the last record read, not where the tenure began.",
    caught_by=("nothing done with comes again",),
    stream_faults=(Fault.error("ExpiredIteratorException", "GetRecords", times=None, probability=0.05),),
)
def an_expired_iterator_begins_anew(original: Function) -> Function:
    def position(self: Any) -> Position:
        return self._pin  # type: ignore[no-any-return]  # its object is Any

    return position


@on_fleet(
    "consumer.shards.read_place:ReadPlace._after",
    rule="A new iterator stands after the last record read, not at what comes next.",
    caught_by=LOST,
    writes_per_second=15.0,
    stream_faults=(Fault.error("ExpiredIteratorException", "GetRecords", times=None, probability=0.05),),
)
def an_expired_iterator_goes_to_the_tip(original: Function) -> Function:
    def _after(self: Any, place: Any) -> Position:
        return Position("LATEST")

    return _after


@on_fleet(
    "consumer.shards.read_place:fresh",
    rule="A Kinesis shard is opened at its checkpoint, and what is done there is dropped.",
    caught_by=("nothing done with comes again",),
    service="kinesis",
    options=KINESIS,
    happenings=("crash", "drain", "start"),
)
def what_was_read_is_given_again(_: Function) -> Function:
    def fresh(records: Any, *, above: Any, drop_before: Any) -> Any:
        return records

    return fresh


@on_fleet(
    "consumer.streams.dynamodb_streams:believed",
    rule="A page without a next iterator is asked for again before the shard counts as ended.",
    caught_by=("no end of an open shard", *LOST),
    stream_faults=(
        Fault.malformed(Mangling.MISSING, "GetRecords", path="NextShardIterator", times=1, skip=20),
        Fault.malformed(Mangling.MISSING, "GetRecords", path="NextShardIterator", times=1, skip=40),
    ),
)
def a_missing_iterator_is_an_end(_: Function) -> Function:
    async def believed(read: Any, shard_id: Any) -> Any:
        return await read()

    return believed


@on_fleet(
    "consumer.shards.reader:tell_trimmed",
    rule="Records that were trimmed before they were read are reported as a gap.",
    caught_by=LOST,
    days=(1.1, 2.5),
    happenings=("blackout", "nothing", "nothing"),
    safety_only=False,
)
def gaps_are_kept_quiet(_: Function) -> Function:
    def tell_trimmed(scope: Any, place: Any, *, stopped: Any) -> None:
        pass

    return tell_trimmed


@on_fleet(
    "consumer.shards.reader:ShardReader._gone",
    rule="A shard that is gone before its end was read is a reported gap.",
    caught_by=LOST,
    days=(1.1, 2.5),
    happenings=("blackout", "rotate", "nothing"),
    safety_only=False,
)
def gone_is_just_an_end(_: Function) -> Function:
    def _gone(self: Any) -> None:
        self._finish(EndOfShard())

    return _gone
