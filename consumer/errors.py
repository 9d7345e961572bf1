"""The one tree of errors that Leasehold raises; the lease table's branch is defined in ``lease_store.errors``.

::

    LeaseholdError
    ├── LeaseStoreError ...               the lease table (see lease_store.errors)
    ├── ConfigError                       out of range or at odds, all at once; a processor that can't be used
    ├── StreamError                       the stream
    │   ├── StreamMissing                 no such table or stream
    │   ├── StreamDisabled                the table has no stream, or it is switched off
    │   ├── StreamAccessDenied            names the action that is missing
    │   ├── StreamCredentials             no or bad credentials
    │   ├── StreamUnreachable             the endpoint can't be reached
    │   ├── StreamThrottled               refused for its rate
    │   ├── StreamUnavailable             the service failed, timed out or sent something unreadable: worth another try
    │   ├── ShardNotFound                 the shard is gone
    │   ├── IteratorExpired               a new iterator is needed
    │   ├── DataTrimmed                   the position lies before the oldest record
    │   └── PositionRefused               the service does not know this kind of position
    ├── LeaseTableConflict                the lease table belongs to another stream or to a KCL
    ├── LeaseLost                         this tenure is over; a checkpoint was not stored
    ├── BatchTimedOut                     an `async def` process_records was cancelled for its time; tried again
    ├── CheckpointError
    │   ├── CheckpointBackwards           below what is stored already
    │   └── CheckpointBeyondDelivered     above what this processor was given
    ├── DeadLetterError                   the store of dead letters; the shard waits, nothing is lost
    │   ├── DeadLetterStoreMissing        no such bucket, queue, table, topic or folder
    │   ├── DeadLetterStoreAccessDenied   names the action that is missing
    │   ├── DeadLetterStoreCredentials    no or bad credentials
    │   ├── DeadLetterStoreUnreachable    the endpoint can't be reached
    │   ├── DeadLetterStoreRefused        the service finds a request invalid, or its condition not met
    │   ├── DeadLetterStoreThrottled      refused for its rate
    │   ├── DeadLetterStoreUnavailable    the service or the disk failed: worth another try
    │   ├── DeadLetterTooLarge            it does not fit, and there is no bucket for its body
    │   └── DeadLetterUnreadable          no letter of ours, or of a release to come
    └── ViewTypeMismatch                  the stream lacks an image that the processor declares

The first line of a class's docstring is its default message. Botocore's errors become these in the files of ``streams``
and ``dead_letters`` that import aiobotocore, and nowhere else; ``retry.is_transient`` answers whether trying again is
worth it.
"""

from __future__ import annotations

from collections.abc import Sequence

from lease_store.errors import (
    InvalidRow,
    LeaseholdError,
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableCredentials,
    LeaseTableMissing,
    LeaseTableThrottled,
    LeaseTableUnavailable,
    LeaseTableUnreachable,
    NotALeaseTable,
)

__all__ = [
    "BatchTimedOut",
    "CheckpointBackwards",
    "CheckpointBeyondDelivered",
    "CheckpointError",
    "ConfigError",
    "DataTrimmed",
    "DeadLetterError",
    "DeadLetterStoreAccessDenied",
    "DeadLetterStoreCredentials",
    "DeadLetterStoreMissing",
    "DeadLetterStoreRefused",
    "DeadLetterStoreThrottled",
    "DeadLetterStoreUnavailable",
    "DeadLetterStoreUnreachable",
    "DeadLetterTooLarge",
    "DeadLetterUnreadable",
    "InvalidRow",
    "IteratorExpired",
    "LeaseLost",
    "LeaseStoreError",
    "LeaseTableAccessDenied",
    "LeaseTableConflict",
    "LeaseTableCredentials",
    "LeaseTableMissing",
    "LeaseTableThrottled",
    "LeaseTableUnavailable",
    "LeaseTableUnreachable",
    "LeaseholdError",
    "NotALeaseTable",
    "PositionRefused",
    "ShardNotFound",
    "StreamAccessDenied",
    "StreamCredentials",
    "StreamDisabled",
    "StreamError",
    "StreamMissing",
    "StreamThrottled",
    "StreamUnavailable",
    "StreamUnreachable",
    "ViewTypeMismatch",
]


class ConfigError(LeaseholdError):
    """The configuration can't be used."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class StreamError(LeaseholdError):
    """The stream could not be read."""


class StreamMissing(StreamError):
    """The stream, or the table it belongs to, does not exist."""


class StreamDisabled(StreamError):
    """The table has no stream, or the stream is switched off; enable it with UpdateTable and a StreamSpecification."""


class StreamAccessDenied(StreamError):
    """The credentials lack a permission on the stream."""


class StreamCredentials(StreamError):
    """No usable AWS credentials for the stream."""


class StreamUnreachable(StreamError):
    """The stream's endpoint can't be reached."""


class StreamThrottled(StreamError):
    """The stream's service refused a call for its rate; it is tried again."""


class StreamUnavailable(StreamError):
    """The stream's service failed or sent something unreadable; it is tried again."""


class ShardNotFound(StreamError):
    """The shard does not exist any more."""


class IteratorExpired(StreamError):
    """The shard iterator has expired; reading goes on from the last record delivered."""


class DataTrimmed(StreamError):
    """The position lies before the oldest record that the stream still has."""


class PositionRefused(StreamError):
    """The service, or this botocore, does not know this kind of position."""


class LeaseTableConflict(LeaseholdError):
    """The lease table belongs to another stream or to a KCL; give this app one of its own with --lease-table."""


class LeaseLost(LeaseholdError):
    """This worker's tenure of the lease is over; nothing was stored, the new owner goes on from the last checkpoint."""


class BatchTimedOut(LeaseholdError):
    """process_records ran for longer than batch_timeout_seconds allows and was cancelled."""


class CheckpointError(LeaseholdError):
    """The checkpoint was not stored."""


class CheckpointBackwards(CheckpointError):
    """The checkpoint lies below the one that is stored; checkpoints never go back."""


class CheckpointBeyondDelivered(CheckpointError):
    """The checkpoint lies above the last record that this processor was given."""


class DeadLetterError(LeaseholdError):
    """The store of dead letters could not be read or written; the record is tried again, nothing is lost."""


class DeadLetterStoreMissing(DeadLetterError):
    """The store of dead letters does not exist; create it, or name another with --dead-letters."""


class DeadLetterStoreAccessDenied(DeadLetterError):
    """The credentials lack a permission on the store of dead letters."""


class DeadLetterStoreCredentials(DeadLetterError):
    """No usable AWS credentials for the store of dead letters."""


class DeadLetterStoreUnreachable(DeadLetterError):
    """The endpoint of the store of dead letters can't be reached."""


class DeadLetterStoreRefused(DeadLetterError):
    """The store of dead letters finds a request invalid; it will find it so again."""


class DeadLetterStoreThrottled(DeadLetterError):
    """The store of dead letters refused a call for its rate; it is tried again."""


class DeadLetterStoreUnavailable(DeadLetterError):
    """The store of dead letters failed or sent something unreadable; it is tried again."""


class DeadLetterTooLarge(DeadLetterError):
    """A dead letter does not fit into its store; name a bucket for such bodies with --dead-letter-bucket."""


class DeadLetterUnreadable(DeadLetterError):
    """What lies in the store of dead letters is no letter that this release can read."""


class ViewTypeMismatch(LeaseholdError):
    """The stream's view type lacks an image that the processor requires."""
