"""When user code may be called, as the policy has it, and with what; a breach is a sentence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.simulation.fleet.policy import PolicyDraw
from tests.simulation.fleet.written import Tenure, Written

__all__ = ["Call", "Calls"]

_GRACE_SECONDS = 5.0  # for code that was cancelled
_SLACK_SECONDS = 30.0  # a turn is given before its call waits for trust, for its pace and for a thread


@dataclass(frozen=True, slots=True)
class Call:
    """One call that user code of ``lane`` begins: no records are an empty batch."""

    worker: str
    shard_id: str
    lane: int
    records: Sequence[Written]
    size_bytes: int


@dataclass(slots=True)
class _Paced:
    """What one worker was given since its first record came (virtual time)."""

    since: float
    records: int = 0
    size_bytes: int = 0


class Calls:
    """Empty batches, pauses that user code asked for, the pace, time limits, and the wait at half of retention.

    ``now`` is virtual time, ``wall`` the service's clock.
    """

    def __init__(
        self,
        policy: PolicyDraw,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        breach: Callable[[str], None],
    ) -> None:
        self._policy = policy
        self._now = now
        self._wall = wall
        self._breach = breach
        self._empty_reads: Counter[tuple[str, str]] = Counter()
        self._empties: Counter[tuple[str, str, int]] = Counter()
        self._paced: dict[str, _Paced] = {}
        self._busy: dict[tuple[str, str, int], float] = {}
        self._longest: dict[str, float] = {}

    def read(self, worker: str, shard_id: str, count: int) -> None:
        """A read of a shard has brought so many records."""
        if count:
            self._paced.setdefault(worker, _Paced(self._now()))
        else:
            self._empty_reads[worker, shard_id] += 1

    def begins(self, call: Call, tenure: Tenure | None) -> None:
        """User code is called."""
        lane = (call.worker, call.shard_id, call.lane)
        if lane in self._busy:
            self._breach(f"{call.worker}: user code runs twice at once for {call.shard_id}")
        self._busy[lane] = self._now()
        if self._policy.is_plain:
            return
        if not call.records:
            self._empty(call, tenure)
            return
        self._check_pace(call)
        if tenure is None:
            return
        for record in call.records:
            if self._now() < tenure.not_before.get(record.serial, -math.inf):
                self._breach(f"{call.worker} got record {record.serial} before the pause was over that it asked for")
        self._check_half_gone(call, tenure)
        tenure.given.update(each.serial for each in call.records)

    def ends(self, worker: str, shard_id: str, lane: int) -> None:
        """That call has ended."""
        since = self._busy.pop((worker, shard_id, lane), None)
        if since is not None:
            self._longest[worker] = max(self._now() - since, self._longest.get(worker, 0.0))

    def asked_for_pause(self, tenure: Tenure | None, records: Sequence[Written], seconds: float) -> None:
        """User code has said when to come again with ``records``."""
        if tenure is not None:
            until = self._now() + 0.99 * seconds  # clocks drift
            tenure.not_before.update((each.serial, until) for each in records)

    # -- empty batches

    def _empty(self, call: Call, tenure: Tenure | None) -> None:
        if not self._policy.setting("empty_batches"):
            self._breach(f"{call.worker} got an empty batch of {call.shard_id}, although nobody wants any")
        lane = (call.worker, call.shard_id, call.lane)
        self._empties[lane] += 1
        found = self._empty_reads[call.worker, call.shard_id]
        if self._empties[lane] > found:
            self._breach(f"{call.worker} got more empty batches of {call.shard_id} than {found} reads that found none")
        waits = None if tenure is None or self._policy.setting("on_give_up") == "drop" else next(failing(tenure), None)
        if waits is not None:
            self._breach(f"{call.worker} got an empty batch of {call.shard_id} while record {waits.serial} waits")

    def empties_of(self, worker: str, shard_id: str) -> int:
        """How many a worker's first lane was given of a shard."""
        return self._empties[worker, shard_id, 0]

    # -- pace

    def _check_pace(self, call: Call) -> None:
        """A second's worth may be saved up; a batch beyond that goes at once, and is paid for by the next."""
        paced = self._paced.setdefault(call.worker, _Paced(self._now()))
        paced.records += len(call.records)
        paced.size_bytes += call.size_bytes
        for what, given, last in (
            ("records", paced.records, len(call.records)),
            ("bytes", paced.size_bytes, call.size_bytes),
        ):
            pace = self._policy.setting(f"max_{what}_per_second")
            if pace is not None and given > pace * (1.01 * (self._now() - paced.since) + 1.0) + last:
                seconds = self._now() - paced.since
                self._breach(f"{call.worker} got {given} {what} in {seconds:.1f} s, its pace is {pace:g} a second")

    # -- half of retention

    def _check_half_gone(self, call: Call, tenure: Tenure) -> None:
        """Without a store nothing new begins while the stream is about to lose what fails."""
        retention = self._policy.retention
        if retention is None or self._policy.gives_up:
            return
        new = [each for each in call.records if each.serial not in tenure.given]
        oldest = min(failing(tenure), key=lambda each: each.arrived_at, default=None)
        if new and oldest is not None and self._wall() - oldest.arrived_at > retention / 2 + _SLACK_SECONDS:
            self._breach(
                f"{call.worker} begins record {new[0].serial} of {call.shard_id} while record {oldest.serial} fails, "
                "half of whose retention is over"
            )

    # -- time limits

    def has_overdue(self, worker: str) -> bool:
        """Whether a call has outlasted its time, and what code may take that was cancelled."""
        limit = self._policy.setting("batch_timeout_seconds") or math.inf
        still = [self._now() - since for (who, _, _), since in self._busy.items() if who == worker]
        return max(self._longest.get(worker, 0.0), *still, 0.0) > 0.99 * (limit + _GRACE_SECONDS)

    def check_restart(self, worker: str, awake_since: float, within_seconds: float) -> None:
        """A worker that is to end for a call that does not has begun to drain in time, and is gone soon after."""
        if self._policy.setting("on_timeout") != "restart":
            return
        limit = self._policy.setting("batch_timeout_seconds") + _GRACE_SECONDS + within_seconds
        for (who, shard_id, _), since in self._busy.items():
            late = self._now() - max(since, awake_since) - limit
            if who == worker and late > 0:
                self._breach(f"{worker} goes on {late:.1f} s too long beside a call of {shard_id} that does not end")


def failing(tenure: Tenure) -> Iterator[Written]:
    """Records that have failed by themselves in this tenure, and of which nothing has become since."""
    for record in tenure.failing.values():
        if record.returned_in is not tenure and not record.has_letter:
            yield record
