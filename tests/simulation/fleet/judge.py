"""What must hold for every record of the fleet world, whatever goes wrong; a breach is a sentence."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from consumer.dead_letters.letter import Identity
from consumer.hooks import (
    BatchProcessed,
    Fact,
    GapFound,
    KeyParked,
    KeyResumed,
    LeaseTaken,
    RecordsGivenUp,
    SinkDown,
    SinkUp,
    TenureEnded,
)
from consumer.record import Record
from consumer.testing.stream_log import StreamLog
from lease_store.lease import Lease
from lease_store.verbs import Write
from tests.simulation.fleet.accounts import Accounts
from tests.simulation.fleet.calls import Call, Calls
from tests.simulation.fleet.policy import PLAIN_POLICY, PolicyDraw, serial_of
from tests.simulation.fleet.stuck import Stuck
from tests.simulation.fleet.written import Place, Tenure, Written
from tests.simulation.store import SimTable
from tests.simulation.trace import Trace, shown

__all__ = ["StreamJudge"]


class StreamJudge(Trace):
    """The writer's journal, what was delivered and stored, and what that means.

    ``now`` is the service's wall clock. ``pin_seconds`` is how far a start may lie behind the moment that it stands
    for, ``strict_start`` whether nothing from before it may come (a listing that leaves children out lets it).
    ``awake_since`` tells of workers that thawed, ``ids`` how rows name them. A record counts as lost for good when it
    was trimmed or its stream deleted. By ``policy``, ``accounts`` judge what becomes of each, ``calls`` when user code
    is called, ``stuck`` what has to wait behind poison that stays so.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        pin_seconds: float = 0.001,
        strict_start: bool = True,
        policy: PolicyDraw = PLAIN_POLICY,
        is_poison: Callable[[int], bool] = lambda _: False,
    ) -> None:
        super().__init__()
        self.policy = policy
        self.accounts = Accounts(policy, now=now, breach=self.breach, is_lost=self.is_excused, is_poison=is_poison)
        self.calls = Calls(policy, now=lambda: asyncio.get_running_loop().time(), wall=now, breach=self.breach)
        self.stuck = Stuck(self.accounts, self._parents_in)
        self.table = SimTable(self.wrote_row)
        self.moved_at = 0.0
        self.logs: dict[str, StreamLog] = {}
        self.deleted: set[str] = set()
        self.gaps = 0
        self.awake_since: dict[str, float] = {}
        self.ids: dict[str, str] = {}
        self._now = now
        self._pin_seconds = pin_seconds
        self._strict_start = strict_start
        self._journal: dict[int, Written] = {}
        self._undelivered: dict[int, Written] = {}
        self._by_place: dict[Place, list[Written]] = {}
        self._settled: dict[Place, int] = {}
        self._delivered_of: dict[str, int] = {}
        self._first_seen: set[Place] = set()
        self._gap_places: set[str] = set()
        self._joined: dict[str, float] = {}
        self._lineage: dict[str, dict[str, tuple[str, ...]]] = {}
        self._newest: dict[str, str] = {}
        self._kin_of: dict[Place, set[str]] = {}
        self._pins: list[float] = []
        self._tenures: dict[tuple[str, str], Tenure] = {}
        self._tenure_ended: dict[tuple[str, str], float] = {}
        self._owner_since: dict[str, float] = {}
        self._forgotten = (0, 0, 0)

    # -- the writer

    def opened(self, log: StreamLog) -> None:
        self.logs[log.incarnation] = log
        self.note(f"stream {log.incarnation} begins with {[shard.id for shard in log.open_shards()]}")

    def look(self) -> None:
        """Remember every shard there is, for the time when none lists it any more."""
        for incarnation, log in self.logs.items():
            newest = next(reversed(log.lineage.shards), "")
            if self._newest.get(incarnation) == newest:
                continue
            self._newest[incarnation] = newest
            self._kin_of.clear()
            known = self._lineage.setdefault(incarnation, {})
            known.update((shard.id, shard.parents) for shard in log.lineage.shards.values())

    def wrote(self, record: Written) -> None:
        self._journal[record.serial] = self._undelivered[record.serial] = record
        insort(self._by_place.setdefault(record.place, []), record, key=lambda each: each.sequence)
        self.accounts.wrote(record)

    # -- user code

    def delivering(self, worker: str, shard_id: str, serial: int, record: Record, *, lane: int = 0) -> None:
        """User code sees a record."""
        written = self._journal.get(serial)
        if written is None or written.place[1] != shard_id or str(written.sequence) != record.sequence_number:
            self.breach(f"{worker} got record {serial} from {shard_id}, which was written as {written}")
            return
        place = written.place
        row = self.table.lease(shard_id)
        ages = list(self.logs)
        if row is None or row.stream is None or ages.index(row.stream) < ages.index(place[0]):
            self.breach(f"{worker} delivers record {serial} of {place} under {row}")
        if place not in self._first_seen:
            self._first_seen.add(place)
            self._check_parents(worker, place)
        self._check_again(worker, written)
        self.accounts.delivering(worker, lane, written)
        written.delivered += 1
        if written.delivered > 1:
            return
        del self._undelivered[serial]
        if (
            self._strict_start
            and self._pins
            and place[0] == next(iter(self._joined))
            and written.arrived_at < math.floor(min(*self._pins, *self._joined.values()))
        ):
            # A start that lies ahead of the group's first row may be passed by children of shards that ended, and so
            # may one whose listing did not show a child yet; the stream of a later time is read from its own start.
            self.breach(f"record {serial} from before the start {min(self._pins)} was delivered")
        newest = self._delivered_of.get(written.key, -1)
        is_before = not self._strict_start and self._pins and written.arrived_at < max(self._pins)
        if serial < newest and not is_before:
            self.breach(f"key {written.key}: record {serial} of {place[1]} first came after record {newest}")
        self._delivered_of[written.key] = max(newest, serial)

    def _check_again(self, worker: str, record: Written) -> None:
        """Nothing that is done with comes again, and nothing is left out on the way."""
        records = self._by_place[record.place]
        index = bisect_left(records, record.sequence, key=lambda each: each.sequence)
        tenure = self._tenures.get((worker, record.place[1]))
        if tenure is not None and index < tenure.done_before:
            self.breach(f"{worker} got record {record.serial} again, which was stored as done before its tenure began")
        if tenure is not None and record.returned_in is tenure:
            self.breach(f"{worker} got record {record.serial} again in the tenure in which it was done with")
        before = records[index - 1] if index and not record.delivered and self.policy.is_plain else None
        if before is not None and not before.delivered and not self.is_excused(before):
            self.breach(f"{worker} got record {record.serial} before record {before.serial}")

    def done(self, serial: int, worker: str = "") -> None:
        record = self._journal[serial]
        self.accounts.succeeding(worker, record)
        record.is_done = True

    def begins(self, worker: str, shard_id: str, lane: int, records: Sequence[Record]) -> None:
        """A batch is given to user code."""
        written = [self._journal[serial_of(each)] for each in records]
        size_bytes = sum(each.size_bytes for each in records)
        self.calls.begins(Call(worker, shard_id, lane, written, size_bytes), self._tenures.get((worker, shard_id)))

    def failed(
        self, worker: str, shard_id: str, kinds: Mapping[int, type[BaseException]], blamed: Sequence[int]
    ) -> None:
        """A call over these records failed, each by an error of a kind, and through the fault of ``blamed``."""
        if not self.policy.is_plain:
            names = {kind.__name__ for kind in kinds.values()}
            self.note(f"{worker} fails on {[*kinds]} of {shard_id}, {sorted(names)}, to blame: {blamed}")
        tenure, of = self._tenures.get((worker, shard_id)), self._journal
        failed = [(of[serial], kind) for serial, kind in kinds.items()]
        self.accounts.failed(tenure, failed, [of[each] for each in blamed])

    def asked_for_pause(self, worker: str, shard_id: str, serials: Sequence[int], seconds: float) -> None:
        """A call raised RetryAfter."""
        tenure, records = self._tenures.get((worker, shard_id)), [self._journal[each] for each in serials]
        self.accounts.asked_for_pause(tenure, records)
        self.calls.asked_for_pause(tenure, records, seconds)

    def returned(self, worker: str, shard_id: str, lane: int, good: Iterable[int]) -> None:
        """A call came to its end, and is through with ``good``."""
        self.accounts.returned(worker, shard_id, lane, tuple(self._journal[each] for each in good))

    def record_of(self, identity: Identity) -> Written | None:
        """What a letter is about."""
        records = self._by_place.get((identity.stream, identity.shard_id), [])
        at = bisect_left(records, int(identity.sequence_number), key=lambda each: each.sequence)
        return records[at] if at < len(records) and str(records[at].sequence) == identity.sequence_number else None

    def written(self, serial: int) -> Written | None:
        """The record of that number."""
        return self._journal.get(serial)

    def tenure_of(self, worker: str, shard_id: str) -> Tenure | None:
        """The tenure that a worker has of a shard."""
        return self._tenures.get((worker, shard_id))

    def reading(self, worker: str, shard_id: str, within_seconds: float) -> None:
        """The worker asks for records: none of a shard whose tenure has been over for ``within_seconds``."""
        row = self.table.lease(shard_id)
        over = -math.inf
        if row is None or row.actual_owner != self.ids[worker]:
            over = self._owner_since.get(shard_id, 0.0)
        elif (worker, shard_id) not in self._tenures:
            over = self._tenure_ended.get((worker, shard_id), 0.0)
        late = asyncio.get_running_loop().time() - max(over, self.awake_since.get(worker, 0.0))
        if over >= 0.0 and late > within_seconds:
            self.breach(f"{worker} still reads {shard_id} {late:.1f} s after its tenure was over: {shown(row)}")

    def _check_parents(self, worker: str, place: Place) -> None:
        self.look()
        for parent in self._lineage[place[0]].get(place[1], ()):
            row = self.table.lease(parent)
            if row is not None and row.stream == place[0]:
                if not row.is_finished:
                    self.breach(f"{worker} delivers from {place[1]} while its parent {parent} is {shown(row)}")
                continue
            for record in self._by_place.get((place[0], parent), ()):
                if not record.delivered and not self.is_excused(record):
                    self.breach(f"{worker} delivers from {place[1]} before record {record.serial} of parent {parent}")
                    break

    def _parents_in(self, stream: str) -> dict[str, tuple[str, ...]]:
        self.look()
        return self._lineage.get(stream, {})

    # -- facts

    def fact(self, worker: str, fact: Fact) -> None:
        if isinstance(fact, GapFound):
            self.gaps += 1
            self._gap_places.add(fact.shard_id)
            self._gap_places.add(fact.from_position.removeprefix("shard "))
            self.note(f"{worker} reports a gap in {fact.shard_id}: {fact.from_position} to {fact.to_position}")
        elif isinstance(fact, SinkDown | SinkUp | RecordsGivenUp | KeyParked | KeyResumed):
            self.note(f"{worker}: {fact}")
            self.accounts.fact(worker, self._tenures.get((worker, fact.shard_id)), fact)
        elif isinstance(fact, LeaseTaken):
            self.note(f"{worker} BEGINS {fact.shard_id} ({fact.how})")
            row = self.table.lease(fact.shard_id)
            place = (str(row and row.stream), fact.shard_id)
            self._tenures[worker, fact.shard_id] = Tenure(place, self._settled.get(place, 0))
        elif isinstance(fact, TenureEnded):
            self.note(f"{worker} ENDS {fact.shard_id}: {fact.reason}")
            self._tenures.pop((worker, fact.shard_id), None)
            self._tenure_ended[worker, fact.shard_id] = asyncio.get_running_loop().time()
        elif isinstance(fact, BatchProcessed) and self.policy.is_plain:
            self._returned(worker, fact)
        else:
            self.accounts.fact(worker, self._tenures.get((worker, fact.shard_id)), fact)

    def _returned(self, worker: str, batch: BatchProcessed) -> None:
        tenure = self._tenures.get((worker, batch.shard_id))
        if tenure is None:
            return  # it was over before user code returned
        records = self._by_place.get(tenure.place, [])
        first = bisect_left(records, int(batch.first_sequence_number), key=lambda each: each.sequence)
        for record in records[first : first + batch.records]:
            record.returned_in = tenure

    def is_excused(self, record: Written) -> bool:
        """Before the start, or lost for good and a gap was reported in its lineage."""
        if self._pins and record.arrived_at < max(self._pins) + self._pin_seconds:
            return True
        if record.place[0] not in self._joined and record.place[0] != next(reversed(self.logs)):
            # A life of the stream that no worker saw: before the group's time, or in the gap between two others.
            ages = list(self.logs)
            earlier = set(ages[: ages.index(record.place[0])])
            return not self._joined.keys() & earlier or "" in self._gap_places
        log = self.logs[record.place[0]]
        kept_seconds = log.options.retention_seconds
        if record.arrived_at + kept_seconds <= self._joined.get(record.place[0], 0.0):
            return True  # trimmed before the group's time
        gone = record.place[0] in self.deleted
        if gone or log.is_over() or record.arrived_at + kept_seconds <= self._now():
            return bool(self._gap_places & {"", *self._kin(record.place)})
        return False

    def _kin(self, place: Place) -> set[str]:
        self.look()
        if place in self._kin_of:
            return self._kin_of[place]
        parents = self._lineage[place[0]]
        self._kin_of[place] = kin = {place[1]}
        while True:
            more = {each for each, above in parents.items() if each in kin or kin & set(above)}
            more |= {parent for each in kin for parent in parents.get(each, ())}
            if more <= kin:
                return kin
            kin |= more

    # -- the table

    def wrote_row(self, worker: str, write: Write, before: Lease | None, after: Lease | None) -> None:
        """After each write that was applied."""
        if write.verb != "renew":
            self.note(f"{worker} {write.verb} {write.key} -> {shown(after)}")
        if after is None or write.verb == "delete_worker":
            if before is not None and not before.is_finished:
                self.breach(f"{worker} deleted the row of {write.key} at {before.checkpoint}")
            return
        if before is None or before.actual_owner != after.actual_owner:
            self._owner_since[write.key] = asyncio.get_running_loop().time()
        if write.verb in ("create", "replace") and after.stream is not None:
            self._joined.setdefault(after.stream, self._now())
        if write.verb in ("create", "replace") and after.start_at is not None:
            self._pins.append(float(after.start_at))
        if write.verb in ("finish_hand_off", "take", "release"):
            self.moved_at = asyncio.get_running_loop().time()
        if before is not None and before.created_at == after.created_at and after.checkpoint < before.checkpoint:
            self.breach(f"the checkpoint of {write.key} went back from {before.checkpoint} to {after.checkpoint}")
        if before is None or after.checkpoint != before.checkpoint:
            self._check_checkpoint(worker, after)

    def _check_checkpoint(self, worker: str, row: Lease) -> None:
        """Everything at or below a checkpoint is done with."""
        if not (row.checkpoint.is_number or row.is_finished) or row.stream is None:
            return
        place = (row.stream, row.key)
        records = self._by_place.get(place, [])
        limit = math.inf if row.is_finished else int(row.checkpoint.sequence_number)
        settled = self._settled.get(place, 0)
        while settled < len(records) and records[settled].sequence <= limit:
            record = records[settled]
            if not self.is_excused(record) and (why := self.accounts.passing(worker, record)):
                self.breach(f"{worker} stored {row.checkpoint} for {row.key}, but {why}")
                return
            settled += 1
        self._settled[place] = settled
        shard = self.logs[row.stream].lineage.shards.get(row.key)
        if row.is_finished and shard is not None and shard.is_open and row.stream not in self.deleted:
            self.breach(f"{worker} stored SHARD_END for {row.key}, which is open")

    # -- at rest

    def missing(self, older_than: float = 0.0) -> Iterator[Written]:
        """Records that neither came nor are excused, written more than ``older_than`` seconds ago."""
        latest = self._now() - older_than
        held_back = self.stuck.held_back()
        wanting = self._undelivered.values() if self.policy.is_plain else self.accounts.unsettled()
        for record in wanting:
            if record.arrived_at <= latest and not self.is_excused(record) and not held_back(record):
                yield record

    def behind(self) -> Iterator[str]:
        """Rows whose checkpoint has not come to the last record of their shard, or to the first that is held back."""
        held_back = self.stuck.held_back()
        for row in self.table.rows().leases:
            records = self._by_place.get((str(row.stream), row.key), ())
            done = next((at for at, each in enumerate(records) if held_back(each)), len(records))
            reached = int(row.checkpoint.sequence_number) if row.checkpoint.is_number else -1
            last = records[done - 1] if done else None
            if last and not row.is_finished and reached < last.sequence and not self.is_excused(last):
                yield f"{row.key} stands at {row.checkpoint}, below record {last.serial}, which is done"

    @property
    def counts(self) -> tuple[int, int, int]:
        """Records written, delivered at least once, deliveries beyond the first."""
        seen = [record.delivered for record in self._journal.values()]
        here = (len(seen), sum(1 for each in seen if each), sum(each - 1 for each in seen if each))
        return here[0] + self._forgotten[0], here[1] + self._forgotten[1], here[2] + self._forgotten[2]

    def forget(self, before: float) -> None:
        """Let go of shards that were through before then (wall clock); a record of theirs that comes again is a breach.

        For a play of days, whose own memory must not grow.
        """
        written, delivered, again = self._forgotten
        for place, records in list(self._by_place.items()):
            row = self.table.lease(place[1])
            is_over = row is None or row.is_finished
            if not is_over or any(each.arrived_at >= before or not each.is_done for each in records):
                continue
            for each in records:
                del self._journal[each.serial]
            written, delivered = written + len(records), delivered + len(records)
            again += sum(each.delivered - 1 for each in records)
            del self._by_place[place]
            self._settled.pop(place, None)
            self._first_seen.discard(place)
        self._forgotten = (written, delivered, again)
        self.table.forget_deleted()
        rows = {lease.key for lease in self.table.rows().leases}
        self._kin_of.clear()
        for incarnation, known in self._lineage.items():
            listed = self.logs[incarnation].lineage.shards.keys()
            self._lineage[incarnation] = {each: above for each, above in known.items() if each in listed | rows}
        self._owner_since = {key: since for key, since in self._owner_since.items() if key in rows}
        self._tenure_ended = {each: since for each, since in self._tenure_ended.items() if each[1] in rows}
