"""The store of dead letters at a worker's start: which one it is, and whether letters can be written."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from consumer.config import WorkerConfig
from consumer.dead_letters.address import open_store
from consumer.dead_letters.letter import digest_of
from consumer.dead_letters.store import DeadLetterStore, Findings
from consumer.errors import ConfigError, DeadLetterError

__all__ = ["checked", "named_store"]

_log = logging.getLogger("leasehold.dead_letters")


def named_store(config: WorkerConfig) -> DeadLetterStore | None:
    """The store that the settings name; None where they name none."""
    if config.dead_letters is None:
        return None
    return open_store(config.dead_letters, bucket=config.dead_letter_bucket, topic=config.dead_letter_topic)


@asynccontextmanager
async def checked(
    store: DeadLetterStore,
    soon: Callable[[Callable[[], Awaitable[Findings]]], Awaitable[Findings]],
    *,
    holds_keys: bool,
) -> AsyncIterator[None]:
    """``store`` while it is open. Raises ConfigError with whatever keeps a letter from being written, all at once.

    That is told at the start, and not when the first record has failed. ``soon`` makes a call again while that may
    help; ``holds_keys``: it will be asked for keys, too.
    """
    async with store.open():
        findings = await soon(store.check)
        if holds_keys:
            findings += await soon(partial(_asked_for_keys, store))
        for warning in findings.warnings:
            _log.warning("%s", warning)
        if findings.problems:
            raise ConfigError(findings.problems)
        yield


async def _asked_for_keys(store: DeadLetterStore) -> Findings:
    try:
        await store.holds("leasehold-check", digest_of(""))
    except DeadLetterError as error:
        return Findings.of(error)
    return Findings()
