"""What must hold in a fleet of Python and Java workers; a breach is a sentence.

Of a Java worker only what the KCL itself guarantees is asked: its belief in a lease may outlast the lease. What is
asked is that Python never makes it worse: that it touches nobody's live lease, plans only where it may, and writes no
row that a KCL can't use.

One thing a KCL does to two workers of ours at once that neither can see: where a late scan shows its leader an old
counter, it ends a hand-off under way from one to the other by the same row that the old owner's own finish would leave.
Until the old owner's trust runs out, within F, both may process that lease, and no breach is made of these two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from consumer.hooks import Fact, ModeChanged, TenureEnded
from lease_store.lease import Lease
from lease_store.writes import Write
from tests.simulation.kcl.process import KclProcess
from tests.simulation.kcl.rows import Item, complaint_of, entity_of, is_lease
from tests.simulation.leases.ledger import Ledger
from tests.simulation.mixed.draw import MixedDraw
from tests.simulation.store import SimTable
from tests.simulation.trace import Trace, shown

__all__ = ["MixedJudge"]

_SAME_COUNTER: Final = frozenset({"start_hand_off", "set_children", "set_hash_range", "mark_rules", "announce"})
_PLANS: Final = frozenset({"start_hand_off", "assign"})
_LOCK_VERBS: Final = frozenset({"acquire_lock", "heartbeat_lock", "release_lock"})


class _Orphan(NamedTuple):
    """A lease whose owner died ``at`` a time; ``due``: by when it must be somebody's (None: nothing is promised)."""

    at: float
    due: float | None


class MixedJudge(Trace):
    """Collects violations. ``records_in`` tells how long a shard is."""

    def __init__(self, draw: MixedDraw, records_in: Callable[[str], int | None]) -> None:
        super().__init__()
        self.table = SimTable(self.written, note=self.note, sending=self.sending, putting=self.put)
        # A 2.x worker robs in the middle of a batch: there only losses and the order are judged.
        self.ledger = Ledger(
            self.table.lease, self.breach, lambda: draw.is_wild or draw.protocol == "2x", self.is_cut_short
        )
        self.calm_since: float | None = 0.0 if draw.faults == "none" else None
        self.orphans: dict[str, _Orphan] = {}
        self.tenures = self.moves = self.repeats = 0
        self.longest_gap = 0.0
        self.takeovers: list[tuple[float, str, str]] = []
        self.marked_at: float | None = None
        self.first_record_at: dict[tuple[str, str], float] = {}
        self.hand_off_began = asyncio.Event()
        self.modes: dict[str, str] = {}
        self._draw = draw
        self._records_in = records_in
        self._workers: dict[str, Any] = {}
        self._moved_at: dict[str, float] = {}
        self._given: dict[str, tuple[str, str | None]] = {}
        self._pending_since: dict[str, float] = {}
        self._cut_short: dict[str, tuple[str, float]] = {}
        self._lock_moved_at = self._acquired_at = 0.0
        self._lock: tuple[str | None, float] = (None, 0.0)
        self._open: dict[str, list[tuple[Any, Any]]] = {}
        self._contested: set[str] = set()

    def knows(self, worker: Any) -> None:
        """A worker that is judged from now on."""
        self._workers[worker.name] = worker

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def is_calm(self) -> bool:
        """Whether nothing but deaths has gone wrong."""
        return self.calm_since == 0.0 and not self._draw.is_wild

    def is_java(self, worker: str | None) -> bool:
        return isinstance(self._workers.get(worker or ""), KclProcess)

    @property
    def lock_left_seconds(self) -> float:
        """For how long the leader's lock lasts, if it is not heartbeaten again."""
        return max(0.0, self._lock_moved_at + self._lock[1] - self._now)

    @property
    def is_anything_pending(self) -> bool:
        """Whether a hand-off is under way."""
        return bool(self._pending_since)

    # -- the table

    def sending(self, worker: str, write: Write) -> None:
        """Before each write."""
        if self.is_java(worker):
            return
        if self._draw.protocol == "3x" and self._is_led(since_seconds=self._notice_seconds()):
            self._check_planner(worker, write)

    def _notice_seconds(self) -> float:
        """Within how long of a first 3.x row every Python worker must work by it: a scan period and a scan."""
        network = self._draw.network
        return 2.5 + network.stale_seconds + (0.0 if self.is_calm() else 15.0 + 2 * network.late_seconds)

    def _is_led(self, *, since_seconds: float) -> bool:
        return self.marked_at is not None and self._now >= self.marked_at + since_seconds

    def _check_planner(self, worker: str, write: Write) -> None:
        """In a fleet with a leader only the leader plans, and an owner that leaves hands over what is its own.

        It offers what it trusts to be its own, too, where a Java leader has just taken that away: to be refused.
        """
        row, lock = self.table.lease(write.key), self.table.lock_item()
        holder = None if lock is None else lock["ownerName"]["S"]
        mine = any(each.name == worker and each.trusts(tenure) for each, tenure in self._open.get(write.key, ()))
        owners = (row.actual_owner, row.owner) if row else ()
        if write.verb in _PLANS and not mine and worker not in (holder, *owners):
            self.breach(f"{worker} plans ({write.verb} of {write.key}), while {holder} leads")

    def _check_take(self, worker: str, key: str) -> None:
        """A lease is taken by others than the leader only where there is none."""
        holder = self._lock[0]
        led = self._draw.protocol == "3x" and self._is_led(since_seconds=self._notice_seconds())
        led = led and self._now >= self._acquired_at + self._notice_seconds()
        if led and holder not in (None, worker) and not self._may_take(key, holder):
            self.breach(f"{worker} takes {key}, while {holder} leads")

    def _may_take(self, key: str, holder: str | None) -> bool:
        """Where the lock is somebody's: what stood still for 3 F, under a leader that shows no life either.

        In a fleet where calls are lost a leader may live and show none.
        """
        idle = self._now - self._moved_at.get(key, 0.0)
        leader = self._workers.get(holder or "")
        lives = leader is not None and leader.is_up and not leader.is_troubled
        return idle >= 0.99 * 3 * self._draw.failover and not (lives and self.is_calm())

    def put(self, worker: str, item: Item) -> None:
        """A Python worker put its own row."""
        self._check_row(worker, item)

    def written(self, worker: str, write: Write, before: Lease | None, after: Lease | None) -> None:
        """After each write that was applied."""
        item = self.table.item(write.key, write.place)
        if write.verb in _LOCK_VERBS:
            self._follow_lock(worker, write, item)
        if item is not None and write.place == "leases":
            self._check_row(worker, item)
        elif write.place == "coordinator" and self.marked_at is None:
            self.marked_at = self._now
            self.note("the coordinator's table has a 3.x row")
        if after is None:
            return
        self.note(f"{worker} {write.verb} {write.key} -> {shown(after)}")
        if before is not None and before.created_at == after.created_at:
            self._check_step(worker, write, before, after)
            self._note_cut_short(worker, write, before, after)
        if before is None or after.checkpoint != before.checkpoint:
            self.ledger.stored(worker, after, self._records_in(after.key))
            self._check_children(after)
        if after.checkpoint_owner is None:
            self._pending_since.pop(write.key, None)
        elif before is None or before.checkpoint_owner is None:
            self._pending_since[write.key] = self._now
            self.hand_off_began.set()
        if before is None or after.counter != before.counter:
            self._moved_at[write.key] = self._now
            self._given.pop(write.key, None)
        if write.verb == "assign":
            self._given[write.key] = (worker, after.owner)

    def _check_row(self, worker: str, item: Item) -> None:
        if entity_of(item) in ("LEADER", "CLIENT_VERSION_MIGRATION") and self.marked_at is None:
            self.marked_at = self._now
            self.note("the table has a 3.x row")
        if self.is_java(worker):
            if self.marked_at is None and not is_lease(item):
                self.marked_at = self._now
            return
        complaint = complaint_of(item)
        if complaint is not None:
            self.breach(f"{worker} wrote a row that no KCL can use: {complaint}")
        if self._draw.times.legacy and not is_lease(item) and self.marked_at is not None:
            noticed = self._now >= self.marked_at + self._notice_seconds()
            if noticed:
                self.breach(f"{worker} wrote {item['leaseKey']['S']} into the lease table of a fleet with three tables")
        if self._draw.protocol == "2x" and not is_lease(item):
            self.breach(f"{worker} wrote {item['leaseKey']['S']}, which is no lease, into a 2.x fleet's table")

    def _follow_lock(self, worker: str, write: Write, item: Item | None) -> None:
        self.note(f"{worker} {write.verb}")
        holder, seconds = self._lock
        if write.verb == "acquire_lock" and holder not in (None, worker) and not self._draw.is_wild:
            idle = self._now - self._lock_moved_at
            if idle < 0.99 * seconds:
                self.breach(f"{worker} takes the leader's lock {idle:.2f} s after it had moved, of {seconds:g} s")
        self._lock_moved_at = self._now
        if write.verb == "acquire_lock":
            self._acquired_at = self._now
        self._lock = (None, 0.0) if item is None else (item["ownerName"]["S"], int(item["leaseDuration"]["S"]) / 1000)

    def _check_step(self, worker: str, write: Write, before: Lease, after: Lease) -> None:
        """From one state of a row to the next."""
        key, verb = write.key, write.verb
        step = 0 if verb in _SAME_COUNTER else 1
        if after.counter != before.counter + step:
            self.breach(f"{verb} of {key} moved the counter from {before.counter} to {after.counter}")
        if after.checkpoint < before.checkpoint and (self.is_calm() or not self.is_java(worker)):
            # A KCL that has read the checkpoint late stores what it read again, and so goes back.
            self.breach(f"the checkpoint of {key} went back from {before.checkpoint} to {after.checkpoint}")
        if verb in ("finish_hand_off", "release") or (verb == "assign" and before.checkpoint_owner == worker):
            self._check_let_go(worker, after)
        if self.is_java(worker):
            return
        if before.is_finished and verb != "announce":
            self.breach(f"{verb} of {key} after its SHARD_END")
        if verb == "renew" and after.is_pending and after.checkpoint_owner == worker and self.is_calm():
            self._check_heard(worker, key)
        if verb == "take":
            self._check_take(worker, key)
        owner = before.actual_owner
        if step and owner not in (None, worker) and not self._draw.is_wild:
            self._check_idle(worker, write, before)

    def _note_cut_short(self, worker: str, write: Write, before: Lease, after: Lease) -> None:
        """A Java leader ends another's hand-off to the one that was to be next: only so it looks like a finish."""
        owner = before.checkpoint_owner
        is_ended_by_another = write.verb == "assign" and owner not in (None, worker) and self.is_java(worker)
        if is_ended_by_another and owner is not None and after.owner == before.owner:
            self._cut_short[write.key] = (owner, self._now + 1.01 * self._draw.failover)

    def is_cut_short(self, worker: str, key: str) -> bool:
        """Whether this worker may still trust a lease that a Java leader has given on in the midst of its hand-off."""
        owner, until = self._cut_short.get(key, (None, 0.0))
        return owner == worker and self._now < until

    def _check_let_go(self, worker: str, row: Lease) -> None:
        """Who lets go of a lease in good order has stored all that it did, so that nothing comes again."""
        stored = int(row.checkpoint.sequence_number) if row.checkpoint.is_number else 0
        done = self.ledger.done_by(worker, row.key)
        if self.is_calm() and self._draw.protocol == "3x" and not row.is_finished and stored < done:
            self.breach(f"{worker} lets go of {row.key} at {stored}, with {done} records done")

    def _check_heard(self, worker: str, key: str) -> None:
        """A hand-off is heard of by the next renewal, and the lease let go once the batch has ended."""
        pending = self._now - self._pending_since.get(key, self._now)
        if self._draw.protocol == "3x" and pending > self._draw.failover / 3 + 4.0 + self._draw.work.long_seconds:
            self.breach(f"{worker} renews {key} {pending:.1f} s after its hand-off began")

    def _check_idle(self, worker: str, write: Write, before: Lease) -> None:
        """A live owner's lease is left to it, but where a 2.x fleet robs, or a hand-off has been overdue for long."""
        owner, key = before.actual_owner, write.key
        if self._given.get(key) == (worker, owner) and not self.is_java(owner):
            return  # its own gift, which was never taken up: nobody has a tenure in it
        idle = self._now - self._moved_at.get(key, 0.0)
        pending = self._now - self._pending_since.get(key, self._now)
        overdue = write.verb == "assign" and pending >= 0.99 * (30.0 + self._draw.failover)
        robbed = self._draw.protocol == "2x" and write.verb == "take"
        if idle < 0.99 * self._draw.failover and not overdue and not robbed:
            self.breach(f"{write.verb} by {worker} of {key} from {owner} {idle:.2f} s after it had moved")

    def _check_children(self, row: Lease) -> None:
        for child in row.children if row.is_finished else ():
            if self.table.get(child) is None:
                self.breach(f"{row.key} ended before the row of {child} existed")

    # -- tenures

    def began(self, worker: Any, held: Any) -> None:
        """A worker begins to hold a lease."""
        key, now = held.key, self._now
        self.note(f"{worker.name} BEGINS {key}")
        self.tenures += 1
        row = self.table.lease(key)
        trusting = [other for other, tenure in self._open.get(key, ()) if other.trusts(tenure)]
        idle = now - self._moved_at.get(key, 0.0)
        if self.is_java(worker) and trusting and row is not None and idle > 0.5 * self._draw.failover:
            self.breach(f"{worker.name} begins {key}, while {trusting[0].name} trusts its lease, too")
        alive = [(each, tenure) for each, tenure in self._open.get(key, ()) if tenure.over is None and each.is_up]
        self._open[key] = [*alive, (worker, held)]
        (self._contested.add if len(self._open[key]) > 1 else self._contested.discard)(key)
        orphan = self.orphans.pop(key, None)
        if orphan is not None:
            self.takeovers.append((now - orphan.at, key, worker.name))
            if orphan.due is not None and now > orphan.due:
                self.breach(f"{key} was taken over {now - orphan.at:.2f} s after its owner's death")

    def step(self) -> None:
        """After every callback of the loop: at most one Python worker trusts a tenure of one lease."""
        if self.closed or self._draw.is_wild:
            return
        for key in sorted(self._contested):
            trusting = [worker.name for worker, held in self._open[key] if worker.is_up and worker.trusts(held)]
            if len([name for name in trusting if not self.is_cut_short(name, key)]) > 1:
                self.breach(f"{' and '.join(trusting)} trust {key} at once")
                return

    def fact(self, worker: Any, fact: Fact) -> None:
        """What a hook of a Python worker hears."""
        if isinstance(fact, TenureEnded):
            self.note(f"{worker.name} ENDS {fact.shard_id}: {fact.reason}")
        elif isinstance(fact, ModeChanged):
            self.note(f"{worker.name} works in mode {fact.mode}, since {fact.because}")
            self.modes[worker.name] = fact.mode

    # -- user code

    def slice_began(self, worker: Any, held: Any, record: int) -> None:
        self.first_record_at.setdefault((worker.name, held.key), self._now)
        self.repeats += record <= self.ledger.done(held.key)
        self.ledger.began(worker, held, record)

    def slice_ended(self, worker: Any, held: Any, record: int, *, returned: bool) -> None:
        self.ledger.ended(worker, held, record, returned=returned)

    def failed(self, worker: Any, what: str) -> None:
        self.breach(f"{worker.name}: {what}")

    def died(self, worker: Any) -> None:
        """A worker is gone without a word."""
        self.ledger.died(worker)
        for key in sorted(worker.held_keys):
            row = self.table.lease(key)
            if row is not None and not row.is_finished:
                self.orphans[key] = _Orphan(self._now, None)

    def left(self, worker: Any) -> None:
        """A worker is gone in good order; a Java one leaves its leases where they are, to expire."""
        self.note(f"{worker.name} is gone")
        worker.ended_at = self._now
        for row in self.table.rows().leases if self.is_java(worker) else ():
            if row.actual_owner == worker.name and not row.is_finished:
                self.orphans[row.key] = _Orphan(self._now, None)

    def due_anew(self, within_seconds: float | None) -> None:
        """Somebody came or went: what is nobody's now is due by then."""
        due = None if within_seconds is None else self._now + within_seconds
        self.orphans = {key: each._replace(due=due) for key, each in self.orphans.items()}

    # -- at rest

    def unrest(self, workers: Iterable[Any]) -> str | None:
        """Why not every unfinished lease is held by its live owner; None where it is."""
        held = {worker.name: worker.held_keys for worker in workers if worker.is_up and not worker.frozen}
        rows = self.table.rows().leases
        if not rows:
            return "there are no rows"
        is_2x = self._draw.protocol == "2x"  # there a checkpoint owner is what was left behind
        for lease in rows:
            if lease.is_finished:
                continue
            if (lease.is_pending and not is_2x) or lease.owner not in held or lease.key not in held[lease.owner]:
                return f"{lease.key} is held by no live worker: {shown(lease)}"
        # A KCL 2.x counts ended rows among its leases for as long as they lie there.
        return self._imbalance(rows, held) if is_2x and not any(lease.is_finished for lease in rows) else None

    def _imbalance(self, rows: Iterable[Lease], held: Mapping[str, Collection[str]]) -> str | None:
        """By count, which a 2.x fleet goes by; a KCL's leader goes by load, and is content with less."""
        open_keys = {row.key for row in rows if not row.is_finished}
        load = {worker: len(open_keys & set(keys)) for worker, keys in held.items()}
        return f"unbalanced: {load}" if max(load.values()) - min(load.values()) > 1 else None

    def is_full(self, workers: Iterable[Any]) -> bool:
        return False
