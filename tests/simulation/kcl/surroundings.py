"""What a simulated KCL worker finds around it."""

from __future__ import annotations

from typing import Any, Protocol

from tests.simulation.leases.draw import Work
from tests.simulation.network import Network
from tests.simulation.store import SimTable

__all__ = ["JavaWitness", "Surroundings"]


class JavaWitness(Protocol):
    """Who is told what happens. Workers and tenures are those of any kind of worker."""

    def began(self, worker: Any, held: Any) -> None: ...
    def slice_began(self, worker: Any, held: Any, record: int) -> None: ...
    def slice_ended(self, worker: Any, held: Any, record: int, *, returned: bool) -> None: ...
    def left(self, worker: Any) -> None: ...
    def note(self, what: str) -> None: ...


class Surroundings(Protocol):
    """The world of a worker."""

    table: SimTable
    witness: JavaWitness

    @property
    def is_faultless(self) -> bool:
        """Whether nothing ever goes wrong in it but deaths."""
        ...

    def network_of(self, worker: Any) -> Network: ...
    def work(self) -> Work: ...
    def records_in(self, key: str) -> int | None:
        """How many records the shard has; None while it is open."""
        ...

    def shards(self) -> tuple[str, ...]:
        """The shards with which the stream began."""
        ...

    def throughput_of(self, key: str) -> float:
        """KB a second that a shard gives."""
        ...
