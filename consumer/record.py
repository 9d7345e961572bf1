"""Records as user code sees them: what both kinds of stream share, and the batch they come in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar, overload, runtime_checkable

if TYPE_CHECKING:
    from consumer.failures import Failure

__all__ = ["Record", "Records", "ViewType"]


class ViewType(StrEnum):
    """Which images a DynamoDB stream carries."""

    KEYS_ONLY = "KEYS_ONLY"
    NEW_IMAGE = "NEW_IMAGE"
    OLD_IMAGE = "OLD_IMAGE"
    NEW_AND_OLD_IMAGES = "NEW_AND_OLD_IMAGES"


@runtime_checkable
class Record(Protocol):
    """What delivery, checkpoints and lag need of a record; ``streams`` has the two kinds with everything else."""

    @property
    def sequence_number(self) -> str:
        """Decimal digits, ascending within a shard."""
        ...

    @property
    def sub_sequence_number(self) -> int:
        """Place within an aggregated Kinesis record; 0 otherwise."""
        ...

    @property
    def size_bytes(self) -> int:
        """As the service counts it."""
        ...

    @property
    def timestamp(self) -> float | None:
        """When the service says the record arose, epoch seconds (DynamoDB: a whole second)."""
        ...

    @property
    def key(self) -> str:
        """Records of a shard that have one key are processed in order; payload, never to be logged."""
        ...

    @property
    def failure(self) -> Failure | None:
        """What ``fail`` noted since the record was last handed to user code; None for one that has not failed."""
        ...

    @property
    def redriven(self) -> bool:
        """Whether it comes out of a store of dead letters, and not from its stream."""
        ...

    def fail(self, error: BaseException | str) -> None:
        """Note that this record failed, and why."""
        ...

    def clear_failure(self) -> None:
        """Take back what ``fail`` noted."""
        ...

    def detach(self) -> Self:
        """Let go of the page that it came in, to outlive its batch; the record itself."""
        ...


RecordT = TypeVar("RecordT", bound=Record)


class Records(Sequence[RecordT], Generic[RecordT]):
    """One batch of one shard, in order.

    ``view_type`` says which images the stream carries (None for Kinesis), ``shard_id`` where the batch comes from,
    ``millis_behind_latest`` how far behind the tip its page was, None where the service does not say.
    """

    __slots__ = ("_records", "millis_behind_latest", "shard_id", "view_type")

    def __init__(
        self,
        records: Sequence[RecordT],
        *,
        shard_id: str,
        view_type: ViewType | None = None,
        millis_behind_latest: int | None = None,
    ) -> None:
        self._records = records
        self.shard_id = shard_id
        self.view_type = view_type
        self.millis_behind_latest = millis_behind_latest

    @overload
    def __getitem__(self, index: int) -> RecordT: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RecordT]: ...
    def __getitem__(self, index: int | slice) -> RecordT | Sequence[RecordT]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[RecordT]:
        # The list's own: a Sequence's asks by index, at eight times the price.
        return iter(self._records)

    def __reversed__(self) -> Iterator[RecordT]:
        return reversed(self._records)

    def __repr__(self) -> str:
        return f"<{len(self)} records of {self.shard_id}>"
