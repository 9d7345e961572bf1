"""The store of dead letters at a worker's start: which one it is, and whether letters can be written."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from consumer.config import WorkerConfig
from consumer.dead_letters.letter import Identity, digest_of
from consumer.dead_letters.store import DeadLetterStore, Findings
from consumer.errors import ConfigError, DeadLetterError
from consumer.store_address import StoreAddress, parse_bucket, parse_store, parse_topic

if TYPE_CHECKING:
    from consumer.clock import Clock
    from consumer.dead_letters.aws import AwsStores
    from consumer.streams.aws_clients import SessionSource

__all__ = ["checked", "named_store", "open_store"]

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
    """A worker asks for keys, and whether a letter is there already before another takes its place."""
    nobodys = Identity("leasehold-check", "leasehold-check", "0", 0, digest_of(""))
    try:
        await store.holds(nobodys.stream, nobodys.digest)
        await store.find(nobodys)
    except DeadLetterError as error:
        return Findings.of(error)
    return Findings()


def open_store(
    address: str,
    *,
    bucket: str | None = None,
    topic: str | None = None,
    region_name: str | None = None,
    session: SessionSource = None,
    clock: Clock | None = None,
    attempts: int = 1,
) -> DeadLetterStore:
    """The store that ``address`` names; nothing is connected before its ``open`` is entered. Raises ConfigError.

    ``bucket`` (a name, or ``s3://NAME``) takes bodies that do not fit, ``topic`` is told of each letter. ``attempts``:
    how often a call is made, 1 for one who tries again himself.
    """
    from consumer.dead_letters.aws import AwsStores

    def aws(*services: str) -> AwsStores:
        return AwsStores(*services, region_name=region_name, session=session, clock=clock, attempts=attempts)

    store = _store(parse_store(address), None if bucket is None else parse_bucket(bucket), aws)
    if topic is None:
        return store
    from consumer.dead_letters.notifying import NotifyingStore

    return NotifyingStore(store, parse_topic(topic), aws("sns"))


def _store(address: StoreAddress, bucket: str | None, aws: Callable[..., AwsStores]) -> DeadLetterStore:
    if address.kind == "file":
        from consumer.dead_letters.file import FileDeadLetters

        return FileDeadLetters(address.place)
    if address.kind == "s3":
        from consumer.dead_letters.s3 import S3DeadLetters

        return S3DeadLetters(address.place, address.prefix, aws("s3"))
    from consumer.dead_letters.bodies import Bodies

    if address.kind == "sqs":
        from consumer.dead_letters.sqs import SqsDeadLetters

        calls = aws("sqs", "s3")
        return SqsDeadLetters(address.place, calls, Bodies(calls, bucket))
    from consumer.dead_letters.dynamodb import DynamoDBDeadLetters

    calls = aws("dynamodb", "s3")
    return DynamoDBDeadLetters(address.place, calls, Bodies(calls, bucket))
