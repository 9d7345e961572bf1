"""What delivery adds to a call of ``process_records``: CPU time a record, in turns with the call alone.

One page of a thousand records of each service, again and again, through the default policy: filter, batching, lanes,
retry, dead letters, none of which has anything to do. Reading, the task in which user code runs, and checkpoints are
not in it: what these cost a whole worker is told by the courses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final

from consumer.clock import SystemClock
from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.ground import Taken
from consumer.delivery.one_lane import OneLane
from consumer.delivery.outcome import Returned
from consumer.delivery.policy import made_policy
from consumer.delivery.reading import Reading, read_outcome
from consumer.processor import RecordProcessor
from consumer.record import Record, Records
from consumer.shards.signal import Signal
from consumer.streams.pages import page_of
from consumer.streams.source import StreamIdentity
from consumer.streams.wire import decode_dynamodb, decode_kinesis
from lease_store.checkpoint import Checkpoint
from tests.benchmarks.canned.bodies import DYNAMODB_JSON, KINESIS_JSON, Frame
from tests.benchmarks.processes import progress
from tests.benchmarks.reckoning import lower_quartile
from tests.benchmarks.results import goal_row

__all__ = ["GOAL_MICROSECONDS", "added", "measure"]

GOAL_MICROSECONDS: Final = 0.1
_ROUNDS: Final = 21
_RECORDS: Final = 1000
_PAGES: Final = 20
_STREAM: Final = StreamIdentity("arn:stream", "arn:stream", "arn", None)
_BATCHES: Final = (1000, 100, 1)


class _Nothing(RecordProcessor):
    async def process_records(self, records: Records[Any], checkpointer: Any) -> None:
        """Nothing."""


class _Ground(Signal):
    """A shard that is never stopped and notes how far it is."""

    shard_id, stream, stream_arn = "shard-1", "arn:stream", "arn:stream"

    def must_stop(self) -> bool:
        return False

    def is_trusted(self) -> bool:
        return True

    def begin_stage(self, stage: str) -> None:
        pass

    def end_stage(self, stage: str) -> None:
        pass

    def advance(self, place: Checkpoint) -> None:
        self.place = place


class _Pages:
    """A page that was read so many times; ``done_with`` counts what came back."""

    is_at_end = True

    def __init__(self, page: Sequence[Record], times: int) -> None:
        self._page = page
        self._left = times
        self._taken = 0
        self.done = 0

    def take(self, most: int) -> Taken | None:
        if not self._left:
            return None
        page, begin = self._page, self._taken
        self._taken += min(most, len(page) - begin)
        records = page if self._taken - begin == len(page) else page[begin : self._taken]
        if self._taken == len(page):
            self._left, self._taken = self._left - 1, 0
        return Taken(records, 0)

    def done_with(self, count: int) -> None:
        self.done += count


class _Code:
    """The call itself, and nothing around it."""

    def __init__(self) -> None:
        self._user = _Nothing()

    async def process(self, records: Sequence[Record], millis_behind_latest: int | None) -> Reading | None:
        returned = Returned(await self._user.process_records(_batch(records, millis_behind_latest), None))
        return read_outcome(returned, records)

    def returned(self, records: Sequence[Record], seconds: float) -> None:
        pass


def added(rounds: int = _ROUNDS, batches: Sequence[int] = _BATCHES) -> dict[str, float]:
    """Microseconds a record that delivery adds, by service and size of batches; the lower quartile of the turns."""
    return asyncio.run(_added(rounds, batches))


def measure() -> dict[str, Any]:
    """All sizes of batches; the goal is that of a thousand."""
    figures = {name: round(value, 4) for name, value in added().items()}
    progress(f"  microseconds a record that delivery adds: {figures}")
    rows = [
        goal_row(f"{label}, batches of 1,000: delivery adds", value, GOAL_MICROSECONDS, "us a record", at_least=False)
        for label, value in (
            ("DynamoDB Streams", figures["dynamodb, 1000"]),
            ("Kinesis", figures["kinesis, 1000"]),
        )
    ]
    return {"figures": figures, "goals": rows}


async def _added(rounds: int, batches: Sequence[int]) -> dict[str, float]:
    found = {}
    for service, body in (("dynamodb", DYNAMODB_JSON), ("kinesis", KINESIS_JSON)):
        page = _page(service, body)
        for size in batches:
            ways = {"alone": _alone(page, size), "delivered": _delivered(page, size)}
            turns: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(rounds):
                for name, way in list(ways.items())[:: -1 if number % 2 else 1]:
                    await way()  # what the way before has left in the caches is not this one's
                    began = time.process_time_ns()
                    await way()
                    turns[name].append((time.process_time_ns() - began) / 1e3 / (_PAGES * _RECORDS))
            cost = {name: lower_quartile(costs) for name, costs in turns.items()}
            found[f"{service}, {size}"] = cost["delivered"] - cost["alone"]
    return found


def _page(service: str, frame: Frame) -> list[Record]:
    records = frame.separator.join(frame.record(number) for number in range(_RECORDS))
    body = frame.start(_RECORDS, "i" * 200) + records + frame.end
    return list(page_of(decode_dynamodb(body) if service == "dynamodb" else decode_kinesis(body)).records)


def _alone(page: Sequence[Record], size: int) -> Callable[[], Awaitable[None]]:
    async def way() -> None:
        user = _Nothing()
        for _ in range(_PAGES):
            for begin in range(0, len(page), size):
                await user.process_records(_batch(page[begin : begin + size], 0), None)

    return way


def _delivered(page: Sequence[Record], size: int) -> Callable[[], Awaitable[None]]:
    clock = SystemClock()
    config = WorkerConfig(app="bench", initial_position=InitialPosition("TRIM_HORIZON"), batch_size=size)
    policy = made_policy(
        config,
        _Nothing,
        _STREAM,
        worker_id="bench",
        clock=clock,
        random=Random(1),
        hooks=lambda fact: None,
        dead_letters=None,
    )

    async def way() -> None:
        pages = _Pages(page, _PAGES)
        delivery = OneLane(policy, _Ground(clock), pages, [_Code()], Checkpoint("0", 0))
        await delivery.run()
        await delivery.close()
        if pages.done != _PAGES * _RECORDS:
            raise RuntimeError(f"{pages.done} of {_PAGES * _RECORDS} records are done.")

    return way


def _batch(records: Sequence[Record], millis_behind_latest: int | None) -> Records[Any]:
    return Records(records, shard_id="shard-1", view_type=None, millis_behind_latest=millis_behind_latest)
