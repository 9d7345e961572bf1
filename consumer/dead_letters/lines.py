"""Letters in a file of lines: where each of them lies, and what was removed since. No lock, no clock, no loop."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from sys import intern
from typing import BinaryIO, Final, NamedTuple

from consumer.dead_letters.envelope import decode
from consumer.dead_letters.letter import Identity
from consumer.dead_letters.store import Unreadable
from consumer.errors import DeadLetterUnreadable

__all__ = ["Line", "LineIndex", "tombstone"]

_MOST_TOLD: Final = 1000
_REMOVED: Final = "removed"


class Line(NamedTuple):
    """A line's place."""

    at: int
    length: int


def tombstone(identity: Identity) -> bytes:
    """The line that says that a letter which lies before it is gone."""
    return json.dumps({"leasehold": {_REMOVED: str(identity)}}).encode("ascii") + b"\n"


@dataclass(slots=True)
class LineIndex:
    """Where letters lie, up to ``end``; a line without its end was never acknowledged and does not count.

    The last line of an identity counts. ``unreadable`` has the first 1,000 lines that are no letters.
    """

    lines: dict[Identity, Line] = field(default_factory=dict)
    unreadable: dict[Line, Unreadable] = field(default_factory=dict)
    end: int = 0

    def read_on(self, file: BinaryIO, name: str) -> None:
        """Take in what was added since; the file is read once, a line at a time."""
        file.seek(self.end)
        while (line := file.readline()).endswith(b"\n"):
            place = Line(self.end, len(line))
            self.end += len(line)
            try:
                self._take(line, place)
            except DeadLetterUnreadable as error:
                if len(self.unreadable) < _MOST_TOLD:
                    self.unreadable[place] = Unreadable(f"{name}, byte {place.at:,}", str(error))

    @property
    def live_bytes(self) -> int:
        """What the file would have without lines that are written over or removed."""
        return sum(line.length for line in self.lines.values()) + sum(line.length for line in self.unreadable)

    def in_key_order(self, identities: Iterable[Identity] | None = None) -> list[Identity]:
        """Stream by stream, key by key."""
        chosen = self.lines if identities is None else identities
        return sorted(chosen, key=lambda identity: (identity.stream, identity.place))

    def to_keep(self) -> list[Line]:
        """The lines that count, in the order in which they lie; what can't be read is nobody's to throw away."""
        return sorted([*self.lines.values(), *self.unreadable])

    def _take(self, line: bytes, place: Line) -> None:
        if line.startswith(b'{"leasehold"') and (removed := _removed(line)) is not None:
            self.lines.pop(removed, None)
            return
        identity = decode(line).identity
        shared = Identity(
            intern(identity.stream),
            intern(identity.shard_id),
            identity.sequence_number,
            identity.sub_sequence_number,
            intern(identity.digest),
        )
        self.lines[shared] = place


def _removed(line: bytes) -> Identity | None:
    try:
        own = json.loads(line)["leasehold"]
        return Identity.parse(own[_REMOVED])
    except (LookupError, TypeError, ValueError):
        return None
