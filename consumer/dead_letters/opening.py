"""The store of dead letters at a worker's start: which one it is, and whether letters can be written."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumer.config import WorkerConfig
from consumer.dead_letters.address import open_store
from consumer.dead_letters.store import DeadLetterStore
from consumer.errors import ConfigError

__all__ = ["checked", "named_store"]

_log = logging.getLogger("leasehold.dead_letters")


def named_store(config: WorkerConfig) -> DeadLetterStore | None:
    """The store that the settings name; None where they name none."""
    if config.dead_letters is None:
        return None
    return open_store(config.dead_letters, bucket=config.dead_letter_bucket, topic=config.dead_letter_topic)


@asynccontextmanager
async def checked(store: DeadLetterStore) -> AsyncIterator[None]:
    """``store`` while it is open. Raises ConfigError with whatever keeps a letter from being written, all at once.

    That is told at the start, and not when the first record has failed.
    """
    async with store.open():
        findings = await store.check()
        for warning in findings.warnings:
            _log.warning("%s", warning)
        if findings.problems:
            raise ConfigError(findings.problems)
        yield
