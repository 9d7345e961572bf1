"""What a shard consumer may do with its lease: the whole of the seam between ``shards`` and ``leasing``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from consumer.streams.source import Shard
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease

__all__ = ["StopReason", "Tenure"]

StopReason = Literal["hand_off", "release", "drain", "lost"]
"""Why a shard consumer must stop.

The lease goes to a peer, or to whoever comes (beside a KCL 2.x), the worker stops, or the tenure is over already.
"""


class Tenure(Protocol):
    """One worker's time as owner of one lease, seen from the worker's own loop; thrown away when over, never revived.

    ``lease`` is the row as it was when the tenure began: the position to start from. After ``started`` it is any later
    one. ``fencing_token`` is its counter when it began.
    """

    @property
    def lease(self) -> Lease: ...
    @property
    def fencing_token(self) -> int: ...

    @property
    def is_trusted(self) -> bool:
        """Whether user code may begin a slice of work now; to be asked before each batch."""
        ...

    def delivered(self, size_bytes: int) -> None:
        """Note what is given to user code: the lease's row tells a leader how much its shard carries."""
        ...

    def started(self) -> None:
        """The position to start from was used, and is not asked for again."""
        ...

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Store progress. Raises LeaseLost when the tenure is over, LeaseStoreError when it may be tried again."""
        ...

    async def prepare(self, checkpoint: Checkpoint, state: bytes | None) -> None:
        """Store a checkpoint that is not meant yet, and the user's own bytes; raises as ``checkpoint`` does."""
        ...

    async def let_go(self, *, shutdown_called: bool) -> bool:
        """After the last checkpoint of a stopping shard: finish the hand-off, or release. True: the tenure is over.

        False: the hand-off was taken back and the tenure goes on as before. Where ``shutdown_called`` and it was taken
        back, the tenure is over all the same (a new one, with a new processor, follows).
        """
        ...

    async def end_shard(self, children: Sequence[Shard]) -> None:
        """Create the rows of ``children``, then store SHARD_END; the tenure is over.

        Raises as ``checkpoint`` does, and StreamError.
        """
        ...

    async def parents_done(self) -> None:
        """Return once every parent's row is at SHARD_END, or is known to be gone from table and stream."""
        ...
