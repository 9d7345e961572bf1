"""The lease store in a DynamoDB table, by aiobotocore."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore import xform_name

from lease_store.dynamodb_errors import (
    Call,
    error_code,
    never_arrived_or_refused,
    translate,
)
from lease_store.dynamodb_expressions import create_table_request, render_write
from lease_store.dynamodb_table import ensure_table
from lease_store.errors import LeaseStoreError, LeaseTableUnavailable
from lease_store.item import LEASE_KEY, canonical, lease_of, table_scan, worker_of
from lease_store.lease import AttributeValue, Lease, TableScan, WorkerRow
from lease_store.store import Applied, Refused, Unknown, WriteResult, applied
from lease_store.strict_parser import StrictParser, reading_with
from lease_store.uninterrupted import uninterrupted
from lease_store.verbs import Write, delete_worker, put_worker

__all__ = ["DynamoDBLeaseStore"]

Item = Mapping[str, AttributeValue]

_CONDITION_FAILED: Final = "ConditionalCheckFailedException"
# A write's own time-out is the caller's and shorter; these end calls that were given none, three attempts within 15 s.
_CONNECT_TIMEOUT_SECONDS: Final = 2.0
_READ_TIMEOUT_SECONDS: Final = 4.0
_READ_ATTEMPTS: Final = 3
# Renewals of some hundred leases go out together; each holds a connection for one round trip.
_POOL_CONNECTIONS: Final = 32


class DynamoDBLeaseStore:
    """Leases in a DynamoDB table; loops and threads may share one object, each loop has clients of its own.

    Region, endpoint and credentials are botocore's own settings (``AWS_ENDPOINT_URL_DYNAMODB``, profiles, roles) unless
    given here. ``session`` is an AioSession, or a callable that makes one for each loop: the better choice where
    credentials are refreshed, since such a session belongs to one loop. A missing table is created on first use unless
    ``create_table`` is False: on-demand, key ``leaseKey``, no index, ``table_options`` being further CreateTable
    parameters; ``open`` waits for it up to ``table_wait_seconds``.

    Writes are tried once, reads up to three times. Every error is a LeaseStoreError.
    """

    def __init__(
        self,
        table_name: str,
        *,
        session: AioSession | Callable[[], AioSession] | None = None,
        region_name: str | None = None,
        endpoint_url: str | None = None,
        create_table: bool = True,
        deletion_protection: bool = False,
        table_options: Mapping[str, Any] | None = None,
        table_wait_seconds: float = 120.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._table_name = table_name
        self._session = session
        self._region_name = region_name
        self._endpoint_url = endpoint_url
        self._create_request = (
            create_table_request(table_name, deletion_protection=deletion_protection, options=table_options)
            if create_table
            else None
        )
        self._table_wait_seconds = table_wait_seconds
        self._sleep = sleep
        self._lock = threading.Lock()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Connections] = weakref.WeakKeyDictionary()

    @property
    def name(self) -> str:
        """The table's name."""
        return self._table_name

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Clients for the running loop, closed when its last ``open`` is left; the table is there and ready."""
        with self._lock:
            connections = self._loops.setdefault(asyncio.get_running_loop(), _Connections())
        async with connections.lock:
            if not connections.is_open:
                await self._connect(connections)
            connections.users += 1
        try:
            yield
        finally:
            connections.users -= 1
            await uninterrupted(connections.close_unused())

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        """Apply one conditional write, tried once. Raises LeaseStoreError only where it was surely not applied."""
        operation, request = render_write(write, self._table_name)
        connections = self._connections()
        try:
            async with asyncio.timeout(timeout_seconds):
                try:
                    reply = await connections.ask_once(operation, request)
                except Exception as error:
                    if error_code(error) != _CONDITION_FAILED:
                        raise
                    return await self._refused(write, error)
        except TimeoutError:
            return Unknown(f"no reply to {write.verb} of {write.key} within {timeout_seconds:g} s")
        except Exception as error:
            if never_arrived_or_refused(error):
                raise translate(error, self._call(operation, connections)) from error
            return Unknown(f"{write.verb} of {write.key}: {type(error).__name__}: {error}")
        return _outcome(write, reply)

    async def read(self, key: str) -> Lease | None:
        """One lease by a consistent read."""
        return lease_of(await self._get_item(key))

    async def scan(self) -> TableScan:
        """Every row, all pages, eventually consistent."""
        request: dict[str, Any] = {"TableName": self._table_name}
        items: list[Item] = []
        ends: set[Hashable] = set()
        # Ends with the table: each page begins after the key that ended the last one, and none ends where one did.
        while True:
            page = await self._ask("Scan", request)
            if not isinstance(page.get("Items"), list):
                raise LeaseTableUnavailable(
                    f"A page of the scan of lease table {self._table_name} has no Items. Try again."
                )
            items += page["Items"]
            start = page.get("LastEvaluatedKey")
            if not start:
                return table_scan(items)
            end = canonical({"M": start})
            if end in ends:
                raise LeaseTableUnavailable(f"The scan of lease table {self._table_name} does not move past {start}.")
            ends.add(end)
            request["ExclusiveStartKey"] = start

    async def write_worker(self, row: WorkerRow) -> bool:
        """Put a worker's own row, unless its beat is as high already; tried once: the next beat is the second try."""
        operation, request = render_write(put_worker(row), self._table_name)
        connections = self._connections()
        try:
            await connections.ask_once(operation, request)
        except Exception as error:
            if error_code(error) == _CONDITION_FAILED:
                return False
            raise translate(error, self._call(operation, connections)) from error
        return True

    async def read_worker(self, worker_id: str) -> WorkerRow | None:
        """One worker's row by a consistent read."""
        return worker_of(await self._get_item(worker_id))

    async def delete_worker(self, row: WorkerRow) -> None:
        """Delete a worker's row if its beat has not moved."""
        operation, request = render_write(delete_worker(row), self._table_name)
        connections = self._connections()
        try:
            await connections.ask(operation, request)
        except Exception as error:
            if error_code(error) != _CONDITION_FAILED:
                raise translate(error, self._call(operation, connections)) from error

    async def _connect(self, connections: _Connections) -> None:
        """Make the running loop's clients and see that the table is ready; all or nothing."""
        session = self._session() if callable(self._session) else self._session or get_session()
        try:
            await connections.open(session, self._region_name, self._endpoint_url)
            await ensure_table(
                connections.ask,
                self._table_name,
                self._create_request,
                wait_seconds=self._table_wait_seconds,
                sleep=self._sleep,
            )
        except ValueError as error:
            await connections.close()
            raise LeaseStoreError(f"Lease table {self._table_name} has an endpoint that is no URL: {error}") from error
        except Exception as error:
            operation = getattr(error, "operation_name", "DescribeTable")
            call = self._call(operation, connections)
            await connections.close()
            raise translate(error, call) from error
        except BaseException:
            await connections.close()
            raise

    def _connections(self) -> _Connections:
        with self._lock:
            connections = self._loops.get(asyncio.get_running_loop())
        if connections is None or not connections.is_open:
            raise RuntimeError(
                f"Lease store {self._table_name} is not open on this event loop; enter open() on it first."
            )
        return connections

    def _call(self, operation: str, connections: _Connections) -> Call:
        return Call(operation, self._table_name, connections.endpoint_url or self._endpoint_url)

    async def _ask(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        connections = self._connections()
        try:
            return await connections.ask(operation, request)
        except Exception as error:
            raise translate(error, self._call(operation, connections)) from error

    async def _get_item(self, key: str) -> Item | None:
        request = {"TableName": self._table_name, "Key": {LEASE_KEY: {"S": key}}, "ConsistentRead": True}
        return (await self._ask("GetItem", request)).get("Item") or None

    async def _refused(self, write: Write, error: Exception) -> Refused | Unknown:
        """The row in the way: the refusal carries it, but for where there is none, and on endpoints that never send it.

        Unknown where it can't be read: a request that something on its way carried twice is refused the second time,
        and it is the row that tells so.
        """
        try:
            item: Item | None = getattr(error, "response", {}).get("Item") or await self._get_item(write.key)
        except LeaseStoreError as unread:
            return Unknown(f"{write.verb} of {write.key} was refused, and the row in its way can't be read: {unread}")
        return Refused(lease_of(item))


class _Connections:
    """The clients of one loop: one that tries once, for writes, and one that tries again, for what may be repeated."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.endpoint_url: str | None = None
        self._clients: tuple[Any, Any] | None = None
        self._stack = AsyncExitStack()

    @property
    def is_open(self) -> bool:
        return self._clients is not None

    async def open(self, session: AioSession, region_name: str | None, endpoint_url: str | None) -> None:
        async def client(attempts: int) -> Any:
            config = AioConfig(
                connect_timeout=_CONNECT_TIMEOUT_SECONDS,
                read_timeout=_READ_TIMEOUT_SECONDS,
                retries={"total_max_attempts": attempts, "mode": "standard"},
                max_pool_connections=_POOL_CONNECTIONS,
            )
            context = session.create_client(
                "dynamodb", region_name=region_name, endpoint_url=endpoint_url, config=config
            )
            return await self._stack.enter_async_context(context)

        session = reading_with(session, StrictParser)
        once, retrying = await client(1), await client(_READ_ATTEMPTS)
        self.endpoint_url = once.meta.endpoint_url
        self._clients = once, retrying

    async def close_unused(self) -> None:
        """Close the clients if nobody uses them any more."""
        async with self.lock:
            if self.users == 0:
                await self.close()

    async def close(self) -> None:
        stack, self._stack, self._clients = self._stack, AsyncExitStack(), None
        await stack.aclose()

    async def ask_once(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._clients is not None
        reply: Mapping[str, Any] = await getattr(self._clients[0], xform_name(operation))(**request)
        return reply

    async def ask(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._clients is not None
        reply: Mapping[str, Any] = await getattr(self._clients[1], xform_name(operation))(**request)
        return reply


def _outcome(write: Write, reply: Mapping[str, Any]) -> WriteResult:
    if write.deletes:
        return Applied(None)
    # A reply to PutItem is empty: the row is what was put.
    item = write.sets if write.puts else reply.get("Attributes")
    if not item:
        return Unknown(f"the reply to {write.verb} of {write.key} lacks the row it should carry")
    return applied(item)
