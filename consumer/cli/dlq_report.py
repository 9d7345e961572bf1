"""What ``leasehold dlq list`` prints: how many letters there are, of what, and since when. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from consumer.dead_letters.letter import DeadLetter, Reason

__all__ = ["Summary", "counted", "instant", "letter_line"]

# A line each; beyond, a table is nothing to read, and memory has an end.
_MOST_GROUPS: Final = 10_000
_BEYOND: Final = "(others)"


class _Group(NamedTuple):
    stream: str
    shard: str
    reason: str
    key: str


@dataclass(slots=True)
class _Count:
    letters: int = 0
    oldest: float = float("inf")
    newest: float = float("-inf")


@dataclass(slots=True)
class Summary:
    """Counts letters by stream, shard and reason, and by key where that is asked for."""

    by_key: bool = False
    letters: int = 0
    groups: dict[_Group, _Count] = field(default_factory=dict)

    def count(self, letter: DeadLetter) -> None:
        """One more."""
        group = _Group(letter.stream, letter.shard_id, letter.reason.value, letter.key if self.by_key else "")
        if group not in self.groups and len(self.groups) >= _MOST_GROUPS:
            group = _Group(_BEYOND, "", "", "")
        found = self.groups.setdefault(group, _Count())
        found.letters += 1
        found.oldest = min(found.oldest, letter.given_up_at)
        found.newest = max(found.newest, letter.given_up_at)
        self.letters += 1

    def table(self) -> Iterable[str]:
        """For each stream its name, and columns under their names; nothing where there are no letters."""
        names = ["LETTERS", "REASON", "OLDEST", "NEWEST", "SHARD", *(["KEY"] if self.by_key else [])]
        rows = [names]
        streams = [""]
        for group, found in sorted(self.groups.items()):
            row = [f"{found.letters:,}", group.reason, instant(found.oldest), instant(found.newest), group.shard]
            rows.append([*row, *([_printable(group.key)] if self.by_key else [])])
            streams.append(group.stream)
        widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
        lines = [
            "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        for stream, same in groupby(zip(streams[1:], lines[1:], strict=True), key=itemgetter(0)):
            yield from (stream, lines[0], *(line for _, line in same), "")

    def as_json(self) -> Iterable[str]:
        """The same, an object a group."""
        for group, found in sorted(self.groups.items()):
            told = {"letters": found.letters, "stream": group.stream, "shard": group.shard, "reason": group.reason}
            told |= {"oldest": instant(found.oldest), "newest": instant(found.newest)}
            yield json.dumps(told | ({"key": group.key} if self.by_key else {}))

    def line(self) -> str:
        """All of it in a few words."""
        if not self.groups:
            return "no dead letters"
        oldest = min(found.oldest for found in self.groups.values())
        newest = max(found.newest for found in self.groups.values())
        return f"{counted(self.letters, 'dead letter')}, given up from {instant(oldest)} to {instant(newest)},"


def letter_line(letter: DeadLetter, *, as_json: bool) -> str:
    """One letter: its name first, to be copied; the failure's class and place, and never its message."""
    told = {
        "letter": str(letter.identity),
        "reason": letter.reason.value,
        "attempts": letter.attempts,
        "error": letter.failure.kind,
        "where": letter.failure.where,
        "given_up_at": instant(letter.given_up_at),
        "worker": letter.worker_id,
    }
    if as_json:
        return json.dumps(told)
    told_as = f"{told['letter']}  {told['given_up_at']}  {told['reason']}"
    if letter.reason is Reason.KEY_HELD:
        return f"{told_as}  not tried: a letter of its key came before it"
    failed = f"{letter.failure.kind} at {letter.failure.where or 'an unknown place'}"
    return f"{told_as}  {counted(letter.attempts, 'attempt')}  {failed}"


def counted(number: int, what: str) -> str:
    """``1 letter``, ``2 letters``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def instant(seconds: float) -> str:
    """Epoch seconds, to the second, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    """A key as it can be given to ``--key``, whatever is in it."""
    return text if text.isprintable() and not text.startswith('"') else json.dumps(text)
