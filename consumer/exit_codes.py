"""What the command's exit codes mean; ``entry`` has two of them again, since it imports nothing of ours at first."""

from __future__ import annotations

from typing import Final

__all__ = ["BAD_CONFIGURATION", "CLEAN", "DRAIN_TIMED_OUT", "ERROR", "EXIT_CODES"]

CLEAN: Final = 0
ERROR: Final = 1
BAD_CONFIGURATION: Final = 3
DRAIN_TIMED_OUT: Final = 4

EXIT_CODES: Final = "exit codes: 0 clean, 1 error, 3 bad configuration, 4 drain timed out"
