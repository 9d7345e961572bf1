"""One fleet's life, step by step: what is measured and found wrong on the way, and what must be true in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.integration.kcl.evidence import setbacks, unexpected_errors
from tests.integration.kcl.mixed_stage import MixedFleet
from tests.integration.ledger import CLOCK, Note, disorder, early_children, lost, repeats, repeats_within_tenures

__all__ = ["Performance", "Play", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one step: the seconds from its cause to its end, and further figures by name."""

    name: str
    seconds: float
    figures: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Performance:
    """What a play brought."""

    edition: str
    play: str
    steps: list[Step] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


class Play:
    """Carries out steps on a fleet and keeps what they brought; ``progress`` is told of each."""

    def __init__(self, fleet: MixedFleet, performance: Performance, progress: Callable[[str], None]) -> None:
        self.fleet = fleet
        self.performance = performance
        self._progress = progress
        self._repeated: set[tuple[str, int]] = set()

    @asynccontextmanager
    async def step(self, name: str, *, may_repeat: bool = False) -> AsyncIterator[dict[str, object]]:
        """One step; what is put into the mapping is kept as figures. Records given twice meanwhile are a finding."""
        figures: dict[str, object] = {}
        self._progress(f"{self.performance.edition} {self.performance.play}: {name} ...")
        began = CLOCK.monotonic()
        yield figures
        seconds = CLOCK.monotonic() - began
        again = set(repeats(self.fleet.ledger.notes)) - self._repeated
        self._repeated |= again
        if again:
            figures["repeats"] = len(again)
        wrong = {
            record for record in again if not (may_repeat or self._was_robbed(record) or self._stood_still(record))
        }
        if wrong:
            given = ", ".join(f"{each.worker} in {each.shard_id} at {each.at:.2f}" for each in self._given(min(wrong)))
            self.find(f"{name}: {len(wrong)} records were given twice: {given}")
        self.performance.steps.append(Step(name, round(seconds, 2), figures))
        self._progress(f"{self.performance.edition} {self.performance.play}: {name}: {seconds:.1f} s {figures or ''}")

    def find(self, finding: str) -> None:
        self.performance.findings.append(finding)
        self._progress(f"{self.performance.edition} {self.performance.play}: FOUND {finding}")

    def expect(self, is_so: bool, otherwise: str) -> None:
        """A finding unless it is so."""
        if not is_so:
            self.find(otherwise)

    def _is_excused(self, record: tuple[str, int]) -> bool:
        return self._was_robbed(record) or self._stood_still(record)

    def _was_robbed(self, record: tuple[str, int]) -> bool:
        """Whether it is one of those that a KCL 2.x repeats by itself: it robs live owners, and does not let go."""
        members = {self.fleet.languages[note.worker] for note in self._given(record)}
        return not self.fleet.has_leader and "java" in members

    def _stood_still(self, record: tuple[str, int]) -> bool:
        """Whether one worker was given it twice and lost its trust in between: a busy machine kept it from renewing."""
        given = self._given(record)
        first, last = given[0], given[-1]
        lost_at = [each.at for each in self.fleet.ledger.of("lease_lost", worker=first.worker)]
        return len({each.worker for each in given}) == 1 and any(first.at < at < last.at for at in lost_at)

    def _given(self, record: tuple[str, int]) -> list[Note]:
        return [note for note in self.fleet.ledger.of("record") if (note.key, note.version) == record]

    def judge(self) -> None:
        """What must be true of every fleet."""
        fleet, notes = self.fleet, self.fleet.ledger.notes
        missing = lost(notes, fleet.ledger.written)
        self.expect(not missing, f"{len(missing)} records were never given, {missing[:3]} first")
        for wrong in (
            *disorder(notes)[:3],
            *repeats_within_tenures(notes)[:3],
            *early_children(notes, fleet.stream.parents())[:3],
            *setbacks(fleet.exchanges)[:3],
            *unexpected_errors(fleet.java_errors(), fleet.is_expected_error)[:6],
        ):
            self.find(wrong)
        for process in fleet.running("python"):
            self.expect("Traceback" not in process.said(), f"{process.name} logged a traceback")
