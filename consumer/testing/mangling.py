"""Replies made malformed: pure functions from a JSON reply to one that no service model describes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

from consumer.testing.faults import Fault, Mangling
from consumer.testing.wire_json import dumps

__all__ = ["IMPOSTORS", "mangle"]

_ITEMS = frozenset({"Keys", "NewImage", "OldImage"})

# None of these is a record; a client has to survive and count each. botocore passes the first kind on, over the second
# its own parser fails.
IMPOSTORS: Final = {
    Mangling.NOT_RECORDS: (None, {}, {"dynamodb": None}, {"SequenceNumber": None, "Data": None}),
    Mangling.NOT_STRUCTURES: ("text", 7),
}


def mangle(reply: dict[str, Any], fault: Fault, token: str | None = None) -> bytes:
    """``reply`` as ``fault`` wants it, as the body to send; ``token`` is the iterator of the request, if it had one."""
    if fault.mangling is Mangling.NOT_JSON:
        return b"<html><body>502 Bad Gateway</body></html>"
    changed = copy.deepcopy(reply)
    if fault.mangling in (Mangling.MISSING, Mangling.NULL):
        _at(changed, fault.path.split("."), drop=fault.mangling is Mangling.MISSING)
    elif fault.mangling is Mangling.UNKNOWN_FIELDS:
        changed = _with_unknown(changed)
    elif fault.mangling in IMPOSTORS and isinstance(changed.get("Records"), list):
        changed["Records"] = _interleaved(changed["Records"], IMPOSTORS[fault.mangling])
    elif fault.mangling is Mangling.EMPTY_PAGE and "Records" in changed:
        changed["Records"] = []
        changed.pop("ChildShards", None)
        if token is not None:
            changed["NextShardIterator"] = token
    return dumps(changed)


def _at(value: Any, path: list[str], *, drop: bool) -> None:
    """Drop or null the field at ``path`` wherever it is found."""
    head, rest = path[0], path[1:]
    if isinstance(value, list):
        chosen = value if head == "*" else value[int(head) : int(head) + 1] if head.isdigit() else []
        for element in chosen:
            if rest:
                _at(element, rest, drop=drop)
        if not rest:
            value[:] = [element for element in value if element not in chosen] if drop else [None] * len(value)
    elif isinstance(value, dict) and head in value:
        if rest:
            _at(value[head], rest, drop=drop)
        elif drop:
            del value[head]
        else:
            value[head] = None


def _with_unknown(value: Any) -> Any:
    if isinstance(value, dict):
        # A user's items are maps of attributes: a strange entry there would be an attribute, not an unknown field.
        inside = {name: inner if name in _ITEMS else _with_unknown(inner) for name, inner in value.items()}
        return {**inside, "LeaseholdUnknown": {"Deep": [1, None]}}
    if isinstance(value, list):
        return [_with_unknown(inner) for inner in value]
    return value


def _interleaved(records: list[Any], others: Sequence[Any]) -> list[Any]:
    mixed: list[Any] = []
    for index in range(max(len(records), len(others))):
        mixed += others[index : index + 1]
        mixed += records[index : index + 1]
    return mixed
