"""Page after page of a Scan or a Query, until its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Hashable, Mapping
from typing import Any

from lease_store.attributes import canonical
from lease_store.dynamodb_connections import Connections
from lease_store.errors import LeaseTableUnavailable

__all__ = ["pages"]


async def pages(connections: Connections, operation: str, request: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
    """The ``Items`` of each page; who goes on to the end has seen them all.

    Raises what the calls raise, and LeaseTableUnavailable for what is no page or does not end.
    """
    table = request["TableName"]
    request = dict(request)
    ends: set[Hashable] = set()
    # Ends with the table: each page begins after the key that ended the last one, and none ends where one did.
    while True:
        page = await connections.ask(operation, request)
        if page.get("Items") is None:
            raise LeaseTableUnavailable(f"A page of the {operation} of lease table {table} has no Items. Try again.")
        yield page["Items"]
        start = page.get("LastEvaluatedKey")
        if not start:
            return
        end = canonical({"M": start})
        if end in ends:
            raise LeaseTableUnavailable(f"The {operation} of lease table {table} does not move past {start}.")
        ends.add(end)
        request["ExclusiveStartKey"] = start
