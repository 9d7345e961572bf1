"""Lease verbs as PartiQL statements, the one form in which many conditional writes go in one request: pure."""

from __future__ import annotations

from typing import Any

from lease_store.attributes import KEY_ATTRIBUTES, AttributeValue
from lease_store.writes import Absent, ActualOwner, Below, Expect, Is, IsNot, Write

__all__ = ["render_statement"]


def render_statement(write: Write, table_name: str) -> dict[str, Any]:
    """One statement of BatchExecuteStatement, for a write that changes a row which is there.

    It asks, as a single write does, for the row afterwards, or for the one that stood in the way. Names are quoted and
    values are parameters, since names in ``Lease.extra`` may hold any character. An UPDATE makes no row.
    ValueError for a write that puts or deletes.
    """
    if write.puts or write.deletes:
        raise ValueError(f"A {write.verb} changes no row that is there: it goes alone.")
    values: list[AttributeValue] = []
    changes = [f"SET {_quoted(name)} = {_parameter(value, values)}" for name, value in (write.sets or {}).items()]
    changes += [f"REMOVE {_quoted(name)}" for name in write.removes]
    key = Is(KEY_ATTRIBUTES[write.place], {"S": write.key})
    conditions = [_condition(expect, values) for expect in (key, *write.expects)]
    return {
        "Statement": f"UPDATE {_quoted(table_name)} {' '.join(changes)} WHERE {' AND '.join(conditions)} "
        "RETURNING ALL NEW *",
        "Parameters": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _parameter(value: AttributeValue, values: list[AttributeValue]) -> str:
    values.append(value)
    return "?"


def _condition(expect: Expect, values: list[AttributeValue]) -> str:
    match expect:
        case Is(attribute, value):
            return f"{_quoted(attribute)} = {_parameter(value, values)}"
        case IsNot(attribute, value):
            name = _quoted(attribute)
            return f"({name} IS MISSING OR {name} <> {_parameter(value, values)})"
        case Absent(attribute):
            return f"{_quoted(attribute)} IS MISSING"
        case Below(attribute, number):
            name = _quoted(attribute)
            return f"({name} IS MISSING OR {name} < {_parameter({'N': str(number)}, values)})"
        case ActualOwner(worker_id):
            now, owner, me = _quoted("checkpointOwner"), _quoted("leaseOwner"), {"S": worker_id}
            is_now = f"{now} = {_parameter(me, values)}"
            return f"({is_now} OR ({now} IS MISSING AND {owner} = {_parameter(me, values)}))"
