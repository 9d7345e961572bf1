"""Starts a command that can't outlive the process that started it: ``python tether.py PARENT_PID COMMAND...``.

The kernel kills the command when that parent ends, in whichever way (Linux). What it is told here stays in force when
this process becomes the command. The parent must start it from its main thread: the kernel watches the thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final, NoReturn

__all__ = ["become", "command"]

_PR_SET_PDEATHSIG: Final = 1


def command(*arguments: str) -> list[str]:
    """``arguments`` as a command line that is tied to this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *arguments]


def become(parent_id: int, arguments: list[str]) -> NoReturn:
    """Tie this process to its parent and turn it into the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_id:  # gone before the kernel was told
        sys.exit(1)
    os.execv(arguments[0], arguments)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
