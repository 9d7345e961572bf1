"""The checkpoints that a worker's shards store at one moment, by as few requests as there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from consumer.errors import LeaseLost
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_calls import LeaseCalls, Writing
from lease_store.checkpoint import Checkpoint
from lease_store.errors import LeaseStoreError

__all__ = ["Checkpoints", "Told", "Wanted"]

Wanted = tuple[HeldLease, Checkpoint]
Told = Callable[[HeldLease, LeaseLost | LeaseStoreError | None], None]


class Checkpoints:
    """Stores progress under many tenures. Lives on the lease loop."""

    def __init__(self, calls: LeaseCalls) -> None:
        self._calls = calls

    async def store(self, wanted: Sequence[Wanted], told: Told) -> None:
        """Until each is stored or has failed; ``told`` hears of each at once, with what went wrong (None: it stands).

        A lease that another write has in hand, or that is being handed over, goes by itself: it keeps nobody waiting.
        """
        alone = [each for each in wanted if not each[0].goes_together]
        rest = [each for each in wanted if each[0].goes_together]
        most = self._calls.most_together
        groups = [rest[first : first + most] for first in range(0, len(rest), most)]
        await asyncio.gather(
            *(self._alone(each, told) for each in alone), *(self._group(each, told) for each in groups)
        )

    async def _group(self, group: Sequence[Wanted], told: Told) -> None:
        async with asyncio.TaskGroup() as alone:
            await self._calls.places.take()
            begun = list[Writing]()
            for held, checkpoint in group:
                ended = partial(_tell, told, held)
                writing = held.begin_checkpoint(checkpoint, ended, together=len(group) > 1)
                if writing is None:
                    alone.create_task(self._alone((held, checkpoint), told))
                else:
                    begun.append(writing)
            await self._calls.carry(begun)

    async def _alone(self, wanted: Wanted, told: Told) -> None:
        held, checkpoint = wanted
        try:
            await held.checkpoint(checkpoint)
        except (LeaseLost, LeaseStoreError) as error:
            told(held, error)
        else:
            told(held, None)


def _tell(told: Told, held: HeldLease, writing: Writing) -> None:
    if not writing.was_abandoned:
        told(held, writing.error)
