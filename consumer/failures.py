"""What user code says about records that failed: which ones, why, and when to try again."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from consumer.record import Record

__all__ = ["BatchFailures", "Failure", "RetryAfter", "shown_frames"]

_FRAMES_KEPT: Final = 8
_MESSAGES_KEPT: Final = 8
_MOST_MESSAGE_CHARACTERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record failed, without the exception itself, whose traceback would hold the batch.

    ``kind`` is the exception's class, ``where`` its innermost frames, newest first, by file, line and function: both
    may be logged. ``message`` is what the exception says and **may be payload**: it goes into a dead letter and nowhere
    else. ``raised`` is the class itself, by which ``retries`` has its rules, where there is one; it is not pickled.
    """

    kind: str
    message: str = field(default="", repr=False)
    where: str = ""
    raised: type[BaseException] | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, self.message, self.where)

    @classmethod
    def of(cls, error: BaseException | str, *, leave_out: frozenset[str] = frozenset()) -> Self:
        """The failure that ``error`` stands for; text is a reason without a class (``kind`` is ``reason`` then).

        A group of exceptions tells of those in it, and where the first arose. ``leave_out``: frames of these modules
        are not worth showing. Raises TypeError for what is neither, whatever is wrong with an exception itself.
        """
        if isinstance(error, str):
            return cls("reason", error[:_MOST_MESSAGE_CHARACTERS])
        if not isinstance(error, BaseException):
            raise TypeError(f"A failure is an exception or a text that says why, and no {type(error).__name__}.")
        frames = [
            (frame, line)
            for frame, line in traceback.walk_tb(_first_of(error).__traceback__)
            if frame.f_globals.get("__name__") not in leave_out
        ]
        return cls(type(error).__qualname__, _message(error), shown_frames(reversed(frames)), type(error))


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def shown_frames(newest_first: Iterable[tuple[FrameType, int]]) -> str:
    """The innermost frames by file, line and function: no source text, no values, so that they may be logged."""
    return " < ".join(
        f"{PurePath(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
        for frame, line in islice(newest_first, _FRAMES_KEPT)
    )


def _message(error: BaseException) -> str:
    return "; ".join(islice(_messages(error), _MESSAGES_KEPT))[:_MOST_MESSAGE_CHARACTERS]


def _messages(error: BaseException) -> Iterator[str]:
    """What an exception says; of a group, then, what each in it is and says."""
    to_tell = [("", error)]
    while to_tell:
        label, each = to_tell.pop()
        yield label + _said_by(each)
        if isinstance(each, BaseExceptionGroup):
            to_tell += [(f"{type(inner).__qualname__}: ", inner) for inner in reversed(each.exceptions)]


def _said_by(error: BaseException) -> str:
    try:
        return str(error)[:_MOST_MESSAGE_CHARACTERS]
    except Exception as broken:  # a user's __str__ may raise, and the record must be kept all the same
        return f"(its message can't be had: {type(broken).__qualname__})"


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
