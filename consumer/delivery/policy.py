"""From settings, and what a processor class says about itself, to what is done with records and their failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any, TypeVar

from consumer.clock import Clock
from consumer.config import WorkerConfig
from consumer.dead_letters.store import DeadLetterStore
from consumer.delivery.attempts import DEFAULT_ATTEMPTS, Retry, RetryRules
from consumer.delivery.batching import BatchRules
from consumer.delivery.breaker import Breaker
from consumer.delivery.ground import Policy
from consumer.delivery.held_keys import HeldKeys
from consumer.delivery.pace import Pace
from consumer.delivery.parking import ParkingBounds
from consumer.delivery.screen import Screen
from consumer.delivery_settings import filter_text
from consumer.errors import ConfigError
from consumer.filters import Filter, compile_filter
from consumer.filters.predicate import refuse_unusable
from consumer.hooks import Fact
from consumer.own_writes import OwnWrites
from consumer.processor import RecordProcessor
from consumer.streams.source import StreamIdentity

__all__ = ["made_policy", "refuse_unheard", "retries_of"]

T = TypeVar("T")


def made_policy(
    config: WorkerConfig,
    factory: Any,
    stream: StreamIdentity,
    *,
    worker_id: str,
    clock: Clock,
    random: Random,
    hooks: Callable[[Fact], None],
    dead_letters: DeadLetterStore | None,
) -> Policy:
    """What a worker does with the records of ``stream``. Raises ConfigError with all that is wrong at once.

    ``factory``: a RecordProcessor class says by ``filter``, ``lane_key`` and ``retries`` what settings can't.
    """
    problems: list[str] = []
    filter = _noting(problems, partial(_filter, config, factory, stream))
    lane_key = _noting(problems, partial(_lane_key, factory))
    by_class = _noting(problems, partial(retries_of, factory)) or {}
    held = None
    if config.after_dead_letter == "hold_key" and dead_letters is not None:
        held = HeldKeys(dead_letters, clock, random, hooks)
        if lane_key is not None:
            problems.append(
                "after_dead_letter=hold_key: holds the item's key (or the partition key), and the processor's lane_key "
                "orders records by another one; leave out one of the two."
            )
        if not dead_letters.tells_keys:
            problems.append(f"after_dead_letter=hold_key: {dead_letters.name} can't be asked which keys it holds.")
    if problems:
        raise ConfigError(problems)
    own_writes = OwnWrites(config.app, clock=clock, random=random) if config.skip_own_writes else None
    screen = None
    if filter is not None or own_writes is not None or lane_key is not None:
        screen = Screen(filter, own_writes, lane_key, delivers_unjudged=config.on_undecodable == "deliver")
    return Policy(
        app=config.app,
        worker_id=worker_id,
        clock=clock,
        random=random,
        hooks=hooks,
        breaker=Breaker(config.breaker_batches, clock, random, hooks),
        retry=RetryRules(
            gives_up=dead_letters is not None or config.on_give_up == "drop",
            max_attempts=_max_attempts(config, dead_letters),
            limit_seconds=config.retry_limit_seconds,
            max_age_seconds=config.max_record_age_seconds,
            by_class=by_class,
        ),
        batch=BatchRules(config.batch_size, config.batch_bytes, config.batch_window_seconds, joins=config.lanes > 1),
        parking=ParkingBounds(
            keys=config.max_parked_keys,
            size_bytes=config.max_parked_bytes,
            ahead_records=config.max_ahead_records,
            ahead_seconds=config.max_ahead_seconds,
        ),
        lanes=config.lanes,
        lane_key=lane_key,
        bisect=config.bisect,
        lone_failure_seconds=config.lone_failure_seconds,
        screen=screen,
        dead_letters=dead_letters,
        held=held,
        drops=config.on_give_up == "drop",
        is_manual=config.checkpointing == "manual",
        pace=Pace.of(config, clock),
        retention_seconds=stream.retention_seconds,
    )


def refuse_unheard(processor: RecordProcessor, factory: Any) -> None:
    """Raises ConfigError where the class of ``processor`` says something that nobody could hear from its factory."""
    for name in ("filter", "lane_key", "retries"):
        if getattr(processor, name) != getattr(RecordProcessor, name) and not hasattr(factory, name):
            raise ConfigError(
                f"{type(processor).__name__} has {name}, which is not heard of, since a worker asks the factory before "
                f"it makes a processor, and this one is a {type(factory).__name__}: give the worker the class itself, "
                f"or set {name} on the factory as well."
            )


def _max_attempts(config: WorkerConfig, dead_letters: DeadLetterStore | None) -> int | None:
    """Nothing is dropped after a number of tries that nobody has named."""
    if config.max_attempts is None and dead_letters is not None and config.on_give_up == "dead_letter":
        return DEFAULT_ATTEMPTS
    return config.max_attempts


def _filter(config: WorkerConfig, factory: Any, stream: StreamIdentity) -> Filter | None:
    told = getattr(factory, "filter", None)
    if told is not None and config.filter is not None:
        raise ConfigError("filter: set, and the processor's class has a filter, too; drop one of the two.")
    told = filter_text(config.filter) if config.filter is not None else told
    if told is None:
        return None
    return compile_filter(
        told,
        service="kinesis" if stream.view_type is None else "dynamodb",
        view_type=stream.view_type,
        stream_arn=stream.arn,
        on_undecodable=config.on_undecodable,
    )


def _noting(problems: list[str], read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None, with what is wrong added to ``problems``, where it raises ConfigError."""
    try:
        return read()
    except ConfigError as error:
        problems.extend(error.problems)
        return None


def _lane_key(factory: Any) -> Callable[[Any], str] | None:
    lane_key: Callable[[Any], str] | None = getattr(factory, "lane_key", None)
    if lane_key is None:
        return None
    if not callable(lane_key):
        raise ConfigError(
            f"lane_key: the processor's is of type {type(lane_key).__name__}; it is a function of a record that "
            "returns text (a staticmethod in the class), or None."
        )
    refuse_unusable(lane_key, "lane_key")
    return lane_key


def retries_of(factory: Any) -> Mapping[type[BaseException], Retry]:
    """How a processor's class says that its failures are tried again. Raises ConfigError where that is no mapping."""
    retries = getattr(factory, "retries", {})
    if not isinstance(retries, Mapping):
        raise ConfigError("retries: the processor's is no mapping; write {ValueError: Retry(max_attempts=1)}.")
    for kind, rule in retries.items():
        if not (isinstance(kind, type) and issubclass(kind, BaseException)) or not isinstance(rule, Retry):
            raise ConfigError(
                "retries: each entry is an exception class and a Retry: {ValueError: Retry(max_attempts=1)}."
            )
    return retries
