"""The strict parser for a table's replies, which leaves rows that come in numbers as the bytes that came."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from lease_store.known_rows import RawRows
from lease_store.raw_row import RawRow
from lease_store.strict_parser import StrictParser

__all__ = ["TableParser"]


_NULL: Final = Raw(b"null")
_NOTHING: Final = frozenset({b"null", b"{}"})


class _Page(Struct, gc=False):
    Items: list[Raw] | None = None
    LastEvaluatedKey: Raw = _NULL


class _Answer(Struct, gc=False):
    Item: Raw = _NULL
    Error: Raw = _NULL


class _Batch(Struct, gc=False):
    Responses: list[_Answer] | None = None


_PAGES: Final = Decoder(_Page)
_BATCHES: Final = Decoder(_Batch)


class TableParser(StrictParser):
    """``Items`` of a Scan are ``RawRows``: most are known from the scan before, and need not be parsed again.

    Each ``Item`` of a BatchExecuteStatement is a ``RawRow``, read at a fraction of what parsing it by the model costs.
    """

    def _handle_json_body(self, raw_body: bytes, shape: Any) -> Any:
        match shape.name:
            case "ScanOutput":
                return self._scan(raw_body, shape)
            case "BatchExecuteStatementOutput":
                return self._batch(raw_body, shape)
            case _:
                return super()._handle_json_body(raw_body, shape)

    def _batch(self, raw_body: bytes, shape: Any) -> dict[str, Any]:
        answers = _batch(raw_body).Responses
        if answers is None:
            return {}
        members = shape.members["Responses"].member.members
        read = partial(self._item, members["Item"])
        responses: list[dict[str, Any]] = []
        for answer in answers:
            response: dict[str, Any] = {}
            if (item := bytes(answer.Item)) not in _NOTHING:
                response["Item"] = RawRow(item, read)
            if (error := bytes(answer.Error)) not in _NOTHING:
                response["Error"] = self._parse_shape(members["Error"], json.loads(error))
            responses.append(response)
        return {"Responses": responses}

    def _scan(self, raw_body: bytes, shape: Any) -> dict[str, Any]:
        page = _page(raw_body)
        parsed: dict[str, Any] = {}
        if page.Items is not None:
            parsed["Items"] = RawRows(page.Items, partial(self._item, shape.members["Items"].member))
        if (key := json.loads(bytes(page.LastEvaluatedKey))) is not None:
            parsed["LastEvaluatedKey"] = self._parse_shape(shape.members["LastEvaluatedKey"], key)
        return parsed

    def _item(self, shape: Any, row: bytes) -> Any:
        return self._parse_shape(shape, json.loads(row))


def _page(body: bytes) -> _Page:
    """The page in a reply. Raises ValueError where it is none."""
    try:
        return _PAGES.decode(body)
    except MsgspecError:
        # Python reads what is not quite JSON, half a surrogate pair, say: a row that has it costs no other row.
        document = json.loads(body)
    if not isinstance(document, dict) or not isinstance(rows := document.get("Items"), list):
        raise ValueError("the reply is no page of a scan")
    return _Page([_raw(row) for row in rows], _raw(document.get("LastEvaluatedKey")))


def _batch(body: bytes) -> _Batch:
    """The answers in a reply. Raises ValueError where it has none."""
    try:
        return _BATCHES.decode(body)
    except MsgspecError:
        document = json.loads(body)
    answers = document.get("Responses") if isinstance(document, dict) else None
    if not isinstance(answers, list) or not all(isinstance(each, dict) for each in answers):
        raise ValueError("the reply is none to a batch of statements")
    return _Batch([_Answer(_raw(each.get("Item")), _raw(each.get("Error"))) for each in answers])


def _raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())
