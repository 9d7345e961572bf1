"""What ``leasehold dlq list`` prints: how many letters there are, of what, and since when. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from consumer.dead_letters.letter import DeadLetter

__all__ = ["Summary", "instant", "letter_line"]

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
        """Columns, under their names; nothing where there are no letters."""
        if not self.groups:
            return
        names = ["LETTERS", "REASON", "OLDEST", "NEWEST", "SHARD", "STREAM", *(["KEY"] if self.by_key else [])]
        rows = [names]
        for group, found in sorted(self.groups.items()):
            row = [f"{found.letters:,}", group.reason, instant(found.oldest), instant(found.newest), group.shard]
            rows.append([*row, group.stream, *([_printable(group.key)] if self.by_key else [])])
        widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
        for row in rows:
            yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()

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
        count = f"{self.letters:,} dead letter{'s' * (self.letters != 1)}"
        return f"{count}, given up from {instant(oldest)} to {instant(newest)},"


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
    failed = f"{letter.failure.kind} at {letter.failure.where or 'an unknown place'}"
    return f"{told['letter']}  {told['given_up_at']}  {told['reason']}  {letter.attempts} attempts  {failed}"


def instant(seconds: float) -> str:
    """Epoch seconds, to the second, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    """A key as it can be given to ``--key``, whatever is in it."""
    return text if text.isprintable() and not text.startswith('"') else json.dumps(text)
