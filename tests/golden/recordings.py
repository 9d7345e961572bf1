"""The recordings beside this file as data: rows by moment, and writes with their conditions and changes spelled out."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from lease_store.attributes import KEY_ATTRIBUTES, Place

Item = dict[str, Mapping[str, Any]]

HERE = Path(__file__).parent
# A moment of a table beside the lease table ends in its name.
_PLACES: Mapping[str, Place] = {"CoordinatorState": "coordinator", "WorkerMetricStats": "metrics"}


def tables() -> Iterator[tuple[str, Place, list[Item]]]:
    """Every recorded table at every moment: a name for it, the place it is, its rows."""
    for path in sorted(HERE.glob("*-tables.json")):
        for moment, rows in json.loads(path.read_text()).items():
            place = _PLACES.get(moment.rpartition(" ")[2], "leases")
            yield f"{path.stem.removesuffix('-tables')} {moment}", place, [_bytes(row) for row in rows]


@dataclass(frozen=True)
class Recorded:
    """One write that a KCL sent.

    ``expects`` has the values it compares, None for an attribute that must be absent; ``changes`` has PUT, ADD or
    DELETE by attribute, for a PutItem every attribute of the row.
    """

    name: str
    operation: str
    request: Mapping[str, Any]
    row_before: Item | None
    key_attribute: str
    expects: Mapping[str, Mapping[str, Any] | None]
    changes: Mapping[str, tuple[str, Mapping[str, Any] | None]]

    @property
    def key(self) -> str:
        key: str = (self.request.get("Key") or self.request["Item"])[self.key_attribute]["S"]
        return key

    @property
    def place(self) -> Place:
        return next(place for place, name in KEY_ATTRIBUTES.items() if name == self.key_attribute)

    def after(self, before: Item | None) -> Item | None:
        """The row that the write leaves, by DynamoDB's rules for its parameters."""
        if self.operation == "DeleteItem":
            return None
        row = {} if before is None or self.operation == "PutItem" else dict(before)
        row[self.key_attribute] = {"S": self.key}
        for name, (action, value) in self.changes.items():
            if action == "DELETE":
                row.pop(name, None)
            elif action == "ADD" and value is not None:
                row[name] = {"N": str(Decimal(row.get(name, {"N": "0"})["N"]) + Decimal(value["N"]))}
            elif value is not None:
                row[name] = value
        return row


def writes() -> dict[str, Recorded]:
    """Every recorded write of a row, by a name that also says which KCL sent it."""
    found = {}
    for path in sorted(HERE.glob("*-requests.json")):
        for name, entry in json.loads(path.read_text()).items():
            if entry["operation"] in ("PutItem", "UpdateItem", "DeleteItem"):
                name = f"{path.stem.removesuffix('-requests')} {name}"
                found[name] = _recorded(name, _bytes(entry))
    return found


def request(file: str, name: str) -> Any:
    """One recorded request as it was sent."""
    return json.loads((HERE / f"{file}-requests.json").read_text())[name]["request"]


def _recorded(name: str, entry: dict[str, Any]) -> Recorded:
    sent = entry["request"]
    holder = sent.get("Key") or sent["Item"]
    key_attribute = next(each for each in KEY_ATTRIBUTES.values() if each in holder)
    expects = {each: _legacy(expected) for each, expected in sent.get("Expected", {}).items()}
    if "ConditionExpression" in sent:
        expects = dict(_condition(term.strip(), sent) for term in sent["ConditionExpression"].split(" AND "))
    # That the row exists, each of ours says by itself.
    if expects.get(key_attribute) is not None:
        del expects[key_attribute]
    changes = {
        each: (update["Action"], update.get("Value")) for each, update in sent.get("AttributeUpdates", {}).items()
    }
    changes |= {each: ("PUT", value) for each, value in sent.get("Item", {}).items() if each != key_attribute}
    if "UpdateExpression" in sent:
        changes |= dict(_update(sent))
    return Recorded(name, entry["operation"], sent, entry.get("row_before"), key_attribute, expects, changes)


def _legacy(expected: Mapping[str, Any]) -> Mapping[str, Any] | None:
    assert set(expected) <= {"Exists", "Value"}, f"an expectation of a form that is not read here: {expected}"
    return None if expected.get("Exists") is False else expected["Value"]


def _condition(term: str, sent: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    names, values = sent["ExpressionAttributeNames"], sent.get("ExpressionAttributeValues", {})
    if found := re.fullmatch(r"attribute_(not_)?exists ?\((#?\w+)\)", term):
        return names.get(found[2], found[2]), None if found[1] else {"S": "present"}
    found = re.fullmatch(r"(#?\w+) = (:\w+)", term)
    assert found, f"a condition of a form that is not read here: {term}"
    return names.get(found[1], found[1]), values[found[2]]


def _update(sent: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, Mapping[str, Any] | None]]]:
    names, values = sent["ExpressionAttributeNames"], sent.get("ExpressionAttributeValues", {})
    clauses = re.split(r"\b(SET|REMOVE) ", sent["UpdateExpression"])[1:]
    for kind, clause in zip(clauses[::2], clauses[1::2], strict=True):
        for part in clause.split(","):
            name, _, value = (each.strip() for each in part.partition("="))
            yield names.get(name, name), ("PUT", values[value]) if kind == "SET" else ("DELETE", None)


def _bytes(value: Any) -> Any:
    """JSON's base64 as the bytes that botocore gives and takes."""
    if isinstance(value, list):
        return [_bytes(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"B"} and isinstance(value["B"], str):
        return {"B": base64.b64decode(value["B"])}
    return {name: _bytes(each) for name, each in value.items()}
