"""Making sure that the lease table is there, is a lease table, is ready, and has an index by owner."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from lease_store.attributes import LEASE_KEY
from lease_store.dynamodb_errors import error_code
from lease_store.dynamodb_expressions import OWNER_INDEX, owner_index_request
from lease_store.errors import LeaseTableMissing, LeaseTableUnavailable, NotALeaseTable

__all__ = ["Ask", "ensure_owner_index", "ensure_table"]

Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""One DynamoDB operation by name; raises botocore's ClientError for a refusal it is asked to pass on."""

_log = logging.getLogger("leasehold.lease_store")

_POLL_SECONDS: Final = 0.5
_POLLS_PER_LINE: Final = 10
# UPDATING is a table in use: its billing mode, its protection or an index of it is being changed.
_BEING_CHANGED: Final = frozenset({"ResourceInUseException", "LimitExceededException"})
_READY: Final = frozenset({"ACTIVE", "UPDATING"})


async def ensure_table(
    ask: Ask,
    table_name: str,
    create_request: Mapping[str, Any] | None,
    *,
    wait_seconds: float,
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Return once the table is ready; create it if it is missing and ``create_request`` says how.

    Any number of workers may do this at once: one creates, the others wait for its table. Raises LeaseTableMissing,
    NotALeaseTable, or LeaseTableUnavailable after ``wait_seconds``.
    """
    status = "unknown"
    for poll in range(max(1, round(wait_seconds / _POLL_SECONDS))):
        table = await _describe(ask, table_name)
        if table is None:
            if create_request is None:
                raise LeaseTableMissing(
                    f"Lease table {table_name} does not exist; create it, or run with create_table on."
                )
            status = await _create(ask, table_name, create_request)
        else:
            _check_key(table, table_name)
            status = str(table.get("TableStatus", "unknown"))
        if status in _READY:
            return
        if poll % _POLLS_PER_LINE == 0:
            _log.info("Lease table %s is %s; waiting for it (at most %g s).", table_name, status, wait_seconds)
        await sleep(_POLL_SECONDS)
    raise LeaseTableUnavailable(
        f"Lease table {table_name} is {status} after {wait_seconds:g} s and not ACTIVE. Look at it in DynamoDB, then "
        "start again."
    )


async def ensure_owner_index(ask: Ask, table_name: str) -> None:
    """Have the owner index made unless the table has one, in whatever state; nobody waits until it is filled.

    Any number of workers, of either kind, may do this at once: one begins, the others are refused and satisfied.
    """
    table = await _describe(ask, table_name)
    if _has_owner_index(table):
        return
    try:
        await ask("UpdateTable", owner_index_request({**(table or {}), "TableName": table_name}))
    except Exception as error:
        # In use, or at the limit of one change at a time: somebody is changing it. Seen again at the next occasion.
        if error_code(error) in _BEING_CHANGED or _has_owner_index(await _describe(ask, table_name)):
            return
        raise
    _log.info("Creating index %s of lease table %s.", OWNER_INDEX, table_name)


def _has_owner_index(table: Mapping[str, Any] | None) -> bool:
    indexes = (table or {}).get("GlobalSecondaryIndexes") or ()
    return any(index.get("IndexName") == OWNER_INDEX for index in indexes)


async def _describe(ask: Ask, table_name: str) -> Mapping[str, Any] | None:
    try:
        reply = await ask("DescribeTable", {"TableName": table_name})
    except Exception as error:
        if error_code(error) == "ResourceNotFoundException":
            return None
        raise
    table = reply.get("Table")
    if not isinstance(table, Mapping):
        raise LeaseTableUnavailable(
            f"DescribeTable of lease table {table_name} got a reply without a table. Try again."
        )
    return table


async def _create(ask: Ask, table_name: str, request: Mapping[str, Any]) -> str:
    _log.info("Creating lease table %s.", table_name)
    try:
        reply = await ask("CreateTable", request)
    except Exception as error:
        # ResourceInUse: another worker was faster, or the table of that name is still being deleted.
        if error_code(error) == "ResourceInUseException":
            return "being created"
        raise
    return str((reply.get("TableDescription") or {}).get("TableStatus", "unknown"))


def _check_key(table: Mapping[str, Any], table_name: str) -> None:
    types = {each.get("AttributeName"): each.get("AttributeType") for each in table.get("AttributeDefinitions") or ()}
    schema = [(each.get("AttributeName"), each.get("KeyType")) for each in table.get("KeySchema") or ()]
    if schema == [(LEASE_KEY, "HASH")] and types.get(LEASE_KEY) == "S":
        return
    found = ", ".join(f"{name} ({types.get(name)}, {role})" for name, role in schema) or "none"
    raise NotALeaseTable(
        f"Table {table_name} is not a lease table: its key is {found}, a lease table's is {LEASE_KEY} (S, HASH). "
        "Give this app another lease table."
    )
