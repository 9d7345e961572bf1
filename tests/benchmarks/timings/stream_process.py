"""The stream server as a process of its own, with the writer: ``python -m tests.benchmarks.timings.stream_process``.

A writer beside the log puts a record on a chosen shard at a chosen instant for microseconds of CPU; over HTTP it would
compete with the workers that are measured. Commands come as lines of JSON on standard input, each answered by a line on
standard output; the process ends when its input does, so that it can't outlive whoever started it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from consumer.clock import Clock, SystemClock
from consumer.testing.hash_space import hash_of
from consumer.testing.item_images import key_text
from consumer.testing.stream_log import StreamLog
from consumer.testing.stream_server import StreamServer

_TICK_SECONDS = 0.01
_LINE_BYTES = 1 << 20


class TableWriter:
    """Puts numbered records on the shards of one table, and ends shards, noting when it did what."""

    def __init__(self, server: StreamServer, table: str, clock: Clock) -> None:
        self.server = server
        self.table = table
        self.written: list[tuple[int, str, float]] = []
        self.ends: list[tuple[str, str, float]] = []
        self._clock = clock
        self._keys: dict[tuple[int, int], str] = {}
        self._tried = 0
        self._steady: asyncio.Task[None] | None = None

    @property
    def log(self) -> StreamLog:
        return self.server.log.stream(f"dynamodb:{self.table}")

    def put(self, hash_range: tuple[int, int], **attributes: Any) -> None:
        """One record on the open shard that owns ``hash_range``."""
        image = {"pk": self._key_in(hash_range), "n": len(self.written), **attributes}
        at = self._clock.monotonic()
        _, shard_id = self.server.log.tables.change(self.table, new_image=image)
        self.written.append((image["n"], shard_id, at))

    def put_on_each(self, **attributes: Any) -> None:
        """One record on every open shard."""
        for hash_range in self._ranges():
            self.put(hash_range, **attributes)

    async def steady(self, per_shard_per_second: float) -> None:
        """From now on so many records a second on each open shard, evenly spread; 0 ends it."""
        if self._steady is not None:
            self._steady.cancel()
            await asyncio.wait([self._steady])
            self._steady = None
        if per_shard_per_second:
            self._steady = asyncio.create_task(self._write_steadily(per_shard_per_second))

    async def _write_steadily(self, per_shard_per_second: float) -> None:
        began, made = self._clock.monotonic(), 0
        while True:
            ranges = self._ranges()
            due = int((self._clock.monotonic() - began) * per_shard_per_second * len(ranges))
            for index in range(made, due):
                self.put(ranges[index % len(ranges)])
            made = due
            await self._clock.sleep(_TICK_SECONDS)

    def rotate(self, shard_id: str, *, record: bool = True) -> None:
        """End a shard; its child has a record at once, so that what is measured is the consumer's delay alone."""
        shard = self.log.lineage.shard(shard_id)
        at = self._clock.monotonic()
        (child,) = self.log.lineage.rotate(shard_id)
        self.ends.append((shard_id, child, at))
        if record:
            self.put(shard.hash_range)

    def rotate_all(self) -> None:
        """End every open shard at once."""
        for shard in self.log.open_shards():
            self.rotate(shard.id)

    async def rotate_steadily(self, ends_per_second: float, ends: int) -> None:
        """End ``ends`` shards, the oldest open one each time."""
        began = self._clock.monotonic()
        for index in range(ends):
            await self._clock.sleep(max(0.0, began + index / ends_per_second - self._clock.monotonic()))
            self.rotate(min(self.log.lineage.open_shards(), key=lambda shard: (shard.created_at, shard.id)).id)

    def _ranges(self) -> list[tuple[int, int]]:
        return [shard.hash_range for shard in self.log.lineage.open_shards()]

    def _key_in(self, hash_range: tuple[int, int]) -> str:
        """A partition key that lies there; ranges stay when shards rotate, so this is looked for once a range."""
        while hash_range not in self._keys:
            key = f"key-{self._tried}"
            self._tried += 1
            self._keys.setdefault(self.log.lineage.owner_of(hash_of(key_text({"S": key}))).hash_range, key)
        return self._keys[hash_range]


class Commands:
    """What the driver may ask for. Every command names a ``table`` and may give further fields."""

    def __init__(self, server: StreamServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._writers: dict[str, TableWriter] = {}

    async def answer(self, fields: dict[str, Any]) -> Any:
        """The reply to one command; raises KeyError, TypeError, ValueError or ServiceError for a wrong one."""
        name, table = fields.pop("do"), fields.pop("table")
        if name == "create":
            self._server.log.create_table(table, ["pk"], **fields)
            self._writers[table] = TableWriter(self._server, table, self._clock)
            return None
        writer = self._writers[table]
        if name == "facts":
            return self._facts(writer)
        made: Awaitable[None] | None = getattr(writer, _COMMANDS[name])(**fields)
        if made is not None:
            await made
        return None

    def _facts(self, writer: TableWriter) -> dict[str, Any]:
        faults = self._server.faults
        return {
            "at": self._clock.monotonic(),
            "calls": dict(faults.calls),
            "describes_in_busiest_second": faults.busiest(["DescribeStream"]),
            "describe_times": faults.times("DescribeStream"),
            "open_shards": [shard.id for shard in writer.log.open_shards()],
            "ends": writer.ends,
            "written": writer.written,
        }


_COMMANDS = {name: name for name in ("put_on_each", "rotate", "rotate_all", "rotate_steadily", "steady")}


async def serve(clock: Clock) -> None:
    """Answer commands until standard input closes."""
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with StreamServer(clock=clock, region="us-east-1") as server:
        commands = Commands(server, clock)
        answer: Callable[[Any], None] = lambda reply: print(json.dumps(reply), flush=True)  # noqa: E731
        answer({"endpoint_url": server.endpoint_url})
        while line := await reader.readline():
            answer(await commands.answer(json.loads(line)))


if __name__ == "__main__":
    asyncio.run(serve(SystemClock()))
