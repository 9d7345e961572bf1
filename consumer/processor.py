"""What users write: a ``RecordProcessor``, given records and a checkpointer, one for each tenure of each shard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from consumer.delivery.attempts import Retry
from consumer.record import Record, Records
from lease_store.checkpoint import Checkpoint
from lease_store.lease import PendingCheckpoint

__all__ = ["Checkpointer", "PreparedCheckpoint", "ProcessorFactory", "RecordProcessor", "ShardContext"]


@dataclass(frozen=True, slots=True)
class ShardContext:
    """What a processor learns of its shard when its tenure begins (KCL ``InitializationInput``).

    ``checkpoint`` is where delivery starts: everything at or below it is done. ``fencing_token`` only grows from tenure
    to tenure: a condition on it keeps a slow former owner's writes out of your own store. ``pending_checkpoint`` is one
    that a former owner, ours or a KCL's, prepared and did not live to commit: how far it had got beyond ``checkpoint``,
    and its own bytes. It stays in the row until the first checkpoint of this tenure is stored. With ``lanes`` > 1 the
    shard has as many processors, and this one is given the records of ``lane`` (from 0): all of a key's in one lane.
    """

    shard_id: str
    stream: str
    checkpoint: Checkpoint
    fencing_token: int
    worker_id: str
    pending_checkpoint: PendingCheckpoint | None = None
    lane: int = 0
    lanes: int = 1


class Checkpointer(Protocol):
    """Says how far user code is done; needed only with ``--checkpointing manual``."""

    def checkpoint(self, record: Record | None = None) -> Awaitable[None]:
        """Store ``record`` (default: everything delivered so far; in ``shard_ended``, the shard's end).

        "Delivered so far" ends with the batch in hand; a batch that raised and was given up (a hand-off) is not in it.
        With lanes it says "my records up to this one are done": stored is the place below which all lanes are done. A
        record that waits parked is never passed, and until it is done nothing above it is stored.

        In ``async def`` code await it; in plain code just call it, it returns when stored. Raises LeaseLost,
        CheckpointBackwards, CheckpointBeyondDelivered.
        """
        ...

    def prepare(self, record: Record | None = None, *, state: bytes | None = None) -> PreparedCheckpoint:
        """Lay down a checkpoint that counts only once it is committed (KCL ``prepareCheckpoint``).

        Whoever owns the shard next is given it by ``initialize``, with ``state``, bytes of your own (256 KiB at most):
        so work that is done in two steps, in two places, can be told apart from work that was not begun. ``record`` as
        in ``checkpoint``. A further ``prepare`` replaces it, any checkpoint removes it, and at the place that is
        stored already there is nothing to prepare. In ``async def`` code await it. With manual checkpointing only:
        an automatic checkpoint would remove it. Raises as ``checkpoint`` does, and CheckpointError.
        """
        ...


class PreparedCheckpoint(Awaitable["PreparedCheckpoint"], Protocol):
    """A checkpoint that was prepared: awaited, it stands; ``commit`` makes it the shard's checkpoint."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The place that was prepared."""
        ...

    def commit(self) -> Awaitable[None]:
        """Store it, as ``Checkpointer.checkpoint`` does. Raises CheckpointBackwards where a later one is stored."""
        ...


class RecordProcessor:
    """Subclass it and write ``process_records``; every method may be ``def`` (run in a thread) or ``async def``.

    Whatever a method raises, nothing is skipped: the same call is made again with growing pauses of up to 60 s. What
    else may become of records that fail is a matter of settings, and of what ``process_records`` says about them.

    ``requires`` names the images a DynamoDB stream must carry: any of ``"old_image"``, ``"new_image"``.
    ``filter``: only records that match are delivered: patterns as Lambda has them, or a function of a record that
    returns a bool; None: as ``--filter`` says. ``lane_key``: a function of a record that returns text; records of one
    text keep their order, in one lane (None: the item's key, or the partition key); what becomes of one for which it
    raises, or returns no text, is for ``on_undecodable`` to say. ``retries``: how failures are tried again by the
    exception's class, where it is to be otherwise than configured.
    """

    requires: ClassVar[frozenset[str] | set[str]] = frozenset()
    filter: ClassVar[Any] = None
    lane_key: ClassVar[Callable[[Any], str] | None] = None
    retries: ClassVar[Mapping[type[BaseException], Retry]] = MappingProxyType({})

    def initialize(self, shard: ShardContext) -> Any:
        """Called once before the first batch."""

    def process_records(self, records: Records[Any], checkpointer: Checkpointer) -> Any:
        """Called with each batch in order; its records count as done when this returns (automatic checkpointing).

        Return None, or BatchFailures where some records failed and the rest is done; ``record.fail(error)`` says the
        same of one. Raise where nothing can be said, RetryAfter(seconds) where it is to be tried again later.
        """
        raise NotImplementedError

    def lease_lost(self) -> Any:
        """The lease went to another worker, or expired; checkpointing is no longer possible."""

    def shard_ended(self, checkpointer: Checkpointer) -> Any:
        """Everything was delivered; under manual checkpointing this must checkpoint, as the default does."""
        return checkpointer.checkpoint()

    def shutdown_requested(self, checkpointer: Checkpointer) -> Any:
        """The lease is about to be handed over or released; the last chance to checkpoint."""


class ProcessorFactory(Protocol):
    """A RecordProcessor class, or any callable that makes one."""

    def __call__(self) -> RecordProcessor: ...
