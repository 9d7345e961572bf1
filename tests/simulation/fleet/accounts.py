"""What a policy makes of each record of the fleet's world, and what must hold of that; a breach is a sentence."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final

from consumer.dead_letters.letter import Reason
from consumer.hooks import BatchProcessed, Fact, RecordsGivenUp, SinkDown, SinkUp
from tests.simulation.fleet.letter_rules import LetterRules
from tests.simulation.fleet.policy import PolicyDraw
from tests.simulation.fleet.written import CLOCKS_DRIFT, CLOCKS_SECONDS, Place, Tenure, Written

__all__ = ["Accounts"]

_HALF_A_DAY_SECONDS: Final = 43_200.0
_sequence = attrgetter("sequence")


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
        self.breach = breach
        self._is_lost = is_lost
        self.is_poison = is_poison
        self.letters = LetterRules(self)
        self._by_key: dict[tuple[Place, str], list[Written]] = {}
        self.newest_done: dict[tuple[str, str], int] = {}
        """Of each stream and key, the newest record that user code of the stream is through with."""
        self._settled_of_key: dict[tuple[Place, str], int] = {}
        self._unsettled: dict[int, Written] = {}
        self._lane_of: dict[str, int] = {}
        self._dropped: Counter[Place] = Counter()
        self._passed: Counter[Place] = Counter()
        self._down_since: dict[str, float] = {}
        self._success_at: dict[str, float] = {}
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
        return self.fails_by_chance or self.is_poison(record.serial) or self.is_old(record) or self.is_half_gone(record)

    def is_old(self, record: Written) -> bool:
        """Whether it is given up for its age, or about to be."""
        age = self.policy.setting("max_record_age_seconds")
        if not self.policy.gives_up or age is None:
            return False
        return self._is_past(age, record)

    def is_half_gone(self, record: Written, failing_for: float = math.inf) -> bool:
        """Whether half is over, or about to be, of what was left of its retention when it first failed.

        ``failing_for`` seconds ago that was; infinite: by what is known nothing of it had gone by.
        """
        retention = self.policy.retention
        if retention is None:
            return False
        before = max(0.0, self._now() - failing_for - record.arrived_at)
        return self._is_past((retention + before) / 2, record)

    def _is_past(self, age: float, record: Written) -> bool:
        now = self._now()
        return now - record.arrived_at > age - CLOCKS_SECONDS - CLOCKS_DRIFT * (now - (self._began_at or now))

    def _leaves_unseen(self, record: Written) -> bool:
        """Whether user code may never see it."""
        unjudged = self.policy.is_unjudged(record.serial) and self.policy.setting("on_undecodable") == "dead_letter"
        return (
            unjudged
            or (self.policy.holds_keys and record.key in self.letters.ever_held)
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

    # -- poison that stays so

    def stuck(self) -> Iterator[Written]:
        """Records that fail for good, and can't be given up."""
        for record in self._unsettled.values():
            if self.policy.stays(record.serial) and record.delivered and not record.is_done:
                yield record

    def waits_behind(self, record: Written, stuck: Written) -> bool:
        """Whether a record of the same shard may wait for as long as another one fails."""
        policy = self.policy
        parks = policy.parks_alone or policy.names(stuck.serial)
        if not (parks and policy.is_roomy) or self._is_past(_HALF_A_DAY_SECONDS, stuck):
            return True
        return policy.lane_key(record.key) == policy.lane_key(stuck.key) and record.sequence >= stuck.sequence

    # -- user code

    def delivering(self, worker: str, lane: int, record: Written) -> None:
        """User code of ``lane`` sees a record."""
        if self.policy.is_plain:
            return
        if self.is_left_out(record):
            self.breach(f"{worker} got record {record.serial}, which the filter leaves out")
        if self.policy.is_unjudged(record.serial) and self.policy.setting("on_undecodable") == "dead_letter":
            self.breach(f"{worker} got record {record.serial}, which the filter can't judge")
        self.letters.delivering(worker, record)
        key = self.policy.lane_key(record.key)
        if self._lane_of.setdefault(key, lane) != lane:
            self.breach(f"{worker} got record {record.serial} of {key} in lane {lane}, others in {self._lane_of[key]}")
        if record.delivered:
            return
        before = self._before(record)
        if before is not None and not (before.delivered or self._leaves_unseen(before) or self._is_lost(before)):
            self.breach(f"{worker} got record {record.serial} before record {before.serial} of {key}")

    def _before(self, record: Written) -> Written | None:
        """The one before it under its key."""
        of_key = self._of_key(record)
        at = bisect_left(of_key, record.sequence, key=_sequence)
        return of_key[at - 1] if at else None

    def succeeding(self, worker: str, record: Written) -> None:
        """User code is about to be through with a record: with all before it under its key something has become."""
        if self.policy.is_plain:
            return
        name = (record.place[0], record.key)
        self.newest_done[name] = max(record.serial, self.newest_done.get(name, -1))
        if record.is_done:
            return
        group = (record.place, self.policy.lane_key(record.key))
        of_key, at = self._by_key[group], self._settled_of_key.get(group, 0)
        while at < len(of_key) and of_key[at].sequence < record.sequence:
            before = of_key[at]
            if not (self.is_settled(before) or self._leaves_unseen(before) or self._is_lost(before)):
                self.breach(
                    f"{worker} is through with record {record.serial} of {group[1]} before record {before.serial}"
                )
                return
            at += 1
        self._settled_of_key[group] = at

    def failed(
        self,
        tenure: Tenure | None,
        records: Sequence[tuple[Written, type[BaseException]]],
        blamed: Iterable[Written],
    ) -> None:
        """A call over ``records`` failed, each by an error of a kind; ``blamed`` are known to be at fault."""
        if tenure is None:
            return
        for each, kind in records:
            tenure.first_failed.setdefault(each.serial, asyncio.get_running_loop().time())
            tenure.tries[each.serial] += 1
            tenure.kinds[each.serial] = kind
        for each in blamed:
            tenure.blamed[each.serial] += 1
            tenure.failing[each.serial] = each

    def asked_for_pause(self, tenure: Tenure | None, records: Sequence[Written]) -> None:
        """User code wants to be asked again later."""
        if tenure is not None:
            for each in records:
                tenure.first_failed.setdefault(each.serial, asyncio.get_running_loop().time())
            tenure.pauses.update(each.serial for each in records)

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
                self.breach(f"{worker} gives up {fact.count} records of {fact.shard_id}: {fact.fate}, {fact.reason}")
            if tenure is not None and fact.fate == "dropped":
                self._dropped[tenure.place] += fact.count
        elif isinstance(fact, SinkDown):
            self._down_since[worker] = self._now()
            if not self.policy.setting("breaker_batches", 3):
                self.breach(f"{worker} counts its sink as down, although its breaker is off")
        elif isinstance(fact, SinkUp) and self._success_at.get(worker, -math.inf) < self._down_since[worker]:
            self.breach(f"{worker} counts its sink as up, although nothing has succeeded")

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
        self.breach(f"{worker} counts records of {batch.shard_id} as done with which no call is through: {batch}")

    # -- the table

    def passing(self, worker: str, record: Written) -> str | None:
        """A checkpoint passes a record: why it may not."""
        if record.is_done or record.has_letter or self.is_left_out(record):
            return None
        if self.may_be_dropped(record) and self._passed[record.place] < self._dropped[record.place]:
            self._passed[record.place] += 1
            return None
        return f"record {record.serial} is not done"
