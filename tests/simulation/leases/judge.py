"""What must hold in the lease world after every step and every write; a breach is a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from consumer.hooks import Fact, HandOffTakenBack, LeaseRenewed, LeaseTaken, TenureEnded
from consumer.leasing.held_lease import HeldLease
from lease_store.lease import Lease
from lease_store.verbs import Write
from tests.simulation.leases.draw import LeaseDraw
from tests.simulation.leases.ledger import Ledger
from tests.simulation.leases.process import SimWorker
from tests.simulation.rest import unrest
from tests.simulation.store import SimTable
from tests.simulation.trace import Trace, shown

__all__ = ["Judge"]

_OWNERS_VERBS: Final = frozenset({"renew", "set_checkpoint", "end_shard", "finish_hand_off", "take_back", "release"})
_TENURES_VERBS: Final = frozenset({"set_checkpoint", "end_shard", "take_back", "release"})
_POLLING_SECONDS: Final = 29.0
# A scan whose reply was lost ends after 12 s, and after it a worker may pause for 10 s.
_CALM_SECONDS: Final = 25.0
# A leaving worker waits for two scan periods, which is enough for what peers read of the table up to so late.
_USUAL_LAG_SECONDS: Final = 0.5
# A scan period, and what goes by between a choice by what the last scan showed and the row that tells it.
_UNSEEN_SECONDS: Final = 1.5
# What may wait at once in the seams of one worker, for each shard that it holds or still processes, and besides.
_BACKLOG_A_LEASE: Final = 4
_BACKLOG_BESIDES: Final = 8


class _LetGo(NamedTuple):
    """A lease that was let go ``at`` a time in favour of ``to``.

    ``is_due``: it is to be silent for half a second at most. ``had_room``: so ``to`` had when it was named, by what
    could be seen.
    """

    at: float
    to: str | None
    is_due: bool
    had_room: bool


class Judge(Trace):
    """Collects violations.

    ``records_in`` tells how long a shard is; ``calm_since`` is since when nothing has gone wrong in network, machines
    and user code (None: something does), so that the promised times hold from a while after it.
    """

    def __init__(self, draw: LeaseDraw, records_in: Callable[[str], int | None]) -> None:
        super().__init__()
        self.table = SimTable(self.written, note=self.note, sending=self.sending)
        self.ledger = Ledger(self.table.lease, self.breach, lambda: draw.is_wild)
        self.calm_since: float | None = 0.0 if draw.faults == "none" else None
        self.moves = 0
        self.tenures = 0
        self.longest_gap = 0.0
        self.orphaned_at: dict[str, tuple[float, float, list[SimWorker]]] = {}
        self._draw = draw
        self._records_in = records_in
        self._open: dict[str, list[tuple[SimWorker, HeldLease]]] = {}
        self._contested: set[str] = set()
        self._started: dict[str, tuple[float, str | None, bool]] = {}
        self._let_go: dict[str, _LetGo] = {}
        self._named: dict[str, tuple[float, str]] = {}
        self._moved_at: dict[str, float] = {}
        self._moved_by: set[tuple[str, str]] = set()
        self._busy: set[tuple[str, str]] = set()
        self._given: dict[str, tuple[str, str] | None] = {}
        self._tenures_of: dict[str, int] = {}
        self._sent: dict[int, tuple[Write, int]] = {}
        self._workers: dict[str, SimWorker] = {}

    def knows(self, worker: SimWorker) -> None:
        """A worker that is judged from now on."""
        self._workers[worker.name] = worker

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def is_calm(self) -> bool:
        """Whether all has gone well for long enough, on clocks as promised, for the promised times to hold."""
        calm = self.calm_since is not None and (self.calm_since == 0.0 or self._now - self.calm_since >= _CALM_SECONDS)
        return calm and not self._draw.is_wild and not any(each.is_troubled for each in self._workers.values())

    def sending(self, worker: str, write: Write) -> None:
        """Before each write."""
        self._sent[id(write)] = (write, self._tenures_of.get(write.key, 0))
        if write.verb != "renew":
            self._busy.add((worker, write.key))
        elif self._draw.faults == "none":
            self._check_due(self._workers[worker], write.key)

    def _check_due(self, worker: SimWorker, key: str) -> None:
        """A heartbeat before its time costs writes that nobody needs; only a hand-off may be asked about earlier.

        It may be late by what it waits for company, or while its own lease is being written; never for another's sake.
        """
        held, row, timing = worker.loop.leases.held.get(key), self.table.lease(key), worker.loop.leases.timing
        if held is None or row is None or row.is_pending:
            return
        late = worker.clock.monotonic() - held.renewed_at - timing.renew_seconds
        if late < -1e-6:
            self.breach(f"{worker.name} renews {key} {-late:.3f} s before it is due")
        if late > timing.gather_seconds + 0.02 and (worker.name, key) not in self._busy:
            self.breach(f"{worker.name} renews {key} {late:.3f} s after it was due")

    # -- the table
    def written(self, worker: str, write: Write, before: Lease | None, after: Lease | None) -> None:
        """After each write that was applied."""
        self.note(f"{worker} {write.verb} {write.key} -> {shown(after)}")
        if after is None or write.verb == "delete_worker":
            return
        if before is not None and before.created_at == after.created_at:
            self._check_step(worker, write, before, after)
        if before is None or after.checkpoint != before.checkpoint:
            self.ledger.stored(worker, after, self._records_in(after.key))
        if write.verb == "end_shard":
            self.orphaned_at.pop(write.key, None)
            for child in after.children:
                if self.table.get(child) is None:
                    self.breach(f"{write.key} ended before the row of {child} existed")
        self._follow_hand_off(worker, write, before, after)
        if before is None or after.counter != before.counter:
            self._moved_at[write.key] = self._now
            self._moved_by.add((worker, write.key))
            self._given[write.key] = (worker, after.actual_owner or "") if write.verb == "assign" else None

    def _check_step(self, worker: str, write: Write, before: Lease, after: Lease) -> None:
        """From one state of a row to the next."""
        key, verb = write.key, write.verb
        step = 0 if verb == "start_hand_off" else 1
        if after.counter != before.counter + step:
            self.breach(f"{verb} of {key} moved the counter from {before.counter} to {after.counter}")
        if after.checkpoint < before.checkpoint:
            self.breach(f"the checkpoint of {key} went back from {before.checkpoint} to {after.checkpoint}")
        if before.is_finished:
            self.breach(f"{verb} of {key} after its SHARD_END")
        if verb in _OWNERS_VERBS and before.actual_owner != worker:
            self.breach(f"{verb} of {key} by {worker} was accepted under {before.actual_owner}")
        _, tenures = self._sent.get(id(write), (write, 0))
        if verb in _TENURES_VERBS and tenures != self._tenures_of.get(key, 0):
            self.breach(f"{verb} of {key} by {worker} was sent in an earlier tenure and accepted in a later one")
        if verb == "pass_on" and before.owner != worker:
            self.breach(f"{verb} of {key} by {worker} was accepted under {before.owner}")
        if verb == "take" or (verb == "pass_on" and before.is_pending):
            self._check_idle(worker, write, before)
        if verb == "finish_hand_off" and self.is_calm():
            self._check_receiver(worker, after)
        gone = after.owner is not None and after.owner != before.owner and self._workers[after.owner].state == "gone"
        if gone and self.is_calm() and self._draw.network.stale_seconds <= _USUAL_LAG_SECONDS:
            self.breach(f"{verb} of {key} by {worker} names {after.owner}, which has left")

    def _was_never_heeded(self, leader: str, key: str) -> bool:
        """Whether the last move was this leader's own gift to a worker of ours: who has written nothing since has no
        tenure.
        """
        given = self._given.get(key)
        return given is not None and given[0] == leader and given[1] in self._workers

    def _check_idle(self, worker: str, write: Write, before: Lease) -> None:
        """A live owner's lease is left to it; a clock that runs fast by 0.5 % sees F pass in 99.5 % of it."""
        idle = self._now - self._moved_at.get(write.key, 0.0)
        if before.actual_owner is None or self._draw.is_wild or self._was_never_heeded(worker, write.key):
            return
        if idle < 0.99 * self._draw.failover:
            owner = before.actual_owner
            self.breach(f"{write.verb} by {worker} of {write.key} from {owner} {idle:.2f} s after it had moved")

    def _check_receiver(self, worker: str, row: Lease) -> None:
        """Before a finish the owner reads the receiver's row: a lease goes to nobody who leaves or has left."""
        receiver = self._workers[row.owner or ""]
        marked_at = self.table.draining_since(receiver.name)
        if receiver.state == "gone" or (marked_at is not None and self._now - marked_at > 1.0):
            self.breach(f"{worker} handed {row.key} to {row.owner}, which is {receiver.state}")

    def _follow_hand_off(self, worker: str, write: Write, before: Lease | None, after: Lease) -> None:
        key, now = write.key, self._now
        if before is None or after.owner != before.owner:
            self._named[key] = (now, worker)
        if write.verb in ("finish_hand_off", "release"):
            started_at, starter, had_room = self._started.pop(key, (now, None, True))
            waits = self._waits_for(after, now - started_at, has_asked=starter == after.owner)
            self._let_go[key] = _LetGo(now, after.owner, waits and self.is_calm(), had_room)
        if write.verb in ("finish_hand_off", "release") or (write.verb == "take" and before and before.owner):
            self.moves += 1  # nobody's lease, taken, is none: it may have waited for a place
        if write.verb == "take" and before is not None:
            self._inherited(key)
        if write.verb == "start_hand_off":
            self._started[key] = (now, worker, self._had_room(after.owner or "", worker))
        let_go = self._let_go.get(key)
        if write.verb == "pass_on" and let_go is not None and let_go.to == worker and let_go.had_room:
            # It has filled up meanwhile, as its giver could not know; where nobody has room, the lease waits for some.
            self._let_go[key] = let_go._replace(is_due=let_go.is_due and not self._is_taken_up(besides=key))
        if write.verb == "pass_on" and key in self.orphaned_at:
            # A leaving worker that was to get it gives it to a peer, which may have died just now: nobody can tell yet.
            died_at, due, heirs = self.orphaned_at[key]
            self.orphaned_at[key] = (now, now + due - died_at, heirs)

    def _waits_for(self, row: Lease, pending_seconds: float, *, has_asked: bool) -> bool:
        """Whether the next owner polls for the lease and may accept it: then it is silent for half a second at most.

        It polls if it asked for it, or has had a scan period to see itself named, and for 30 s; one that is named and
        given a lease at once finds it by its next scan. It may not accept while its own user code of it still runs.
        """
        receiver = self._workers.get(row.owner or "")
        seen_after = 0.0 if has_asked else 1.1 + self._draw.network.stale_seconds
        polls = seen_after <= pending_seconds < _POLLING_SECONDS
        return polls and receiver is not None and not self.ledger.is_running(receiver, row.key)

    def _had_room(self, to: str, giver: str) -> bool:
        """Whether ``giver`` could name ``to``: by what it had named itself, and what it must have seen by a scan."""
        most = self._workers[to].settings.max_leases
        seen_at = self._now - _UNSEEN_SECONDS
        named = [self._named[key] for key in self._named_as_owner(to)]
        return most is None or sum(at <= seen_at or by == giver for at, by in named) <= most

    def _is_taken_up(self, *, besides: str) -> bool:
        """Whether no running worker has room for one lease more, what is on its way to it being there already."""
        for worker in self._workers.values():
            most, named = worker.settings.max_leases, self._named_as_owner(worker.name)
            if worker.state == "running" and (
                most is None or len((named | worker.loop.leases.held.keys()) - {besides}) < most
            ):
                return False
        return True

    def _named_as_owner(self, worker: str) -> set[str]:
        return {row.key for row in self.table.rows().leases if row.owner == worker and not row.is_finished}

    # -- tenures
    def began(self, worker: SimWorker, held: HeldLease) -> None:
        """A tenure begins."""
        key, now = held.key, self._now
        self.note(f"{worker.name} BEGINS {key} at counter {held.fencing_token}")
        self.tenures += 1
        self._tenures_of[key] = self._tenures_of.get(key, 0) + 1
        row = self.table.lease(key)
        if row is None:
            self.breach(f"a tenure of {key} without a row")
        elif row.actual_owner == worker.name and row.checkpoint != held.first_lease.checkpoint:
            self.breach(f"{worker.name} starts {key} at {held.first_lease.checkpoint}, stored is {row.checkpoint}")
        if self.ledger.is_running(worker, key):
            self.breach(f"{worker.name} begins {key} while its user code of an ended tenure still runs")
        self._open.setdefault(key, []).append((worker, held))
        self._contest(key)
        let_go = self._let_go.pop(key, None)
        if let_go is not None and let_go.to == worker.name and let_go.is_due and self.is_calm():
            silent_seconds = now - let_go.at
            self.longest_gap = max(self.longest_gap, silent_seconds)
            if silent_seconds > 0.5:
                self.breach(f"{key} was silent for {silent_seconds:.2f} s at its hand-off to {worker.name}")
        self._inherited(key)

    def _inherited(self, key: str) -> None:
        """A dead worker's lease has a new owner."""
        now = self._now
        crashed_at, due, heirs = self.orphaned_at.pop(key, (now, now, []))
        if now > due and any(heir.state == "running" for heir in heirs):
            self.breach(f"{key} was taken over {now - crashed_at:.2f} s after its owner's death")

    def _contest(self, key: str) -> None:
        alive = [(worker, held) for worker, held in self._open.get(key, []) if held.over is None and worker.is_up]
        self._open[key] = alive
        (self._contested.add if len(alive) > 1 else self._contested.discard)(key)

    def step(self) -> None:
        """After every callback of the loop: at most one worker trusts a tenure of one lease."""
        if self.closed or not self._contested or self._draw.is_wild:
            return
        for key in sorted(self._contested):
            trusting = [worker.name for worker, held in self._open[key] if worker.is_up and worker.trusts(held)]
            if len(trusting) > 1:
                self.breach(f"{' and '.join(trusting)} trust {key} at once")
                self._contested.discard(key)
                return

    def fact(self, worker: SimWorker, fact: Fact) -> None:
        """What a hook of the worker hears."""
        self._check_backlog(worker)
        if isinstance(fact, LeaseRenewed):
            self._check_renewed(worker, fact.shard_id)
        elif isinstance(fact, LeaseTaken):
            self._moved_by.discard((worker.name, fact.shard_id))
            self._check_limit(worker, fact)
        elif isinstance(fact, TenureEnded):
            self.note(f"{worker.name} ENDS {fact.shard_id}: {fact.reason}")
            self._contest(fact.shard_id)
            if fact.reason in ("lost", "expired") and self._draw.faults == "none" and not self._draw.is_wild:
                self.breach(f"{worker.name} lost {fact.shard_id} ({fact.reason}) though nothing went wrong")
        elif isinstance(fact, HandOffTakenBack):
            self.note(f"{worker.name} took {fact.shard_id} back from {fact.next_owner}: {fact.reason}")

    def _check_renewed(self, worker: SimWorker, key: str) -> None:
        """Each renewal that a worker believes in is a counter write of its own, and none is counted twice."""
        self._busy.discard((worker.name, key))
        if (worker.name, key) not in self._moved_by:
            self.breach(f"{worker.name} says that it renewed {key}, and no write of its has moved the counter")
        self._moved_by.discard((worker.name, key))

    def _check_limit(self, worker: SimWorker, fact: LeaseTaken) -> None:
        limit, held = worker.settings.max_leases, len(worker.loop.leases.held)
        if limit is not None and held > limit:
            self.breach(f"{worker.name} {fact.how} {fact.shard_id} and holds {held} leases, more than {limit}")

    def _check_backlog(self, worker: SimWorker) -> None:
        """What waits between the two loops of a worker is bounded by its leases."""
        bound = _BACKLOG_A_LEASE * (len(worker.loop.leases.held) + len(worker.consumers)) + _BACKLOG_BESIDES
        calls, events = worker.seam.backlog
        if calls > bound or events > bound:
            self.breach(f"in {worker.name} {calls} calls and {events} events wait, with {bound} allowed")

    # -- user code
    def slice_began(self, worker: SimWorker, held: HeldLease, record: int) -> None:
        self.ledger.began(worker, held, record)

    def slice_ended(self, worker: SimWorker, held: HeldLease, record: int, *, returned: bool) -> None:
        self.ledger.ended(worker, held, record, returned=returned)

    def failed(self, worker: SimWorker, what: str) -> None:
        self.breach(f"{worker.name}: {what}")

    def died(self, worker: SimWorker, heirs: list[SimWorker], takeover_seconds: float) -> None:
        """A worker is gone for good; its leases are due at ``heirs`` by then, unless these go, too."""
        now = self._now
        self.ledger.died(worker)
        for key in sorted(worker.loop.leases.held):
            self._contest(key)
            self.orphaned_at[key] = (now, now + takeover_seconds, heirs)

    def left(self, worker: SimWorker) -> None:
        """A worker has drained and is gone: no row names it."""
        self.note(f"{worker.name} is gone")
        named = [row.key for row in self.table.rows().leases if row.owner == worker.name and not row.is_finished]
        if named and self.is_calm() and self._draw.network.stale_seconds <= _USUAL_LAG_SECONDS:
            self.breach(f"{worker.name} is gone, and {named} name it")

    # -- at rest
    def is_full(self, workers: Iterable[SimWorker]) -> bool:
        """Whether no running worker may own one lease more."""
        live = [worker for worker in workers if worker.state == "running"]
        return all(
            (most := worker.settings.max_leases) is not None and len(worker.loop.leases.held) >= most for worker in live
        )

    def unrest(self, workers: Iterable[SimWorker]) -> str | None:
        """Why the fleet is not at rest; one whose workers are all full is."""
        live = [worker for worker in workers if worker.state == "running"]
        if self.is_full(live):
            return None  # what is left waits for another worker
        return unrest(
            [lease for lease in self.table.rows().leases if not lease.is_finished],
            {worker.name: worker.loop.leases.held.keys() for worker in live},
            {worker.name: worker.settings.max_leases for worker in live},
        )
