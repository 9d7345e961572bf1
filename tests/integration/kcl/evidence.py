"""What the exchanges and notes of a mixed fleet prove: who led, how leases went from hand to hand, what was wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from consumer.testing.proxy import Exchange
from lease_store.checkpoint import Checkpoint
from tests.integration.ledger import Note, records
from tests.integration.table_writes import RowWrite, row_key, writes_of

__all__ = ["LEGACY", "Passage", "Reign", "passages", "reigns", "setbacks", "unexpected_errors"]

_WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
_SHOWN: Final = 160
LEGACY: Final = ("-CoordinatorState", "-WorkerMetricStats")
Told = tuple[str, Exchange]
"""An exchange with the table, and the member whose it was."""


@dataclass(frozen=True, slots=True)
class Reign:
    """How long one member held the 3.x leader's lock, and how often it read the whole lease table meanwhile.

    A KCL reads it once in each run of its assignment, in parallel segments; a Python leader plans with each scan.
    """

    name: str
    since: float
    until: float
    runs: int

    @property
    def seconds(self) -> float:
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Passage:
    """A shard's records came from one member and then from another: how long none came in between."""

    shard_id: str
    giver: str
    receiver: str
    at: float
    silence_seconds: float


def reigns(told: Iterable[Told], now: float) -> list[Reign]:
    """The holders of the lock in their order; the last one's reign lasts until ``now``, unless it released."""
    found: list[Reign] = []
    scans: list[tuple[float, str]] = []
    for name, exchange in told:
        if exchange.reply is None or exchange.reply.status != 200:
            continue
        at = exchange.answered_at or exchange.at
        if _is_whole_scan(exchange):
            scans.append((at, name))
        if exchange.request.operation not in _WRITES or row_key(exchange.fields) != "Leader":
            continue
        current = found[-1] if found and found[-1].until == now else None
        is_release = exchange.request.operation == "DeleteItem"
        if current is not None and (is_release or current.name != name):
            found[-1] = Reign(current.name, current.since, at, 0)
        if not is_release and (current is None or current.name != name):
            found.append(Reign(name, at, now, 0))
    return [_with_runs(each, scans) for each in found]


def _with_runs(reign: Reign, scans: Sequence[tuple[float, str]]) -> Reign:
    runs = sum(name == reign.name and reign.since <= at <= reign.until for at, name in scans)
    return Reign(reign.name, reign.since, reign.until, runs)


def _is_whole_scan(exchange: Exchange) -> bool:
    """A scan's first page, and of a parallel one the first segment; a KCL's other scans are not parallel.

    Scans of an older KCL's own tables are none of the lease table.
    """
    fields = exchange.fields
    if exchange.request.operation != "Scan" or "ExclusiveStartKey" in fields:
        return False
    if fields.get("TableName", "").endswith(LEGACY):
        return False
    is_java = "aws-sdk-java" in exchange.request.headers.get("User-Agent", "")
    return fields.get("Segment") == 0 if is_java else not fields.get("Segment")


def passages(notes: Iterable[Note]) -> list[Passage]:
    """Each change of who is given a shard's records, in the order of time."""
    last: dict[str, Note] = {}
    found = []
    for note in records(notes):
        before = last.get(note.shard_id)
        if before is not None and before.worker != note.worker:
            found.append(Passage(note.shard_id, before.worker, note.worker, note.at, note.at - before.at))
        last[note.shard_id] = note
    return found


def setbacks(told: Iterable[Told]) -> list[str]:
    """Accepted writes that put a lease's checkpoint below an earlier one, whoever wrote it."""
    stored: dict[str, list[tuple[str, Checkpoint]]] = {}
    for name, exchange in told:
        for write in writes_of(exchange):
            position = _checkpoint(exchange, write)
            if position is not None and write.key is not None:
                stored.setdefault(write.key, []).append((name, position))
    return [
        f"{key}: {later} by {name} after {earlier}"
        for key, history in stored.items()
        for (_, earlier), (name, later) in pairwise(history)
        if later < earlier
    ]


def _checkpoint(exchange: Exchange, write: RowWrite) -> Checkpoint | None:
    """The checkpoint that a change of a row stores: in the KCL's parameters, or in the row that a write of ours tells.

    A row's first one is none of these: a row that was deleted and made anew may begin earlier.
    """
    if write.error is not None or exchange.request.operation == "PutItem":
        return None
    updates = exchange.fields.get("AttributeUpdates")
    if updates is not None:
        row = {name: each["Value"] for name, each in updates.items() if "Value" in each}
    else:
        row = dict(write.row or {})
    if "checkpoint" not in row:
        return None
    return Checkpoint(row["checkpoint"]["S"], int(row.get("checkpointSubSequenceNumber", {}).get("N", 0)))


def unexpected_errors(lines: Mapping[str, Sequence[str]], is_expected: Callable[[str], bool]) -> list[str]:
    """The beginnings of the ERROR lines of Java members for which there is no other reason, each once a member."""
    found = {f"{name}: {line[:_SHOWN]}" for name, each in lines.items() for line in each if not is_expected(line)}
    return sorted(found)
