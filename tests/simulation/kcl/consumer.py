"""One shard in a KCL worker: it waits for the parents, reads its checkpoint, runs user code, ends or lets go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.kcl import requests
from tests.simulation.kcl.held import JavaHeld
from tests.simulation.kcl.rows import SHARD_END, JavaLease, lease_in
from tests.simulation.kcl.wire import WireError
from tests.simulation.leases.shards import children_of

if TYPE_CHECKING:
    from tests.simulation.kcl.process import KclProcess

__all__ = ["JavaConsumer"]

_STEP_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.5


class JavaConsumer:
    """The consumer of one tenure; the records of a shard are 1, 2, 3 and so on.

    Its processor checkpoints when it is told to shut down, as the KCL's documentation asks of it.
    """

    def __init__(self, worker: KclProcess, held: JavaHeld) -> None:
        self._worker = worker
        self._held = held
        self._done = self._stored = 0

    async def run(self) -> None:
        """Every step of its life takes a turn of the dispatcher; a call that fails is tried again."""
        worker, held = self._worker, self._held
        if held.first_lease.is_finished:
            worker.ended.add(held.key)  # it only waits for the row to be cleaned up
            while held.stop is None:
                await worker.clock.sleep(_STEP_SECONDS)
            await self._let_go()
            return
        for step in (self._parents_ended, self._initialized, self._processed):
            while held.stop is None:
                try:
                    if await step():
                        break
                    continue
                except WireError:
                    await worker.clock.sleep(_RETRY_SECONDS)
            await worker.clock.sleep(worker.draw.uniform(0.2, _STEP_SECONDS))
        await self._let_go()

    async def _parents_ended(self) -> bool:
        for parent in self._held.first_lease.parents:
            item = await self._worker.wire.get(parent)
            if item is not None and not lease_in(item).is_finished:
                await self._worker.clock.sleep(self._worker.settings.parents_seconds)
                return False
        return True

    async def _initialized(self) -> bool:
        item = await self._worker.wire.get(self._held.key)
        if item is None:
            self._worker.drop(self._held, "its row is gone")
            self._held.stop = "lost"
            return False
        self._done = self._stored = lease_in(item).records
        return True

    async def _processed(self) -> bool:
        """One record, or the end of the shard; True once nothing is left to do but to hold the row."""
        worker, key = self._worker, self._held.key
        last = worker.around.records_in(key)
        if last is not None and self._done >= last:
            if not await self._ended():
                await worker.clock.sleep(_RETRY_SECONDS)
                return False
            while self._held.stop is None:
                await worker.clock.sleep(_STEP_SECONDS)
            return True
        await self._slice()
        if worker.draw.random() < worker.around.work().checkpoint:
            await self._checkpoint()
        await worker.clock.sleep(worker.draw.uniform(0.0, 0.3))
        return False

    async def _slice(self) -> None:
        worker, held, record = self._worker, self._held, self._done + 1
        work = worker.around.work()
        longest = work.long_seconds if worker.draw.random() < work.long else work.usual_seconds
        worker.around.witness.slice_began(worker, held, record)
        await worker.clock.sleep(worker.draw.uniform(0.0, longest))
        worker.around.witness.slice_ended(worker, held, record, returned=True)
        self._done = record

    async def _checkpoint(self) -> None:
        if self._done > self._stored and await self._worker.checkpoint(self._held, str(self._done)):
            self._stored = self._done

    async def _ended(self) -> bool:
        """Rows of the children, their names in my row, then SHARD_END; False where that has to be tried again."""
        worker, held = self._worker, self._held
        children = children_of(held.key)
        if not await self._has_its_parents(children[0].parents):
            if worker.draw.random() < 1 / 30:
                worker.drop(held, "a merge whose other parent has no row")
            return False
        for child in children:
            await worker.create(JavaLease(child.key, 0, 0, "TRIM_HORIZON", parents=child.parents))
        await worker.wire.send(requests.set_children(held.key, [child.key for child in children]))
        item = await worker.wire.get(held.key)
        if item is None:
            worker.drop(held, "its row is gone")
            return False
        if not lease_in(item).is_finished and not await worker.checkpoint(held, SHARD_END):
            return False
        self._stored = self._done
        worker.ended.add(held.key)
        return True

    async def _has_its_parents(self, parents: tuple[str, ...]) -> bool:
        """Of a merge both parents' rows are there, or neither."""
        there = [await self._worker.wire.get(parent) is not None for parent in parents]
        return all(there) or not any(there)

    async def _let_go(self) -> None:
        """Asked to, or since the lease is lost."""
        worker, held = self._worker, self._held
        try:
            if held.stop in ("hand_off", "shutdown") and held.over is None:
                await self._checkpoint()
            if held.stop == "hand_off" or held.is_pending:
                await worker.transfer(held)
        except WireError as error:
            worker.around.witness.note(f"{worker.name}: {error}")
        worker.drop(held, "let go")
