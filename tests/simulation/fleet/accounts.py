"""What a policy makes of each record of the fleet's world, and what must hold of that; a breach is a sentence."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from consumer.dead_letters.event import record_in
from consumer.dead_letters.letter import DeadLetter, Reason
from consumer.hooks import BatchProcessed, Fact, RecordsGivenUp, SinkDown, SinkUp
from tests.simulation.fleet.policy import PolicyDraw, pk_of, serial_of

__all__ = ["Accounts", "Place", "Tenure", "Written"]

Place = tuple[str, str]
"""Incarnation (a row's ``stream``) and shard id."""

_CLOCKS_SECONDS = 5.0  # by which workers' clocks and the service's differ at first, and by how much a second then
_CLOCKS_DRIFT = 0.006
_sequence = attrgetter("sequence")


@dataclass(eq=False, slots=True)
class Tenure:
    """One worker's tenure of a shard; a stored checkpoint covered ``done_before`` of its records when it began.

    ``tries`` counts calls that failed with a record among them, ``blamed`` those in which it was named or alone.
    """

    place: Place
    done_before: int
    tries: Counter[int] = field(default_factory=Counter)
    blamed: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class Written:
    """One record as the writer knows it. ``is_done``: user code is through with it, as it told its checkpointer.

    ``returned_in``: the tenure in which ``process_records`` last returned for it. ``has_letter``: the store for dead
    letters has acknowledged it.
    """

    serial: int
    key: str
    place: Place
    sequence: int
    arrived_at: float
    delivered: int = 0
    is_done: bool = False
    returned_in: Tenure | None = None
    has_letter: bool = False


class Accounts:
    """Per record: processed, left out, a dead letter or dropped; per key: in order.

    ``fails_by_chance``: calls may fail that no record is to be blamed for.
    """

    def __init__(
        self,
        policy: PolicyDraw,
        *,
        now: Callable[[], float],
        breach: Callable[[str], None],
        is_lost: Callable[[Written], bool],
        is_poison: Callable[[int], bool],
    ) -> None:
        self.policy = policy
        self.fails_by_chance = True
        self._now = now
        self._began_at: float | None = None
        self._breach = breach
        self._is_lost = is_lost
        self._is_poison = is_poison
        self._by_key: dict[tuple[Place, str], list[Written]] = {}
        self._settled_of_key: dict[tuple[Place, str], int] = {}
        self._unsettled: dict[int, Written] = {}
        self._lane_of: dict[str, int] = {}
        self._dropped: Counter[Place] = Counter()
        self._passed: Counter[Place] = Counter()
        self._down_since: dict[str, float] = {}
        self._success_at: dict[str, float] = {}
        self._held: set[str] = set()
        self._returned: dict[tuple[str, str, int], tuple[Written, ...]] = {}

    def wrote(self, record: Written) -> None:
        """There is one more; where nothing is asked for, the judge's own rules are stricter than these."""
        if self.policy.is_plain:
            return
        self._began_at = self._began_at or record.arrived_at
        self._unsettled[record.serial] = record
        insort(self._of_key(record), record, key=_sequence)

    def _of_key(self, record: Written) -> list[Written]:
        return self._by_key.setdefault((record.place, self.policy.lane_key(record.key)), [])

    # -- what became of a record

    def is_settled(self, record: Written) -> bool:
        """Whether the checkpoint may pass it: processed, left out, a dead letter, or to be dropped by name."""
        return record.is_done or record.has_letter or self.is_left_out(record) or self.may_be_dropped(record)

    def is_left_out(self, record: Written) -> bool:
        """Whether the filter leaves it out."""
        return self.policy.is_filtered(record.serial, record.key)

    def may_be_dropped(self, record: Written) -> bool:
        """Whether the policy says by name that it is lost."""
        if self.policy.setting("on_give_up") != "drop":
            return False
        return self.fails_by_chance or self._is_poison(record.serial) or self.is_old(record)

    def is_old(self, record: Written) -> bool:
        """Whether it is given up for its age, or about to be."""
        age = self.policy.setting("max_record_age_seconds")
        if not self.policy.gives_up or age is None:
            return False
        now = self._now()
        return now - record.arrived_at > age - _CLOCKS_SECONDS - _CLOCKS_DRIFT * (now - (self._began_at or now))

    def _leaves_unseen(self, record: Written) -> bool:
        """Whether user code may never see it."""
        unjudged = self.policy.is_unjudged(record.serial) and self.policy.setting("on_undecodable") == "dead_letter"
        holds = self.policy.setting("after_dead_letter") == "hold_key"
        return (
            unjudged
            or (holds and record.key in self._held)
            or self.is_left_out(record)
            or self.is_old(record)
            or record.has_letter
        )

    def unsettled(self) -> Iterator[Written]:
        """Records of which nothing has become yet; those that were dropped have been seen, or were too old."""
        for record in tuple(self._unsettled.values()):
            if self.is_settled(record) and (record.is_done or record.delivered or self._leaves_unseen(record)):
                del self._unsettled[record.serial]
            else:
                yield record

    # -- user code

    def delivering(self, worker: str, lane: int, record: Written) -> None:
        """User code of ``lane`` sees a record."""
        if self.policy.is_plain:
            return
        if self.is_left_out(record):
            self._breach(f"{worker} got record {record.serial}, which the filter leaves out")
        key = self.policy.lane_key(record.key)
        if self._lane_of.setdefault(key, lane) != lane:
            self._breach(f"{worker} got record {record.serial} of {key} in lane {lane}, others in {self._lane_of[key]}")
        if record.delivered:
            return
        before = self._before(record)
        if before is not None and not (before.delivered or self._leaves_unseen(before) or self._is_lost(before)):
            self._breach(f"{worker} got record {record.serial} before record {before.serial} of {key}")

    def _before(self, record: Written) -> Written | None:
        """The one before it under its key."""
        of_key = self._of_key(record)
        at = bisect_left(of_key, record.sequence, key=_sequence)
        return of_key[at - 1] if at else None

    def succeeding(self, worker: str, record: Written) -> None:
        """User code is about to be through with a record: with all before it under its key something has become."""
        if record.is_done or self.policy.is_plain:
            return
        name = (record.place, self.policy.lane_key(record.key))
        of_key, at = self._by_key[name], self._settled_of_key.get(name, 0)
        while at < len(of_key) and of_key[at].sequence < record.sequence:
            before = of_key[at]
            if not (self.is_settled(before) or self._leaves_unseen(before) or self._is_lost(before)):
                self._breach(
                    f"{worker} is through with record {record.serial} of {name[1]} before record {before.serial}"
                )
                return
            at += 1
        self._settled_of_key[name] = at

    def failed(self, tenure: Tenure | None, records: Sequence[Written], blamed: Iterable[Written]) -> None:
        """A call over ``records`` failed, and of these it is known whose fault it is."""
        if tenure is not None:
            tenure.tries.update(each.serial for each in records)
            tenure.blamed.update(each.serial for each in blamed)

    def returned(self, worker: str, shard_id: str, lane: int, good: tuple[Written, ...]) -> None:
        """A call came to its end, and is through with ``good``."""
        self._returned[worker, shard_id, lane] = good
        if good:
            self._success_at[worker] = self._now()

    # -- facts

    def fact(self, worker: str, tenure: Tenure | None, fact: Fact) -> None:
        """A worker tells what it did."""
        if isinstance(fact, BatchProcessed) and tenure is not None:
            self._processed(worker, tenure, fact)
        elif isinstance(fact, RecordsGivenUp):
            fate = "dropped" if self.policy.setting("on_give_up") == "drop" else "dead_letter"
            if not self.policy.gives_up or (fact.fate != fate and fact.reason != Reason.UNDECODABLE):
                self._breach(f"{worker} gives up {fact.count} records of {fact.shard_id}: {fact.fate}, {fact.reason}")
            if tenure is not None and fact.fate == "dropped":
                self._dropped[tenure.place] += fact.count
        elif isinstance(fact, SinkDown):
            self._down_since[worker] = self._now()
            if not self.policy.setting("breaker_batches", 3):
                self._breach(f"{worker} counts its sink as down, although its breaker is off")
        elif isinstance(fact, SinkUp) and self._success_at.get(worker, -math.inf) < self._down_since[worker]:
            self._breach(f"{worker} counts its sink as up, although nothing has succeeded")

    def _processed(self, worker: str, tenure: Tenure, batch: BatchProcessed) -> None:
        for lane in range(self.policy.lanes):
            good = self._returned.get((worker, batch.shard_id, lane), ())
            if (
                len(good) == batch.records
                and good[0].sequence == int(batch.first_sequence_number)
                and good[-1].sequence == int(batch.last_sequence_number)
            ):
                for record in good:
                    record.returned_in = tenure
                del self._returned[worker, batch.shard_id, lane]
                return
        self._breach(f"{worker} counts records of {batch.shard_id} as done with which no call is through: {batch}")

    # -- the store for dead letters

    def begins_letters(self, letters: Iterable[DeadLetter]) -> None:
        """They may be in the store from now on, acknowledged or not."""
        for each in letters:
            if each.payload is not None and each.reason is not Reason.KEY_HELD:
                self._held.add(pk_of(record_in(each.payload, each.kind, each.sub_sequence_number)))

    def has_letter(self, worker: str, tenure: Tenure | None, record: Written | None, letter: DeadLetter) -> None:
        """The store has acknowledged a letter."""
        if record is None or letter.payload is None:
            self._breach(f"{worker} wrote a letter of {letter.identity}, which is no record")
            return
        if serial_of(record_in(letter.payload, letter.kind, letter.sub_sequence_number)) != record.serial:
            self._breach(f"{worker} wrote a letter of record {record.serial} with another's body")
        if tenure is not None:
            why = self._why_not(tenure, record, letter)
            if why:
                self._breach(f"{worker} made record {record.serial} a dead letter, {letter.reason}, {why}")
        record.has_letter = True

    def _why_not(self, tenure: Tenure, record: Written, letter: DeadLetter) -> str | None:
        """Why it should not have been given up."""
        if record.returned_in is tenure:
            return "although it is done with"
        if self.is_left_out(record):
            return "although the filter leaves it out"
        if letter.reason == Reason.UNDECODABLE:
            return None if self.policy.is_unjudged(record.serial) else "although the filter understands it"
        if letter.reason == Reason.KEY_HELD:
            return None if record.key in self._held else "although no record of its key is one"
        if letter.reason == Reason.RECORD_AGE_EXCEEDED:
            return None if self.is_old(record) else "although it is young"
        tries, most = tenure.tries[record.serial], self.policy.setting("max_attempts") or 5
        if not tenure.blamed[record.serial]:
            return "although it never failed by itself"
        if tries < most:
            return f"after {tries} tries of {most}"
        if not self._is_poison(record.serial) and not self.fails_by_chance:
            return "although nothing is wrong with it"
        return None

    # -- the table

    def passing(self, worker: str, record: Written) -> str | None:
        """A checkpoint passes a record: why it may not."""
        if record.is_done or record.has_letter or self.is_left_out(record):
            return None
        if self.may_be_dropped(record) and self._passed[record.place] < self._dropped[record.place]:
            self._passed[record.place] += 1
            return None
        return f"record {record.serial} is not done"
