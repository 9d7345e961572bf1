"""What must hold in the lease world after every step and every write; a breach is a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from consumer.hooks import Fact, HandOffTakenBack, LeaseTaken, TenureEnded
from consumer.leasing.held_lease import HeldLease
from lease_store.lease import Lease
from lease_store.verbs import ActualOwner, Write
from tests.simulation.leases.process import SimWorker
from tests.simulation.store import SimTable
from tests.simulation.trace import Trace, shown

__all__ = ["Judge"]


class Judge(Trace):
    """Collects violations. ``is_calm``: nothing was ever allowed to go wrong, so that the promised times hold."""

    def __init__(self, is_calm: Callable[[], bool]) -> None:
        super().__init__()
        self.table = SimTable(self.written)
        self.moves = 0
        self.last_move_at = 0.0
        self._started: dict[str, tuple[float, str | None]] = {}
        self.tenures = 0
        self.longest_gap = 0.0
        self._is_calm = is_calm
        self._open: dict[str, list[tuple[SimWorker, HeldLease]]] = {}
        self._contested: set[str] = set()
        self._named: set[str] = set()
        self._slices: dict[str, dict[HeldLease, tuple[SimWorker, float]]] = {}
        self._let_go_at: dict[str, tuple[float, str | None, bool]] = {}
        self.orphaned_at: dict[str, tuple[float, float, list[SimWorker]]] = {}

    # -- the table
    def written(self, worker: str, write: Write, before: Lease | None, after: Lease | None) -> None:
        """After each write that was applied."""
        self.note(f"{worker} {write.verb} {write.key} -> {shown(after)}")
        if after is None or write.verb == "delete_worker":
            return
        if before is not None and before.created_at == after.created_at:
            step = 0 if write.verb == "start_hand_off" else 1
            if after.counter != before.counter + step:
                self.breach(f"{write.verb} of {write.key} moved the counter from {before.counter} to {after.counter}")
            if after.checkpoint < before.checkpoint:
                self.breach(f"the checkpoint of {write.key} went back from {before.checkpoint} to {after.checkpoint}")
            if any(isinstance(each, ActualOwner) for each in write.expects) and before.actual_owner != worker:
                self.breach(f"{write.verb} of {write.key} by {worker} was accepted under {before.actual_owner}")
            if before.is_finished:
                self.breach(f"{write.verb} of {write.key} after its SHARD_END")
        if write.verb == "end_shard":
            self.orphaned_at.pop(write.key, None)
            for child in after.children:
                if self.table.get(child) is None:
                    self.breach(f"{write.key} ended before the row of {child} existed")
        now = asyncio.get_running_loop().time()
        if write.verb in ("finish_hand_off", "release"):
            started_at, starter = self._started.pop(write.key, (now, None))
            # A receiver that did not ask, and that the owner could not wait for, learns of it by its next scan.
            promised = starter == after.owner or now - started_at > 1.1
            self._let_go_at[write.key] = (now, after.owner, promised)
        if write.verb in ("finish_hand_off", "take", "release"):
            self.moves += 1
            self.last_move_at = now
        if write.verb == "take" and before is not None:
            self._inherited(write.key)
            (self._named.add if before.owner == worker else self._named.discard)(write.key)
        if write.verb == "start_hand_off":
            self._started[write.key] = (now, worker)

    # -- tenures
    def began(self, worker: SimWorker, held: HeldLease) -> None:
        key, now = held.key, asyncio.get_running_loop().time()
        self.note(f"{worker.name} BEGINS {key} at counter {held.fencing_token}")
        self.tenures += 1
        row = self.table.lease(key)
        if row is None:
            self.breach(f"a tenure of {key} without a row")
        elif row.actual_owner == worker.name and row.checkpoint != held.first_lease.checkpoint:
            self.breach(f"{worker.name} starts {key} at {held.first_lease.checkpoint}, stored is {row.checkpoint}")
        if held in self._slices.get(key, {}) or any(w is worker for w, _ in self._slices.get(key, {}).values()):
            self.breach(f"{worker.name} begins {key} while its user code of an ended tenure still runs")
        self._open.setdefault(key, []).append((worker, held))
        self._contest(key)
        let_go_at, to, promised = self._let_go_at.pop(key, (now, None, False))
        if self._is_calm() and to is not None and promised:
            self.longest_gap = max(self.longest_gap, now - let_go_at)
            if now - let_go_at > 0.5 and to == worker.name:
                self.breach(f"{key} was silent for {now - let_go_at:.2f} s at its hand-off to {worker.name}")
        self._inherited(key)

    def _inherited(self, key: str) -> None:
        """A dead worker's lease has a new owner."""
        now = asyncio.get_running_loop().time()
        crashed_at, due, heirs = self.orphaned_at.pop(key, (now, now, []))
        if now > due and any(heir.state == "running" for heir in heirs):
            self.breach(f"{key} was taken over {now - crashed_at:.2f} s after its owner's death")

    def _contest(self, key: str) -> None:
        alive = [(worker, held) for worker, held in self._open.get(key, []) if held.over is None and worker.is_up]
        self._open[key] = alive
        (self._contested.add if len(alive) > 1 else self._contested.discard)(key)

    def step(self) -> None:
        """After every callback of the loop."""
        if self.closed:
            return
        for key in sorted(self._contested):
            trusting = [
                worker.name
                for worker, held in self._open[key]
                if worker.is_up and held.over is None and worker.clock.monotonic() < held.trusted_until
            ]
            if len(trusting) > 1:
                self.breach(f"{' and '.join(trusting)} trust {key} at once")
                self._contested.discard(key)
                return

    def fact(self, worker: SimWorker, fact: Fact) -> None:
        if isinstance(fact, LeaseTaken):
            # What two peers hand over at once may exceed a limit by as much; what it takes itself never does.
            limit, held = worker.settings.max_leases, len(worker.loop.leases.held)
            coming = fact.how == "accepted" or fact.shard_id in self._named
            if limit is not None and not coming and held > limit:
                self.breach(f"{worker.name} {fact.how} {fact.shard_id} and holds {held} leases, more than {limit}")
        elif isinstance(fact, TenureEnded):
            self.note(f"{worker.name} ENDS {fact.shard_id}: {fact.reason}")
            self._contest(fact.shard_id)
        elif isinstance(fact, HandOffTakenBack):
            self.note(f"{worker.name} took {fact.shard_id} back from {fact.next_owner}: {fact.reason}")

    # -- user code
    def slice_began(self, worker: SimWorker, held: HeldLease) -> None:
        key = held.key
        for parent in held.first_lease.parents:
            row = self.table.lease(parent)
            if row is not None and not row.is_finished:
                self.breach(f"{key} starts in {worker.name} before {parent} ended")
        for other, since in self._slices.get(key, {}).values():
            margin = other.loop.leases.timing.margin_seconds - 0.01 * other.settings.failover_seconds
            if other.is_up and other.clock.monotonic() - since <= margin:
                self.breach(f"a short slice of {key} in {other.name} overlaps with one in {worker.name}")
        self._slices.setdefault(key, {})[held] = (worker, worker.clock.monotonic())

    def slice_ended(self, worker: SimWorker, held: HeldLease) -> None:
        self._slices.get(held.key, {}).pop(held, None)

    def failed(self, worker: SimWorker, what: str) -> None:
        self.breach(f"{worker.name}: {what}")

    def died(self, worker: SimWorker, heirs: list[SimWorker], takeover_seconds: float) -> None:
        """A worker is gone for good; its leases are due at ``heirs`` by then, unless these go, too."""
        now = asyncio.get_running_loop().time()
        for slices in self._slices.values():
            for held in [held for held, (who, _) in slices.items() if who is worker]:
                del slices[held]
        for key in sorted(worker.loop.leases.held):
            self._contest(key)
            self.orphaned_at[key] = (now, now + takeover_seconds, heirs)

    # -- at rest
    def is_full(self, workers: Iterable[SimWorker]) -> bool:
        """Whether no running worker may own one lease more."""
        live = [worker for worker in workers if worker.state == "running"]
        return all(
            (most := worker.settings.max_leases) is not None and len(worker.loop.leases.held) >= most for worker in live
        )

    def unrest(self, workers: Iterable[SimWorker]) -> str | None:
        """Why the fleet is not at rest: every unfinished lease held by a live worker, balanced within one."""
        live = [worker for worker in workers if worker.state == "running"]
        load = {worker.name: len(worker.loop.leases.held) for worker in live}
        rows = [lease for lease in self.table.rows().leases if not lease.is_finished]
        if self.is_full(live):
            return None  # what is left waits for another worker
        for lease in rows:
            if lease.is_pending or lease.owner not in load:
                return f"{lease.key} is {shown(lease)}"
            held = next(w for w in live if w.name == lease.owner).loop.leases.held.get(lease.key)
            if held is None:
                return f"{lease.key} names {lease.owner}, which does not hold it"
        limits = {worker.name: worker.settings.max_leases for worker in live}
        open_to_more = [count for name, count in load.items() if limits[name] is None or count < (limits[name] or 0)]
        if open_to_more and max(load.values()) - min(open_to_more) > 1:
            return f"unbalanced: {load}"
        return None
