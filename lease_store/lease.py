"""What a row of the lease table says, as values: a lease, a worker's row, a row that belongs to somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from lease_store.attributes import NOTHING, AttributeValue
from lease_store.checkpoint import TRIM_HORIZON, Checkpoint
from lease_store.coordination import ClientVersion, LeaderLock, TableMigration

__all__ = [
    "WORKER_ENTITY",
    "AttributeValue",
    "ForeignRow",
    "Lease",
    "PendingCheckpoint",
    "TableScan",
    "WorkerRow",
    "share_values",
]

WORKER_ENTITY: Final = "WORKER_METRIC_STATS"


def _nothing() -> Mapping[str, AttributeValue]:
    """One object for all rows that hold nothing unknown, which are nearly all."""
    return NOTHING


@dataclass(frozen=True, slots=True)
class PendingCheckpoint:
    """A checkpoint that a KCL processor has prepared and not yet committed (KCL ``prepareCheckpoint``)."""

    checkpoint: Checkpoint
    state: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One shard's row: who owns it, how far user code is done, and where it stands in the lineage.

    ``owner`` is the worker that holds the lease, or the *next* one while a hand-off is pending; ``checkpoint_owner`` is
    then the one that still processes. ``counter`` is heartbeat and optimistic lock. ``parents`` and ``children`` are
    sorted bare shard ids. ``start_at`` (epoch seconds) is the instant for which LATEST or AT_TIMESTAMP stands,
    ``stream`` names the stream's incarnation, ``created_at`` tells two rows of one key apart, ``taken_back`` is the
    counter at the last refused hand-off, ``app`` the group whose row it is, ``rules`` the protocol that a group made
    its table for ("2.x"), ``newcomer`` what a worker said here that had come and held nothing: the seven are
    Leasehold's own attributes, absent in rows a KCL made.
    ``entity_type`` is None in a row made before KCL 3.5, and stays so. ``extra`` keeps what we do not know, byte for
    byte.
    """

    key: str
    counter: int = 0
    owner: str | None = None
    checkpoint_owner: str | None = None
    checkpoint: Checkpoint = TRIM_HORIZON
    owner_switches_since_checkpoint: int = 0
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    hash_range: tuple[str, str] | None = None
    pending_checkpoint: PendingCheckpoint | None = None
    throughput_kbps: Decimal | None = None
    stream: str | None = None
    start_at: Decimal | None = None
    created_at: str | None = None
    taken_back: int | None = None
    app: str | None = None
    rules: str | None = None
    newcomer: str | None = None
    entity_type: str | None = "LEASE"
    extra: Mapping[str, AttributeValue] = field(default_factory=_nothing)

    @property
    def actual_owner(self) -> str | None:
        """The worker whose user code may run: the checkpoint owner while a hand-off is pending, else the owner."""
        return self.checkpoint_owner or self.owner

    @property
    def is_pending(self) -> bool:
        """True while a hand-off has been started and not finished."""
        return self.checkpoint_owner is not None

    @property
    def is_new(self) -> bool:
        """True while nobody has ever owned the row."""
        return self.counter == 0 and self.actual_owner is None

    @property
    def is_finished(self) -> bool:
        """True once the shard's end is stored: such a row is never renewed, taken, counted or handed off."""
        return self.checkpoint.is_end


_KEPT: Final = (
    *(
        "key",
        "owner",
        "checkpoint_owner",
        "checkpoint",
        "parents",
        "children",
        "hash_range",
        "throughput_kbps",
        "stream",
    ),
    *("start_at", "created_at", "app", "rules", "newcomer", "entity_type", "extra"),
)


def share_values(lease: Lease, known: Lease) -> None:
    """Let ``lease`` have the very objects of ``known`` where both are equal; it stays what it was.

    Each reply brings all texts of a row anew, and ten thousand leases are kept, as they began and as they are.
    """
    for name in _KEPT:
        value = getattr(known, name)
        if getattr(lease, name) == value:
            object.__setattr__(lease, name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker's metric row (KCL WORKER_METRIC_STATS), by which peers see that it lives.

    ``beat`` is None in a row that a KCL wrote. ``failover_seconds`` is the failover time that worker runs with: others
    suspect its leases only after the longer of theirs and its own. ``max_leases`` is None for no limit. ``updated_at``
    (``lut``, epoch seconds) is written for a KCL's sake and never compared by us.

    ``samples`` (``sts``) has averages by the KCL's short names ("C" is CPU), oldest first, -1 for a period without one;
    ``ranges`` (``opr``) has each one's operating range, the greatest use first. ``support`` (``sup``) is 1 for who
    understands one table for all rows, ``support_updated_at`` (``slu``) says in epoch seconds when that was last said;
    None where a row does not say. ``entity_type`` is None in a row of KCL 3.0 to 3.4.
    """

    worker_id: str
    beat: int | None
    draining: bool = False
    failover_seconds: float | None = None
    max_leases: int | None = None
    updated_at: int = 0
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    support: int | None = 1
    support_updated_at: int | None = None
    entity_type: str | None = WORKER_ENTITY
    extra: Mapping[str, AttributeValue] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """A row of no kind that leasing knows: a KCL's stream, or something unknown."""

    key: str
    entity_type: str | None
    item: Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class TableScan:
    """Every row of the table as one scan saw it, each kind sorted by key; ``unreadable`` rows as (key, reason).

    ``lock``, ``client_version`` and ``table_migration`` are rows of a KCL 3.5 or newer, None where there is none *in
    this table* (``layout_of`` knows of the others); one whose shape no KCL writes is among the unreadable.
    """

    leases: tuple[Lease, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    foreign: tuple[ForeignRow, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    lock: LeaderLock | None = None
    client_version: ClientVersion | None = None
    table_migration: TableMigration | None = None
