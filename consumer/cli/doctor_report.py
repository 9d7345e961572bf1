"""The doctor's findings as lines of text, for a terminal of any width or for none."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from consumer.leasing.names import seems_ours
from consumer.operate.findings import Diagnosis, LeasesFound, LockFound, StreamFound, WorkerFound, counted
from consumer.operate.prospects import PLACES

__all__ = ["report"]

_LABEL: Final = 12
# Below this the labels stand on lines of their own: beside them, a sentence would be three words wide.
_BESIDE_FROM: Final = 60
_MOST_ENTRIES: Final = 50
# A KCL writes its metric row every 30 s.
_ROWS_MOVE_SECONDS: Final = 35.0


def report(found: Diagnosis, *, width: int | None) -> Iterator[str]:
    """The lines; ``width`` None: nothing is wrapped."""
    for label, entries in _sections(found):
        yield from _section(label, [_printable(entry) for entry in _first(entries)], width)


def _sections(found: Diagnosis) -> Iterator[tuple[str, Sequence[str]]]:
    yield "table", [found.table + ("" if found.exists else ": it does not exist yet")]
    yield "looked", [_looked(found)]
    yield "made by", found.made_by or ["nobody yet: it has no rows"]
    yield "mode", [f"{found.mode}, since {found.because}"]
    yield "layout", [_layout(found)]
    yield "versions", [f"client {found.client_version or 'not stored'}, tables {found.table_migration or 'not stored'}"]
    yield "lock", [_lock(lock) for lock in found.locks] or ["no lock row"]
    yield "index", [_INDEX[found.has_index]]
    yield "leases", list(_leases(found.leases))
    is_long = found.watched_seconds >= _ROWS_MOVE_SECONDS
    rowless = "no row, as nobody in mode 2x" if found.mode == "2x" else "no row (a KCL 2.x writes none)"
    yield "workers", [_worker(each, rowless=rowless, is_long=is_long) for each in found.workers] or ["none"]
    if found.hand_offs:
        yield (
            "hand-offs",
            [
                f"{each.lease}: from {each.from_worker} to {each.to_worker}, seen for {each.seconds:.0f} s"
                for each in found.hand_offs
            ],
        )
    if found.unreadable:
        yield "unreadable", [f"{key or '(no key)'}: {reason}" for key, reason in found.unreadable]
    if found.foreign:
        yield "unknown", [f"{key}: a row of type {kind or '(none)'}, left alone" for key, kind in found.foreign]
    if found.stream is not None:
        yield "stream", [_stream(found.stream)]
    if found.refusals:
        yield "refused", found.refusals
    else:
        yield "joining", found.joining
    yield "verdict", ["a worker may join" if found.is_joinable else "a worker that joined would stop with these words"]


_INDEX: Final[Mapping[bool | None, str]] = {
    True: "leases by owner: there",
    False: "leases by owner: not there, or not active yet",
    None: "leases by owner: not known (no table, or dynamodb:Query on its index is denied)",
}


def _looked(found: Diagnosis) -> str:
    if found.looks == 1:
        return "once: who lives is not known; --watch 35 tells"
    return f"{found.looks} times in {found.watched_seconds:.0f} s"


def _layout(found: Diagnosis) -> str:
    if found.has_legacy_tables is None:
        return "not known: whether a KCL 3.0 to 3.4 has tables beside this one may not be read"
    if not found.has_legacy_tables:
        return "one table"
    return f"legacy tables: the lock in {PLACES[found.lock_at]}, metric rows of ours in {PLACES[found.workers_at]}"


def _lock(lock: LockFound) -> str:
    state = "released" if lock.is_released else f"held for {lock.duration_seconds:g} s from each heartbeat"
    return f"{lock.owner}, {state}, in {PLACES[lock.place]}{_moved(lock.moved)}"


def _leases(leases: LeasesFound) -> Iterator[str]:
    rows = counted(leases.total, "row")
    yield f"{rows}, {leases.finished} finished, {leases.free} free, {leases.not_begun} not begun"
    for number, what in (
        (leases.at_latest, "at LATEST, without an instant"),
        (leases.at_timestamp, "at AT_TIMESTAMP, without the instant"),
        (leases.prepared, "with a prepared checkpoint"),
        (leases.inside_aggregates, "with a checkpoint inside a KPL aggregate"),
        (leases.multi_stream, "of a multi-stream KCL"),
    ):
        if number:
            yield f"{number} {what}"


def _worker(worker: WorkerFound, *, rowless: str, is_long: bool) -> str:
    """``is_long``: the table was watched for long enough to see every worker's row move that is written at all."""
    by_name = "named as Leasehold's are, " if seems_ours(worker.worker_id) else ""
    whose = by_name + rowless if worker.library == "unknown" else worker.library
    parts = [f"{worker.worker_id}: {whose}", counted(len(worker.leases), "lease")]
    if worker.receiving:
        parts.append(f"{len(worker.receiving)} on the way to it")
    if worker.cpu_percent is not None:
        parts.append("its last sample failed" if worker.cpu_percent < 0 else f"CPU {worker.cpu_percent:.0f} %")
    if worker.moved:
        parts.append("lives" if worker.row_moved is not False or not is_long else "lives, though its row stood still")
    elif worker.moved is not None:
        parts.append("nothing of it moved")
    return ", ".join(parts)


def _moved(moved: bool | None) -> str:
    return "" if moved is None else ", moved" if moved else ", did not move"


def _stream(stream: StreamFound) -> str:
    switched = "" if stream.enabled else ", switched off"
    return (
        f"{stream.name}{switched}: {counted(stream.shards, 'shard')}, among them {stream.listed} of the "
        f"{counted(stream.unfinished, 'lease')} that are not finished"
    )


def _first(entries: Sequence[str]) -> Sequence[str]:
    """As many as are read."""
    if len(entries) <= _MOST_ENTRIES:
        return entries
    return [*entries[:_MOST_ENTRIES], f"and {len(entries) - _MOST_ENTRIES} more: --json has them all"]


def _printable(text: str) -> str:
    """Names in rows are anybody's: none of them moves the cursor or begins a line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _section(label: str, entries: Iterable[str], width: int | None) -> Iterator[str]:
    if width is None:
        yield from (f"{label:<{_LABEL}}{entry}" for entry in entries)
        return
    indent = " " * (_LABEL if width >= _BESIDE_FROM else 2)
    first = f"{label:<{_LABEL}}" if width >= _BESIDE_FROM else indent
    if width < _BESIDE_FROM:
        yield label
    for entry in entries:
        yield from textwrap.wrap(entry, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)
        first = indent
