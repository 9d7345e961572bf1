"""What the command's exit codes mean; ``entry`` has two of them again, since it imports nothing of ours at first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from consumer.errors import LeaseholdError

__all__ = ["BAD_CONFIGURATION", "BATCH_TIMED_OUT", "CLEAN", "DRAIN_TIMED_OUT", "ERROR", "EXIT_CODES", "code_of"]

CLEAN: Final = 0
ERROR: Final = 1
BAD_CONFIGURATION: Final = 3
DRAIN_TIMED_OUT: Final = 4
BATCH_TIMED_OUT: Final = 5

EXIT_CODES: Final = "exit codes: 0 clean, 1 error, 3 bad configuration, 4 drain timed out, 5 batch timed out"


def code_of(error: LeaseholdError) -> int:
    """What no restart mends and no waiting is BAD_CONFIGURATION, which tells a supervisor so; all else may pass."""
    from consumer.errors import ConfigError, LeaseTableConflict, NotALeaseTable, ViewTypeMismatch

    by_hand = (ConfigError, LeaseTableConflict, NotALeaseTable, ViewTypeMismatch)
    return BAD_CONFIGURATION if isinstance(error, by_hand) else ERROR
