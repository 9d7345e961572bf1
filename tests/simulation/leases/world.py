"""A fleet's leasing under drawn faults: ``python -m tests.simulation --world leases --seed 7``.

First a phase in which anything may go wrong, then all faults stop, one worker is killed and two drain within 2 s while
scans stay stale, and the fleet must come to rest; in some seeds every shard then ends and is followed to the last.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from consumer.leasing.lease_loop import LeaseSettings
from consumer.leasing.places import Places
from consumer.testing.virtual_time import Stalled
from lease_store.lease import Lease
from tests.simulation.leases.draw import CALM_WORK, LeaseDraw, Work, drawn
from tests.simulation.leases.judge import Judge
from tests.simulation.leases.process import SimWorker
from tests.simulation.leases.shards import STREAM, is_last
from tests.simulation.loop import SimClock, SimLoop
from tests.simulation.network import Calm, Network

__all__ = ["LeaseWorld", "Report", "report_of", "run_seed"]

T = TypeVar("T")

_TAKEN_BACK_REST_SECONDS: Final = 60.0
_CUT_OFF: Final = Network(0.001, 0.02, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.5)
_MOST_WORKERS: Final = 5


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one seed."""

    seed: int
    draw: LeaseDraw
    violations: tuple[str, ...]
    last_steps: tuple[str, ...]
    digest: str
    tenures: int
    records: int
    settled_after_seconds: float
    longest_gap_seconds: float

    @property
    def replay(self) -> str:
        return f"python -m tests.simulation --world leases --seed {self.seed}"


class LeaseWorld:
    """One seed's world. Streams of chance are separate, so that one more draw in one does not reshuffle the others."""

    worker_type: type[SimWorker] = SimWorker
    judge_type: Callable[..., Any] = Judge

    def __init__(self, seed: int, draw: LeaseDraw) -> None:
        self.seed = seed
        self.loop = SimLoop(seed, limit_seconds=10_000.0)
        self.draw = draw
        self.chance = random.Random(f"{seed}:world")
        self.network = draw.network
        self.judge = self.judge_type(draw, self.records_in)
        self.table = self.judge.table
        self.witness = self.judge
        self.workers: list[SimWorker] = []
        self.keys = tuple(f"{n:02d}" for n in range(draw.keys))
        self._work = draw.work
        self._records: dict[str, int | None] = {}
        self._ends_now = False
        self._has_calmed = False
        self.loop.on_step = self.judge.step
        self.loop.set_exception_handler(self._died_unheard)

    def play(self, story: Coroutine[Any, Any, T]) -> T | None:
        """Run a story of this world to its end; None where the loop stalled, which is a violation."""
        judge = self.judge

        async def judged() -> T:
            try:
                return await story
            finally:
                judge.closed = True
                self.loop.on_step = None
                self.loop.thaw_all()

        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                return runner.run(judged())
        except Stalled as error:
            judge.violations.append(str(error))
            return None

    def _died_unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised, or a task whose end nobody asks for: in production that is a line in a log."""
        if not self.judge.closed:
            self.judge.breach(f"{context['message']}: {context.get('exception')!r}")

    # -- what workers find (``Around``)

    def network_of(self, worker: SimWorker) -> Network:
        return _CUT_OFF if worker.cut_off else self.network

    def work(self) -> Work:
        return self._work

    def rows(self) -> tuple[Lease, ...]:
        return tuple(Lease(key=key, stream=STREAM) for key in self.keys)

    def records_in(self, key: str) -> int | None:
        """Drawn once for each shard; once every shard is to end, those without an end get one."""
        if key not in self._records:
            mean = self.draw.work.records
            drawn_length = random.Random(f"{self.seed}:{key}").expovariate(1.0 / mean) if mean else None
            self._records[key] = None if drawn_length is None or is_last(key) else 1 + int(drawn_length)
        if self._ends_now and not is_last(key):
            length = self._records[key]
            if length is None or length > self.judge.ledger.done(key) + 3:
                self._records[key] = self.judge.ledger.done(key) + 2
        return self._records[key]

    def timed_out(self, worker: SimWorker) -> None:
        self.judge.note(f"{worker.name} could not drain in time")
        self.crash(worker)

    # -- workers

    def add_worker(self, host: str | None = None) -> SimWorker:
        """A process starts: on a host of its own, or again on one, where it gets another nonce."""
        draw, chance = self.draw, self.chance
        host = host or f"w{len({worker.host for worker in self.workers}) + 1}"
        settings = self.settings_of(f"{host}-{1 + sum(worker.host == host for worker in self.workers)}")
        slow, fast = 1.0 - draw.drift, 1.0 + draw.drift
        rate = chance.choice((1.0, slow, fast, chance.uniform(slow, fast)))
        clock = SimClock(skew_seconds=chance.uniform(-draw.skew, draw.skew), rate=rate)
        draws = random.Random(f"{self.seed}:{settings.worker_id}")
        worker = self.worker_type(host, settings, self, clock=clock, draw=draws)
        worker.loop.leases.calls.places = Places(self.draw.places + 1, 1)
        self.workers.append(worker)
        self.judge.knows(worker)
        self.judge.note(f"{worker.name} starts")
        worker.start()
        return worker

    def settings_of(self, worker_id: str) -> LeaseSettings:
        """What a worker is told."""
        return LeaseSettings(
            worker_id=worker_id,
            stream_base="clicks",
            failover_seconds=self.draw.failover,
            hand_off_timeout_seconds=self.draw.hand_off_timeout,
            scan_read_units_per_second=50.0,
            max_leases=self.draw.max_leases,
        )

    def running(self) -> list[SimWorker]:
        return [worker for worker in self.workers if worker.state == "running" and not worker.frozen]

    def crash(self, worker: SimWorker) -> None:
        self.judge.note(f"{worker.name} is killed")
        worker.state = "dead"
        self.loop.freeze(worker.name)
        self.loop.freeze(worker.code)
        promised = self.judge.is_calm() and self.draw.max_leases is None
        takeover_seconds = 1.01 * self.draw.failover + 2.0 + self.network.stale_seconds
        self.judge.died(worker, self.running() if promised else [], takeover_seconds)

    def drain(self, worker: SimWorker, timeout_seconds: float | None = None) -> None:
        self.judge.note(f"{worker.name} drains")
        worker.drain(timeout_seconds)

    def freeze(self, worker: SimWorker, seconds: float, *, asleep: bool = False) -> None:
        """Stop a process for a while, or put its whole machine to sleep."""
        self.judge.note(f"{worker.name} {'sleeps' if asleep else 'is frozen'} for {seconds:.1f} s")
        worker.frozen = True
        for name in (worker.name, worker.code):
            self.loop.freeze(name)
            if asleep:
                self.loop.hold_timers(name, seconds)
        if asleep:
            worker.clock.slept_seconds += seconds
        self.loop.call_later(seconds, self._thaw, worker)

    def _thaw(self, worker: SimWorker) -> None:
        if worker.state != "dead":
            self.judge.note(f"{worker.name} thaws")
            self._calm_begins()
            worker.frozen = False
            self.loop.thaw(worker.name)
            if not worker.blocked:
                self.loop.thaw(worker.code)

    def block(self, worker: SimWorker, seconds: float) -> None:
        """User code blocks the loop that it runs on; the lease loop lives in another thread."""
        self.judge.note(f"user code blocks {worker.name} for {seconds:.1f} s")
        worker.blocked = True
        self.loop.freeze(worker.code)

        def unblock() -> None:
            worker.blocked = False
            self._calm_begins()
            if worker.state != "dead" and not worker.frozen:
                self.loop.thaw(worker.code)

        self.loop.call_later(seconds, unblock)

    def cut_off(self, worker: SimWorker, seconds: float) -> None:
        """A worker's own way to the table is broken for a while."""
        self.judge.note(f"{worker.name} is cut off for {seconds:.1f} s")
        worker.cut_off = True

        def joined() -> None:
            worker.cut_off = False
            self._calm_begins()

        self.loop.call_later(seconds, joined)

    def _calm_begins(self) -> None:
        """The last trouble that began in the fault phase ends after it."""
        if self._has_calmed:
            self.judge.calm_since = self.loop.time()

    # -- the run

    async def run(self) -> float:
        """All phases; returns how long the fleet took to come to rest after the last stop."""
        draw = self.draw
        for _ in range(draw.workers):
            self.add_worker()
            await asyncio.sleep(draw.stagger)
        until = self.loop.time() + draw.phase
        while self.loop.time() < until:
            await asyncio.sleep(self.chance.uniform(0.2, 2.0) * draw.pause)
            self._something_happens()
            if self.judge.violations:
                return 0.0
        if draw.safety_only:
            return 0.0
        rested = await self._come_to_rest()
        if draw.ends and not self.judge.violations:
            await self._end_every_shard()
        return rested

    def _something_happens(self) -> None:
        chance, running, failover = self.chance, self.running(), self.draw.failover
        what = chance.choice(self.draw.happenings)
        if len(running) < 2 or (what == "start" and len(running) < _MOST_WORKERS):
            self.add_worker()
            return
        worker = chance.choice(running)
        match what:
            case "crash":
                self.crash(worker)
            case "restart":
                self.crash(worker)
                self.add_worker(worker.host)
            case "replace":  # whoever starts it anew takes it for dead, and it is not
                self.freeze(worker, chance.uniform(0.5, 3.0) * failover)
                self.add_worker(worker.host)
            case "drain":
                self.drain(worker, self.draw.drain_timeout)
            case "freeze" | "suspend":
                self.freeze(worker, chance.uniform(0.1, 2.0) * failover, asleep=what == "suspend")
            case "block" if not worker.blocked:
                self.block(worker, chance.uniform(0.1, 4.0) * failover)
            case "cut_off" if not worker.cut_off:
                self.cut_off(worker, chance.uniform(0.1, 1.5) * failover)

    async def _come_to_rest(self) -> float:
        """No faults any more; one is killed and two drain within 2 s, scans still stale; then rest in time."""
        chance, failover = self.chance, self.draw.failover
        self.network, self._work = Calm(self.network.stale_seconds), CALM_WORK
        self.judge.note("the faults stop")
        if self.draw.faults != "none":
            self._has_calmed = True
            self._calm_begins()
        while len([each for each in self.workers if each.is_up and each.state != "draining"]) < _MOST_WORKERS:
            self.add_worker()
        await asyncio.sleep(chance.choice((0.1, 5.0, 3 * failover)))
        staying = [each for each in self.workers if each.state in ("starting", "running")]
        first, second, third = chance.sample(staying, 3)
        self.crash(first)
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        self.drain(second)
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        self.drain(third)
        stopped_at = self.loop.time()
        await self._rest(2 * failover + self.draw.hand_off_timeout + _TAKEN_BACK_REST_SECONDS + 20.0)
        return self.loop.time() - stopped_at

    async def _rest(self, within_seconds: float) -> None:
        """Nothing moves for a while, everything is held and balanced, nobody is still leaving; a breach otherwise."""
        began = self.loop.time()
        quiet_since, moves = None, self.judge.moves
        why: str | None = "it has not begun"
        while self.loop.time() < began + within_seconds and not self.judge.violations:
            await asyncio.sleep(0.5)
            why = self.judge.unrest(self.workers) or self._still_leaving()
            if why is not None:
                quiet_since = None
            elif quiet_since is None or self.judge.moves != moves:
                quiet_since, moves = self.loop.time(), self.judge.moves
            elif self.loop.time() >= quiet_since + 6.0:
                return
        if not self.judge.violations:
            self.judge.breach(f"not at rest {within_seconds:.0f} s after the last change: {why or 'leases move'}")

    def _still_leaving(self) -> str | None:
        if self.judge.is_full(self.workers):
            return None  # a row that names a draining worker may have nowhere to go: that is for its deadline
        return next(
            (f"{each.name} still drains" for each in self.workers if each.state in ("draining", "drained")), None
        )

    async def _end_every_shard(self) -> None:
        """Shards end by the dozen, and in the end only the last of each lineage are left, owned and balanced."""
        self.judge.note("every shard ends")
        self._ends_now = True
        # What was not checkpointed before its owner died comes again, record by record, before the shard can end.
        within_seconds = 60.0 + 0.6 * max(self.judge.ledger.done(key) for key in self.keys)
        until = self.loop.time() + within_seconds
        while (left := self._unended()) and not self.judge.violations:
            if self.loop.time() >= until:
                self.judge.breach(f"after {within_seconds:.0f} s of ends these shards are left: {left}")
            await asyncio.sleep(0.5)
        await self._rest(self.draw.failover + 30.0)

    def _unended(self) -> list[str]:
        rows = {lease.key: lease for lease in self.table.rows().leases}
        open_ones = [key for key, lease in rows.items() if not lease.is_finished and not is_last(key)]
        return open_ones + [f"{key}ma" for key in self.keys if f"{key}ma" not in rows]


def run_seed(seed: int, draw: LeaseDraw | None = None) -> Report:
    """Run one seed, or another ``draw`` with its chance, to its end or first violation."""
    world = LeaseWorld(seed, draw or drawn(seed))
    return report_of(world, world.play(world.run()) or 0.0)


def report_of(world: LeaseWorld, settled_after_seconds: float) -> Report:
    """What came of a world that has been played."""
    judge = world.judge
    return Report(
        world.seed,
        world.draw,
        tuple(judge.violations),
        tuple(judge.last_steps),
        judge.digest,
        judge.tenures,
        judge.ledger.returned,
        settled_after_seconds,
        judge.longest_gap,
    )
