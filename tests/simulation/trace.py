"""What happened in a simulated world, step by step: kept for the reader of a red seed, hashed to prove a replay."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque

from lease_store.lease import Lease

__all__ = ["Trace", "shown"]


class Trace:
    """Steps and violations of one world. What comes after the first violation explains nothing and is not noted."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.last_steps: deque[str] = deque(maxlen=4_000)
        self.closed = False
        self._hash = hashlib.blake2b(digest_size=8)

    @property
    def digest(self) -> str:
        """Hash of all steps so far, which no PYTHONHASHSEED changes."""
        return self._hash.hexdigest()

    def note(self, what: str) -> None:
        """Add a step at the loop's present virtual time (seconds)."""
        if self.closed or self.violations:
            return
        line = f"{asyncio.get_running_loop().time():9.3f} {what}"
        self.last_steps.append(line)
        self._hash.update(line.encode())

    def breach(self, what: str) -> None:
        """Something that must hold does not."""
        if not self.closed and len(self.violations) < 5:
            self.note("VIOLATION " + what)
            self.violations.append(f"{asyncio.get_running_loop().time():.3f} s: {what}")


def shown(lease: Lease | None) -> str:
    """A row in a few words: its owners, counter and checkpoint."""
    if lease is None:
        return "no row"
    pending = f" from {lease.checkpoint_owner}" if lease.is_pending else ""
    return f"{lease.owner or 'nobody'}{pending} #{lease.counter} @{lease.checkpoint}"
