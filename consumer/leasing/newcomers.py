"""Workers of ours that have come to a table where nobody has a row, and that no lease names yet."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lease_store.lease import Lease

__all__ = ["Newcomers"]


class Newcomers:
    """Who has said in some row that it came, since I look; counted for ``seconds`` or until a lease names it.

    What stands in the rows at my first look is old: its writer has a lease by now, or is gone.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._said: dict[str, str] | None = None
        self._came_at: dict[str, float] = {}
        self._announcements = 0

    def announcement(self, me: str) -> str:
        """What I am to write into a row: my name, and a number, for what stands there already is no news."""
        self._announcements += 1
        return f"{me}/{self._announcements}"

    def see(self, table: Iterable[Lease], living: Collection[str], now: float) -> None:
        """Note a look at the table; ``living`` are the owners of leases."""
        said = {lease.key: lease.newcomer for lease in table if lease.newcomer is not None}
        for key, announcement in said.items():
            if self._said is not None and self._said.get(key) != announcement:
                self._came_at[announcement.rpartition("/")[0]] = now
        self._said = said
        expired = [name for name, at in self._came_at.items() if name in living or now >= at + self._seconds]
        for name in expired:
            del self._came_at[name]

    def waiting(self, now: float) -> tuple[str, ...]:
        """Those to be counted now, sorted."""
        return tuple(sorted(name for name, at in self._came_at.items() if now < at + self._seconds))
