"""What delivery and user code note on a record: that it failed, and that it has been here before."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import force_setattr

from consumer.failures import Failure

__all__ = ["DeliveredRecord"]


class DeliveredRecord(
    Struct,
    frozen=True,
    eq=False,
    gc=False,
    kw_only=True,
    # No service has these.
    rename={"failure": "leasehold:failure", "redriven": "leasehold:redriven"},
):
    """What records of both services have in common. A record is frozen but for these notes, which come of no reply."""

    failure: Failure | None = None
    """What ``fail`` noted since the record was last handed to user code; None for a record that has not failed."""
    redriven: bool = False
    """Whether the record comes out of a store of dead letters, and not from its stream."""

    def fail(self, error: BaseException | str) -> None:
        """Say that this record failed, and why; the rest of its batch may be done all the same.

        Of an exception its class, message and place are kept and nothing else. The last word counts; it may be said
        from any thread, until ``process_records`` has returned.
        """
        force_setattr(self, "failure", Failure.of(error))

    def clear_failure(self) -> None:
        """Take back what ``fail`` noted, as delivery does before the record is tried again."""
        force_setattr(self, "failure", None)
