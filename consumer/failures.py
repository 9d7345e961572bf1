"""Why a record failed: what is kept of an exception."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath
from types import FrameType
from typing import Any, Final, Self

__all__ = ["Failure", "shown_frames"]

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
