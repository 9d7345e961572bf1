"""A fleet's leasing under drawn faults: ``python -m tests.simulation.leases.world --seeds 1000`` or ``--seed 7``.

First a phase in which anything may go wrong, then all faults stop, one worker is killed and two drain within 2 s while
scans stay stale, and the fleet must come to rest.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from dataclasses import dataclass

from consumer.leasing.lease_loop import LeaseSettings
from lease_store.lease import Lease
from tests.simulation.leases.judge import Judge
from tests.simulation.leases.process import STREAM, SimWorker, Work
from tests.simulation.loop import SimClock, SimLoop
from tests.simulation.store import Calm, Network

__all__ = ["LeaseWorld", "Report", "run_seed"]

CALM_WORK = Work(0.3, 0.0, 0.0, 0.3, 0.3, 0.0)
HAND_OFF_TIMEOUT_SECONDS = 30.0
TAKEN_BACK_REST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one seed."""

    seed: int
    violations: tuple[str, ...]
    last_steps: tuple[str, ...]
    digest: str
    tenures: int
    settled_after_seconds: float
    longest_gap_seconds: float

    @property
    def replay(self) -> str:
        return f"python -m tests.simulation.leases.world --seed {self.seed}"


class LeaseWorld:
    """One seed's world. Streams of chance are separate, so that one more draw in one does not reshuffle the others."""

    def __init__(self, seed: int, loop: SimLoop) -> None:
        self.seed = seed
        self.loop = loop
        draw = self.draw = random.Random(f"{seed}:world")
        self.failover_seconds = draw.choice((1.0, 2.0, 5.0, 10.0))
        self.faults = draw.choice(("none", "mild", "mild", "heavy"))
        self.network = self._drawn_network(draw)
        self.work = self._drawn_work(draw)
        self.calm_so_far = self.faults == "none"
        self.judge = Judge(lambda: self.calm_so_far)
        self.workers: list[SimWorker] = []
        self.keys = tuple(f"{n:02d}" for n in range(draw.choice((1, 2, 3, 5, 8, 12))))
        self.limit = draw.choice((None, None, None, 6))
        loop.on_step = self.judge.step

    def _level(self, draw: random.Random, *levels: float) -> float:
        return 0.0 if self.faults == "none" else draw.choice((0.0, *levels))

    def _drawn_network(self, draw: random.Random) -> Network:
        heavy = 2.0 if self.faults == "heavy" else 1.0
        return Network(
            least_seconds=0.001,
            usual_seconds=draw.choice((0.005, 0.03)),
            late=self._level(draw, 0.01, 0.1, 0.2 * heavy),
            late_seconds=draw.choice((0.3, 1.0, 1.5)) * self.failover_seconds,
            lost_request=self._level(draw, 0.01, 0.05, 0.1 * heavy),
            lost_reply=self._level(draw, 0.01, 0.05, 0.1 * heavy),
            refused=self._level(draw, 0.01, 0.05, 0.15 * heavy),
            doubled=self._level(draw, 0.02, 0.1),
            stale_seconds=self._level(draw, 0.5, 1.0, 3.0),
        )

    def _drawn_work(self, draw: random.Random) -> Work:
        return Work(
            usual_seconds=min(draw.choice((0.02, 0.3)), 0.3 * self.failover_seconds),
            long=self._level(draw, 0.01, 0.05),
            long_seconds=draw.choice((2.0, 10.0, 45.0)),
            checkpoint=draw.choice((0.0, 0.2, 1.0)),
            shutdown_called=draw.choice((0.0, 0.5)),
            shard_end=draw.choice((0.0, 0.0, 0.002, 0.01)),
        )

    def add_worker(self) -> SimWorker:
        draw = self.draw
        name = f"w{len(self.workers) + 1}"
        settings = LeaseSettings(
            worker_id=name,
            stream_base="clicks",
            failover_seconds=self.failover_seconds,
            hand_off_timeout_seconds=HAND_OFF_TIMEOUT_SECONDS,
            scan_read_units_per_second=50.0,
            max_leases=self.limit,
        )
        worker = SimWorker(
            name,
            table=self.judge.table,
            network=lambda: self.network,
            work=lambda: self.work,
            rows=tuple(Lease(key=key, stream=STREAM) for key in self.keys),
            settings=settings,
            clock=SimClock(skew_seconds=draw.uniform(-500, 500), rate=draw.choice((1.0, draw.uniform(0.995, 1.005)))),
            draw=random.Random(f"{self.seed}:{name}"),
            witness=self.judge,
        )
        self.workers.append(worker)
        self.judge.note(f"{name} starts")
        worker.start()
        return worker

    def running(self) -> list[SimWorker]:
        return [worker for worker in self.workers if worker.state == "running" and not worker.frozen]

    def crash(self, worker: SimWorker) -> None:
        self.judge.note(f"{worker.name} is killed")
        worker.state = "dead"
        self.loop.freeze(worker.name)
        promised = self.calm_so_far and self.limit is None
        self.judge.died(worker, self.running() if promised else [], self.failover_seconds * 1.01 + 2.0)

    def freeze(self, worker: SimWorker, seconds: float) -> None:
        self.judge.note(f"{worker.name} is frozen for {seconds:.1f} s")
        worker.frozen = True
        self.loop.freeze(worker.name)

        def thaw() -> None:
            if worker.state != "dead":
                self.judge.note(f"{worker.name} thaws")
                worker.frozen = False
                self.loop.thaw(worker.name)

        self.loop.call_later(seconds, thaw)

    async def run(self) -> float:
        """Both phases; returns how long the fleet took to come to rest after the last stop."""
        draw = self.draw
        for _ in range(draw.choice((1, 2, 3, 4))):
            self.add_worker()
            await asyncio.sleep(draw.choice((0.0, 0.0, 2.0)))
        until = self.loop.time() + draw.uniform(20.0, 60.0)
        pause = draw.choice((3.0, 8.0, 20.0))
        while self.loop.time() < until:
            await asyncio.sleep(draw.uniform(0.2, 2.0) * pause)
            self._something_happens()
            if self.judge.violations:
                return 0.0
        return await self._come_to_rest()

    def _something_happens(self) -> None:
        draw, running = self.draw, self.running()
        what = draw.choice(("start", "crash", "drain", "freeze", "freeze", "nothing"))
        if len(running) < 2 or (what == "start" and len(running) < 5):
            self.add_worker()
        elif what == "crash":
            self.crash(draw.choice(running))
        elif what == "drain":
            worker = draw.choice(running)
            self.judge.note(f"{worker.name} drains")
            worker.drain()
        elif what == "freeze" and self.faults != "none":
            self.freeze(draw.choice(running), draw.uniform(0.1, 2.0) * self.failover_seconds)

    async def _come_to_rest(self) -> float:
        """No faults any more; one is killed and two drain within 2 s, scans still stale; then rest in time."""
        draw = self.draw
        self.network, self.work = Calm(self.network.stale_seconds), CALM_WORK
        self.judge.note("the faults stop")
        while len([each for each in self.workers if each.is_up and each.state != "draining"]) < 5:
            self.add_worker()
        await asyncio.sleep(draw.choice((0.1, 5.0, 3 * self.failover_seconds)))
        first, second, third = draw.sample([each for each in self.workers if each.state in ("starting", "running")], 3)
        self.crash(first)
        await asyncio.sleep(draw.uniform(0.0, 1.0))
        second.drain()
        await asyncio.sleep(draw.uniform(0.0, 1.0))
        third.drain()
        stopped_at = self.loop.time()
        limit = stopped_at + 2 * self.failover_seconds + HAND_OFF_TIMEOUT_SECONDS + TAKEN_BACK_REST_SECONDS + 20.0
        quiet_since, moves = None, self.judge.moves
        why: str | None = "it has not begun"
        while self.loop.time() < limit and not self.judge.violations:
            await asyncio.sleep(0.5)
            why = self.judge.unrest(self.workers) or self._still_leaving()
            if why is not None:
                quiet_since = None
            elif quiet_since is None or self.judge.moves != moves:
                quiet_since, moves = self.loop.time(), self.judge.moves
            elif self.loop.time() >= quiet_since + 6.0:
                return quiet_since - stopped_at
        if not self.judge.violations:
            self.judge.breach(
                f"not at rest {limit - stopped_at:.0f} s after the faults stopped: {why or 'leases move'}"
            )
        return limit - stopped_at

    def _still_leaving(self) -> str | None:
        if self.judge.is_full(self.workers):
            return None  # a row that names a draining worker may have nowhere to go: that is for its deadline
        return next(
            (f"{each.name} still drains" for each in self.workers if each.state in ("draining", "drained")), None
        )


def run_seed(seed: int) -> Report:
    """Run one seed to its end or first violation."""
    loop = SimLoop(seed, limit_seconds=10_000.0)
    world = LeaseWorld(seed, loop)
    settled = 0.0

    async def main() -> None:
        nonlocal settled
        try:
            settled = await world.run()
        finally:
            world.judge.closed = True
            loop.on_step = None
            loop.thaw_all()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    judge = world.judge
    return Report(
        seed, tuple(judge.violations), tuple(judge.last_steps), judge.digest, judge.tenures, settled, judge.longest_gap
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="this one only, with its last steps")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    seeds = range(options.start, options.start + options.seeds) if options.seed is None else [options.seed]
    red, began = 0, time.process_time()
    slowest = 0.0
    for seed in seeds:
        report = run_seed(seed)
        slowest = max(slowest, report.settled_after_seconds)
        if report.violations or options.seed is not None:
            red += bool(report.violations)
            print(f"seed {seed}: {'; '.join(report.violations[:3]) or 'no violation'} (digest {report.digest})")
            if options.seed is not None:
                print("\n".join(report.last_steps))
    seconds = (time.process_time() - began) / len(seeds)
    print(f"{len(seeds)} seeds, {red} red, slowest to rest {slowest:.1f} s, {seconds:.2f} s of CPU each")
    return min(red, 1)


if __name__ == "__main__":
    sys.exit(main())
