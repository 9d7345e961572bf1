"""A large fleet, its leases only: how soon it comes to rest after a change, in how many moves, at what cost."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from consumer.leasing.lease_loop import LeaseSettings
from consumer.leasing.timing import scan_period_seconds
from consumer.testing.virtual_time import VirtualTimeLoop
from lease_store.item import to_item
from lease_store.lease import Lease
from tests.simulation.loop import SimClock
from tests.simulation.network import Calm
from tests.simulation.scale.tally import Tally, least_moves
from tests.simulation.scale.worker import ScaleTable, ScaleWorker

__all__ = ["GOAL_MOVES_TOO_MANY", "GOAL_SECONDS", "Phase", "Scale", "ScaleWorld", "most_moves", "run_scale"]

GOAL_SECONDS: Final = 60.0
"""Within how many virtual seconds of a change's last event the fleet is to be at rest."""
GOAL_MOVES_TOO_MANY: Final = 0.05
"""What share of the leases that a change leaves to be placed may move beyond the fewest possible."""

_STREAM: Final = "clicks@1"
_LOOK_SECONDS: Final = 0.5
_LONGEST_PHASE_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How large, and with which settings; ``scan_read_units_per_second`` is the whole fleet's budget."""

    shards: int = 10_000
    workers: int = 200
    lost: int = 20
    failover_seconds: float = 10.0
    scan_read_units_per_second: float = 50.0
    stale_seconds: float = 1.0
    change_seconds: float = 5.0
    steady_seconds: float = 60.0
    seed: int = 1


def most_moves(least: int, placed: int) -> int:
    """How many moves the goal allows where ``least`` are the fewest and ``placed`` leases are to be placed."""
    return least + int(GOAL_MOVES_TOO_MANY * placed)


@dataclass(frozen=True, slots=True)
class Phase:
    """One change and what came of it. ``balanced_after_seconds`` (None: not within 15 minutes) is virtual, from the
    change's last event until every lease is held by a live worker, balanced within one, and nothing moved any more.
    ``placed`` are the leases that the change leaves to be placed in whatever way: free, made anew, or to be evened out.
    """

    name: str
    leases: int
    rows: int
    workers: int
    scan_period_seconds: float
    balanced_after_seconds: float | None
    moves: int
    least_moves: int
    placed: int
    refused_writes: int
    read_units: float
    write_units: int
    virtual_seconds: float
    cpu_seconds: float

    @property
    def missed(self) -> list[str]:
        """A sentence for each goal that was missed."""
        after, most = self.balanced_after_seconds, most_moves(self.least_moves, self.placed)
        sentences = []
        if after is None or after > GOAL_SECONDS:
            took = "was not balanced at all" if after is None else f"was balanced after {after:.1f} s"
            sentences.append(f"{self.name}: the fleet {took}, the goal is {GOAL_SECONDS:g} s.")
        if self.moves > most:
            sentences.append(f"{self.name}: {self.moves:,} moves, the goal is {most:,} at most.")
        return sentences


class ScaleWorld:
    """The fleet and its table on one virtual loop."""

    def __init__(self, scale: Scale, tell: Callable[[str], None]) -> None:
        self.scale = scale
        self.tally = Tally()
        self.table = ScaleTable(self.tally.written)
        self.workers: list[ScaleWorker] = []
        self._started = 0
        self._draw = random.Random(f"{scale.seed}:scale")
        self._network = Calm(scale.stale_seconds)
        self._tell = tell
        self._began = time.monotonic()

    def add_worker(self) -> ScaleWorker:
        scale, draw = self.scale, self._draw
        name = f"w{self._started:03d}"
        self._started += 1
        settings = LeaseSettings(
            worker_id=name,
            stream_base="clicks",
            failover_seconds=scale.failover_seconds,
            hand_off_timeout_seconds=30.0,
            scan_read_units_per_second=scale.scan_read_units_per_second,
        )
        clock = SimClock(skew_seconds=draw.uniform(-500, 500), rate=draw.uniform(0.995, 1.005))
        worker = ScaleWorker(
            settings, self.tally, self.table, clock=clock, network=self._network, seed=f"{scale.seed}:{name}"
        )
        self.workers.append(worker)
        worker.start()
        return worker

    @property
    def scan_period_seconds(self) -> float:
        """How far apart each worker's scans are by now, when all workers are known."""
        rows = len(self.table.rows().leases) + len(self.workers)
        return scan_period_seconds(rows, len(self.workers), self.scale.scan_read_units_per_second)

    # -- changes: each returns the fewest moves after which the fleet is balanced again, and how many leases it concerns

    async def cold_start(self) -> tuple[int, int]:
        """Every row without an owner, and all workers within a few seconds."""
        for n in range(self.scale.shards):
            lease = Lease(key=f"shardId-{n:08d}", stream=_STREAM, created_at=f"{n}")
            self.table.put_item(to_item(lease))
            self.tally.owners[lease.key] = None
        pauses = sorted(self._draw.uniform(0.0, self.scale.change_seconds) for _ in range(self.scale.workers))
        began = asyncio.get_running_loop().time()
        for pause in pauses:
            await asyncio.sleep(began + pause - asyncio.get_running_loop().time())
            self.add_worker()
        return self.scale.shards, self.scale.shards

    async def lose_workers(self) -> tuple[int, int]:
        """Some die at one instant."""
        for worker in self._draw.sample(self.workers, self.scale.lost):
            worker.kill()
            self.workers.remove(worker)
        load = self.tally.load
        left = {worker.name: load[worker.name] for worker in self.workers}
        unowned = load.total() - sum(left.values())
        return least_moves(left, unowned), unowned

    async def join(self) -> tuple[int, int]:
        """One worker more."""
        load = self.tally.load
        least = least_moves(
            {self.add_worker().name: 0} | {worker.name: load[worker.name] for worker in self.workers}, 0
        )
        return least, least

    async def double_shards(self) -> tuple[int, int]:
        """Every shard ends and is followed by two, which begin where it ended."""
        load = self.tally.load
        least = least_moves({worker.name: 2 * load[worker.name] for worker in self.workers}, 0)
        for worker in self.workers:
            worker.split_shards(self._draw, self.scale.change_seconds)
        firsts = [f"shardId-{n:08d}" for n in range(self.scale.shards)]
        deadline = asyncio.get_running_loop().time() + _LONGEST_PHASE_SECONDS
        while any(key in self.tally.owners for key in firsts):
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeError("The shards did not end.")
            await asyncio.sleep(_LOOK_SECONDS)
        return least, 2 * load.total()

    async def steady(self) -> tuple[int, int]:
        """Nothing happens, for a while."""
        await asyncio.sleep(self.scale.steady_seconds)
        return 0, 0

    async def phase(self, name: str, change: Callable[[], Awaitable[tuple[int, int]]]) -> Phase:
        """Make a change and wait for rest."""
        loop, cpu, tally = asyncio.get_running_loop(), time.process_time(), self.tally
        began, before = loop.time(), tally.snapshot()
        least, placed = await change()
        changed_at = loop.time()
        rested = await self._rest(name, changed_at)
        after = tally.snapshot()
        calls, refused = after["calls"] - before["calls"], after["refused"] - before["refused"]
        reads = calls.pop("read", 0) + calls.pop("read_worker", 0)
        calls.pop("scan", 0)
        return Phase(
            name=name,
            leases=len(tally.owners),
            rows=len(self.table.rows().leases),
            workers=len(self.workers),
            scan_period_seconds=self.scan_period_seconds,
            balanced_after_seconds=rested,
            moves=(after["moves"] - before["moves"]).total(),
            least_moves=least,
            placed=placed,
            refused_writes=refused.total(),
            read_units=reads + after["scanned_units"] - before["scanned_units"],
            write_units=calls.total(),
            virtual_seconds=loop.time() - began,
            cpu_seconds=time.process_time() - cpu,
        )

    async def _rest(self, name: str, changed_at: float) -> float | None:
        """Seconds after the change until rest, which must then last for two scan periods."""
        loop, told = asyncio.get_running_loop(), time.monotonic()
        live = [worker.name for worker in self.workers]
        since: float | None = None
        while loop.time() < changed_at + _LONGEST_PHASE_SECONDS:
            why = self.tally.unrest(live)
            quiet_since = max(changed_at, self.tally.last_change_at)
            since = None if why is not None else since or max(quiet_since, loop.time() - _LOOK_SECONDS)
            if time.monotonic() > told + 5.0:
                told = time.monotonic()
                self.say(f"{name}: {why or 'at rest'}, {self.tally.moves.total()} moves")
            failed = next((each for each in self.workers if each.failed is not None), None)
            if failed is not None:
                raise RuntimeError(f"{failed.name} ended") from failed.failed
            if why is None and loop.time() >= max(since or 0.0, quiet_since) + self._quiet_seconds():
                return max(0.0, quiet_since - changed_at)
            await asyncio.sleep(_LOOK_SECONDS)
        return None

    def _quiet_seconds(self) -> float:
        return max(5.0, 1.5 * self.scan_period_seconds)

    def say(self, what: str) -> None:
        """Tell progress, with the time."""
        real, virtual = time.monotonic() - self._began, asyncio.get_running_loop().time()
        self._tell(f"{real:6.0f} s real, {virtual:7.1f} s virtual: {what}")


def run_scale(scale: Scale, tell: Callable[[str], None]) -> dict[str, Any]:
    """All phases, one after the other, as JSON-ready figures; ``missed`` are sentences, one for each goal missed.

    KeyboardInterrupt ends it early: the phases that are over are judged, and ``complete`` is False.
    """
    world = ScaleWorld(scale, tell)
    loop = VirtualTimeLoop(scale.seed, limit_seconds=100_000.0)
    phases: list[Phase] = []

    async def main() -> None:
        changes = (
            ("cold start", world.cold_start),
            ("joining", world.join),  # before there are rows of dead workers, of which who joins knows nothing
            ("loss", world.lose_workers),
            ("doubling", world.double_shards),
            ("steady", world.steady),
        )
        for name, change in changes:
            phases.append(await world.phase(name, change))
            world.say(str(phases[-1]))

    cpu = time.process_time()
    is_complete = True
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        is_complete = False
    return {
        "complete": is_complete,
        "missed": [sentence for phase in phases for sentence in phase.missed],
        "scale": asdict(scale),
        "goals": {"balanced_after_seconds": GOAL_SECONDS, "moves_too_many": GOAL_MOVES_TOO_MANY},
        "phases": [asdict(phase) for phase in phases],
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
