"""A group that works for days: ``python -m tests.simulation.fleet.soak --days 7`` prints a line a day, then JSON.

Whole workers in virtual time on a stream that rotates every four hours. User code and calls of the stream hang now and
then, for minutes or hours; workers are killed and replaced. Everything is to be delivered in order, and what the
workers hold in memory is to stay as it was: objects are counted, and the process is measured, once a virtual day.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from consumer.cli.output import until_unread
from consumer.testing.faults import Fault
from consumer.testing.stream_rules import Staleness, StreamOptions
from tests.simulation.arguments import virtual_days
from tests.simulation.fleet.draw import Code, Draw, drawn
from tests.simulation.fleet.loop import FleetLoop
from tests.simulation.fleet.process import Process
from tests.simulation.fleet.world import FleetWorld
from tests.simulation.network import Calm

__all__ = ["Day", "SoakReport", "soak"]

_DAY: Final = 86_400.0
_FAILOVER: Final = 60.0
_SETTLE: Final = 900.0
_PRODUCT: Final = ("consumer.", "lease_store.")


@dataclass(frozen=True, slots=True)
class Day:
    """What there was at the end of a virtual day, after a collection; ``product_objects`` are of our own types."""

    day: float
    rotations: int
    written: int
    delivered: int
    rows: int
    tasks: int
    timers: int
    product_objects: int
    objects: int
    resident_mib: float


@dataclass(frozen=True, slots=True)
class SoakReport:
    """How it went. ``largest`` names the types of ours of which there are most at the end."""

    violations: tuple[str, ...]
    days: tuple[Day, ...]
    killed: int
    hung_calls: int
    long_batches: int
    again: int
    gaps: int
    cpu_seconds: float
    largest: tuple[tuple[str, int], ...]


def _draw(rotation: float) -> Draw:
    """The slow pulse of a quiet group, with hangs of up to half the time from one rotation to the next."""
    return replace(
        drawn(0),
        service="dynamodb",
        position="TRIM_HORIZON",
        refuse_at_timestamp=False,
        manual=False,
        failover=_FAILOVER,
        max_leases=None,
        shards=2,
        workers=2,
        keys=10,
        writes_per_second=1 / 30.0,
        faults=True,
        network=Calm(1.0),
        stream_faults=(
            Fault.delay(300.0, "GetRecords", times=None, probability=0.0005),
            Fault.delay(rotation / 2, "GetRecords", times=None, probability=0.0001),
            Fault.delay(600.0, "DescribeStream", times=None, probability=0.01),
            Fault.error("ThrottlingException", "GetRecords", times=None, probability=0.01),
        ),
        staleness=Staleness(child_late_calls=1),
        latency=0.02,
        code=Code(True, 0.02, 0.003, rotation / 2, 0.01, 0.0, 1.0, 0.0),
        options=StreamOptions(rotate_every_seconds=rotation, gone_listed_seconds=3600.0),
        batch_size=1000,
        checkpoint_interval=1.0,
        audit_interval=300.0,
        child_wait=15.0,
        idle_wait=20.0,
        drain_timeout=300.0,
        hand_off_timeout=30.0,
        skew=1.0,
        threads=8,
        same_name=True,
        scan_read_units=0.5,
    )


class _Soak:
    """One world, and what is done to it."""

    def __init__(self, days: float, rotation: float, seed: int, tell: Callable[[str], None]) -> None:
        self.loop = FleetLoop(seed)
        self.world = FleetWorld(seed, self.loop, _draw(rotation))
        self.world.plan.now = None  # a week of instants is not what is to be measured
        self.days: list[Day] = []
        self.killed = 0
        self.largest: tuple[tuple[str, int], ...] = ()
        self._length = days * _DAY
        self._rotation = rotation
        self._tell = tell
        self._chance = random.Random(f"{seed}:soak")

    async def run(self) -> None:
        world = self.world
        world.side.open()
        writer = asyncio.ensure_future(world.side.write_forever())
        world.draw.arm(world.plan)
        for _ in range(world.draw.workers):
            world.add()
        kills = asyncio.ensure_future(self._kill_and_replace())
        restarts = asyncio.ensure_future(self._restart_who_ended())
        step = min(_DAY, self._length / 3)
        while self.loop.time() < self._length and not world.judge.violations:
            await asyncio.sleep(step)
            self._measure()
        for each in (writer, kills):
            each.cancel()
        await self._finish(restarts)

    async def _kill_and_replace(self) -> None:
        """A death every few hours; what the dead leave in this process is cleared away before the next one."""
        world = self.world
        while True:
            await asyncio.sleep(self._chance.uniform(1.0, 2.5) * self._rotation)
            victim = self._chance.choice(world.live())
            world.crash(victim)
            self.killed += 1
            await asyncio.sleep(self._chance.uniform(0.0, 300.0))
            world.add()
            await asyncio.sleep(4 * _FAILOVER)
            await self._bury(victim)

    async def _restart_who_ended(self) -> None:
        """As a supervisor does: a worker ends with an error where a call that its start needs hangs (judged there)."""
        world = self.world
        while True:
            await asyncio.sleep(_FAILOVER)
            for ended in [each for each in world.processes if each.state == "gone"]:
                world.processes.remove(ended)
                world.add()

    async def _bury(self, victim: Process) -> None:
        victim.abort()
        self.world.judge.awake_since[victim.name] = self.loop.time()
        self.loop.thaw(victim.name)
        if left := self.loop.tasks_of(victim.name):
            await asyncio.wait(left)  # some of them block a thread for hours
        self.world.processes.remove(victim)

    def _measure(self) -> None:
        world = self.world
        for each in world.processes:
            if each.is_up:
                each.check_bounds()
        world.judge.look()
        world.judge.forget(world.clock.wall() - 2 * self._rotation)
        gc.collect()
        everything = gc.get_objects()
        counted = Counter(_name(each) for each in everything)
        own = Counter({name: count for name, count in counted.items() if name.startswith(_PRODUCT)})
        own = Counter({name: count for name, count in own.items() if not name.startswith("consumer.testing.")})
        written, delivered, _ = world.judge.counts
        day = Day(
            day=round(self.loop.time() / _DAY, 2),
            rotations=sum(log.lineage.rotations for log in world.judge.logs.values()),
            written=written,
            delivered=delivered,
            rows=len(world.judge.table.rows().leases),
            tasks=len(asyncio.all_tasks(self.loop)),
            timers=sum(not each.cancelled() for each in self.loop._scheduled),  # type: ignore[attr-defined]
            product_objects=own.total(),
            objects=len(everything),
            resident_mib=round(_resident_mib(), 1),
        )
        self.largest = tuple(own.most_common(8))
        self.days.append(day)
        self._tell(json.dumps(asdict(day)))

    async def _finish(self, restarts: asyncio.Future[None]) -> None:
        """All faults stop; what was written must come, and everybody leaves."""
        world, judge = self.world, self.world.judge
        world.plan.clear()
        world.around.code = replace(world.draw.code, long=0.0, raises=0.0)
        await asyncio.sleep(self._rotation / 2 + _SETTLE)
        missing = list(judge.missing())
        if missing and not judge.violations:
            judge.breach(f"{len(missing)} records never came, the first: {missing[0]}")
        restarts.cancel()
        leaving = [each for each in world.processes if each.is_up]
        for each in leaving:
            each.drain()
        await asyncio.sleep(_SETTLE)
        for each in leaving:
            if each.state != "gone":
                judge.breach(f"{each.name} did not leave: {each.state}")
        written, delivered, _ = judge.counts
        if written != delivered:
            judge.breach(f"{delivered} of {written} records were delivered")


def _name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _check_growth(days: list[Day], breach: Callable[[str], None]) -> None:
    """Against the first measure; only rows may have come since then, as many as shards are listed for a day."""
    first, last = days[0], days[-1]
    rows = last.rows - first.rows
    allowed = {
        "rows": 20,
        "resident_mib": 25.0,
        "tasks": first.tasks / 4 + 30,
        "timers": first.timers / 4 + 30,
        "product_objects": first.product_objects / 4 + 8 * max(0, rows) + 60,
    }
    for what, most in allowed.items():
        before, after = getattr(first, what), getattr(last, what)
        if after - before > most:
            breach(f"{what} grew from {before} to {after} in {last.day - first.day:g} days")


def soak(
    days: float,
    *,
    rotation_seconds: float = 4 * 3600.0,
    seed: int = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> SoakReport:
    """Let ``days`` of virtual time pass; ``tell`` hears of each, or of each third where there are fewer than three."""
    began = time.process_time()
    play = _Soak(days, rotation_seconds, seed, tell)
    judge = play.world.judge

    async def main() -> None:
        try:
            await play.run()
            _check_growth(play.days, judge.breach)
        finally:
            judge.closed = True
            play.loop.thaw_all()

    with asyncio.Runner(loop_factory=lambda: play.loop) as runner:
        runner.run(main())
    plan: Any = play.world.plan
    return SoakReport(
        violations=tuple(judge.violations),
        days=tuple(play.days),
        killed=play.killed,
        hung_calls=plan.fired["delay"],
        long_batches=play.world.around.long_batches,
        again=judge.counts[2],
        gaps=judge.gaps,
        cpu_seconds=round(time.process_time() - began, 1),
        largest=play.largest,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.fleet.soak", description=__doc__)
    parser.add_argument("--days", type=virtual_days, default=7.0, help="virtual days, an hour at least")
    parser.add_argument("--seed", type=int, default=1, help="which week")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    try:
        report = soak(options.days, seed=options.seed, tell=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    print(json.dumps(asdict(report), indent=1))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(until_unread(main))
