"""The lease store in a DynamoDB table, by aiobotocore."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

from aiobotocore.session import AioSession

from lease_store.attributes import KEY_ATTRIBUTES, LEASE_KEY, AttributeValue, Place
from lease_store.aws_session import own_session
from lease_store.coordination import LOCK_KEY, ClientVersion, LeaderLock, TableMigration
from lease_store.dynamodb_batch import DynamoDBBatches
from lease_store.dynamodb_connections import Connections
from lease_store.dynamodb_errors import Call, error_code, never_arrived_or_refused, translate
from lease_store.dynamodb_expressions import OWNER_INDEX, create_table_request, owner_query, render_write
from lease_store.dynamodb_pages import pages
from lease_store.dynamodb_table import ensure_owner_index, ensure_table
from lease_store.errors import (
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableMissing,
    LeaseTableUnavailable,
)
from lease_store.item import lease_of, lock_of, worker_of
from lease_store.known_rows import KnownRows
from lease_store.layout import LegacyRows, legacy_rows
from lease_store.lease import ForeignRow, Lease, TableScan, WorkerRow
from lease_store.store import Applied, Refused, Unknown, WriteResult, applied, check_together
from lease_store.uninterrupted import uninterrupted
from lease_store.verbs import delete_row, delete_worker, put_worker
from lease_store.writes import Write

__all__ = ["DynamoDBLeaseStore"]

Item = Mapping[str, AttributeValue]

_log = logging.getLogger("leasehold.lease_store")

_CONDITION_FAILED: Final = "ConditionalCheckFailedException"
# How long a legacy table or an index that is not there is not asked for again; a KCL that makes one plans no sooner.
_ABSENT_SECONDS: Final = 10.0
# How long a refusal for want of a right is not tried again: policies change seldom, and accounts count refusals.
_DENIED_SECONDS: Final = 60.0
_LEGACY_TABLES: Final = "the legacy tables"
_INDEX_NOT_READY: Final = frozenset({"ValidationException", "ResourceNotFoundException"})


class DynamoDBLeaseStore:
    """Leases in a DynamoDB table; loops and threads may share one object, each loop has clients of its own.

    Region, endpoint and credentials are botocore's own settings (``AWS_ENDPOINT_URL_DYNAMODB``, profiles, roles) unless
    given here. ``session`` is an AioSession, or a callable that makes one for each loop: the better choice where
    credentials are refreshed, since such a session belongs to one loop. A missing table is created on first use unless
    ``create_table`` is False: on-demand, key ``leaseKey``, no index, ``table_options`` being further CreateTable
    parameters; ``open`` waits for it up to ``table_wait_seconds``.

    A KCL 3.0 to 3.4 keeps two more tables, named after its application. They are looked for, and never made: under the
    lease table's name, and under ``application`` once a scan has shown a lease that a KCL before 3.5 made; without one,
    tables of that name are another fleet's. ``coordinator_table`` and ``metrics_table`` name them where they were given
    other names.

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
        application: str | None = None,
        coordinator_table: str | None = None,
        metrics_table: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._table_name = table_name
        applications = dict.fromkeys((table_name, application or table_name))
        self._candidates: Mapping[Place, tuple[str, ...]] = {
            "coordinator": _names(coordinator_table, applications, "CoordinatorState"),
            "metrics": _names(metrics_table, applications, "WorkerMetricStats"),
        }
        # Of the two legacy places the one that was found last, and until then the likeliest.
        self._tables: dict[Place, str] = {"leases": table_name}
        self._tables |= {place: names[0] for place, names in self._candidates.items()}
        self._is_older_kcls = False
        self._denied: str | None = None
        self._known: set[str] = set()
        self._told: set[str] = set()
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
        self._rows = KnownRows()
        self._lock = threading.Lock()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Connections] = weakref.WeakKeyDictionary()
        self._batches = DynamoDBBatches(
            table_name,
            call=lambda operation: self._call(operation, self._connections(), table_name),
            write_one=lambda write, seconds: self.write(write, timeout_seconds=seconds),
            read_one=self.read,
            tell_once=self._tell_once,
            sleep=sleep,
        )

    @property
    def name(self) -> str:
        """The table's name."""
        return self._table_name

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Clients for the running loop, closed when its last ``open`` is left; the table is there and ready."""
        with self._lock:
            connections = self._loops.setdefault(asyncio.get_running_loop(), Connections())
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
        table = self._tables[write.place]
        operation, request = render_write(write, table)
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
                raise translate(error, self._call(operation, connections, table)) from error
            return Unknown(f"{write.verb} of {write.key}: {type(error).__name__}: {error}")
        return _outcome(write, reply)

    async def read(self, key: str) -> Lease | None:
        """One lease by a consistent read."""
        return lease_of(await self._get_item(key, "leases"))

    @property
    def most_together(self) -> int:
        """25, or 1 once the endpoint or the policy was found not to allow batches."""
        return self._batches.most_writes

    async def write_many(
        self, writes: Sequence[Write], *, timeout_seconds: float
    ) -> list[WriteResult | LeaseStoreError]:
        """Apply conditional writes in one BatchExecuteStatement, tried once; one by one where it is not allowed."""
        check_together(writes)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._batches.write(self._connections(), writes, timeout_seconds)
        except TimeoutError:
            why = f"in a batch, within {timeout_seconds:g} s"
            return [Unknown(f"no reply to {write.verb} of {write.key} {why}") for write in writes]

    async def read_many(self, keys: Sequence[str]) -> list[Lease | LeaseStoreError | None]:
        """Leases by one consistent BatchGetItem; one by one where it is not allowed."""
        return await self._batches.read(self._connections(), keys)

    async def scan(self) -> TableScan:
        """Every row, all pages, eventually consistent."""
        connections = self._connections()
        with self._translated("Scan", connections, self._table_name):
            # Closed here and now where a row can't be read, and not some time later by whoever collects garbage.
            async with aclosing(pages(connections, "Scan", {"TableName": self._table_name})) as found:
                scan = await self._rows.scan(found)
        self._is_older_kcls = self._is_older_kcls or any(
            lease.entity_type is None and lease.created_at is None for lease in scan.leases
        )
        return scan

    async def write_worker(self, row: WorkerRow, place: Place = "leases") -> bool:
        """Put a worker's own row, unless its beat is as high already; tried once: the next beat is the second try."""
        return await self._stands(put_worker(row, place), once=True)

    async def read_worker(self, worker_id: str, place: Place = "leases") -> WorkerRow | None:
        """One worker's row by a consistent read."""
        return worker_of(await self._get_item(worker_id, place), place)

    async def delete_worker(self, row: WorkerRow, place: Place = "leases") -> None:
        """Delete a worker's row if its beat has not moved."""
        await self._stands(delete_worker(row, place))

    async def delete_row(
        self, row: WorkerRow | LeaderLock | ClientVersion | TableMigration | ForeignRow, place: Place = "leases"
    ) -> bool:
        """Delete a row that is no lease, if it still is as it was read."""
        return await self._stands(delete_row(row, place))

    async def read_lock(self, place: Place) -> LeaderLock | None:
        """The leader's lock by a consistent read; None also where the place's table is not there."""
        try:
            return lock_of(await self._get_item(LOCK_KEY, place), place)
        except LeaseTableMissing:
            if place == "leases":
                raise
            return None

    async def legacy(self) -> LegacyRows | None:
        """The rows of the legacy tables, the coordinator's by a consistent scan; None where it is not there."""
        connections, now = self._connections(), asyncio.get_running_loop().time()
        if self._denied is not None and connections.is_absent(_LEGACY_TABLES, now):
            return LegacyRows(denied=self._denied)
        try:
            coordinator = await self._legacy_items("coordinator", ConsistentRead=True)
        except LeaseTableAccessDenied as error:
            if self._known:
                raise  # it is there: to take it for missing would make a second leader
            self._tell_once(f"Whether a KCL 3.0 to 3.4 works here can't be told: {error}")
            self._denied = str(error)
            connections.note_absent(_LEGACY_TABLES, now + _DENIED_SECONDS)
            return LegacyRows(denied=self._denied)
        return None if coordinator is None else legacy_rows(coordinator, await self._legacy_items("metrics"))

    async def _legacy_items(self, place: Place, **options: Any) -> list[Item] | None:
        """All rows of a legacy table, under the first of its names that exists; None where none does."""
        connections, now = self._connections(), asyncio.get_running_loop().time()
        for table in self._candidates[place][: None if self._is_older_kcls else 1]:
            if connections.is_absent(table, now):
                continue
            try:
                with self._translated("Scan", connections, table):
                    found = [page async for page in pages(connections, "Scan", {"TableName": table, **options})]
                    items = [item for page in found for item in page.items()]
            except LeaseTableMissing:
                connections.note_absent(table, now + _ABSENT_SECONDS)
                continue
            self._known.add(table)
            self._tables[place] = table
            return items
        return None

    async def owned_by(self, worker_id: str) -> tuple[str, ...] | None:
        """Keys by the owner index; None where it is missing, not yet active, or not to be read."""
        connections, now = self._connections(), asyncio.get_running_loop().time()
        if connections.is_absent(OWNER_INDEX, now):
            return None
        try:
            found = [page async for page in pages(connections, "Query", owner_query(self._table_name, worker_id))]
        except Exception as error:
            translated = translate(error, self._call("Query", connections, self._table_name))
            if isinstance(translated, LeaseTableAccessDenied):
                self._tell_once(f"Leases are found by scans alone: {translated}")
            elif error_code(error) not in _INDEX_NOT_READY:
                raise translated from error
            connections.note_absent(OWNER_INDEX, now + _ABSENT_SECONDS)
            return None
        keys = [str(item.get(LEASE_KEY, {}).get("S", "")) for page in found for item in page]
        if not all(keys):
            raise LeaseTableUnavailable(f"A row of index {OWNER_INDEX} of {self._table_name} has no key. Try again.")
        return tuple(sorted(keys))

    async def ensure_owner_index(self) -> None:
        """Have the owner index made where there is none; a policy that forbids it is said once, and no error."""
        connections = self._connections()
        try:
            with self._translated("UpdateTable", connections, self._table_name):
                await ensure_owner_index(connections.ask, self._table_name)
        except LeaseTableAccessDenied as error:
            self._tell_once(f"The index by owner is left to others to make: {error}")
        connections.forget_absent(OWNER_INDEX)

    def _tell_once(self, sentence: str) -> None:
        with self._lock:
            is_new = sentence not in self._told
            self._told.add(sentence)
        if is_new:
            _log.warning("%s", sentence)

    async def _connect(self, connections: Connections) -> None:
        """Make the running loop's clients and see that the table is ready; all or nothing."""
        session = self._session() if callable(self._session) else self._session or own_session()
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
            call = self._call(operation, connections, self._table_name)
            await connections.close()
            raise translate(error, call) from error
        except BaseException:
            await connections.close()
            raise

    def _connections(self) -> Connections:
        with self._lock:
            connections = self._loops.get(asyncio.get_running_loop())
        if connections is None or not connections.is_open:
            raise RuntimeError(
                f"Lease store {self._table_name} is not open on this event loop; enter open() on it first."
            )
        return connections

    def _call(self, operation: str, connections: Connections, table: str) -> Call:
        endpoint_url = connections.endpoint_url or self._endpoint_url
        return Call(operation, table, endpoint_url, is_legacy=table != self._table_name)

    @contextmanager
    def _translated(self, operation: str, connections: Connections, table: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise translate(error, self._call(operation, connections, table)) from error

    async def _get_item(self, key: str, place: Place) -> Item | None:
        table = self._tables[place]
        request = {"TableName": table, "Key": {KEY_ATTRIBUTES[place]: {"S": key}}, "ConsistentRead": True}
        connections = self._connections()
        with self._translated("GetItem", connections, table):
            return (await connections.ask("GetItem", request)).get("Item") or None

    async def _stands(self, write: Write, *, once: bool = False) -> bool:
        """Whether a write of a row that is no lease was applied: tried ``once`` where a later one does as well."""
        table = self._tables[write.place]
        operation, request = render_write(write, table)
        connections = self._connections()
        try:
            await (connections.ask_once if once else connections.ask)(operation, request)
        except Exception as error:
            if error_code(error) == _CONDITION_FAILED:
                return False
            raise translate(error, self._call(operation, connections, table)) from error
        return True

    async def _refused(self, write: Write, error: Exception) -> Refused | Unknown:
        """The row in the way: the refusal carries it, but for where there is none, and on endpoints that never send it.

        Unknown where it can't be read: a request that something on its way carried twice is refused the second time,
        and it is the row that tells so.
        """
        try:
            item: Item | None = getattr(error, "response", {}).get("Item") or await self._get_item(
                write.key, write.place
            )
        except LeaseStoreError as unread:
            return Unknown(f"{write.verb} of {write.key} was refused, and the row in its way can't be read: {unread}")
        return Refused(lease_of(item, write.place))


def _names(given: str | None, applications: Iterable[str], suffix: str) -> tuple[str, ...]:
    return (given,) if given else tuple(f"{application}-{suffix}" for application in applications)


def _outcome(write: Write, reply: Mapping[str, Any]) -> WriteResult:
    if write.deletes:
        return Applied(None)
    # A reply to PutItem is empty: the row is what was put.
    item = write.sets if write.puts else reply.get("Attributes")
    if not item:
        return Unknown(f"the reply to {write.verb} of {write.key} lacks the row it should carry")
    return applied(partial(lease_of, item, write.place))
