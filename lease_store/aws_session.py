"""Sessions that nobody gave: each loop's own, with what they read from disk in common."""

from __future__ import annotations

from functools import cache
from typing import Any

from aiobotocore.session import AioSession, get_session
from botocore.loaders import create_loader

__all__ = ["own_session"]


def own_session() -> AioSession:
    """A new session, by botocore's own settings.

    A worker has one for the stream and one for the lease table, in two threads. The models of the services, some
    megabytes of JSON, and the list of all there are, are read once for both.
    """
    session = get_session()
    session.lazy_register_component("data_loader", lambda: _loader(session.get_config_variable("data_path")))
    return session


@cache  # a process has one setting, or a few in tests
def _loader(data_path: str | None) -> Any:
    return create_loader(data_path)
