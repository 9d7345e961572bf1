"""JSON as the AWS JSON protocol writes it: blobs as base64 text, timestamps as epoch numbers."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = ["dumps", "epoch_number", "loads_object", "to_timestamp"]


def _default(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return epoch_number(value.timestamp())
    raise TypeError(f"{type(value).__name__} has no place in an AWS JSON reply.")


def epoch_number(seconds: float) -> int | float:
    """Epoch seconds as AWS writes them: whole where they are whole, else to the millisecond."""
    rounded = round(seconds, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def dumps(value: object) -> bytes:
    """``value`` as compact JSON."""
    return json.dumps(value, default=_default, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def loads_object(body: bytes) -> dict[str, Any]:
    """A request's JSON object; an empty body is an empty object. Raises ValueError for anything else."""
    value = json.loads(body) if body.strip() else {}
    if not isinstance(value, Mapping):
        raise ValueError(f"A JSON object was expected, {type(value).__name__} came.")
    return dict(value)


def to_timestamp(value: object) -> float | None:
    """Epoch seconds of a request's timestamp, which clients send as a number or as ISO 8601 text. Raises ValueError."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    raise ValueError(f"{value!r} is no timestamp.")
