"""Where the catalogue's failures are played: whole workers, unchanged, in virtual time, judged at every step.

It is the fleet simulation without its dice: its loop, its lease table, its judge. What goes wrong is what a test asks
for: ``stage.plan`` arms faults of the stream, ``group.network`` and ``member.refusal`` those of the table, ``kill`` and
``freeze`` those of a process. Whatever a test asserts besides, the judge's promises hold throughout: no checkpoint goes
back or passes a record that user code is not through with, keys keep their order, no child starts before its parents.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Coroutine
from typing import Any

from consumer.testing.faults import FaultPlan
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_log import StreamLog
from consumer.testing.stream_rules import StreamOptions
from consumer.testing.virtual_time import VirtualClock
from tests.catalogue.group import CALM, LONG, Group, Member, TableWrite
from tests.simulation.fleet.loop import FleetLoop
from tests.simulation.fleet.written import Written

__all__ = ["CALM", "LONG", "Group", "Member", "Stage", "TableWrite", "staged"]


class Stage:
    """Streams, faults and groups in one virtual world. ``latency_seconds`` is what a call to the stream takes."""

    def __init__(self, loop: FleetLoop, options: StreamOptions, latency_seconds: float) -> None:
        self.loop = loop
        self.clock = VirtualClock()
        self.log = ShardLog(self.clock.wall, options=options)
        self.plan = FaultPlan(random.Random(1), now=self.clock.monotonic)
        self.latency_seconds = latency_seconds
        self.groups: list[Group] = []
        self._streams: dict[str, list[StreamLog]] = {}
        self._written: list[tuple[str, Written]] = []

    # -- streams

    def open(self, source: str = "dynamodb:orders", shards: int = 1) -> StreamLog:
        """Create a stream, or switch it on again, and show it to the groups that read it."""
        service, _, name = source.partition(":")
        if service == "kinesis":
            log = self.log.create_stream(name, shards)
        elif name in self.log.tables.tables:
            log = self.log.tables.enable(name, shard_count=shards).log
        else:
            log = self.log.create_table(name, shard_count=shards)
        self._streams.setdefault(source, []).append(log)
        for group in self.groups:
            if group.source == source:
                group.judge.opened(log)
        return log

    def stream(self, source: str = "") -> StreamLog:
        """The present life of a stream (default: of the one that was opened first)."""
        return self._streams[source or next(iter(self._streams))][-1]

    def open_shards(self, source: str = "") -> list[str]:
        """Ids of the shards that take records, by hash range."""
        return [shard.id for shard in self.stream(source).open_shards()]

    def put(self, key: str = "k", times: int = 1, source: str = "", payload: str = "") -> list[int]:
        """Write records of one key; their serial numbers."""
        source = source or next(iter(self._streams))
        service, _, name = source.partition(":")
        serials = range(len(self._written), len(self._written) + times)
        for serial in serials:
            if service == "kinesis":
                record, shard_id = self.log.kinesis.put(name, key, str(serial).encode())
            else:
                image = {"pk": key, "n": serial, **({"payload": payload} if payload else {})}
                record, shard_id = self.log.tables.change(name, new_image=image)
            place = (self.stream(source).incarnation, shard_id)
            made = (serial, key, place, record.sequence, record.arrived_at)
            self._written.append((source, Written(*made)))
            for group in self.groups:
                if group.source == source:
                    group.judge.wrote(Written(*made))
        return list(serials)

    def put_each(self, keys: int, times: int = 1, source: str = "") -> list[int]:
        """Write ``times`` records of each of ``keys`` keys, one key after the other."""
        return [serial for _ in range(times) for key in range(keys) for serial in self.put(f"k{key}", source=source)]

    def written(self, serial: int) -> Written:
        """A record as it was written."""
        return self._written[serial][1]

    # -- groups, time

    def group(self, source: str = "", **config: Any) -> Group:
        """An app with a lease table of its own, which knows all that was written so far."""
        source = source or next(iter(self._streams))
        group = Group(self, source, **config)
        for log in self._streams.get(source, ()):
            group.judge.opened(log)
        for of, record in self._written:
            if of == source:
                group.judge.wrote(Written(record.serial, record.key, record.place, record.sequence, record.arrived_at))
        self.groups.append(group)
        return group

    @property
    def now(self) -> float:
        """Virtual seconds since the play began."""
        return self.loop.time()

    async def advance(self, seconds: float = 0.0, *, hours: float = 0.0) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds + 3600.0 * hours)

    async def until(self, condition: Callable[[], object], what: str, within_seconds: float = 60.0) -> None:
        """Let time pass until ``condition`` holds; a failure says what did not come about, and what happened last."""
        until = self.now + within_seconds
        while not condition():
            if self.now >= until or any(group.judge.violations for group in self.groups):
                last = [step for group in self.groups for step in list(group.judge.last_steps)[-30:]]
                told = [f"not reached within {within_seconds:g} s: {what}", *self.faults(), *last]
                raise AssertionError("\n".join(told))
            await asyncio.sleep(0.1)

    def faults(self) -> list[str]:
        """What must never be: promises broken, workers that ended with an error nobody expected."""
        found = [breach for group in self.groups for breach in group.judge.violations]
        members = [each for group in self.groups for each in group.members if each.name not in group.expected]
        ended = [(each.name, each.task.exception()) for each in members if each.task.done()]
        return found + [f"{name} ended with {error!r}" for name, error in ended if error is not None]

    def close(self) -> None:
        """No judging any more: the loop ends everything now, the killed as well."""
        for group in self.groups:
            group.judge.closed = True
        self.loop.thaw_all()


def staged(
    *,
    source: str = "dynamodb:orders",
    shards: int = 1,
    seed: int = 1,
    latency_seconds: float = 0.005,
    **options: Any,
) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """A test that takes a ``stage`` first, with one stream open; ``options`` are those of StreamOptions."""

    def decorate(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        async def play(loop: FleetLoop, arguments: dict[str, Any]) -> None:
            stage = Stage(loop, StreamOptions(**options), latency_seconds)
            stage.open(source, shards)
            try:
                await test(stage, **arguments)
                assert not stage.faults()
            finally:
                stage.close()

        def run(**arguments: Any) -> None:
            loop = FleetLoop(seed)
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(play(loop, arguments))

        wanted = list(inspect.signature(test).parameters.values())[1:]
        run.__name__, run.__qualname__, run.__doc__, run.__module__ = (
            test.__name__,
            test.__qualname__,
            test.__doc__,
            test.__module__,
        )
        run.__signature__ = inspect.Signature(wanted)  # type: ignore[attr-defined]  # pytest asks it for fixtures
        return run

    return decorate
