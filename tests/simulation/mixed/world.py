"""A mixed fleet under drawn faults: ``python -m tests.simulation --world mixed --seed 7``.

Java models (``tests/simulation/kcl``) and the real Python leasing on one table; then all faults stop, and every lease
must have a live owner again, in the end every shard read to its last record.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from consumer.config import InitialPosition
from consumer.leasing.adopted import AdoptedLeases
from consumer.leasing.lease_loop import LeaseSettings
from lease_store.lease import Lease
from lease_store.store import LeaseStore
from tests.simulation.kcl.process import KclProcess
from tests.simulation.kcl.worker_2x import Worker2x
from tests.simulation.kcl.worker_3x import Worker3x
from tests.simulation.leases.draw import CALM_WORK
from tests.simulation.leases.process import SimWorker
from tests.simulation.leases.shards import STREAM
from tests.simulation.leases.world import LeaseWorld, Report, report_of
from tests.simulation.loop import SimClock
from tests.simulation.mixed.draw import MixedDraw, drawn
from tests.simulation.mixed.judge import MixedJudge
from tests.simulation.network import Calm

__all__ = ["MixedWorld", "run_mixed_seed"]

_KCL_TYPES: Final = {"3x": Worker3x, "2x": Worker2x}
_MOST_WORKERS: Final = 6
_HAND_OFF_SECONDS: Final = 30.0
_STALE_REPORT_SECONDS: Final = 60.0
_KCL_HEARS_SECONDS: Final = 30.0


class PythonWorker(SimWorker):
    """A Python worker, with the product's wrapper by which a KCL's rows are rows of its stream.

    Its records weigh what makes about a KB a second of a shard, which is what the models say theirs give.
    """

    record_bytes = 300

    def leasing_store(self) -> LeaseStore:
        return AdoptedLeases(self.store, STREAM, InitialPosition.parse("TRIM_HORIZON"), self.clock.wall)


class MixedWorld(LeaseWorld):
    """One seed's world of Python and Java workers."""

    worker_type = PythonWorker
    draw: MixedDraw
    judge: MixedJudge
    judge_type: Callable[..., Any] = MixedJudge

    # -- what workers find

    @property
    def is_faultless(self) -> bool:
        """Whether nothing ever goes wrong in it but deaths."""
        return self.draw.faults == "none"

    def shards(self) -> tuple[str, ...]:
        """The shards with which the stream began."""
        return self.keys

    def throughput_of(self, key: str) -> float:
        """KB a second that a shard gives; a split halves it."""
        return random.Random(f"{self.seed}:{key[:2]}:load").uniform(0.8, 1.2)

    def rows(self) -> tuple[Lease, ...]:
        """As shard sync makes them: every shard of the beginning without a row, and without one of its lineage."""
        known = [row.key for row in self.table.rows().leases]
        return tuple(row for row in super().rows() if not any(key.startswith(row.key) for key in known))

    def settings_of(self, worker_id: str) -> LeaseSettings:
        """With a boot nonce as long as the product's, by which a worker of ours is known in a 2.x fleet."""
        host, boot = worker_id.rsplit("-", 1)
        settings = super().settings_of(f"{host}-{int(boot):010x}")
        return replace(settings, coordination=self.draw.coordination)

    # -- workers

    def add_java(self, host: str | None = None) -> KclProcess:
        """A Java process starts: on a host of its own, or again on one."""
        host = host or f"j{1 + len({each.host for each in self.workers if isinstance(each, KclProcess)})}"
        boot = 1 + sum(worker.host == host for worker in self.workers)
        settings = replace(self.draw.times, worker_id=f"{host}-{boot}")
        draws = random.Random(f"{self.seed}:{settings.worker_id}")
        worker = _KCL_TYPES[self.draw.protocol](host, settings, self, clock=self._clock(), draw=draws)
        self.workers.append(worker)
        self.judge.knows(worker)
        self.judge.note(f"{worker.name} starts")
        worker.start()
        return worker

    def _clock(self) -> SimClock:
        drift, chance = self.draw.drift, self.chance
        skew = chance.uniform(-self.draw.skew, self.draw.skew)
        return SimClock(skew_seconds=skew, rate=chance.uniform(1.0 - drift, 1.0 + drift))

    def java(self) -> list[KclProcess]:
        """Java workers that are up."""
        return [worker for worker in self.workers if isinstance(worker, KclProcess) and worker.is_up]

    def python(self) -> list[SimWorker]:
        """Python workers that are up."""
        return [worker for worker in self.workers if isinstance(worker, SimWorker) and worker.is_up]

    def kcl_is_in_sight(self) -> bool:
        """Whether a Java worker is up, or ended so lately that its last report passes for a sign of life."""
        now = self.loop.time()
        ended = [each.ended_at for each in self.workers if isinstance(each, KclProcess)]
        return any(at is None or now < at + _STALE_REPORT_SECONDS + 10.0 for at in ended)

    def leader(self) -> Any:
        """The worker that the lock row names; None where there is no row, or it is not up."""
        row = self.table.lock_item()
        name = None if row is None else row["ownerName"]["S"]
        return next((worker for worker in self.workers if worker.name == name and worker.is_up), None)

    def crash(self, worker: Any) -> None:
        self.judge.note(f"{worker.name} is killed")
        worker.state = "dead"
        self.loop.freeze(worker.name)
        self.loop.freeze(worker.code)
        worker.ended_at = self.loop.time()
        self.judge.died(worker)
        self.judge.due_anew(self.due_seconds())

    def drain(self, worker: Any, timeout_seconds: float | None = None) -> None:
        super().drain(worker, timeout_seconds)
        self.judge.due_anew(self.due_seconds())  # what it had seen stand still goes with it

    def due_seconds(self) -> float | None:
        """Within how long of a death now the dead one's leases are to be held elsewhere; None: it is not said.

        Where a KCL leads, it is the KCL's own time, with a minute in which it may choose the dead one itself.
        """
        draw, times, failover = self.draw, self.draw.times, 1.01 * self.draw.failover
        staying = self.running()
        python = [worker for worker in staying if isinstance(worker, SimWorker)]
        if not self.judge.is_calm() or not staying:
            return None
        if draw.protocol == "2x":
            return failover + 3 * times.taker_seconds + 5.0
        if draw.is_python_alone:
            return failover + 2.0
        leader, reached = self.leader(), times.discovery_seconds + 4.0
        chosen_wrongly = _HAND_OFF_SECONDS + failover + reached
        # A dead worker's report stands in the way for a minute; ours strike out each other's at once, and a KCL's that
        # held a lease.
        struck = python and not any(isinstance(each, KclProcess) and each.ended_at is not None for each in self.workers)
        stale = 2 * failover + times.assignment_seconds if struck else _STALE_REPORT_SECONDS
        by_kcl = failover + stale + 3 * times.assignment_seconds + reached
        if leader is None:
            if python and self.judge.lock_left_seconds > 3 * failover + 5.0:
                # Before anybody may lead.
                return 3 * failover + 3.0 + (_KCL_HEARS_SECONDS if self._is_given_unheard() else 0.0)
            return times.lock_seconds + 3 * times.heartbeat_seconds + by_kcl
        if isinstance(leader, SimWorker):
            return failover + 3.0 + (chosen_wrongly if self.kcl_is_in_sight() else 0.0)
        return by_kcl

    def _is_given_unheard(self) -> bool:
        """Whether what the dead held was given to a KCL that has not taken it up: such a one is waited for."""
        java = {each.name: each for each in self.workers if isinstance(each, KclProcess)}
        owners = {row.key: java.get(row.actual_owner or "") for row in self.table.rows().leases}
        return any((owner := owners.get(key)) is not None and key not in owner.held for key in self.judge.orphans)

    # -- the run

    async def run(self) -> float:
        """All phases; returns how long the fleet took to come to rest after the last stop."""
        draw = self.draw
        starts = {"java": (self.add_java, draw.java), "python": (self.add_worker, draw.python)}
        other = "python" if draw.first == "java" else "java"
        for kind in (draw.first, other):
            start, number = starts[kind]
            for _ in range(number):
                start()
                await asyncio.sleep(draw.stagger)
            await self._until_rows()
            await asyncio.sleep(draw.head)
            if draw.rubbish and kind == draw.first:
                self._leave_rubbish()
        until = self.loop.time() + draw.phase
        while self.loop.time() < until and not self.judge.violations:
            await asyncio.sleep(self.chance.uniform(0.3, 1.5) * draw.pause)
            self._something_happens()
        if draw.safety_only or self.judge.violations:
            return 0.0
        rested = await self._come_to_rest()
        if draw.ends and not self.judge.violations:
            await self._end_every_shard()
        return rested

    def _leave_rubbish(self) -> None:
        for row in self.table.rows().leases:
            item = self.table.get(row.key)
            self.table.put_item({**(item or {}), "checkpointOwner": {"S": "gone-1"}})

    async def _until_rows(self) -> None:
        """Wait until the table has its first leases, or for two minutes."""
        until = self.loop.time() + 120.0
        while self.loop.time() < until:
            if self.table.rows().leases:
                return
            await asyncio.sleep(0.5)

    def _something_happens(self) -> None:
        chance, running = self.chance, self.running()
        what = chance.choice(self.draw.happenings or ("nothing",))
        worker = chance.choice(running) if running else None
        if what == "kill_leader":
            worker = leader if (leader := self.leader()) in running else worker
        if worker is None or len(running) < 2 or (what == "join" and len(running) < _MOST_WORKERS):
            self._join()
            return
        failover = self.draw.failover
        match what:
            case "kill" | "kill_leader":
                self.crash(worker)
            case "drain":
                self.drain(worker)
            case "freeze":
                self.freeze(worker, chance.uniform(0.1, 2.0) * failover)
            case "cut_off" if not worker.cut_off:
                self.cut_off(worker, chance.uniform(0.1, 1.5) * failover)

    def _join(self) -> None:
        kinds = [self.add_java] * bool(self.draw.java) + [self.add_worker] * bool(self.draw.python)
        self.chance.choice(kinds)()

    async def _come_to_rest(self) -> float:
        """No faults any more, nobody comes or goes: in the end every lease is held by who is to hold it."""
        self.network, self._work = replace(Calm(), usual_seconds=0.02), CALM_WORK
        self.judge.note("the faults stop")
        if not self.running():
            self._join()
        began, times = self.loop.time(), self.draw.times
        slowest = times.lock_seconds + 3 * times.heartbeat_seconds + 6 * times.assignment_seconds
        within_seconds = slowest + 2 * (_STALE_REPORT_SECONDS + _HAND_OFF_SECONDS + 3 * self.draw.failover)
        until = began + within_seconds
        quiet_since: float | None = None
        why: str | None = "it has not begun"
        ended = 0
        while self.loop.time() < until and not self.judge.violations:
            await asyncio.sleep(0.5)
            why = self.judge.unrest(self.workers)
            if (ends := sum(row.is_finished for row in self.table.rows().leases)) > ended:
                ended, until = ends, self.loop.time() + within_seconds  # a shard that ends is a change, too
            if why is not None:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = self.loop.time()
            elif self.loop.time() >= quiet_since + 4.0:
                return quiet_since - began
        self.judge.breach(f"not at rest {within_seconds:.0f} s after the last change: {why}")
        return within_seconds

    async def _end_every_shard(self) -> None:
        """Shards end, over two generations, whoever holds them; in the end the last of each lineage are held."""
        self.judge.note("every shard ends")
        self._ends_now = True
        times = self.draw.times
        generation = 2 * times.assignment_seconds + times.discovery_seconds + times.parents_seconds + 20.0
        within_seconds = 60.0 + 4 * generation + max(self.judge.ledger.done(key) for key in self.keys)
        until = self.loop.time() + within_seconds
        while (left := self._unended()) and not self.judge.violations:
            if self.loop.time() >= until:
                self.judge.breach(f"after {within_seconds:.0f} s of ends these shards are left: {left}")
            await asyncio.sleep(1.0)
        if not self.judge.violations:
            await self._come_to_rest()


def run_mixed_seed(seed: int, draw: MixedDraw | None = None) -> Report:
    """Run one seed, or another ``draw`` with its chance, to its end or first violation."""
    world = MixedWorld(seed, draw or drawn(seed))
    return report_of(world, world.play(world.run()) or 0.0)
