"""Many leases in one request: conditional writes as PartiQL statements, consistent reads as a batch of gets.

Each statement stands or fails by itself, and an answer says so for each under HTTP 200. Where an endpoint or a policy
does not allow such requests, this goes back to single ones for good, and says so once: after a whole request was
refused, or a statement that then stood by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from lease_store.attributes import LEASE_KEY
from lease_store.dynamodb_connections import Connections
from lease_store.dynamodb_errors import Call, error_code, never_arrived_or_refused, translate
from lease_store.each import each_by_itself
from lease_store.errors import LeaseStoreError, LeaseTableAccessDenied, LeaseTableThrottled
from lease_store.item import lease_of
from lease_store.lease import Lease
from lease_store.partiql import render_statement
from lease_store.store import MOST_TOGETHER, Applied, Refused, Unknown, WriteResult, applied
from lease_store.writes import Write

__all__ = ["DynamoDBBatches"]

_CONDITION_FAILED: Final = "ConditionalCheckFailed"
# A statement's error has a name of its own for what a whole request's is called otherwise; those that are not here are
# taken for a failure of the service, after which nobody knows.
_NAMES: Final = {
    "AccessDenied": "AccessDeniedException",
    "DuplicateItem": "DuplicateItemException",
    "ItemCollectionSizeLimitExceeded": "ItemCollectionSizeLimitExceededException",
    "ProvisionedThroughputExceeded": "ProvisionedThroughputExceededException",
    "RequestLimitExceeded": "RequestLimitExceeded",
    "ResourceNotFound": "ResourceNotFoundException",
    "ThrottlingError": "ThrottlingException",
    "TransactionConflict": "TransactionConflictException",
    "ValidationError": "ValidationException",
}
_NOT_UNDERSTOOD: Final = frozenset({"UnknownOperationException", "ValidationException"})
# Keys that a batch of gets leaves out, for want of throughput, are asked for again so often.
_READ_ROUNDS: Final = 4
_READ_PAUSE_SECONDS: Final = 0.02


class DynamoDBBatches:
    """The batches of one lease table, for all loops; ``most_writes`` is 1 once they are known not to be taken.

    ``write_one`` and ``read_one`` are the single calls. ``tell_once`` logs a sentence that has not been logged yet.
    """

    def __init__(
        self,
        table_name: str,
        *,
        call: Callable[[str], Call],
        write_one: Callable[[Write, float], Awaitable[WriteResult]],
        read_one: Callable[[str], Awaitable[Lease | None]],
        tell_once: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.most_writes = MOST_TOGETHER
        self._reads_together = True
        self._table_name = table_name
        self._call = call
        self._write_one = write_one
        self._read_one = read_one
        self._tell_once = tell_once
        self._sleep = sleep

    async def write(
        self, connections: Connections, writes: Sequence[Write], timeout_seconds: float
    ) -> list[WriteResult | LeaseStoreError]:
        """See ``LeaseStore.write_many``; ``timeout_seconds`` is for those that go alone."""

        async def each_alone(these: Sequence[Write]) -> list[WriteResult | LeaseStoreError]:
            return await each_by_itself(these, lambda write: self._write_one(write, timeout_seconds))

        if self.most_writes == 1:
            return await each_alone(writes)
        request = {"Statements": [render_statement(write, self._table_name) for write in writes]}
        try:
            answers = (await connections.ask_once("BatchExecuteStatement", request)).get("Responses")
        except Exception as error:
            if why := self._why_alone(error):
                self._give_up(why)
                return await each_alone(writes)
            if never_arrived_or_refused(error):
                raise translate(error, self._call("PartiQLUpdate")) from error
            return [Unknown(f"a batch with {_told(each)}: {type(error).__name__}: {error}") for each in writes]
        if not isinstance(answers, list) or len(answers) != len(writes):
            return [Unknown(f"the reply to a batch has no place for {_told(each)}") for each in writes]
        results = {write.key: self._result(write, answer) for write, answer in zip(writes, answers, strict=True)}
        rowless = [write for write in writes if results[write.key] is _ROWLESS]
        refused = {write.key: each for write in writes if isinstance(each := results[write.key], _RefusedInCompany)}
        by_themselves = await each_alone([write for write in writes if write.key in refused])
        for in_company, result in zip(refused.values(), by_themselves, strict=True):
            # What fails by itself as well fails for reasons of its own, and is none against batches.
            if isinstance(result, Applied | Refused):
                self._give_up(in_company.why)
        again = [*await self._rows_in_the_way(rowless), *by_themselves]
        results |= zip((*(write.key for write in rowless), *refused), again, strict=True)
        return [each for each in results.values() if not isinstance(each, _RefusedInCompany)]

    def _result(self, write: Write, answer: Mapping[str, Any]) -> WriteResult | LeaseStoreError | _RefusedInCompany:
        """What one statement came to; _ROWLESS and _RefusedInCompany stand for what is not known yet."""
        said, item = answer.get("Error"), answer.get("Item")
        if said is None:
            if item:
                return applied(item.lease)
            self._give_up("its replies lack the rows after the writes")
            return Unknown(f"the reply to a batch lacks the row after {_told(write)}")
        if said.get("Code") == _CONDITION_FAILED:
            try:
                return Refused(lease_of(said["Item"])) if said.get("Item") else _ROWLESS
            except LeaseStoreError as unreadable:
                return unreadable
        refusal = _as_refusal(said)
        if why := self._why_alone(refusal):
            return _RefusedInCompany(why)
        if never_arrived_or_refused(refusal):
            return translate(refusal, self._call("PartiQLUpdate"))
        return Unknown(f"a batch with {_told(write)}: {refusal}")

    async def _rows_in_the_way(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Where none was sent there mostly is none; but only a read can tell."""
        rows = await each_by_itself([write.key for write in writes], self._read_one)
        return [
            Unknown(f"{_told(write)} was refused, and the row in its way can't be read: {row}")
            if isinstance(row, LeaseStoreError)
            else Refused(row)
            for write, row in zip(writes, rows, strict=True)
        ]

    def _why_alone(self, error: Exception) -> str | None:
        """What was said where a batch, or a statement of one, may be refused for what it is."""
        denied = isinstance(translated := translate(error, self._call("PartiQLUpdate")), LeaseTableAccessDenied)
        return str(translated) if denied or error_code(error) in _NOT_UNDERSTOOD else None

    def _give_up(self, why: str) -> None:
        self.most_writes = 1
        self._tell_once(f"Leases of {self._table_name} are written one by one from now on, not 25 to a request: {why}")

    async def read(self, connections: Connections, keys: Sequence[str]) -> list[Lease | LeaseStoreError | None]:
        """See ``LeaseStore.read_many``."""
        if not self._reads_together or len(keys) == 1:
            return await each_by_itself(keys, self._read_one)
        try:
            items = await self._items(connections, keys)
        except Exception as error:
            translated = translate(error, self._call("BatchGetItem"))
            if not isinstance(translated, LeaseTableAccessDenied) and error_code(error) not in _NOT_UNDERSTOOD:
                raise translated from error
            self._reads_together = False
            self._tell_once(f"Rows of {self._table_name} are read one by one from now on: {translated}")
            return await each_by_itself(keys, self._read_one)
        # That a row is gone is believed of a read that was for it alone.
        missing = [key for key in keys if key not in items]
        rows = dict(zip(missing, await each_by_itself(missing, self._read_one), strict=True))
        return [_lease_or_error(items[key]) if key in items else rows[key] for key in keys]

    async def _items(self, connections: Connections, keys: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The rows that there are, by key."""
        asked: Any = {"Keys": [{LEASE_KEY: {"S": key}} for key in keys], "ConsistentRead": True}
        items: dict[str, Mapping[str, Any]] = {}
        for attempt in range(_READ_ROUNDS):
            await self._sleep(attempt * _READ_PAUSE_SECONDS)
            reply = await connections.ask("BatchGetItem", {"RequestItems": {self._table_name: asked}})
            rows = (reply.get("Responses") or {}).get(self._table_name) or []
            items |= {str(item.get(LEASE_KEY, {}).get("S")): item for item in rows}
            asked = (reply.get("UnprocessedKeys") or {}).get(self._table_name)
            if not asked:
                return items
        raise LeaseTableThrottled(
            f"Lease table {self._table_name} left out rows of a batch {_READ_ROUNDS} times, for its rate. "
            "Slow down and try again; an on-demand table grows with its load."
        )


_ROWLESS: Final = Unknown("refused, and no row was sent along")


@dataclass(frozen=True, slots=True)
class _RefusedInCompany:
    """A statement that was refused for what it is, or for its being one of a batch: tried by itself, it tells."""

    why: str


def _told(write: Write) -> str:
    return f"{write.verb} of {write.key}"


def _as_refusal(said: Mapping[str, Any]) -> ClientError:
    """A statement's error as that of a whole request, so that one place judges both."""
    code, message = str(said.get("Code")), str(said.get("Message") or "no reason given")
    status = 400 if code in _NAMES else 500
    return ClientError(
        {"Error": {"Code": _NAMES.get(code, code), "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "BatchExecuteStatement",
    )


def _lease_or_error(item: Mapping[str, Any]) -> Lease | LeaseStoreError | None:
    try:
        return lease_of(item)
    except LeaseStoreError as error:
        return error
