"""The services' clock, as their replies show it."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

__all__ = ["server_time_of", "time_if_future"]


def time_if_future(error: Exception, timestamp: float) -> float | None:
    """The service's clock where it refused ``timestamp`` because that lies ahead of it; None for any other refusal.

    Services refuse instants of the future, and a worker's clock may run ahead of theirs.
    """
    refusal = error.__cause__
    now = server_time_of(refusal.response) if isinstance(refusal, ClientError) else None
    return now if now is not None and timestamp > now else None


def server_time_of(reply: Mapping[Any, Any]) -> float | None:
    """The service's clock (epoch seconds, a whole second) from the reply's Date header; None where there is none."""
    date = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if not isinstance(date, str):
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
