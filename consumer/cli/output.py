"""The standard output of a command, which may be a pipe that nobody reads to its end (``| head``)."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from typing import Final

__all__ = ["UNREAD", "until_unread"]

UNREAD: Final = 141  # what a shell says of a command that SIGPIPE ended


def until_unread(main: Callable[[], int]) -> int:
    """The exit code of ``main``, all of whose output is read; UNREAD, without a word, where somebody stopped reading.

    A broken pipe that is not the standard output's is raised on.
    """
    try:
        try:
            return main()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if not _is_unread():
            raise
        # The interpreter flushes once more when it ends, and would tell of it.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return UNREAD


def _is_unread() -> bool:
    """Whether the standard output's reader is gone: an error is all that polling reports unasked."""
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError):  # there is none, or it is no file
        return False
    poll = select.poll()
    poll.register(output, 0)
    return bool(poll.poll(0))
