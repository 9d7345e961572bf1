"""What one exchange with DynamoDB asked to be written, row by row: a request is one write, or a batch of many."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumer.testing.proxy import Exchange, ProxiedReply
from lease_store.attributes import KEY_ATTRIBUTES

__all__ = ["RowWrite", "row_key", "table_of", "writes_of"]

_BATCH: Final = "BatchExecuteStatement"
_SINGLE: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
# A statement of a batch and a whole request call the same refusal by two names.
_CONDITION_FAILED: Final = frozenset({"ConditionalCheckFailed", "ConditionalCheckFailedException"})


@dataclass(frozen=True, slots=True)
class RowWrite:
    """One row's write as the table answered it.

    ``key`` is None where neither request nor reply tells it in plain words: for a statement without a row. ``row`` is
    the whole row after the write; None where nobody was told, which is so of a delete and of an update that did not
    ask. ``error`` is the code with which the table did not apply it; None where it did.
    """

    key: str | None
    row: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it was not applied because its condition did not hold."""
        return self.error in _CONDITION_FAILED


def writes_of(exchange: Exchange) -> list[RowWrite]:
    """Every write that was asked for and answered; none of a request that the table itself never answered.

    A statement of a batch is applied where its own entry under ``Responses`` has no error, whatever became of its
    neighbours. ValueError for a batch's reply that has not one entry for each statement.
    """
    operation, reply = exchange.request.operation, exchange.reply
    if reply is None or operation not in _SINGLE | {_BATCH}:
        return []
    if operation in _SINGLE:
        return [_single(exchange, reply)]
    statements = exchange.fields["Statements"]
    if reply.status != 200:
        return [RowWrite(None, error=_code(reply))] * len(statements)
    answers = json.loads(reply.body)["Responses"]
    return [_statement(answer) for _, answer in zip(statements, answers, strict=True)]


def row_key(fields: Mapping[str, Any]) -> str | None:
    """The key of the row that a single write names, in whichever of the three tables."""
    return _key(fields.get("Key") or fields.get("Item") or {})


def table_of(exchange: Exchange) -> str | None:
    """The one table that a request is about; None where it is about none. ValueError for several."""
    match exchange.request.operation:
        case "BatchExecuteStatement":
            # Ours name one table each, as the first thing between quotes.
            (table,) = {each["Statement"].split('"')[1] for each in exchange.fields["Statements"]}
        case "BatchGetItem":
            (table,) = exchange.fields["RequestItems"]
        case _:
            table = exchange.fields.get("TableName")
    return table


def _single(exchange: Exchange, reply: ProxiedReply) -> RowWrite:
    key = row_key(exchange.fields)
    if reply.status != 200:
        return RowWrite(key, error=_code(reply))
    match exchange.request.operation:
        case "PutItem":
            return RowWrite(key, exchange.fields["Item"])
        case "UpdateItem":
            return RowWrite(key, json.loads(reply.body).get("Attributes"))
        case _:
            return RowWrite(key)


def _statement(answer: Mapping[str, Any]) -> RowWrite:
    error = answer.get("Error")
    if error is not None:
        # The row that comes with it is the one in its way.
        return RowWrite(_key(error.get("Item") or {}), error=error["Code"])
    row = answer.get("Item")
    return RowWrite(_key(row or {}), row)


def _key(item: Mapping[str, Any]) -> str | None:
    return next((item[name]["S"] for name in KEY_ATTRIBUTES.values() if name in item), None)


def _code(reply: ProxiedReply) -> str:
    """A whole request's error; that of a reply which is not DynamoDB's is its status."""
    try:
        named = json.loads(reply.body)["__type"]
    except (ValueError, KeyError):
        return f"HTTP {reply.status}"
    return str(named).rpartition("#")[2]
