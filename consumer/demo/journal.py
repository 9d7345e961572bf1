"""What the writer wrote and what the processors were given: a line of JSON each, appended by single unbuffered writes.

All times are seconds of the machine's one monotonic clock, so that lines of different processes can be compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["Appender", "DamagedJournal", "Delivery", "Follower", "Write", "read_deliveries", "read_writes"]


class DamagedJournal(Exception):
    """A line of a journal can't be read."""


@dataclass(frozen=True, slots=True)
class Write:
    """A change that the table or stream acknowledged. ``version`` counts the changes of this key from 1 on."""

    key: str
    version: int
    operation: str
    at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record that a processor was given. ``tenure`` is the fencing token of the lease it held."""

    shard_id: str
    key: str
    sequence_number: str
    version: int
    worker: str
    tenure: int
    at: float


Line = TypeVar("Line", Write, Delivery)


class Appender:
    """A file that only grows, a batch of lines at a time; what was appended survives a kill -9 of its process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, lines: Sequence[Write | Delivery]) -> None:
        """One system call for all of ``lines``. Raises OSError where not all was taken, such as by a full disk."""
        content = b"".join(json.dumps(asdict(line), separators=(",", ":")).encode() + b"\n" for line in lines)
        taken = os.write(self._descriptor, content)
        if taken != len(content):
            raise OSError(f"{self._path} took only {taken} of {len(content)} bytes.")

    def close(self) -> None:
        """Close the file; nothing is lost by not doing so."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Follower(Generic[Line]):
    """Reads on in a file that another process appends to; it may not be there yet."""

    def __init__(self, path: Path, kind: type[Line]) -> None:
        self._path = path
        self._kind: type[Line] = kind
        self._offset = 0

    def new(self) -> list[Line]:
        """The whole lines since the last call. Raises DamagedJournal."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        # Half a line is one that is being written, or that a kill -9 cut off: it was never acknowledged.
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [_parsed(line, self._kind, self._path) for line in whole.splitlines()]


def read_writes(path: Path) -> list[Write]:
    """The writer's whole journal, in its order. Raises DamagedJournal."""
    return Follower(path, Write).new()


def read_deliveries(paths: Iterable[Path]) -> list[Delivery]:
    """What all processors wrote down, file after file. Raises DamagedJournal."""
    return [delivery for path in paths for delivery in Follower(path, Delivery).new()]


def _parsed(line: bytes, kind: type[Line], path: Path) -> Line:
    try:
        return kind(**json.loads(line))
    except (TypeError, ValueError) as error:
        raise DamagedJournal(f"{path.name} has a line that is no {kind.__name__.lower()}: {error}") from error
