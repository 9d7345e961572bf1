"""Facts about what a worker did, handed to hooks: frozen, complete, without payload.

A hook is any callable that takes one fact. It is called on the loop where the fact arose (the worker's or the lease
loop's thread), must return at once, and can't break a worker: what it raises is logged and counted, and the next hook
is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = [
    "BatchFailed",
    "BatchProcessed",
    "BatchTimedOut",
    "CheckpointFailed",
    "CheckpointStored",
    "CpuMeasured",
    "DeadLettersRefused",
    "Fact",
    "GapFound",
    "HandOffFinished",
    "HandOffTakenBack",
    "Hook",
    "Hooks",
    "KeyParked",
    "KeyResumed",
    "KeysHeld",
    "LeaseRefused",
    "LeaseRenewed",
    "LeaseTaken",
    "LockSeen",
    "ModeChanged",
    "PageRead",
    "Planned",
    "RecordsFiltered",
    "RecordsGivenUp",
    "RecordsSkipped",
    "RecordsUnjudged",
    "ShardEnded",
    "SinkDown",
    "SinkUp",
    "Stuck",
    "TenureEnded",
    "Throttled",
    "WorkersSeen",
]

_log = logging.getLogger("leasehold.hooks")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened to one shard (or to the whole worker, where ``shard_id`` is empty)."""

    shard_id: str


@dataclass(frozen=True, slots=True)
class LeaseTaken(Fact):
    """A tenure began.

    ``how``: created, taken (idle or expired), or accepted (handed over). ``previous_owner`` if it had one.
    """

    how: str
    previous_owner: str | None
    fencing_token: int


@dataclass(frozen=True, slots=True)
class LeaseRenewed(Fact):
    """A renewal or checkpoint came through; ``margin_seconds`` of trust were left when it did."""

    margin_seconds: float


@dataclass(frozen=True, slots=True)
class LeaseRefused(Fact):
    """A conditional lease write was refused: somebody else was there first."""

    verb: str


@dataclass(frozen=True, slots=True)
class TenureEnded(Fact):
    """A tenure is over.

    ``reason``: handed_off, released, ended (shard end), restarted (a refused hand-off begins a new tenure here), lost,
    expired (trust ran out).
    """

    reason: str
    next_owner: str | None = None


@dataclass(frozen=True, slots=True)
class HandOffFinished(Fact):
    """The lease left for ``next_owner``; ``seconds`` from the moment this worker learnt of the hand-off."""

    next_owner: str
    seconds: float


@dataclass(frozen=True, slots=True)
class HandOffTakenBack(Fact):
    """A hand-off to ``next_owner`` led nowhere (it died, drains, or user code did not finish in time)."""

    next_owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class PageRead(Fact):
    """One GetRecords reply.

    ``lag_seconds``: age of what is still unread, as the service says or as the last record tells.
    """

    records: int
    size_bytes: int
    seconds: float
    lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class RecordsSkipped(Fact):
    """``count`` entries of a reply were too malformed to be records."""

    count: int


@dataclass(frozen=True, slots=True)
class BatchProcessed(Fact):
    """``process_records`` returned."""

    records: int
    size_bytes: int
    seconds: float
    first_sequence_number: str
    last_sequence_number: str


@dataclass(frozen=True, slots=True)
class BatchFailed(Fact):
    """User code raised; the same call is tried again after ``retry_in_seconds``.

    ``callback`` names it, ``error`` is the type's name.
    """

    callback: str
    error: str
    attempt: int
    retry_in_seconds: float


@dataclass(frozen=True, slots=True)
class BatchTimedOut(Fact):
    """process_records still ran after ``seconds``, its ``batch_timeout_seconds``.

    ``cancelled``: it is `async def` and was cancelled; else it runs in a thread, which nothing can interrupt.
    """

    seconds: float
    cancelled: bool


@dataclass(frozen=True, slots=True)
class RecordsFiltered(Fact):
    """``count`` records matched no pattern: they count as done."""

    count: int


@dataclass(frozen=True, slots=True)
class KeyParked(Fact):
    """A record failed by itself: it and what follows it under the same key wait; other keys go on.

    ``parked``: how many keys of the shard wait now, this one included.
    """

    parked: int


@dataclass(frozen=True, slots=True)
class KeyResumed(Fact):
    """The record that had parked its key is done or given up, and the key goes on.

    ``parked``: how many keys of the shard wait now. ``seconds`` since it was parked.
    """

    parked: int
    seconds: float


@dataclass(frozen=True, slots=True)
class KeysHeld(Fact):
    """So many keys have dead letters, as this worker knows: later records of theirs follow them into the store."""

    keys: int


@dataclass(frozen=True, slots=True)
class RecordsUnjudged(Fact):
    """Filter or ``lane_key`` can't judge ``count`` records (no JSON, or a function that raised: ``error`` says what).

    They are delivered, or with ``on_undecodable=dead_letter`` become dead letters.
    """

    count: int
    error: str


@dataclass(frozen=True, slots=True)
class RecordsGivenUp(Fact):
    """Records that no further try is made of here; they count as done.

    ``fate``: dead_letter (whole, in the store, acknowledged) or dropped (``on_give_up=drop``). ``reason`` is a dead
    letter's: attempts_exhausted, record_age_exceeded, undecodable, key_held or retention_half_gone.
    """

    count: int
    fate: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLettersRefused(Fact):
    """The store did not take ``count`` dead letters; tried again after ``retry_in_seconds``, and nothing is passed."""

    count: int
    error: str
    retry_in_seconds: float


@dataclass(frozen=True, slots=True)
class SinkDown(Fact):
    """``units`` different batches failed in a row, the last with ``error``: this worker's shards pause."""

    error: str
    units: int


@dataclass(frozen=True, slots=True)
class SinkUp(Fact):
    """A probe succeeded, ``seconds`` after the sink was found down: all shards go on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CheckpointStored(Fact):
    """The lease row carries this sequence number now."""

    sequence_number: str


@dataclass(frozen=True, slots=True)
class CheckpointFailed(Fact):
    """A checkpoint could not be written and will be tried again; delivery goes on."""

    error: str


@dataclass(frozen=True, slots=True)
class ShardEnded(Fact):
    """SHARD_END is stored; ``children`` go on."""

    children: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GapFound(Fact):
    """Records were gone before they could be read.

    ``from_position`` was asked for, ``to_position`` is where reading goes on.

    ``stopped`` is True under ``on_trimmed=stop``: the shard is left unread until somebody decides.
    """

    from_position: str
    to_position: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class Throttled(Fact):
    """A service refused a call for its rate. ``operation`` is the AWS operation, or the lease verb."""

    operation: str


@dataclass(frozen=True, slots=True)
class Stuck(Fact):
    """A shard has made no progress for ``seconds``.

    ``stage`` is waiting_for_parents, processing, reading, checkpointing, stopping, stopped_at_gap or ending.
    """

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ModeChanged(Fact):
    """The rules by which this worker shares the lease table: told at the first look at it and at each change.

    ``mode`` is peer, leader or 2x, ``previous`` None at the first look; ``because`` names the row that says so.
    """

    mode: str
    previous: str | None
    because: str


@dataclass(frozen=True, slots=True)
class LockSeen(Fact):
    """The leader lock has another holder; ``owner`` None: nobody holds it. ``is_mine``: this worker leads."""

    owner: str | None
    is_mine: bool


@dataclass(frozen=True, slots=True)
class Planned(Fact):
    """This worker has planned (for all as the leader, else for itself) and means to make ``moves`` of leases."""

    moves: int


@dataclass(frozen=True, slots=True)
class WorkersSeen(Fact):
    """How many workers live, this one included, by whose library; told when a scan changes it."""

    leasehold: int
    kcl: int


@dataclass(frozen=True, slots=True)
class CpuMeasured(Fact):
    """The average of half a minute that this worker's row is to carry; ``percent`` None: it could not be measured."""

    percent: float | None


Hook = Callable[[Fact], None]


class Hooks:
    """Calls every hook with every fact, and lets none of them break the worker."""

    def __init__(self, hooks: Sequence[Hook] = ()) -> None:
        self._hooks = tuple(hooks)
        self.failures = 0

    def __call__(self, fact: Fact) -> None:
        for hook in self._hooks:
            try:
                hook(fact)
            except Exception:
                self.failures += 1
                _log.exception(
                    "A hook raised on %s of shard %s; the worker goes on.", type(fact).__name__, fact.shard_id
                )
