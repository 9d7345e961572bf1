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

from lease_store.lease import Lease
from tests.simulation.kcl.process import KclProcess
from tests.simulation.kcl.rows import is_lease
from tests.simulation.kcl.worker_2x import Worker2x
from tests.simulation.kcl.worker_3x import Worker3x
from tests.simulation.leases.process import SimWorker
from tests.simulation.leases.world import LeaseWorld
from tests.simulation.loop import SimClock
from tests.simulation.mixed.draw import MixedDraw
from tests.simulation.mixed.judge import MixedJudge

__all__ = ["MixedWorld"]

_KCL_TYPES: Final = {"3x": Worker3x, "2x": Worker2x}


class MixedWorld(LeaseWorld):
    """One seed's world of Python and Java workers."""

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
        """Into an empty table a Python worker's shard sync puts every shard; into another, what is missing: nothing."""
        return super().rows() if not self.table.rows().leases else ()

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

    def leader(self) -> Any:
        """The worker that the lock row names; None where there is no row, or it is not up."""
        row = self.table.get("Leader")
        name = None if row is None else row["ownerName"]["S"]
        return next((worker for worker in self.workers if worker.name == name and worker.is_up), None)

    def crash(self, worker: Any) -> None:
        self.judge.note(f"{worker.name} is killed")
        worker.state = "dead"
        self.loop.freeze(worker.name)
        self.loop.freeze(worker.code)
        self.judge.died(worker, self.due_seconds(worker))

    def due_seconds(self, dead: Any) -> float | None:
        """Within how long the leases of one that has died now must be held elsewhere; None where that is not said."""
        return None

    async def until_leases(self, within_seconds: float) -> None:
        """Wait until every shard has its row, or so long."""
        until = self.loop.time() + within_seconds
        while self.loop.time() < until:
            found = sum(is_lease(item) for item in self.table.items_as_of(lambda: 0.0))
            if found >= len(self.keys):
                return
            await asyncio.sleep(0.5)
