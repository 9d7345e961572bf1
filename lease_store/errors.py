"""The one tree of errors that Leasehold raises.

::

    LeaseholdError
    └── LeaseStoreError                  the lease table
        ├── LeaseTableMissing            no such table, and we were told not to create it
        ├── LeaseTableUnreachable        the request never arrived
        ├── LeaseTableThrottled          refused for its rate, not applied
        ├── LeaseTableUnavailable        the service failed, timed out or sent something unreadable
        ├── LeaseTableAccessDenied       names the action that is missing
        ├── LeaseTableCredentials        no or bad credentials
        ├── NotALeaseTable               wrong key schema
        └── InvalidRow                   a row that can't be a lease
    (the rest of the tree stands in ``consumer.errors``)

The first line of a class's docstring is its default message. Foreign errors become these in
``lease_store.dynamodb_errors`` and nowhere else.
"""

from __future__ import annotations

import inspect

__all__ = [
    "InvalidRow",
    "LeaseStoreError",
    "LeaseTableAccessDenied",
    "LeaseTableCredentials",
    "LeaseTableMissing",
    "LeaseTableThrottled",
    "LeaseTableUnavailable",
    "LeaseTableUnreachable",
    "LeaseholdError",
    "NotALeaseTable",
]


class LeaseholdError(Exception):
    """Leasehold could not go on."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (inspect.getdoc(type(self)) or "").partition("\n")[0])


class LeaseStoreError(LeaseholdError):
    """The lease table could not be read or written."""


class LeaseTableMissing(LeaseStoreError):
    """The lease table does not exist; create it, or run with create_table on."""


class LeaseTableUnreachable(LeaseStoreError):
    """The lease table's endpoint can't be reached; the request was not applied."""


class LeaseTableThrottled(LeaseStoreError):
    """The lease table refused a request for its rate; it was not applied."""


class LeaseTableUnavailable(LeaseStoreError):
    """The lease table's service failed, timed out or sent something unreadable; try again."""


class LeaseTableAccessDenied(LeaseStoreError):
    """The credentials lack a permission on the lease table."""


class LeaseTableCredentials(LeaseStoreError):
    """No usable AWS credentials for the lease table."""


class NotALeaseTable(LeaseStoreError):
    """The table exists, but its key is not leaseKey (S, HASH): it is not a lease table."""


class InvalidRow(LeaseStoreError):
    """A row of the lease table can't be read as a lease."""
