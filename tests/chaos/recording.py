"""All that is known of a campaign once it is over: what the judge goes by, and what is kept for a second look."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from lease_store.item import lease_of, to_item
from tests.chaos.plan import SourceKind, StopKind, TroubleKind
from tests.integration.ledger import Note, Written
from tests.integration.table_history import Stored

__all__ = ["Recording", "Spoilt", "Stopped", "kept", "load"]

_WRITES: Final = "lease-writes.jsonl"
_NOTES: Final = "user-code.jsonl"
_REST: Final = "campaign.json"


@dataclass(slots=True)
class Stopped:
    """A process that was sent a signal ``at`` that time; ``woken_at`` is when a frozen one was let go on."""

    worker: str
    kind: StopKind
    at: float
    woken_at: float | None = None


@dataclass(frozen=True, slots=True)
class Spoilt:
    """What a proxy did between a worker and the servers on one ``side``, and when; for whoever looks closer."""

    worker: str
    kind: TroubleKind
    side: str
    at: float
    until: float


@dataclass(slots=True)
class Recording:
    """One campaign. All times are seconds of the machine's monotonic clock, which its processes share.

    ``writes`` are the accepted writes to the lease table as proxies saw them, ``notes`` what user code was told,
    ``written`` what the writer wrote, ``parents`` every shard that was ever seen with its parents, ``exits`` the exit
    codes by worker, ``tracebacks`` the workers whose logs have one, ``unborn`` those that ended before they said a
    word, ``done`` and ``spoilt`` counts of what was done to processes and shards, and to calls.
    """

    source: SourceKind
    seed: int
    failover_seconds: float
    rounds: int = 0
    seconds: float = 0.0
    writes: list[Stored] = field(default_factory=list)
    refused: int = 0
    notes: Sequence[Note] = ()
    written: Sequence[Written] = ()
    parents: dict[str, Sequence[str]] = field(default_factory=dict)
    stopped: list[Stopped] = field(default_factory=list)
    troubles: list[Spoilt] = field(default_factory=list)
    exits: dict[str, int] = field(default_factory=dict)
    tracebacks: list[str] = field(default_factory=list)
    unborn: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    spoilt: dict[str, int] = field(default_factory=dict)


def kept(recording: Recording, folder: Path) -> None:
    """Write it down in ``folder``, for ``load``."""
    _write_lines(
        folder / _WRITES,
        (
            {"by": each.by, "asked_at": each.asked_at, "answered_at": each.answered_at, "row": to_item(each.lease)}
            for each in recording.writes
        ),
    )
    _write_lines(folder / _NOTES, (asdict(note) for note in recording.notes))
    own = ("writes", "notes", "written", "stopped", "troubles")
    rest = {name: getattr(recording, name) for name in Recording.__slots__ if name not in own}
    rest["written"] = list(recording.written)
    rest["stopped"] = [asdict(each) for each in recording.stopped]
    rest["troubles"] = [asdict(each) for each in recording.troubles]
    (folder / _REST).write_text(json.dumps(rest))


def load(folder: Path) -> Recording:
    """A recording that was kept."""
    rest = json.loads((folder / _REST).read_text())
    rest["written"] = [(key, version) for key, version in rest["written"]]
    rest["stopped"] = [Stopped(**each | {"kind": StopKind(each["kind"])}) for each in rest["stopped"]]
    rest["troubles"] = [Spoilt(**each | {"kind": TroubleKind(each["kind"])}) for each in rest["troubles"]]
    writes = []
    for line in _lines(folder / _WRITES):
        lease = lease_of(line.pop("row"))
        if lease is not None:
            writes.append(Stored(lease=lease, **line))
    return Recording(**rest, writes=writes, notes=[Note(**line) for line in _lines(folder / _NOTES)])


def _write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
