"""What ``process_records`` may say instead of returning: which records failed, or when to try again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from consumer.record import Record

__all__ = ["BatchFailures", "RetryAfter"]


class BatchFailures(Exception):
    """Some records of a batch failed; the rest is done. To be returned or raised by ``process_records``.

    ``failed``: records of the batch, or their sequence numbers (AWS: ``batchItemFailures``). What follows a failed
    record under the same key is tried again, too, in order; other keys go on. Raised from an exception (``raise
    BatchFailures([...]) from error``), that exception is what the dead letter tells of. Raises TypeError for what is
    neither a record nor a text, and for a single one in the place of a list.
    """

    def __init__(self, failed: Iterable[Record | str]) -> None:
        if isinstance(failed, str | bytes | Mapping) or not isinstance(failed, Iterable):
            raise TypeError(f"BatchFailures takes a list of what failed, and no {type(failed).__name__}.")
        self.failed: tuple[Record | str, ...] = tuple(failed)
        for each in self.failed:
            if not isinstance(each, str) and not hasattr(each, "sub_sequence_number"):
                raise TypeError(f"BatchFailures takes records or their sequence numbers, and no {type(each).__name__}.")
        super().__init__(f"{len(self.failed)} records failed")

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is made again of its args, which are the message: a process pool would lose the records.
        return type(self), (self.failed,), self.__dict__


class RetryAfter(Exception):
    """Try again after ``seconds``: something that the records need is busy. To be raised by ``process_records``.

    It spends no attempt and says nothing against the records; ``max_record_age_seconds`` still holds.
    """

    def __init__(self, seconds: float) -> None:
        if not 0 <= seconds <= 86_400:
            raise ValueError(f"RetryAfter({seconds}): the pause lies between 0 and 86,400 s.")
        self.seconds = float(seconds)
        super().__init__(f"again in {self.seconds:g} s")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.seconds,), self.__dict__
