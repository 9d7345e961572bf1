"""What came of mutants, as a value and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Finding", "table"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one mutant: ``seeds`` to its detection (None: never) by ``invariant``, and at what cost.

    ``calls`` counts how often the replacement ran; of ``tried`` seeds ``caught`` broke something.
    """

    mutant: str
    rule: str
    world: str
    seeds: int | None
    invariant: str
    violation: str
    calls: int
    tried: int
    caught: int
    cpu_seconds: float

    @property
    def verdict(self) -> str:
        """Seeds to detection, for people."""
        return "never" if self.seeds is None else str(self.seeds)


def table(findings: Iterable[Finding]) -> str:
    """Mutant, seeds to detection and invariant, as a Markdown table."""
    rows = [("mutant", "world", "seeds", "caught by", "CPU s"), ("---", "---", "--:", "---", "--:")]
    rows += [
        (each.mutant, each.world, each.verdict, each.invariant, f"{each.cpu_seconds:.1f}")
        for each in sorted(findings, key=lambda each: (each.world, each.mutant))
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
