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
    """The exit code of ``main``; UNREAD, without a word, where all went well but somebody stopped reading its output.

    What failed is returned or raised as ever, and so is a broken pipe that is not the standard output's.
    """
    try:
        code = main()
    except BrokenPipeError:
        if not _is_unread():
            raise
        _was_read()
        return UNREAD
    except BaseException as error:  # SystemExit of ``--help`` as well
        if not _was_read() and isinstance(error, SystemExit) and not error.code:
            return UNREAD
        raise
    return code if _was_read() or code else UNREAD


def _was_read() -> bool:
    """Whether what is buffered went out. If not, it is dropped: the interpreter would flush once more, and complain."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return False
    return True


def _is_unread() -> bool:
    """Whether the standard output's reader is gone: an error is all that polling reports unasked."""
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError):  # there is none, or it is no file
        return False
    poll = select.poll()
    poll.register(output, 0)
    return bool(poll.poll(0))
