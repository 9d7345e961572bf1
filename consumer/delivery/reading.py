"""What one call of ``process_records`` came to: all done, some records failed, nobody knows which, or try later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from consumer.delivery.outcome import Outcome, Raised
from consumer.delivery.telling import failure_of
from consumer.errors import ConfigError
from consumer.failures import Failure
from consumer.outcomes import BatchFailures, RetryAfter
from consumer.record import Record

__all__ = ["AllDone", "Busy", "Reading", "SomeFailed", "UnknownFailed", "read_outcome"]


@dataclass(frozen=True, slots=True)
class AllDone:
    """Every record is done."""

    is_through: ClassVar = True
    """Whether the call came to its end, and what it said is understood: what did not fail of it is done."""


@dataclass(frozen=True, slots=True)
class SomeFailed:
    """The records at these positions of the batch failed by themselves; ``error`` is what was raised, if anything."""

    failures: Mapping[int, Failure]
    error: BaseException | None
    is_through: ClassVar = True

    @property
    def failure(self) -> Failure:
        """That of the first of them."""
        return self.failures[min(self.failures)]


@dataclass(frozen=True, slots=True)
class UnknownFailed:
    """The call failed, and over several records nobody knows whose fault it is."""

    failure: Failure
    error: BaseException
    is_through: ClassVar = False


@dataclass(frozen=True, slots=True)
class Busy:
    """User code asks for a pause."""

    failure: Failure
    error: BaseException
    seconds: float
    is_through: ClassVar = False


Reading = AllDone | SomeFailed | UnknownFailed | Busy
_ALL_DONE: Final = AllDone()


def read_outcome(outcome: Outcome[Any], batch: Sequence[Record]) -> Reading:
    """Understand what a call over ``batch`` came to.

    What ``record.fail`` noted counts where the call came to its end: returned, or raised BatchFailures. After a plain
    raise nobody knows how far it got. Something returned that is neither None nor a BatchFailures is a failure of the
    whole batch with an error that shows what is allowed: it may have been meant.
    """
    if isinstance(outcome, Raised):
        raised = outcome.error
        if isinstance(raised, RetryAfter):
            return Busy(failure_of(raised), raised, raised.seconds)
        if not isinstance(raised, BatchFailures):
            return _unknown(raised)
        error: BatchFailures | None = raised
    elif outcome.value is None or isinstance(outcome.value, BatchFailures):
        error = outcome.value
    else:
        return _unknown(_not_understood(outcome.value))
    try:
        failures = {} if error is None else _named(error, batch)
    except ConfigError as mistake:
        return _unknown(mistake)
    if [record for record in batch if record.failure is not None]:  # a comprehension: this is asked of every batch
        failures.update({at: record.failure for at, record in enumerate(batch) if record.failure is not None})
    return SomeFailed(failures, None if error is None else error.__cause__) if failures else _ALL_DONE


def _unknown(error: BaseException) -> UnknownFailed:
    return UnknownFailed(failure_of(error), error)


def _named(error: BatchFailures, batch: Sequence[Record]) -> dict[int, Failure]:
    """The positions that ``error`` names. Raises ConfigError where one is not in the batch."""
    failure = failure_of(error.__cause__ or error)
    by_number: dict[str, list[int]] = {}
    for at, record in enumerate(batch):
        by_number.setdefault(record.sequence_number, []).append(at)
    named: dict[int, Failure] = {}
    for each in error.failed:
        positions = by_number.get(each if isinstance(each, str) else getattr(each, "sequence_number", ""), [])
        if not isinstance(each, str):
            positions = [at for at in positions if batch[at].sub_sequence_number == each.sub_sequence_number]
        if not positions:
            raise ConfigError(
                f"BatchFailures names something of type {type(each).__name__} that is no record of this batch: give it "
                "records that process_records was called with, or their sequence numbers. The whole batch counts as "
                "failed."
            )
        named.update(dict.fromkeys(positions, failure))
    return named


def _not_understood(value: object) -> ConfigError:
    return ConfigError(
        f"process_records returned something of type {type(value).__name__}, which has no meaning: return None when "
        "every record is done, or BatchFailures([records or sequence numbers]) for those that failed; call "
        "record.fail(error) for one; raise where nothing can be said. The batch counts as failed, and is tried again."
    )
