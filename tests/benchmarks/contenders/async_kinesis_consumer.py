"""async-kinesis, as its page shows it: a Consumer with the StringProcessor, five fetches a second and shard."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict

from kinesis import Consumer, StringProcessor

from tests.benchmarks.contenders.counting import Slots, from_payload

_RECORDS_A_PAGE = 1000
_FETCHES_PER_SECOND = 5  # all that AWS allows; its default of 1 would keep it waiting


class _Pages:
    """It hands over payloads without their shard, page after page: each must be the next one of some shard."""

    def __init__(self, shards: int) -> None:
        self._slots = Slots.from_environment()
        self._waiting: dict[int, list[int]] = defaultdict(list, {0: list(range(shards))})
        self._marks: list[str] = []

    def add(self, mark: str) -> None:
        self._marks.append(mark)
        if len(self._marks) < _RECORDS_A_PAGE:
            return
        marks, self._marks = self._marks, []
        first = from_payload(marks[0])
        slot = self._waiting[first].pop() if self._waiting[first] else 0  # none: a page came once too often
        self._slots.hand_over(slot, marks, from_payload)
        self._waiting[first + _RECORDS_A_PAGE].append(slot)


async def main() -> None:
    """Read for ever: where nothing comes for two seconds its iteration ends, and is begun again."""
    stream = os.environ["BENCH_STREAM"]
    pages = _Pages(int(stream.rpartition("-")[2]))
    async with Consumer(stream, processor=StringProcessor(), shard_fetch_rate=_FETCHES_PER_SECOND) as consumer:
        while True:
            async for payload in consumer:
                pages.add(payload)


asyncio.run(main())
