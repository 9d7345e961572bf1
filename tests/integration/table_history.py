"""Every accepted write to the lease table, row by row, as proxies before it saw them; and what must be true of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from consumer.testing.proxy import Exchange, Proxy
from lease_store.item import lease_of
from lease_store.lease import Lease
from tests.integration.table_writes import writes_of

__all__ = [
    "Stored",
    "by_row",
    "early_ends",
    "is_named",
    "is_take",
    "refused",
    "stored_by",
    "table_history",
    "wrong_writes",
]


@dataclass(frozen=True, slots=True)
class Stored:
    """A lease row as one accepted write of ``by`` left it.

    The table applied it between ``asked_at``, when the request came to the proxy, and ``answered_at``, by the monotonic
    clock of the machine.
    """

    by: str
    lease: Lease
    asked_at: float = 0.0
    answered_at: float = 0.0


def stored_by(name: str, exchange: Exchange) -> list[Stored]:
    """The lease rows that one exchange of the worker ``name`` left in the table."""
    leases = [lease_of(write.row) for write in writes_of(exchange) if write.error is None and write.row]
    answered_at = exchange.answered_at or exchange.at
    return [Stored(name, lease, exchange.at, answered_at) for lease in leases if lease is not None]


def refused(exchange: Exchange) -> int:
    """How many writes the table refused because their conditions did not hold."""
    return sum(write.is_refused for write in writes_of(exchange))


def by_row(writes: Iterable[Stored]) -> dict[str, list[Stored]]:
    """The writes of each row in the order in which the table took them, by the row's key and birth.

    The counter tells the order: each write moves it by one, but for the start of a hand-off, which comes after the
    write whose counter it leaves alone. A row that was deleted and made anew is another row.
    """
    rows: dict[str, list[Stored]] = {}
    for stored in writes:
        rows.setdefault(f"{stored.lease.key}@{stored.lease.created_at}", []).append(stored)
    for history in rows.values():
        history.sort(key=lambda each: (each.lease.counter, each.lease.is_pending))
    return rows


def table_history(proxies: Mapping[str, Proxy]) -> dict[str, list[Stored]]:
    """Every accepted write to each lease, in order; ``proxies`` stand before the table, one a worker, by its name."""
    exchanges = ((name, exchange) for name, proxy in proxies.items() for exchange in proxy.exchanges)
    rows = by_row(stored for name, exchange in exchanges for stored in stored_by(name, exchange))
    return {history[0].lease.key: history for history in rows.values()}


def wrong_writes(history: Sequence[Stored], *, failover_seconds: float = 0.0) -> list[str]:
    """What must not stand in one row's history.

    That is: gaps, checkpoints that go back, writes by who did not own the row at that moment, any write after
    SHARD_END, and a take from an owner whose last sign of life was less than ``failover_seconds`` ago. A hand-off that
    a dead owner left pending is ended by a take, or by the next owner who passes the row on because it leaves itself.
    """
    found = []
    moved_at = history[0].asked_at
    for before, after in pairwise(history):
        old, new = before.lease, after.lease
        what = f"{new.key} at counter {new.counter} by {after.by}"
        starts_hand_off = new.counter == old.counter and new.is_pending and not old.is_pending
        is_foreign = not is_named(old.actual_owner, after.by)
        is_passed_on = old.is_pending and not new.is_pending and is_named(old.owner, after.by)
        seizes = is_foreign and (is_passed_on or is_take(before, after))
        silent = after.asked_at - moved_at
        if new.counter != old.counter + 1 and not starts_hand_off:
            found.append(f"{what}: follows counter {old.counter}")
        if new.checkpoint < old.checkpoint:
            found.append(f"{what}: checkpoint {new.checkpoint} after {old.checkpoint}")
        if old.is_finished:
            found.append(f"{what}: written after SHARD_END")
        if starts_hand_off and is_foreign and not is_named(new.owner, after.by):
            found.append(f"{what}: hands the lease of {old.actual_owner} to {new.owner}")
        if not starts_hand_off and is_foreign and not seizes:
            found.append(f"{what}: owned by {old.actual_owner}")
        if seizes and old.actual_owner is not None and silent < failover_seconds:
            found.append(f"{what}: taken from {old.actual_owner} after a silence of {silent:.2f} s")
        if not starts_hand_off:
            moved_at = after.asked_at
    return found


def early_ends(rows: Mapping[str, Sequence[Stored]]) -> list[str]:
    """Rows at SHARD_END that name a child for which nobody had asked to make a row by then."""
    born: dict[str, float] = {}
    for history in rows.values():
        first = history[0]
        born[first.lease.key] = min(first.asked_at, born.get(first.lease.key, first.asked_at))
    ends = [next((each for each in history if each.lease.is_finished), None) for history in rows.values()]
    return [
        f"{end.lease.key} ended by {end.by} before the row of {child}"
        for end in ends
        if end is not None
        for child in end.lease.children
        if born.get(child, inf) > end.asked_at
    ]


def is_take(before: Stored, after: Stored) -> bool:
    """Whether ``after.by`` became the owner of what somebody else, or nobody, owned."""
    old, new = before.lease, after.lease
    return not is_named(old.actual_owner, after.by) and not new.is_pending and is_named(new.owner, after.by)


def is_named(worker_id: str | None, name: str) -> bool:
    """Whether the worker was started under that name."""
    return (worker_id or "").rpartition("-")[0] == name
