"""A KCL worker's way to the simulated table: the journeys of every other worker's calls, with the KCL's patience.

Its software kit sends a call again by itself where the connection breaks; a write that was applied then meets itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from lease_store.attributes import Place
from lease_store.errors import LeaseStoreError
from lease_store.store import Applied
from tests.simulation.kcl.requests import Request
from tests.simulation.kcl.rows import Item, is_lease
from tests.simulation.store import SimStore

__all__ = ["Reply", "Wire", "WireError"]

T = TypeVar("T")

_MOST_TRIES: Final = 3


class WireError(Exception):
    """A call that failed: what became of it is not known."""


class Reply(NamedTuple):
    """Whether the condition held, and the row as it then stands."""

    done: bool
    item: Item | None


class Wire(SimStore):
    """What a KCL worker calls; each call raises WireError. ``request_seconds``: how long it waits for a reply."""

    request_seconds = 60.0

    async def send(self, request: Request) -> Reply:
        """One conditional write; where the connection breaks, it is sent again."""
        return await self._patiently(request.verb, lambda: self._arrived(request))

    def _arrived(self, request: Request) -> Reply:
        write = request.at(self._table.item(request.key, request.place))
        self._table.sending(self._worker, write)
        result = self._table.write_as(self._worker, write)
        return Reply(isinstance(result, Applied), self._table.item(request.key, request.place))

    async def get_beside(self, key: str, place: Place) -> Item | None:
        """One row of the coordinator's table, by a consistent read."""
        return await self._patiently("get", lambda: self._table.item(key, place))

    async def reports(self) -> list[Item]:
        """Every row of the table of metrics, by the key of a lease table."""
        rows = await self._patiently("scan", lambda: self._table.beside._all("metrics") or [])
        return [{**row, "leaseKey": row["wid"], "entityType": {"S": "WORKER_METRIC_STATS"}} for row in rows]

    async def get(self, key: str, *, consistent: bool = False) -> Item | None:
        """One row; by default as it may have been a while ago, which is how the KCL reads leases."""
        lag = 0.0 if consistent else self._lag()()
        return await self._patiently("get", lambda: self._table.item_as_of(key, lag))

    async def all_rows(self) -> list[Item]:
        """Every row, each as it may have been a while ago."""
        return await self._patiently("scan", lambda: self._table.items_as_of(self._lag()))

    async def keys_of(self, worker: str) -> list[str]:
        """The index of owners: leases whose ``leaseOwner`` is this worker, late as any index."""
        rows = await self._patiently("query", lambda: self._table.items_as_of(self._lag()))
        return [row["leaseKey"]["S"] for row in rows if row.get("leaseOwner", {}).get("S") == worker and is_lease(row)]

    async def _patiently(self, call: str, act: Callable[[], T]) -> T:
        self._count(call)
        for _ in range(_MOST_TRIES):
            try:
                async with self._clock.timeout(self.request_seconds):
                    return await self._send(call, act)
            except ConnectionError:
                continue
            except TimeoutError:
                raise WireError(f"no reply to {call}") from None
            except LeaseStoreError as error:
                raise WireError(str(error)) from error
        raise WireError(f"the connection broke under {call}")
