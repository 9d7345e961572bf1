"""The settings of delivery: how records become batches, and what becomes of those that fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from consumer.errors import ConfigError
from consumer.setting import Odds, number, seconds, setting, truth, whole
from consumer.store_address import parse_bucket, parse_store, parse_topic

__all__ = ["AT_ODDS", "DeliverySettings", "filter_text"]


_MEBIBYTE: Final = 1024 * 1024


def filter_text(setting: str) -> str:
    """The JSON text that ``filter`` stands for: itself, or what is in the file after ``@``. Raises ConfigError."""
    if not setting.startswith("@"):
        return setting
    try:
        return Path(setting[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the file can't be read: {error.strerror or error}.") from None
    except ValueError as error:  # not UTF-8, or a path with a NUL
        raise ConfigError(f"the file can't be read: {error}.") from None


def _refused_by(read: Callable[[str], object]) -> Callable[[str], str | None]:
    """The check of a setting that is text for ``read``, which raises ConfigError."""

    def check(told: str) -> str | None:
        try:
            read(told)
        except ConfigError as error:
            return " ".join(error.problems)
        return None

    return check


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """What stands between a shard's records and ``process_records``, in the order in which it is applied.

    Filter, batching, lanes, retry, bisect, dead letter. The defaults skip nothing: a batch that fails is tried again
    until it succeeds.
    """

    filter: str | None = setting(
        None,
        "Deliver only records that match: an event pattern as Lambda's FilterCriteria have it, or a list of them (any "
        "matches), as JSON; or @PATH of a file with that.",
        check=_refused_by(filter_text),
    )
    skip_own_writes: bool = setting(
        False, "Leave out records of writes that carry this app's own marker attribute.", parse=truth
    )
    on_undecodable: Literal["deliver", "dead_letter"] = setting(
        "deliver",
        "A record that the filter can't judge (a Kinesis record that is not JSON), or lane_key has no key for. "
        "deliver: to process_records. dead_letter: to the store.",
        choices=("deliver", "dead_letter"),
    )
    batch_size: int = setting(
        1000, "Most records in one call of process_records (BatchSize).", parse=whole, between=(1, 10_000)
    )
    batch_bytes: int | None = setting(
        None,
        "Most bytes of records in one call, as the stream sent them; a larger record comes alone (default: no limit; "
        "Lambda's is 6 MB).",
        unit="B",
        parse=whole,
        between=(1, 2**30),
    )
    batch_window_seconds: float = seconds(
        0.0, 0, 300, "Longest wait for a batch to fill up (MaximumBatchingWindowInSeconds); 0: call with what is there."
    )
    empty_batches: bool = setting(
        False,
        "Call process_records with no records, too, after a read that found none (the KCL's "
        "callProcessRecordsEvenForEmptyRecordList).",
        parse=truth,
    )
    lanes: int = setting(
        1,
        "Batches of one shard in work at once, each key always in the same lane (ParallelizationFactor). One "
        "processor object for each.",
        parse=whole,
        between=(1, 1000),
    )
    max_ahead_records: int = setting(
        10_000,
        "Records that a shard may be ahead of its oldest one that is not done; they repeat after a takeover.",
        parse=whole,
        between=(1, 10_000_000),
    )
    max_ahead_seconds: float = seconds(
        300.0, 1, 86_400, "How long a shard may go on while its oldest record that is not done waits."
    )
    max_records_per_second: float | None = setting(
        None,
        "Pace of the whole worker in records (default: no limit).",
        unit="records/s",
        parse=number,
        between=(0.01, 10_000_000),
    )
    max_bytes_per_second: float | None = setting(
        None,
        "Pace of the whole worker in bytes of records (default: no limit).",
        unit="B/s",
        parse=number,
        between=(1, 2**40),
    )
    batch_timeout_seconds: float | None = seconds(
        None,
        0.001,
        86_400,
        "Cancel an `async def` process_records that takes longer, which counts as a failed attempt; report a `def` "
        "one with its stack (default: no limit; Lambda's is the function's time-out).",
    )
    on_timeout: Literal["wait", "restart"] = setting(
        "wait",
        "A `def` call that takes longer than batch_timeout_seconds. wait: its shard waits for it. restart: drain the "
        "other shards and end the process, exit code 5.",
        choices=("wait", "restart"),
    )
    max_attempts: int | None = setting(
        None,
        "Give a record up after so many attempts, the first one counted (MaximumRetryAttempts + 1; default: 5 with "
        "dead_letters, else never).",
        parse=whole,
        between=(1, 10_000),
    )
    max_record_age_seconds: float | None = seconds(
        None,
        60,
        604_800,
        "Give a failing record up once it is so old (MaximumRecordAgeInSeconds; default: never).",
    )
    on_give_up: Literal["dead_letter", "drop"] = setting(
        "dead_letter",
        "dead_letter: a record given up goes to dead_letters. drop: it is lost, and counted.",
        choices=("dead_letter", "drop"),
    )
    bisect: bool = setting(
        False,
        "Halve a failed batch, time and again, until the records that fail stand alone (BisectBatchOnFunctionError).",
        parse=truth,
    )
    breaker_batches: int = setting(
        3,
        "Pause all shards after so many batches of different keys failed in a row: the sink is down, and no attempt "
        "counts. 0: never.",
        parse=whole,
        between=(0, 1000),
    )
    lone_failure_seconds: float = seconds(
        900.0,
        0,
        86_400,
        "Keep a record whose attempts are used up for so long where nothing else has succeeded since: it may be the "
        "sink.",
    )
    max_parked_keys: int = setting(
        100,
        "Failed keys that may wait in a shard while its other keys go on; past that they go on one by one, or, where "
        "nothing may be given up, wait.",
        parse=whole,
        between=(0, 100_000),
    )
    max_parked_bytes: int = setting(
        16 * _MEBIBYTE,
        "Bytes of records that may wait behind the failed keys of a shard.",
        unit="B",
        parse=whole,
        between=(1, 2**40),
    )
    dead_letters: str | None = setting(
        None,
        "Where records go that are given up (OnFailure destination): s3://BUCKET/PREFIX, dynamodb:TABLE, file:PATH or "
        "sqs:QUEUE (name or URL).",
        check=_refused_by(parse_store),
    )
    dead_letter_bucket: str | None = setting(
        None,
        "S3 bucket for bodies that are too large for dead_letters (default: such a record waits).",
        check=_refused_by(parse_bucket),
    )
    dead_letter_topic: str | None = setting(
        None, "Tell an SNS topic (its ARN) of each dead letter, beside dead_letters.", check=_refused_by(parse_topic)
    )
    after_dead_letter: Literal["continue", "hold_key"] = setting(
        "continue",
        "continue: later records of its key are delivered. hold_key: they follow it into dead_letters until it is "
        "redriven or dropped.",
        choices=("continue", "hold_key"),
    )


def _goes_nowhere(limit: object, store: str | None, on_give_up: str) -> bool:
    return limit is not None and store is None and on_give_up != "drop"


_NOWHERE: Final = (
    "a record given up has nowhere to go: name a store with dead_letters, or say on_give_up='drop' to lose it."
)

AT_ODDS: Final = (
    Odds(("max_attempts", "dead_letters", "on_give_up"), _goes_nowhere, _NOWHERE),
    Odds(("max_record_age_seconds", "dead_letters", "on_give_up"), _goes_nowhere, _NOWHERE),
    Odds(
        ("max_record_age_seconds", "batch_window_seconds"),
        lambda age, window: age is not None and age <= window,
        "must be more than batch_window_seconds ({batch_window_seconds:g} s), or a record would be given up that has "
        "only waited for its batch.",
    ),
    Odds(
        ("on_give_up", "dead_letters", "on_undecodable"),
        lambda then, store, undecodable: then == "drop" and store is not None and undecodable != "dead_letter",
        "nothing would ever reach dead_letters={dead_letters!r}: leave out one of the two.",
    ),
    Odds(
        ("on_give_up", "max_attempts", "max_record_age_seconds", "dead_letters"),
        lambda on_give_up, attempts, age, store: (
            on_give_up == "drop" and attempts is None and age is None and not store
        ),
        "nothing would ever be given up: set max_attempts or max_record_age_seconds, or leave it out.",
    ),
    Odds(
        ("on_undecodable", "dead_letters"),
        lambda undecodable, store: undecodable == "dead_letter" and store is None,
        "there is no store to put them into: name one with dead_letters, or have them delivered.",
    ),
    Odds(
        ("after_dead_letter", "dead_letters"),
        lambda after, store: after == "hold_key" and store is None,
        "there is no store that could hold a key: name one with dead_letters.",
    ),
    Odds(
        ("after_dead_letter", "dead_letters"),
        lambda after, store: after == "hold_key" and store is not None and not parse_store(store).can_hold_keys,
        "an SQS queue (dead_letters={dead_letters!r}) can't be asked which keys it holds: keep dead letters in S3, "
        "DynamoDB or a file.",
    ),
    Odds(
        ("dead_letter_bucket", "dead_letters"),
        lambda bucket, store: bucket is not None and store is None,
        "there is no store whose bodies it could take: name one with dead_letters.",
    ),
    Odds(
        ("dead_letter_topic", "dead_letters"),
        lambda topic, store: topic is not None and store is None,
        "SNS only tells of dead letters and keeps none: name a store for them with dead_letters.",
    ),
    Odds(
        ("on_timeout", "batch_timeout_seconds"),
        lambda on_timeout, limit: on_timeout == "restart" and limit is None,
        "no call ever times out: set batch_timeout_seconds, or leave it out.",
    ),
)
